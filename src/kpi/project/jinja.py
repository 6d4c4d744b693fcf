"""Jinja with dbt's tags, in a sandbox and within limits, and the line of a template behind each part of its SQL.

A mark is put before each piece that a template yields; once rendered, the marks are taken out and noted.

Jinja's own sandbox refuses names that begin with an underscore; what it then lets through (methods of paths, modules
behind modules) is still too much. Here a template sees of a value only what is listed for its kind.
"""

from __future__ import annotations

import datetime
import decimal
import itertools
import re
import resource
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import jinja2
from jinja2 import Undefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext
from jinja2.runtime import Macro as JinjaMacro
from jinja2.sandbox import SandboxedEnvironment
from jinja2.utils import Cycler, Joiner, Namespace

from kpi.errors import CompileError, ConfigError, is_interrupt, nearest
from kpi.project.relation import Lines

SECONDS = 10
MEGABYTES = 512
CHARACTERS = 2_000_000  # of SQL that one file becomes: what reads it takes a second for each 200 000
_PAGE = resource.getpagesize()
_active = threading.Lock()
_Result = TypeVar("_Result")


class TooMuch(ConfigError):
    """Something the project says takes more time, memory or depth than it may."""


class _TimeUp(BaseException):
    """Not an Exception: what catches those to go on in another way must not go on after this."""


def bounded(what: str, work: Callable[[], _Result]) -> _Result:
    """Return what `work` returns, which may take SECONDS of computing and MEGABYTES more memory than there was.

    Raises TooMuch, which begins with `what`. Time is bounded in the main thread only: no other can be interrupted.
    Memory is bounded where the system counts it, as Linux does. Within such work it does nothing.
    """
    if threading.current_thread() is not threading.main_thread() or not _active.acquire(blocking=False):
        return work()
    stops: list[int] = []
    is_running = True

    def stop(number: int, *_: object) -> None:
        stops.append(number)
        if is_running:
            raise _TimeUp

    limits = _limit_memory()
    handler = signal.signal(signal.SIGVTALRM, stop)
    # Again each second: a callback of C code may swallow the first.
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS, 1)
    try:
        try:
            return work()
        finally:
            # A signal that comes while another limit is reported, or limits are put back, must not end that. No context
            # manager: one would be left between its `with` and its own code.
            is_running = False
    except RecursionError as error:
        message = f"{what} is nested too deeply, or calls itself without an end."
        raise TooMuch(message).with_traceback(error.__traceback__) from None
    except (_TimeUp, RuntimeError) as error:
        # DuckDB stops at a signal too, and says so in words of its own.
        if isinstance(error, RuntimeError) and not is_interrupt(error):
            raise
        if not stops:
            raise KeyboardInterrupt from error
        message = f"{what} takes more than {SECONDS} seconds of computing, so perhaps it never ends"
        raise TooMuch(f"{message}. Let it do less, or do it in SQL.").with_traceback(error.__traceback__) from None
    except MemoryError as error:
        message = f"{what} needs more than {MEGABYTES} MB of memory. Let it do less, or do it in SQL."
        raise TooMuch(message).with_traceback(error.__traceback__) from None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if limits:
            resource.setrlimit(resource.RLIMIT_DATA, limits)
        signal.signal(signal.SIGVTALRM, handler)
        _active.release()


def _limit_memory() -> tuple[int, int] | None:
    """Set the limit; return the one there was, or None when nothing was set."""
    with suppress(OSError, ValueError, IndexError):
        with open("/proc/self/statm", "rb") as file:
            allowed = int(file.read().split()[5]) * _PAGE + MEGABYTES * 2**20
        before = resource.getrlimit(resource.RLIMIT_DATA)
        if before[0] == resource.RLIM_INFINITY or before[0] > allowed:
            resource.setrlimit(resource.RLIMIT_DATA, (allowed, before[1]))
            return before
    return None


# In the rendered text: line and column of the file that what follows comes from, and = when it is not the file's own.
_MARK = re.compile("\x01([0-9]+)[.]([0-9]+)(=?)\x01")


def mark_places(tree: nodes.Template, text: str, environment: jinja2.Environment) -> None:
    """Put the marks into the tree of a template that `text` is."""
    _mark(tree.body, environment, _columns(text, tree, environment))


