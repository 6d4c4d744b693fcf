"""Every mart has unit tests: one of no rows, at least one of some."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from kpi.project.project import Project, load_project
from kpi.yaml_loader import Section


@pytest.fixture(scope="module")
def project() -> Project:
    """The project as written."""
    return load_project(Path(__file__).resolve().parents[2])


@pytest.fixture(scope="module")
def tests_of_marts(project: Project) -> dict[str, list[Section]]:
    """The unit tests of each mart, which may be none."""
    marts = [model.name for model in project.models if "marts" in model.file.parts]
    return {mart: [test for test in project.unit_tests if test["model"] == mart] for mart in marts}


def is_of_no_rows(test: Section) -> bool:
    """Tell whether a unit test gives an input without rows and expects no rows."""
    return not test.section("expect")["rows"] and any(not given["rows"] for given in test.sections("given"))


def test_every_mart_has_unit_tests(tests_of_marts: dict[str, list[Section]]) -> None:
    """At least one of empty input and one that expects rows."""
    assert len(tests_of_marts) >= 13
    kinds = {mart: {is_of_no_rows(test) for test in tests} for mart, tests in tests_of_marts.items()}
    assert [mart for mart, found in kinds.items() if found != {True, False}] == []


def test_unit_tests_are_named_and_described(project: Project, tests_of_marts: dict[str, list[Section]]) -> None:
    """No name stands twice, a mart's begins with the mart, and each says the rule it stands for in a sentence."""
    names = Counter(test["name"] for test in project.unit_tests)
    assert [name for name, count in names.items() if count > 1] == []
    for mart, tests in tests_of_marts.items():
        for test in tests:
            assert test["name"].startswith(f"{mart}_"), test.where()
            assert test["description"].endswith("."), test.where()
            assert test.file.stem == mart, test.where()
