"""Order, selection and fingerprints."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpi.engine.graph import Graph
from kpi.engine.nodes import compile_project
from kpi.engine.parser import read_select
from kpi.engine.plan import checksums_of, fingerprint
from kpi.engine.selector import Selection, select
from kpi.errors import ConfigError
from kpi.ingest import raw_files
from kpi.project.project import load_project
from kpi.project.relation import Rendered
from small_project import FILES, write

MORE: dict[str, str | bytes | None] = {
    "models/marts/share_by_line.sql": "{{ config(tags=['share']) }}\n"
    "select line, {{ share('in_time_count', 'call_count') }} as value from {{ ref('calls_by_line') }}\n",
    "models/marts/names.sql": "select line, name_en from {{ ref('lines') }}\n",
    "models/marts/marts.yml": "models:\n  - name: share_by_line\n    description: Shares.\n    columns:\n"
    "      - name: line\n        description: The line.\n        data_tests: [not_null]\n",
}
ORDER = ["raw.calls", "lines", "stg_calls", "names", "calls_by_line", "share_by_line"]


def compiled(root: Path, changes: dict[str, str | bytes | None] | None = None) -> Graph:
    return compile_project(load_project(write(root, {**MORE, **(changes or {})})))


def names(graph: Graph, *wanted: str, without: str = "", tests: bool = False) -> list[str]:
    chosen = select(graph, Selection(tuple(wanted), tuple([without] if without else [])))
    return [node.name for node in graph.nodes.values() if node.id in chosen and (node.kind == "test") == tests]


def test_every_node_comes_after_what_it_depends_on(tmp_path: Path) -> None:
    graph = compiled(tmp_path)
    seen: set[str] = set()
    for node in graph.nodes.values():
        assert seen.issuperset(node.depends_on)
        seen.add(node.id)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], ORDER),
        (["stg_calls"], ["stg_calls"]),
        (["*_by_line"], ["calls_by_line", "share_by_line"]),
        (["+stg_calls"], ["raw.calls", "stg_calls"]),
        (["stg_calls+"], ["stg_calls", "calls_by_line", "share_by_line"]),
        (["+calls_by_line+"], ["raw.calls", "stg_calls", "calls_by_line", "share_by_line"]),
        (["path:models/marts"], ["names", "calls_by_line", "share_by_line"]),
        (["path:models/marts/names.sql"], ["names"]),
        (["path:models/*/stg_*.sql"], ["stg_calls"]),
        (["tag:share"], ["share_by_line"]),
        (["source:raw"], ["raw.calls"]),
        (["source:raw.calls+"], ["raw.calls", "stg_calls", "calls_by_line", "share_by_line"]),
        (["resource_type:seed"], ["lines"]),
        (["names stg_calls"], ["stg_calls", "names"]),
        (["names", "stg_calls"], ["stg_calls", "names"]),
        (["path:models/marts,stg_calls+"], ["calls_by_line", "share_by_line"]),
    ],
)
def test_selection(tmp_path: Path, words: list[str], found: list[str]) -> None:
    graph = compiled(tmp_path)
    assert sorted(names(graph, *words)) == sorted(found)


def test_excluding(tmp_path: Path) -> None:
    graph = compiled(tmp_path)
    assert names(graph, "stg_calls+", without="share_by_line") == ["stg_calls", "calls_by_line"]
    assert names(graph, without="stg_calls+ lines+") == ["raw.calls"]


def test_tests_come_along_with_what_they_judge(tmp_path: Path) -> None:
    graph = compiled(tmp_path)
    assert names(graph, "share_by_line", tests=True) == ["not_null_share_by_line_line"]
    of_calls = ["not_null_stg_calls_call_id", "unique_stg_calls_call_id"]
    # The relationship judges both its ends: any of them by default, as in dbt.
    relationship = next(test.name for test in graph.tests() if test.name.startswith("relationships"))
    assert sorted(names(graph, "stg_calls", tests=True)) == sorted([*of_calls, relationship])
    assert names(graph, "lines", tests=True) == [relationship]
    assert names(graph, "stg_calls lines", without="lines", tests=True) == of_calls
    assert len(names(graph, "resource_type:model", tests=True)) == 5
    assert len(names(graph, "resource_type:test", tests=True)) == 5


@pytest.mark.parametrize(
    ("words", "indirect", "found"),
    [
        ("stg_calls", "cautious", ["not_null_stg_calls_call_id", "unique_stg_calls_call_id"]),
        ("stg_calls", "empty", []),
        ("names", "eager", []),
        ("lines stg_calls", "cautious", ["not_null_stg_calls_call_id", "relationships", "unique_stg_calls_call_id"]),
        ("calls_by_line", "buildable", ["assert_in_time_is_part"]),
        ("names stg_calls", "cautious", ["not_null_stg_calls_call_id", "unique_stg_calls_call_id"]),
        # The seed is not chosen, but is a parent of what is.
        ("names stg_calls", "buildable", ["not_null_stg_calls_call_id", "relationships", "unique_stg_calls_call_id"]),
    ],
)
def test_indirect_selection(tmp_path: Path, words: str, indirect: str, found: list[str]) -> None:
    graph = compiled(tmp_path)
    chosen = select(graph, Selection((words,), indirect=indirect))
    tests = [test.name for test in graph.tests() if test.id in chosen]
    assert ["relationships" if name.startswith("relationships") else name for name in tests] == found


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("stg_cals", "'stg_cals' selects nothing. Did you mean 'stg_calls'?"),
        ("+calls_by_lin+", "'+calls_by_lin+' selects nothing. Did you mean 'calls_by_line'?"),
        ("tag:shares", "'tag:shares' selects nothing. Did you mean 'share'?"),
        ("path:models/mart", "'path:models/mart' selects nothing. Did you mean 'models/marts'?"),
        ("source:row", "'source:row' selects nothing. There is: raw.calls."),
        ("resource_type:models", "'resource_type:models' selects nothing. Did you mean 'model'?"),
        ("stat:modified", "'stat:' is not a supported way to select. Did you mean 'state'?"),
        ("names,stg_calls", "'names,stg_calls' selects nothing: no node is in all its parts."),
    ],
)
def test_a_word_that_selects_nothing_is_told(tmp_path: Path, word: str, message: str) -> None:
    graph = compiled(tmp_path)
    for words, without in (([word], []), ([], [word])):
        with pytest.raises(ConfigError) as caught:
            select(graph, Selection(tuple(words), tuple(without)))
        assert str(caught.value) == message


NO_FILES = raw_files.RawFolder((), ())
ONE_FILE = raw_files.RawFolder((raw_files.RawFile("calls", "2024.csv", "hash", 10),), ())
BY_LINE, SHARE = "models/marts/calls_by_line.sql", "models/marts/share_by_line.sql"
AFTER_CALLS = {"stg_calls", "calls_by_line", "share_by_line"}


def fingerprints(graph: Graph, files: raw_files.RawFolder) -> dict[str, str]:
    """The fingerprints of all nodes when no wave stops: each one's content is another when its fingerprint is."""
    own = checksums_of(graph, files)
    found: dict[str, str] = {}
    for node in graph.nodes.values():
        found[node.id] = fingerprint(node, own[node.id], {parent: found[parent] for parent in node.depends_on})
    return found


