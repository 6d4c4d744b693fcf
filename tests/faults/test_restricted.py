"""What is restricted in a problem reaches who runs kpi, and nothing that readers or mails get.

A marker is put into every restricted detail there is, whoever raises it; then each place that has one is made to.
"""

from __future__ import annotations

import ast
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

import kpi
from changing import TODAY
from kpi.build_record import BuildRecord, YearRecord
from kpi.engine import adapter, unit_tests
from kpi.engine.compile import check_project
from kpi.engine.graph import Node
from kpi.errors import CheckFailed, KpiError, Problem, StatementError, problems_of
from kpi.events import Emit, silent
from kpi.ingest import raw_table
from kpi.jobs import candidate, check_build, notifications, pipeline, prune_raw, release
from kpi.jobs.options import Options, Outcome
from kpi.jobs.recorded_run import attend
from kpi.jobs.refresh import refresh
from kpi.project.project import load_project
from kpi.provenance.revisions import Revision
from kpi.settings import ReportTables, WarehouseSettings
from kpi.warehouse import lake
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.lake_store import LakeFile
from once import copied
from small_project import FILES, write

MARKER = "Salaisuusmerkki"
SOURCE = Path(kpi.__file__).parent
FAILS = "select cast(line as bigint) as line from {{ ref('stg_calls') }}"


@pytest.fixture(autouse=True)
def marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every restricted detail holds the marker."""
    make = Problem.__init__

    def marking(self: Problem, *given: Any, **more: Any) -> None:
        make(self, *given, **more)
        if self.restricted:
            object.__setattr__(self, "restricted", f"{MARKER} {self.restricted}")

    monkeypatch.setattr(Problem, "__init__", marking)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[notifications.Message]:
    found: list[notifications.Message] = []
    monkeypatch.setenv("KPI_NOTIFY", "json://nobody")

    def send(_: Sequence[str], message: notifications.Message) -> list[str]:
        found.append(message)
        return []

    monkeypatch.setattr(notifications, "send", send)
    return found


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that leaves out rows for readers, published once."""
    settings = FILES["dbt_project.yml"].replace(
        "vars:\n", "vars:\n  kpi_warehouse:\n    stewards_schemas: [raw, staging]\n"
    )
    folder = write(tmp_path_factory.mktemp("published") / "county", {"dbt_project.yml": settings})
    raw = folder / "warehouse/raw/calls"
    raw.mkdir(parents=True)
    (raw / "a.csv").write_text("call_id,line,waited_seconds,arrived_on\n1,health,3,2026-01-01\n")
    options = Options(TODAY, validate=False)
    attend(folder, "refresh", TODAY, silent, lambda emit: refresh(folder, options, emit), notifies=False)
    return folder


@pytest.fixture
def root(published: Path, tmp_path: Path) -> Path:
    """A copy of it, in which something fails."""
    return copied(published, tmp_path / "county")


def failing_model(root: Path, emit: Emit) -> Outcome:
    (root / "models/marts/fails.sql").write_text(FAILS)
    return refresh(root, Options(TODAY, validate=False), emit)


def failing_hook(root: Path, emit: Emit) -> Outcome:
    settings = root / "dbt_project.yml"
    settings.write_text(
        settings.read_text() + "on-run-end: [\"create table main.t as select cast('x' as int) as a\"]\n"
    )
    return refresh(root, Options(TODAY, validate=False), emit)


def failing_test(root: Path, emit: Emit) -> Outcome:
    (root / "tests").mkdir(exist_ok=True)
    (root / "tests/fails.sql").write_text(f"{FAILS} where cast(line as bigint) > 1\n")
    return refresh(root, Options(TODAY, validate=False), emit)


UNIT = """\
unit_tests:
  - name: u
    model: fails
    given: [{input: ref('stg_calls'), rows: [{line: x}]}]
    expect: {rows: [{line: 1}]}
"""


def failing_unit_test(root: Path, emit: Emit) -> Outcome:
    (root / "models/marts/fails.sql").write_text(FAILS)
    (root / "models/marts/fails.yml").write_text(UNIT)
    return refresh(root, Options(TODAY, validate=False, unit_tests=True), emit)


def failing_statement_of_spark(root: Path, emit: Emit) -> Outcome:
    graph = check_project(load_project(root))
    with adapter._named(next(iter(graph.nodes.values()))):
        raise StatementError("Conversion Error", "could not convert 'x'")
    raise AssertionError


def failing_unit_test_on_spark(root: Path, emit: Emit) -> Outcome:
    def rows_here(node: Node, sql: str) -> str:
        raise StatementError("Conversion Error", "could not convert 'x'")

    graph = check_project(load_project(root))
    runner: Any = SimpleNamespace(adapter=SimpleNamespace(rows_here=rows_here), graph=graph)
    test: Any = SimpleNamespace(name="u", model=next(iter(graph.nodes)), given=(), file=root / "u.yml", line=1)
    unit_tests._Runner._computed(runner, test, "select 1")
    raise AssertionError


