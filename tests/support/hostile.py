"""Hostile deliveries: every form and every kind of dirt that the reference text has a definite answer for.

    write_hostile(folder, seed=7)            # folder/<feed>/*.csv and *.csv.gz, several files a feed
    clean_file("calls", seed=7, rows=1000)   # the bytes of a well-formed canonical file
    mutations(clean, seed=7)                 # the same with one byte changed, without end
    cells(CONTRACTS["calls"].column("arrived_at"))   # hypothesis: one cell, right or nearly

Everything follows from the seed. What the answer is, the oracle says; nothing here knows it.
"""

from __future__ import annotations

import gzip
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

from hypothesis import strategies as st

from oracle_read import CONTRACTS, SEPARATORS, SIX_FEEDS, Column, Contract, Record, Value

# --- What happened: rows of a feed

YEARS = (2022, 2023, 2024, 2025)
AUTUMN_NIGHTS = (date(2022, 10, 30), date(2023, 10, 29), date(2024, 10, 27), date(2025, 10, 26), date(1995, 9, 24))
SPRING_NIGHTS = (date(2022, 3, 27), date(2023, 3, 26), date(2024, 3, 31), date(2025, 3, 30), date(2061, 3, 27))
CENSUSES = (date(2022, 11, 30), date(2023, 12, 31), date(2024, 6, 30), date(2024, 12, 31), date(2025, 8, 31))
EDGE_DAYS = (date(1990, 1, 1), date(2099, 12, 31), date(2024, 2, 29), date(2000, 2, 29), date(2096, 2, 29))


def _moment(random: Random) -> datetime:
    """A wall-clock time in which something may begin: most often any, often where the clock or the year turns."""
    kind = random.random()
    if kind < 0.12:
        night = random.choice(AUTUMN_NIGHTS)
        return datetime(night.year, night.month, night.day, 2) + timedelta(seconds=random.randrange(50 * 60, 130 * 60))
    if kind < 0.2:
        night = random.choice(SPRING_NIGHTS)
        return datetime(night.year, night.month, night.day, 2) + timedelta(seconds=random.randrange(50 * 60, 130 * 60))
    if kind < 0.3:
        turn = datetime(random.choice(YEARS) + random.randrange(2), 1, 1)
        return turn + timedelta(seconds=random.randrange(-900, 900))
    if kind < 0.33:
        edge = random.choice(EDGE_DAYS)
        return datetime(edge.year, edge.month, edge.day) + timedelta(seconds=random.choice((0, 1, 43_200, 86_399)))
    start = datetime(random.choice(YEARS), 1, 1)
    return start + timedelta(seconds=random.randrange(365 * 86_400))


def _later(random: Random, wall: datetime) -> datetime:
    """A wall-clock time some time later: seconds or days, now and then none at all or earlier."""
    kind = random.random()
    if kind < 0.3:
        seconds = random.choice((0, 1, 60, 240, 299, 300, 301, 3_600, 86_400))
    elif kind < 0.85:
        seconds = random.randrange(900)
    elif kind < 0.96:
        seconds = random.randrange(4 * 86_400)
    else:
        seconds = -random.randrange(1, 7_200)
    later = wall + timedelta(seconds=seconds)
    return later if later.year <= 2099 else wall


def _later_day(random: Random, day: date) -> date:
    near = random.choice((14, 31, 90, 92, 120, 122, 181, 184)) + random.randint(-2, 2)
    days = random.choice((near, random.randrange(300), 0, 1, 10, 11, -1 if random.random() < 0.3 else 5))
    return day + timedelta(days=days)


TEXTS = (
    "Kiitos!",
    "ei",
    "1",
    "007",
    "1e5",
    "null",
    "N/A",
    "NaN",
    "a;b",
    "a,b",
    "a\tb",
    'hän sanoi "kiitos"',
    '5" putki',
    'ab"',
    '""',
    "kaksi\nriviä",
    "kaksi\r\nriviä",
    "a\n\nb",
    "äÄöÖåÅ",
    "Šakki, Žižek",
    "hinta 5 €",
    "lainaus ”näin” – ja …",
    "rivi\x0bväli\x0c\x1c\x85\u2028",
    "\u00a0",
    "nolla\x00",
    "=1+1",
    "--",
    "'x'",
    "\\N",
    "# huom",
    "🚑",
    "x" * 3000,
)