def _columns(text: str, tree: nodes.Template, environment: jinja2.Environment) -> dict[int, int]:
    """The 1-based column of every piece that a template yields, by the id of its node.

    Jinja's tree knows lines only; its tokens follow each other in the text, with nothing but blanks left out.
    """
    text = "\n".join(re.split("\r\n|\r|\n", text))
    columns, end = [], 0
    for _, kind, value in environment.lex(text):
        start = text.find(value, end)
        if kind in ("data", "variable_begin"):
            columns.append(start - text.rfind("\n", 0, start))
        end = start + len(value)
    pieces = [piece for output in tree.find_all(nodes.Output) for piece in output.nodes]
    # Should Jinja ever pair them in another way, a column is better unknown than wrong.
    same = len(pieces) == len(columns)
    return {id(piece): column for piece, column in zip(pieces, columns, strict=True)} if same else {}


def _mark(body: list[nodes.Node], environment: jinja2.Environment, columns: Mapping[int, int]) -> None:
    """Put a mark before each piece of text that a template yields itself, and none into texts it keeps in variables."""

    def called_at(line: int, column: int) -> nodes.TemplateData:
        mark = nodes.TemplateData(f"\x01{line}.{column}=\x01", lineno=line)
        mark.set_environment(environment)
        return mark

    for node in list(body):
        match node:
            case nodes.Output():
                marked: list[nodes.Expr] = []
                for piece in node.nodes:
                    column = columns.get(id(piece), 0)
                    if isinstance(piece, nodes.TemplateData):
                        piece.data = f"\x01{piece.lineno}.{column}\x01{piece.data}"
                    else:
                        marked.append(called_at(piece.lineno, column))
                    marked.append(piece)
                node.nodes = marked
            case nodes.CallBlock() | nodes.FilterBlock():
                body.insert(body.index(node), nodes.Output([called_at(node.lineno, 0)], lineno=node.lineno))
            case nodes.If():
                for branch in (node, *node.elif_):
                    _mark(branch.body, environment, columns)
                _mark(node.else_, environment, columns)
            case nodes.For():
                _mark(node.body, environment, columns)
                _mark(node.else_, environment, columns)
            case nodes.With():
                _mark(node.body, environment, columns)
            case _:
                pass


def traced(marked: str) -> tuple[str, Lines]:
    """Take the marks out of a rendered text, and the blanks at its ends."""
    first, *pieces = _MARK.split(marked)
    sql = first + "".join(pieces[3::4])
    lead = len(sql) - len(sql.lstrip())
    starts, lines, columns = [-lead], [1], [0]
    position = len(first) - lead
    for line, column, fixed, text in zip(*(pieces[part::4] for part in range(4)), strict=True):
        starts.append(position)
        lines.append(int(line))
        columns.append(-int(column) if fixed else int(column))
        if not fixed:
            breaks = [match.end() for match in re.finditer("\n", text)]
            starts += [position + end for end in breaks]
            lines += range(int(line) + 1, int(line) + 1 + len(breaks))
            columns += [1] * len(breaks)
        position += len(text)
    return sql.strip(), Lines(tuple(starts), tuple(lines), tuple(columns))