def changed(
    tmp_path: Path, changes: dict[str, str | bytes | None], files: raw_files.RawFolder = NO_FILES, tests: bool = False
) -> set[str]:
    """The names of the nodes whose fingerprint is another with these changes."""
    before = fingerprints(compiled(tmp_path / "before"), NO_FILES)
    graph = compiled(tmp_path / "after", changes)
    after = fingerprints(graph, files)
    return {
        graph.nodes[node_id].name
        for node_id, now in after.items()
        if before.get(node_id) != now and (tests or graph.nodes[node_id].kind != "test")
    }


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (BY_LINE, "-- Why.\n\n" + FILES[BY_LINE]),
        (BY_LINE, FILES[BY_LINE].replace("\n", "  \n\n\t")),
        (BY_LINE, FILES[BY_LINE].replace("count(*)", "count( * ) /* all */")),
        (BY_LINE, FILES[BY_LINE] + ";\n-- The end.\n"),
        (BY_LINE, "{# Why. #}" + FILES[BY_LINE]),
        (BY_LINE, "{{ config(materialized='table') }}" + FILES[BY_LINE]),
        (BY_LINE, FILES[BY_LINE].replace("{{ var('limit_seconds') }}", "300")),
        ("macros/macros.sql", FILES["macros/macros.sql"].replace("100 * ", "100\n  * ")),
        ("macros/unused.sql", "{% macro unused() %}1{% endmacro %}"),
        (
            "models/marts/marts.yml",
            "models:\n  - columns:\n      - description: Another.\n        data_tests: [not_null]\n        name: line\n"
            "    name: share_by_line\n",
        ),
    ],
)
def test_layout_comments_and_descriptions_change_no_fingerprint(tmp_path: Path, file: str, text: str) -> None:
    assert changed(tmp_path, {file: text}, tests=True) == set()


