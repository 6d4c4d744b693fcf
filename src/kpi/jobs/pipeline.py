"""Bring an open database up to date with the project and the deliveries: load, build, test; then verify the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from kpi import database
from kpi.database import relations
from kpi.engine.artifacts import state_of
from kpi.engine.graph import AUDIT_SCHEMA, Graph, with_unit_tests
from kpi.engine.incremental import keeps_rows
from kpi.engine.runner import (
    UNBUILT,
    NodeChecksum,
    RunResult,
    Task,
    definitions,
    facts_now,
    facts_of_sources,
    known_nodes,
    orphaned_relations,
    own_parts,
    run_hooks,
    run_nodes,
)
from kpi.engine.selector import select
from kpi.engine.test_runner import CheckResult, Store, run_tests, told_rows, with_examples
from kpi.engine.unit_runner import refuse_failing, run_unit_tests, unit_tests_of
from kpi.environment import hidden_values
from kpi.errors import BuildError, BuildErrors, DeliveryError, is_disk_full
from kpi.events import Emit, Event, emit_event
from kpi.ingest.loader import LoadReport, load, refuse_bad_files
from kpi.ingest.raw_files import RawFolder, deleted, kept_beside
from kpi.jobs.options import Options, selector_of
from kpi.sql import counted, identifier, literal, relation_name
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.permissions import DATABASE, whole


def anew(
    graph: Graph, published: Mapping[str, Any], definitions: Mapping[str, str], full_refresh: bool, emit: Emit
) -> frozenset[str]:
    """Return the ids of incremental models whose tables must not be added to.

    A full refresh asks for it, or what defines a model changed since the published build: then its old rows are not
    what the project says now. Told, when it is the latter.
    """
    known: Mapping[str, Any] = published.get("nodes", {})
    models = [node for node in graph.built() if node.materialized == "incremental"]
    if full_refresh:
        return frozenset(node.id for node in models)
    changed = [
        node
        for node in models
        if not keeps_rows(node.config) and known.get(node.id, {}).get("definition") != definitions[node.id]
    ]
    message = sorted(node.name for node in changed if node.id in known)
    if message:
        emit(f"Built from nothing, for what defines them changed: {', '.join(message)}.")
    return frozenset(node.id for node in changed)


def kept(graph: Graph, published: Mapping[str, Any]) -> frozenset[str]:
    """Return the places of no node that stay: what hooks made, and snapshots that the project no longer has."""
    return frozenset(_snapshots(published) - _places(graph) | set(published.get("kept", ())))


def carry_over(
    con: duckdb.DuckDBPyConnection, graph: Graph, published: Mapping[str, Any], database: Path, emit: Emit
) -> None:
    """Copy into a candidate that starts from nothing the tables that cannot be derived again, with their constraints.

    They are the snapshots, what `kept` names, and models with full_refresh: false.
    """
    protected = {str(node.relation) for node in graph.built() if node.config.get("full_refresh") is False}
    wanted = (protected | _snapshots(published) | kept(graph, published)) - relations(con).keys()
    if not wanted or not database.is_file():
        return
    try:
        con.execute(f"attach {literal(str(database))} as published (read_only)")
    except duckdb.Error as error:
        first = str(error).partition("\n")[0]
        message = (
            f"it holds what cannot be derived again ({', '.join(sorted(wanted))}), and cannot be opened ({first})."
        )
        remedy = "kpi rollback, so that an earlier build is what is started from; or bring it back from a backup."
        raise BuildError(f"build {database.parent.name}", f"{message} {remedy}") from None
    try:
        tables = con.execute(
            "select schema_name, table_name, sql from duckdb_tables() where database_name = 'published' order by all"
        ).fetchall()
        found = [table for table in tables if relation_name(table[0], table[1]) in wanted]
        for schema, name, made in found:
            place = f"{identifier(schema)}.{identifier(name)}"
            con.execute(f"create schema if not exists {identifier(schema)}")
            con.execute(made)
            con.execute(f"insert into {place} from published.{place}")
    finally:
        con.execute("detach published")
    if found:
        names = ", ".join(relation_name(schema, name) for schema, name, _ in found)
        emit(f"Carried over from the published build: {names}.")


def _snapshots(published: Mapping[str, Any]) -> set[str]:
    nodes: Mapping[str, Any] = published.get("nodes", {})
    return {facts["relation"] for node_id, facts in nodes.items() if node_id.startswith("snapshot.")}


def _places(graph: Graph) -> set[str]:
    return {str(node.relation) for node in graph.built()}


def ingest_deliveries(
    con: duckdb.DuckDBPyConnection,
    warehouse: Warehouse,
    graph: Graph,
    folder: RawFolder,
    options: Options,
    emit: Emit,
) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """Load what changed. Returns all warnings, and what became of each file.

    Raises DeliveryError when files are worse than their contract allows, when all of them are gone, or when what was
    kept of deleted ones is.
    """
    _refuse_lost(warehouse, folder, options)
    report = load(con, graph.feeds, warehouse.raw, folder, options.as_of, emit)
    worse_than_allowed: DeliveryError | None = None
    try:
        refuse_bad_files(con, graph.feeds, options.max_reject_share)
    except DeliveryError as error:
        worse_than_allowed = error
    # What the error says of a file is not a warning beside it.
    _tell(report, folder, emit, worse_than_allowed.paths if worse_than_allowed else ())
    had = warehouse.facts(warehouse.current()).get("files", [])
    known = deleted(kept_beside(warehouse.raw), folder.kept)
    is_lost = any((f"{file['feed']}/{file['file']}", file["content_hash"]) not in known for file in had)
    if is_lost and not folder.files and not options.publish_despite_checks:
        raise DeliveryError(
            f"All deliveries are gone from {warehouse.raw}: is a disk not mounted? Readers keep the build they"
            " had. If it is meant, publish it with --publish-despite-checks REASON."
        )
    if worse_than_allowed:
        raise worse_than_allowed
    columns = (
        "feed, file, content_hash, records, rows_loaded, rows_rejected, rows_superseded, superseded_by,"
        " same_content_as, epoch(delivered_at)::bigint as delivered_at"
    )
    found = con.execute(f"select {columns} from raw.deliveries order by feed, file")
    names, rows = [name for name, *_ in found.description], found.fetchall()
    return report.warnings, [dict(zip(names, row, strict=True)) for row in rows]


def _refuse_lost(warehouse: Warehouse, folder: RawFolder, options: Options) -> None:
    """Raise DeliveryError when figures that are only kept any more are gone: nothing could derive them again."""
    known = warehouse.facts(warehouse.current()).get("retained", [])
    lost = sorted(set(known) - {one.name for one in folder.kept})
    if lost and not options.publish_despite_checks:
        raise DeliveryError(
            f"Gone from {kept_beside(warehouse.raw)}: {', '.join(lost)}. It held figures whose deliveries were deleted;"
            " get it back from a backup. Readers keep the build they had. If it is meant, publish it with"
            " --publish-despite-checks REASON."
        )


def _tell(report: LoadReport, folder: RawFolder, emit: Emit, told_later: Collection[str]) -> None:
    """Tell what was loaded and what is worth a warning; not of the files that the run is about to stop for."""
    records = f"{report.records:,}".replace(",", " ")
    emit(
        f"Loaded {len(report.loaded)} new or changed files, dropped {len(report.removed)};"
        f" the deliveries hold {records} records."
    )
    for path in report.removed[:10]:
        emit(f"  warning: {path}: no longer there, its rows are gone.")
    if len(report.removed) > 10:
        emit(f"  warning: and {len(report.removed) - 10} more files are no longer there.")
    # What an earlier run told of a delivery that is still the same is not told every night.
    known = {file.path for file in folder.files} - set(report.loaded)
    # A file that is the same may be warned of because of one that is not, or that counts as newer now: it is replaced.
    fresh = [
        warning
        for warning in report.warnings
        if warning.partition("/")[0] in report.reordered or any(path in warning for path in report.loaded)
    ]
    old = [warning for warning in report.warnings if warning.partition(": ")[0] in known and warning not in fresh]
    later = re.compile(r"refused, |\d+ of \d+ records rejected")  # what the error says too
    new = [
        warning
        for warning in report.warnings
        if warning not in old
        and not (warning.partition(": ")[0] in told_later and later.match(warning.partition(": ")[2]))
    ]
    for warning in new:
        emit_event(emit, Event("warning", stage="load", name=warning))  # for the log: each of them
    for line in grouped(new):
        emit(f"  warning: {line}")
    if old:
        emit(f"  {len(old)} older warnings of deliveries that are the same: see rows_rejected in raw.deliveries.")


def grouped(warnings: Iterable[str]) -> Iterator[str]:
    """Yield the warnings of deliveries, those that say the same of several files of a feed as one line.

    They say the same when they differ in numbers alone. The line counts the files and gives the first one's words.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for warning in warnings:
        path, _, text = warning.partition(": ")
        feed, is_file, _ = path.partition("/")
        key = (feed, re.sub(r"\d+", "#", text)) if is_file else (path, text)
        groups.setdefault(key, []).append(warning)
    for (feed, _), alike in groups.items():
        if len(alike) == 1:
            yield alike[0]
            continue
        yield f"{feed}: {len(alike)} files, the first is {alike[0]} Each of them: kpi show raw.deliveries"


