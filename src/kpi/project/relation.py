"""Relations: where models, seeds and sources stand in the database; rendered SQL that names them, and its lines."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kpi.sql import identifier, relation_name


@dataclass(frozen=True, slots=True)
class Lines:
    """Which 1-based line and column of the file each character of the compiled SQL comes from.

    What a macro or an expression yields comes from the place that calls it: the column is then negative, for all of
    the piece. 0 is an unknown column.
    """

    starts: tuple[int, ...] = (0,)
    lines: tuple[int, ...] = (1,)
    columns: tuple[int, ...] = (0,)

    def at(self, offset: int) -> int:
        return self.place(offset)[0]

    def is_own(self, offset: int) -> bool:
        """Tell whether the character at `offset` stands in the file as it is, and does not come from a macro."""
        return self.columns[max(0, bisect_right(self.starts, offset) - 1)] > 0

    def place(self, offset: int) -> tuple[int, int]:
        """Return line and column of the character at `offset`; the column is 0 when it is unknown."""
        piece = max(0, bisect_right(self.starts, offset) - 1)
        column = self.columns[piece]
        return self.lines[piece], column + offset - self.starts[piece] if column > 0 else -column

    def replaced(self, spans: Sequence[tuple[int, int, int]]) -> Lines:
        """Return the lines of the SQL in which other texts stand for spans of it.

        Each of `spans` is where it begins, where it ends and how long the other text is; they are in order and apart.
        """
        ends = [end for _, end, _ in spans]
        starts = {start for start, _, _ in spans}
        within = [start for start in self.starts if not any(one < start < end for one, end, _ in spans)]
        places: list[tuple[int, int, int]] = []
        for offset in sorted({*within, *ends, *starts}):
            grown = sum(length - (end - start) for start, end, length in spans if end <= offset)
            line, column = self.place(offset)
            # All of a text that stands for another one comes from the place where that one began.
            is_written = self.is_own(offset) and offset not in starts
            places.append((offset + grown, line, column if is_written else -column))
        return Lines(*(tuple(part) for part in zip(*places, strict=True)))


DATABASE = "kpi"


@dataclass(frozen=True, slots=True)
class Relation:
    """Where a model, seed or source table stands in the database. The properties are those of dbt's relations."""

    node: str
    schema: str
    name: str

    def __str__(self) -> str:
        return relation_name(self.schema, self.name)

    @property
    def parts(self) -> tuple[str, ...]:
        """Schema and name; the name alone of a CTE, which has no schema."""
        return (self.schema, self.name) if self.schema else (self.name,)

    @property
    def identifier(self) -> str:
        return self.name

    table = identifier

    @property
    def database(self) -> str:
        return DATABASE

    @property
    def type(self) -> None:
        """Not known before anything is built."""
        return None

    is_table = is_view = is_materialized_view = type

    @property
    def is_cte(self) -> bool:
        """Whether it is an ephemeral model, which is a part of the queries that read it."""
        return not self.schema

    @property
    def metadata(self) -> Mapping[str, str]:
        """What tells macros that this is a relation."""
        return {"type": "KpiRelation"}

    def get(self, name: str, default: Any = None) -> Any:
        return default if name.startswith("_") else getattr(self, name, default)

    def __getitem__(self, name: str) -> Any:
        """Return a part by its name; None when it has none of that name."""
        if name.startswith("_"):
            raise KeyError(name)
        return self.get(name)

    @property
    def in_full(self) -> str:
        """The relation as dbt writes it: with its database, all parts quoted."""
        return ".".join(identifier(part) for part in (DATABASE, *self.parts))

    def render(self) -> str:
        return str(self)

    def include(self, database: bool = True, schema: bool = True, identifier: bool = True) -> Relation:
        """Return the relation with fewer parts; the database is never written out."""
        return Relation(self.node, self.schema if schema else "", self.name if identifier else "")

    def without_identifier(self) -> Relation:
        return self.include(identifier=False)

    def quote(self, database: bool = True, schema: bool = True, identifier: bool = True) -> Relation:
        """Return the relation: what needs quotes has them."""
        return self


@dataclass(frozen=True, slots=True)
class Seen(Relation):
    """A relation as templates see it: its text is dbt's, with the database before it and all parts quoted.

    `shown` and `quoted` say so of database, schema and name. In SQL that is compiled, `in_short` gives the text again
    that kpi has for it: what stands in a database must not depend on the name by which that is attached.
    """

    shown: tuple[bool, bool, bool] = (True, True, True)
    quoted: tuple[bool, bool, bool] = (True, True, True)

    def __str__(self) -> str:
        if not self.schema:
            return self.name  # a CTE
        parts = zip((DATABASE, self.schema, self.name), self.shown, self.quoted, strict=True)
        return ".".join(identifier(part) if quoted else part for part, shown, quoted in parts if shown)

    def include(self, database: bool = True, schema: bool = True, identifier: bool = True) -> Relation:
        """Return the relation with fewer parts in its text."""
        return replace(self, shown=(database, schema, identifier))

    def quote(self, database: bool = True, schema: bool = True, identifier: bool = True) -> Relation:
        """Return the relation with these parts quoted in its text."""
        return replace(self, quoted=(database, schema, identifier))


def as_seen(relation: Relation) -> Seen:
    """Return a relation as templates see it."""
    return Seen(relation.node, relation.schema, relation.name)


_PART = r'("(?:[^"]|"")*"|\w+)'
# Texts and comments, where a name is no name; then a name of three parts.
_TEXT_OR_NAME = re.compile(
    rf"""'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$|(?<![\w".])"?{DATABASE}"?\.{_PART}\.{_PART}|"[^"]*\"""",
    re.DOTALL,
)


def in_short(sql: str, relation_names: Callable[[], Collection[tuple[str, ...]]]) -> str:
    """Write relations without their database, but in texts. `relation_names` gives the (schema, name) of all."""
    if f'{DATABASE}"' not in sql and f"{DATABASE}." not in sql:
        return sql

    def short(match: re.Match[str]) -> str:
        if match[2] is None:
            return match[0]
        parts = tuple(part[1:-1].replace('""', '"') if part[0] == '"' else part for part in (match[2], match[3]))
        return relation_name(*parts) if parts in relation_names() else match[0]

    return _TEXT_OR_NAME.sub(short, sql)


# Macros ask whether what they are given is a mapping that calls itself a relation.
Mapping.register(Relation)


@dataclass(slots=True)
class Rendered:
    """What came of one template: its SQL and lines, the nodes it refers to in order, and its own settings.

    `this` is where the model itself stands; None for a test. It may be read only where rows are added to it.
    `variables_read` are the variables it asked for, `environment_read` the environment variables with the values they
    had, `notes` what is worth a note of it.
    """

    this: Relation | None = None
    is_incremental: bool = False
    sql: str = ""
    lines: Lines = field(default_factory=Lines)
    depends_on: dict[str, Relation] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    variables_read: frozenset[str] = frozenset()
    environment_read: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
