"""YAML with line numbers, so that a mistake in a property is reported where it stands."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from kpi.errors import ConfigError, nearest

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Section(dict[str, Any]):
    """A YAML mapping that knows its file and the 1-based line of every key."""

    def __init__(self, file: Path, line: int) -> None:
        super().__init__()
        self.file, self.line = file, line
        self.lines: dict[str, int] = {}

    def where(self, key: str | None = None) -> str:
        """Return `file:line` of a key, or of the section itself."""
        return f"{self.file}:{self.lines.get(key, self.line) if key else self.line}"

    def allow(self, keys: Iterable[str], what: str) -> None:
        """Raise ConfigError for the first key outside `keys`: a typo must never be silently ignored."""
        known = set(keys)
        for key in self:
            if key not in known:
                raise ConfigError(f"{self.where(key)}: '{key}' is not supported in {what}.{nearest(key, known)}")

    def section(self, key: str) -> Section:
        """Return the mapping under `key`; empty when there is none."""
        value = self.get(key)
        if value is None:
            return Section(self.file, self.lines.get(key, self.line))
        if not isinstance(value, Section):
            raise ConfigError(f"{self.where(key)}: '{key}' must be a mapping.")
        return value

    def sections(self, key: str) -> list[Section]:
        """Return the list of mappings under `key`; empty when there is none."""
        items = self.items_of(key)
        for item in items:
            if not isinstance(item, Section):
                raise ConfigError(f"{self.where(key)}: every item of '{key}' must be a mapping.")
        return items

    def items_of(self, key: str) -> list[Any]:
        """Return the list under `key`; empty when there is none."""
        value = self.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise ConfigError(f"{self.where(key)}: '{key}' must be a list.")
        return value

    def strings(self, key: str) -> tuple[str, ...]:
        """Return the list of texts under `key`; one text alone counts as a list of one."""
        value = self.get(key)
        if isinstance(value, str):
            return (value,)
        items = self.items_of(key)
        if not all(isinstance(item, str) for item in items):
            raise ConfigError(f"{self.where(key)}: '{key}' must be a list of texts.")
        return tuple(items)

    def text(self, key: str, default: str = "") -> str:
        """Return the text under `key`."""
        value = self.get(key, default)
        if not isinstance(value, str):
            raise ConfigError(f"{self.where(key)}: '{key}' must be a text.")
        return value

    def required(self, key: str) -> str:
        """Return the text under `key`, which must be there."""
        if not self.text(key):
            raise ConfigError(f"{self.where()}: '{key}' is missing.")
        return self.text(key)


def read_yaml(file: Path, shown: Path) -> Section:
    """Read one YAML file whose top is a mapping; `shown` is the path errors name. An empty file is empty."""
    try:
        node = yaml.compose(file.read_text(encoding="utf-8-sig"), Loader=_Loader)
    except FileNotFoundError:
        raise ConfigError(f"{shown}: no such file.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{shown}: not UTF-8 ({error.reason} at byte {error.start}).") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 0
        raise ConfigError(f"{shown}:{line}: not valid YAML: {getattr(error, 'problem', error)}.") from None
    if node is None:
        return Section(shown, 1)
    value = _value(node, shown)
    if not isinstance(value, Section):
        raise ConfigError(f"{shown}:1: the top of the file must be a mapping.")
    return value


def _value(node: yaml.Node, file: Path) -> Any:
    if isinstance(node, yaml.MappingNode):
        section = Section(file, node.start_mark.line + 1)
        for key_node, value_node in node.value:
            key = str(_scalar.construct_object(key_node))
            if key in section:
                raise ConfigError(f"{file}:{key_node.start_mark.line + 1}: '{key}' stands here twice.")
            section[key] = _value(value_node, file)
            section.lines[key] = key_node.start_mark.line + 1
        return section
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, file) for item in node.value]
    return _scalar.construct_object(node)


_scalar = yaml.constructor.SafeConstructor()
