"""Dates and times as spreadsheets spoil them: foreign forms, missing seconds, cells that look like something else."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import pytest

from loading import Loader
from spelled_cells import column_of, feed_of, load_both_ways, reasons_of

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
    ("persons", "1 234", ": thousands are written without a blank or an apostrophe"),
    ("persons", "1\u00a0234", ": thousands are written without a blank or an apostrophe"),
    ("persons", "\u22125", ": a dash stands where the minus sign '-' should"),
    ("persons", "\u2013 5", ": a dash stands where the minus sign '-' should"),
    ("persons", "5-", ": the minus sign stands right before the number"),
    ("persons", "+5", ": a number has no plus sign"),
    ("persons", "1,5", ": it has a fraction"),
    ("persons", "1,23E+12", ": in scientific notation its last digits are lost"),
    ("persons", "#N/A", ": an error value of a spreadsheet"),
    ("persons", "'5", ": a spreadsheet's apostrophe before it"),
    ("persons", "viisi", ""),
    ("amount", "1.234,56", ": thousands are written without a point or a comma"),
    ("amount", "87 %", ": with a percent sign"),
    ("amount", "1'234,56", ": thousands are written without a blank or an apostrophe"),
    ("amount", "\u2212 1,5", ": a dash stands where the minus sign '-' should"),
    ("amount", "- 1,5", ": the minus sign stands right before the number"),
    ("amount", "+1,5", ": a number has no plus sign"),
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
