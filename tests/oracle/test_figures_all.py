"""All feeds and all figures: hostile deliveries against the oracle, definitions at their edges, what readers are told.

Deliveries go through a whole refresh. Rules that need particular rows are tried on `Bench`: the project's own compiled
SQL, built in memory on raw tables that are empty or hold what a test puts there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

import kpi
from conftest import copy_project
from hostile import write_hostile
from kpi.engine.graph import Graph
from kpi.ingest.contract import Feed
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from modelbench import Bench
from oracle import CONTRACTS, Key, Row, figures, read_feed
from oracle_calendar import add_months, add_working_days, care_limit, is_working_day
from sampled import sampled

ROOT = Path(__file__).resolve().parents[2]
AS_OF = date(2026, 3, 5)  # by then all of 2025 that did not come is very late, and 2025 a whole year
Doubles = tuple[float | None, float | None, float | None, int]


@pytest.fixture(scope="module")
def feeds(graph: Graph) -> dict[str, Feed]:
    """The contracts by feed."""
    return {feed.name: feed for feed in graph.feeds}


@pytest.fixture(scope="module")
def empty(graph: Graph) -> Bench:
    """The project built on no deliveries at all; not to be changed."""
    return Bench(graph)


@pytest.fixture
def bench(empty: Bench) -> Iterator[Bench]:
    """The project built on no deliveries at all, to be changed: in a transaction, so nothing of it stays."""
    empty.con.execute("begin")
    yield empty
    empty.con.execute("rollback")


# --- Every figure of every feed


def _aliases(feeds: dict[str, Feed]) -> dict[str, dict[str, str]]:
    return {
        name: {alias: column.name for column in feed.columns for alias in column.aliases}
        for name, feed in feeds.items()
    }


def _refreshed(project: Path) -> dict[Key, Doubles]:
    """Load and build whatever was delivered, and read every indicator."""
    options = Options(as_of=AS_OF, max_reject_share=1, publish_despite_checks="hostile", validate=False)
    outcome = refresh(project, options, lambda _: None)
    with kpi.open(build=outcome.build, project_dir=project) as con:
        rows = con.execute(
            "select figure_id, service, report_year, basis, numerator, denominator, value, event_count"
            " from marts.indicators"
        ).fetchall()
    assert len({row[:4] for row in rows}) == len(rows)
    # The running year is told as one; what it counts is held to whole counties in test_year_to_date.py.
    assert {basis for _, _, year, basis, *_ in rows if year == AS_OF.year} <= {"year_to_date"}
    assert {year for _, _, year, basis, *_ in rows if basis == "year_to_date"} <= {AS_OF.year}
    return {row[:4]: row[4:] for row in rows if row[2] != AS_OF.year}


def _expected(raw: Path, aliases: dict[str, dict[str, str]]) -> dict[Key, Doubles]:
    message = figures(
        {feed: read_feed(feed, raw / feed, c.with_aliases(aliases[feed])) for feed, c in CONTRACTS.items()}
    )
    return {key: _by_contract(key, row).as_doubles() for key, row in message.items() if key[2] != AS_OF.year}


def _by_contract(key: Key, row: Row) -> Row:
    """The oracle tells a median as its own numerator; the contract says null."""
    is_median = key[0] == "first_unit_response_seconds"
    return Row(None if is_median else row.numerator, row.denominator, row.value, row.event_count)


def _differences(got: dict[Key, Doubles], expected: dict[Key, Doubles]) -> list[object]:
    def same(one: float | None, other: float | None) -> bool:
        if one is None or other is None:
            return one is other
        return math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-12)

    keys = sorted(set(got) | set(expected))
    return [
        (key, got.get(key), expected.get(key))
        for key in keys
        if key not in got or key not in expected or not all(map(same, got[key], expected[key]))
    ]


def test_the_contracts_are_those_of_the_oracle(feeds: dict[str, Feed]) -> None:
    """Twenty-two feeds with the same columns, keys, codes, ranges and order of times."""
    kinds = {"code": "text"}
    assert set(feeds) == set(CONTRACTS)
    for name, contract in CONTRACTS.items():
        feed = feeds[name]
        assert (feed.key, feed.census or None) == (contract.key, contract.census), name
        assert feed.time_order == contract.order or len(feed.time_order) == 1, name
        for column, message in zip(feed.columns, contract.columns, strict=True):
            assert (column.name, column.kind) == (message.name, kinds.get(message.type, message.type)), name
            assert column.required == message.required, (name, column.name)
            assert set(column.codes) == (message.codes or set()), (name, column.name)
            assert column.minimum == message.lowest, (name, column.name)
            assert column.maximum == message.highest, (name, column.name)
            assert column.grouped_digits == message.is_grouped, (name, column.name)
            assert column.first_of_month == message.is_first_of_month, (name, column.name)


@pytest.mark.parametrize("seed", sampled([11], [11, 12, 13, 14, 15, 16]))
def test_hostile_deliveries_give_the_figures_of_the_oracle(tmp_path: Path, feeds: dict[str, Feed], seed: int) -> None:
    """Keys, numerators, denominators, values and event counts, of deliveries in every form and with every dirt.

    20 CPU seconds, half of them the oracle's: the one test in which every feed and every figure meet all dirt at once.
    """
    aliases = _aliases(feeds)
    raw = copy_project(tmp_path) / "warehouse" / "raw"
    write_hostile(raw, seed, rows=220, feeds=tuple(CONTRACTS), aliases=aliases)
    expected = _expected(raw, aliases)
    assert len({key[0] for key in expected}) >= 62
    assert _differences(_refreshed(tmp_path), expected) == []


def _edges() -> Iterator[date]:
    """Days around the turns of the law, and around ends of months, holidays and years."""
    for turn in (date(2023, 8, 31), date(2024, 10, 31), date(2024, 12, 31), date(2024, 2, 29), date(2025, 4, 17)):
        yield from (turn + timedelta(days=offset) for offset in range(-14, 15))
    for month in range(1, 13):
        yield from (date(2023, month, 1) - timedelta(days=1), date(2024, month, 1) - timedelta(days=1))


def test_limits_in_law_at_their_edges(tmp_path: Path, feeds: dict[str, Feed]) -> None:
    """The last day in time, the day before and the day after, and weekends that follow, for each limit and age."""
    visits = ["visit_id,service,need_assessed_on,visited_on,age_years"]
    cases = ["case_id,process,initiated_on,decided_on"]
    for start in sorted(set(_edges())):
        for service in ("primary_care", "oral_health"):
            for age in (0, 22, 23, 90):
                limit = care_limit(service, start, age)
                visits += [
                    f"{service}{start}{age}{d},{service},{start},{limit + timedelta(days=d)},{age}" for d in (-1, 0, 1)
                ]
        for process, limit in (
            ("disability_service", add_months(start, 3)),
            ("service_needs_assessment", add_months(start, 3)),
            ("child_welfare_notification", add_working_days(start, 7)),
            ("supplementary_income_support", add_working_days(start, 7)),
        ):
            cases += [f"{process}{start}{d},{process},{start},{limit + timedelta(days=d)}" for d in range(-3, 4)]
    raw = copy_project(tmp_path) / "warehouse" / "raw"
    for feed, lines in (("care_visits", visits), ("decisions", cases)):
        (raw / feed).mkdir(parents=True)
        (raw / feed / "edges.csv").write_text("\n".join(lines) + "\n")
    expected = _expected(raw, _aliases(feeds))
    shares = {key[0] for key, row in expected.items() if row[2] not in (None, 0.0, 100.0)}
    assert len(shares) == 11, "every figure with a limit has something in time and something late"
    assert _differences(_refreshed(tmp_path), expected) == []


# --- The calendar and the limits


def test_working_days_are_those_of_the_oracle(empty: Bench) -> None:
    """In all years but 1990, when Ascension Day was still kept on a Saturday, of which the oracle does not know."""
    rows = empty.rows("select calendar_date, is_working_day from intermediate.int_calendar order by 1")
    assert [day for day, _ in rows] == [date(1990, 1, 1) + timedelta(days=n) for n in range(len(rows))]
    assert rows[-1][0] == date(2099, 12, 31)
    assert [day for day, message in rows if message != is_working_day(day)] == [date(1990, 5, 24)]


def test_holidays_are_those_of_a_kept_library(empty: Bench) -> None:
    """Every day of 1990 to 2099, holidays on weekends too."""
    library = pytest.importorskip("holidays")
    finnish = library.country_holidays("FI", years=range(1990, 2100))
    rows = empty.rows("select calendar_date, holiday is not null from intermediate.int_calendar")
    assert [day for day, message in rows if message != (day in finnish)] == []


@pytest.mark.parametrize(
    "change",
    [
        "delete from seeds.statutory_limits where subject = 'oral_health' and valid_from = '2024-11-01'",
        "delete from seeds.statutory_limits where subject = 'primary_care' and age_from = 23",
        "update seeds.statutory_limits set valid_to = '2024-12-30' where subject = 'primary_care' and age_from = 0"
        " and valid_from = '2023-09-01'",
        "update seeds.statutory_limits set age_to = 23 where subject = 'oral_health' and age_to = 22",
        "update seeds.statutory_limits set valid_to = '2090-01-01' where subject = 'specialist_care'",
        "insert into seeds.statutory_limits select * from seeds.statutory_limits where subject = 'disability_service'",
    ],
)
def test_a_gap_or_an_overlap_of_limits_is_an_error(bench: Bench, change: str) -> None:
    """Over days and over ages."""
    test = "assert_statutory_limits_cover_every_day_and_age_once"
    assert bench.failures(test) == []
    bench.con.execute(change)
    assert bench.failures(test) != []


# --- What readers are told of the figures

DESCRIBED = "assert_every_figure_is_described_and_owned"
METADATA = (
    *("family", "name_fi", "name_sv", "name_en", "definition_fi", "definition_sv", "definition_en"),
    *("unit", "decimals", "good_direction", "basis", "owner_role", "since", "source"),
)


@pytest.mark.parametrize(
    ("change", "test"),
    [
        ("delete from seeds.figure_services where figure_id = 'nps'", "assert_derived_figures_are_known"),
        ("delete from seeds.figure_services where service = 'health'", "assert_derived_figures_are_known"),
        ("delete from seeds.figures where figure_id = 'nps'", DESCRIBED),
        ("delete from seeds.figure_services", DESCRIBED),
        ("update seeds.figures set unit = 'percent' where figure_id = 'nps'", DESCRIBED),
        ("delete from seeds.manual_figure_owners", DESCRIBED),
        *(
            (f"update seeds.figures set {column} = null where figure_id = 'nps'", f"not_null_figures_{column}")
            for column in METADATA
        ),
    ],
)
def test_a_figure_that_lacks_something_fails_a_test(bench: Bench, change: str, test: str) -> None:
    """Also one that a mart yields and nobody described."""
    bench.indicators([("nps", "health", 2025, "calendar_year", 79, 100, 79, 100)])
    assert bench.failures(test) == []
    bench.con.execute(change)
    bench.build("figure_catalogue")
    assert bench.failures(test) != []


def test_figures_entered_by_hand(bench: Bench) -> None:
    """A derived figure is never overridden; who may enter what is told by a seed and warned about."""
    entered = [
        (2025, "volunteer_encounters", "olka"),
        (2025, "volunteer_encounters", "elsewhere"),
        (2025, "nps", "health"),
        (2025, "digital_care_paths", "oma_kymenlaakso"),
        (2023, "own_figure", "social_advice"),
    ]
    for year, figure, service in entered:
        bench.con.execute(
            "insert into raw.manual_figures by name select ? as report_year, ? as figure_id, ? as service,"
            " 7.5 as value, date '2026-01-01' as entered_on, false as _is_superseded",
            [year, figure, service],
        )
    bench.build()
    shown = bench.rows("select report_year, figure_id, service, basis, value from marts.indicators order by all")
    assert shown == [
        (2023, "own_figure", "social_advice", "partial_year", 7.5),
        (2025, "volunteer_encounters", "elsewhere", "calendar_year", 7.5),
        (2025, "volunteer_encounters", "olka", "calendar_year", 7.5),
    ]
    derived = bench.failures("warn_of_manual_figures_that_are_derived")
    assert {figure for _, figure, _ in derived} == {"nps", "digital_care_paths"}
    foreign = bench.failures("warn_of_manual_figures_nobody_may_enter")
    assert {service for _, _, service in foreign} == {"elsewhere", "social_advice"}
    warned = {node.name: node.test.severity for node in bench.graph.tests() if node.test and node.name[:4] == "warn"}
    assert set(warned.values()) == {"warn"}


def test_a_note_on_wording_does_not_silence_a_difference(bench: Bench) -> None:
    """Only a registered inconsistency of the value itself excuses another value, and none where it is reproduced."""
    key = "where figure_id = 'rescue_unit_alarms_per_day'"
    assert bench.rows(f"select kind from seeds.documented_inconsistencies {key}") == [("definition",)]

    def status(value: float | None) -> object:
        bench.indicators([("rescue_unit_alarms_per_day", "rescue", 2025, "calendar_year", 1, 1, value, 1)])
        bench.build("reconciliation")
        return bench.rows(f"select status from marts.reconciliation {key}")[0][0]

    assert status(32.66) == "reproduced"
    assert status(8.1) == "differs"
    bench.con.execute(f"update seeds.documented_inconsistencies set kind = 'value' {key}")
    assert status(8.1) == "documented_inconsistency"
    assert status(32.66) == "reproduced"
    assert status(None) == "not_delivered"


def test_breaks_of_comparability(bench: Bench) -> None:
    """Starts of services, the return of Pyhtää, the clean-up of the queue, changes of the law: between which years."""
    wanted = [
        ("calls_received", "social_advice", "calendar_year"),
        ("calls_received", "emergency_helpline", "calendar_year"),
        ("feedback_received", "all_services", "calendar_year"),
        ("specialist_queue", "specialist_care", "census_december"),
        ("care_guarantee_oral_health_23_and_over_share", "oral_health", "calendar_year"),
        ("rescue_missions", "rescue", "calendar_year"),
    ]
    bench.indicators(
        [
            (figure, service, year, "partial_year" if year == 2023 and service != "rescue" else basis, 1, None, year, 1)
            for figure, service, basis in wanted
            for year in range(2022, 2027)
            if basis != "census_december" or year != 2023
        ]
        + [("specialist_queue", "specialist_care", 2023, "census", 1, None, 5, 1)]
    )
    bench.build("indicator_changes")
    broken: dict[str, list[int]] = {}
    changes = "select service, report_year from marts.indicator_changes where has_break order by report_year"
    for service, year in bench.rows(changes):
        broken.setdefault(service, []).append(year)
    assert broken == {
        "social_advice": [2023, 2024, 2025],
        "all_services": [2023, 2024, 2025],
        "specialist_care": [2024],
        "oral_health": [2023, 2024, 2025],
    }
    assert len(bench.rows("select * from marts.indicator_changes")) == 4 * len(wanted)


def test_a_change_of_a_limit_is_a_break_of_its_figures(bench: Bench) -> None:
    """Nobody has to enter it twice."""
    figure = "figure_id = 'calls_answered_within_5_minutes_share' and kind = 'definition'"
    assert bench.rows(f"select * from marts.comparability_breaks where {figure}") == []
    bench.con.execute(
        "update seeds.answer_time_limits set valid_to = '2025-12-31' where service_line = 'rehabilitation';"
        "insert into seeds.answer_time_limits select * replace (date '2026-01-01' as valid_from,"
        " date '2099-12-31' as valid_to, 'under 4 minutes' as limit_en) from seeds.answer_time_limits"
        " where service_line = 'rehabilitation'"
    )
    bench.build("comparability_breaks")
    assert bench.rows(f"select service, starts_on from marts.comparability_breaks where {figure} order by 1") == [
        ("health_lines", date(2026, 1, 1)),
        ("rehabilitation", date(2026, 1, 1)),
    ]


# --- The models themselves


def _grain_tests(graph: Graph) -> Iterable[str]:
    for node in graph.tests():
        if node.test and node.test.kind in ("unique", "unique_combination_of_columns"):
            yield next(name.rpartition(".")[2] for name in node.depends_on)
        elif node.name.endswith("_have_their_grain"):
            yield from (name.rpartition(".")[2] for name in node.depends_on)


def test_every_model_has_a_grain_sentence_and_a_test_of_it(graph: Graph) -> None:
    """Seeds too."""
    tested = set(_grain_tests(graph))
    for node in graph.built():
        if node.kind == "model":
            assert re.search(r"Grain, one row per [a-z_]+", " ".join(node.description.split())), node.name
        assert node.name in tested, node.name


def test_models_are_short(graph: Graph) -> None:
    """At most 100 lines and four joins."""
    for node in graph.built():
        if node.kind == "model":
            text = (ROOT / node.file).read_text(encoding="utf-8")
            assert text.count("\n") <= 100, node.name
            assert len(re.findall(r"\bjoin\b", text)) <= 4, node.name


def test_an_empty_warehouse_builds_and_passes(empty: Bench) -> None:
    """Nothing delivered is no error, if a warning of its rows; a published figure is then not delivered."""
    for node in empty.graph.tests():
        is_warning = node.test is not None and node.test.severity == "warn"
        assert is_warning or empty.rows(node.sql) == [], node.name
    assert empty.rows("select distinct status from marts.reconciliation") == [("not_delivered",)]
