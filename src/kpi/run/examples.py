"""Up to three of the failing rows of a data test, for the message that it failed.

A message goes to screens, logs and mails: what looks like personal data is masked, columns that a contract calls free
text or a pseudonym are left out, and of what only stewards may open nothing is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import duckdb

from kpi.base.engine import columns_of
from kpi.base.names import identifier
from kpi.compile.graph import Graph
from kpi.deliveries.personal import masked
from kpi.models.model import Node
from kpi.run.checks import CheckResult

SHOWN = 3
COLUMNS = 4
_LONGEST = 40  # of a value, in characters


def with_examples(
    con: duckdb.DuckDBPyConnection, graph: Graph | None, results: Iterable[CheckResult]
) -> tuple[CheckResult, ...]:
    """Return the results, those that did not pass with examples of their failing rows; without a graph as they are."""
    if graph is None:
        return tuple(results)
    tests = {test.name: test for test in graph.tests()}
    hidden = {column.name for feed in graph.feeds for column in feed.columns if column.free_text or column.pseudonym}
    return tuple(
        replace(result, examples=_examples(con, graph, tests[result.name], result.sql, hidden))
        if result.status != "pass" and result.name in tests
        else result
        for result in results
    )


def is_restricted(graph: Graph, test: Node) -> bool:
    """Tell whether a test looks at a table that only stewards may open, itself or through an ephemeral model."""
    schemas = set(graph.project.upkeep.stewards_schemas)
    waiting = list(test.depends_on)
    while waiting and schemas:
        node = graph.nodes.get(waiting.pop())
        if node and node.materialized == "ephemeral":
            waiting += node.depends_on
        elif node and node.relation.schema.lower() in schemas:
            return True
    return False


def _examples(con: duckdb.DuckDBPyConnection, graph: Graph, test: Node, sql: str, hidden: set[str]) -> tuple[str, ...]:
    column = test.test.column if test.test else ""
    if is_restricted(graph, test) or column in hidden:
        return ()
    rows = f"({sql}\n) as failing"
    try:
        names = [name for name, _ in columns_of(con, f"select * from {rows}") if name not in hidden]
        names = sorted(names, key=lambda name: name != column)[:COLUMNS]
        shown = ", ".join(map(_text, names))
        found = con.execute(f"select {shown} from {rows} order by all limit {SHOWN}").fetchall() if names else []
    except duckdb.Error:
        return ()  # the test's own result stands
    return tuple(", ".join(_pairs(names, row)) for row in found)


def _text(name: str) -> str:
    """SQL of a value as text: masked, without what would steer a terminal, and cut."""
    text = f"regexp_replace(cast({identifier(name)} as varchar), '[[:cntrl:]]', ' ', 'g')"
    return f"left({masked(text)}, {_LONGEST + 1})"


def _pairs(names: Iterable[str], row: Iterable[str | None]) -> Iterator[str]:
    for name, value in zip(names, row, strict=True):
        if value is None:
            yield f"{name} is null"
        else:
            yield f"{name}={value if len(value) <= _LONGEST else f'{value[:_LONGEST]}…'}"
