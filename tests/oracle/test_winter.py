"""The nightly job on every night from 1 December to 31 March, over a monthly feed, a yearly one and a census."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import small_project
from kpi import database
from kpi.cli.main import cli
from kpi.errors import CheckFailed
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from kpi.warehouse.builds import Warehouse
from sampled import sampled

FEED = """\
      - name: NAME
        config: {meta: {feed: {key: [id], expected_every: EVERY, MORE}}}
        columns:
          - {name: id, data_type: varchar, config: {meta: {required: true}}}
          - {name: happened_on, data_type: date, config: {meta: {required: true}}}
"""
CADENCES = {
    "calls": "month, late_after_days: 15, very_late_after_days: 45",
    "notes": "year, late_after_days: 60, very_late_after_days: 80",
    "queue": "month, census: happened_on, late_after_days: 10, very_late_after_days: 30",
}
SOURCES = "sources:\n  - name: raw\n    tables:\n" + "".join(
    FEED.replace("NAME", name).replace("EVERY, MORE", cadence) for name, cadence in CADENCES.items()
)
EVENTS = " union all ".join(
    f"select '{name}' as feed, happened_on from {{{{ source('raw', '{name}') }}}} where not _is_superseded"
    for name in CADENCES
)
INDICATORS = f"""\
with events as ({EVENTS})
select
    e.feed as figure_id,
    'all' as service,
    year(happened_on) as report_year,
    case when c.feed is null then 'calendar_year' else 'year_to_date' end as basis,
    cast(null as double) as numerator,
    cast(null as double) as denominator,
    cast(count(*) as double) as value,
    count(*) as event_count