MANUAL_IDS = ("wellbeing_service_monthly_reach", "volunteer_encounters", "partner_violence_experienced")


def _one_of(column: Column, random: Random) -> str:
    if column.name == "figure_id":
        return random.choice((*MANUAL_IDS, "nps", "nps_change", "calls_received", "oma_luku"))
    if column.codes is None:
        return random.choice(("a", "B", "silmätaudit", "kirurgia", "Kirurgia", "101", "x y"))
    return random.choice(sorted(column.codes))


def _identifier(random: Random, size: int) -> str:
    number = random.randrange(size)
    styles = ("c{}", "C{}", "{:06}", "{}", "ä{}", "c {}", "c,{}", 'c"{}', "-{}", "c\n{}")
    return random.choices(styles, (60, 5, 5, 5, 5, 2, 2, 1, 1, 1))[0].format(number)


def _number(column: Column, random: Random) -> int:
    lowest = column.lowest or 0
    if column.highest is not None:
        return random.randint(lowest, column.highest)
    if column.name.startswith("age"):
        return random.choice((0, 17, 22, 23, 24, 69, 70, 71, random.randrange(110)))
    return random.choice((0, 1, 999, 1_000, random.randrange(100), random.randrange(10_000_000)))


def make_value(column: Column, random: Random, size: int) -> Value:
    """A value that the column takes, without regard to the row's others."""
    value: Value
    match column.type:
        case "text":
            value = _identifier(random, size) if column.required else random.choice(TEXTS)
        case "code":
            value = _one_of(column, random)
        case "timestamp":
            value = _moment(random)
        case "date" if column.name == "census_date":
            value = random.choice(CENSUSES)
        case "date":
            day = _moment(random).date()
            value = day.replace(day=1) if column.is_first_of_month else day
        case "integer":
            value = _number(column, random)
        case "decimal":
            value = Decimal(random.randrange(-(10**9), 10**9)).scaleb(-random.randrange(7))
        case _:
            value = random.random() < 0.5
    return value


def make_row(contract: Contract, random: Random, size: int) -> Record:
    """One row of a feed, most often one that loads; identifiers are drawn from about as many as size."""
    row: Record = {}
    if contract.feed == "care_queue":
        size = size // 8 + 1  # the same patients, waiting for several specialties
    for column in contract.columns:
        is_missing = not column.required and random.random() < 0.2
        row[column.name] = None if is_missing else make_value(column, random, size)
    census = row.get("census_date")
    if contract.feed == "care_queue" and isinstance(census, date):
        days = random.choice(
            (random.randrange(400), 180 + random.randint(-4, 4), 0, 1, -1 if random.random() < 0.3 else 9)
        )
        row["need_confirmed_on"] = census - timedelta(days=days)
        return row
    previous: Value = None
    for name in contract.order:
        if row[name] is None:
            continue
        if isinstance(previous, datetime):
            row[name] = _later(random, previous)
        elif isinstance(previous, date):
            row[name] = _later_day(random, previous)
        previous = row[name]
    return row


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


# --- How it is written: one file


@dataclass(frozen=True, slots=True)
class Style:
    """How a file is written."""

    encoding: str  # a codec; utf-8-sig and utf-16 write a byte order mark
    separator: str
    line_ends: tuple[str, ...]
    quoted: float  # how often a cell is quoted that need not be
    padded: float  # how often there are blanks around a cell
    varied: bool  # every form of a value, or the canonical one
    dirt: float  # how often a cell is one that its column does not take
    has_final_line_end: bool = True


CLEAN = Style("utf-8", ",", ("\n",), 0, 0, False, 0)


def _style(random: Random, dirt: float) -> Style:
    return Style(
        encoding=random.choice(("utf-8", "utf-8", "utf-8-sig", "cp1252", "iso-8859-15", "utf-16", "cp850")),
        separator=random.choice(SEPARATORS),
        line_ends=random.choice((("\n",), ("\r\n",), ("\r",), ("\n", "\r\n"), ("\n", "\r\n", "\r"))),
        quoted=random.choice((0, 0.1, 1)),
        padded=random.choice((0, 0.1, 0.5)),
        varied=random.random() < 0.9,
        dirt=random.choice((0, dirt, dirt, 3 * dirt)),
        has_final_line_end=random.random() < 0.7,
    )


def _blanks(style: Style, random: Random, is_inside: bool = False) -> str:
    if random.random() >= style.padded:
        return ""
    letters = " " if style.separator == "\t" and not is_inside else " \t"
    return "".join(random.choices(letters, k=random.randint(1, 3)))


