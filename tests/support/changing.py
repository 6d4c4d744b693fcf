"""A small project that changes, and a database that is brought up to date with it."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from kpi import database
from kpi.build_record import BuildRecord
from kpi.engine.compile import check_project
from kpi.events import silent
from kpi.ingest.raw_files import scan
from kpi.jobs.options import Options
from kpi.jobs.pipeline import PipelineContext, PipelineResult, run_pipeline
from kpi.project.project import load_project
from kpi.warehouse.builds import Warehouse
from small_project import FILES as SMALL
from small_project import write

TODAY = date(2026, 1, 15)
# A feed must not have a column named `line`.
FILES = {name.replace("line", "desk"): text.replace("line", "desk") for name, text in SMALL.items()}
BY_LINE, STAGING, SHARE = "models/marts/calls_by_desk.sql", "models/staging/stg_calls.sql", "models/marts/share.sql"
CALLS = "warehouse/raw/calls/2024.csv"
HEADER = "call_id,desk,waited_seconds,arrived_on\n"
MORE: dict[str, str | bytes | None] = {
    CALLS: HEADER + "1,health,300,2024-01-01\n2,health,301,2024-01-02\n3,social,10,2024-01-03\n",
    SHARE: "select desk, {{ share('in_time_count', 'call_count') }} as value from {{ ref('calls_by_desk') }}\n",
    "models/staging/named.sql": "select c.desk, l.name_en, c.call_count from {{ ref('calls_by_desk') }} as c"
    " join {{ ref('desks') }} as l on l.desk = c.desk\n",
    "models/marts/names.sql": "select name_en, call_count from {{ ref('named') }}\n",
    "tests/assert_names.sql": "select name_en from {{ ref('names') }} where name_en is null\n",
}
Changes = dict[str, str | bytes | None]


def lay_out(root: Path) -> Path:
    """Write the project with its deliveries into a folder."""
    return write(root, {**dict.fromkeys(SMALL), **FILES, **MORE})


def change(root: Path, changes: Changes) -> None:
    """Write files of the project, or remove those that are None."""
    for name, text in changes.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink() if text is None else path.write_bytes(str(text).encode())


class Bench:
    """A small project, and a database that is brought up to date with it after each change."""

    def __init__(self, root: Path, stack: ExitStack, start: Bench | None = None) -> None:
        self.root, self.number = root, 0
        self.record: BuildRecord | None = None
        if start:
            self.number, self.record = start.number, start.record
            shutil.copytree(start.root, root, dirs_exist_ok=True)
        else:
            lay_out(root)
        self.con = stack.enter_context(database.building(root / "kpi.duckdb", root / "spill"))

    @property
    def noted(self) -> BuildRecord:
        """The record of the database as it is."""
        assert self.record is not None
        return self.record

    def run(self, changes: Changes | None = None, **options: Any) -> list[str]:
        """Change files, bring the database up, and return the names of what was built, then of the tests that ran."""
        change(self.root, changes or {})
        self.number += 1
        result = self.up(self.con, self.record, f"run-{self.number}", **options)
        record = result.record
        if record.nodes is not None:  # else nothing ran
            self.record = record
        if result.error:
            raise result.error
        nodes = (record.nodes or {}).items()
        return [node.rpartition(".")[2] for node, about in nodes if about.built_in == record.id]

    def up(
        self, con: duckdb.DuckDBPyConnection, before: BuildRecord | None, build: str, **options: Any
    ) -> PipelineResult:
        graph = check_project(load_project(self.root))
        warehouse = Warehouse(self.root / "warehouse")
        context = PipelineContext(warehouse, graph, Options(as_of=TODAY, **options), scan(warehouse.raw), silent)
        return run_pipeline(con, context, before, BuildRecord(build))

    def full(self) -> dict[str, list[tuple[object, ...]]]:
        """What everything holds when it is built from nothing."""
        path = self.root / "full.duckdb"
        path.unlink(missing_ok=True)
        with database.building(path, self.root / "spill") as con:
            assert self.up(con, None, "full").error is None
            return contents(con)


def contents(con: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[object, ...]]]:
    return {
        place: [tuple(database.columns_of(con, f"from {place}")), *con.execute(f"from {place} order by all").fetchall()]
        for place in database.relations(con)
    }
