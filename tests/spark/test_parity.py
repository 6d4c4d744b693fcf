"""Models, data tests and unit tests have the same rows on Spark, in every column, without tolerance.

All of them on Sail, which speaks Spark Connect and needs no Java; on Spark itself what the rules of translation are
about, and everything with `make parity`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from kpi.engine.compile import Compiled, compiled
from kpi.engine.spark_refusals import check_for_spark
from spark.parity import KINDS, Answers, Asker

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
    """All that there is to ask, answered by Sail."""
    asker = Asker(tmp_path_factory.mktemp("sail") / "parity")
    asker.read_build(small_demo, project)
    questions = [question for kind in KINDS for question in getattr(asker, kind)()]
    return asker.ask("sail", questions)


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
