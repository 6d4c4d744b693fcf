"""Fixtures that several test files share."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from demo.deliver import write_demo
from kpi import database
from kpi.engine.compile import CACHE
from kpi.engine.graph import Graph
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from once import compilation, copied, county, keep_compilation, made_once
from sampled import sampled
from tiny import Tiny

ROOT = Path(__file__).parents[1]
TODAY = date(2026, 11, 21)
DEMOS = ("demo_project", "small_demo")
LONG_KINDS = {"oracle", "dbt", "faults", "spark"}

pytest_plugins = ["cpu_table", "judged_county"]


# No property test fails because a machine is slow, nor by an example that the run before did not have.
settings.register_profile(
    "kpi",
    deadline=None,
    derandomize=sampled(True, False),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("kpi")

# A shell ignores Ctrl-C in what it starts in the background, as CI may, and children inherit that: some tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", action="store_true", help="write the golden files anew instead of comparing")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the long tests, and keep those that share what is made for them on one worker, where they name no group."""
    for item in items:
        if (group := _group_of(item)) and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(group))
        if group in DEMOS or LONG_KINDS & set(item.path.parts):
            item.add_marker(pytest.mark.long)


def _group_of(item: pytest.Item) -> str | None:
    """The demo that a test needs, or its file where that has a fixture: two workers would make it twice."""
    if needed := [name for name in DEMOS if name in getattr(item, "fixturenames", ())]:
        return needed[0]
    fixtures = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    is_shared = any(one.scope == "module" for each in fixtures.values() for one in each)
    return item.path.stem if is_shared else None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Pass over files without a long test where long ones are asked for: importing them takes seconds."""
    is_asked = config.getoption("markexpr") == "long" and collection_path.match("test_*.py")
    if is_asked and collection_path.parent.name in ("unit", "functional", "docs"):
        text = collection_path.read_text(encoding="utf-8")
        return None if any(word in text for word in ("pytest.mark.long", *DEMOS)) else True
    return None


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a long text by its length: pytest puts the name of a test into the environment of its processes."""
    return f"{argname} of {len(val)} characters" if isinstance(val, str | bytes) and len(val) > 300 else None


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with its golden file, or write it with --golden (make golden); review the diff."""

    def check(name: str, text: str) -> None:
        path = Path(__file__).parent / "golden" / name
        if request.config.getoption("--golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return check


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Tiny]:
    """A project of one seed, and an open database of its own."""
    with database.building(tmp_path / "kpi.duckdb", tmp_path / "spill") as con:
        yield Tiny(tmp_path / "project", con)


def copy_project(folder: Path) -> Path:
    """Copy the project, without deliveries and builds, into a folder."""
    for name in ("models", "seeds", "macros", "expectations", "tests/sql"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copytree(ROOT / "report", folder / "report")
    shutil.copy(ROOT / "dbt_project.yml", folder)
    (folder / CACHE).parent.mkdir(parents=True)
    shutil.copy(compilation(), folder / CACHE)
    return folder


@pytest.fixture(scope="session")
def graph() -> Graph:
    """The county's own project, compiled."""
    return county().graph


@pytest.fixture(scope="session")
def small_deliveries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundredth of the synthetic deliveries. Tests must not change them."""
    return (
        made_once(tmp_path_factory, "small-deliveries", lambda folder: write_demo(folder / "raw", scale=0.01)) / "raw"
    )


@pytest.fixture(scope="session")
def fiftieth_deliveries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fiftieth of the synthetic deliveries. Tests must not change them."""
    return made_once(tmp_path_factory, "fiftieth", lambda folder: write_demo(folder / "raw", scale=0.02)) / "raw"


@pytest.fixture(scope="session")
def small_demo(tmp_path_factory: pytest.TempPathFactory, small_deliveries: Path) -> Path:
    """The project with a hundredth of the synthetic deliveries, published though few figures are as printed.

    Tests must not change it.
    """

    def make(folder: Path) -> None:
        copied(small_deliveries, copy_project(folder) / "warehouse/raw")
        refresh(folder, Options(as_of=TODAY, publish_despite_checks="a hundredth of the volumes"), lambda line: None)
        keep_compilation(folder)

    return made_once(tmp_path_factory, "small-demo", make)


@pytest.fixture(scope="session")
def demo_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with the synthetic deliveries at full volume, refreshed and published. Tests must not change it.

    It takes 40 CPU seconds, once: only at full volume do all printed figures come out, and small counts are few.
    """

    def make(folder: Path) -> None:
        write_demo(copy_project(folder) / "warehouse/raw")
        refresh(folder, Options(as_of=TODAY), lambda line: None)

    return made_once(tmp_path_factory, "demo", make)
