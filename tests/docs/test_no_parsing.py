"""Nothing reads a message for people again: what a program needs of an error or a warning is a field of its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import kpi

SOURCE = Path(kpi.__file__).parent
# What holds text for people, by the names it has in this package.
MESSAGES = {
    "message",
    "messages",
    "error",
    "warning",
    "warnings",
    "problem",
    "reason",
    "told",
    "observed",
    "lines",
    "line",
}
READING = {
    "startswith",
    "endswith",
    "partition",
    "rpartition",
    "split",
    "rsplit",
    "splitlines",
    "removeprefix",
    "removesuffix",
}
MATCHING = {"match", "fullmatch", "search", "findall", "finditer", "sub", "split"}
# Where somebody else's words are read, or a text is only laid out; each with its reason.
ALLOWED = {
    "engine/spark.py": "the first line of what Spark says of an error, which is shown as it is",
    "database.py": "what DuckDB says of an error, in the one module that knows DuckDB: its errors have no fields",
    "errors.py": "which name that a message quotes a caret points at: for the eye alone, nothing depends on it",
    "engine/binder.py": "whether a message quotes a column that a missing comma may swallow: it adds a hint",
    "engine/materializations.py": "the rows of a CSV that a unit test gives",
    "engine/template.py": "what Python says of a macro's arguments",
    "ingest/raw_files.py": "the lines of a file of checksums",
    "jobs/schedule.py": "the lines of a unit of systemd",
}


def read_again(tree: ast.AST) -> Iterator[ast.AST]:
    """The calls that take a message apart, or look in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name, holder = node.func.attr, node.func.value
            is_of_re = isinstance(holder, ast.Name) and (holder.id == "re" or holder.id.isupper())
            if (name in READING and is_message(holder)) or (
                name in MATCHING and (is_of_re or name != "split") and any(map(is_message, node.args))
            ):
                yield node
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            is_text = isinstance(node.left, ast.Constant | ast.JoinedStr)
            if is_text and is_message(node.comparators[0]) and not is_collection(node.comparators[0]):
                yield node


def is_message(node: ast.AST) -> bool:
    """Whether it is text for people: one of those names, `x.message`, or `str(error)`."""
    if isinstance(node, ast.Name):
        return node.id in MESSAGES - {"lines"}
    if isinstance(node, ast.Attribute):
        return node.attr in MESSAGES - {"lines", "line"}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "str":
        return bool(node.args) and is_message(node.args[0])
    return False


def is_collection(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("lines", "warnings", "messages")


def found() -> dict[str, list[str]]:
    places: dict[str, list[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for node in read_again(ast.parse(path.read_text(encoding="utf-8"))):
            line = f"{path.relative_to(SOURCE)}:{node.lineno}: {ast.unparse(node)}"  # type: ignore[attr-defined]
            places.setdefault(path.relative_to(SOURCE).as_posix(), []).append(line)
    return places


def test_no_message_for_people_is_read_again_by_a_program() -> None:
    assert [line for name, lines in found().items() if name not in ALLOWED for line in lines] == []


def test_what_is_allowed_is_needed() -> None:
    assert set(ALLOWED) - set(found()) == set()


def test_the_check_sees_what_it_is_for() -> None:
    for code in (
        "message.partition(': ')",
        "str(error).startswith('x')",
        "re.match('x', warning)",
        "PATTERN.fullmatch(str(error))",
        "'cannot be read' in str(error)",
        "f'{x}/' in message",
        "error.message.removeprefix('x')",
    ):
        assert list(read_again(ast.parse(code))), code
    for code in ("path.partition('/')", "'x' in lines", "name.startswith('source.')", "error.place.file.split('/')"):
        assert not list(read_again(ast.parse(code))), code
