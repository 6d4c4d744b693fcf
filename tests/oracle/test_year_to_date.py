"""A year that is not finished is told as one: its full months, beside the same months of the year before."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import duckdb
import pytest

from kpi.engine.graph import Graph
from kpi.ingest import calendar, loader
from kpi.ingest.calendar import write_calendar
from kpi.ingest.raw_files import scan
from modelbench import Bench
from sampled import sampled

pytestmark = pytest.mark.xdist_group("year to date")  # the county is loaded once

Told = dict[tuple[str, str], tuple[float | None, float | None, float | None, int]]
DATES = {"digital_care_paths": "opened_on", "chat_services": "opened_on"}  # where the contract names no column


@pytest.fixture(scope="module")
def delivered(graph: Graph, small_deliveries: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundredth of a county, loaded: 2023 to 2025."""
    folder = tmp_path_factory.mktemp("county")
    with duckdb.connect(str(folder / "county.duckdb")) as con:
        loader.load(con, graph.feeds, small_deliveries, scan(small_deliveries), date(2026, 11, 21))
    return folder / "county.duckdb"


def county(graph: Graph, delivered: Path, last: date, as_of: date | None = None) -> Bench:
    """The project built on the rows up to a day, as on the day of a refresh; without one, every year is finished."""
    bench = Bench(graph, is_built=False)
    bench.con.execute(f"attach '{delivered}' as loaded (read_only)")
    for feed in graph.feeds:
        columns = ", ".join(f'"{name}"' for name, _ in feed.table_columns)
        by = feed.retention.by or DATES[feed.name]
        where = f"where {by}::date <= date '{last}'" if feed.limits.kinds.get(by) in ("date", "timestamp") else ""
        if feed.retention.of:
            where = f"where feedback_id in (select feedback_id from raw.{feed.retention.of})"
        if feed.name == "manual_figures":
            where = f"where report_year <= {last.year}"
        bench.con.execute(f"insert into raw.{feed.name} select {columns} from loaded.raw.{feed.name} {where}")
    bench.con.execute("detach loaded")
    calendar.count_months(bench.con, graph.feeds)
    if as_of:
        write_calendar(bench.con, graph.feeds, as_of)
    bench.build()
    return bench


def told(bench: Bench, table: str, condition: str) -> Told:
    """Figure and service with numerator, denominator, value and events."""
    sql = f"select figure_id, service, numerator, denominator, value, event_count from {table} where {condition}"
    return {(figure, service): tuple(rest) for figure, service, *rest in bench.rows(sql)}


def differences(one: Told, other: Told) -> Iterable[object]:
    def same(a: float | None, b: float | None) -> bool:
        return a is b if a is None or b is None else math.isclose(a, b, rel_tol=1e-12)

    for key in sorted({*one, *other}):
        if key not in one or key not in other or not all(map(same, one[key], other[key])):
            yield key, one.get(key), other.get(key)


# Figures that are told of the end of a year, or by its days, are not those of a county that has no more rows.
ALIKE = (
    "figure_id not in ('digital_care_paths', 'digital_self_care_paths', 'rescue_unit_alarms_per_day')"
    " and figure_id not like '%_change%'"
    " and figure_id in (select figure_id from seeds.figures where family <> 'manual')"
)
OTHERWISE = f"{ALIKE} and basis <> 'december'"


@pytest.mark.parametrize(
    ("as_of", "month"), sampled([(date(2025, 4, 1), 3)], [(date(2025, 2, 5), 1), (date(2025, 4, 1), 3)])
)
def test_a_running_year_is_what_was_delivered_of_its_full_months(
    graph: Graph, delivered: Path, as_of: date, month: int
) -> None:
    """Every figure is that of a county in which nothing came after the last full month, and the year before's too."""
    end = date(2025, month, {1: 31, 3: 31}[month])
    running = county(graph, delivered, date(2025, 12, 31), as_of)
    ended = county(graph, delivered, end)
    assert running.rows(
        "select distinct basis, last_full_month from marts.indicators where report_year = 2025 order by all"
    ) == [("year_to_date", month), ("year_to_date", None)]
    found = told(running, "marts.indicators", f"report_year = 2025 and {OTHERWISE}")
    expected = told(ended, "marts.indicators", f"report_year = 2025 and {OTHERWISE}")
    assert len(found) > 80
    assert list(differences(found, expected)) == []
    before = told(running, "intermediate.int_same_months_before", f"report_year = 2024 and {ALIKE}")
    earlier = county(graph, delivered, end.replace(year=2024))
    expected = told(earlier, "marts.indicators", f"report_year = 2024 and {OTHERWISE}")
    # A census of another month is no comparison; that of December 2023 is not one of 2024 anyway.
    census = {key for key in expected if key not in before and key[0].startswith(("specialist_queue", "digital_"))}
    assert list(differences(before, {key: row for key, row in expected.items() if key not in census})) == []
    whole = "select * exclude (last_full_month) from marts.indicators where report_year < 2025 order by all"
    assert running.rows(whole) == county(graph, delivered, date(2025, 12, 31)).rows(whole)


