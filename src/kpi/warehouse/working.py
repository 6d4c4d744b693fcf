"""Bring one open database up to date with the project and the deliveries: load, build, test; and note what it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import duckdb

from kpi.artifacts.state import state_of
from kpi.base import engine
from kpi.base.environment import hidden_values
from kpi.base.errors import BuildErrors
from kpi.base.events import Event, note
from kpi.base.names import counted
from kpi.compile.graph import Graph, with_unit_tests
from kpi.compile.selection import select
from kpi.compile.unit_runs import refuse_failing, run_unit_tests, unit_tests_of
from kpi.deliveries.rawfiles import RawFolder
from kpi.run import content
from kpi.run.build import run_hooks, strangers
from kpi.run.checks import CheckResult, Store, run_tests
from kpi.run.examples import with_examples
from kpi.run.fingerprint import Own, definitions, own_parts
from kpi.run.running import NEW, Ran, Task, facts_now, facts_of_sources, known_nodes, run_nodes
from kpi.warehouse import history
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.intake import take_in
from kpi.warehouse.options import Options, Tell, selector_of
from kpi.warehouse.rights import DATABASE, whole

Facts = dict[str, Any]


def bring_up(
    con: duckdb.DuckDBPyConnection,
    warehouse: Warehouse,
    graph: Graph,
    options: Options,
    before: Mapping[str, Any],
    folder: RawFolder,
    facts: Facts,
    tell: Tell,
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
            tell(f"Ran {counted(len(results), 'unit test')} of what is rebuilt: none failed.")
    published = warehouse.current()
    derived_from = before or warehouse.facts(published)
    if published and not before:
        history.carry_over(con, graph, derived_from, whole(published) / DATABASE, tell)
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
        history.anew(graph, derived_from, made, options.full_refresh, tell),
        history.kept(graph, derived_from),
        tell,
    )
    facts["kept"] = list(before.get("kept", ()))
    facts["loading"] = True
    with _raw_as_it_was(con) as old:
        if graph.feeds:
            facts["warnings"], facts["files"] = take_in(con, warehouse, graph, folder, options, tell)
        nodes = facts_of_sources(con, old, task)
    del facts["loading"]
    for test in graph.tests():
        nodes[test.id] = known.get(test.id, NEW)
    checks = {check["name"]: check for check in before.get("checks", [])}
    facts["checks"] = [checks[test.name] for test in graph.tests() if test.name in checks]
    facts["nodes"] = nodes
    ran = run_nodes(con, task, nodes)
    tell(f"Built {len(ran.results)} of {len(graph.built())} seeds and models.")
    facts["partial"] = [graph.nodes[node_id].name for node_id in ran.left]
    if not ran.failed or options.keep_going:
        _test(con, task, options, ran, facts, checks, tell)
    run_hooks(con, "on-run-end", graph.on_run.after)
    facts["kept"] = strangers(con, graph)
    if ran.failed:
        raise BuildErrors(tuple(ran.failed.values()), ran.lines(graph))


def _changed_models(
    graph: Graph, own: Mapping[str, Own], known: Mapping[str, Facts], chosen: frozenset[str]
) -> list[str]:
    """The models that are other than they were: what their unit tests say does not depend on rows."""
    models = [node.id for node in graph.built() if node.kind == "model" and node.id in chosen]
    return [model for model in models if known.get(model, NEW)["shape"] != own[model].shape]


@contextmanager
def _raw_as_it_was(con: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection | None]:
    raw = [place for place in engine.relations(con) if place.startswith("raw.")]
    if not raw:
        yield None
        return
    with content.as_it_was(con, raw[0]) as old:
        yield old


def _test(
    con: duckdb.DuckDBPyConnection,
    task: Task,
    options: Options,
    ran: Ran,
    facts: Facts,
    checks: dict[str, Facts],
    tell: Tell,
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
    note(tell, Event("testing", stage="test", done=0, total=len(due)))
    store = Store(engine.CATALOG, options.store_failures)
    results = run_tests(con, [task.graph.nodes[test_id] for test_id in due], store)
    results = with_examples(con, task.graph, results)
    nodes.update(due)
    checks |= {check.name: _noted(check) | {"run_in": task.build} for check in results}
    facts["checks"] = [checks[test.name] for test in task.graph.tests() if test.name in checks]
    tell(f"Ran {counted(len(results), 'data test')}: {sum(check.is_error for check in results)} failed.")


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
