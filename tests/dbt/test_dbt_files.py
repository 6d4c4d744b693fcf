"""Sources of dbt projects that are files, and which files a model may read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from building import build_nodes
from kpi import database
from plain_project import compiled, told


def test_sources_that_are_files_are_loaded_and_read(tmp_path: Path) -> None:
    files = {
        "data/calls.csv": "id,line\n1,a\n2,b\n",
        "models/s.yml": """\
sources:
  - name: files
    meta: {external_location: "data/{name}.csv"}
    tables:
      - name: calls
        columns: [{name: id, data_tests: [unique]}]
      - name: same
        config: {meta: {external_location: "read_csv('data/cal*.csv', all_varchar = true)"}}
""",
        "models/m.sql": "select c.id, s.line from {{ source('files', 'calls') }} as c"
        " join {{ source('files', 'same') }} as s on s.id = c.id::varchar",
    }
    graph = compiled(tmp_path, files)
    settings = {"file_search_path": str(tmp_path)}
    with database.building(tmp_path / "kpi.duckdb", tmp_path / "spill", settings) as con:
        build_nodes(con, graph, list(graph.built()))
        assert con.execute("from main.m order by id").fetchall() == [(1, "a"), (2, "b")]
    before = graph.nodes["source.own.files.calls"].shape
    again = compiled(tmp_path, {**files, "data/calls.csv": "id,line\n1,a\n2,c\n"})
    assert again.nodes["source.own.files.calls"].shape != before


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("data/{nam}.csv", "4: external_location: there is nothing to put in for 'nam'."),
        (
            "https://x.example/a.csv",
            "4: external_location: kpi reaches for no network. Fetch the file, and name its path here: 'https://x.example/a.csv'.",
        ),
    ],
)
def test_a_mistake_in_the_place_of_a_source(tmp_path: Path, location: str, message: str) -> None:
    text = (
        f"sources:\n  - name: files\n    tables:\n      - name: t\n        meta: {{external_location: '{location}'}}\n"
    )
    files = {"models/s.yml": text, "models/m.sql": "select * from {{ source('files', 't') }}"}
    assert told(tmp_path, files) == f"models/s.yml:{message}"


def test_a_source_on_the_network_that_nobody_reads_is_noted(tmp_path: Path) -> None:
    """dbt looks at it when it is read; an end of line in the place changes nothing."""
    table = "{name: t, meta: {external_location: \"read_csv('https://x.example/a.csv')\\n\"}}"
    files = {"models/s.yml": f"sources: [{{name: o, tables: [{table}]}}]", "models/m.sql": "select 1 as a"}
    assert "models/s.yml:1: nothing loads or reads the source 'o.t'." in compiled(tmp_path, files).notes


def test_a_source_without_a_file_says_so(tmp_path: Path) -> None:
    table = "{name: t, meta: {external_location: 'data/{name}_*.csv'}}"
    assert told(tmp_path, {"models/s.yml": f"sources: [{{name: o, tables: [{table}]}}]"}) == (
        "models/s.yml:1: the source 'o.t': no file matches 'data/t_*.csv'."
    )


def test_a_source_that_a_seed_fills_comes_after_it(tmp_path: Path) -> None:
    files = {
        "dbt_project.yml": "name: own\nseeds: {own: {+schema: raw}}\n",
        "macros/g.sql": "{% macro generate_schema_name(custom_schema_name, node) %}\n"
        "{% if node.resource_type == 'seed' %}\n {{ custom_schema_name | trim }}\n"
        "{% else %}{{ default__generate_schema_name(custom_schema_name, node) }}{% endif %}{% endmacro %}",
        "seeds/raw_calls.csv": "id\n1\n",
        "models/s.yml": "sources:\n  - name: county\n    schema: \"{{ 'raw' }}\"\n    tables: [{name: raw_calls}]\n",
        "models/a.sql": "select id from {{ source('county', 'raw_calls') }}",
    }
    graph = compiled(tmp_path, files)
    order = list(graph.nodes)
    assert str(graph.nodes["seed.own.raw_calls"].relation) == "raw.raw_calls"
    assert order.index("seed.own.raw_calls") < order.index("model.own.a")
    assert graph.nodes["source.own.county.raw_calls"].depends_on == ("seed.own.raw_calls",)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"models/m.sql": "select 1 as a,\n  b.* from read_csv('../far/x.csv') as b"},
            "models/m.sql:2:12: read_csv('../far/x.csv'): '../far/x.csv' lies outside the project. Copy it into the"
            " project, or name its folder in vars: kpi_warehouse: source_folders.",
        ),
        (
            {"models/m.sql": "select * from read_parquet('https://x.example/a.parquet')"},
            "models/m.sql:1:15: read_parquet('https://x.example/a.parquet'): kpi reaches for no network."
            " Fetch the file.",
        ),
        (
            {"models/m.sql": "select *\nfrom 'data/x.parquet'"},
            "models/m.sql:2: the source 'files.x_fddc1e14': no file matches 'data/x.parquet'.",
        ),
        (
            {
                "models/m.sql": "select * from 'data/x.csv'",
                "data/x.csv": "a\n1\n",
                "dbt_project.yml": "name: own\nmodels: {own: {+meta: {house_rules: true}}}\n",
            },
            "models/m.sql:1:15: a model reads ref() and source() only, not the file 'data/x.csv'. Describe"
            " the file as a source (config.meta.external_location) and read that.",
        ),
    ],
)
def test_files_that_a_model_may_not_read(tmp_path: Path, files: Mapping[str, str], message: str) -> None:
    root = tmp_path / "own"
    (tmp_path / "far").mkdir()
    (tmp_path / "far/x.csv").write_text("a\n1\n", encoding="utf-8")
    assert told(root, files) == message
