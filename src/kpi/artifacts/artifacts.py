"""What a build leaves for dbt's tools beside its database: `manifest.json`, `run_results.json` and `catalog.json`."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from kpi.artifacts.manifest import write_manifest
from kpi.artifacts.testnames import TestName, test_names
from kpi.base.engine import CATALOG
from kpi.base.environment import hidden_values, is_anything_hidden
from kpi.compile.graph import Graph
from kpi.models.dbtforms import Made, relation_of
from kpi.models.model import Node

_NAMES = frozenset(
    (
        *("unique_id", "name", "schema", "database", "alias", "identifier", "relation_name", "package_name", "fqn"),
        *("path", "original_file_path", "depends_on", "refs", "sources", "parent_map", "child_map", "tags"),
    )
)
MANIFEST, RESULTS, CATALOGUE = "manifest.json", "run_results.json", "catalog.json"


def write_artifacts(
    folder: Path, graph: Graph, facts: Mapping[str, Any], con: duckdb.DuckDBPyConnection | None
) -> None:
    """Write the artifacts of a build into `folder`. `facts` are what the build knows of itself, `con` is open on it.

    Without a connection, as after a failure, there is no catalog.
    """
    made, names = _made(str(facts["id"])), test_names(graph)
    _write(folder / MANIFEST, write_manifest(graph, names, made))
    _write(folder / RESULTS, run_results(graph, facts, names, made))
    if con is not None:
        _write(folder / CATALOGUE, catalog(graph, con, facts.get("rows", {}), made))


def write_project_manifest(path: Path, graph: Graph) -> None:
    """Write the manifest of a project as it is, built or not."""
    _write(path, write_manifest(graph, test_names(graph), _made(graph.project.name)))


def run_results(graph: Graph, facts: Mapping[str, Any], names: Mapping[str, TestName], made: Made) -> dict[str, Any]:
    """Return what the nodes and tests that ran in a build came to, in the order of the graph (schema v6).

    What was up to date did not run and is not there, as with dbt.
    """
    run = facts["id"]
    checks = {check["name"]: check for check in facts.get("checks", ()) if check.get("run_in", run) == run}
    results: list[dict[str, Any]] = []
    for node in graph.nodes.values():
        if node.kind == "test" and node.name in checks:
            results.append(_test_result(node, names[node.id].id, checks[node.name]))
        elif node.kind not in ("source", "test") and node.materialized != "ephemeral":
            known = facts.get("nodes", {}).get(node.id, {})
            if known.get("status") in ("error", "skipped"):
                results.append(_result(node, node.id, known["status"], known.get("message")))
            elif known.get("built_in") == run:
                results.append(_node_result(node, known, facts.get("rows", {}).get(str(node.relation))))
    results += [_unit_result(unit, found) for unit, found in facts.get("unit_tests", {}).items()]
    asked = {name: list(value) if isinstance(value, tuple) else value for name, value in facts.get("asked", {}).items()}
    return {
        "metadata": made.metadata("run-results/v6"),
        "results": results,
        "elapsed_time": round(sum(result["execution_time"] for result in results), 3),
        "args": {"which": "build", **asked},
    }


def catalog(graph: Graph, con: duckdb.DuckDBPyConnection, rows: Mapping[str, int], made: Made) -> dict[str, Any]:
    """Return the tables and views that stand for nodes and sources, with their columns as they are (schema v1)."""
    found = _relations(con)
    entries: dict[str, dict[str, Any]] = {"source": {}, "node": {}}
    for node in graph.nodes.values():
        place = (node.relation.schema, node.relation.name)
        if node.kind != "test" and place in found:
            stats = _stats(rows.get(str(node.relation)))
            entry = {"metadata": found[place][0], "columns": found[place][1], "stats": stats, "unique_id": node.id}
            entries["source" if node.kind == "source" else "node"][node.id] = entry
    return {
        "metadata": made.metadata("catalog/v1"),
        "nodes": entries["node"],
        "sources": entries["source"],
        "errors": None,
    }


def _node_result(node: Node, known: Mapping[str, Any], rows: int | None) -> dict[str, Any]:
    message = f"INSERT {rows}" if node.kind == "seed" and rows is not None else "OK"
    response = {"_message": message} | ({} if rows is None else {"rows_affected": rows})
    return _result(node, node.id, "success", message) | {
        "execution_time": known.get("seconds") or 0.0,
        "adapter_response": response,
        "relation_name": relation_of(node.relation.schema, node.relation.name),
    }


def _test_result(node: Node, name: str, check: Mapping[str, Any]) -> dict[str, Any]:
    failures, severity = check["failures"], check["severity"]
    status = "pass" if not failures else "warn" if severity == "warn" else "fail"
    status = check.get("status", status)
    condition = getattr(node.test, f"{'warn' if status == 'warn' else 'error'}_if", "!= 0")
    told = f"Got {failures} result{'s' if failures > 1 else ''}, configured to {status} if {condition}"
    return _result(node, name, status, None if status == "pass" else told) | {
        "execution_time": check.get("seconds") or 0.0,
        "failures": failures,
    }


def _unit_result(unit: str, found: Mapping[str, Any]) -> dict[str, Any]:
    status = found["status"]
    told = None if status == "pass" else found["told"]
    return _of_all(unit, status, told) | {"failures": {"pass": 0, "fail": 1}.get(status)}


def _result(node: Node, name: str, status: str, message: str | None) -> dict[str, Any]:
    compiled = {"compiled": True, "compiled_code": node.sql} if node.sql else {}
    return _of_all(name, status, message) | compiled


def _of_all(name: str, status: str, message: str | None) -> dict[str, Any]:
    return {
        "status": status,
        "timing": [],
        "thread_id": "main",
        "execution_time": 0.0,
        "adapter_response": {},
        "message": message,
        "failures": None,
        "unique_id": name,
        "compiled": None,
        "compiled_code": None,
        "relation_name": None,
        "batch_results": None,
    }


def _relations(con: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], tuple[dict[str, Any], dict[str, Any]]]:
    """Every table and view with its columns in order, by schema and name."""
    rows = con.execute(
        """
        select relations.schema_name, relations.name, relations.kind, relations.comment,
            columns.column_name, columns.data_type, columns.column_index, columns.comment
        from duckdb_columns() as columns
        inner join (
            -- In `raw` a comment is the loader's own note of what it counted.
            select schema_name, table_name as name, 'BASE TABLE' as kind,
                if(schema_name = 'raw', null, comment) as comment
            from duckdb_tables() where database_name = ?
            union all
            select schema_name, view_name, 'VIEW', comment from duckdb_views() where database_name = ? and not internal
        ) as relations on columns.schema_name = relations.schema_name and columns.table_name = relations.name
        where columns.database_name = ?
        order by 1, 2, columns.column_index
        """,
        [CATALOG] * 3,
    ).fetchall()
    found: dict[tuple[str, str], tuple[dict[str, Any], dict[str, Any]]] = {}
    for schema, name, kind, comment, column, data_type, index, said in rows:
        about = {"type": kind, "schema": schema, "name": name, "database": CATALOG, "comment": comment, "owner": None}
        columns = found.setdefault((schema, name), (about, {}))[1]
        columns[column] = {"type": data_type, "index": index, "name": column, "comment": said}
    return found


def _stats(rows: int | None) -> dict[str, Any]:
    """What the docs page shows beside a table; it wants to be told whether there is anything."""
    return _by_id(
        _stat("has_stats", "Has Stats?", rows is not None, "Whether there are statistics for this table", False),
        *([] if rows is None else [_stat("num_rows", "Rows", rows, "Number of rows when it was built", True)]),
    )


def _stat(name: str, label: str, value: Any, description: str, include: bool) -> dict[str, Any]:
    return {"id": name, "label": label, "value": value, "include": include, "description": description}


def _by_id(*stats: dict[str, Any]) -> dict[str, Any]:
    return {stat["id"]: stat for stat in stats}


def _made(run: str) -> Made:
    digest = hashlib.md5(run.encode(), usedforsecurity=False).hexdigest()
    return Made(datetime.now(UTC), str(uuid.UUID(digest)))


def _write(path: Path, content: Mapping[str, Any]) -> None:
    content = _without_values(content) if is_anything_hidden() else content
    path.write_text(json.dumps(content, ensure_ascii=False, default=_plain), encoding="utf-8")


def _without_values(content: Any, key: str = "") -> Any:
    """The same without what the environment gave; names of things that are there, or are found by, stay as they are."""
    if isinstance(content, str):
        return content if key in _NAMES else hidden_values(content)
    if isinstance(content, Mapping):
        return {name: value if name in _NAMES else _without_values(value, name) for name, value in content.items()}
    return [_without_values(value, key) for value in content] if isinstance(content, list | tuple) else content


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, Iterable) else str(value)
