"""Objects that dbt's macros are given: columns, tables of query results, and those of which some parts only work."""

from __future__ import annotations

import re
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


class Table:
    """Rows of a query, as dbt's macros read them."""

    def __init__(self, names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
        self.column_names, self.rows = names, rows
        self.columns = [_Values(row[place] for row in rows) for place in range(len(names))]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: str) -> Any:
        return self.rows if key == "data" else self


class _Values(tuple[Any, ...]):
    __slots__ = ()

    def values(self) -> tuple[Any, ...]:
        return tuple(self)


def run_query(sql: str) -> Table:
    """Run a query that reads no table, such as the number of days between two dates. Raises Wrong for any other."""
    import duckdb

    from kpi.base.engine import confined

    with confined() as con:
        try:
            result = con.execute(sql)
            return Table(tuple(column[0] for column in result.description or ()), result.fetchall())
        except duckdb.CatalogException:
            told = f"run_query(): {NOTHING_RUNS}. Name the values in a variable (vars), a seed or the SQL itself."
            raise Wrong(told) from None
        except duckdb.Error as error:
            raise Wrong(f"run_query(): {str(error).partition(chr(10))[0]}") from None
