"""Modules that take long to import, each imported when something of it is first asked for.

A command must not wait for what it does not use: a refresh that finds nothing to do imports none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING


class LazyModule:
    """Stands for a module until something of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> object:
        attribute = getattr(import_module(self._name), name)
        if not name.startswith("__"):
            setattr(self, name, attribute)  # found without this method the next time
        return attribute


if TYPE_CHECKING:
    import duckdb as duckdb  # noqa: PLC0414  others import these from here
    import yaml as yaml  # noqa: PLC0414
    from sqlglot import exp as exp  # noqa: PLC0414
else:
    duckdb = LazyModule("duckdb")
    exp = LazyModule("sqlglot.expressions")
    yaml = LazyModule("yaml")
