"""A model under contract: order, types and constraints of its table, and what is said of a broken one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kpi.engine import materializations, runner
from kpi.engine.graph import Node
from kpi.errors import BuildError, CompileError
from kpi.project.properties import Column
from kpi.yaml_loader import Section
from tiny import Tiny


def contracted(select: str, *columns: Column, materialized: str = "table", **more: Any) -> Node:
    """Return a model under contract, as it is compiled."""
    from kpi.project.relation import Relation

    config = {"contract": {"enforced": True}, "materialized": materialized}
    place = Relation("model.tiny.m", "main", "m")
    node = Node("model.tiny.m", "model", "m", Path("models/m.sql"), 1, place, materialized, sql=select, config=config)
    return replace(node, columns=columns, **more)


def column(name: str, data_type: str, *constraints: dict[str, Any]) -> Column:
    """Return a column as YAML describes it."""
    file = Path("models/m.yml")
    sections = [Section(file, 5) for _ in constraints]
    for section, constraint in zip(sections, constraints, strict=True):
        section.update(constraint)
    return Column(name, data_type, "", Section(file, 1), 4, tuple(sections))


def test_a_contract_gives_the_table_its_order_types_and_constraints(tiny: Tiny) -> None:
    node = contracted(
        "select 1.5::decimal(10, 2) as amount, 'x' as name, 1 as id",
        column("id", "int", {"type": "not_null"}),
        column("name", "text", {"type": "check", "expression": "name <> ''"}),
        column("amount", "numeric(10, 2)"),
        constraints=({"type": "primary_key", "columns": ["id", "name"]},),
    )
    graph = tiny.compiled()
    runner.build_node(tiny.con, graph, node, None)
    assert tiny.columns("m") == {"id": "INTEGER", "name": "VARCHAR", "amount": "DECIMAL(10,2)"}
    assert [row[3] for row in tiny.con.execute("describe main.m").fetchall()] == ["PRI", "PRI", None]
    for wrong, message in (("'' as name, 1 as id", "CHECK"), ("'x' as name, null::int as id", "NOT NULL")):
        broken = replace(node, sql=f"select 1.5::decimal(10, 2) as amount, {wrong}")
        with pytest.raises(BuildError, match=message):
            runner.build_node(tiny.con, graph, broken, "table")
    assert tiny.rows("select id, name from main.m") == [(1, "x")]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            [column("identity", "int"), column("name", "int"), column("amount", "decimal")],
            [
                "  column    the model has  the contract says  what differs",
                "  amount    DECIMAL(10,2)  DECIMAL(18,3)      another type",
                "  id        INTEGER                           missing in the contract",
                "  identity                 INTEGER            missing in the model",
                "  name      VARCHAR        INTEGER            another type",
            ],
        ),
        ([column("id", "")], ["models/m.yml:4: the contract is enforced, but 'id' has no data_type."]),
        ([column("id", "intt")], ["models/m.yml:4: 'id': there is no type 'intt'."]),
        ([], ["models/m.sql:1: the contract is enforced, but the YAML names no columns."]),
        ([column("id", "int", {"type": "notnull"})], ["models/m.yml:4: a constraint is one of check, not_null"]),
    ],
)
def test_a_broken_contract_tells_in_a_table_what_differs(tiny: Tiny, columns: list[Column], message: list[str]) -> None:
    node = contracted("", *columns)
    yields = (("id", "INTEGER"), ("name", "VARCHAR"), ("amount", "DECIMAL(10,2)"))
    with pytest.raises(CompileError) as caught:
        materializations.check(tiny.con, node, yields)
    assert all(line in str(caught.value) for line in message)


def test_a_contract_is_checked_before_anything_runs(tiny: Tiny) -> None:
    tiny.seed("id,v", "1,10")
    tiny.write({"m": "{{ config(contract={'enforced': true}) }}\nselect id as key, v from {{ ref('src') }}"})
    tiny.write(
        {"models/m.yml": "models: [{name: m, columns: [{name: id, data_type: int}, {name: v, data_type: int}]}]"}
    )
    with pytest.raises(CompileError, match="the model does not keep its contract"):
        tiny.compiled()


def test_a_contract_is_read_from_yaml_with_its_constraints(tiny: Tiny) -> None:
    tiny.seed("id,v", "1,10", "1,20")
    settings = "{{ config(materialized='table', contract={'enforced': true}) }}"
    tiny.write({"m": settings + " select v, id from {{ ref('src') }}"})
    columns = "[{name: id, data_type: int, constraints: [{type: unique}]}, {name: v, data_type: int}]"
    tiny.write({"models/m.yml": f"models: [{{name: m, columns: {columns}}}]"})
    with pytest.raises(BuildError, match=r"m \(models/m.sql\): Constraint Error: .*duplicate key \"1\""):
        tiny.build()
    tiny.seed("id,v", "1,10", "2,20")
    tiny.build()
    assert list(tiny.columns("m")) == ["id", "v"]
