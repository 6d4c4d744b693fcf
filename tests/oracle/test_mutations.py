"""Mistakes put into this very project: each is refused at its own file, line and column."""

# ruff: noqa: E501  a table is read along its lines

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import copy_project
from kpi.engine.compile import compiled
from kpi.errors import KpiError, mistakes

STG, INT, MARTS = "models/staging/calls/", "models/intermediate/", "models/marts/"

# File, what stands there, what is written instead, and words of the message. ¦ marks the place that must be told: its
# line, and its column when one is told. A mistake that shows elsewhere names that file and the text at that place.
MUTATIONS: tuple[tuple[str, str, str, str] | tuple[str, str, str, str, str, str], ...] = (
    # Columns.
    (STG + "stg_calls.sql", "    service_line,", "    ¦servce_line,", "Did you mean 'service_line'?"),
    (INT + "social/int_decisions.sql", "where decisions.decided_on", "where ¦decisions.decide_on", "Did you mean 'decided_on'?"),
    (INT + "calls/int_calls_monthly.sql", "sum(timed_calls.wait_s", "sum(¦timed_calls.wat_s", "no column 'wat_seconds'"),
    (INT + "calls/int_calls_monthly.sql", "    timed_calls.service_line,", "    ¦service_line,", "more than one table"),
    (INT + "calls/int_calls_monthly.sql", "and timed_calls.arrived_on", "and ¦timed_call.arrived_on", "no table or alias"),
    (MARTS + "coverage.sql", "    feed,", "    feed,\n    ¦feed,", "two columns named 'feed'"),
    (MARTS + "monthly_series.sql", "month(starts_on) as report_month,", "¦month(reason_fi) as report_month,", "takes month"),
    ("tests/sql/assert_every_call_is_counted_once.sql", "sum(row_count)", "sum(¦row_cont)", "Did you mean 'row_count'?"),
    # Types.
    (INT + "calls/int_calls_monthly.sql", "timed_calls.wait_seconds <=", "¦timed_calls.arrived_on <=", "DATE cannot be compared with BIGINT"),
    (INT + "rescue/int_rescue_figures.sql", "mission_type = 'rescue' and", "report_year = ¦'rescue' and", "is no BIGINT"),
    (INT + "access/int_care_visits.sql", "visits.age_years < 23", "¦visits.service < 23", "Write the cast"),
    (MARTS + "monthly_series.sql", "        year(starts_on) as report_year,", "        ¦reason_fi as report_year,", "grouped"),
    (STG + "stg_calls.sql", "cast(arrived_at as date)", "cast(arrived_at as ¦dat)", "there is no type 'dat'"),
    (STG + "stg_calls.sql", "    year(arrived_at)", "    ¦yeer(arrived_at)", "Did you mean 'year'?"),
    # SQL.
    (STG + "stg_calls.sql", "service_line,", "service_line", "not SQL", STG + "stg_calls.sql", "    arrived_at_utc"),
    (MARTS + "coverage.sql", "    feed,", "    feed", "[bare_alias]", MARTS + "coverage.sql", "report_year,"),
    (MARTS + "coverage.sql", "\n)\n", "\n\n", "not SQL", MARTS + "coverage.sql", "select\n    feed"),
    (MARTS + "coverage.sql", "from feed_months\n", "from feed_months;\n¦delete from feed_months\n", "one SELECT"),
    # Tables.
    (STG + "stg_calls.sql", "{{ source('raw', 'calls') }}", "¦raw.calls", "write {{ source('raw', 'calls') }}"),
    (STG + "stg_calls.sql", "source('raw', 'calls')", "¦source('raw', 'cals')", "Did you mean 'raw.calls'?"),
    (MARTS + "coverage.sql", "ref('int_coverage", "ref('int_coverag", "Did you mean 'int_coverage'?",
     MARTS + "coverage.sql", "int_coverag'"),
    (MARTS + "coverage.sql", "from feed_months\n", "from ¦feed_month\n", "named outright"),
    (INT + "deliveries/int_coverage.sql", "source('raw', 'feed_months')", "ref('coverage')", "in a circle",
     MARTS + "coverage.sql", "{{ ref('int_coverage')"),
    # House rules.
    (MARTS + "coverage.sql", "select\n    feed", "select\n    ¦*, feed", "Name the columns"),
    (INT + "social/int_decisions.sql", "with decisions as", "with ¦unread as (select 1 as x),\n\ndecisions as", "'unread'"),
    (MARTS + "coverage.sql", "    row_count,", "    row_count / ¦service_count as row_count,", "nullif"),
    (MARTS + "coverage.sql", "    row_count,\n", "    ¦mode(row_count) as row_count,\n", "row_number()"),
    (MARTS + "coverage.sql", "    report_year,", "    ¦isodow(date '2025-01-01') as report_year,", "a macro"),
    (MARTS + "comparability_breaks.sql", "        service,\n        starts_on,\n        'definition' as kind,\n        reason_fi,",
     "        service,\n        starts_on,\n        ¦reason_fi,\n        'definition' as kind,", "a union goes by place"),
    (MARTS + "coverage.sql", "with feed_m", "{{ config(meta={'allow': {'mode': 'no use'}}) }}\n¦with feed_m", "not needed"),
    # Jinja.
    (MARTS + "coverage.sql", "{{ ref", "{{ ¦reff", "there is no macro or variable 'reff'"),
    (INT + "rescue/int_rescue_figures.sql", "{{ figures_with_basis() }}", "{{ ¦figure_with_basis() }}", "figures_with_basis"),
    (INT + "rescue/int_rescue_figures.sql", "materialized='table'", "materialised='table'", "Did you mean 'materialized'?",
     INT + "rescue/int_rescue_figures.sql", "materialised"),
    ("macros/rounding.sql", "var('about_tolerance_percent')", "var('about_tolerance')", "has no value",
     MARTS + "reconciliation.sql", "{{ is_about("),
    ("macros/figures.sql", "{%- endmacro %}", "{%- endmacr %}", "is not supported", "macros/figures.sql", "{%- endmacr "),
    # YAML.
    (STG + "calls.yml", "        data_tests: [not_null, unique]", "        ¦data_test: [not_null, unique]", "'data_test'"),
    (STG + "calls.yml", "data_tests: [not_null, unique]", "data_tests: [¦not_nul, unique]", "Did you mean 'not_null'?"),
    (MARTS + "coverage.yml", "  - name: coverage\n", "  - name: ¦coverag\n", "Did you mean 'coverage'?"),
    (MARTS + "indicators.yml", "      - name: numerator\n", "      - name: ¦numerater\n", "Did you mean 'numerator'?"),
    (STG + "calls.yml", "    schema: raw\n", "     schema: raw\n", "YAML", STG + "calls.yml", "schema: raw"),
    (STG + "calls.yml", "{required: true, aliases: [puhelun", "{¦requird: true, aliases: [puhelun", "requird"),
    ("seeds/properties.yml", "        report_year: bigint\n", "        ¦report_yer: bigint\n", "Did you mean 'report_year'?"),
    ("dbt_project.yml", "+materialized: view", "+¦materialised: view", "materialised"),
    # Seeds.
    ("seeds/service_starts.csv", ",social_advice,2023-02-01", "¦,social_advice,2023-02-31", "started_on"),
    ("seeds/service_starts.csv", ",social_advice,2023-02-01", "¦,social_advice,x,2023-02-01", "columns"),
)  # fmt: skip


