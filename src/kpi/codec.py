"""Dataclasses to JSON and back: records whole and strictly, lines of a log one by one and leniently.

A field is of a plain type, a date, a Literal, a union with None, a tuple, a Mapping of texts, or a dataclass of such.
Imports nothing heavy.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import date
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

_Decode = Callable[[object], Any]
_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


class Malformed(ValueError):
    """A value that is not of the type it is read as. The text is its place and what is wrong with it."""

    def __init__(self, message: str, *place: str) -> None:
        self.message, self.place = message, place
        super().__init__(f"{'.'.join(place)}: {message}" if place else message)

    def below(self, place: str) -> Malformed:
        """The same, seen from what holds the value."""
        return Malformed(self.message, place, *self.place)


def to_plain(value: object) -> object:
    """Return a dataclass as what JSON knows: all its fields by name, dates as ISO 8601."""
    kind: Any = type(value)
    if kind in _AS_IT_IS:
        return value
    if names := _names_of(kind):
        return {name: to_plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(name): to_plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(one) for one in value]
    return str(value) if isinstance(value, date) else value


_AS_IT_IS = (str, int, float, bool, type(None))


@cache
def _names_of(kind: type) -> tuple[str, ...]:
    """The names of a dataclass's fields; empty of any other type."""
    return tuple(one.name for one in fields(kind)) if is_dataclass(kind) else ()


def from_plain(kind: Any, value: object) -> Any:
    """Return what `to_plain` made of a value of this type. Raises Malformed for what it did not."""
    return _decoder(kind)(value)


Line = TypeVar("Line")


def to_line(value: object) -> str:
    """Return a dataclass as one line of a file of JSON lines, without the line end."""
    return json.dumps(to_plain(value), ensure_ascii=False)


def from_line(kind: type[Line], line: str | bytes) -> Line | None:
    """Read a line of such a file; None when it is none of this type, as one that a crash cut short.

    The file outlives the kpi that wrote it: a field that is not known is left out, and one that is not there, or is
    not of its type, has its default.
    """
    try:
        content = json.loads(line)  # bytes that are no UTF-8 are a ValueError too
        return kind(**_fields_of(kind, content)) if isinstance(content, dict) else None
    except (ValueError, TypeError, RecursionError):  # a field without a default that is not there is a TypeError
        return None


def _fields_of(kind: Any, content: Mapping[str, object]) -> dict[str, Any]:
    values = {}
    for name, decode in _field_decoders(kind).items():
        if name in content:
            with suppress(Malformed):
                values[name] = decode(content[name])
    return values


@cache
def _field_decoders(kind: Any) -> dict[str, _Decode]:
    hints = get_type_hints(kind)
    return {one.name: _decoder(hints[one.name]) for one in fields(kind)}


@cache
def _decoder(kind: Any) -> _Decode:
    """Return what reads values of a type: a plain one, a date, a Literal, a union with None, tuples, Mappings, ours."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        inner = _decoder(next(one for one in arguments if one is not type(None)))
        return lambda value: None if value is None else inner(value)
    if origin is Literal:
        return lambda value: value if value in arguments and isinstance(value, str) else _fail(value, arguments)
    if origin is tuple:
        return _tuple_decoder(arguments)
    if origin is not None:
        return _mapping_decoder(_decoder(arguments[1]))
    if is_dataclass(kind):
        return _record_decoder(kind)
    return _date if kind is date else _plain_decoder(kind)


def _plain_decoder(kind: type) -> _Decode:
    allowed = (int, float) if kind is float else (kind,)

    def decode(value: object) -> object:
        if type(value) in allowed:
            return value
        raise Malformed(f"{_NAMES[kind]} is expected, not {_shown(value)}")

    return decode


def _date(value: object) -> date:
    try:
        return date.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise Malformed(f"a date is expected, not {_shown(value)}") from None


def _tuple_decoder(arguments: tuple[Any, ...]) -> _Decode:
    each, count = _decoder(arguments[0]), None if arguments[1] is Ellipsis else len(arguments)

    def decode(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list) or (count is not None and len(value) != count):
            raise Malformed(f"a list{f' of {count}' if count else ''} is expected, not {_shown(value)}")
        try:
            return tuple([each(one) for one in value])
        except Malformed:  # told with its place, which costs more than reading
            return tuple(_at(str(number), each, one) for number, one in enumerate(value))

    return decode


def _mapping_decoder(each: _Decode) -> _Decode:
    def decode(value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Malformed(f"an object is expected, not {_shown(value)}")
        try:
            return {name: each(one) for name, one in value.items()}
        except Malformed:
            return {name: _at(name, each, one) for name, one in value.items()}

    return decode


def _record_decoder(kind: Any) -> _Decode:
    decoders = _field_decoders(kind)

    def decode(value: object) -> Any:
        if not isinstance(value, dict):
            raise Malformed(f"an object is expected, not {_shown(value)}")
        if value.keys() != decoders.keys():
            strange = [f"'{name}' is missing" for name in decoders if name not in value]
            raise Malformed((strange or [f"'{name}' is not known" for name in value if name not in decoders])[0])
        try:
            return kind(*[one(value[name]) for name, one in decoders.items()])
        except Malformed:
            return kind(**{name: _at(name, one, value[name]) for name, one in decoders.items()})

    return decode


def _at(place: str, decode: _Decode, value: object) -> Any:
    try:
        return decode(value)
    except Malformed as error:
        raise error.below(place) from None


def _fail(value: object, allowed: tuple[Any, ...]) -> Any:
    raise Malformed(f"one of {', '.join(map(repr, allowed))} is expected, not {_shown(value)}")


def _shown(value: object) -> str:
    """A value by its kind: what stands in a damaged record may be a row's, and is quoted nowhere."""
    names = {
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), "null")