def _write_cell(text: str, style: Style, random: Random) -> str:
    """A cell with its layout: quoted when it must be and sometimes when it need not."""
    must = any(letter in text for letter in (style.separator, "\n", "\r")) or text[:1] == '"' or text[:1] in ("\t", " ")
    if must or random.random() < style.quoted:
        inside = _blanks(style, random, True) + text.replace('"', '""') + _blanks(style, random, True)
        text = f'"{inside}"'
    return _blanks(style, random) + text + _blanks(style, random)


def _cell_text(column: Column, value: Value, style: Style, random: Random) -> str:
    if random.random() < style.dirt and (wrong := nearly(column)):
        return random.choice(wrong)
    if not style.varied:
        return canonical(value)
    if isinstance(value, datetime) and random.random() < 0.2:
        value = value.replace(second=0)
    return random.choice(forms(column, value))


UNKNOWN_NAMES = (
    "huom",
    "",
    "CALL_ID",
    "id",
    "Arrived_At",
    "x y",
    "a;b,c",
    "sarake\n2",
    'nimi "x"',
    "arrived_at,answered_at",
)


def write_text(
    contract: Contract,
    rows: Iterable[Record],
    style: Style,
    random: Random,
    spoil: Callable[[list[str], Random], list[str]] | None = None,
) -> str:
    """A file's text with a header; the columns' order, names and company vary when the style does.

    `spoil` may change the names in the header, and so make it one that refuses the file.
    """
    columns: list[Column | None] = list(contract.columns)
    if style.varied:
        columns = [each for each in columns if each is None or each.required or random.random() < 0.9]
        columns += [None] * random.choice((0, 0, 1, 2))
        random.shuffle(columns)
    unknown = random.sample(UNKNOWN_NAMES, k=len(UNKNOWN_NAMES))
    names = [_name(contract, column, style, random) if column else unknown.pop() for column in columns]
    if spoil:
        names = spoil(names, random)

    lines = [[_write_cell(name, style, random) for name in names]]
    for row in rows:
        texts = [
            _cell_text(column, row[column.name], style, random) if column else random.choice(TEXTS)
            for column in columns
        ]
        texts += [""] * (len(names) - len(columns))
        line = [_write_cell(text, style, random) for text in texts]
        if random.random() < style.dirt / 3:
            line = random.choice((line[:-1], [*line, ""], line[1:], [*line, *line]))
        if random.random() < style.dirt / 5:  # a quote that encloses nothing
            place = random.randrange(len(line))
            line[place] = random.choice(('{}"', '"{}', 'x"{}', '"x"{}', '{}""', '"{}" x')).format(line[place])
        lines.append(line)
    return _join(lines, style, random)


def _name(contract: Contract, column: Column, style: Style, random: Random) -> str:
    aliases = [alias for alias, name in contract.aliases.items() if name == column.name]
    return random.choice((column.name, *aliases)) if style.varied else column.name


def _join(lines: Sequence[Sequence[str]], style: Style, random: Random) -> str:
    blank = ("", " ", "   ") if style.separator == "\t" else ("", " ", "\t", " \t ")
    pieces: list[str] = []
    for line in lines:
        while style.varied and random.random() < 0.03:
            pieces += [random.choice(blank), random.choice(style.line_ends)]
        pieces += [style.separator.join(line), random.choice(style.line_ends)]
    if style.varied and random.random() < 0.2:
        pieces += [random.choice(blank), random.choice(style.line_ends)] * random.randint(1, 3)
    return "".join(pieces if style.has_final_line_end else pieces[:-1])


def encode(text: str, style: Style) -> bytes:
    """The text's bytes; a letter that the encoding lacks becomes a question mark."""
    return text.encode(style.encoding, errors="replace")


# --- Files that are refused


def _drop_required(contract: Contract) -> Callable[[list[str], Random], list[str]]:
    def spoil(names: list[str], random: Random) -> list[str]:
        known = {column.name for column in contract.columns if column.required}
        known |= {alias for alias, name in contract.aliases.items() if name in known}
        place = random.choice([place for place, name in enumerate(names) if name in known])
        changed = (
            names[place].swapcase(),
            names[place] + "x",
            "",
            names[place].replace("_", " ") + "?",
            "\u00a0" + names[place],
        )
        return [*names[:place], random.choice(changed), *names[place + 1 :]]

    return spoil


