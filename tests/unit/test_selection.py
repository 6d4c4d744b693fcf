"""Selections mean what dbt means by them: the golden lists are dbt's own (tests/support/selections.py says how)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from kpi.cli.main import cli
from kpi.engine.compile import compiled as compiled_whole
from kpi.engine.graph import Graph, Node
from kpi.engine.nodes import compile_project
from kpi.engine.selector import Selection, State, lines, select
from kpi.engine.unit_tests import with_unit_tests
from kpi.errors import ConfigError
from kpi.project.project import load_project
from selections import FILES, SELECTIONS, key, label
from small_project import write as write_small

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/selections.json").read_text())


@pytest.fixture(name="graph", scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    root = tmp_path_factory.mktemp("shop")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return compile_project(load_project(root))


def labelled(node: Node) -> str:
    facts: dict[str, object] = {"unique_id": node.id, "resource_type": node.kind}
    if node.test and node.test.kind != "singular":
        facts |= {"test_metadata": {"name": node.test.kind}, "attached_node": node.depends_on[0]}
        facts["column_name"] = node.test.column
    return label(facts)


def chosen(
    graph: Graph, selection: tuple[str, str, str], state: State | None = None, kinds: tuple[str, ...] = ()
) -> list[str]:
    wanted, excluded, indirect = selection
    found = select(graph, Selection((wanted,), (excluded,), indirect or "eager", kinds), state)
    return sorted(labelled(graph.nodes[node]) for node in found)


@pytest.mark.parametrize("selection", SELECTIONS, ids=key)
def test_a_selection_is_the_same_set_as_in_dbt(graph: Graph, selection: tuple[str, str, str]) -> None:
    assert chosen(graph, selection) == GOLDEN[key(selection)]


def test_kinds_keep_only_these(graph: Graph) -> None:
    assert chosen(graph, ("stg_calls+1", "", ""), kinds=("model",)) == ["model.by_call", "model.stg_calls"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("tag:dayly", "'tag:dayly' selects nothing. Did you mean 'daily'?"),
        ("test_type:generik", "'test_type:generik' selects nothing. Did you mean 'generic'?"),
        ("state:modifed", "'state:modifed' selects nothing. Did you mean 'modified'?"),
        ("state:modified.bodi", "'state:modified.bodi' selects nothing. Did you mean 'modified.body'?"),
        ("result:failed", "'result:failed' selects nothing. Did you mean 'fail'?"),
        ("test_nam:unique", "'test_nam:' is not a supported way to select. Did you mean 'test_name'?"),
        ("tag.x:daily", "'tag.x:' is not a supported way to select. Did you mean 'tag'?"),
        ("+", "'+' is no selection; write a name, or method:value, with +, 2+ or @ around it."),
        ("@+both", "'@+both' is no selection; write a name, or method:value, with +, 2+ or @ around it."),
        ("config.:x", "'config.:x' selects nothing."),
    ],
)
def test_a_word_that_cannot_be_read_is_told(graph: Graph, word: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        select(graph, Selection((word,)))
    assert str(caught.value) == message


def test_ways_and_kinds_that_do_not_exist_are_told(graph: Graph) -> None:
    with pytest.raises(ConfigError, match=r"'eagre' is no way to select tests indirectly. Did you mean 'eager'\?"):
        select(graph, Selection(("both",), indirect="eagre"))
    with pytest.raises(ConfigError, match=r"'models' is no kind of node. Did you mean 'model'\?"):
        select(graph, Selection(("both",), kinds=("models",)))


def test_results_of_the_last_run_select_and_none_is_no_mistake(graph: Graph) -> None:
    state = State(results={"model.shop.both": "error", "model.shop.last": "skipped", "test.shop.assert_calls": "fail"})
    assert chosen(graph, ("result:error", "", "empty"), state=state) == ["model.both"]
    assert chosen(graph, ("result:error+", "", "empty"), state=state)[:2] == ["model.both", "model.last"]
    assert chosen(graph, ("result:fail result:skipped", "", ""), state=state) == ["model.last", "test.assert_calls"]
    assert chosen(graph, ("result:warn", "", ""), state=state) == []


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("name", ["raw.calls", "stg_calls"]),
        ("path", ["models/staging/staging.yml", "models/staging/stg_calls.sql"]),
        ("selector", ["source:shop.raw.calls", "shop.staging.stg_calls"]),
    ],
)
def test_listing(graph: Graph, output: str, message: list[str]) -> None:
    ids = ("source.shop.raw.calls", "model.shop.stg_calls")
    assert list(lines([graph.nodes[node] for node in ids], output)) == message
    assert json.loads(next(lines([graph.nodes[ids[1]]], "json")))["depends_on"] == {"nodes": [ids[0]]}


def test_unit_tests_are_listed_and_selected(tmp_path: Path) -> None:
    root = write_small(tmp_path)
    (root / "models/marts/u.yml").write_text(
        "unit_tests:\n  - name: u\n    model: calls_by_line\n    given: [{input: ref('stg_calls'), rows: []}]\n"
        "    expect: {rows: []}\n"
    )
    unit = "unit_test.small.calls_by_line.u"
    graph = with_unit_tests(compiled_whole(root).graph)
    assert unit not in compiled_whole(root).graph.nodes
    for words in (["test_type:unit"], ["u"], ["unit_test:u"], ["unit_test:small.u"], ["resource_type:unit_test"]):
        assert select(graph, Selection(tuple(words))) == {unit}
    assert unit in select(graph, Selection(("calls_by_line",)))
    assert unit not in select(graph, Selection(("calls_by_line",), indirect="empty"))
    assert unit not in select(graph, Selection((), ("test_type:unit",)))
    # A build keeps nothing of unit tests, so they are not modified by themselves: they come with their models.
    assert not State().is_modified(graph.nodes[unit])
    shown = CliRunner().invoke(cli, ["ls", "--project-dir", str(root), "-s", "test_type:unit", "--output", "selector"])
    assert shown.output == "unit_test:small.u\n"
