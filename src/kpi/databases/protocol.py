"""What is asked of a database that computes models: SQL of its own dialect over tables that it is given as Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kpi.sql import Columns

if TYPE_CHECKING:
    import pyarrow as pa


class StatementError(Exception):
    """A statement failed. `kind` is what all may read; the text is what the database said, which may quote a row."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


class Database(Protocol):
    """A database and its tables, by plain names. Every method raises StatementError, or EngineLost when it is gone.

    Names and types of columns are in the database's own words.
    """

    @property
    def dialect(self) -> str:
        """The dialect of its SQL, by sqlglot's name."""

    @property
    def version(self) -> str:
        """Its name and version."""

    def execute(self, sql: str) -> None:
        """Run a statement that yields nothing."""

    def fetch(self, sql: str) -> pa.Table:
        """Return all rows of a query as Arrow."""

    def columns(self, sql: str) -> Columns:
        """Return name and type of every column that a query yields, without running it."""

    def create_view(self, name: str, sql: str) -> None:
        """Name a query, in place of whatever had the name."""

    def create_table(self, name: str, sql: str) -> None:
        """Compute a query once and keep its rows under a name, in place of whatever had it."""

    def content_hash(self, name: str) -> str:
        """Return a hash of the rows of a table, whatever their order. It is this database's own: compare no others."""

    def read_parquet(self, name: str, *places: str | Path) -> None:
        """Let a table be what Parquet files, or folders of them, hold; they are read when someone asks."""

    def write_parquet(self, sql: str, path: Path) -> None:
        """Write the rows of a query as Parquet: one file, or a folder of them, where nothing is yet."""

    def close(self) -> None:
        """Let go of it. What was created is gone, the Parquet stays."""
