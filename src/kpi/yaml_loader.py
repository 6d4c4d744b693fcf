"""YAML with line numbers, so that a mistake in a property is reported where it stands."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from kpi.cache import remembered
from kpi.errors import ConfigError, Place, nearest
from kpi.lazy import yaml

# More than any project has; a file of few lines can ask for as much as it likes by aliases.
MOST_BYTES = 4_000_000
MOST_VALUES = 100_000
DEEPEST = 100


class Items(list[Any]):
    """A YAML list that knows the 1-based line of every item."""

    def __init__(self, items: Iterable[Any] = (), lines: Iterable[int] = ()) -> None:
        super().__init__(items)
        self.lines = tuple(lines)


class Section(dict[str, Any]):
    """A YAML mapping that knows its file and the 1-based line of every key."""

    def __init__(self, file: Path, line: int) -> None:
        super().__init__()
        self.file, self.line = file, line
        self.lines: dict[str, int] = {}

    def where(self, key: str | None = None) -> Place:
        """Return file and line of a key, or of the section itself."""
        return Place(str(self.file), self.lines.get(key, self.line) if key else self.line)

    def only(self, keys: Collection[str]) -> Section:
        """Return a section with those of the keys that are here."""
        part = Section(self.file, self.line)
        part.update({key: value for key, value in self.items() if key in keys})
        part.lines.update({key: self.lines[key] for key in part})
        return part

    def merged(self, other: Section) -> Section:
        """Return a section with the keys of both, in the place of `other`, which wins."""
        both = Section(other.file, other.line)
        both.update({**self, **other})
        both.lines.update({**self.lines, **other.lines})
        return both

    def allow(self, keys: Iterable[str], what: str, emit: Callable[[ConfigError], None] | None = None) -> None:
        """Raise ConfigError for the first key outside `keys`, or `emit` each: no typo may be ignored in silence."""
        allowed = set(keys)
        for key in self:
            if key in allowed:
                continue
            error = ConfigError(f"'{key}' is not supported in {what}.{nearest(key, allowed)}", self.where(key))
            if emit is None:
                raise error
            emit(error)

    def section(self, key: str) -> Section:
        """Return the mapping under `key`; empty when there is none."""
        value = self.get(key)
        if value is None:
            return Section(self.file, self.lines.get(key, self.line))
        if not isinstance(value, Section):
            raise ConfigError(f"'{key}' must be a mapping.", self.where(key))
        return value

    def sections(self, key: str) -> list[Section]:
        """Return the list of mappings under `key`; empty when there is none."""
        items = self.items_of(key)
        for item, line in zip(items, items.lines, strict=True):
            if not isinstance(item, Section):
                raise ConfigError(f"every item of '{key}' must be a mapping.", Place(str(self.file), line))
        return items

    def items_of(self, key: str) -> Items:
        """Return the list under `key`; empty when there is none."""
        value = self.get(key)
        if value is None:
            return Items()
        if not isinstance(value, Items):
            raise ConfigError(f"'{key}' must be a list.", self.where(key))
        return value

    def strings(self, key: str) -> tuple[str, ...]:
        """Return the list of texts under `key`; one text alone counts as a list of one."""
        value = self.get(key)
        if isinstance(value, str):
            return (value,)
        items = self.items_of(key)
        if not all(isinstance(item, str) for item in items):
            raise ConfigError(f"'{key}' must be a list of texts.", self.where(key))
        return tuple(items)

    def text(self, key: str, default: str = "") -> str:
        """Return the text under `key`."""
        value = self.get(key, default)
        if not isinstance(value, str):
            raise ConfigError(f"'{key}' must be a text.", self.where(key))
        return value

    def required(self, key: str) -> str:
        """Return the text under `key`, which must be there."""
        if not self.text(key):
            raise ConfigError(f"'{key}' is missing.", self.where())
        return self.text(key)


def read_yaml(file: Path, shown: Path) -> Section:
    """Read one YAML file whose top is a mapping; `shown` is the path errors name. An empty file is empty."""
    try:
        if (size := file.stat().st_size) > MOST_BYTES:
            raise ConfigError(f"{shown}: {size} bytes, and a YAML file may have {MOST_BYTES}. Split it.")
        text = file.read_text(encoding="utf-8-sig")
        value = remembered(lambda: _read(text, shown), "yaml", str(shown), text)
    except FileNotFoundError:
        raise ConfigError(f"{shown}: no such file.") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"not UTF-8 ({error.reason} at byte {error.start}).", Place(str(shown), line)) from None
    if not isinstance(value, Section):
        raise ConfigError("the top of the file must be a mapping.", Place(str(shown), 1))
    return value


def _read(text: str, shown: Path) -> Any:
    try:
        return _Plain(text, shown).document()
    except (_NotPlainError, yaml.YAMLError, ValueError):
        pass
    try:
        return _composed(text, shown)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        message = str(getattr(error, "problem", None) or error).partition("\n")[0][:300]
        raise ConfigError(f"not valid YAML: {message}.", Place(str(shown), line)) from None


@cache
def _loader() -> Any:
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def _constructor() -> Any:
    return yaml.constructor.SafeConstructor()


class _NotPlainError(Exception):
    """A file has more than mappings, lists and values in one document, or is wrong; YAML's composer says what."""


