"""Real emergency calls of another kind of export, mapped to rescue_missions by SQL in its contract."""

from __future__ import annotations

import csv
import gzip
import shutil
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import duckdb
import pytest

from kpi import database
from kpi.ingest import loader
from kpi.ingest.contract import Feed, is_feed, read_feed
from kpi.ingest.raw_files import scan
from kpi.project.project import load_project

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).parents[1] / "data/real_emergency_calls/rainier_valley_fire_2010_2020.csv.gz"
MEDIANS = "select year(alarmed_at), median(date_diff('second', alarmed_at_utc, first_unit_at_scene_at_utc))"


@pytest.fixture(scope="module")
def contract() -> Feed:
    sources = load_project(ROOT).sources
    return next(read_feed(source) for source in sources if is_feed(source) and source.name == "rescue_missions")


def without_rules(feed: Feed) -> Feed:
    return replace(feed, mappings=tuple(replace(mapping, implausible=()) for mapping in feed.mappings))


@contextmanager
def loaded(feed: Feed, folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    raw = folder / "raw"
    (raw / "rescue_missions").mkdir(parents=True)
    shutil.copy(FILE, raw / "rescue_missions")
    with database.building(folder / "kpi.duckdb", folder) as con:
        loader.load(con, [feed], raw, scan(raw), date(2026, 1, 1))
        yield con


def independent_seconds() -> dict[int, list[int]]:
    """Seconds from dispatch to arrival by year, worked out from the times of day modulo a day."""
    found: dict[int, list[int]] = {}
    with gzip.open(FILE, "rt", encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            dispatch, arrive = (datetime.strptime(row[name], "%H:%M:%S") for name in ("dispatch_time", "arrive_time"))
            found.setdefault(int(row["incident_date"][:4]), []).append(
                int((arrive - dispatch).total_seconds()) % 86_400
            )
    return found


def test_every_call_is_loaded_or_rejected_and_the_medians_are_the_independent_ones(
    contract: Feed, tmp_path: Path
) -> None:
    with loaded(without_rules(contract), tmp_path) as con:
        counts = con.execute("select records, rows_loaded, rows_rejected from raw.deliveries").fetchall()
        medians = dict(con.execute(f"{MEDIANS} from raw.rescue_missions group by 1 order by 1").fetchall())
    assert counts == [(22_829, 22_829, 0)]
    assert medians == {year: statistics.median(seconds) for year, seconds in independent_seconds().items()}
    assert (medians[2010], medians[2014], medians[2020]) == (647, 690, 685)


def test_calls_that_cross_midnight_are_minutes_long(contract: Feed, tmp_path: Path) -> None:
    with loaded(contract, tmp_path) as con:
        crossing, longest = con.execute(
            "select count(*), max(first_unit_at_scene_at_utc - alarmed_at_utc)::varchar from raw.rescue_missions"
            " where first_unit_at_scene_at::date > alarmed_at::date"
        ).fetchall()[0]
    smaller = sum(second >= 0 for year in crossing_by_year().values() for second in year)
    assert crossing == smaller
    assert longest < "06:00:00"


def crossing_by_year() -> dict[int, list[int]]:
    """Seconds of the calls whose arrival is smaller than their dispatch and which took at most six hours."""
    found: dict[int, list[int]] = {}
    with gzip.open(FILE, "rt", encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            dispatch, arrive = (datetime.strptime(row[name], "%H:%M:%S") for name in ("dispatch_time", "arrive_time"))
            seconds = int((arrive - dispatch).total_seconds())
            if seconds < 0 and seconds + 86_400 <= 6 * 3600:
                found.setdefault(int(row["incident_date"][:4]), []).append(seconds + 86_400)
    return found


def test_what_the_plausibility_rule_changes(contract: Feed, tmp_path: Path) -> None:
    """The rule rejects calls of more than six hours, each with that reason, and moves the yearly medians so far."""
    with loaded(contract, tmp_path) as con:
        counts = con.execute("select records, rows_loaded, rows_rejected from raw.deliveries").fetchall()
        reasons = con.execute("select distinct r.reason from (select unnest(reasons) as r from raw.rejects)").fetchall()
        medians = dict(con.execute(f"{MEDIANS} from raw.rescue_missions group by 1 order by 1").fetchall())
    kept = {year: [s for s in seconds if s <= 6 * 3600] for year, seconds in independent_seconds().items()}
    rejected = 22_829 - sum(map(len, kept.values()))
    assert counts == [(22_829, 22_829 - rejected, rejected)]
    assert rejected == 67
    assert reasons == [("the first unit took more than six hours",)]
    assert medians == {year: statistics.median(seconds) for year, seconds in kept.items()}
    assert (medians[2010], medians[2014], medians[2020]) == (645, 690, 684)