@pytest.mark.parametrize(
    ("file", "text", "names"),
    [
        (BY_LINE, FILES[BY_LINE].replace("<=", "<"), {"calls_by_line", "share_by_line"}),
        (BY_LINE, "{{ config(materialized='view') }}" + FILES[BY_LINE], {"calls_by_line", "share_by_line"}),
        (SHARE, "select line, ' a' as value from {{ ref('calls_by_line') }}", {"share_by_line"}),
        ("macros/macros.sql", FILES["macros/macros.sql"].replace("100 *", "1000 *"), {"share_by_line"}),
        ("seeds/lines.csv", "line,name_en\nhealth,Health\n", {"lines", "names"}),
        (
            "models/marts/marts.yml",
            "models:\n  - name: calls_by_line\n    config: {schema: other}\n",
            {"calls_by_line", "share_by_line"},
        ),
        (
            "dbt_project.yml",
            FILES["dbt_project.yml"].replace("limit_seconds: 300", "limit_seconds: 60"),
            {"calls_by_line", "share_by_line"},
        ),
        (
            "models/staging/calls.yml",
            FILES["models/staging/calls.yml"].replace("{required: true}", "{required: true, aliases: [id]}"),
            {"raw.calls", *AFTER_CALLS},
        ),
        ("seeds/seeds.yml", "seeds:\n  - name: lines\n    config: {column_types: {line: text}}\n", {"lines", "names"}),
    ],
)
def test_what_a_change_reaches_has_another_fingerprint(tmp_path: Path, file: str, text: str, names: set[str]) -> None:
    assert changed(tmp_path, {file: text}) == names


def test_deliveries_change_what_is_made_from_them(tmp_path: Path) -> None:
    assert changed(tmp_path, {}, ONE_FILE) == {"raw.calls", *AFTER_CALLS}


def test_every_blank_and_sign_in_a_text_counts() -> None:
    texts = [
        "'a'",
        "' a'",
        "'a '",
        "'A'",
        "'a  b'",
        "'a b'",
        "'a\nb'",
        "'-- a'",
        "'/* a */'",
        '"a"',
        "a",
        "0x1",
        "0 x1",
    ]
    shapes = {_shape(f"with t as (select 1 as a) select {text} from t") for text in texts}
    assert len(shapes) == len(texts)
    assert _shape("select -- why\n 'a'||'b' as x") == _shape("select\t'a' || 'b' /* so */ as x;")


def _shape(sql: str) -> str:
    return read_select(Rendered(sql=sql), Path("m.sql"), "model", {}).shape


def test_the_order_of_files_is_nothing(tmp_path: Path) -> None:
    first = fingerprints(compiled(tmp_path / "a"), NO_FILES)
    (tmp_path / "b" / "models" / "marts").mkdir(parents=True)
    for name, text in reversed({**FILES, **MORE}.items()):
        path = tmp_path / "b" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(text))
    assert fingerprints(compile_project(load_project(tmp_path / "b")), NO_FILES) == first
