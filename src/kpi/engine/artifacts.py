"""dbt's artifacts beside a build: `manifest.json`, `run_results.json`, `catalog.json`; and `state:` read from them."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kpi.build_record import FILE, NodeRecord, TestRecord, UnitTestRecord
from kpi.database import CATALOG, duckdb
from kpi.engine.artifact_forms import Made, relation_of
from kpi.engine.graph import Graph, Node
from kpi.engine.manifest import manifest_metadata, test_names, write_manifest
from kpi.engine.selector import Checksum, State
from kpi.engine.tests import TestName
from kpi.environment import hidden_values, is_anything_hidden
from kpi.errors import ConfigError
from kpi.files import replacing

_NAMES = frozenset(
    (
        *("unique_id", "name", "schema", "database", "alias", "identifier", "relation_name", "package_name", "fqn"),
        *("path", "original_file_path", "depends_on", "refs", "sources", "parent_map", "child_map", "tags"),
    )
)
MANIFEST, RESULTS, CATALOGUE = "manifest.json", "run_results.json", "catalog.json"


@dataclass(frozen=True, slots=True)
class Results:
    """What the artifacts say of a build: its nodes and unit tests by id, its tests, and the rows of its tables.

    `options` are those of the run, as its artifacts name them.
    """

    build: str
    nodes: Mapping[str, NodeRecord] = field(default_factory=dict)
    checks: tuple[TestRecord, ...] = ()
    unit_tests: Mapping[str, UnitTestRecord] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)


def write_artifacts(
    folder: Path,
    graph: Graph,
    results: Results,
    con: duckdb.DuckDBPyConnection | None,
    alike: Path | None = None,
) -> None:
    """Write the artifacts of a build into `folder`. `results` are what the build came to, `con` is open on it.

    Without a connection, as after a failure, there is no catalog. `alike` is the folder of a build of this project as
    it is, by this kpi, when there is one: its manifest is this build's too, but for when it was made.
    """
    made, names = _made(results.build), test_names(graph)
    text = _with_other_stamps(alike / MANIFEST, graph.project.name, made) if alike else ""
    if text:
        (folder / MANIFEST).write_text(text, encoding="utf-8")
    else:
        _write(folder / MANIFEST, write_manifest(graph, names, made))
    _write(folder / RESULTS, run_results(graph, results, names, made))
    if con is not None:
        _write(folder / CATALOGUE, catalog(graph, con, results.rows, made))


def write_project_manifest(path: Path, graph: Graph) -> None:
    """Write the manifest of a project as it is, built or not."""
    with replacing(path) as file:
        _write(file, write_manifest(graph, test_names(graph), _made(graph.project.name)))


def run_results(graph: Graph, found: Results, names: Mapping[str, TestName], made: Made) -> dict[str, Any]:
    """Return what the nodes and tests that ran in a build came to, in the order of the graph (schema v6).

    What was up to date did not run and is not there, as with dbt.
    """
    run = found.build
    checks = {check.name: check for check in found.checks if check.run_in == run}
    results: list[dict[str, Any]] = []
    for node in graph.nodes.values():
        if node.kind == "test" and node.name in checks:
            results.append(_test_result(node, names[node.id].id, checks[node.name]))
        elif node.kind not in ("source", "test") and node.materialized != "ephemeral":
            known = found.nodes.get(node.id)
            if known and known.status in ("error", "skipped"):
                results.append(_result(node, node.id, known.status, known.message or None))
            elif known and known.built_in == run:
                results.append(_node_result(node, known, found.rows.get(str(node.relation))))
    results += [_unit_result(unit, result) for unit, result in found.unit_tests.items()]
    options = {name: list(value) if isinstance(value, tuple) else value for name, value in found.options.items()}
    return {
        "metadata": made.metadata("run-results/v6"),
        "results": results,
        "elapsed_time": round(sum(result["execution_time"] for result in results), 3),
        "args": {"which": "build", **options},
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


def _node_result(node: Node, known: NodeRecord, rows: int | None) -> dict[str, Any]:
    message = f"INSERT {rows}" if node.kind == "seed" and rows is not None else "OK"
    response = {"_message": message} | ({} if rows is None else {"rows_affected": rows})
    return _result(node, node.id, "success", message) | {
        "execution_time": known.seconds or 0.0,
        "adapter_response": response,
        "relation_name": relation_of(node.relation.schema, node.relation.name),
    }


def _test_result(node: Node, name: str, check: TestRecord) -> dict[str, Any]:
    failures, status = check.failures, check.status
    condition = getattr(node.test, f"{'warn' if status == 'warn' else 'error'}_if", "!= 0")
    message = f"Got {failures} result{'s' if failures > 1 else ''}, configured to {status} if {condition}"
    return _result(node, name, status, None if status == "pass" else message) | {"failures": failures}


def _unit_result(unit: str, result: UnitTestRecord) -> dict[str, Any]:
    status = result.status
    message = None if status == "pass" else result.message
    return _of_all(unit, status, message) | {"failures": {"pass": 0, "fail": 1}.get(status)}


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
    """What the docs page shows beside a table; it needs to know whether there is anything."""
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


def _with_other_stamps(file: Path, project: str, made: Made) -> str:
    """Return the text of a manifest as if it had been made by another run; empty when it is not a whole manifest."""
    begin = '{"metadata": '
    try:
        text = file.read_text(encoding="utf-8")
        old, end = json.JSONDecoder().raw_decode(text, len(begin))
        at = datetime.fromisoformat(old["generated_at"]).timestamp()
    except (OSError, ValueError, LookupError, TypeError):
        return ""
    if not text.startswith(begin) or not text.endswith("}}"):
        return ""
    rest = text[end:].replace(f'"created_at": {at!r}', f'"created_at": {made.at.timestamp()!r}')
    return begin + json.dumps(manifest_metadata(project, made), ensure_ascii=False) + rest


def _without_values(content: Any, key: str = "") -> Any:
    """The same without what the environment gave; names of things that are there, or are found by, stay as they are."""
    if isinstance(content, str):
        return content if key in _NAMES else hidden_values(content)
    if isinstance(content, Mapping):
        return {name: value if name in _NAMES else _without_values(value, name) for name, value in content.items()}
    return [_without_values(value, key) for value in content] if isinstance(content, list | tuple) else content


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, Iterable) else str(value)


Entry = Mapping[str, Any]  # of a manifest


@dataclass(frozen=True, slots=True)
class ManifestState(State):
    """Compares with a manifest as dbt does: by checksums, unrendered settings, places and macros.

    `entries` are those of the manifest, `entries_now` those of the project as it is. `ids` are the manifest's names of
    nodes by our ids, `macros` the texts of macros then, `macros_now` those now.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    entries_now: Mapping[str, Entry] = field(default_factory=dict)
    ids: Mapping[str, str] = field(default_factory=dict)
    macros: Mapping[str, str] = field(default_factory=dict)
    macros_now: Mapping[str, str] = field(default_factory=dict)

    def is_new(self, node: Node) -> bool:
        """Whether the manifest does not know the node."""
        return node.kind != "unit_test" and self.ids.get(node.id, node.id) not in self.entries

    def is_modified(self, node: Node) -> bool:
        """Whether the node is another than in the manifest, or what its macros say is."""
        if node.kind == "unit_test":
            return False
        parts = ("configs",) if node.kind == "source" else ("body", "configs", "relation", "macros")
        return self.is_new(node) or any(self.differs(node, part) for part in parts)

    def differs(self, node: Node, part: str) -> bool:
        """Whether a part of the node is another than in the manifest."""
        name = self.ids.get(node.id, node.id)
        then, now = self.entries.get(name), self.entries_now.get(name)
        if then is None or now is None:
            return True
        match part:
            case "body":
                return bool(then.get("checksum") != now.get("checksum") or _generic_form(then) != _generic_form(now))
            case "configs":
                return bool(then.get("unrendered_config") != now.get("unrendered_config"))
            case "relation":
                return any(then.get(one) != now.get(one) for one in ("schema", "alias"))
            case "contract":
                enforced = [bool((one.get("contract") or {}).get("enforced")) for one in (then, now)]
                return enforced[0] != enforced[1] or (enforced[1] and then["columns"] != now["columns"])
            case _:
                used = now.get("depends_on", {}).get("macros", ())
                return any(self.macros.get(one) != self.macros_now.get(one) for one in used)


