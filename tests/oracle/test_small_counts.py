"""An attacker holds everything that is published together, and finds no small count.

The protection range: the least and the greatest value that a small count (1 to 4) can have, by all that is published,
are at least 4 apart. What the attacker knows is in tests/support/attacker.py, the rule in
docs/guides/publish-openly.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from random import Random

import duckdb
import numpy as np
import pytest

from attacker import Attacker, System, true_counts
from attacker_families import DECEMBER, FAMILIES, Key, Value, Variable
from kpi.engine.graph import Graph
from kpi.ingest import loader
from kpi.ingest.raw_files import scan
from kpi.reader.export import write_public
from kpi.reader.public_writer import PUBLIC_DATABASE
from kpi.warehouse.builds import Warehouse
from modelbench import Bench
from random_counties import Counties, bench_of_marts
from sampled import sampled

SMALL = 4
ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT / "tests" / "data" / "disclosure"
TOTALS = {"waited", "talked", "seconds", "score", "days"}
# At most so much of the full demo is hidden, in percent of the cells; measured 2026-11-29: 0.5, 7.2 and 0.7.
EVERYTHING = (len(FAMILIES), 10_000)
MOST_HIDDEN = {"public_indicators": 2.0, "public_monthly_series": 10.0, "public_changes": 2.0}


@dataclass
class County:
    """What is published of a county, and what is true of it."""

    published: dict[Key, Value] = field(default_factory=dict)
    true: dict[Key, tuple[float | None, float | None]] = field(default_factory=dict)

    def targets(self, name: str) -> tuple[list[Variable], dict[Variable, float]]:
        """The small counts of a family, with all true counts; what lacks an answer or a time is of no person."""
        counts = true_counts(FAMILIES[name], self.true)
        small = [
            one
            for one, count in sorted(counts.items())
            if 1 <= count <= SMALL and one[0] not in TOTALS and not one[0].endswith("?")
        ]
        return small, counts


def counties_in(
    con: duckdb.DuckDBPyConnection, public: str, true: str, years_each: int
) -> tuple[dict[int, County], dict[str, str]]:
    """Read the counties of a build, by their years, and the decimals of the figures."""
    found: dict[int, County] = {}
    year = f"report_year // {years_each}"
    name = f"figure_id || case basis when 'december' then '{DECEMBER}' else '' end"
    for at, figure, service, of, month, value, is_suppressed in con.execute(
        f"select {year}, {name}, service, report_year, 0, value, is_suppressed from {public}.public_indicators"
        f" where not is_unfinished union all select {year}, figure_id, service, report_year, month, value,"
        f" is_suppressed from {public}.public_monthly_series where not is_unfinished"
    ).fetchall():
        found.setdefault(at, County()).published[figure, service, of, month] = Value(value, is_suppressed)
    for at, figure, service, of, month, numerator, denominator in con.execute(
        f"select {year}, figure_id, service, report_year, 0, numerator, denominator from {true}.indicators"
        f" where basis <> 'december' union all"
        f" select {year}, figure_id, service, report_year, month, numerator, denominator from {true}.monthly_series"
    ).fetchall():
        if (figure, service, of, month) in found[at].published:
            found[at].true[figure, service, of, month] = (numerator, denominator)
    decimals = con.execute(f"select figure_id, decimals from {true.replace('marts', 'seeds')}.figures").fetchall()
    return found, dict(decimals)


def found_by(
    county: County, decimals: Mapping[str, str], choose: tuple[int, int], random: Random, is_whole: bool
) -> Iterator[tuple[str, Variable, float, tuple[float, float] | None]]:
    """Attack so many families and so many counts of each; yields family, count, its value, and too narrow a range."""
    attacker = Attacker(county.published, decimals)
    for name in random.sample(sorted(FAMILIES), choose[0]):
        targets, counts = county.targets(name)
        system: System = attacker.system(name)
        assert system.contradictions(counts) == [], f"what the attacker knows of {name} is not so"
        for target in random.sample(targets, min(choose[1], len(targets))):
            low, high = attacker.bounds(name, *target[1:], target[0], is_whole)
            narrow = None if high - low >= SMALL - 1e-6 else (low, high)
            yield name, target, counts[target], narrow


@pytest.mark.parametrize(
    ("seed", "number", "choose", "is_whole"),
    sampled(
        [(1, 50, (4, 2), False), (3, 2, (4, 2), True)],
        [(1, 100, (4, 2), False), (2, 200, (4, 2), False), (3, 10, (4, 2), True)],
    ),
)
def test_no_small_count_of_a_random_county_is_found(
    graph: Graph, seed: int, number: int, choose: tuple[int, int], is_whole: bool
) -> None:
    """Many counties by linear programming; a few of them by whole numbers, which bounds a little more."""
    bench = bench_of_marts(graph)
    Counties(np.random.default_rng(seed), number).load(bench)
    assert bench.failures("assert_public_figures_hide_small_counts") == []
    counties, decimals = counties_in(bench.con, "marts", "marts", 10)
    assert len(counties) == number
    random, attacked = Random(seed), 0
    for at, county in counties.items():
        for name, target, count, narrow in found_by(county, decimals, choose, random, is_whole):
            assert narrow is None, f"{name} {target} = {count} lies in {narrow}, county {at}"
            attacked += 1
    assert attacked > number * 4
    shown = sum(not value.is_suppressed for county in counties.values() for value in county.published.values())
    assert shown > 0.3 * sum(len(county.published) for county in counties.values()), "hiding everything would be no art"
    assert_changes_say_nothing_more(bench.con, "marts")


def assert_changes_say_nothing_more(con: duckdb.DuckDBPyConnection, schema: str) -> None:
    """A change is the difference of two values that are shown."""
    wrong = con.execute(
        f"""select count(*), count(c.change) from {schema}.public_changes c
        left join {schema}.public_indicators a on (a.figure_id, a.service, a.report_year, a.basis)
            = (c.figure_id, c.service, c.report_year, c.basis)
        left join {schema}.public_indicators b on (b.figure_id, b.service, b.report_year, b.basis)
            = (c.figure_id, c.service, c.previous_year, c.previous_basis)
        where c.basis <> 'year_to_date' and (
            c.value is distinct from a.value or c.previous_value is distinct from b.value
            or abs(c.change - (a.value - b.value)) > 1e-6 or (c.change is null) <> (a.value is null or b.value is null)
            or (c.change is null and (c.direction is not null or c.assessment is not null)))"""
    ).fetchall()
    assert wrong == [(0, 0)]


def test_no_small_count_of_the_demo_is_found_in_what_is_published(
    demo_project: Path, graph: Graph, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of them, in the files that `kpi publish --public` writes; and little is hidden for it."""
    warehouse = Warehouse(demo_project / "warehouse")
    write_public(warehouse, graph, tmp_path)
    with duckdb.connect() as con:
        con.execute(f"attach '{tmp_path / PUBLIC_DATABASE}' as public (read_only)")
        con.execute(f"attach '{warehouse.folder() / 'kpi.duckdb'}' as build (read_only)")
        counties, decimals = counties_in(con, "public.marts", "build.marts", 10_000)
        (county,) = counties.values()
        attacked = 0
        for name, target, count, narrow in found_by(county, decimals, EVERYTHING, Random(0), is_whole=False):
            assert narrow is None, f"{name} {target} = {count} lies in {narrow}"
            attacked += 1
        assert attacked > 100
        assert_changes_say_nothing_more(con, "public.marts")
        for table, most in MOST_HIDDEN.items():
            ((hidden, cells),) = con.execute(
                f"select count(*) filter (where is_suppressed), count(*) from public.marts.{table}"
            ).fetchall()
            with capsys.disabled():
                sys.stdout.write(f"{table}: {hidden} of {cells} cells hidden, {100 * hidden / cells:.1f} %\n")
            assert 0 < hidden <= most * cells / 100
        tables = "select table_name from duckdb_tables() where database_name = 'public' order by 1"
        names = [name for (name,) in con.execute(tables).fetchall()]
        assert names == ["comparability_breaks", "figure_catalogue", *sorted(MOST_HIDDEN)], "attack the new ones too"


