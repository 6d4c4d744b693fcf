"""Jinja that cannot reach Python: a template of a project that nobody has read runs no code but the project's own.

Jinja's own sandbox refuses names that begin with an underscore; what it then lets through (methods of paths, modules
behind modules) is still too much. Here a template sees of a value only what is listed for its kind.
"""

from __future__ import annotations

import datetime
import decimal
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

from jinja2 import Undefined
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, LoopContext
from jinja2.runtime import Macro as JinjaMacro
from jinja2.sandbox import SandboxedEnvironment
from jinja2.utils import Cycler, Joiner, Namespace

# Of a value of these types, or of one made from them, templates see what the type itself has.
_VALUES = (
    *(str, bytes, int, float, complex, decimal.Decimal, list, tuple, dict, set, frozenset, re.Pattern, re.Match),
    *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.tzinfo),
    *(LoopContext, JinjaMacro, Cycler, Joiner),
)
# Of instances of the classes in these modules they see all that is public, unless the class says what in SEEN.
_OBJECTS = (
    "kpi.base.relation",
    "kpi.parse.dbtobjects",
    "kpi.parse.fileconfig",
    "kpi.parse.context",
    "kpi.parse.macros",
)
_CLASSES = (datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone)
_MAKERS = (*_CLASSES, dict, set, Cycler, Joiner, Namespace)
_NOTHING = object()
_LONGEST_NUMBER = 20_000  # bits


class Sandbox(SandboxedEnvironment):
    """Jinja for templates of a project that is not trusted."""

    intercepted_binops = frozenset({"*", "**", "/", "//", "%"})

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.filters["round"] = _rounded(self.filters["round"])

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return what `obj.attribute` is in a template: an attribute, else an item."""
        return self._first(obj, attribute, (self._attribute, _item))

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return what `obj[argument]` is in a template: an item, else an attribute."""
        return self._first(obj, argument, (_item, self._attribute))

    def is_safe_callable(self, obj: Any) -> bool:
        """Tell whether templates may call it: of classes, only those that make plain values."""
        return not isinstance(obj, type) or obj in _MAKERS or obj.__module__ in _OBJECTS

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Calculate, but with numbers of a size that takes no time."""
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * abs(right) if operator == "**" else left.bit_length() + right.bit_length()
            if bits > _LONGEST_NUMBER:
                raise SecurityError(f"{operator} would make a number of more than {_LONGEST_NUMBER} bits")
        return super().call_binop(context, operator, left, right)

    def _first(self, obj: Any, name: Any, ways: Iterable[Callable[[Any, Any], Any]]) -> Any:
        for way in ways:
            found = way(obj, name)
            if found is not _NOTHING:
                return found
        if isinstance(name, str) and name.startswith("_"):
            raise SecurityError(f"templates may not use '{name}' of {type(obj).__name__} objects")
        return self.undefined(obj=obj, name=name)

    def _attribute(self, obj: Any, name: Any) -> Any:
        if not isinstance(name, str) or not _is_seen(obj, name):
            return _NOTHING
        found = getattr(obj, name, _NOTHING)
        return self.wrap_str_format(found) or found


def _item(obj: Any, name: Any) -> Any:
    if isinstance(obj, type):
        return _NOTHING  # list[int] is a type of Python's
    try:
        return obj[name]
    except (TypeError, LookupError, AttributeError):
        return _NOTHING


def _is_seen(obj: Any, name: str) -> bool:
    """Whether templates see the attribute of that name, when there is one."""
    if name.startswith("_"):
        return False
    if isinstance(obj, type):
        return obj in _CLASSES and any(name in vars(base) for base in obj.__mro__)
    if isinstance(obj, Undefined | Namespace | SimpleNamespace):
        return True
    seen = getattr(type(obj), "SEEN", None)
    if seen is not None:
        return name in seen
    if any(isinstance(obj, kind) and hasattr(kind, name) for kind in _VALUES):
        return True
    return isinstance(obj, datetime.tzinfo) or type(obj).__module__ in _OBJECTS


def _rounded(round_: Callable[..., Any]) -> Callable[..., Any]:
    def rounded(value: Any, precision: int = 0, method: Any = "common") -> Any:
        if abs(precision) > 400:
            raise SecurityError(f"round to {precision} decimals")
        return round_(value, precision, method)

    return rounded


def step_by_step(make: Callable[..., Iterable[Any]]) -> Callable[..., Iterator[Any]]:
    """Wrap a function of itertools so that what it yields, for ever perhaps, can be interrupted."""

    def made(*given: Any, **named: Any) -> Iterator[Any]:
        # Not `yield from`, in which Python does not look for signals.
        for value in make(*given, **named):  # noqa: UP028
            yield value

    return made


class Chain:
    """itertools.chain, with its other form `from_iterable`."""

    SEEN = frozenset({"from_iterable"})

    def __call__(self, *given: Iterable[Any]) -> Iterator[Any]:
        """Yield what is in each."""
        return step_by_step(itertools.chain)(*given)

    def from_iterable(self, given: Iterable[Iterable[Any]]) -> Iterator[Any]:
        """Yield what is in each of those that are in one."""
        return step_by_step(itertools.chain.from_iterable)(given)
