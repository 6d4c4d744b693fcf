"""Names and texts in SQL."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


def literal(text: str) -> str:
    """Return the text as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def identifier(text: str) -> str:
    """Return the text as a quoted SQL identifier."""
    return '"' + text.replace('"', '""') + '"'


def relation_name(schema: str, name: str) -> str:
    """Return `schema.name`, each part quoted only when it must be."""
    return ".".join(part if _PLAIN.fullmatch(part) else identifier(part) for part in (schema, name))
