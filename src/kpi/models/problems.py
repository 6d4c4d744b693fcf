"""What DuckDB finds wrong with a statement, in plain words and with the place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

import duckdb

from kpi.base.errors import nearest

# DuckDB's words for the mistakes that are made every day, and ours.
_PLAIN_WORDS = (
    (r'Referenced column "?(?P<name>.+?)"? not found in FROM clause', "there is no column '{name}'."),
    (r'Column "(?P<name>.+?)" in \w+ list not found', "there is no column '{name}'."),
    (
        r'Column "(?P<name>.+?)" does not exist on (left|right) side of join',
        "there is no column '{name}' on both sides of the join.",
    ),
    (
        r'(Table|Values list) "(?P<table>.+?)" does not have a column named "(?P<name>.+?)"',
        "'{table}' has no column '{name}'.",
    ),
    (r'Referenced table "(?P<name>.+?)" not found', "there is no table or alias '{name}' here."),
    (r"(Scalar|Aggregate|Table|Window) Function with name (?P<name>.+?) does not", "there is no function '{name}'."),
    (r'No files found that match the pattern "(?P<name>.+?)"', "no file matches '{name}'."),
    (r"Type with name (?P<name>.+?) does not exist", "there is no type '{name}'."),
    (
        r"Ambiguous reference to column name \"?(?P<column>.+?)\"? \(use: (?P<ones>.+)\)",
        "the column '{column}' is in more than one table here. Write {ones}.",
    ),
    (
        r'column "?(?P<column>.+?)"? must appear in the GROUP BY clause',
        "the column '{column}' is neither grouped nor in an aggregate. Add it to group by, or aggregate it.",
    ),
    (
        r"Cannot (mix|compare) values of type (?P<one>.+?) and (?P<other>.+?) in (?P<where>.+?) - an explicit cast",
        "{one} and {other} meet in {where}. Write the cast that is meant.",
    ),
    (
        r"Cannot compare values of type (?P<one>.+?) and type (?P<other>.+?) - an explicit cast",
        "{one} cannot be compared with {other}. Write the cast that is meant.",
    ),
    (
        r"Cannot combine types of (?P<one>.+?) and (?P<other>.+?) - an explicit cast",
        "{one} and {other} meet here. Write the cast that is meant.",
    ),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong. `offset` is the place in the statement in characters, or None when DuckDB does not tell."""

    message: str
    offset: int | None


def problem_of(error: duckdb.Error, statement: str, known: Iterable[str] = ()) -> Problem:
    """Put an error of a connection with `errors_as_json` in plain words.

    `known` are names among which the nearest is looked for, beside those that DuckDB proposes.
    """
    text = str(error)
    try:
        facts = json.loads(text[text.index("{") :])
    except ValueError:
        return Problem(text.partition("\n")[0], None)
    told = str(facts.get("exception_message", text))
    position = facts.get("position")
    # DuckDB counts bytes.
    offset = None if position is None else len(statement.encode()[: int(position)].decode(errors="ignore"))
    message, name = _in_plain_words(told)
    if name:
        proposed = re.findall(r'"(\w+)"', told.partition("\n")[2])
        hint = nearest(name, {*proposed, *known} - {name})
        message += hint if "Did you mean" in hint else f" The nearest is '{proposed[0]}'." if proposed else ""
        offset = _place_of(name, statement) if offset is None else offset
    return Problem(message, offset)


def _in_plain_words(told: str) -> tuple[str, str]:
    for pattern, words in _PLAIN_WORDS:
        found = re.match(pattern, told)
        if found:
            return words.format(**found.groupdict()).replace("_LITERAL", ""), found.groupdict().get("name", "")
    called = re.match(r"No function matches the given name and argument types '(.+?)'", told)
    if called:
        takes = [line.strip() for line in told.split("\n")[2:] if "(" in line]
        shown = "; ".join(takes[:3]) + ("; …" if len(takes) > 3 else "")
        return f"no function takes {called[1].replace('_LITERAL', '')}. There is: {shown}.", ""
    return told.partition("\n")[0].rstrip("!. ") + ".", ""


def _place_of(name: str, statement: str) -> int | None:
    found = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", statement)
    return found.start() if found else None
