"""Cells that people and spreadsheets spoil: keys that look the same, numbers, times without seconds, foreign dates.

Each is read twice, as files are usually read and by the full grammar, which must come to the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kpi.errors import ConfigError
from loading import Loader, compare_with_oracle, contracts
from spelled_cells import column_of, feed_of, load_both_ways, quoted, reasons_of

# --- Keys and codes

LOOKALIKES = {
    "a NUL": ("v2\0", "U+0000"),
    "a control letter": ("v2\x1b", "U+001B"),
    "a control letter of the second set": ("v\x852", "U+0085"),
    "a zero-width space": ("v2\u200b", "U+200B"),
    "a zero-width joiner": ("v\u200d2", "U+200D"),
    "a word joiner": ("v\u20602", "U+2060"),
    "a byte order mark in the middle": ("v\ufeff2", "U+FEFF"),
    "a byte order mark before it": ("\ufeffv2", "U+FEFF"),
    "a soft hyphen": ("v\u00ad2", "U+00AD"),
    "a mark of direction": ("\u202ev2", "U+202E"),
    "an isolate": ("v2\u2069", "U+2069"),
    "a no-break space": ("\u00a0v2", "U+00A0"),
    "a narrow no-break space": ("v2\u202f", "U+202F"),
    "a figure space": ("v\u20072", "U+2007"),
    "an ideographic space": ("v2\u3000", "U+3000"),
    "a line separator": ("v2\u2028", "U+2028"),
    "a filler": ("v2\u3164", "U+3164"),
    "a variation selector": ("v2\ufe0f", "U+FE0F"),
    "a combining joiner": ("v\u034f2", "U+034F"),
    "a tag": ("v2\U000e0041", "U+E0041"),
}
FOREIGN = "holds a letter of another alphabet that passes for a Latin one"
MISSPELT = {
    **{name: (text, f"holds a letter that cannot be seen, {number}") for name, (text, number) in LOOKALIKES.items()},
    "a Cyrillic letter": ("\u0430v2", f"{FOREIGN}, U+0430"),
    "Cyrillic letters only": ("\u0410\u0412", f"{FOREIGN}, U+0410"),
    "a Greek letter": ("v2\u039f", f"{FOREIGN}, U+039F"),
    "a wide digit": ("v２", f"{FOREIGN}, U+FF12"),
    "a line end after it": ("v2\n", "begins or ends with a line end or a tab"),
    "a letter in two": ("va\u0308", "holds a letter and its accent as two, which look like one"),
    "a number that lost its digits": ("1,23E+12", "in scientific notation, its digits are lost"),
    "the same with a point": ("1.23457E+15", "in scientific notation, its digits are lost"),
    "an error value": ("#N/A", "an error value of a spreadsheet"),
    "a reference that is gone": ("#REF!", "an error value of a spreadsheet"),
    "a Finnish error value": ("#PUUTTUU!", "an error value of a spreadsheet"),
    "a column too narrow": ("#####", "an error value of a spreadsheet"),
    "an apostrophe": ("'00123", "begins with an apostrophe"),
    "a formula": ('="00123"', "a spreadsheet's formula around it"),
}


@pytest.mark.parametrize("column", ["visit_id", "unit"])
def test_a_key_or_a_code_that_looks_like_another_is_a_reject(tmp_path: Path, column: str) -> None:
    loader = Loader(tmp_path / "raw", [feed_of(tmp_path)])
    rows = [
        quoted(*((text, "k") if column == "visit_id" else (f"v{number}", text)))
        for number, (text, _) in enumerate(MISSPELT.values())
    ]
    loader.deliver("a.csv", "visit_id;unit\n" + "".join(rows) + "v2;k\n")
    load_both_ways(loader)
    message = dict(zip(MISSPELT, (reasons for _, reasons in reasons_of(loader)), strict=True))
    assert message == {name: [f"{column}: {reason}"] for name, (_, reason) in MISSPELT.items()}
    assert loader.rows("visit_id, unit") == [("v2", "k")]


GOOD = (
    "v2",
    "V 2",
    "ä2",
    "Šakki",
    "β-salpaaja",
    "Ключ",
    "1E5",
    "12e3",
    "-5",
    "c,5",
    'c"5',
    "#1",
    "a'b",
    "=1+1",
    "c\n5",
    "🚑",
)


def test_a_key_that_only_is_unusual_loads(tmp_path: Path) -> None:
    loader = Loader(tmp_path / "raw", [feed_of(tmp_path)])
    loader.deliver("a.csv", "visit_id;unit\n" + "".join(quoted(text, text) for text in GOOD))
    load_both_ways(loader)
    assert loader.rows("visit_id, unit") == [(text, text) for text in GOOD]


def test_the_oracle_names_the_same_keys(tmp_path: Path) -> None:
    loader = Loader(tmp_path, [contracts()["safety_inspections"]])
    texts = [text for text, _ in MISSPELT.values()] + list(GOOD)
    rows = (
        f'"{text.replace(chr(34), chr(34) * 2)}",2025-03-05,"{text.replace(chr(34), chr(34) * 2)}"' for text in texts
    )
    loader.deliver("a.csv", "inspection_id,inspected_on,kind\n" + "\n".join(rows))
    load_both_ways(loader)
    compare_with_oracle(loader)
    assert len(loader.rows()) == len(GOOD)


def test_keys_that_look_the_same_become_one_where_a_contract_says_so(tmp_path: Path) -> None:
    loader = Loader(tmp_path / "raw", [feed_of(tmp_path, {"lookalikes": "normalise"}, unit={"lookalikes": "keep"})])
    texts = ["v2", *(text for text, _ in LOOKALIKES.values())]
    loader.deliver("a.csv", "visit_id;unit;line\n" + "".join(quoted(text, "x\u200b", "sms\u200b") for text in texts))
    loader.deliver("b.csv", "visit_id;unit;line\n\u200b;x;sms\n\u00a0-;x;sms\nv9;x;ha\u0308ta\u0308\n")
    load_both_ways(loader)
    assert loader.rows("visit_id, unit, line") == [
        ("v2", "x\u200b", "sms"),
        ("v 2", "x\u200b", "sms"),  # in the middle a figure space is a space
        ("v9", "x", "hätä"),
    ]
    message = {reason for _, _, reasons in loader.rejects() for reason in reasons}
    assert message == {"visit_id: the key stands in an earlier record of the file already", "visit_id: missing"}


def test_free_text_may_hold_anything(tmp_path: Path) -> None:
    loader = Loader(tmp_path / "raw", [feed_of(tmp_path)])
    texts = [text for text, _ in MISSPELT.values()]
    column_of(loader, "comment", *texts)
    assert len(loader.rows()) == len(texts)


HINTS = (
    ("Health station", "health_station"),
    ("HEALTH_STATION", "health_station"),
    ("health-station", "health_station"),
    ("helth_station", "health_station"),
    ("oral_helth", "oral_health"),
    ("sms\u200b", "sms"),
    ("\u00a0SMS", "sms"),
    ("a", "A"),
    ("HÄTÄ", "hätä"),
    ("ha\u0308ta\u0308", "hätä"),
    ("fax", ""),
    ("E", ""),
    ("health", ""),
)


def test_a_code_that_resembles_a_known_one_gets_a_hint(tmp_path: Path) -> None:
    loader = Loader(tmp_path / "raw", [feed_of(tmp_path)])
    column_of(loader, "line", *(text for text, _ in HINTS))
    did = [f", did you mean {hint}?" if hint else "" for _, hint in HINTS]
    assert [reasons for _, reasons in reasons_of(loader)] == [[f"line: not one of its codes{hint}"] for hint in did]


# --- Numbers


@pytest.mark.parametrize(("cells", "is_told"), [
    (("1.234",), True),
    (("1,234",), True),
    (("1,234", "850", "12"), True),
    (("1,234", "-2,500", "3.125"), True),
    (("1.234", "87,5"), True),  # the comma is the decimal mark of this file
    (("1,234", "87,5"), False),
    (("1,234", "0,234"), False),
    (("1,234", "1234,5"), False),
    (("1,234", "1\u00a0234,567"), False),
    (("12,5", "850"), False),
    (("1.234", "x"), True),
    (("1.234", "1.234,56"), True),
    (("",), False),
])  # fmt: skip
def test_a_column_of_numbers_that_may_be_thousands_is_told(
    tmp_path: Path, cells: tuple[str, ...], is_told: bool
) -> None:
    loader = Loader(tmp_path / "raw", [feed_of(tmp_path, amount={"grouped_digits": True})])
    report = column_of(loader, "amount", *cells)
    message = [warning for warning in report.warnings if "were thousands meant?" in warning]
    assert len(message) == is_told
    assert loader.ledger("columns_maybe_thousands") == [(["amount"] if is_told else None,)]
    assert all(
        warning.startswith("visits/a.csv: the numbers in amount with a point, or with a comma, all look")
        for warning in message
    )


def test_thousands_are_looked_for_in_each_file(tmp_path: Path) -> None:
    loader = Loader(tmp_path / "raw", [feed_of(tmp_path)])
    loader.deliver("a.csv", "visit_id;amount\nv1;1,234\n")
    loader.deliver("b.csv", "visit_id;amount\nv2;1,2\n")
    loader.deliver("c.csv", "visit_id,amount\nv3,1.234\n")
    load_both_ways(loader)
    assert loader.ledger("columns_maybe_thousands") == [(["amount"],), (None,), (["amount"],)]
    assert loader.rows("amount") == [(Decimal("1.234"),), (Decimal("1.2"),), (Decimal("1.234"),)]


def test_a_contract_that_says_how_many_decimals_there_are(tmp_path: Path) -> None:
    loader = Loader(tmp_path / "raw", [feed_of(tmp_path, amount={"decimals": 3})])
    report = column_of(loader, "amount", "1.234", "1,2340", "1,2345", "0,1234567", "5")
    assert [warning for warning in report.warnings if "thousands" in warning] == []
    assert reasons_of(loader) == [(3, ["amount: more than 3 decimals"]), (4, ["amount: more than 3 decimals"])]
    whole = Loader(tmp_path / "whole", [feed_of(tmp_path, amount={"decimals": 0})])
    column_of(whole, "amount", "5", "5,0", "5,1")
    assert reasons_of(whole) == [(3, ["amount: more than 0 decimals"])]


def test_decimals_beyond_those_that_are_kept_are_rounded_and_told(tmp_path: Path) -> None:
    loader = Loader(tmp_path / "raw", [feed_of(tmp_path)])
    report = column_of(loader, "amount", "0,1234567", "0.1234565", "-0.1234565", "0,1234560", "0,5", "x,1234567")
    amounts = ("0.123457", "0.123457", "-0.123457", "0.123456", "0.5")
    assert [row[0] for row in loader.rows("amount")] == list(map(Decimal, amounts))
    assert loader.ledger("rows_rounded") == [(3,)]
    assert "visits/a.csv: 3 numbers with more than 6 decimals, rounded to 6." in report.warnings
    loader.deliver("a.csv", "visit_id;amount\nv1;0,5\n")
    messages = [one for one in load_both_ways(loader).warnings if "it held 6 before" not in one]
    assert messages == [one for one in report.warnings if "optional columns" in one]
    assert loader.ledger("rows_rounded") == [(0,)]


# --- A file most of which is rejected


@pytest.mark.parametrize(("records", "bad", "is_refused"), [
    (10, 10, True),
    (10, 6, True),
    (10, 5, False),
    (40, 10, False),
    (40, 11, True),
    (1, 1, True),
    (2, 2, True),
    (2, 1, False),
    (3, 2, True),
    (2000, 20, False),
    (2000, 21, True),
])  # fmt: skip
def test_never_more_than_half_of_a_file_is_rejected_and_published(
    tmp_path: Path, records: int, bad: int, is_refused: bool
) -> None:
    loader = Loader(tmp_path / "raw", [feed_of(tmp_path)])
    days = ["1/2/2025"] * bad + ["2025-02-01"] * (records - bad)
    loader.deliver("a.csv", "visit_id;visited_on\n" + "".join(f"v{n};{day}\n" for n, day in enumerate(days)))
    loader.load()
    assert bool(loader.refused()) == is_refused
    assert loader.refused(1.0) == ""


@pytest.mark.parametrize("share", [0.6, 1, -0.1])
def test_a_contract_lets_no_more_than_half_of_a_file_be_rejected(tmp_path: Path, share: float) -> None:
    with pytest.raises(ConfigError, match=r"'share' is at most 0\.5 of a file's records"):
        feed_of(tmp_path, {"reject_threshold": {"share": share}})
    loader = Loader(tmp_path / "raw", [feed_of(tmp_path, {"reject_threshold": {"share": 0.5, "rows": 1000}})])
    loader.deliver("a.csv", "visit_id;visited_on\nv1;x\nv2;x\nv3;2025-03-05\n")
    loader.load()
    assert "2 of 3 records rejected; allowed are 1." in loader.refused()


# --- Mistakes in the contract


@pytest.mark.parametrize(("name", "setting", "message"), [
    ("visited_on", {"format": "%d.%m"}, "names no whole date"),
    ("visited_on", {"format": "%d.%m.%Y %"}, "ends in the middle of a part"),
    ("visited_on", {"format": "%d.%b.%Y"}, "'%b' is not supported in a format; known are %Y, %y"),
    ("arrived_at", {"format": "%d.%m.%Y"}, "names no time of day"),
    ("arrived_at", {"format": "%d.%m.%Y %I.%M"}, "names no time of day"),
    ("unit", {"format": "%d.%m.%Y"}, "'format' says nothing of a text column"),
    ("amount", {"decimals": 7}, "'decimals' is a whole number from 0 to 6"),
    ("amount", {"decimals": True}, "'decimals' is a whole number"),
    ("persons", {"decimals": 2}, "'decimals' says nothing of a integer column"),
    ("arrived_at", {"precision": "hour"}, "'precision' is second or minute, not 'hour'"),
    ("visited_on", {"precision": "minute"}, "'precision' says nothing of a date column"),
    ("unit", {"lookalikes": "strip"}, "'lookalikes' is reject, normalise or keep, not 'strip'"),
    ("persons", {"lookalikes": "keep"}, "'lookalikes' says nothing of a integer column"),
    ("unit", {"null_words": [1]}, "'null_words' must be a list of texts"),
    ("unit", {"null_word": ["x"]}, "Did you mean 'null_words'?"),
])  # fmt: skip
def test_a_mistake_in_the_rules_of_a_column(
    tmp_path: Path, name: str, setting: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        feed_of(tmp_path, **{name: setting})
    assert message in str(raised.value)
    assert "visits.yml:" in str(raised.value)