def verdict(facts: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return what the checks of a build found, a line each: what keeps it from readers, and what is worth a warning."""
    failures: list[str] = []
    warnings: list[str] = []
    for check in facts["checks"]:
        # A build of an earlier version did not say what became of a test.
        old = "pass" if not check["failures"] else "fail" if check["severity"] == "error" else "warn"
        status = check.get("status", old)
        if status != "pass":
            message = f"{check['name']} ({check['where']}): {check['failures']} failing rows"
            message += f", kept in {check['stored']}" if check.get("stored") else ""
            (failures if status == "fail" else warnings).append(message)
    for year in facts.get("years", []):
        message = f"{year['year']} {year['expectation']}: {year['observed']}"
        (failures if year["severity"] == "error" else warnings).append(message)
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
    schemas = set(graph.project.warehouse_settings.stewards_schemas)
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
        with database.reading(file) as con:
            seen = database.row_counts(con)
            database.read_all(con, seen)
            return seen
    except (duckdb.Error, UnicodeDecodeError) as error:
        first = str(error).partition("\n")[0]
        message = f"the finished file cannot be read back ({first})."
        message += " Run again; if it happens twice: kpi refresh --full-refresh, and have the disk looked at."
        raise BuildError(DATABASE, message) from None


def write_readers_file(
    candidate: Path, schemas: Collection[str], settings: dict[str, str], emit: Emit
) -> dict[str, Any]:
    """Write the file that all readers open beside the whole one: without these schemas and kept failing rows.

    Returns what is noted of it: the rows of its tables, and the views that are tables in it. Raises BuildError.
    """
    source, target = whole(candidate) / DATABASE, candidate / DATABASE
    try:
        views = database.copy_without(source, target, {*schemas, AUDIT_SCHEMA}, settings)
    except duckdb.Error as error:
        if is_disk_full(error):
            raise
        first = str(error).partition("\n")[0]
        message = f"the readers' file cannot be made without {', '.join(schemas)}: {first}"
        raise BuildError(DATABASE, message) from None
    rows = read_back(target)
    message = f"; tables there, not views: {', '.join(views)}" if views else ""
    size = f"{target.stat().st_size / 1e6:.1f} MB of {source.stat().st_size / 1e6:.1f} MB"
    emit(f"Left out of the readers' file: {', '.join(schemas)}. It has {len(rows)} tables, {size}{message}.")
    return {"rows": rows, "tables": list(views)}


Facts = dict[str, Any]


def run_pipeline(
    con: duckdb.DuckDBPyConnection,
    warehouse: Warehouse,
    graph: Graph,
    options: Options,
    before: Mapping[str, Any],
    folder: RawFolder,
    facts: Facts,
    emit: Emit,
    begin: Callable[[], object] = lambda: None,
) -> None:
    """Load what changed, build what that touches, and test it. `before` are the facts of the database as it is.

    `begin` is called before the first node is built. Whatever happens, `facts` then hold what can be said of the
    database; no `nodes` when loading failed, for then nothing can.
    Raises DeliveryError; or BuildErrors when a node failed, after the rest with `options.keep_going`.
    """
    known = known_nodes(before)
    own = own_parts(graph, folder)
    state = state_of(graph, options.state, warehouse.facts_of(options.state), own, warehouse.last_results())
    given = options.select, options.exclude, options.indirect, options.kinds
    chosen = select(with_unit_tests(graph), *given, state, selector_of(graph.project, options))
    # A full refresh that is continued does not do again what it did.
    done = {node_id for node_id, node in known.items() if node.get("built_in") in options.continued}
    forced = chosen - done if options.full_refresh else frozenset[str]()
    if options.unit_tests:
        units = unit_tests_of(graph, _changed_models(graph, own, known, chosen), chosen)
        results = run_unit_tests(graph, units) if units else ()
        facts["unit_tests"] = {one.test.id: {"status": one.status, "told": one.told} for one in results}
        refuse_failing(results)
        if results:
            emit(f"Ran {counted(len(results), 'unit test')} of what is rebuilt: none failed.")
    published = warehouse.current()
    derived_from = before or warehouse.facts(published)
    if published and not before:
        carry_over(con, graph, derived_from, whole(published) / DATABASE, emit)
    made = definitions(graph)
    task = Task(
        graph,
        own,
        known,
        chosen,
        forced,
        facts["id"],
        options.keep_going,
        begin,
        made,
        anew(graph, derived_from, made, options.full_refresh, emit),
        kept(graph, derived_from),
        emit,
    )
    facts["kept"] = list(before.get("kept", ()))
    facts["loading"] = True
    with _raw_as_it_was(con) as old:
        if graph.feeds:
            facts["warnings"], facts["files"] = ingest_deliveries(con, warehouse, graph, folder, options, emit)
        nodes = facts_of_sources(con, old, task)
    del facts["loading"]
    for test in graph.tests():
        nodes[test.id] = known.get(test.id, UNBUILT)
    checks = {check["name"]: check for check in before.get("checks", [])}
    facts["checks"] = [checks[test.name] for test in graph.tests() if test.name in checks]
    facts["nodes"] = nodes
    ran = run_nodes(con, task, nodes)
    emit(f"Built {len(ran.results)} of {len(graph.built())} seeds and models.")
    facts["partial"] = [graph.nodes[node_id].name for node_id in ran.left]
    if not ran.failed or options.keep_going:
        _test(con, task, options, ran, facts, checks, emit)
    run_hooks(con, "on-run-end", graph.on_run.after)
    facts["kept"] = orphaned_relations(con, graph)
    if ran.failed:
        raise BuildErrors(tuple(ran.failed.values()), ran.lines(graph))


def _changed_models(
    graph: Graph, own: Mapping[str, NodeChecksum], known: Mapping[str, Facts], chosen: frozenset[str]
) -> list[str]:
    """The models that are other than they were: what their unit tests say does not depend on rows."""
    models = [node.id for node in graph.built() if node.kind == "model" and node.id in chosen]
    return [model for model in models if known.get(model, UNBUILT)["shape"] != own[model].shape]


@contextmanager
def _raw_as_it_was(con: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection | None]:
    raw = [place for place in database.relations(con) if place.startswith("raw.")]
    if not raw:
        yield None
        return
    with database.as_it_was(con, raw[0]) as old:
        yield old


def _test(
    con: duckdb.DuckDBPyConnection,
    task: Task,
    options: Options,
    ran: RunResult,
    facts: Facts,
    checks: dict[str, Facts],
    emit: Emit,
) -> None:
    """Run the tests whose SQL, settings or parents' content changed, and those that failed when they last ran."""
    due: dict[str, Facts] = {}
    nodes = facts["nodes"]
    for test in task.graph.tests():
        now = facts_now(test, task, {parent: nodes[parent]["version"] for parent in test.depends_on})
        same = nodes[test.id]["fingerprint"] == now["fingerprint"] and test.id not in task.forced
        causes = [
            ran.skipped.get(parent, parent) for parent in test.depends_on if parent in {**ran.failed, **ran.skipped}
        ]
        if causes:
            ran.skipped[test.id] = causes[0]
        elif test.id not in task.chosen or not all(nodes[parent]["version"] for parent in test.depends_on):
            facts["partial"] += [] if same else [test.name]
        elif not same or _failed(checks.get(test.name)):
            due[test.id] = now | {"built_in": task.build}
    emit_event(emit, Event("testing", stage="test", done=0, total=len(due)))
    store = Store(database.CATALOG, options.store_failures)
    results = run_tests(con, [task.graph.nodes[test_id] for test_id in due], store)
    results = with_examples(con, task.graph, results)
    nodes.update(due)
    checks |= {check.name: _noted(check) | {"run_in": task.build} for check in results}
    facts["checks"] = [checks[test.name] for test in task.graph.tests() if test.name in checks]
    emit(f"Ran {counted(len(results), 'data test')}: {sum(check.is_error for check in results)} failed.")


def _failed(check: Facts | None) -> bool:
    """Whether a test stopped a build, or never ran; a warning is told again without being asked again."""
    return check is None or check.get("status") == "fail"


def _noted(check: CheckResult) -> Facts:
    return {
        "name": check.name,
        "severity": check.severity,
        "status": check.status,
        "stored": check.stored,
        "failures": check.failures,
        "examples": list(check.examples),
        "where": check.where,
        "sql": hidden_values(check.sql),
    }