from events as e
left join {{{{ source('raw', 'feed_calendar') }}}} as c on c.feed = e.feed and c.report_year = year(happened_on)
group by all
"""
COVERAGE = f"""\
with events as ({EVENTS})
select feed, year(happened_on) as report_year, month(happened_on) as month, count(*) as row_count, 1 as service_count
from events
group by all
"""
FILES: dict[str, str | None] = {
    **dict.fromkeys(small_project.FILES),
    "dbt_project.yml": small_project.FILES["dbt_project.yml"],
    "macros/macros.sql": small_project.FILES["macros/macros.sql"],
    "models/staging/feeds.yml": SOURCES + "      - name: feed_calendar\n",
    "models/marts/indicators.sql": INDICATORS,
    "models/marts/coverage.sql": COVERAGE,
}
# When what is expected of 2025 and of January 2026 came, of each feed: the census day of a month is its last.
WINTERS: dict[str, dict[str, tuple[int, ...]]] = {
    "all in time": {"calls": (5, 5), "notes": (40,), "queue": (3, 3)},
    "december late": {"calls": (30, 31), "notes": (70,), "queue": (15, 5)},
    "nothing more": {"calls": (999, 999), "notes": (999,), "queue": (999, 999)},
}


def month_end(year: int, month: int) -> date:
    return date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)


def arrivals(winter: str) -> Iterator[tuple[date, str, str, list[date]]]:
    """The day on which each file came, its feed and name, and the days of its rows."""
    waits = WINTERS[winter]
    for feed in ("calls", "queue"):
        late = {(2025, 12): waits[feed][0], (2026, 1): waits[feed][-1]}
        for year, month in [*((2025, number) for number in range(1, 13)), (2026, 1), (2026, 2)]:
            end = month_end(year, month)
            rows = [end] if feed == "queue" else [end.replace(day=number) for number in range(1, end.day + 1)]
            wait = late.get((year, month), 999 if winter == "nothing more" and year == 2026 else 2)
            yield end + timedelta(days=wait), feed, f"{year}-{month:02}.csv", rows
    yield date(2025, 1, 20), "notes", "2024.csv", [date(2024, 12, 31)]
    yield date(2025, 12, 31) + timedelta(days=waits["notes"][0]), "notes", "2025.csv", [date(2025, 12, 31)]


def deliver(root: Path, feed: str, name: str, rows: list[date]) -> None:
    path = root / "warehouse/raw" / feed / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(["id,happened_on\n", *(f"{feed}{row},{row}\n" for row in rows)]))


def expected_states(came: dict[str, set[tuple[int, int]]], day: date) -> dict[str, str]:
    """How fresh each feed is, by the first month or year that is missing, counted in plain days."""
    states = {}
    for feed, (late, very_late) in {"calls": (15, 45), "queue": (10, 30), "notes": (60, 80)}.items():
        periods = came[feed]
        year, month = min(periods)
        while (year, month) in periods:
            year, month = (year + 1, month) if feed == "notes" else (year + month // 12, month % 12 + 1)
        end = date(year, 12, 31) if feed == "notes" else month_end(year, month)
        waited = (day - end).days
        states[feed] = "very late" if waited > very_late else "late" if waited > late else "fresh"
    return states


def nights(winter: str) -> set[date]:
    """In CI the nights on which a file comes or a feed becomes late, and those before them; otherwise all."""
    every = [date(2025, 12, 1) + timedelta(days=number) for number in range(121)]
    files = list(arrivals(winter))
    notable = set()
    before: object = None
    for day in every:
        came: dict[str, set[tuple[int, int]]] = {feed: set() for feed in CADENCES}
        for on, feed, _, rows in files:
            if on <= day:
                came[feed] |= {(row.year, 12 if feed == "notes" else row.month) for row in rows}
        if (now := (came, expected_states(came, day))) != before:
            notable |= {day + timedelta(days=near) for near in (-1, 0)}
        before = now
    return sampled(notable, set(every))


def freshness(root: Path, day: date) -> dict[str, str]:
    done = CliRunner().invoke(cli, ["freshness", "--as-of", str(day), "--project-dir", str(root)])
    lines = [line for line in done.output.splitlines() if line.split(" ")[0] in CADENCES]
    assert done.exit_code == (7 if any("very late" in line for line in lines) else 0)
    return {line.split()[0]: next(s for s in ("very late", "late", "fresh") if s in line) for line in lines}


def bases(root: Path, build: str) -> dict[tuple[str, int], str]:
    with database.reading(Warehouse(root / "warehouse").folder(build) / "kpi.duckdb") as con:
        rows = con.execute("select figure_id, report_year, basis from marts.indicators").fetchall()
    return {(figure, year): basis for figure, year, basis in rows}


@pytest.mark.parametrize("winter", WINTERS)
def test_refresh_freshness_and_basis_agree_on_every_night_of_a_winter(tmp_path: Path, winter: str) -> None:
    """Fresh: published. Late: a warning. Very late: an error, and readers keep what they had."""
    root = small_project.write(tmp_path, FILES)
    waiting = sorted(arrivals(winter))
    came: dict[str, set[tuple[int, int]]] = {feed: set() for feed in CADENCES}
    build, day, built, looked_at = "", date(2025, 12, 1), 0, nights(winter)
    while day <= date(2026, 3, 31):
        if day not in looked_at:
            day += timedelta(days=1)
            continue
        while waiting and waiting[0][0] <= day:
            _, feed, name, rows = waiting.pop(0)
            deliver(root, feed, name, rows)
            came[feed] |= {(row.year, 12 if feed == "notes" else row.month) for row in rows}
        states = expected_states(came, day)
        said: list[str] = []
        try:
            outcome = refresh(root, Options(as_of=day), said.append)
        except CheckFailed:
            assert "very late" in states.values(), (day, states)
        else:
            assert "very late" not in states.values(), (day, states)
            built += not outcome.nothing_to_do
            build = outcome.build or build
            assert freshness(root, day) == states, day
            told: Any = json.loads((Warehouse(root / "warehouse").folder(build) / "expectations.json").read_text())
            rules = ("every_month_present", "delivered_in_year")
            failing = [one["expectation"].partition(":") for one in told if not one["success"]]
            warned = {feed for rule, _, feed in failing if rule in rules}
            assert warned == {feed for feed, state in states.items() if state == "late"}, day
            # A year is finished when it is over and its December is there.
            for (feed, year), basis in bases(root, build).items():
                is_finished = day.year > year and (year, 12) in came[feed]
                assert (basis == "calendar_year") == is_finished, (day, feed, year)
        # A refresh that fails builds all of it each night: one a fortnight will do.
        day += timedelta(days=14 if "very late" in states.values() else 1)
    assert built < 25  # on other nights there was nothing to do
