"""A project of one seed and the models a test gives it, built into one database as often as the test likes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from building import build_nodes
from kpi import database
from kpi.engine.compile import check_project
from kpi.engine.graph import Graph
from kpi.engine.plan import definitions
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from kpi.project.project import load_project

SETTINGS = "name: tiny\n"


class Tiny:
    """A project in a folder and a database that it is built into."""

    def __init__(self, root: Path, con: duckdb.DuckDBPyConnection) -> None:
        self.root, self.con = root, con
        self.write({"dbt_project.yml": SETTINGS})

    def write(self, files: Mapping[str, str]) -> None:
        """Write files of the project; a name without a folder or suffix is a model's."""
        for name, text in files.items():
            path = self.root / (name if "." in name else f"models/{name}.sql")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def seed(self, *lines: str) -> None:
        """Write the seed `src`, its header first."""
        self.write({"seeds/src.csv": "\n".join(lines) + "\n"})

    def compiled(self) -> Graph:
        """Compile and bind the project."""
        return check_project(load_project(self.root))

    def build(self, full_refresh: Sequence[str] = ()) -> None:
        """Build everything; tables of models named in `full_refresh` are not added to."""
        graph = self.compiled()
        nodes = [node for node in graph.built() if node.materialized != "ephemeral"]
        build_nodes(self.con, graph, nodes, [node.id for node in nodes if node.name in full_refresh])

    def refresh(self, full_refresh: bool = False) -> list[str]:
        """Run the nightly job, without judging report years, and return what it told."""
        message: list[str] = []
        refresh(self.root, Options(date(2026, 3, 5), full_refresh=full_refresh, validate=False), message.append)
        return message

    def published(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query of the published build."""
        with database.reading(self.root / "warehouse" / "current" / "kpi.duckdb") as con:
            return con.execute(sql).fetchall()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query, or of a table in `main`, in order."""
        query = f"select * from ({sql if ' ' in sql else f'from main.{sql}'}) order by all"
        return self.con.execute(query).fetchall()

    def columns(self, table: str) -> dict[str, str]:
        """Return the columns of a table in `main` and their types."""
        return {row[0]: row[1] for row in self.con.execute(f"describe main.{table}").fetchall()}


FIRST = ("id,y,v", "1,2023,1", "2,2023,2", ",2024,3")


def incremental(settings: str, select: str = "select id, y, v from {{ ref('src') }}", where: str = "v > 10") -> str:
    """Return a model that after its first run yields only rows that fulfil a condition."""
    only = f"\n{{% if is_incremental() %}} where {where} {{% endif %}}"
    return f"{{{{ config(materialized='incremental', {settings}) }}}}\n{select}{only}"


def definitions_after(tiny: Tiny, **files: str) -> set[str]:
    """Write files and return the names of the nodes whose definition that changed."""
    before = definitions(tiny.compiled())
    tiny.write(files)
    now = definitions(tiny.compiled())
    return {node.split(".")[-1] for node in now if now[node] != before.get(node)}
