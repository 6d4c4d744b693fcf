"""How the package is built up: the order of imports is import-linter's (pyproject.toml); heavy imports wait."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import kpi

SOURCE = Path(kpi.__file__).parent
ROOT = SOURCE.parents[1]
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts): path
    for path in SOURCE.rglob("*.py")
    if path.stem not in ("__init__", "__main__")
}
HEAVY = {"duckdb", "sqlglot", "pandas", "numpy", "pyarrow", "jinja2", "yaml", "great_expectations", "rich", "apprise"}
MOST_MODULES = 125


def test_packages_import_only_from_those_below_them() -> None:
    """The layers, the circles and who imports Great Expectations: tool.importlinter in pyproject.toml."""
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_are_not_more_modules_than_one_can_know() -> None:
    assert len(MODULES) <= MOST_MODULES


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_print_outside_the_command_line_and_no_assert(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    prints = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"]
    asserts = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert not asserts
    assert not prints


def test_no_module_imports_sqlglot_or_great_expectations_to_be_imported_itself() -> None:
    """What is remembered is read without them, whichever modules a run imports; constants must not ask for them."""
    modules = sorted(name for name in MODULES if not name.startswith("cli") and name != "validation.expectations")
    code = "\n".join(f"import kpi.{name}" for name in modules)
    report = "\nimport sys; print('loaded:', *{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    assert set(done.stdout.rpartition("loaded:")[2].split()) & {"sqlglot", "great_expectations", "pandas"} == set()


@pytest.mark.parametrize(
    "code",
    [
        "import kpi",
        "from kpi.cli.main import cli; cli(['--help'], standalone_mode=False)",
        # All that a refresh looks at before it knows that nothing changed.
        "from kpi import files; from kpi.ingest import raw_files; from kpi.reader import figures; "
        "from kpi.jobs import recorded_run, progress, refresh; from kpi.warehouse import builds",
    ],
)
def test_heavy_imports_wait_until_they_are_needed(code: str) -> None:
    report = "\nimport sys; print('loaded:', *{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.rpartition("loaded:")[2].split())
    assert loaded & HEAVY == set()
    assert "kpi" in loaded


def test_queries_pages_and_macros_are_in_the_distribution() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packed = {
        path for pattern in settings["tool"]["setuptools"]["package-data"]["kpi"] for path in SOURCE.glob(pattern)
    }
    beside = {path for path in SOURCE.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert beside
    assert beside == packed


def test_no_file_of_tests_is_longer_than_one_reads() -> None:
    counts = {path: path.read_text(encoding="utf-8").count("\n") for path in (ROOT / "tests").rglob("*.py")}
    assert {path.relative_to(ROOT).as_posix(): count for path, count in counts.items() if count > 400} == {}


MOST_LINES = 60  # of a function, with its docstring


def test_no_function_is_longer_than_a_screen() -> None:
    """Complexity and the number of parameters are ruff's (C901, PLR0913 in pyproject.toml)."""
    long = [
        f"{module}.{node.name}: from line {node.lineno} to {node.end_lineno}"
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= MOST_LINES
    ]
    assert long == []
