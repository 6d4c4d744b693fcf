"""Jinja files with dbt's tags, parsed."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from kpi.base.errors import CompileError, nearest
from kpi.base.limits import TooMuch, bounded
from kpi.parse.sandbox import Sandbox

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


class _Tests(Extension):
    """`{% test name(...) %}` is the macro `test_name`; a custom materialization is kept to be told of when used."""

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
    made = Sandbox(
        undefined=jinja2.StrictUndefined,
        extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols", _Tests],
        keep_trailing_newline=True,
        autoescape=False,
    )
    # In SQL these change nothing; in YAML they say what a text becomes.
    made.filters.update(dict.fromkeys(("as_bool", "as_number", "as_native", "as_text"), lambda value: value))
    return made


def is_fleeting(text: str) -> bool:
    """Tell whether what a template yields may be another thing in the next run, all else being equal."""
    return _FLEETING.search(text) is not None


def parsed(environment: jinja2.Environment, text: str, file: Path) -> nodes.Template:
    """Parse a template. Raises CompileError with file and line."""
    try:
        with bounded("the template"):
            return environment.parse(text, str(file), str(file))
    except TooMuch as error:
        raise CompileError(file, 1, str(error)) from None
    except jinja2.TemplateSyntaxError as error:
        told = f"Jinja: {error.message}"
        unknown = re.match(r"Encountered unknown tag '(\w+)'", error.message or "")
        if unknown and unknown[1] in ("snapshot", "docs"):
            folder = "an .sql file of the folder snapshots" if unknown[1] == "snapshot" else "an .md file"
            told = f"{{% {unknown[1]} %}} is not supported here. Put it into {folder}."
        elif unknown:
            told = f"{{% {unknown[1]} %}} is not supported.{nearest(unknown[1], _TAGS)}"
        raise CompileError(file, error.lineno, told) from None


@dataclass(frozen=True, slots=True)
class Block:
    """A block such as `{% snapshot name %}…{% endsnapshot %}`; `text` has the lines it has in its file."""

    name: str
    text: str
    line: int


def blocks(text: str, tag: str) -> Iterator[Block]:
    """Find the blocks of one kind in a file, in order."""
    plain = re.sub(r"\{#.*?#\}", lambda found: re.sub(r"[^\n]", " ", found[0]), text, flags=re.DOTALL)
    pattern = rf"\{{%-?\s*{tag}\s+(\w+)\s*-?%\}}(.*?)\{{%-?\s*end{tag}\s*-?%\}}"
    for found in re.finditer(pattern, plain, flags=re.DOTALL):
        before = plain.count("\n", 0, found.start(2))
        line = plain.count("\n", 0, found.start()) + 1
        yield Block(found[1], "\n" * before + text[found.start(2) : found.end(2)], line)


def line_in(error: BaseException, file: Path) -> int:
    """Return the line of the template in which an error was raised; Jinja rewrites its tracebacks to say so."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno or 0 for frame in reversed(frames) if frame.filename == str(file)), 0)


def one_by_one(text: str) -> Iterator[str]:
    """The macros of a file each by itself, at the line it has there: few of dbt's own are ever asked for."""
    starts = [found.start() for found in HEAD.finditer(text)]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        yield "\n" * text.count("\n", 0, start) + text[start:end]
