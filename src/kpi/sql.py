"""Identifiers and literals in SQL."""

from __future__ import annotations

import re

# The name and type of each column of a table, in order.
Columns = tuple[tuple[str, str], ...]

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
# Words that DuckDB does not take for a name unless they are quoted.
_RESERVED = re.compile(
    r"all|analyse|analyze|and|any|array|as|asc|asymmetric|both|case|cast|check|collate|column|constraint|"
    r"create|default|deferrable|desc|describe|distinct|do|else|end|except|false|fetch|for|foreign|from|"
    r"group|having|in|initially|intersect|into|lambda|lateral|leading|limit|not|null|offset|on|only|or|"
    r"order|pivot|pivot_longer|pivot_wider|placing|primary|qualify|references|returning|select|show|some|"
    r"summarize|symmetric|table|then|to|trailing|true|union|unique|unpivot|using|variadic|when|where|"
    r"window|with"
)


def literal(text: str) -> str:
    """Return the text as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def identifier(text: str) -> str:
    """Return the text as a quoted SQL identifier."""
    return '"' + text.replace('"', '""') + '"'


def relation_name(schema: str, name: str) -> str:
    """Return `schema.name`, or the one of them that is not empty, each part quoted only when it must be."""
    return ".".join(plain(part) for part in (schema, name) if part)


def plain(name: str) -> str:
    """Return a name as SQL, quoted only when it must be."""
    return name if _PLAIN.fullmatch(name) and not _RESERVED.fullmatch(name) else identifier(name)


def word(text: str) -> str:
    """Return the text as one word that needs no quotes: what is neither letter, digit nor _ becomes _."""
    return re.sub(r"\W|^(?=\d)", "_", text, flags=re.ASCII).lower()


def typed_columns(text: str) -> Columns:
    """Return the name and type of each column of a list as `create table` has it, without blanks in a type."""
    pairs = (column.split() for column in re.split(r",\s+", text.strip()))
    return tuple((name, kind.upper()) for name, kind in pairs)


def definition(columns: Columns) -> str:
    """Return what stands between the brackets of a `create table` with these columns."""
    return ", ".join(f"{identifier(name)} {kind}" for name, kind in columns)


def counted(number: int, what: str) -> str:
    """Return a number and what is counted, in the singular or the plural: 1 file, 2 files."""
    return f"{number} {what}{'' if number == 1 else 's'}"