class _Plain:
    """A file built from the events of YAML's C parser in one pass: composing nodes first takes three times as long.

    It knows no tags, and raises _NotPlainError for whatever `_composed` has more to say of.
    """

    def __init__(self, text: str, file: Path) -> None:
        self._loader = _loader()(text)
        self._next, self._file, self._count = self._loader.get_event, file, 0
        self._anchored: dict[str, tuple[Any, int, int]] = {}  # each value, how many there are in it, and its line
        # What a value may begin with that is no text.
        self._signs = frozenset(self._loader.yaml_implicit_resolvers)
        self._alias, self._text, self._node = yaml.AliasEvent, yaml.ScalarEvent, yaml.ScalarNode
        self._map, self._end_of_map, self._end_of_list = (
            yaml.MappingStartEvent,
            yaml.MappingEndEvent,
            yaml.SequenceEndEvent,
        )

    def document(self) -> Any:
        """Return what the file is. Raises _NotPlainError and what YAML raises."""
        self._next()
        if not isinstance(self._next(), yaml.DocumentStartEvent):
            return Section(self._file, 1)
        value = self._value(self._next(), 0)
        if not (isinstance(self._next(), yaml.DocumentEndEvent) and isinstance(self._next(), yaml.StreamEndEvent)):
            raise _NotPlainError
        return value

    def _value(self, event: Any, depth: int) -> Any:
        self._count += 1
        if self._count > MOST_VALUES or depth > DEEPEST:
            raise _NotPlainError
        kind, anchor, before = type(event), event.anchor, self._count
        if kind is self._alias:
            if anchor not in self._anchored:
                raise _NotPlainError
            value, count, _ = self._anchored[anchor]
            self._count += count
            if self._count > MOST_VALUES:
                raise _NotPlainError
            return _copied(value)
        if event.tag is not None:
            raise _NotPlainError
        if kind is self._text:
            value = self._scalar(event)
        else:
            value = self._mapping(event, depth + 1) if kind is self._map else self._items(depth + 1)
        if anchor is not None:
            if anchor in self._anchored:
                raise _NotPlainError
            self._anchored[anchor] = value, self._count - before, event.start_mark.line + 1
        return value

    def _mapping(self, start: Any, depth: int) -> Section:
        section = Section(self._file, start.start_mark.line + 1)
        lines = section.lines
        while type(event := self._next()) is self._text:
            key: Any = event
            self._count += 1
            # The text as it stands: YAML would read a key such as `on` as a truth value.
            name = key.value
            if key.anchor is not None or key.tag is not None or name in section or name == _MERGE:
                raise _NotPlainError
            section[name] = self._value(self._next(), depth)
            lines[name] = key.start_mark.line + 1
        if type(event) is not self._end_of_map:
            raise _NotPlainError
        return section

    def _items(self, depth: int) -> Items:
        values, lines = [], []
        while type(event := self._next()) is not self._end_of_list:
            values.append(self._value(event, depth))
            is_alias = type(event) is self._alias
            lines.append(self._anchored[event.anchor][2] if is_alias else event.start_mark.line + 1)
        return Items(values, lines)

    def _scalar(self, event: Any) -> Any:
        value = event.value
        if not event.implicit[0] or (value and value[0] not in self._signs):
            return value
        tag = self._loader.resolve(self._node, value, event.implicit)
        if tag == _TEXT:
            return value
        if tag in _NUMBERS and len(value) > 400:
            raise _NotPlainError
        try:
            return _constructor().construct_object(self._node(tag, value))
        finally:
            _constructor().constructed_objects.clear()


