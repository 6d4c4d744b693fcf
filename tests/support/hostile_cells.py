"""How one cell may be written: every right form of a value, and what nearly is one."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from random import Random

from hypothesis import strategies as st

from hostile_rows import make_value
from oracle_contracts import Column, Value

# --- How it is written: one cell

SPELLINGS = {
    True: ("true", "TRUE", "True", "1", "kyllä", "KYLLÄ", "Kyllä", "k", "K"),
    False: ("false", "False", "0", "ei", "EI", "Ei", "e", "E"),
}


def canonical(value: Value) -> str:
    """The plain form of a value: ISO with seconds, no grouping, a point, `true`; a missing one is empty."""
    match value:
        case None:
            text = ""
        case bool():
            text = "true" if value else "false"
        case datetime():
            text = value.isoformat(sep=" ")
        case date():
            text = value.isoformat()
        case Decimal():
            text = f"{value:f}"
        case _:
            text = str(value)
    return text


def forms(column: Column, value: Value) -> tuple[str, ...]:
    """Every form in which a value may be written; those of a time without seconds only when it has none."""
    plain = canonical(value)
    found: tuple[str, ...]
    match value:
        case None:
            found = ("", "NULL", "-")
        case bool():
            found = SPELLINGS[value]
        case datetime():
            found = _forms_of_time(value)
        case date():
            found = (plain, f"{value.day}.{value.month}.{value.year}", f"{value:%d.%m.%Y}")
        case int():
            found = (plain, f"0{value}", *(_grouped(f"{value:_}") if column.is_grouped else ()))
        case Decimal():
            found = (
                plain,
                plain.replace(".", ","),
                *_grouped(f"{value:,f}".replace(",", "_")),
                *_grouped(f"{value:,f}".replace(",", "_").replace(".", ",")),
            )
        case _:
            found = (plain,)
    return found


def _grouped(text: str) -> tuple[str, str]:
    return text.replace("_", "\u00a0"), text.replace("_", "\u202f")


def _forms_of_time(value: datetime) -> tuple[str, ...]:
    iso, finnish = value.date().isoformat(), f"{value.day}.{value.month}.{value.year}"
    padded = f"{value:%d.%m.%Y}"
    full = (
        f"{iso} {value:%H:%M:%S}",
        f"{iso}T{value:%H:%M:%S}",
        f"{finnish} {value:%H:%M:%S}",
        f"{finnish} {value.hour}:{value:%M:%S}",
        f"{padded} {value:%H:%M:%S}",
        f"{finnish} klo {value.hour}.{value:%M.%S}",
        f"{padded} klo {value:%H.%M.%S}",
        f"{finnish} {value.hour}.{value:%M.%S}",
        f"{padded} {value:%H.%M.%S}",
    )
    if value.second:
        return full
    return (
        *full,
        f"{iso} {value:%H:%M}",
        f"{finnish} {value.hour}:{value:%M}",
        f"{padded} {value:%H:%M}",
        f"{finnish} klo {value.hour}.{value:%M}",
        f"{padded} klo {value:%H.%M}",
        f"{finnish} {value.hour}.{value:%M}",
        f"{padded} {value:%H.%M}",
    )


NEARLY_TIMES = (
    "2025-03-05T14:07",
    "2025-3-5 14:07:09",
    "2025-03-05 4:07",
    "2025-03-05 14:07:09Z",
    "2025-03-05 14:07:09+02:00",
    "2025-03-05 14:07:09+02",
    "2025-03-05 14:07:09 EET",
    "2025-03-05 14:07:09.5",
    "2025-03-05 14:07:09,500",
    "2025-03-05T14:07:09.000",
    "2025-03-05t14:07:09",
    "2025-03-05  14:07:09",
    "2025-03-05\u00a014:07:09",
    "2025-03-05\n14:07:09",
    "2025-03-05 14:07:09\n",
    "2025-03-05\t14:07:09",
    "2025-03-05 14.07",
    "2025-03-05 14:07:",
    "2025-03-05 14",
    "2025-03-05",
    "2025/03/05 14:07",
    "20250305 140709",
    "20250305T140709",
    "05-03-2025 14:07",
    "5.3.25 14:07",
    "25-03-05 14:07",
    "+2025-03-05 14:07:09",
    "12025-03-05 14:07:09",
    "5.3.2025",
    "5.3.2025 14.7",
    "5.3.2025 14.07.9",
    "5.3.2025 14.07:09",
    "5.3.2025  14.07",
    "5.3.2025 24.00",
    "5.3.2025 14,07",
    "5.3.2025 klo 14:07",
    "5.3.2025 klo14.07",
    "5.3.2025 KLO 14.07",
    "5.3.2025 kello 14.07",
    "5.3.2025klo 14.07",
    "5.3.2025 14:7",
    "5.3.2025 14:07:9",
    "5.3.2025T14:07:09",
    "5. 3. 2025 14:07",
    "5.3.2025 2:07 PM",
    "005.3.2025 14:07",
    "5.003.2025 14:07",
    "5.3.2025 014:07",
    "0.3.2025 14:07",
    "5.0.2025 14:07",
    "5.13.2025 14:07",
    "31.4.2025 14:07",
    "2025-02-29 10:00:00",
    "2100-02-28 10:00:00",
    "2025-03-05 24:00:00",
    "2025-03-05 24:00",
    "2025-03-05 14:60",
    "2025-03-05 14:07:60",
    "1989-12-31 23:59:59",
    "2100-01-01 00:00",
    "0001-01-01 00:00",
    "14:07",
    "45721.588",
    "1741183629",
    "null",
    "NaT",
    "infinity",
    "epoch",
    "now",
    "\u00a02025-03-05 14:07",
    "２０２５-03-05 14:07",
    "2025-03-05 14:07:09 (arvio)",
    "?",
)
NEARLY_DATES = (
    "2025-3-5",
    "2025-03-5",
    "20250305",
    "2025/03/05",
    "05-03-2025",
    "5.3.25",
    "5.3.2025.",
    "5. 3. 2025",
    "5.3",
    "2025-03",
    "2025-03-05 00:00:00",
    "5.3.2025 0:00",
    "5.3.2025 klo 0.00",
    "2025-02-29",
    "31.4.2025",
    "30.2.2024",
    "0.1.2025",
    "1.13.2025",
    "1989-12-31",
    "2100-01-01",
    "1.1.2100",
    "0025-03-05",
    "12025-03-05",
    "001.3.2025",
    "2025-03-05Z",
    "2025-03-05\n",
    "\u00a02025-03-05",
    "5.3.２０２５",
    "maaliskuu 2025",
    "infinity",
    "today",
)
NEARLY_INTEGERS = (
    "+5",
    "5.0",
    "5,0",
    "5.",
    "1e1",
    "0x5",
    "1_0",
    "1 0",
    "5 kpl",
    "--5",
    "5-",
    "−5",
    "-1",
    "- 5",
    "５",
    "٣",
    "5\n",
    "\u00a05",
    "5\u00a0",
    "NaN",
    "true",
    "ei",
    "viisi",
    "99999999999999999999",
    "9223372036854775808",
    "-9223372036854775809",
    "1" * 400,
)
NEARLY_GROUPED = (
    "1 234",
    "1\u00a023",
    "1\u00a02345",
    "1234\u00a0567",
    "1\u00a0\u00a0234",
    "1\u00a0234\u00a0",
    "1,234",
    "1.234",
    "1'234",
    "1\u2009234",
    "1\u2007234",
    "1\u00a0234\u00a056",
)
NEARLY_DECIMALS = (
    "5.",
    ".5",
    "5,",
    ",5",
    "+5.0",
    "5.0.0",
    "1,234,567",
    "1.234,5",
    "1,234.5",
    "1e3",
    "1.5E2",
    "NaN",
    "inf",
    "Infinity",
    "5 %",
    "5 €",
    "1 234,5",
    "1,2\u00a0345",
    "--5",
    "−5",
    "1" * 25,
    "0x1F",
    "5,0\n",
)
NEARLY_BOOLEANS = (
    "t",
    "f",
    "yes",
    "no",
    "y",
    "n",
    "on",
    "2",
    "-1",
    "01",
    "1.0",
    "kylla",
    "joo",
    "x",
    "tosi",
    "epätosi",
)


def nearly(column: Column) -> tuple[str, ...]:
    """Texts that the column does not take, though each comes near to one it does."""
    texts: tuple[str, ...] = ("", "NULL", "-") if column.required else ()
    match column.type:
        case "timestamp":
            texts += NEARLY_TIMES
        case "date":
            texts += (*NEARLY_DATES, *(("2025-03-02", "31.12.2024", "15.6.2025") if column.is_first_of_month else ()))
        case "integer":
            beyond = () if column.highest is None else (str(column.highest + 1), str((column.lowest or 0) - 1))
            texts += (*(NEARLY_GROUPED if column.is_grouped else ("1\u00a0000", "1\u00a00")), *NEARLY_INTEGERS, *beyond)
        case "decimal":
            texts += NEARLY_DECIMALS
        case "boolean":
            texts += NEARLY_BOOLEANS
        case "code" if column.codes is not None:
            for code in sorted(column.codes):
                changed = {
                    f"{code}s",
                    f"{code}\u00a0",
                    f"{code}.",
                    f"{code}\n",
                    code.swapcase(),
                    code.replace("_", " "),
                }
                texts += tuple(sorted(changed - column.codes))
            texts += ("null", "0", "tuntematon")
    return texts


def cells(column: Column) -> st.SearchStrategy[str]:
    """One cell's text, without layout: right forms, near misses, right forms with one letter changed, and noise.

    A decimal of more places than a column keeps is left out: the reference text does not say how it is rounded.
    """
    seeds = st.integers(0, 2**32 - 1).map(lambda seed: _right_form(column, Random(seed)))
    letters = "0123456789.-:, TZklo+eE\u00a0\u202f\"'\t\n\raAäÄ_/"

    def changed(text: str, place: int, letter: str, kind: str) -> str:
        place %= len(text) + 1
        return text[:place] + ("" if kind == "delete" else letter) + text[place + (kind != "insert") :]

    kinds = st.sampled_from(("insert", "replace", "delete"))
    return (
        st.one_of(
            seeds,
            st.sampled_from(nearly(column) or ("",)),
            st.builds(changed, seeds, st.integers(0, 40), st.sampled_from(letters), kinds),
            st.text(letters, max_size=24),
            st.sampled_from(("", "NULL", "-", "null", "Null", "--", "N/A")),
        )
        .map(lambda text: text.strip(" \t"))
        .filter(lambda text: not re.search("[.,][0-9]{7}", text))
    )


def _right_form(column: Column, random: Random) -> str:
    value = make_value(column, random, 1000)
    if isinstance(value, datetime) and random.random() < 0.5:
        value = value.replace(second=0)
    return random.choice(forms(column, value))
