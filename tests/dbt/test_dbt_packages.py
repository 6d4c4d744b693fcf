"""Models of packages and versions of models: built as dbt builds them, and what is said of mistakes in them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from kpi.cli.main import cli
from kpi.engine.compile import check_project
from kpi.errors import KpiError
from kpi.project.project import load_project
from with_dbt import build, ours, theirs, write

pytestmark = pytest.mark.xdist_group("dbt")

SHOP = {
    "dbt_packages/shop/dbt_project.yml": """\
name: shop
version: "1.0"
profile: own
vars: {floor: 1, only_here: 7, shop: {ceiling: 10}}
models:
  shop:
    +schema: shop_mart
    staging: {+materialized: table, +enabled: "{{ var('with_staging', true) }}"}
    dormant: {+enabled: false}
seeds: {shop: {+column_types: {id: bigint}}}
data_tests: {+severity: warn}
on-run-end: ["create table if not exists main.of_shop as select {{ var('only_here') }} as x"]
""",
    "dbt_packages/shop/seeds/raw_items.csv": "id,price\n1,5\n2,15\n3,8\n",
    "dbt_packages/shop/models/staging/stg_items.sql": """\
{{ config(materialized='view', alias='items') }}
select id, price, {{ var('floor') }} as floor, {{ var('ceiling') }} as ceiling, {{ label() }} as label,
    '{{ project_name }}' as project, '{{ model.package_name }}' as package, {{ var('unknown', 0) }} as fallback
from {{ ref('raw_items') }}
where price <= {{ var('ceiling') }}
""",
    "dbt_packages/shop/models/dear.sql": "select * from {{ ref('stg_items') }} where price > {{ this_much() }}",
    "dbt_packages/shop/models/dormant/not_built.sql": "select nonsense from {{ ref('nowhere') }}",
    "dbt_packages/shop/models/shop.yml": """\
models:
  - name: stg_items
    description: '{{ doc("items") }}'
    columns:
      - {name: id, data_tests: [unique, not_null]}
      - {name: price, data_tests: [{accepted_values: {arguments: {values: [1], quote: false}}}]}
sources:
  - name: filled
    schema: main
    tables: [{name: raw_items}]
exposures:
  - {name: till, type: dashboard, owner: {name: me, email: a@b.fi}, depends_on: ["ref('dear')"]}
unit_tests:
  - name: dear_is_dear
    model: dear
    given: [{input: ref('stg_items'), rows: [{id: 1, price: 1}, {id: 2, price: 9}]}]
    expect: {rows: [{id: 2}]}
""",
    "dbt_packages/shop/models/docs.md": "{% docs items %}What is sold.{% enddocs %}",
    "dbt_packages/shop/tests/no_item_is_free.sql": "select * from {{ ref('stg_items') }} where price = 0",
    "dbt_packages/shop/macros/all.sql": """\
{% macro label() %}'{{ adapter.dispatch('word', 'shop')() }}'{% endmacro %}
{% macro default__word() %}shop{% endmacro %}
{% macro this_much() %}{{ return(6) }}{% endmacro %}
""",
    "dbt_project.yml": """\
name: own
profile: own
vars: {floor: 2, shop: {ceiling: 12}}
models:
  own: {+materialized: table}
  shop: {staging: {+materialized: table, +schema: elsewhere}}
dispatch: [{macro_namespace: shop, search_order: [own, shop]}]
""",
    "packages.yml": "packages:\n  - package: some/shop\n    version: 1.0.0\n  - local: ../beside\n",
    "macros/m.sql": "{% macro default__word() %}own{% endmacro %}",
    "models/top.sql": "select id, label from {{ ref('shop', 'dear') }} union all "
    "select id, '{{ var('only_there', 'default') }}' from {{ ref('stg_items') }}",
    "models/beside.sql": "select * from {{ ref('of_beside') }}",
}
BESIDE = {
    "dbt_project.yml": "name: beside\nprofile: own\nvars: {only_there: 'beside'}\n",
    "models/deep/of_beside.sql": "select '{{ var('only_there') }}' as x, '{{ model.fqn | join('/') }}' as fqn",
}
VERSIONS = {
    "models/m/orders_v1.sql": "select 1 as id, 'one' as name",
    "models/m/orders.sql": "select 2 as id, 'two' as name, true as is_new",
    "models/m/old_orders.sql": "{{ config(alias='orders_of_old') }}select 0 as id",
    "models/m/y.yml": """\