def _name_twice(contract: Contract) -> Callable[[list[str], Random], list[str]]:
    def spoil(names: list[str], random: Random) -> list[str]:
        column = random.choice(contract.columns)
        aliases = [alias for alias, name in contract.aliases.items() if name == column.name]
        again = random.choice((column.name, *aliases))
        # An optional column may be absent: then naming it once would do no harm.
        return [*names, again] if {column.name, *aliases} & set(names) else [*names, again, column.name]

    return spoil


def refused_files(contract: Contract, random: Random, rows: Sequence[Record]) -> list[tuple[str, bytes]]:
    """A name ending and the bytes of files that are refused, one of each kind."""
    style = _style(random, 0)
    good = write_text(contract, rows, CLEAN, random)
    packed = gzip.compress(good.encode(), mtime=0)
    return [
        (".csv", encode(write_text(contract, rows, style, random, _drop_required(contract)), style)),
        (".csv", encode(write_text(contract, rows, style, random, _name_twice(contract)), style)),
        (".csv", random.choice((b"", b"\n", b" \r\n \r", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n", b" "))),
        (".csv", good.replace(",", "|").encode()),
        (".csv", good.partition("\n")[2].encode()),  # no header: its first row is taken for one
        (".csv", good.encode("utf-16-le")),
        (".csv", good.partition("\n")[0].replace(",", ";", 1).encode() + b"\n1;2,3\n\n4,5;6\n"),
        (".csv.gz", packed[: random.randrange(len(packed))]),
        (".csv.gz", packed[: len(packed) - random.randint(1, 8)]),
        (".csv.gz", packed[:-8] + bytes(byte ^ 0xFF for byte in packed[-8:])),
        (".csv.gz", good.encode()),
    ]


# --- Deliveries

STEMS = ("2023", "2024", "2024-korjaus", "2024_1", "10", "9", "a", "B", "z", "vuosi 2025", "ä", "_", "2024.uusi", "è")


def write_hostile(
    folder: Path,
    seed: int,
    rows: int = 300,
    feeds: Sequence[str] = SIX_FEEDS,
    aliases: Mapping[str, Mapping[str, str]] | None = None,
    dirt: float = 0.02,
) -> tuple[Path, ...]:
    """Write deliveries of some feeds under `folder/<feed>/`, about so many rows each; returns the files.

    Each feed has clean files, files in every form, corrections of both in files that sort before and after, and two
    refused files. `aliases` is by feed, alias to column name, as the contract knows them; `dirt` is how often a cell
    is spoilt.
    """
    return tuple(
        itertools.chain.from_iterable(
            _write_feed(folder / feed, CONTRACTS[feed].with_aliases((aliases or {}).get(feed, {})), seed, rows, dirt)
            for feed in feeds
        )
    )


def _write_feed(folder: Path, contract: Contract, seed: int, size: int, dirt: float) -> list[Path]:
    random = Random(f"{contract.feed}/{seed}")
    folder.mkdir(parents=True, exist_ok=True)
    stems = random.sample(STEMS, k=random.randint(4, 7))
    parts: list[list[Record]] = [[] for _ in stems]
    for _ in range(size):
        row = make_row(contract, random, 2 * size)
        parts[random.randrange(len(parts))].append(row)
        if random.random() < 0.2:  # delivered again, the same or with one column put right
            other = make_row(contract, random, 2 * size)
            free = [column.name for column in contract.columns if column.name not in contract.key]
            name = random.choice([*free, contract.key[0]])
            parts[random.randrange(len(parts))].append(row | {name: other[name]})

    contents: list[tuple[str, bytes]] = []
    for index, (stem, part) in enumerate(zip(stems, parts, strict=True)):
        if index == 0:
            contents.append((f"{stem}.csv", _clean(contract, part, random)))
            continue
        style = _style(random, dirt)
        data = encode(write_text(contract, part, style, random), style)
        if random.random() < 0.25:
            contents.append((f"{stem}.csv.gz", gzip.compress(data, mtime=0)))
        else:
            is_raw = style.encoding not in ("utf-8-sig", "utf-16") and random.random() < 0.2
            contents.append((f"{stem}.csv", _raw_bytes(data, random) if is_raw else data))
    sample = parts[0][:5]
    for number, (ending, data) in enumerate(random.sample(refused_files(contract, random, sample), k=2)):
        contents.append((f"{random.choice(STEMS)}-{number}{ending}", data))

    written = []
    for name, data in contents:
        path = folder / name
        path.write_bytes(data)
        written.append(path)
    (folder / "lueminut.txt").write_text("not a delivery\n")
    (folder / "arkisto").mkdir(exist_ok=True)
    (folder / "arkisto" / "vanha.csv").write_bytes(contents[0][1])
    return written


def _raw_bytes(data: bytes, random: Random) -> bytes:
    """The same with a few bytes above ASCII put in somewhere after the header, some with no meaning in Windows-1252."""
    start = max(data.find(b"\n"), data.find(b"\r")) + 1
    for _ in range(random.randint(1, 3)):
        place = random.randrange(start, len(data) + 1)
        data = data[:place] + bytes([random.choice((0x80, 0x81, 0x8D, 0x9D, 0xA4, 0xA0, 0xE4, 0xFF))]) + data[place:]
    return data


def _clean(contract: Contract, rows: Iterable[Record], random: Random) -> bytes:
    return write_text(contract, rows, CLEAN, random).encode()


def clean_rows(contract: Contract, random: Random, size: int, clock_changes: bool = True) -> list[Record]:
    """Rows that a loader takes as they are: keys unique, times in order as written, texts that need no quotes.

    With clock changes a few times are among those that the clock skips or shows twice; a row may be rejected for it.
    """
    rows: dict[tuple[Value, ...], Record] = {}
    for number in range(size):
        row = make_row(contract, random, 10 * size)
        for column in contract.columns:
            value = row[column.name]
            if column.type == "text" and value is not None:
                row[column.name] = f"{column.name[0]}{number:07}"
            if isinstance(value, datetime) and value.hour == 3 and not clock_changes:
                row[column.name] = value.replace(hour=12)
        times = [name for name in contract.order if row[name] is not None]
        for earlier, later in itertools.pairwise(times):
            first, second = row[earlier], row[later]
            if isinstance(first, date) and isinstance(second, date) and second < first:
                name, day = (earlier, second) if contract.census else (later, first)
                row[name] = day
        if all(1990 <= day.year <= 2099 for day in row.values() if isinstance(day, date)):
            rows[tuple(row[name] for name in contract.key)] = row
    return list(rows.values())


def clean_file(feed: str, seed: int, rows: int = 300, clock_changes: bool = True) -> bytes:
    """A canonical file: UTF-8, commas, LF, the contract's columns in order, ISO times with seconds, no quotes.

    Without clock changes every record loads; with them a few may be rejects for a time that the clock skips.
    """
    random = Random(f"{feed}/{seed}/clean")
    return _clean(CONTRACTS[feed], clean_rows(CONTRACTS[feed], random, rows, clock_changes), random)


def write_clean(
    folder: Path, seed: int, rows: int = 300, feeds: Sequence[str] = SIX_FEEDS, files: int = 2
) -> tuple[Path, ...]:
    """Write that many canonical files of each feed under `folder/<feed>/`; later ones may correct earlier ones."""
    written = []
    for feed in feeds:
        (folder / feed).mkdir(parents=True, exist_ok=True)
        for number in range(files):
            path = folder / feed / f"{feed}_{number}.csv"
            path.write_bytes(clean_file(feed, seed * 1000 + number, rows))
            written.append(path)
    return tuple(written)


MUTANTS = b'",;\t\n\r \x00\x0b-.:/0123456789abkTZ_+\x80\x81\x8d\xa0\xc3\xe4\xff'


def mutations(data: bytes, seed: int) -> Iterator[bytes]:
    """The same file with one byte put in, taken out, changed or doubled, or cut off there; without end."""
    random = Random(seed)
    header = data.find(b"\n") + 1
    while True:
        # The header is small and much depends on it: a fifth of the changes are there.
        place = random.randrange(header) if header and random.random() < 0.2 else random.randrange(len(data))
        byte = bytes([random.choice(MUTANTS)])
        kind = random.choice(("insert", "delete", "replace", "replace", "double", "cut"))
        if kind == "insert":
            yield data[:place] + byte + data[place:]
        elif kind == "delete":
            yield data[:place] + data[place + 1 :]
        elif kind == "replace":
            yield data[:place] + byte + data[place + 1 :]
        elif kind == "double":
            yield data[: place + 1] + data[place:]
        else:
            yield data[:place]