Mutation = tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """The file that a mistake shows in, with ¦ at its place, and what is said of the project."""

    file: str
    wrong: str
    error: KpiError | None

    def fault(self, mutation: Mutation) -> str:
        """Return what is wrong with the message; nothing when it tells the mistake at its line, and column if any."""
        words, said = mutation[3], str(self.error)
        before = self.wrong[: self.wrong.index("¦")]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        found = [mistake for mistake in mistakes(self.error) if words in str(mistake)] if self.error else []
        if [(mistake.file, mistake.line) for mistake in found][:1] != [(self.file, line)]:
            return f"not told at {self.file}:{line}: {said}"
        exact = re.search(rf"(?m)^{re.escape(self.file)}:{line}:(\d+): .*{re.escape(words)}", said)
        is_told = not exact or len(mutation) > 4 or int(exact[1]) == column
        return "" if is_told else f"not told at column {column}: {said}"


def answer_all(root: Path, together: Sequence[Mutation]) -> dict[Mutation, Answer]:
    """Make mistakes in different files of the project, compile it, and put the files right again."""
    right = {root / file: (root / file).read_text(encoding="utf-8") for file, *_ in together}
    wrong = {}
    error: KpiError | None = None
    for mutation in together:
        file, old, new = mutation[:3]
        assert old in right[root / file]
        wrong[mutation] = file, right[root / file].replace(old, new, 1)
        (root / file).write_text(wrong[mutation][1].replace("¦", ""), encoding="utf-8")
    try:
        compiled(root)
    except KpiError as refused:
        error = refused
    for mutation in together:
        if len(mutation) > 4:
            file, place = mutation[4:]
            wrong[mutation] = file, (root / file).read_text(encoding="utf-8").replace(place, "¦" + place, 1)
    for path, text in right.items():
        path.write_text(text, encoding="utf-8")
    return {mutation: Answer(*wrong[mutation], error) for mutation in together}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[Mutation, Answer]:
    """What is said of each mistake.

    Compiling takes a second, so mistakes in files of their own are made together. One that is not told then, for
    another came before it, is made again with fewer, and in the end alone.
    """
    root = copy_project(tmp_path_factory.mktemp("mutations"))
    compiled(root)
    given: dict[Mutation, Answer] = {}
    left: list[Mutation] = list(MUTATIONS)
    is_alone = False
    while left:
        together: list[Mutation] = []
        for mutation in left[:1] if is_alone else left:
            if not {mutation[0], *mutation[4:5]} & {file for other in together for file in (other[0], *other[4:5])}:
                together.append(mutation)
        answered = answer_all(root, together)
        settled = {one for one, answer in answered.items() if len(together) == 1 or not answer.fault(one)}
        given |= {one: answered[one] for one in settled}
        left = [mutation for mutation in left if mutation not in settled]
        is_alone = not settled
    return given


def test_there_are_forty() -> None:
    assert len(MUTATIONS) >= 40


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: f"{Path(mutation[0]).stem}: {mutation[3]}"[:60])
def test_a_mistake_is_refused_at_its_place(answers: dict[Mutation, Answer], mutation: Mutation) -> None:
    assert answers[mutation].fault(mutation) == ""
