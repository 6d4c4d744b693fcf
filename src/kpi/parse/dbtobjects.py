"""Objects that dbt's macros are given: columns, tables of query results, and those of which some parts only work."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kpi.base.errors import nearest
from kpi.base.names import identifier
from kpi.parse.macros import Wrong

NOTHING_RUNS = "kpi compiles every model before anything runs, so a template cannot read tables"


@dataclass(frozen=True, slots=True)
class Column:
    """A column as dbt's macros see it."""

    name: str
    dtype: str

    @property
    def column(self) -> str:
        """The name."""
        return self.name

    @property
    def data_type(self) -> str:
        """The SQL type."""
        return self.dtype

    @property
    def quoted(self) -> str:
        """The name in quotes."""
        return identifier(self.name)

    def is_string(self) -> bool:
        """Tell whether it holds texts."""
        return self.dtype.upper() in ("VARCHAR", "TEXT")

    def string_size(self) -> int:
        """The longest text it holds as dbt has it: DuckDB's texts have no limit of their own."""
        return 256

    def is_number(self) -> bool:
        """Tell whether it holds numbers."""
        return self.is_integer() or self.is_float() or self.is_numeric()

    def is_numeric(self) -> bool:
        """Tell whether it holds decimals."""
        return self.dtype.upper().startswith(("DECIMAL", "NUMERIC"))

    def is_integer(self) -> bool:
        """Tell whether it holds whole numbers."""
        return re.fullmatch(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?", self.dtype.upper()) is not None

    def is_float(self) -> bool:
        """Tell whether it holds binary fractions."""
        return self.dtype.upper() in ("FLOAT", "DOUBLE", "REAL")


class Unsupported:
    """An object of dbt of which some parts work; any other is an error that says what to write instead."""

    def __init__(self, name: str, instead: str, **parts: Any) -> None:
        self._name, self._instead, self._parts = name, instead, parts

    def __getattr__(self, part: str) -> Any:
        if part.startswith("__"):
            raise AttributeError(part)
        if part not in self._parts:
            raise Wrong(f"{self._name}.{part} is not supported: {self._instead}.{nearest(part, self._parts)}")
        return self._parts[part]


class Flags(dict[str, Any]):
    """What a run was asked, by dbt's names; what kpi has no flag for is nothing, as in dbt."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.get(name, "")


class Later(Mapping[str, Any]):
    """A mapping that is there when it is first looked at, and not before."""

    def __init__(self, make: Callable[[], Mapping[str, Any]]) -> None:
        self._make = make

    def __getitem__(self, key: str) -> Any:
        return self._make()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._make())

    def __len__(self) -> int:
        return len(self._make())


class Selected(Sequence[str]):
    """The ids of all that a run builds and tests, known when the graph is."""

    def __init__(self, graph: Callable[[], Mapping[str, Any]], is_partial: bool) -> None:
        self._graph, self._is_partial = graph, is_partial

    def _ids(self) -> list[str]:
        if self._is_partial:
            told = "selected_resources is not known while a run compiles that selects some of the nodes"
            raise Wrong(f"{told}. Run it without --select, --exclude and --resource-type.")
        found = (one for one in self._graph().get("nodes", {}).values() if one["resource_type"] != "analysis")
        return sorted(str(one["unique_id"]) for one in found)

    def __getitem__(self, place: Any) -> Any:
        return self._ids()[place]

    def __len__(self) -> int:
        return len(self._ids())


class Named:
    """Values that have names, as a row of a query's result: by name, by number, or one after the other."""

    def __init__(self, names: Sequence[str], values: Iterable[Any]) -> None:
        self._names, self._values = tuple(names), tuple(values)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in self._names:
                raise KeyError(key)
            return self._values[self._names.index(key)]
        return self._values[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, Named | tuple | list) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values)

    def __repr__(self) -> str:
        return repr(self._values)

    def keys(self) -> tuple[str, ...]:
        """The names."""
        return self._names

    def values(self) -> tuple[Any, ...]:
        """The values."""
        return self._values

    def items(self) -> list[tuple[str, Any]]:
        """Names with their values."""
        return list(zip(self._names, self._values, strict=False))

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a name, or `default` when there is none."""
        return self[key] if key in self._names else default

    def dict(self) -> Mapping[str, Any]:
        """Names with their values."""
        return {name: self[name] for name in self._names}


class Values(Named):
    """A column of a query's result: its name, and its values in the order of the rows."""

    def __init__(self, name: str, values: Iterable[Any]) -> None:
        super().__init__((), values)
        self.name = name

    def values_distinct(self) -> tuple[Any, ...]:
        """Each value once."""
        return tuple(dict.fromkeys(self._values))

    def values_without_nulls(self) -> tuple[Any, ...]:
        """The values that are there."""
        return tuple(value for value in self._values if value is not None)


class Table:
    """Rows of a query, as dbt's macros read them: of agate's tables what projects use."""

    def __init__(self, names: tuple[str, ...], rows: Iterable[Iterable[Any]]) -> None:
        self.column_names = names
        self.rows = [Named(names, row) for row in rows]
        columns = (Values(name, (row[place] for row in self.rows)) for place, name in enumerate(names))
        self.columns = Named(names, columns)

    def __len__(self) -> int:
        return len(self.rows)

    def __bool__(self) -> bool:
        return True  # even without rows, as agate's

    def __getattr__(self, part: str) -> Any:
        if part.startswith("__"):
            raise AttributeError(part)
        there = ("columns", "column_names", "rows", "select", "exclude", "limit", "print_table")
        raise Wrong(f"of a query's result '{part}' is not supported.{nearest(part, there)}")

    def select(self, names: Sequence[str] | str) -> Table:
        """Return these columns alone."""
        wanted = (names,) if isinstance(names, str) else tuple(names)
        return Table(wanted, ([row[name] for name in wanted] for row in self.rows))

    def exclude(self, names: Sequence[str] | str) -> Table:
        """Return the other columns."""
        gone = (names,) if isinstance(names, str) else tuple(names)
        return self.select([name for name in self.column_names if name not in gone])

    def limit(self, start: int, stop: int | None = None) -> Table:
        """Return the first rows, or those from one place to another."""
        return Table(self.column_names, self.rows[:start] if stop is None else self.rows[start:stop])

    def print_table(self, *given: Any, **named: Any) -> None:
        """Print nothing: the output of compiling is not looked at."""

    print_csv = print_json = print_structure = print_table


def run_query(sql: str) -> Table:
    """Run a query that reads no table, such as the number of days between two dates. Raises Wrong for any other."""
    import duckdb

    from kpi.base.engine import confined

    # One thread, which a signal stops: DuckDB waits for its other threads, and those may go on for hours.
    with confined({"threads": "1"}) as con:
        try:
            result = con.execute(sql)
            return Table(tuple(column[0] for column in result.description or ()), result.fetchall())
        except duckdb.CatalogException:
            told = f"run_query(): {NOTHING_RUNS}. Name the values in a variable (vars), a seed or the SQL itself."
            raise Wrong(told) from None
        except duckdb.Error as error:
            raise Wrong(f"run_query(): {str(error).partition(chr(10))[0]}") from None
