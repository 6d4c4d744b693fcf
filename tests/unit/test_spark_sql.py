"""DuckDB's SQL as Spark's: the rules one by one. That the numbers are the same is for tests/spark."""

from __future__ import annotations

import pytest
import sqlglot

from kpi.engine.spark_sql import MOST_READ, spark_type, to_spark, to_spark_in_steps, translated
from kpi.errors import ConfigError


def spark(sql: str) -> str:
    return str(translated(sqlglot.parse_one(sql, dialect="duckdb")).sql(dialect="spark"))


def test_the_whole_select_is_cast_to_the_types_that_the_binder_knows() -> None:
    sql = to_spark(
        "select sum(n) as total, d as `a day` from t".replace("`", '"'), {"total": "HUGEINT", "a day": "DATE"}
    )
    first = sql.splitlines()[0]
    assert first == "select cast(`total` as decimal(38,0)) as `total`, cast(`a day` as date) as `a day` from ("


def test_a_type_that_spark_has_not_is_refused_with_those_it_has() -> None:
    with pytest.raises(ConfigError, match=r"of the type TIME cannot be had on Spark\. Cast it to one of: .*BIGINT"):
        spark_type("TIME")


def test_a_list_is_an_array() -> None:
    assert spark_type("DECIMAL(38,2)[]") == "array<decimal(38,2)>"


@pytest.mark.parametrize(
    ("duckdb", "wanted"),
    [
        ("select a from kpi.main.t", "SELECT a FROM main.t"),
        ("select isodow(d)", "SELECT ((DAYOFWEEK(d) + 5) % 7 + 1)"),
        ("select date_diff('day', a, b)", "SELECT CAST(DATEDIFF(CAST(b AS DATE), CAST(a AS DATE)) AS BIGINT)"),
        ("select a / b / c", "SELECT CAST(CAST(a AS DOUBLE) / CAST(b AS DOUBLE) AS DOUBLE) / CAST(c AS DOUBLE)"),
        ("select cast(a as hugeint)", "SELECT CAST(a AS DECIMAL(38, 0))"),
        ("select exists (select a from t)", "SELECT EXISTS(SELECT 1 FROM t)"),
        ("select count(distinct hash(a, b))", "SELECT COUNT(DISTINCT XXHASH64(a, b))"),
        (
            "select cast(d - n * interval 1 month as date)",
            "SELECT ADD_MONTHS(CAST(d AS DATE), CAST((-((n) * 1)) AS INT))",
        ),
    ],
    ids=["catalog", "iso weekday", "difference", "division", "hugeint", "exists", "hash", "date minus intervals"],
)
def test_each_rule_says_in_spark_what_duckdb_means(duckdb: str, wanted: str) -> None:
    assert spark(duckdb) == wanted


def test_rules_see_what_rules_have_made_of_the_parts() -> None:
    assert spark("select date_diff('day', cast(a + n / 2 * interval 1 day as date), b)").count("DATE_ADD") == 1


@pytest.mark.parametrize(
    ("where", "is_rewritten"),
    [
        ("where s not in (select g from o)", False),
        ("where not (s in (select g from o)) and a", False),
        ("where s in (select g from o) or a", False),
        ("where not (s not in (select g from o) or a)", False),
        ("where s not in ('a', 'b') or a", False),
        ("where s not in (select g from o) or a", True),
        ("where (a and s not in (select g from o)) or b", True),
        ("where not (s in (select g from o) and a)", True),
        ("where case when s not in (select g from o) then a else b end", True),
        ("group by s having s not in (select g from o)", True),
    ],
)
def test_not_in_a_select_is_not_exists_where_it_does_not_stand_by_itself(where: str, is_rewritten: bool) -> None:
    exists = (
        "EXISTS(SELECT 1 FROM (SELECT g FROM o) AS kpi_in(kpi_value)"
        " WHERE kpi_value = (s) OR kpi_value IS NULL OR (s) IS NULL)"
    )
    assert (exists in spark(f"select s from t {where}")) == is_rewritten


def test_a_series_that_ends_before_it_begins_has_no_numbers() -> None:
    assert "CASE WHEN 1 <= n THEN SEQUENCE(1, n, 1) ELSE ARRAY() END" in spark("select unnest(generate_series(1, n))")


def test_a_condition_over_grouping_sets_is_a_column_and_a_where_around_it() -> None:
    sql = spark("with t as (select 1 as a) select a, b from t group by grouping sets ((a), (b)) having grouping(a) = 0")
    assert sql.startswith("WITH t AS (SELECT 1 AS a) SELECT `a`, `b` FROM (SELECT a, b, GROUPING(a) = 0 AS kpi_having")
    assert sql.endswith("AS kpi_grouped WHERE kpi_having")


def test_a_difference_of_times_asks_no_function_that_reads_them_in_the_zone_of_the_session() -> None:
    sql = spark("select date_diff('second', a, b)")
    assert "TIMESTAMPDIFF" not in sql
    assert "DATEDIFF(SECOND" not in sql
    assert "CAST(SECOND(CAST(b AS TIMESTAMP_NTZ)) AS BIGINT)" in sql


def doubling(levels: int) -> str:
    """A SELECT whose every CTE reads the one before it twice, of rows that are given around it."""
    ctes = [
        f"l{n} as (select one.v from l{n - 1} as one join l{n - 1} as other on one.v = other.v)"
        for n in range(1, levels)
    ]
    inner = ", ".join(["l0 as (select * from given)", "unread as (select * from given)", *ctes])
    return f"with given as (select 1 as v) select * from (with {inner} select v from l{levels - 1}) as yielded"


def test_what_spark_would_copy_without_end_is_made_of_tables_first() -> None:
    parts, sql = to_spark_in_steps(doubling(8), {"v": "INTEGER"}, "part")
    assert [name for name, _ in parts] == ["part_0", "part_1"]
    first, second = (text.lower() for _, text in parts)
    assert "with `given` as (" in first
    assert "unread" not in first
    # The second reads the first, and each of them and the rest few tables, whatever is put in for its CTEs.
    assert "`part_0`" in second
    assert "`l3` as (select * from `part_0`)" in sql.lower()
    assert sql.splitlines()[0] == "select cast(`v` as int) as `v` from ("
    assert max(text.lower().count("join") for text in (first, second, sql)) < 8


def test_what_reads_little_is_one_statement() -> None:
    few = doubling(MOST_READ.bit_length() - 1)
    assert to_spark_in_steps(few, {"v": "INTEGER"}, "part") == ([], to_spark(few, {"v": "INTEGER"}))