@pytest.fixture(scope="module")
def cases(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Three counties that gave small counts away; that of one respondent is of 2026."""
    raw = tmp_path_factory.mktemp("cases") / "raw"
    for feed, file in (
        ("experience_answers", "experience_two_answers.csv"),
        ("experience_answers", "experience_one_respondent.csv"),
        ("callbacks", "callbacks_cover.csv"),
    ):
        text = (CASES / file).read_text(encoding="utf-8")
        if "one" in file:
            text = text.replace("2025-", "2026-").replace("\na", "\nb")
        (raw / feed).mkdir(parents=True, exist_ok=True)
        (raw / feed / file).write_text(text, encoding="utf-8")
    bench = Bench(graph, is_built=False)
    loader.load(bench.con, graph.feeds, raw, scan(raw), date(2027, 5, 1))
    bench.build()
    return bench


def public(bench: Bench, figure: str, year: int) -> dict[str, float | None]:
    """What is published of a figure, by service."""
    return dict(
        bench.rows(
            f"select service, value from marts.public_indicators where figure_id = '{figure}' and report_year = {year}"
        )
    )


def test_seven_answers_may_be_one_person(cases: Bench) -> None:
    """Seven hidden statements with seven answers in all were one each; now nobody knows how many answers there were."""
    for year in (2025, 2026):
        for figure in ("experience_answers", "experience_mean", "experience_statement_mean"):
            assert set(public(cases, figure, year).values()) == {None}, (figure, year)


def test_a_hidden_line_is_not_given_away_by_what_lies_within_it(cases: Bench) -> None:
    """Of 10 requests 10 were never reached: the 10 that hide the 1 were told by the figure beside them."""
    received, never = public(cases, "callbacks_received", 2025), public(cases, "callbacks_never_reached", 2025)
    assert received["rehabilitation"] is None
    assert [line for line, value in received.items() if value is None and never[line] is not None] == []
    assert received["health_lines"] == 142


@pytest.mark.parametrize("is_whole", [True, False])
def test_nothing_of_these_counties_is_found(cases: Bench, is_whole: bool) -> None:
    counties, decimals = counties_in(cases.con, "marts", "marts", 10_000)
    attacked = list(found_by(counties[0], decimals, EVERYTHING, Random(0), is_whole))
    assert len(attacked) > 20
    assert [one for one in attacked if one[-1]] == []


def test_the_attacker_finds_what_used_to_be_published(cases: Bench) -> None:
    """With the two figures shown again that gave them away, both hidden counts are found exactly."""
    counties, decimals = counties_in(cases.con, "marts", "marts", 10_000)
    published = dict(counties[0].published)
    for figure, service, value in (
        ("callbacks_never_reached", "health_station", 10.0),
        ("callbacks_received", "oral_health", 31.0),
        ("callbacks_received", "emergency_helpline", 100.0),
        ("callbacks_received", "health_lines", 142.0),
    ):
        published[figure, service, 2025, 0] = Value(value, False)
    published = {key: value for key, value in published.items() if not key[3]}
    assert Attacker(published, decimals).bounds("callbacks", "rehabilitation", 2025, 0, "requests") == (1, 1)
    published["experience_answers", "all_services", 2026, 0] = Value(7.0, False)
    published["experience_mean", "all_services", 2026, 0] = Value(1.71, False)
    assert Attacker(published, decimals).bounds("experience", "felt_safe", 2026, 0, "answers") == (1, 1)