# Of a value of these types, or of one made from them, templates see what the type itself has.
_VALUES = (
    *(str, bytes, int, float, complex, decimal.Decimal, list, tuple, dict, set, frozenset, re.Pattern, re.Match),
    *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.tzinfo),
    *(LoopContext, JinjaMacro, Cycler, Joiner),
)
# Of instances of the classes in these modules they see all that is public, unless the class says what in SEEN.
_OBJECTS = (
    *("kpi.project.jinja", "kpi.project.relation", "kpi.project.context", "kpi.project.project"),
    "kpi.project.macros",
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
            value = way(obj, name)
            if value is not _NOTHING:
                return value
        if isinstance(name, str) and name.startswith("_"):
            raise SecurityError(f"templates may not use '{name}' of {type(obj).__name__} objects")
        return self.undefined(obj=obj, name=name)

    def _attribute(self, obj: Any, name: Any) -> Any:
        if not isinstance(name, str) or not _is_seen(obj, name):
            return _NOTHING
        value = getattr(obj, name, _NOTHING)
        return self.wrap_str_format(value) or value


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
    visible_names = getattr(type(obj), "SEEN", None)
    if visible_names is not None:
        return name in visible_names
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

    def steps(*given: Any, **named: Any) -> Iterator[Any]:
        # Not `yield from`, in which Python does not look for signals.
        for value in make(*given, **named):  # noqa: UP028
            yield value

    return steps


class Chain:
    """itertools.chain, with its other form `from_iterable`."""

    SEEN = frozenset({"from_iterable"})

    def __call__(self, *given: Iterable[Any]) -> Iterator[Any]:
        return step_by_step(itertools.chain)(*given)

    def from_iterable(self, given: Iterable[Iterable[Any]]) -> Iterator[Any]:
        return step_by_step(itertools.chain.from_iterable)(given)


# How a macro begins, and how a data test does, with its name.
HEAD = re.compile(r"\{%-?\s*(macro|test|data_test)\s+(\w+)")
_TAGS = (
    *("if", "for", "set", "macro", "call", "filter", "do", "raw", "with", "break", "continue"),
    *("test", "data_test"),
)

# What may be another thing in the next run though no file and no variable has changed.
_FLEETING = re.compile(
    r"\b(run_started_at|invocation_id|invocation_args_dict|selected_resources|should_full_refresh|run_query)\b"
    r"|\b(modules|flags) *[.\[]|\{%-? *call statement"
)
# One of these stands in every such text; looking for them costs next to nothing.
_FLEETING_WORDS = ("run_", "invocation_", "selected_", "should_", "modules", "flags", "statement")


class _Tests(Extension):
    """`{% test name(...) %}` is the macro `test_name`; a custom materialization is an error once it is used."""

    tags = {"test", "data_test", "materialization"}  # noqa: RUF012  as Jinja has it

    def parse(self, parser: Parser) -> nodes.Node:
        tag = next(parser.stream)
        node = nodes.Macro(lineno=tag.lineno)
        if tag.value == "materialization":
            name = parser.parse_assign_target(name_only=True).name
            while parser.stream.current.type != "block_end":
                next(parser.stream)
            node.name, node.args, node.defaults = f"materialization_{name}", [], []
            node.body = parser.parse_statements(("name:endmaterialization",), drop_needle=True)
            return node
        node.name = "test_" + parser.parse_assign_target(name_only=True).name
        parser.parse_signature(node)
        node.body = parser.parse_statements((f"name:end{tag.value}",), drop_needle=True)
        return node


def environment() -> Sandbox:
    """Return Jinja as dbt sets it up."""
    sandbox = Sandbox(
        undefined=jinja2.StrictUndefined,
        extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols", _Tests],
        keep_trailing_newline=True,
        autoescape=False,
    )
    # In SQL these change nothing; in YAML they say what a text becomes.
    sandbox.filters.update(dict.fromkeys(("as_bool", "as_number", "as_native", "as_text"), lambda value: value))
    return sandbox


def is_fleeting(text: str) -> bool:
    """Tell whether what a template yields may be another thing in the next run, all else being equal."""
    return any(word in text for word in _FLEETING_WORDS) and _FLEETING.search(text) is not None


def parsed(environment: jinja2.Environment, text: str, file: Path) -> nodes.Template:
    """Parse a template. Raises CompileError with file and line."""
    try:
        return bounded("the template", lambda: environment.parse(text, str(file), str(file)))
    except TooMuch as error:
        raise CompileError(file, 1, str(error)) from None
    except jinja2.TemplateSyntaxError as error:
        message = f"Jinja: {error.message}"
        unknown = re.match(r"Encountered unknown tag '(\w+)'", error.message or "")
        if unknown and unknown[1] in ("snapshot", "docs"):
            folder = "an .sql file of the folder snapshots" if unknown[1] == "snapshot" else "an .md file"
            message = f"{{% {unknown[1]} %}} is not supported here. Put it into {folder}."
        elif unknown:
            message = f"{{% {unknown[1]} %}} is not supported.{nearest(unknown[1], _TAGS)}"
        raise CompileError(file, error.lineno, message) from None


@dataclass(frozen=True, slots=True)
class Block:
    """A block such as `{% snapshot name %}…{% endsnapshot %}`; `text` has the lines it has in its file."""

    name: str
    text: str
    line: int


def blocks(text: str, tag: str) -> Iterator[Block]:
    """Find the blocks of one kind in a file, in order."""
    plain = re.sub(r"\{#.*?#\}", lambda match: re.sub(r"[^\n]", " ", match[0]), text, flags=re.DOTALL)
    pattern = rf"\{{%-?\s*{tag}\s+(\w+)\s*-?%\}}(.*?)\{{%-?\s*end{tag}\s*-?%\}}"
    for match in re.finditer(pattern, plain, flags=re.DOTALL):
        before = plain.count("\n", 0, match.start(2))
        line = plain.count("\n", 0, match.start()) + 1
        yield Block(match[1], "\n" * before + text[match.start(2) : match.end(2)], line)


def line_in(error: BaseException, file: Path) -> int:
    """Return the line of the template in which an error was raised; Jinja rewrites its tracebacks to say so."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno or 0 for frame in reversed(frames) if frame.filename == str(file)), 0)


def one_by_one(text: str) -> Iterator[str]:
    """The macros of a file each by itself, at the line it has there: few of dbt's own are ever asked for."""
    starts = [match.start() for match in HEAD.finditer(text)]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        yield "\n" * text.count("\n", 0, start) + text[start:end]
