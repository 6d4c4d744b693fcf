"""A feed is late when its next month or year does not come, by its contract or by dbt's own words."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import pytest

from kpi.build_record import FeedStatus
from kpi.errors import ContractError
from kpi.ingest.calendar import late_problems, measure, read_months
from kpi.ingest.contract import Cadence, is_feed, read_cadence, read_feed
from kpi.project.project import load_project
from small_project import FILES, write

CALLS = FILES["models/staging/calls.yml"]
RAW_CALLS = "create table raw.calls (arrived_on date, _file varchar, _is_superseded boolean)"
FEED = "config: {meta: {feed: {key: [call_id]}}}"


def dues(root: Path, newest: str | None, as_of: str, contract: str = FEED, **changes: str) -> list[FeedStatus]:
    write(root, {"models/staging/calls.yml": CALLS.replace(FEED, contract), **changes})
    feeds = [read_feed(source) for source in load_project(root).sources if is_feed(source)]
    with duckdb.connect() as con:
        con.execute("create schema raw")
        con.execute("create table raw.deliveries (feed varchar, file varchar, latest_date date)")
        con.execute(RAW_CALLS)
        if newest:
            con.execute("insert into raw.deliveries values ('calls', 'a.csv', ?)", [newest])
            con.execute("insert into raw.calls values (?, 'a.csv', false), ('2025-01-05', 'b.csv', false)", [newest])
            if date.fromisoformat(newest).year == 2025:  # a month without rows before the newest one is a gap
                last = "date_trunc('month', ?::date) - interval 1 day"
                months = f"generate_series(date '2025-01-05', {last}, interval 1 month)"
                con.execute(f"insert into raw.calls select unnest({months}), 'b.csv', false", [newest])
            con.execute("insert into raw.calls values ('2025-12-31', 'c.csv', true)")  # superseded: it is not there
        return measure(con, read_months(con, feeds, date.fromisoformat(as_of)))


def days(root: Path, newest: str, contract: str = FEED) -> tuple[str, str]:
    (due,) = dues(root, newest, "2026-01-01", contract)
    return str(due.expected_by), str(due.very_late_by)


@pytest.mark.parametrize(
    ("newest", "settings", "expected"),
    [
        ("2025-10-31", "", ("2025-12-15", "2026-01-14")),  # the end of a month is followed by the end of the next
        ("2025-02-28", "", ("2025-04-15", "2025-05-15")),
        ("2025-10-05", "", ("2025-12-15", "2026-01-14")),  # October has come, so November is next
        ("2025-12-31", "expected_every: year", ("2027-03-01", "2027-04-30")),
        ("2025-10-31", "late_after_days: 0, very_late_after_days: 1", ("2025-11-30", "2025-12-01")),
        ("2025-10-31", "late_after_days: 100", ("2026-03-10", "2026-04-09")),
        ("2025-06-30", "expected_every: year", ("2027-03-01", "2027-04-30")),
        ("2025-10-31", "expected_every: once", ("None", "None")),
    ],
)
def test_days_by_which_more_is_expected(tmp_path: Path, newest: str, settings: str, expected: tuple[str, str]) -> None:
    contract = f"config: {{meta: {{feed: {{key: [call_id], {settings}}}}}}}"
    assert days(tmp_path, newest, contract) == expected


def test_dbts_own_freshness_goes_before_the_contract(tmp_path: Path) -> None:
    freshness = "freshness: {warn_after: {count: 36, period: hour}, error_after: {count: 5, period: day}}"
    contract = f"config: {{meta: {{feed: {{key: [call_id]}}}}, {freshness}}}"
    assert days(tmp_path, "2025-10-31", contract) == ("2025-11-02", "2025-11-05")


def test_states_change_the_day_after() -> None:
    due = FeedStatus("calls", "month", date(2025, 10, 31), "a.csv", date(2025, 12, 15), date(2026, 1, 14))
    assert [due.state(date(2025, 12, 15)), due.state(date(2025, 12, 16))] == ["fresh", "late"]
    assert [due.state(date(2026, 1, 14)), due.state(date(2026, 1, 15))] == ["late", "very late"]
    assert list(map(str, late_problems([due], date(2026, 1, 15)))) == [
        "calls: very late: its newest day is 2025-10-31, more was expected by 2025-12-15."
    ]


def test_a_feed_that_never_came_is_not_late_and_a_day_ahead_makes_none_fresh(tmp_path: Path) -> None:
    (due,) = dues(tmp_path, None, "2026-01-01")
    assert due.state(date(2030, 1, 1)) == "not delivered"
    (due,) = dues(tmp_path, "2099-01-01", "2026-01-01")
    assert due.newest == date(2025, 1, 5)
    assert due.state(date(2026, 1, 1)) == "very late"


def test_a_feed_without_a_day_in_its_rows_was_delivered_all_the_same(tmp_path: Path) -> None:
    dues(tmp_path, None, "2026-01-01")
    feeds = [read_feed(source) for source in load_project(tmp_path).sources if is_feed(source)]
    with duckdb.connect() as con:
        con.execute("create schema raw")
        con.execute("create table raw.deliveries as select 'calls' as feed, 'a.csv' as file, null::date as latest_date")
        con.execute(RAW_CALLS)
        (due,) = measure(con, read_months(con, feeds, date(2026, 1, 1)))
    assert (due.newest_file, due.state(date(2026, 1, 1))) == ("a.csv", "no dates")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("late_after_days: -1", "'late_after_days' is a whole number of days"),
        ("late_after_days: soon", "'late_after_days' is a whole number of days"),
        ("late_after_days: 20, very_late_after_days: 10", "less than the 20 after which it is late"),
        ("expected_every: once, late_after_days: 3", "expected once is never late"),
    ],
)
def test_a_cadence_that_makes_no_sense_names_its_line(tmp_path: Path, settings: str, message: str) -> None:
    with pytest.raises(ContractError, match=rf"models/staging/calls.yml:5: .*{message}"):
        dues(tmp_path, None, "2026-01-01", f"config: {{meta: {{feed: {{key: [call_id], {settings}}}}}}}")


def test_every_contract_of_the_project_has_a_cadence() -> None:
    sources = load_project(Path(__file__).parents[2]).sources
    cadences = [read_cadence(source, read_feed(source).expected_every) for source in sources if is_feed(source)]
    assert all(isinstance(cadence, Cadence) for cadence in cadences)
    assert {cadence.late_after_days for cadence in cadences if cadence.every == "month"} == {15}