def test_what_is_told_per_day_and_of_a_day_ends_with_the_last_full_month(graph: Graph, delivered: Path) -> None:
    bench = county(graph, delivered, date(2025, 12, 31), date(2025, 3, 5))
    ((missions, days),) = bench.rows(
        "select numerator, denominator from marts.indicators"
        " where figure_id = 'rescue_unit_alarms_per_day' and report_year = 2025"
    )
    assert days == 31 + 28
    assert [(missions,)] == bench.rows(
        "select count(*) from staging.stg_rescue_missions where report_year = 2025 and report_month <= 2"
    )
    assert bench.rows(
        "select sum(value) from marts.indicators where figure_id = 'digital_care_paths' and report_year = 2025"
    ) == bench.rows(
        "select count(*) from staging.stg_digital_care_paths"
        " where opened_on <= '2025-02-28' and (closed_on is null or closed_on > '2025-02-28')"
    )
    assert bench.rows("select count(*) from marts.indicators where basis = 'december' and report_year = 2025") == [(0,)]
    # The months after it are in the series, and said to be no full ones.
    assert bench.rows(
        "select is_full_month, min(month), max(month) from marts.monthly_series"
        " where figure_id = 'calls_received' and report_year = 2025 group by all order by all"
    ) == [(False, 3, 12), (True, 1, 2)]
    assert bench.failures("assert_months_add_up_to_their_year") == []
    assert bench.failures("assert_every_call_is_counted_once") == []
    assert bench.failures("assert_a_running_year_is_told_as_one") == []


def test_changes_compare_the_same_months_or_say_why_not(graph: Graph, delivered: Path) -> None:
    bench = county(graph, delivered, date(2025, 12, 31), date(2025, 2, 5))
    changes = bench.rows(
        "select figure_id, value, previous_value, change, previous_basis, last_full_month, reason"
        " from marts.indicator_changes where report_year = 2025 and service in ('health', 'rescue')"
        " and figure_id in ('nps_responses', 'safety_inspections') order by figure_id"
    )
    for figure, value, previous, change, basis, month, reason in changes:
        assert [(previous,)] == bench.rows(
            f"select value from marts.monthly_series where figure_id = '{figure}' and report_year = 2024 and month = 1"
            " and service in ('health', 'rescue')"
        )
        assert (change, basis, month, reason) == (value - previous, "year_to_date", 1, None)
    assert len(changes) == 2
    # Nobody knows which months a value entered by hand is about.
    assert bench.rows(
        "select distinct change, direction, assessment, reason from marts.indicator_changes"
        " where report_year = 2025 and last_full_month is null"
    ) == [(None, None, None, "same_months_before_not_told")]
    ((responses,),) = bench.rows(
        "select value from marts.indicators where figure_id = 'nps_responses_change' and service = 'health'"
        " and report_year = 2025"
    )
    assert responses == next(change for figure, _, _, change, *_ in changes if figure == "nps_responses")
    # What leaves the house says which rows are not finished. A change of months would tell small counts of them.
    assert bench.rows(
        "select distinct report_year = 2025, is_unfinished from marts.public_indicators order by all"
    ) == [(False, False), (True, True)]
    assert bench.rows(
        "select is_suppressed, value from marts.public_indicators where report_year = 2025"
        " and figure_id = 'nps_responses_change' and service = 'health'"
    ) == [(True, None)]


def test_a_year_that_is_over_is_finished_when_its_december_came_or_nothing_more_is_waited_for(
    graph: Graph, delivered: Path
) -> None:
    """Without December: year to date until it is very late; with it, a whole year on the first of January."""
    calls = (
        "select basis, last_full_month from marts.indicators"
        " where figure_id = 'calls_received' and service = 'health_lines' and report_year = 2025"
    )
    cut = county(graph, delivered, date(2025, 11, 30), date(2025, 12, 31))
    for as_of, expected in (
        (date(2025, 12, 31), ("year_to_date", 11)),
        (date(2026, 1, 1), ("year_to_date", 11)),
        (date(2026, 2, 14), ("year_to_date", 11)),
        (date(2026, 2, 15), ("calendar_year", None)),
    ):
        write_calendar(cut.con, graph.feeds, as_of)
        cut.build()
        assert cut.rows(calls) == [expected], as_of
    whole = county(graph, delivered, date(2025, 12, 31), date(2026, 1, 1))
    assert whole.rows(calls) == [("calendar_year", None)]