COLUMN = lake.LakeColumn("line", "INTEGER", "INTEGER")


def failing_write_to_the_lake(root: Path, emit: Emit) -> Outcome:
    with duckdb.connect() as con:
        con.execute("create schema raw")
        con.execute("create view raw.calls as select cast(line as int) as line from (values ('x')) as one(line)")
        content = lake._Content("raw.calls", (COLUMN,), 1, 1)
        lake._write_table(lake.lake_of(Warehouse(root / "warehouse"), WarehouseSettings()), con, "00001-1", content)
    raise AssertionError


def failing_restore_from_the_lake(root: Path, emit: Emit) -> Outcome:
    place = root / "warehouse/lake/raw.calls/1/data.parquet"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"no Parquet")
    files = (LakeFile("raw.calls/1/data.parquet", 10, ""),)
    table = lake.LakeTable("raw.calls", (COLUMN,), files, 1, 10, "1")
    with duckdb.connect() as con:
        lake.restore(lake.lake_of(Warehouse(root / "warehouse"), WarehouseSettings()), con, table)
    raise AssertionError


def failing_load(root: Path, emit: Emit) -> Outcome:
    with duckdb.connect() as con:
        raw_table.run_statement(con, "raw.calls", "select cast('x' as int)")
    raise AssertionError


def garbage(root: Path) -> Path:
    path = root / "garbage.duckdb"
    path.write_bytes(b"no database" * 1000)
    return path


def failing_carrying_over(root: Path, emit: Emit) -> Outcome:
    graph = check_project(load_project(root))
    with duckdb.connect() as con:
        pipeline.carry_over(con, graph, BuildRecord("1", kept=("logs.audit",)), garbage(root), emit)
    raise AssertionError


def failing_reading_back(root: Path, emit: Emit) -> Outcome:
    pipeline.read_back(garbage(root))
    raise AssertionError


def failing_readers_file(root: Path, emit: Emit) -> Outcome:
    folder = root / "candidate"
    folder.mkdir()
    garbage(root).rename(folder / "kpi.duckdb")
    pipeline.write_readers_file(folder, ("raw",), {}, emit)
    raise AssertionError


def broken_year(root: Path, emit: Emit) -> Outcome:
    record = BuildRecord("1", years=(YearRecord(2025, "every_month:calls", "error", "3 of 12"),))
    raise CheckFailed("Checks failed.", pipeline.verdict(record)[0])


def changed_figure(root: Path, emit: Emit) -> Outcome:
    columns = "figure_id varchar, service varchar, report_year int, basis varchar, numerator int, denominator int"
    with duckdb.connect() as con:
        con.execute("create schema marts")
        for table, value in (("as_published", 1), ("marts.indicators", 2)):
            con.execute(f"create table {table} ({columns}, value int, event_count int)")
            con.execute(f"insert into {table} values ('f', 's', 2025, 'calendar_year', 1, 1, {value}, 1)")
        prune_raw._refuse_changes(con, ReportTables(), 2024, ["calls"])
    raise AssertionError


def impossible_figure(root: Path, emit: Emit) -> Outcome:
    sql = "select 'f' as figure_id, 's' as service, 2025 as report_year, 'b' as basis, 'nan'::double as value"
    (root / "models/marts/indicators.sql").write_text(sql)
    with duckdb.connect() as con:
        con.execute("create schema marts")
        con.execute(f"create table marts.indicators as {sql}")
        check_build.refuse_impossible_figures(con, check_project(load_project(root)))
    raise AssertionError


def failing_pruned_year(root: Path, emit: Emit) -> Outcome:
    year = SimpleNamespace(report_year=2025, expectation="x", observed="3 of 12", success=False, severity="error")
    plan: Any = SimpleNamespace(record=BuildRecord("1"), graph=check_project(load_project(root)))
    with pytest.MonkeyPatch.context() as patch, duckdb.connect() as con:
        patch.setattr("kpi.validation.expectations.validate", lambda *_, **__: [year])
        prune_raw._refuse_failing(con, plan, BuildRecord("1"), TODAY)
    raise AssertionError


def open_revision(root: Path, emit: Emit) -> Outcome:
    values: tuple[Any, ...] = ("count", 87.0, 86.0, 87.0, 86.0, -1.0, "open")
    raise CheckFailed("Revisions.", [Revision("r1", "2025-1", "f", "s", 2025, "calendar_year", *values).problem()])


def release_of_a_failed_year(root: Path, emit: Emit) -> Outcome:
    record = BuildRecord("1", years=(YearRecord(2025, "every_month:calls", "error", "3 of 12"),))
    release._refuse_failed(record, (), release.ReleaseOptions(2025, "a note"))
    raise AssertionError


def release_that_cannot_be_built(root: Path, emit: Emit) -> Outcome:
    (root / "models/marts/fails.sql").write_text(FAILS)
    release._build(root, str(TODAY))
    raise AssertionError


