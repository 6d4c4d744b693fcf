"""The cache saves time and never changes a result, whatever happens to its file."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from kpi.cache import Cache, caching, key_of, remembered
from kpi.engine import compile
from kpi.engine.compile import CACHE, Compiled, columns_in, compiled, known, read_feeds, read_project
from kpi.engine.nodes import compile_project
from kpi.errors import CompileError, KpiError
from kpi.project.jinja import is_fleeting
from kpi.project.project import load_project
from small_project import FILES, write


class NotRememberedError(Exception):
    """Raised where what is remembered should have been enough."""


def facts(project: Compiled) -> tuple[object, ...]:
    """All that a compiled project says."""
    graph = project.graph
    nodes = tuple((name, repr(node)) for name, node in graph.nodes.items())
    rest = (graph.feeds, graph.notes, graph.unit_tests, graph.environment_read, graph.on_run)
    return nodes, repr(rest), sorted(project.columns.items()), project.files, project.is_closed


def test_what_is_remembered_is_the_same(tmp_path: Path) -> None:
    root = write(tmp_path)
    first = compiled(root)
    assert facts(compiled(root)) == facts(first)
    (root / "models/marts/other.sql").write_text("select line from {{ ref('stg_calls') }}")
    second = compiled(root)
    (root / CACHE).unlink()
    assert facts(second) == facts(compiled(root))


def test_nothing_is_read_again_when_nothing_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path)
    first = compiled(root)
    monkeypatch.setattr(compile, "_compiled", None)
    assert facts(compiled(root)) == facts(first)


def test_whoever_asks_gets_what_is_written_compiled_or_not(tmp_path: Path) -> None:
    root = write(tmp_path)
    written = read_feeds(root)[1]
    assert known(root) is None
    first = compiled(root)
    again = known(root)
    assert again is not None
    assert facts(again) == facts(first)
    assert [*again.graph.nodes] == [*compile_project(load_project(root), columns_in).nodes]
    assert read_feeds(root)[1] == written
    assert read_project(root).resources == load_project(root).resources
    (root / "models/marts/other.sql").write_text("select line from {{ ref('stg_calls') }}")
    assert known(root) is None
    assert "other" in {one.name for one in read_project(root).models}


@pytest.mark.parametrize(("folder", "is_remembered"), [("models", True), ("docs", False)])
def test_doc_blocks_are_told_as_they_are_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, is_remembered: bool
) -> None:
    """In a folder that the digest covers they are remembered; `docs` at the top it passes over."""
    project_file = f"docs-paths: [{folder}]\n" + FILES["dbt_project.yml"]
    block, models = f"{folder}/words.md", FILES["models/staging/calls.yml"]
    yaml = models + "    description: \"{{ doc('calls') }}\"\n"
    text = "{% docs calls %}\nEvery call.\n{% enddocs %}\n"
    root = write(tmp_path, {"dbt_project.yml": project_file, "models/staging/calls.yml": yaml, block: text})
    assert "Every call." in repr(compiled(root).graph.nodes)
    write(root, {"dbt_project.yml": project_file, "models/staging/calls.yml": yaml, block: text.replace("ery", "en a")})
    assert "Even a call." in repr(compiled(root).graph.nodes)
    if is_remembered:
        monkeypatch.setattr(compile, "_compiled", None)
    assert "Even a call." in repr(compiled(root).graph.nodes)


def test_only_what_changed_is_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlglot

    root = write(tmp_path)
    compiled(root)
    parsed = []
    parser = sqlglot.Dialect.get_or_raise("duckdb").parser

    def counted(self: object, **given: Any) -> Any:
        parsed.append(1)
        return parser(**given)

    monkeypatch.setattr(sqlglot.dialects.DuckDB, "parser", counted)
    path = root / "models/marts/calls_by_line.sql"
    path.write_text(path.read_text() + "-- more\n")
    compiled(root)
    assert len(parsed) == 1


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("dbt_project.yml", "limit_seconds: 300", "limit_seconds: 301"),
        ("macros/macros.sql", "{{ custom_schema_name", "x_{{ custom_schema_name"),
        ("seeds/lines.csv", "health,Health line", "7,8"),
        ("models/staging/calls.yml", "data_type: bigint", "data_type: decimal(24,6)"),
        ("models/staging/stg_calls.sql", "    line,", "    upper(line) as line,"),
    ],
)
def test_a_change_anywhere_is_seen(tmp_path: Path, file: str, old: str, new: str) -> None:
    root = write(tmp_path)
    before = compiled(root)
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new, 1))
    after = compiled(root)
    (root / CACHE).unlink()
    assert facts(after) == facts(compiled(root)) != facts(before)


STAGED, MART = "models/staging/stg_calls.sql", "models/marts/calls_by_line.sql"


@pytest.mark.parametrize(
    ("file", "old", "new", "is_alone"),
    [
        (MART, "group by line", "where line <> 'x'\ngroup by line\n-- more", True),
        (MART, "select\n", "\n\nselect\n", True),
        (STAGED, "where not", "where call_id is not null and not", True),
        (MART, "select\n", "{{ config(materialized='table') }}\nselect\n", True),  # as its folder has it
        (MART, "select\n", "{{ config(schema='other') }}\nselect\n", False),
        (MART, "select\n", "{{ config(enabled=false) }}\nselect\n", False),
        (MART, "select\n", "{{ config(materialized='ephemeral') }}\nselect\n", False),
        (MART, "count(*) as call_count", "sum(1) as call_count", False),  # another type
        (MART, "count(*) as call_count", "count(*) as calls, count(*) as call_count", False),
        (MART, "group by line", "group by line having line in (select line from {{ ref('lines') }})", False),
        (MART, "group by line", "-- {{ env_var('HOME_OF_CALLS', 'x') }}\ngroup by line", False),
        (MART, "group by line", "-- {{ graph.nodes | length }}\ngroup by line", False),
    ],
)
def test_a_model_of_another_text_alone_is_compiled_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, old: str, new: str, is_alone: bool
) -> None:
    root = write(tmp_path, {"models/marts/last.sql": "select * from {{ ref('lines') }}"})
    before = compiled(root)
    whole, asked = compile._compiled, list[Path]()

    def noted(root: Path, *given: Any) -> Compiled:
        asked.append(root)
        return whole(root, *given)

    monkeypatch.setattr(compile, "_compiled", noted)
    if "enabled=false" in new:
        (root / "tests/assert_in_time_is_part.sql").unlink()
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new, 1))
    after = compiled(root)
    assert (asked == []) == is_alone
    (root / CACHE).unlink()
    assert facts(after) == facts(compiled(root)) != facts(before)


def test_a_mistake_is_told_anew_each_time(tmp_path: Path) -> None:
    root = write(tmp_path, {"models/marts/m.sql": "select linee from {{ ref('stg_calls') }}"})
    message = []
    for _ in range(2):
        with pytest.raises(CompileError) as caught:
            compiled(root)
        message.append(str(caught.value))
    assert message[0] == message[1] == "models/marts/m.sql:1:8: there is no column 'linee'. Did you mean 'line'?"


def test_a_variable_of_the_run_is_another_project(tmp_path: Path) -> None:
    root = write(tmp_path)
    compiled(root)
    assert "<= 7)" in compiled(root, {"limit_seconds": 7}).graph.nodes["model.small.calls_by_line"].sql
    assert "<= 300)" in compiled(root).graph.nodes["model.small.calls_by_line"].sql


def test_any_damage_to_the_file_is_as_good_as_deleting_it(tmp_path: Path) -> None:
    root = write(tmp_path)
    right = facts(compiled(root))
    file = root / CACHE
    whole = file.read_bytes()
    chance = random.Random(4)
    damaged = [whole[: chance.randrange(len(whole))] for _ in range(6)] + [b"", whole + b"x", b"kpi compile cache 2\n"]
    for _ in range(12):
        flipped = bytearray(whole)
        flipped[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        damaged.append(bytes(flipped))
    for content in damaged:
        file.write_bytes(content)
        assert Cache(file).get(key_of("anything")) is None
    for content in damaged[:3]:
        file.write_bytes(content)
        assert facts(compiled(root)) == right
    file.unlink()
    file.mkdir()
    assert facts(compiled(root)) == right


def test_the_file_of_another_kpi_counts_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path)
    compiled(root)
    monkeypatch.setattr("kpi.cache._stamps", [b"another"])
    monkeypatch.setattr(compile, "_compiled", lambda *given: (_ for _ in ()).throw(NotRememberedError))
    with pytest.raises(NotRememberedError):
        compiled(root)


def test_a_cache_from_elsewhere_cannot_call_anything(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (__import__("os").system, (f"touch {tmp_path}/called",))

    file = tmp_path / "cache"
    with caching(file) as cache:
        cache.put("whole-evil", Evil())
    assert Cache(file).get("whole-evil") is None
    assert not (tmp_path / "called").exists()


def test_what_may_change_without_a_file_changing_is_not_remembered() -> None:
    for text in ("{{ run_started_at }}", "{{ modules.datetime.date.today() }}", "{% call statement('x') %}"):
        assert is_fleeting(text)
    for text in ("{{ ref('env_vars') }}", "select log_count from x", "-- statement", "select modules_count"):
        assert not is_fleeting(text)


def test_without_a_cache_everything_is_made() -> None:
    made = iter(range(9))
    assert [remembered(lambda: next(made), "same") for _ in range(2)] == [0, 1]


PACKAGE = {
    "dbt_packages/more/dbt_project.yml": "name: more\nmacro-paths: [macros]\n",
    "dbt_packages/more/macros/more.sql": "{% macro doubled(x) %}2 * {{ x }}{% endmacro %}",
    "models/marts/asks.sql": "select call_id, {{ more.doubled(var('limit_seconds')) }} as limit_of,"
    " '{{ env_var('PLACE_OF_CALLS', 'here') }}' as place from {{ ref('stg_calls') }}",
    "models/marts/asks.yml": "models:\n  - name: asks\n    description: \"{{ doc('asked') }}\"\n    columns:\n"
    "      - name: place\n        data_tests:\n          - accepted_values: {arguments: {values: [here, there]}}\n",
    "models/words.md": "{% docs asked %}Every call.{% enddocs %}",
}
INPUTS = [
    ("dbt_project.yml", "limit_seconds: 300", "limit_seconds: 1.5"),
    ("macros/macros.sql", "100 * {{ part }}", "{{ part }} * 100"),
    ("macros/macros.sql", "{{ custom_schema_name", "x_{{ custom_schema_name"),
    ("seeds/lines.csv", "health,Health line", "7,8"),
    ("seeds/lines.csv", "line,", "line_id,"),
    ("models/staging/calls.yml", "data_type: bigint", "data_type: decimal(24,6)"),
    ("models/staging/stg_calls.sql", "    line,", "    upper(line) as line,"),
    ("dbt_packages/more/macros/more.sql", "2 * {{ x }}", "cast({{ x }} as varchar)"),
    ("models/marts/asks.yml", "values: [here, there]", "values: [there, here]"),
    ("models/marts/asks.yml", "place", "limit_of"),
    ("models/words.md", "Every call.", "Each call."),
    ("models/marts/asks.sql", "select call_id", "select line, call_id"),
]


def test_whatever_changes_what_is_remembered_is_what_is_worked_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files, variables, the target and the environment, one after the other and back, each with all that was kept."""

    def outcome(make: Any, *given: Any) -> object:
        try:
            return facts(make(root, *given))[:3]
        except KpiError as error:
            return str(error)

    root = write(tmp_path, PACKAGE)
    seen = set()
    for step, change in enumerate([*INPUTS, None, None]):
        for undone, (file, old, new) in (
            *([(True, INPUTS[step - 2])] if step > 1 else []),
            *([(False, change)] if change else []),
        ):
            text = (root / file).read_text()
            assert (new if undone else old) in text
            (root / file).write_text(text.replace(new, old, 1) if undone else text.replace(old, new, 1))
        if step % 3 == 2:
            monkeypatch.setenv("PLACE_OF_CALLS", f"place {step}")
        given = ({"limit_seconds": 7} if step % 5 == 4 else None, "other" if step % 7 == 6 else "", None)
        found = outcome(compiled, *given)
        assert found == outcome(compile._compiled, *given), (step, change)
        seen.add(repr(found))
    assert len(seen) >= len(INPUTS)
