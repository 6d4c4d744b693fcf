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