# By the function that raises it.
PLACES: dict[str, Callable[[Path, Emit], Outcome]] = {
    "engine/adapter.py _named": failing_statement_of_spark,
    "engine/runner.py build_node": failing_model,
    "engine/runner.py run_hooks": failing_hook,
    "engine/test_runner.py run_tests": failing_test,
    "engine/unit_tests.py _asked": failing_unit_test,
    "engine/unit_tests.py _computed": failing_unit_test_on_spark,
    "ingest/raw_table.py run_statement": failing_load,
    "jobs/check_build.py refuse_impossible_figures": impossible_figure,
    "jobs/pipeline.py carry_over": failing_carrying_over,
    "jobs/pipeline.py read_back": failing_reading_back,
    "jobs/pipeline.py write_readers_file": failing_readers_file,
    "jobs/pipeline.py verdict": broken_year,
    "jobs/prune_raw.py _refuse_changes": changed_figure,
    "jobs/prune_raw.py _refuse_failing": failing_pruned_year,
    "jobs/release.py _build": release_that_cannot_be_built,
    "jobs/release.py _refuse_failed": release_of_a_failed_year,
    "provenance/revisions.py problem": open_revision,
    "warehouse/lake.py _write_table": failing_write_to_the_lake,
    "warehouse/lake.py restore": failing_restore_from_the_lake,
}


def places() -> Iterator[str]:
    """Every function of kpi's that gives a restricted detail."""
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef) and name != "errors.py":
                given = [one.arg for call in ast.walk(function) if isinstance(call, ast.Call) for one in call.keywords]
                if "restricted" in given:
                    yield f"{name} {function.name}"


def test_every_place_that_has_a_restricted_detail_is_tried_here() -> None:
    assert set(places()) == set(PLACES)


def for_readers(warehouse: Path) -> Iterator[Path]:
    """The files below a warehouse that others than their owner can open."""
    for folder, folders, names in os.walk(warehouse):
        folders[:] = [name for name in folders if stat.S_IMODE((Path(folder) / name).stat().st_mode) & 0o001]
        yield from (
            Path(folder, name) for name in names if stat.S_IMODE(Path(folder, name).stat().st_mode) & stat.S_IROTH
        )


def look(root: Path, sent: Sequence[notifications.Message]) -> None:
    """Look for the marker in all that readers and mails get."""
    assert not any(MARKER in text for message in sent for text in (message.title, message.body))
    files = list(for_readers(root / "warehouse"))
    assert any(path.name == "ledger.jsonl" for path in files)
    assert not [path for path in files if MARKER.encode() in path.read_bytes()]
    with kpi.open(project_dir=root) as con:
        for schema, name in con.execute("select schema_name, table_name from duckdb_tables()").fetchall():
            rows = con.execute(f'select * from "{schema}"."{name}"').fetchall()
            assert MARKER not in str(rows)


@pytest.mark.parametrize("place", PLACES)
def test_what_is_restricted_is_in_nothing_that_readers_and_mails_get(
    root: Path, sent: list[notifications.Message], place: str
) -> None:
    with pytest.raises(KpiError) as caught:
        attend(root, "refresh", TODAY, silent, lambda emit: PLACES[place](root, emit))
    problems = problems_of(caught.value)
    assert any(MARKER in str(problem) for problem in problems)  # else nothing was tried
    assert not any(MARKER in str(problem.public()) for problem in problems)
    (message,) = sent
    assert message.kind == "failure"
    look(root, sent)
    log = max((root / "warehouse/runs").glob("0*.jsonl")).read_text().splitlines()[-1]
    assert MARKER not in json.dumps(json.loads(log)["problems"])
    # The next build has the history of runs in a table of its own.
    for path in ("models/marts/fails.sql", "models/marts/fails.yml", "tests/fails.sql", "models/marts/indicators.sql"):
        (root / path).unlink(missing_ok=True)
    write(root, {"dbt_project.yml": (root / "dbt_project.yml").read_text().partition("on-run-end")[0]})
    (root / "models/marts/another.sql").write_text("select 1 as x")
    attend(root, "refresh", TODAY, silent, lambda emit: refresh(root, Options(TODAY, validate=False), emit))
    look(root, sent)


def test_a_build_published_despite_its_checks_tells_readers_what_is_public(
    root: Path, sent: list[notifications.Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = [Problem("expectation.failed", "does not hold", restricted="3 of 12", subject="2025 every_month:calls")]
    monkeypatch.setattr(candidate, "verdict", lambda record: (failed, failed))
    (root / "models/marts/another.sql").write_text("select 1 as x")
    options, lines = Options(TODAY, validate=False, publish_despite_checks="it is known"), list[str]()
    outcome = attend(root, "refresh", TODAY, lines.append, lambda emit: refresh(root, options, emit))
    assert outcome.published
    assert any(MARKER in line for line in lines)
    record = Warehouse(root / "warehouse").record(root / "warehouse/current")
    assert record.overruled == ("2025 every_month:calls: does not hold",)
    assert "2025 every_month:calls: does not hold" in sent[-1].body
    look(root, sent)
