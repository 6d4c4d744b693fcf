"""The project's own compiled SQL, built in memory, to try rules that need particular rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb

from kpi.engine.graph import Graph
from kpi.engine.materializations import statements
from kpi.ingest.ledger import OWN

INDICATORS = "figure_id, service, report_year, basis, numerator, denominator, value, event_count"


class Bench:
    """The project built in memory, on the raw tables as they are."""

    def __init__(self, graph: Graph, is_built: bool = True) -> None:
        self.graph = graph
        self.con = duckdb.connect()
        for schema in sorted({"raw", *(node.relation.schema for node in graph.built())}):
            self.con.execute(f"create schema {schema}")
        for table, columns in {**OWN, **{feed.name: feed.table_columns for feed in graph.feeds}}.items():
            typed = ", ".join(f'"{name}" {kind}' for name, kind in columns)
            self.con.execute(f"create table raw.{table} ({typed})")
        if is_built:
            self.build()

    def build(self, *names: str) -> None:
        """Build these nodes in building order, or all of them."""
        for node in self.graph.built():
            if not names or node.name in names:
                for sql in statements(self.graph.project, node):
                    self.con.execute(sql)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return self.con.execute(sql).fetchall()

    def failures(self, test: str) -> list[tuple[Any, ...]]:
        """The rows that a data test of this name selects."""
        return self.rows(next(node.sql for node in self.graph.tests() if node.name == test))

    def indicators(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Replace marts.indicators by rows of its columns in order."""
        self.con.execute("delete from marts.indicators")
        self.con.executemany(f"insert into marts.indicators ({INDICATORS}) values (?, ?, ?, ?, ?, ?, ?, ?)", rows)
