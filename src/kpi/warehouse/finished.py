"""A build that is finished: whether it may be published, can be read back, and the file of it that all readers open."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb

from kpi.base import engine
from kpi.base.errors import BuildError, is_disk_full
from kpi.base.events import Tell
from kpi.compile.graph import AUDIT_SCHEMA, Graph
from kpi.run.checks import told_rows
from kpi.warehouse.rights import DATABASE, whole


def verdict(facts: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return what the checks of a build found, a line each: what keeps it from readers, and what is worth a warning."""
    failures: list[str] = []
    warnings: list[str] = []
    for check in facts["checks"]:
        # A build of an earlier version did not say what became of a test.
        old = "pass" if not check["failures"] else "fail" if check["severity"] == "error" else "warn"
        status = check.get("status", old)
        if status != "pass":
            told = f"{check['name']} ({check['where']}): {check['failures']} failing rows"
            told += f", kept in {check['stored']}" if check.get("stored") else ""
            (failures if status == "fail" else warnings).append(told)
    for year in facts.get("years", []):
        told = f"{year['year']} {year['expectation']}: {year['observed']}"
        (failures if year["severity"] == "error" else warnings).append(told)
    return failures, warnings


def example_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each check that did not pass and has examples of its failing rows.

    Apart from what `verdict` says: that goes into mails, which quote no row, and is compared from night to night.
    """
    for check in facts["checks"]:
        if check.get("status", "pass") != "pass" and check.get("examples"):
            yield f"  {check['name']}, failing rows{told_rows(check['examples'], check['failures'])}"


def tables_for_readers(graph: Graph) -> list[str]:
    """Return the places of views that are tables in the readers' file: they read a schema that is left out of it."""
    schemas = set(graph.project.upkeep.stewards_schemas)
    cut: dict[str, str] = {}
    for node in graph.nodes.values() if schemas else ():
        virtual = node.materialized in ("view", "ephemeral") and node.relation.schema.lower() not in schemas
        parents = [graph.nodes[parent] for parent in node.depends_on]
        if virtual and any(parent.id in cut or parent.relation.schema.lower() in schemas for parent in parents):
            cut[node.id] = str(node.relation)
    return sorted(place for node, place in cut.items() if graph.nodes[node].materialized == "view")


def read_back(file: Path) -> dict[str, int]:
    """Open a finished file as a reader would and read it all. Returns the number of rows of each table.

    An aborted write can leave a file with no tables, a bad disk one with a page that nobody can read. Raises
    BuildError.
    """
    try:
        with engine.reading(file) as con:
            seen = engine.row_counts(con)
            engine.read_all(con, seen)
            return seen
    except (duckdb.Error, UnicodeDecodeError) as error:
        first = str(error).partition("\n")[0]
        told = f"the finished file cannot be read back ({first})."
        told += " Run again; if it happens twice: kpi refresh --full-refresh, and have the disk looked at."
        raise BuildError(DATABASE, told) from None


def write_readers_file(
    candidate: Path, schemas: Collection[str], settings: dict[str, str], tell: Tell
) -> dict[str, Any]:
    """Write the file that all readers open beside the whole one: without these schemas and kept failing rows.

    Returns what is noted of it: the rows of its tables, and the views that are tables in it. Raises BuildError.
    """
    source, target = whole(candidate) / DATABASE, candidate / DATABASE
    try:
        views = engine.copy_without(source, target, {*schemas, AUDIT_SCHEMA}, settings)
    except duckdb.Error as error:
        if is_disk_full(error):
            raise
        first = str(error).partition("\n")[0]
        told = f"the readers' file cannot be made without {', '.join(schemas)}: {first}"
        raise BuildError(DATABASE, told) from None
    rows = read_back(target)
    told = f"; tables there, not views: {', '.join(views)}" if views else ""
    size = f"{target.stat().st_size / 1e6:.1f} MB of {source.stat().st_size / 1e6:.1f} MB"
    tell(f"Left out of the readers' file: {', '.join(schemas)}. It has {len(rows)} tables, {size}{told}.")
    return {"rows": rows, "tables": list(views)}
