"""`kpi plan` and then `kpi refresh`, over random changes: what was planned is what is done, step by step.

A hundred changes with KPI_ALL_SEEDS=1; in CI half of them, which have each kind.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from changing import BY_LINE, CALLS, FILES, HEADER, MORE, SHARE, STAGING, TODAY, Changes, change, lay_out
from kpi import database
from kpi.engine.plan import Step
from kpi.events import Event
from kpi.jobs.options import Options
from kpi.jobs.plan import plan
from kpi.jobs.refresh import refresh
from kpi.warehouse.builds import Warehouse
from sampled import sampled

CHANGES_OF_EACH = 25
SEEDS = sampled((1, 3), (0, 1, 2, 3))  # the two have each kind of change and of options


class Done:
    """What a run did, by its events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, line: str) -> None:
        """Lines are for people."""

    def on_event(self, event: Event) -> None:
        """Keep an event."""
        self.events.append(event)

    def names(self, kind: str) -> list[str]:
        return [event.name for event in self.events if event.event == kind]


def rows(chosen: random.Random) -> str:
    desks = ("health", "social", "social", "health")
    return HEADER + "".join(
        f"{number},{desk},{chosen.choice((10, 299, 300, 301))},2024-01-0{number}\n"
        for number, desk in enumerate(desks[: chosen.randint(1, 4)], start=1)
    )


# Each kind of change there is to a project and its deliveries: real ones, and those that change nothing.
CHANGES: tuple[Callable[[random.Random], Changes], ...] = (
    lambda chosen: {BY_LINE: FILES[BY_LINE].replace("<=", chosen.choice(("<=", "<", ">=")))},
    lambda chosen: {BY_LINE: f"-- {chosen.random()}\n{FILES[BY_LINE]}"},
    lambda chosen: {STAGING: FILES[STAGING].rstrip() + chosen.choice(("", "\n", " -- all\n")) + "\n"},
    lambda chosen: {SHARE: str(MORE[SHARE]).replace("value", chosen.choice(("value", "share_of_it")))},
    lambda chosen: {CALLS: rows(chosen)},
    lambda chosen: {"warehouse/raw/calls/2025.csv": rows(chosen).replace("\n", "\n2", 1)},
    lambda chosen: {"seeds/desks.csv": f"desk,name_en\nhealth,{chosen.choice(('Health', 'H'))}\nsocial,S\n"},
    lambda chosen: {"models/marts/more.sql": f"select {chosen.randint(1, 3)} as x\n"},
    lambda chosen: {"models/marts/of_more.sql": "select desk from {{ ref('calls_by_desk') }}\n"},
    lambda chosen: {"models/marts/more.sql": None},
    lambda chosen: {"models/marts/of_more.sql": None},
    lambda chosen: {"warehouse/raw/calls/2025.csv": None},
    lambda chosen: {"tests/assert_names.sql": f"select 1 where {chosen.randint(2, 3)} = 1\n"},
    lambda chosen: {
        "dbt_project.yml": FILES["dbt_project.yml"].replace("300", str(chosen.choice((300, 301)))),
    },
    lambda chosen: {
        "macros/macros.sql": FILES["macros/macros.sql"].replace("100 *", chosen.choice(("100 *", "100.0 *")))
    },
)
OPTIONS: list[dict[str, Any]] = [
    *[{}] * 8,
    {"select": ("calls_by_desk",)},
    {"select": ("desks+",)},
    {"exclude": ("share",)},
    {"full_refresh": True},
    {"select": ("desks+",), "full_refresh": True},
    {"select": ("stg_calls",), "full_refresh": True},
]


def in_order(part: Iterable[str], whole: list[str]) -> bool:
    """Whether names stand in the order of a list that has them all."""
    places = [whole.index(name) if name in whole else -1 for name in part]
    return -1 not in places and places == sorted(places)


def names_of(steps: Iterable[Step], action: str, certain: bool | None = None) -> list[str]:
    found = [step for step in steps if step.action == action and certain in (None, step.certain)]
    return [step.id.split(".", 2)[2] if action in ("build", "test", "leave") else step.name for step in found]


def tables(root: Path) -> set[str]:
    current = Warehouse(root / "warehouse").current()
    if current is None:
        return set()
    with database.reading(current / "kpi.duckdb") as con:
        return set(database.relations(con))


def step_by_step(root: Path, steps: tuple[Step, ...], options: Options) -> None:
    """Run, and compare what was done with what was planned."""
    before, done = tables(root), Done()
    outcome = refresh(root, options, done)
    if not steps:
        assert outcome.nothing_to_do
        return
    assert not outcome.nothing_to_do
    warehouse = Warehouse(root / "warehouse")
    record = warehouse.record(warehouse.builds / outcome.build)
    loads = {step.name: step.why for step in steps if step.action == "load"}
    assert {path for path, why in loads.items() if why != "gone"} == set(done.names("loaded"))
    assert {path for path, why in loads.items() if why == "gone"} == set(done.names("removed"))
    built = done.names("built")
    assert set(names_of(steps, "build", certain=True)) <= set(built)
    assert in_order(built, names_of(steps, "build"))
    ran = {check.name for check in record.checks if check.run_in == record.id}
    assert set(names_of(steps, "test", certain=True)) <= ran <= set(names_of(steps, "test"))
    left = {step.id.split(".", 2)[2] for step in steps if step.action == "leave" and step.certain}
    maybe_left = {step.id.split(".", 2)[2] for step in steps if step.action == "leave"}
    assert left <= set(record.partial) <= maybe_left
    assert outcome.published == (not record.partial)
    with database.reading(warehouse.builds / outcome.build / "kpi.duckdb") as con:
        now = set(database.relations(con))
    if not options.full_refresh:
        assert before - now == {step.name for step in steps if step.action == "drop"}


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_planned_is_what_a_refresh_does(tmp_path: Path, seed: int) -> None:
    chosen = random.Random(seed)
    root = lay_out(tmp_path / "p")
    step_by_step(root, plan(root, Options(TODAY, validate=False)), Options(TODAY, validate=False))
    count = 0
    while count < CHANGES_OF_EACH:
        for make in chosen.sample(CHANGES, chosen.choice((0, 1, 2, 2, 3, 4))):
            count += 1
            changes = make(chosen)
            change(root, {name: text for name, text in changes.items() if text is not None or (root / name).exists()})
        options = Options(TODAY, validate=False, **chosen.choice(OPTIONS))
        step_by_step(root, plan(root, options), options)
