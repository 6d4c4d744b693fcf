"""Which figures a failure concerns: those of the failing rows, else those made from what failed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi.base.errors import BuildError, DeliveryError, KpiError
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.rights import DATABASE, whole

if TYPE_CHECKING:
    import duckdb

FIGURE = "figure_id"


def figures_concerned(warehouse: Warehouse, error: BaseException, build: str) -> tuple[str, ...]:
    """Return `id (name)` of each figure that a failed run concerns, in order; empty when none can be told.

    `build` is the candidate that was kept, if one was. Judged by the builds on disk alone: the project may not compile.
    """
    candidate = warehouse.builds / build if build else None
    facts = warehouse.facts(candidate)
    published = warehouse.current()
    nodes = {**warehouse.facts(published).get("nodes", {}), **facts.get("nodes", {})}
    found: set[str] = set()
    failed = [check for check in facts.get("checks", []) if check["failures"] and check["severity"] == "error"]
    causes: set[str] = set()
    if candidate and not isinstance(error, BuildError | DeliveryError):
        found, feeds = _of_years(candidate, facts)
        causes = {node for node in nodes if node.startswith("source.") and node.rpartition(".")[2] in feeds}
        with suppress(Exception), _open(candidate) as con:
            for check in list(failed):
                if figures := _of_rows(con, str(check["sql"])):
                    found |= figures
                    failed.remove(check)
    names_of_failed = {check["name"] for check in failed}
    tests = {node for node in nodes if node.startswith("test.") and node.rpartition(".")[2] in names_of_failed}
    causes |= {parent for node in tests for parent in nodes[node].get("parents", {})}
    causes |= _causes(error, nodes)
    names: dict[str, str] = {}
    if published:
        with suppress(Exception), _open(published) as con:
            found |= _downstream(con, nodes, causes)
            names = dict(con.execute("select figure_id, name_en from seeds.figures").fetchall())
    return tuple(f"{figure} ({names[figure]})" if names.get(figure) else figure for figure in sorted(found))


def _open(folder: Path) -> duckdb.DuckDBPyConnection:
    from kpi.base import engine

    return engine.reading(whole(folder) / DATABASE)


def _of_years(candidate: Path, facts: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """Figures, and feeds, of the rows that break an expectation whose failure is an error."""
    errors = {(year["year"], year["expectation"]) for year in facts.get("years", []) if year["severity"] == "error"}
    try:
        results = json.loads((candidate / "expectations.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set(), set()
    rows = [
        row
        for result in results
        if (result["report_year"], result["expectation"]) in errors
        for row in result.get("rows", [])
    ]
    return {row[FIGURE] for row in rows if FIGURE in row}, {row["feed"] for row in rows if "feed" in row}


def _of_rows(con: duckdb.DuckDBPyConnection, sql: str) -> set[str]:
    """Figures that the failing rows of a test name; empty when its rows have no figure."""
    with suppress(Exception):
        rows = con.execute(f"select distinct {FIGURE} from ({sql}\n) as failing where {FIGURE} is not null").fetchall()
        return {str(row[0]) for row in rows}
    return set()


def _causes(error: BaseException, nodes: Mapping[str, Any]) -> set[str]:
    """The nodes that an error names: the feed of a delivery, or the models that failed."""
    if isinstance(error, DeliveryError):
        told = str(error)
        return {node for node in nodes if node.startswith("source.") and f"{node.rpartition('.')[2]}/" in told}
    if isinstance(error, BuildError):
        failed = {part.node.partition(" ")[0] for part in getattr(error, "errors", (error,))}
        return {node for node in nodes if node.rpartition(".")[2] in failed}
    if isinstance(error, KpiError) and hasattr(error, "file"):
        files = {Path(part.file).stem for part in getattr(error, "errors", (error,))}
        return {node for node in nodes if node.rpartition(".")[2] in files}
    return set()


def _downstream(con: duckdb.DuckDBPyConnection, nodes: Mapping[str, Any], causes: Iterable[str]) -> set[str]:
    """Figures of the nearest tables of figures made from the given nodes: beyond those, all figures come together."""
    tables = {
        f"{schema}.{name}"
        for schema, name in con.execute(
            "select table_schema, table_name from information_schema.columns where column_name = ?", [FIGURE]
        ).fetchall()
    }
    children: dict[str, list[str]] = {}
    for node, facts in nodes.items():
        for parent in facts.get("parents", {}):
            children.setdefault(parent, []).append(node)
    found: set[str] = set()
    waiting, seen = list(causes), set(causes)
    while waiting:
        node = waiting.pop()
        place = nodes[node].get("relation") if not node.startswith("test.") else None
        if place in tables and not node.startswith(("seed.", "source.")):
            found |= {str(row[0]) for row in con.execute(f"select distinct {FIGURE} from {place}").fetchall()}
            continue
        new = [child for child in children.get(node, ()) if child not in seen]
        seen.update(new)
        waiting += new
    return found
