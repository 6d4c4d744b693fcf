"""How the package is built up: each module imports only from those below it, and heavy imports wait until needed."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import kpi

SOURCE = Path(kpi.__file__).parent
MODULES = {
    f"{path.parent.name}.{path.stem}": path
    for path in SOURCE.glob("*/*.py")
    if path.stem not in ("__init__", "__main__")
}
# From the ground up: a package imports only from those above it in this list, and a module only from those before it.
PACKAGES = {
    "base": (
        "errors",
        "limits",
        "files",
        "environment",
        "events",
        "names",
        "presented",
        "terminal",
        "excerpts",
        "lines",
        "lock",
        "projectfiles",
        "compile_cache",
        "yamlfile",
        "upkeep",
        "engine",
        "sqltext",
        "relation",
    ),
    "parse": (
        "sandbox",
        "invocation",
        "files",
        "jinjafile",
        "strictness",
        "packages",
        "macros",
        "dbtobjects",
        "context",
        "properties",
        "sourcetables",
        "profile",
        "testspecs",
        "yamljinja",
        "versions",
        "described",
        "outside",
        "resources",
        "part",
        "project",
        "fileconfig",
    ),
    "deliveries": (
        "cadence",
        "retention",
        "dialect",
        "column_rules",
        "delivery_order",
        "feed",
        "reject_threshold",
        "feed_months",
        "calendar",
        "feed_calendar",
        "personal",
        "spelling",
        "cells",
        "letters",
        "encoding",
        "filekinds",
        "delivery",
        "records",
        "headers",
        "suspects",
        "kept",
        "rawfiles",
        "corrections",
        "statements",
        "loadfile",
        "worth_telling",
        "load",
        "freshness",
    ),
    "models": (
        "problems",
        "pending",
        "references",
        "template",
        "overriding",
        "portable",
        "lint",
        "model",
        "builtin_tests",
        "generic_tests",
        "seeds",
        "hooks",
        "ephemeral",
        "external",
        "incremental",
        "contracts",
        "snapshots",
        "early",
        "nodes",
        "unit_rows",
        "unit_tests",
        "dbtforms",
        "test_name",
    ),
    "compile": (
        "unbuilt",
        "flat_graph",
        "graph",
        "methods",
        "selectors",
        "selection",
        "listing",
        "house_rules",
        "binding",
        "unit_diff",
        "unit_sql",
        "unit_runs",
        "bind",
        "inline",
        "compiling",
        "origins",
        "lineage",
    ),
    "run": (
        "fingerprint",
        "content",
        "materialize",
        "build",
        "scans",
        "running",
        "checks",
        "examples",
    ),
    "artifacts": (
        "manifestparts",
        "testnames",
        "manifest",
        "artifacts",
        "state",
    ),
    "yearly": (
        "parts",
        "queries",
        "sums",
        "rules",
        "frames",
        "expectations",
        "words",
        "pages",
    ),
    "warehouse": (
        "runlog",
        "runs",
        "rights",
        "builds",
        "ledger",
        "keeping",
        "testing",
        "validation",
        "inputs",
        "options",
        "history",
        "intake",
        "working",
        "finished",
        "workplace",
        "candidate",
    ),
    "nightly": (
        "refresh",
        "trial",
        "prune",
        "plan",
        "watch",
        "notify",
        "concerned",
        "tidings",
        "nightly",
        "progress",
        "schedule",
    ),
    "read": (
        "report_years",
        "figures",
        "public_writer",
        "public_folder",
        "public_check",
        "public",
        "changed_deliveries",
        "diff",
        "guards",
        "doctor",
    ),
    "demo": (
        "files",
        "times",
        "calls",
        "callbacks",
        "contacts",
        "nps",
        "feedback",
        "safety",
        "queue",
        "access",
        "social",
        "digital",
        "aggregates",
        "feeds",
        "deliver",
    ),
    "cli": (
        "options",
        "build",
        "project",
        "read",
        "operate",
        "test",
        "artifacts",
        "nightly",
        "dbt",
        "main",
    ),
}
ORDER = tuple(f"{package}.{module}" for package, modules in PACKAGES.items() for module in modules)
HEAVY = {"duckdb", "sqlglot", "pandas", "numpy", "pyarrow", "jinja2", "yaml", "great_expectations", "rich", "apprise"}
LONGEST = 300
# Still longer than that; to be cut. None may be added.
TOO_LONG: dict[str, int] = {"parse.project": 330, "warehouse.candidate": 340, "read.figures": 330}


def imported(path: Path) -> Iterator[tuple[str, bool]]:
    """The modules a file imports, with whether it does so when it is itself imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {
        node
        for part in ast.walk(tree)
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(part, ast.If) and ast.unparse(part.test) == "TYPE_CHECKING")
        for node in ast.walk(part)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom(module=str(module)) if module.count(".") < 2 and module.partition(".")[0] == "kpi":
                names = [f"{module}.{alias.name}" for alias in node.names]
            case ast.ImportFrom(module=str(module)):
                names = [module]
            case _:
                continue
        for name in names:
            yield name, node not in inner


def test_the_order_names_every_module_once() -> None:
    assert sorted(ORDER) == sorted(MODULES)


@pytest.mark.parametrize("module", ORDER)
def test_a_module_imports_only_from_those_below_it(module: str) -> None:
    below = {f"kpi.{name}" for name in ORDER[: ORDER.index(module)]}
    own = {name for name, _ in imported(MODULES[module]) if name.partition(".")[0] == "kpi"}
    assert own - below == set()


def test_great_expectations_is_imported_in_one_module_only() -> None:
    users = {
        module
        for module, path in MODULES.items()
        if any(name.partition(".")[0] == "great_expectations" for name, _ in imported(path))
    }
    assert users == {"yearly.expectations"}


@pytest.mark.parametrize("module", ORDER)
def test_no_module_is_longer_than_one_can_read_at_a_sitting(module: str) -> None:
    lines = MODULES[module].read_text(encoding="utf-8").count("\n")
    assert lines <= TOO_LONG.get(module, LONGEST)


@pytest.mark.parametrize("module", ORDER)
def test_no_print_outside_the_command_line_and_no_assert(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    prints = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"]
    asserts = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert not asserts
    assert not prints


@pytest.mark.parametrize(
    "code",
    [
        "import kpi",
        "from kpi.cli.main import cli; cli(['--help'], standalone_mode=False)",
        # All that a refresh looks at before it knows that nothing changed.
        "from kpi.base import projectfiles; from kpi.deliveries import rawfiles; from kpi.read import figures; "
        "from kpi.nightly import nightly, progress, refresh; from kpi.warehouse import builds",
    ],
)
def test_heavy_imports_wait_until_they_are_needed(code: str) -> None:
    report = "\nimport sys; print('loaded:', *{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.rpartition("loaded:")[2].split())
    assert loaded & HEAVY == set()
    assert "kpi" in loaded


def test_queries_pages_and_macros_are_in_the_distribution() -> None:
    settings = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    packed = {
        path for pattern in settings["tool"]["setuptools"]["package-data"]["kpi"] for path in SOURCE.glob(pattern)
    }
    beside = {path for path in SOURCE.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert beside
    assert beside == packed
