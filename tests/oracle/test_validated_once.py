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
from kpi.validation.expectations import YearResult
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