def state_of(
    graph: Graph,
    named: str,
    nodes: Mapping[str, NodeRecord],
    own: Mapping[str, Checksum],
    results: Mapping[str, str],
) -> State:
    """Return what `state:` and `result:` compare with: the `nodes` of a build, or the folder that --state `named`.

    Raises ConfigError for a folder without a manifest.
    """
    folder = Path(named)
    if not named or not folder.is_dir() or (folder / FILE).is_file():
        return State(nodes, own, results)
    then = read_manifest(folder)
    names = test_names(graph)
    now = write_manifest(graph, names, Made(datetime.now(UTC), ""))
    return ManifestState(
        results=results,
        entries={**then.get("nodes", {}), **then.get("sources", {}), **then.get("exposures", {})},
        entries_now={**now["nodes"], **now["sources"], **now["exposures"]},
        ids={test: name.id for test, name in names.items()},
        macros={name: str(entry.get("macro_sql")) for name, entry in then.get("macros", {}).items()},
        macros_now={name: str(entry["macro_sql"]) for name, entry in now["macros"].items()},
    )


def read_manifest(folder: Path) -> Entry:
    """Read the manifest in a folder. Raises ConfigError when there is none that can be read."""
    import json

    file = folder / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        message = f"--state: {folder} holds neither a build nor a {MANIFEST}"
        raise ConfigError(f"{message}. kpi artifacts writes one, as dbt does.") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"--state: {file} cannot be read: {error}.") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("nodes"), dict):
        raise ConfigError(f"--state: {file} is no manifest.")
    return manifest


def _generic_form(entry: Entry) -> Any:
    """What a generic test is made of: it has no file of its own."""
    return entry.get("test_metadata"), entry.get("raw_code") if entry.get("test_metadata") else None
