"""YAML is built from the parser's events; whatever they do not settle, the composer does, as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kpi.errors import ConfigError
from kpi.yaml_loader import Items, Section, _composed, _read

FILE = Path("x.yml")


def shown(value: Any) -> object:
    """All that a value says, with its lines."""
    if isinstance(value, Section):
        return value.file, value.line, value.lines, {key: shown(one) for key, one in value.items()}
    return (value.lines, [shown(one) for one in value]) if isinstance(value, Items) else (type(value), repr(value))


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb: [x, 'y', \"z\", 1.5, .5e3, 2020-01-01, yes, no, ~, null, 1_000, 0x1f, 0o7, 1:30, .inf]\n",
        "a: >\n  text\n  more\nb: |\n  x\nc:\n  - d\n  -\n  - {e: f}\non: off\n1: 2\nnull: x\n",
        *("a: &x {b: [1, 2]}\nc: *x\nd: *x", "a: &x {k: &y [1]}\nb: *y\nc:\n  - *x\n  - *y", "a: &x b\n*x : 2"),
        *("", "# c\n", "- a\n- b", "a", "---\na: 1\n...\n", "%YAML 1.1\n---\na: 1", "<<: {a: 1}\nb: 2", "=: x\na: =\n"),
        *("a: !!str 5", "a: !mine 5", "a: &x 1\nb: &x 2", "a: *y", "a: &x [*x]", "a: 1\na: 2", "a: ["),
        *("? [a]\n: b", "? *x : 1", "a: 2020-13-45", "a: 0_", "a: \t- b", "a: 1\n---\nb: 2"),
        *("a: " + "9" * 500, "x: " + "[" * 200 + "]" * 200),
    ],
)  # fmt: skip
def test_a_file_is_what_the_composer_makes_of_it(text: str) -> None:
    import yaml

    try:
        expected: object = shown(_composed(text, FILE))
    except (ConfigError, yaml.YAMLError) as error:
        expected = error
    if isinstance(expected, Exception):
        with pytest.raises(ConfigError):
            _read(text, FILE)
    else:
        assert shown(_read(text, FILE)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\n",
        "x: &x {a: 1, b: 2}\ny: {b: 3, <<: *x}\n",  # what stands there wins, before or after
        "x: &x {a: 1}\nz: &z {a: 2, c: 3}\ny: {<<: [*x, *z]}\n",  # of several the first
        "x: &x {a: {b: 1}}\ny: &y {<<: *x, c: 2}\nz: {<<: *y, a: 4}\n",
        "x: &x {a: 1}\ny: {'<<': *x, c: 2}\n",  # in quotes it is a key like others
        "x: {<<: {}, a: 1}\n",
        "- &x {a: 1}\n- <<: *x\n",
    ],
)
def test_a_merge_key_is_what_it_is_to_yaml(text: str) -> None:
    """dbt reads it so; a contract that was passed over would be none."""
    import yaml

    assert _read(text, FILE) == yaml.safe_load(text)


@pytest.mark.parametrize("text", ["a: {<<: 1}", "a: {<<: [1]}", "a: {<<: {b: 1}, <<: {c: 1}}"])
def test_a_merge_key_of_something_else_is_a_mistake(text: str) -> None:
    with pytest.raises(ConfigError, match="<<"):
        _read(text, FILE)
