"""Cells that people and spreadsheets spoil: keys that look the same, numbers, times without seconds, foreign dates.

Each is read twice, as files are usually read and by the full grammar, which must come to the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from kpi.errors import ConfigError
from kpi.ingest.contract import Feed, read_feed
from kpi.ingest.loader import LoadReport
from kpi.project.project import load_project
from loading import Loader, compare_with_oracle, contracts

TYPES = {
    "visit_id": "varchar",
    "unit": "varchar",
    "line": "varchar",
    "visited_on": "date",
    "arrived_at": "timestamp",
    "left_at": "timestamp",
    "persons": "bigint",
    "amount": "decimal(24,6)",
    "comment": "varchar",
}
COLUMNS: Mapping[str, dict[str, Any]] = {
    "visit_id": {"required": True},
    "line": {"codes": ["health_station", "oral_health", "sms", "A", "hätä"]},
    "comment": {"free_text": "mask"},
}


def feed_of(folder: Path, settings: Mapping[str, Any] | None = None, **columns: Mapping[str, Any]) -> Feed:
    """The feed `visits`, with settings of its own and of its columns besides."""
    described = [
        {"name": name, "data_type": kind, "config": {"meta": {**COLUMNS.get(name, {}), **columns.get(name, {})}}}
        for name, kind in TYPES.items()
    ]
    meta = {"feed": {"key": ["visit_id"], **(settings or {})}}
    tables = [{"name": "visits", "config": {"meta": meta}, "columns": described}]
    (folder / "models").mkdir(parents=True, exist_ok=True)
    (folder / "dbt_project.yml").write_text("name: small\n")
    text = yaml.safe_dump({"sources": [{"name": "raw", "tables": tables}]}, allow_unicode=True)
    (folder / "models/visits.yml").write_text(text, encoding="utf-8")
    return read_feed(load_project(folder).sources[0])


def load_both_ways(loader: Loader) -> LoadReport:
    """Load in both ways, assert that they agree, and return what the usual one reports."""
    careful = Loader(loader.raw, loader.feeds)
    careful.load(careful=True)
    report = loader.load()
    assert careful.content() == loader.content()
    counts = loader.ledger("records - rows_loaded - rows_rejected")
    assert counts == [(0,)] * len(counts)
    return report


def reasons_of(loader: Loader) -> list[tuple[int, list[str]]]:
    return [(record, reasons) for _, record, reasons in loader.rejects()]


def quoted(*cells: str) -> str:
    return ";".join('"' + cell.replace('"', '""') + '"' for cell in cells) + "\n"


def column_of(loader: Loader, name: str, *cells: str, file: str = "a.csv") -> LoadReport:
    """Deliver cells of one column, each in a row of its own, quoted, and load them."""
    lines = [quoted(f"v{number}", cell) for number, cell in enumerate(cells, start=1)]
    loader.deliver(file, f"visit_id;{name}\n" + "".join(lines))
    return load_both_ways(loader)


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
    assert load_both_ways(loader).warnings == tuple(w for w in report.warnings if "optional columns" in w)
    assert loader.ledger("rows_rounded") == [(0,)]


# --- Dates and times


FINNISH_TIMES = (
    ("1.4.2025 1.26", datetime(2025, 4, 1, 1, 26)),
    ("1.4.2025 1.26.05", datetime(2025, 4, 1, 1, 26, 5)),
    ("01.04.2025 01.26", datetime(2025, 4, 1, 1, 26)),
    ("1.4.2025 23.59.59", datetime(2025, 4, 1, 23, 59, 59)),
    ("1.4.2025 1:26", datetime(2025, 4, 1, 1, 26)),
    ("1.4.2025 1:26:05", datetime(2025, 4, 1, 1, 26, 5)),
    ("1.4.2025 klo 1.26", datetime(2025, 4, 1, 1, 26)),
    ("1.4.2025 24.00", None),
    ("1.4.2025 1.6", None),
    ("1.4.2025 1.26:05", None),
    ("2025-04-01 1.26", None),
)


def test_times_as_a_finnish_spreadsheet_writes_them(tmp_path: Path) -> None:
    loader = Loader(tmp_path / "raw", [feed_of(tmp_path)])
    column_of(loader, "arrived_at", *(text for text, _ in FINNISH_TIMES))
    assert loader.rows("_record, arrived_at") == [(n, at) for n, (_, at) in enumerate(FINNISH_TIMES, start=1) if at]


US = ": it looks like month/day/year, as in the United States; a contract may name its format"
SLASHES = ": with slashes, which is the day and which the month cannot be known; a contract may name its format"
LOOK_LIKE = (
    ("persons", "1.234", ": thousands are written without a point or a comma"),
    ("persons", "1,5", ": it has a fraction"),
    ("persons", "1,23E+12", ": in scientific notation its last digits are lost"),
    ("persons", "#N/A", ": an error value of a spreadsheet"),
    ("persons", "'5", ": a spreadsheet's apostrophe before it"),
    ("persons", "viisi", ""),
    ("amount", "1.234,56", ": thousands are written without a point or a comma"),
    ("amount", "87 %", ": with a percent sign"),
    ("amount", "#JAKO/0!", ": an error value of a spreadsheet"),
    ("visited_on", "3/14/2023", US),
    ("visited_on", "14/3/2023", ": it looks like day/month/year; a contract may name its format"),
    ("visited_on", "3/4/2023", SLASHES),
    ("visited_on", "5.3.25", ": the year has two digits"),
    ("visited_on", "45721", ": it looks like the day number of a spreadsheet"),
    ("visited_on", "2025-03-05 00:00:00", ": it has a time of day"),
    ("visited_on", "2025-01-99", ": there is no such day"),
    ("visited_on", "2025-02-29", ": there is no such day"),
    ("visited_on", "31.4.2025", ": there is no such day"),
    ("visited_on", "2025-03-05+02:00", ": a time zone is not read"),
    ("visited_on", "#VIITTAUS!", ": an error value of a spreadsheet"),
    ("visited_on", "eilen", ""),
    ("arrived_at", "3/14/2023 2:05 PM", US),
    ("arrived_at", "2025-03-05", ": the time of day is missing"),
    ("arrived_at", "2025-03-05 14:07:09Z", ": a time zone is not read"),
    ("arrived_at", "2025-03-05 14:07+02:00", ": a time zone is not read"),
    ("arrived_at", "2025-03-05 14:07:09.5", ": fractions of a second are not read"),
    ("arrived_at", "5.3.2025 2:07 PM", ": a clock of twelve hours"),
)
KINDS = {
    "persons": "not a whole number",
    "amount": "not a decimal number",
    "visited_on": "not a date",
    "arrived_at": "not a date and time",
}


@pytest.mark.parametrize("name", KINDS)
def test_what_a_cell_that_cannot_be_read_looks_like(tmp_path: Path, name: str) -> None:
    loader = Loader(tmp_path / "raw", [feed_of(tmp_path)])
    cases = [(text, hint) for column, text, hint in LOOK_LIKE if column == name]
    column_of(loader, name, *(text for text, _ in cases))
    assert [reasons for _, reasons in reasons_of(loader)] == [[f"{name}: {KINDS[name]}{hint}"] for _, hint in cases]


def test_a_contract_may_name_the_formats_of_its_dates(tmp_path: Path) -> None:
    formats = {"format": ["%m/%d/%Y %I:%M %p", "%m/%d/%Y %H:%M:%S"]}
    days = {"format": "%m/%d/%Y"}
    loader = Loader(tmp_path / "raw", [feed_of(tmp_path, arrived_at=formats, visited_on=days)])
    column_of(
        loader, "arrived_at", "3/14/2023 2:05 PM", "03/04/2023 14:05:09", "2023-03-14 14:05:00", "13/1/2023 1:05 PM"
    )
    assert loader.rows("arrived_at") == [(datetime(2023, 3, 14, 14, 5),), (datetime(2023, 3, 4, 14, 5, 9),)]
    column_of(
        loader, "visited_on", "3/14/2023", "12/31/2023", "2/29/2023", "3/14/23", "3/14/1989", "14.3.2023", "3/4/2023x"
    )
    assert loader.rows("visited_on") == [(date(2023, 3, 14),), (date(2023, 12, 31),)]
    midnight = Loader(tmp_path / "midnight", [feed_of(tmp_path, visited_on={"format": "%d.%m.%y %H.%M"})])
    column_of(midnight, "visited_on", "5.3.25 0.00", "5.3.89 0.00", "5.3.25 0.01")
    assert midnight.rows("visited_on") == [(date(2025, 3, 5),)]


def test_a_contract_may_name_words_that_stand_for_nothing(tmp_path: Path) -> None:
    words = {"null_words": ["#N/A", "ei tiedossa"]}
    loader = Loader(tmp_path / "raw", [feed_of(tmp_path, words, persons={"null_words": "?"})])
    loader.deliver("a.csv", "visit_id;persons;unit\nv1;?;#N/A\nv2;ei tiedossa;?\n#N/A;1;x\nv4;-;NULL\n")
    load_both_ways(loader)
    assert loader.rows("visit_id, persons, unit") == [("v1", None, None), ("v2", None, "?"), ("v4", None, None)]
    assert reasons_of(loader) == [(3, ["visit_id: missing"])]


# --- Seconds that a spreadsheet drops


def times(*cells: str) -> str:
    return "visit_id;arrived_at;left_at\n" + "".join(f"v{n};{cell};\n" for n, cell in enumerate(cells))


@pytest.mark.parametrize(("cells", "precision", "is_told"), [
    (["1.4.2025 1.26"] * 5, "", True),
    (["2025-04-01 01:26:00"] * 5, "", True),
    (["1.4.2025 1:26"] * 4, "", False),  # too few to tell
    (["1.4.2025 1:26"], "second", True),
    (["1.4.2025 1:26"] * 100, "minute", False),
    (["1.4.2025 1:26"] * 99 + ["1.4.2025 1:26:01"], "", False),
    ([""] * 9, "", False),
])  # fmt: skip
def test_a_file_whose_times_have_no_seconds_is_told(
    tmp_path: Path, cells: list[str], precision: str, is_told: bool
) -> None:
    column = {"precision": precision} if precision else {}
    loader = Loader(tmp_path / "raw", [feed_of(tmp_path, arrived_at=column)])
    loader.deliver("a.csv", times(*cells))
    report = load_both_ways(loader)
    assert loader.ledger("columns_without_seconds") == [(["arrived_at"] if is_told else None,)]
    message = "visits/a.csv: no time in arrived_at has seconds: did a spreadsheet drop them?"
    assert [warning for warning in report.warnings if warning.startswith(message)] == list(
        report.warnings[-1:]
    ) * is_told


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
