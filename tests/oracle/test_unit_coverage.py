"""Every staging and intermediate model has unit tests, one of them of empty input."""

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


def unit_tests_of(project: Project, layer: str) -> dict[str, list[Section]]:
    """The unit tests of each model of a layer, which may be none."""
    names = [model.name for model in project.models if layer in model.file.parts]
    return {name: [test for test in project.unit_tests if test["model"] == name] for name in names}


@pytest.mark.parametrize(("layer", "models"), [("staging", 22), ("intermediate", 33), ("expectations", 15)])
def test_every_model_has_two_unit_tests_one_of_empty_input(project: Project, layer: str, models: int) -> None:
    """Two at least, and the one named so truly gives no rows to what it names first and expects none."""
    found = unit_tests_of(project, layer)
    assert len(found) >= models
    assert {name: len(tests) for name, tests in found.items() if len(tests) < 2} == {}
    for name, tests in found.items():
        (empty,) = (test for test in tests if test["name"] == f"{name}_empty_input")
        assert empty.section("expect")["rows"] == [], empty.where()
        assert [given["rows"] for given in empty.sections("given")][:1] in ([[]], []), empty.where()


def test_every_model_has_one_yaml_file_beside_it(project: Project) -> None:
    """With the same stem; a staging model stands in the file of its feed's contract."""
    beside = {model.name: model.file.with_name(f"{model.name.removeprefix('stg_')}.yml") for model in project.models}
    described = {model.name: model.properties.file if model.properties else None for model in project.models}
    assert described == beside
    assert len(set(beside.values())) == len(beside)


def test_unit_tests_are_named_after_their_model_and_stand_beside_it(project: Project) -> None:
    """No name stands twice; each begins with its model, stands in the YAML file beside it and states its rule."""
    files = {model.name: model.file for model in project.models}
    assert [name for name, count in Counter(test["name"] for test in project.unit_tests).items() if count > 1] == []
    for test in project.unit_tests:
        assert test["name"].startswith(f"{test['model']}_"), test.where()
        model = files[test["model"]]
        assert test.file == model.with_name(f"{model.stem.removeprefix('stg_')}.yml"), test.where()
        assert test["description"].endswith("."), test.where()


def test_every_expected_row_of_a_test_has_the_same_columns_in_the_same_order(project: Project) -> None:
    """The rows expected are united by position, so another order would compare other columns."""
    for test in project.unit_tests:
        for columns in {tuple(row) for row in test.section("expect")["rows"]}:
            assert columns == tuple(test.section("expect")["rows"][0]), test.where()
