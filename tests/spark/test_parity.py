"""Models, data tests and unit tests have the same rows on Spark, in every column, without tolerance.

On Sail, which speaks Spark Connect and needs no Java, and on Spark itself: odd values, what the rules of translation
are about, and on Sail every eighth unit test. That all models have the same rows and all data tests find the same on
Sail is what a refresh by it shows (`oracle/test_spark_builds.py`); each by itself, and all unit tests, with
KPI_ALL_SEEDS=1 or `make parity`, which takes some minutes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from kpi.engine.compile import Compiled, compiled
from kpi.engine.spark_refusals import check_for_spark
from sampled import sampled
from spark.parity import Answers, Asker

# What Sail 0.7 answers otherwise, or does not take; Spark does.
OTHER_ON_SAIL = {
    "what is not there of those around it": "a SELECT within EXISTS finds no column of the outermost",
    "a double beside a decimal": "they are compared as decimals of 15 places, and 1e15 has no room",
}
# Models whose SQL the rules rewrite most: asked of Spark itself in every run.
REWRITTEN = ("int_calendar", "int_callbacks_monthly", "int_calls_figures", "stg_callbacks", "public_indicators")


@pytest.fixture(scope="module")
def project(small_demo: Path) -> Compiled:
    """The project, compiled."""
    return compiled(small_demo)


@pytest.fixture(scope="module")
def on_sail(small_demo: Path, project: Compiled, tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """What is asked of Sail, and its answers."""
    asker = Asker(tmp_path_factory.mktemp("sail") / "parity")
    asker.read_build(small_demo, project)
    questions = [*asker.odd_values(), *asker.models(sampled(REWRITTEN, ())), *asker.unit_tests(sampled(8, 1))]
    return asker.ask("sail", [*questions, *sampled((), (*asker.scans(), *asker.data_tests()))])


def test_sail_has_the_same_rows_or_refuses_and_what_it_has_not_is_known(on_sail: Answers) -> None:
    print(on_sail.table)
    assert on_sail.of_names({*on_sail.other, *on_sail.refused}) == sorted(OTHER_ON_SAIL), on_sail.message


def test_nothing_of_the_project_is_refused(project: Compiled) -> None:
    check_for_spark(project.graph, project.columns)


def test_spark_has_the_same_rows_where_the_rules_rewrite_and_others_where_it_is_refused(
    small_demo: Path, project: Compiled, tmp_path: Path
) -> None:
    asker = Asker(tmp_path / "parity")
    asker.read_build(small_demo, project)
    same, others = [*asker.odd_values(), *asker.models(REWRITTEN)], [*asker.refused()]
    answers = asker.ask("local[2]", [*same, *others])
    print(answers.table)
    wrong = {*answers.other, *answers.refused}
    assert answers.of_names(wrong & {one.id for one in same}) == [], answers.message
    assert answers.of_names(wrong) == sorted(one.name for one in others)


def test_what_an_engine_does_not_answer_in_time_is_refused(tmp_path: Path) -> None:
    asker = Asker(tmp_path / "parity")
    question = asker.question("odd values", "one", "select 1 as one")
    answers = asker.ask("sail", [question], minutes=0)
    assert answers.refused == {question.id: "no answer within 0 minutes"}
