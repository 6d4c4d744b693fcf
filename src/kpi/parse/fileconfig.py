"""The config of a template: what `config(...)` in it sets and reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kpi.base.errors import nearest
from kpi.base.relation import Rendered
from kpi.parse.macros import Wrong
from kpi.parse.properties import config_problem


class Config:
    """The config of a template: called it sets, and `get` reads what is set, here or in YAML."""

    def __init__(self, rendered: Rendered, settings: Sequence[str], base: Mapping[str, Any], is_strict: bool) -> None:
        self._rendered, self._settings, self._base, self._is_strict = rendered, settings, base, is_strict

    def __call__(self, *given: Mapping[str, Any], **named: Any) -> str:
        for key, value in {**(given[0] if given else {}), **named}.items():
            name = key.replace("-", "_")
            if name not in self._settings:
                told = f"config({key}=...) is not supported here.{nearest(name, self._settings)}"
                if self._is_strict or not self._settings:
                    raise Wrong(told)
                self._rendered.notes.append(f" {told} Nothing is done with it.")
            problem = config_problem(name, value)
            if problem:
                raise Wrong(problem)
            self._rendered.config[name] = value
        return ""

    def get(self, name: str, default: Any = None, validator: Any = None) -> Any:
        """Return a setting, or `default` when it has no value."""
        value = {**self._base, **self._rendered.config}.get(name.replace("-", "_"))
        return default if value is None else value

    def require(self, name: str, validator: Any = None) -> Any:
        """Return a setting. Raises Wrong when it has no value."""
        value = self.get(name)
        if value is None:
            raise Wrong(f"config.require('{name}'): this has no setting '{name}'.")
        return value

    def meta_get(self, name: str, default: Any = None) -> Any:
        """Return a value of the setting `meta`."""
        return (self.get("meta") or {}).get(name, default)

    def persist_relation_docs(self) -> bool:
        """Descriptions are not written into the database."""
        return False

    persist_column_docs = persist_relation_docs
