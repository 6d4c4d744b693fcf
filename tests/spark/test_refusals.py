"""What DuckDB and Spark would count in different ways is refused by its rule's name, at its place, before it runs."""

from __future__ import annotations

import duckdb
import pytest

from kpi.engine.lint import SPARK_RULES as RULES
from kpi.engine.spark_refusals import refusals
from kpi.engine.spark_sql import to_spark
from kpi.errors import ConfigError
from spark.odd_values import ODD, QUESTIONS
from spark.refusal_cases import CASES, NOT_ASKED


def rules_of(con: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    """The names of the rules that a SELECT over the odd tables breaks."""
    row = con.execute("select json_serialize_plan(?, optimize := false)", [sql]).fetchone()
    assert row is not None
    return [finding.rule for finding in refusals(sql, row[0])]


@pytest.fixture(scope="module")
def odd() -> duckdb.DuckDBPyConnection:
    """A database of the odd tables."""
    con = duckdb.connect()
    for name, sql in ODD.items():
        con.execute(f"create table {name} as {sql}")
    return con


def test_every_rule_has_a_case() -> None:
    assert {*CASES, *NOT_ASKED} == {*RULES}


@pytest.mark.parametrize("rule", [*CASES, *NOT_ASKED])
def test_what_would_differ_is_refused_by_the_name_of_its_rule(odd: duckdb.DuckDBPyConnection, rule: str) -> None:
    assert rule in rules_of(odd, {**CASES, **NOT_ASKED}[rule])


def test_a_type_that_spark_has_not_is_not_translated() -> None:
    with pytest.raises(ConfigError, match="cannot be had on Spark"):
        to_spark(NOT_ASKED["type"], {"v": "TIME"})


@pytest.mark.parametrize("name", QUESTIONS)
def test_what_is_asked_of_both_engines_is_not_refused(odd: duckdb.DuckDBPyConnection, name: str) -> None:
    # An average of whole numbers, // of them and the type of a value are the same, and outside the house rules.
    assert [rule for rule in rules_of(odd, QUESTIONS[name]) if rule in RULES] == []


def test_the_place_is_that_of_the_construct(odd: duckdb.DuckDBPyConnection) -> None:
    sql = "select n,\n    upper(s) as loud from odd_nothing"
    assert [sql[finding.offset :][:5] for finding in refusals(sql)] == ["upper"]
