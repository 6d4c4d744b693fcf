"""kpi compile --engine spark: refused with place and remedy before anything runs, or the SQL that Spark gets."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kpi.cli.main import cli
from kpi.errors import CompileError
from small_project import FILES, write

MODEL = "models/marts/waits.sql"


def compiled(root: Path, sql: str, *words: str, **files: str) -> Result:
    """What kpi compile says of the small project with one more model."""
    write(root, {MODEL: sql, **files})
    return CliRunner().invoke(cli, ["compile", *words, "--project-dir", str(root)])


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        (
            "select\n    line,\n    avg(cast(waited_seconds as decimal(9, 2))) as wait\n"
            "from {{ ref('stg_calls') }}\ngroup by line\n",
            "models/marts/waits.sql:3:5: avg of a DECIMAL is another on Spark: DuckDB yields a DOUBLE, Spark a DECIMAL"
            " cut after four more digits. Write cast(sum(…) as double) / nullif(count(…), 0). [decimal_average]",
        ),
        (
            "select upper(line) as line from {{ ref('stg_calls') }}\n",
            "models/marts/waits.sql:1:8: upper or lower is another on Spark",
        ),
        ("select list(line) as lines from {{ ref('stg_calls') }}\n", "list() is outside the portable subset."),
    ],
    ids=["by type", "by name", "not known"],
)
def test_what_would_be_another_number_is_refused_with_its_place(tmp_path: Path, sql: str, message: str) -> None:
    assert compiled(tmp_path, sql).exit_code == 0
    refused = compiled(tmp_path, sql, "--engine", "spark")
    assert isinstance(refused.exception, CompileError)
    assert message in str(refused.exception)


def test_the_engine_of_the_project_counts_without_an_option(tmp_path: Path) -> None:
    settings = FILES["dbt_project.yml"].replace("vars:\n", "vars:\n  kpi_warehouse:\n    engine: {type: spark}\n")
    sql = "select upper(line) as line from {{ ref('stg_calls') }}\n"
    assert isinstance(compiled(tmp_path, sql, **{"dbt_project.yml": settings}).exception, CompileError)
    assert compiled(tmp_path, sql, "--engine", "duckdb", **{"dbt_project.yml": settings}).exit_code == 0


def test_a_model_is_let_off_with_a_reason_that_is_needed(tmp_path: Path) -> None:
    exception = "{{ config(meta={'allow': {'letter_case': 'codes of ASCII letters'}}) }}\n"
    sql = exception + "select upper(line) as line from {{ ref('stg_calls') }}\n"
    assert compiled(tmp_path, sql, "--engine", "spark").exit_code == 0
    idle = compiled(tmp_path, sql.replace("upper(line)", "line"), "--engine", "spark")
    assert "the exception 'letter_case' is not needed" in str(idle.exception)


def test_the_sql_of_a_model_is_spark_s(tmp_path: Path) -> None:
    sql = "select isodow(arrived_on) as weekday from {{ ref('stg_calls') }}\n"
    found = compiled(tmp_path, sql, "waits", "--engine", "spark")
    assert found.output.startswith("select cast(`weekday` as bigint) as `weekday` from (\nSELECT ((DAYOFWEEK(")
