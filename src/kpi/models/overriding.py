"""What a unit test puts in the place of variables, of the environment's variables and of macros."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kpi.models.template import Templates


@contextmanager
def overridden(
    templates: Templates, variables: Mapping[str, Any], env_vars: Mapping[str, Any], macros: Mapping[str, Any]
) -> Iterator[None]:
    """Render with other values of variables and of the environment's, and with macros that yield a given value."""
    values = templates.values
    kept = values.overrides, values.given
    values.overrides, values.given = variables, dict(env_vars)
    templates.macros.overrides = {name: _always(value) for name, value in macros.items()}
    try:
        yield
    finally:
        values.overrides, values.given = kept
        templates.macros.overrides = {}


def _always(value: Any) -> Callable[..., Any]:
    return lambda *given, **named: value
