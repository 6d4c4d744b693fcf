"""A year's topic is validated once for its rows and rules: what is remembered is what Great Expectations said."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kpi.cache import caching
from kpi.validation import expectations as expectations_module
from kpi.validation.datasets import Column, Frame
from kpi.validation.expectations import YearResult
from kpi.validation.rule import CHECKS, Check, Rule, between, none_of
from small_county import County, expectations


@pytest.fixture
def county() -> County:
    return County()


def validated(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Note each year and topic that Great Expectations is asked about."""
    asked: list[tuple[int, str]] = []
    run = expectations_module._Validator._results

    def noted(self: Any, suite: Any) -> tuple[YearResult, ...]:
        asked.append((suite.year, suite.topic.name))
        found: tuple[YearResult, ...] = run(self, suite)
        return found

    monkeypatch.setattr(expectations_module._Validator, "_results", noted)
    return asked


def test_the_same_rows_are_not_validated_again(county: County, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = validated(monkeypatch)
    with caching(tmp_path / "derived"):
        first = county.judge()
    assert len(asked) == len(set(asked)) > 10
    asked.clear()
    monkeypatch.setattr(expectations_module, "import_great_expectations", None)
    with caching(tmp_path / "derived"):
        assert county.judge() == first
    assert asked == []


def test_a_year_with_another_row_is_validated_again_and_no_other(
    county: County, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = validated(monkeypatch)
    with caching(tmp_path / "derived"):
        county.judge()
    asked.clear()
    county.figure("nps_responses", "health", 2025)["value"] = -1
    with caching(tmp_path / "derived"):
        found = county.judge()
    assert {year for year, _ in asked} == {2025}
    assert (2025, "figures") in asked
    assert "counts_not_negative" in {result.expectation for result in found if not result.success}
    assert found == county.judge()  # without a cache


def test_values_between_those_that_held_are_not_asked_about(
    county: County, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caching(tmp_path / "derived"):
        first = county.judge()
    months = [row for row in county.tables["marts.coverage"]
              if (row["feed"], row["report_year"]) == ("care_contacts", 2025)]  # fmt: skip
    months[4]["row_count"] += 3
    found = county.judge()  # without a cache
    assert found != first
    monkeypatch.setattr(expectations_module, "import_great_expectations", None)
    with caching(tmp_path / "derived"):
        assert county.judge() == found


@pytest.mark.parametrize(
    ("check", "known", "values", "holds"),
    [
        (between(0, 100), [5, 90], [10, 80], True),
        (between(0, 100), [5, 90], [5, 91], False),
        (between(0, 100), [5, 90], [5.0, 90.0], False),  # of another type it is another question
        (between(0, None), [5, 90], [6, 10**9], True),
        (between(0, None), [5, 90], [4, 90], False),
        (between(None, 9), [5, 7], [-5, 7], True),
        (between(None, 9), [5, 7], [5, 8], False),
        (CHECKS["some_above_zero"], [0, 3], [-9, 4], True),
        (CHECKS["some_above_zero"], [0, 3], [0, 2], False),
        (CHECKS["unique"], ["a", "b"], ["a", "b"], True),
        (CHECKS["unique"], ["a", "b"], ["a", "a"], False),
        (CHECKS["not_null"], ["a", "b"], ["c", "d"], True),
        (CHECKS["not_null"], ["a", "b"], ["c", None], False),
        (CHECKS["ok"], ["ok", None], ["ok", "ok"], True),
        (CHECKS["ok"], ["ok", None], ["ok", "not"], False),
        (none_of("differs"), ["a", "b"], ["b"], True),
        (none_of("differs"), ["a", "b"], ["c"], False),
    ],
)
def test_what_is_known_to_hold(check: Check, known: list[Any], values: list[Any], holds: bool) -> None:
    rule = Rule("rule", "topic", "column", check, "error", "error", "", "")
    types = {int: "BIGINT", float: "DOUBLE", str: "VARCHAR"}
    frames = [Frame({"column": Column.of_type(types[type(column[0])], column)}) for column in (known, values)]
    seen, asked = (expectations_module._evidence(rule, frame) for frame in frames)
    assert (seen.of == asked.of and asked.is_within(seen.values)) is holds


def test_a_rule_of_other_limits_is_validated_again(
    county: County, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caching(tmp_path / "derived"):
        county.judge()
    figures, *others = expectations().topics
    rules = tuple(replace(rule, severity="warn") for rule in figures.rules)
    changed = replace(expectations(), topics=(replace(figures, rules=rules), *others))
    monkeypatch.setattr("small_county.expectations", lambda: changed)
    asked = validated(monkeypatch)
    with caching(tmp_path / "derived"):
        county.judge()
    assert {topic for _, topic in asked} == {figures.name}


def test_what_is_imported_later_is_there_when_it_is_used() -> None:
    program = (
        "import sys; from kpi.validation.expectations import import_great_expectations; import_great_expectations();"
        "assert not {'scipy.stats', 'altair'} & set(sys.modules);"
        "from great_expectations.expectations.core import expect_column_kl_divergence_to_be_less_than as module;"
        "assert module.stats.entropy([1, 1]) > 0.69; from scipy import stats; assert stats.norm.cdf(0) == 0.5"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