models:
  - name: orders
    latest_version: 2
    config: {materialized: table}
    columns: [{name: id, data_tests: [not_null, unique]}, {name: name, data_tests: [not_null]}]
    versions:
      - v: 1
        config: {materialized: view}
      - v: 2
        columns: [{include: all}, {name: is_new, data_tests: [not_null]}]
      - v: old
        defined_in: old_orders
        columns: [{include: all, exclude: [name]}]
""",
    "models/reads.sql": """\
select 'latest' as which, id from {{ ref('orders') }}
union all select '1', id from {{ ref('orders', v=1) }}
union all select '2', id from {{ ref('own', 'orders', version=2) }}
union all select 'old', id from {{ ref('orders', version='old') }}
""",
}


def test_models_of_packages_are_built_as_dbt_does(tmp_path: Path) -> None:
    write(tmp_path / "beside", BESIDE)
    root = write(tmp_path / "own", SHOP)
    build(root)
    mine = ours(root)
    assert mine["main_elsewhere.items"] == (
        (1, 5, 2, 12, "own", "own", "shop", 0),
        (3, 8, 2, 12, "own", "own", "shop", 0),
    )
    assert mine["main.beside"] == (("beside", "beside/deep/of_beside"),)
    assert mine["main.of_shop"] == ((7,),)
    # dbt wants the packages it is told of to be installed, and has no registry here: the list is left out.
    shutil.copytree(tmp_path / "beside", root / "dbt_packages/beside")
    (root / "packages.yml").unlink()
    assert mine == theirs(root)


def test_what_is_there_of_packages_has_their_names(tmp_path: Path) -> None:
    write(tmp_path / "beside", BESIDE)
    root = write(tmp_path / "own", SHOP)
    graph = check_project(load_project(root))
    assert {"model.shop.stg_items", "seed.shop.raw_items", "source.shop.filled.raw_items"} <= set(graph.nodes)
    assert {"test.shop.no_item_is_free", "test.shop.unique_stg_items_id", "exposure.shop.till"} <= set(graph.nodes)
    test = graph.nodes["test.shop.unique_stg_items_id"].test
    assert test is not None
    assert test.severity == "warn"
    assert graph.nodes["model.shop.stg_items"].description == "What is sold."
    listed = CliRunner().invoke(cli, ["ls", "-s", "package:shop", "--output", "name", "--project-dir", str(root)])
    assert "stg_items" in listed.output.split()
    assert "top" not in listed.output.split()
    listed = CliRunner().invoke(
        cli,
        ["ls", "-s", "shop.staging", "--output", "selector", "--resource-type", "model", "--project-dir", str(root)],
    )
    assert listed.output == "shop.staging.stg_items\n"


def test_a_package_that_changes_is_built_again(tmp_path: Path) -> None:
    write(tmp_path / "beside", BESIDE)
    root = write(tmp_path / "own", SHOP)
    build(root)
    assert build(root).nothing_to_do
    write(tmp_path / "beside", {"models/deep/of_beside.sql": "select 'new' as x"})
    assert not build(root).nothing_to_do
    assert ours(root)["main.beside"] == (("new",),)


def test_a_package_that_holds_the_project_is_read_once(tmp_path: Path) -> None:
    write(tmp_path, {"dbt_project.yml": "name: whole\n", "models/a.sql": "select 1 as x"})
    files = {"packages.yml": "packages: [{local: ../}]\n", "models/b.sql": "select * from {{ ref('whole', 'a') }}"}
    root = write(tmp_path / "integration_tests", files)
    build(root)
    assert ours(root) == {"main.a": ((1,),), "main.b": ((1,),)}
    (root / "dbt_packages").mkdir()
    (root / "dbt_packages/whole").symlink_to("../..", target_is_directory=True)
    assert ours(root) == theirs(root)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"models/m.sql": "select * from {{ ref('shop', 'derr') }}"},
            "models/m.sql:1: ref('derr'): there is no such model or seed. Did you mean 'dear'?",
        ),
        (
            {"models/m.sql": "select * from {{ ref('shap', 'x') }}"},
            "ref('shap', 'x'): there is no package 'shap' here.",
        ),
        (
            {"models/dear.sql": "select 1 as id"},
            "dbt_packages/shop/models/dear.sql:1: main.dear is where dear (models/dear.sql) is too.",
        ),
        (
            {"dbt_packages/shop/models/dear.sql": "select no_such from {{ ref('stg_items') }}"},
            "dbt_packages/shop/models/dear.sql:1:8: there is no column 'no_such'",
        ),
    ],
)
def test_a_mistake_in_or_about_a_package(tmp_path: Path, files: dict[str, str], message: str) -> None:
    shop = {name: text.replace("    +schema: shop_mart\n", "") for name, text in SHOP.items()}
    root = write(tmp_path, {**shop, "packages.yml": "", "models/beside.sql": "select 1 as x", **files})
    with pytest.raises(KpiError) as error:
        check_project(load_project(root))
    assert message in str(error.value)


def test_what_of_a_package_cannot_be_compiled_is_left_out_with_a_note(tmp_path: Path) -> None:
    asks = "{% set found = run_query('select count(*) from ' ~ ref('dear')) %}select {{ found.columns[0] }} as n"
    files = {
        **SHOP,
        "packages.yml": "",
        "models/beside.sql": "select 1 as x",
        "dbt_packages/shop/models/asks.sql": asks,
        "dbt_packages/shop/models/reads_it.sql": "select * from {{ ref('asks') }}",
        "dbt_packages/shop/tests/of_it.sql": "select * from {{ ref('reads_it') }}",
    }
    root = write(tmp_path, files)
    graph = check_project(load_project(root))
    places = ("asks.sql:1: run_query()", "reads_it.sql:1: 'reads_it' is not built", "of_it.sql:1: 'of_it' is not built")
    assert all(any(place in note for note in graph.notes) for place in places)
    assert not {"model.shop.asks", "model.shop.reads_it", "test.shop.of_it"} & set(graph.nodes)
    build(root)
    assert ours(root)["main.of_shop"] == ((7,),)
    write(root, {"models/own.sql": "select * from {{ ref('reads_it') }}"})
    with pytest.raises(KpiError, match=r"models/own.sql:1: 'reads_it' of a package is not built: run_query\(\)"):
        check_project(load_project(root))


def test_versions_of_models_are_built_as_dbt_does(tmp_path: Path) -> None:
    root = write(tmp_path, VERSIONS)
    build(root)
    mine = ours(root)
    assert mine["main.reads"] == (("1", 1), ("2", 2), ("latest", 2), ("old", 0))
    assert set(mine) == {"main.orders_v1", "main.orders_v2", "main.orders_of_old", "main.reads"}
    assert mine == theirs(root)


def test_versions_are_selected_by_their_model_or_one_by_one(tmp_path: Path) -> None:
    root = write(tmp_path, VERSIONS)

    def listed(*words: str) -> list[str]:
        given = ["ls", "--output", "name", "--project-dir", str(root), "--resource-type", "model", *words]
        return CliRunner().invoke(cli, given).output.split()

    assert listed("-s", "orders") == ["orders.v1", "orders.v2", "orders.vold"]
    assert listed("-s", "orders.v1+") == ["orders.v1", "reads"]
    assert listed("-s", "version:latest") == ["orders.v2"]
    assert listed("-s", "version:old") == ["orders.v1"]
    assert listed("-s", "version:prerelease") == ["orders.vold"]
    assert listed("-s", "version:none") == ["reads"]


@pytest.mark.parametrize(
    ("yml", "message"),
    [
        ("versions: [{v: 1}, {v: 1}]", "the version 1 of 'orders' is here twice."),
        ("versions: [{defined_in: x}]", "a version of 'orders' needs its 'v'."),
        ("latest_version: 3\n    versions: [{v: 1}]", "'orders' has no version 3; it has 1."),
        ("versions: [{v: 1}, {v: 2}]", "ref('orders', v=7): there is no such version; there are 1, 2."),
    ],
)
def test_a_mistake_in_versions(tmp_path: Path, yml: str, message: str) -> None:
    files = {
        "models/orders_v1.sql": "select 1 as id",
        "models/orders_v2.sql": "select 1 as id",
        "models/y.yml": f"models:\n  - name: orders\n    {yml}\n",
        "models/reads.sql": "select * from {{ ref('orders', v=7) }}",
    }
    with pytest.raises(KpiError) as error:
        check_project(load_project(write(tmp_path, files)))
    assert message in str(error.value)