def _copied(value: Any) -> Any:
    """The value of an alias, apart from that of its anchor: each may be filled in later."""
    if isinstance(value, Section):
        section = value.only(value)
        section.update((key, _copied(one)) for key, one in value.items())
        return section
    return Items(map(_copied, value), value.lines) if isinstance(value, Items) else value


def _composed(text: str, shown: Path) -> Any:
    _refuse_too_much(text, shown)
    node = yaml.compose(text, Loader=_loader())
    try:
        return Section(shown, 1) if node is None else _value(node, shown, [0])
    finally:
        _constructor().constructed_objects.clear()


def _refuse_too_much(text: str, file: Path) -> None:
    """Raise ConfigError for more values, or deeper ones, than a file of a project has; YAML is read event by event."""
    depth = values = 0
    for event in yaml.parse(text, Loader=_loader()):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        values += isinstance(event, yaml.NodeEvent)
        if depth > DEEPEST or values > MOST_VALUES:
            what = f"is nested more than {DEEPEST} deep" if depth > DEEPEST else f"has more than {MOST_VALUES} values"
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise ConfigError(f"the file {what}. Split it.", Place(str(file), line))


def _value(node: yaml.Node, file: Path, made: list[int], around: tuple[int, ...] = ()) -> Any:
    """The value of a node; `made` counts them all, those of an alias each time, `around` are those it is within."""
    line = node.start_mark.line + 1
    made[0] += 1
    if id(node) in around:
        raise ConfigError("what is anchored here holds an alias of itself.", Place(str(file), line))
    if made[0] > MOST_VALUES:
        raise ConfigError(f"with its aliases the file has more than {MOST_VALUES} values.", Place(str(file), line))
    if not isinstance(node, yaml.ScalarNode):
        around = (*around, id(node))
        if node.tag not in _COLLECTIONS:
            raise ConfigError(f"the tag '{node.tag[:100]}' is not supported.", Place(str(file), line))
    if isinstance(node, yaml.MappingNode):
        section, merged = Section(file, line), Section(file, line)
        for key_node, value_node in node.value:
            key_line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError("a key must be a plain text.", Place(str(file), key_line))
            # The text as it stands: YAML would read a key such as `on` as a truth value.
            key = key_node.value
            if key in section or (key == _MERGE and merged):
                raise ConfigError(f"'{key}' stands here twice.", Place(str(file), key_line))
            value = _value(value_node, file, made, around)
            if key == _MERGE and key_node.tag == _MERGE_TAG:
                merged = _merged(value, Place(str(file), key_line))
                continue
            section[key] = value
            section.lines[key] = key_line
        return merged.merged(section) if merged else section
    if isinstance(node, yaml.SequenceNode):
        lines = [item.start_mark.line + 1 for item in node.value]
        return Items([_value(item, file, made, around) for item in node.value], lines)
    if node.tag in _NUMBERS and len(node.value) > 400:
        raise ConfigError(f"a number of {len(node.value)} digits.", Place(str(file), line))
    try:
        return _constructor().construct_object(node)
    except ValueError as error:
        raise ConfigError(f"'{node.value[:100]}' is not a value: {error}.", Place(str(file), line)) from None


def _merged(value: Any, where: Place) -> Section:
    """What `<<` puts into a mapping: the keys of one mapping, or of several, the first of which wins."""
    sections = value if isinstance(value, Items) else [value]
    if not all(isinstance(one, Section) for one in sections):
        raise ConfigError("'<<' takes a mapping, or a list of them.", where)
    found: Section = sections[-1] if sections else Section(Path(), 1)
    for one in reversed(sections[:-1]):
        found = found.merged(one)
    return found


_MERGE, _MERGE_TAG = "<<", "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
