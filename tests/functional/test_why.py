"""Why a figure moved: seeded changes of every cause, each with its size by plain Python; years, builds, errors.

One project is built a dozen times, one change after the other; each test looks at two of its builds.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from itertools import permutations

import duckdb
import pytest
from click.testing import CliRunner

import kpi
from figures_project import CALLS_FIGURES, FIGURE, FILES, Call, FiguresProject, calls_of, figure
from kpi.cli.main import cli
from kpi.errors import ConfigError
from kpi.provenance.attribution import BuildChange
from kpi.provenance.decomposition import YearChange
from kpi.warehouse.builds import record

pytestmark = pytest.mark.long
LIMITS = {"health": 300, "social": 60}
OLD = [*calls_of(2024, 1, 1_000, 40), *calls_of(2024, 2, 2_000, 31)]
JANUARY, FEBRUARY = calls_of(2025, 1, 3_000, 45), calls_of(2025, 2, 4_000, 38)
MARCH, APRIL = calls_of(2025, 3, 5_000, 29), calls_of(2025, 4, 6_000, 33)
CORRECTED = [(number, line, waited + 120, day) for number, line, waited, day in JANUARY]
REVISED = [(number, line, 0, day) for number, line, _, day in FEBRUARY[:10]]
SEED, MODEL = "seeds/limits.csv", "models/intermediate/int_calls_figures.sql"
FEEDS = "models/staging/feeds.yml"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> FiguresProject:
    return FiguresProject(tmp_path_factory.mktemp("why"))


@pytest.fixture(scope="module")
def builds(project: FiguresProject) -> dict[str, str]:
    """The builds by the change that each of them is the first to have."""
    raw, found = project.root / "warehouse/raw/calls", dict[str, str]()
    project.deliver("calls_2024.csv", OLD)
    project.deliver("calls_2025-01.csv", JANUARY)
    project.deliver("calls_2025-02.csv", FEBRUARY)
    project.enter(120)

    def step(name: str) -> None:
        found[name] = project.build()

    step("first")
    project.deliver("calls_2025-03.csv", MARCH)
    step("late")
    project.deliver("calls_2025-01.csv", CORRECTED)
    step("corrected")
    project.deliver("calls_2025-02_korjaus.csv", REVISED)
    step("correcting file")
    (raw / "calls_2025-03.csv").unlink()
    step("removed")
    project.write({SEED: "line,limit_seconds\nhealth,200\nsocial,60\n"})
    step("seed")
    project.write({"macros/figures.sql": FIGURE.replace("100 * cast", "50 * cast")})
    step("macro")
    project.write({"macros/figures.sql": FIGURE})
    step("macro back")
    project.write(
        {MODEL: CALLS_FIGURES.replace("calls.waited_seconds <= limits", "calls.waited_seconds + 50 <= limits")}
    )
    step("model")
    project.enter(135)
    step("manual")
    line = "{name: line, data_type: varchar"
    project.write({FEEDS: FILES[FEEDS].replace(line, f"{line}, config: {{meta: {{null_words: [social]}}}}")})
    step("contract")
    project.write({FEEDS: FILES[FEEDS]})
    step("contract back")
    project.deliver("calls_2025-03.csv", MARCH)
    project.deliver("calls_2025-04.csv", APRIL)
    project.write({MODEL: CALLS_FIGURES, SEED: FILES[SEED]})
    step("everything")
    return found


Between = Callable[[str, str, str], BuildChange]


@pytest.fixture(scope="module")
def between(project: FiguresProject, builds: dict[str, str]) -> Between:
    """Ask why a figure of all lines, or one entered by hand, moved in 2025 between two of the builds."""

    def ask(name: str, before: str, after: str) -> BuildChange:
        found = kpi.why(name, builds[before], builds[after], year=2025, project_dir=project.root)
        (change,) = [
            one for one in found.changes if isinstance(one, BuildChange) and one.key.service in ("all", "hand")
        ]
        return change

    return ask


def parts(change: BuildChange) -> list[tuple[str, tuple[str, ...], Fraction | None]]:
    return [(part.cause, part.subjects, part.amount) for part in change.parts]


def moved(name: str, before: list[Call], after: list[Call]) -> Fraction:
    return figure(name, after, LIMITS) - figure(name, before, LIMITS)


IN_FORCE = [*REVISED, *FEBRUARY[10:]]
FIGURES = (
    "calls_received",
    "calls_in_time_share",
    "call_mean_seconds",
    "call_median_seconds",
    "calls_received_change",
)


@pytest.mark.parametrize("name", FIGURES)
def test_a_late_delivery(between: Between, name: str) -> None:
    before = [*JANUARY, *FEBRUARY]
    amount = moved(name, before, [*before, *MARCH])
    assert parts(between(name, "first", "late")) == [("late_delivery", ("calls/calls_2025-03.csv",), amount)]


def test_a_corrected_delivery(between: Between) -> None:
    rest = [*FEBRUARY, *MARCH]
    amount = moved("call_mean_seconds", [*JANUARY, *rest], [*CORRECTED, *rest])
    found = parts(between("call_mean_seconds", "late", "corrected"))
    assert found == [("corrected_delivery", ("calls/calls_2025-01.csv",), amount)]


def test_a_file_that_replaces_rows_of_another_is_a_correction(between: Between) -> None:
    amount = moved("call_mean_seconds", [*CORRECTED, *FEBRUARY, *MARCH], [*CORRECTED, *IN_FORCE, *MARCH])
    found = parts(between("call_mean_seconds", "corrected", "correcting file"))
    assert found == [("corrected_delivery", ("calls/calls_2025-02_korjaus.csv",), amount)]


def test_a_removed_delivery(between: Between) -> None:
    found = parts(between("calls_received", "correcting file", "removed"))
    assert found == [("removed_delivery", ("calls/calls_2025-03.csv",), Fraction(-len(MARCH)))]


def test_a_definition(between: Between) -> None:
    calls = [*CORRECTED, *IN_FORCE]
    amount = figure("calls_in_time_share", calls, {**LIMITS, "health": 200}) - figure(
        "calls_in_time_share", calls, LIMITS
    )
    assert amount
    assert parts(between("calls_in_time_share", "removed", "seed")) == [("definition", ("limits",), amount)]


def test_a_macro(between: Between) -> None:
    amount = -figure("calls_in_time_share", [*CORRECTED, *IN_FORCE], {**LIMITS, "health": 200}) / 2
    # Half of a percentage is no quotient by 1 or 100: it is taken as the double that it is.
    ((cause, subjects, found),) = parts(between("calls_in_time_share", "seed", "macro"))
    assert (cause, subjects) == ("code", ("macro share",))
    assert found is not None
    assert abs(found - amount) < Fraction(1, 10**9)


def test_a_model(between: Between) -> None:
    calls = [*CORRECTED, *IN_FORCE]
    limits = ({"health": 200, "social": 60}, {"health": 150, "social": 10})
    amount = figure("calls_in_time_share", calls, limits[1]) - figure("calls_in_time_share", calls, limits[0])
    found = parts(between("calls_in_time_share", "macro back", "model"))
    assert found == [("code", ("int_calls_figures",), amount)]


def test_a_figure_entered_by_hand(between: Between) -> None:
    found = parts(between("volunteers", "model", "manual"))
    assert found == [("corrected_delivery", ("manual_figures/manual.csv",), Fraction(15))]


def test_a_contract(between: Between) -> None:
    """The same files are read in another way: rows of a line that the contract takes for missing are not counted."""
    social = [call for call in (*CORRECTED, *IN_FORCE) if call[1] == "social"]
    found = parts(between("calls_received", "manual", "contract"))
    assert found == [("code", ("contract of calls",), Fraction(-len(social)))]


@pytest.mark.parametrize("name", FIGURES)
def test_everything_at_once_sums_to_the_change_and_each_part_is_the_mean_over_orders(
    between: Between, name: str
) -> None:
    change = between(name, "contract back", "everything")
    base = [*CORRECTED, *IN_FORCE]

    def value(switched: frozenset[str]) -> Fraction:
        calls = [*base, *(MARCH if "march" in switched else ()), *(APRIL if "april" in switched else ())]
        limits = dict(LIMITS) if "seed" in switched else {"health": 200, "social": 60}
        slower = 0 if "code" in switched else 50
        return figure(name, calls, {line: limit - slower for line, limit in limits.items()})

    expected = dict.fromkeys(("march", "april", "seed", "code"), Fraction(0))
    orders = [
        [one for group in groups for one in (group if forwards else group[::-1])]
        for groups in permutations((("march", "april"), ("seed",), ("code",)))
        for forwards in (True, False)
    ]
    for order in orders:
        for place, one in enumerate(order):
            effect = value(frozenset(order[: place + 1])) - value(frozenset(order[:place]))
            expected[one] += effect / len(orders)
    names = {"march": "calls/calls_2025-03.csv", "april": "calls/calls_2025-04.csv", "seed": "limits"}
    names["code"] = "int_calls_figures"
    found = {subjects[0]: amount for _, subjects, amount in parts(change)}
    assert found == {names[one]: amount for one, amount in expected.items() if amount}
    assert sum((part.amount or 0 for part in change.parts), Fraction(0)) == change.change
    assert sum((part.printed or 0 for part in change.parts), Decimal(0)) == change.shown_change
    causes = [part.cause for part in change.parts if part.cause == "late_delivery"]
    assert causes == ["late_delivery", "late_delivery"]
    assert bool(change.without) == (name in ("call_median_seconds", "calls_received_change"))


def test_a_median_is_told_without_each_delivery(between: Between) -> None:
    change = between("call_median_seconds", "contract back", "everything")
    base = [*CORRECTED, *IN_FORCE]
    expected = {
        "calls/calls_2025-03.csv": figure("call_median_seconds", [*base, *APRIL], LIMITS),
        "calls/calls_2025-04.csv": figure("call_median_seconds", [*base, *MARCH], LIMITS),
    }
    assert {path: value and abs(value - Decimal(float(expected[path]))) <= Decimal("0.5")
            for path, value in change.without.items()} == dict.fromkeys(expected, True)  # fmt: skip


@pytest.fixture(scope="module")
def older(project: FiguresProject, builds: dict[str, str]) -> str:
    """The first build as an older kpi with an older DuckDB would have made it: it counted a call less in each row."""
    folder = project.warehouse.builds / "00000-20200101T000000Z"
    shutil.copytree(project.warehouse.builds / builds["first"], folder)
    os.chmod(folder / "kpi.duckdb", 0o644)
    with duckdb.connect(str(folder / "kpi.duckdb")) as con:
        for table in ("intermediate.int_calls_figures", "marts.indicators"):
            con.execute(
                f"update {table} set numerator = numerator - 1, value = value - 1 where figure_id = 'calls_received'"
            )
    noted = json.loads((folder / "build.json").read_text())
    noted |= {"id": folder.name, "engine": "figures duckdb 0.9.0"}
    (folder / "build.json").write_text(json.dumps(noted))
    return folder.name


def test_another_engine_is_told_from_what_changed_beside_it(
    project: FiguresProject, builds: dict[str, str], older: str
) -> None:
    found = kpi.why("calls_received", older, builds["late"], service="all", year=2025, project_dir=project.root)
    (change,) = found.changes
    assert isinstance(change, BuildChange)
    engine = f"figures duckdb 0.9.0 -> figures duckdb {duckdb.__version__}"
    assert parts(change) == [
        ("late_delivery", ("calls/calls_2025-03.csv",), Fraction(len(MARCH))),
        ("engine", (engine,), Fraction(1)),
    ]


def test_a_build_that_is_kept_no_more_says_what_went_with_it(project: FiguresProject, builds: dict[str, str]) -> None:
    record(project.warehouse, "00077-20260101T000000Z", "pruned", "keep_published 10")
    with pytest.raises(ConfigError) as raised:
        kpi.why("calls_received", "00077", "current", project_dir=project.root)
    text = str(raised.value)
    assert "Build 00077-20260101T000000Z was removed at" in text
    assert "by keep_published 10. With it went its raw rows, its seeds, its compiled SQL" in text
    assert builds["first"] in text


def test_the_screen_between_two_builds(project: FiguresProject, builds: dict[str, str]) -> None:
    done = CliRunner().invoke(cli, ["why", "calls_received", "--from", builds["contract back"], "--to", "current",
                                    "--service", "all", "--project-dir", str(project.root)])  # fmt: skip
    lines = done.output.splitlines()
    assert lines[0] == f"{builds['contract back']} -> {builds['everything']}"
    assert lines[1:] == [
        "calls_received all 2025, calendar_year: 83 -> 145 (+62)",
        "  unrounded 83 -> 145 (+62)",
        "       +33  late delivery       calls/calls_2025-04.csv  (+33)",
        "       +29  late delivery       calls/calls_2025-03.csv  (+29)",
    ]


def test_a_figure_that_did_not_move_says_so(project: FiguresProject, builds: dict[str, str]) -> None:
    found = kpi.why("volunteers", builds["first"], builds["late"], project_dir=project.root)
    assert found.text == f"{builds['first']} -> {builds['late']}: volunteers is the same."


# --- between years ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["calls_received", "calls_in_time_share", "call_mean_seconds"])
def test_parts_of_two_years_sum_exactly_and_as_printed(
    project: FiguresProject, builds: dict[str, str], name: str
) -> None:
    (change,) = kpi.why(name, 2024, 2025, service="all", project_dir=project.root).changes
    assert isinstance(change, YearChange)
    calls = [*CORRECTED, *IN_FORCE, *MARCH, *APRIL]
    assert change.values == (figure(name, OLD, LIMITS), figure(name, calls, LIMITS))
    assert list(change.groups) == ["service", "month"]
    for groups in change.groups.values():
        assert sum((group.part.total for group in groups), Fraction(0)) == change.change
        assert sum((group.printed for group in groups), Decimal(0)) == change.shown_change
        assert all(group.printed == group.printed_rate + group.printed_mix for group in groups)
    assert [group.name for group in change.groups["month"]] == ["01", "02", "03", "04"]
    assert [one.reason_en for one in change.breaks] == (["The county grew."] if name == "calls_received" else [])


def test_a_median_has_no_parts_and_is_told_without_each_month(project: FiguresProject, builds: dict[str, str]) -> None:
    (change,) = kpi.why("call_median_seconds", 2024, 2025, service="all", project_dir=project.root).changes
    assert isinstance(change, YearChange)
    assert not change.groups
    without = [*IN_FORCE, *MARCH, *APRIL]
    expected = figure("call_median_seconds", OLD[40:], LIMITS), figure("call_median_seconds", without, LIMITS)
    for shown, value in zip(change.without["01"], expected, strict=True):
        assert shown is not None
        assert abs(Fraction(shown) - value) <= Fraction(1, 2)
    assert "does not add up" in change.notes[0]


def test_the_screen_between_two_years(
    project: FiguresProject, builds: dict[str, str], golden: Callable[[str, str], None]
) -> None:
    texts = [
        kpi.why(name, 2024, 2025, service="all", project_dir=project.root).text
        for name in ("calls_in_time_share", "calls_received", "call_median_seconds", "call_mean_seconds")
    ]
    golden("why_years.txt", "\n\n".join(texts) + "\n")


def test_what_cannot_be_asked(project: FiguresProject, builds: dict[str, str]) -> None:
    def ask(*values: object, **options: object) -> str:
        with pytest.raises(ConfigError) as raised:
            kpi.why(*values, project_dir=project.root, **options)  # type: ignore[arg-type]
        return str(raised.value)

    assert "Did you mean 'calls_received'?" in ask("calls_recieved", 2024, 2025)
    assert "two years, or two builds" in ask("calls_received", 2024, builds["first"])
    assert "there is no calls_received all 2023; there are the years 2024, 2025" in ask(
        "calls_received", 2023, 2025, service="all"
    )
    assert "has no service 'elsewhere'; it has all, health, social" in ask(
        "calls_received", 2024, 2025, service="elsewhere"
    )
    assert "there is no build '00999'" in ask("calls_received", "00999", "current")
    assert "--build says of which build" in ask("calls_received", builds["first"], "current", build="current")


def test_parts_as_data(project: FiguresProject, builds: dict[str, str]) -> None:
    report = kpi.why("calls_in_time_share", 2024, 2025, service="all", project_dir=project.root)
    rows = json.loads(report.to_json())
    months = [row for row in rows if row["dimension"] == "month"]
    (change,) = report.changes
    assert sum((Fraction(row["amount"]) for row in months), Fraction(0)) == change.change
    assert all(Fraction(row["rate"]) + Fraction(row["mix"]) == Fraction(row["amount"]) for row in months)
    assert report._repr_html_().startswith("<pre>calls_in_time_share all, 2024")


def test_nothing_is_left_behind(project: FiguresProject, builds: dict[str, str]) -> None:
    before = sorted(path.name for path in project.warehouse.builds.iterdir())
    kpi.why("call_mean_seconds", builds["first"], "current", project_dir=project.root)
    assert sorted(path.name for path in project.warehouse.builds.iterdir()) == before
    assert not list(project.warehouse.builds.glob(".tmp-*"))
