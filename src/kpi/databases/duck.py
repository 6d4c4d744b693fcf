"""DuckDB as one of the databases: over a connection that somebody else opened, confined and closes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from kpi.database import columns_of, fetch_one, first_line, kind_of
from kpi.databases.protocol import StatementError
from kpi.errors import is_disk_full, is_interrupt
from kpi.sql import Columns, identifier, literal

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 20_480  # rows that leave DuckDB at once: few enough that their texts fit into Arrow's 2 GB


class DuckDatabase:
    """A DuckDB connection; names are SQL as it takes them, quoted where they must be."""

    dialect = "duckdb"

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con

    @property
    def version(self) -> str:
        """Its name and version."""
        return f"DuckDB {duckdb.__version__}"

    def execute(self, sql: str) -> None:
        """Run a statement that yields nothing."""
        with _failures():
            self.con.execute(sql)

    def fetch(self, sql: str) -> pa.Table:
        """Return all rows of a query as Arrow."""
        with _failures():
            return self.con.execute(sql).to_arrow_table()

    def columns(self, sql: str) -> Columns:
        """Return name and type of every column that a query yields, without running it."""
        with _failures():
            return columns_of(self.con, sql)

    def create_view(self, name: str, sql: str) -> None:
        """Name a query, in place of whatever view had the name."""
        self.execute(f"create or replace view {name} as\n{sql}")

    def create_table(self, name: str, sql: str) -> None:
        """Compute a query once and keep its rows under a name, in place of whatever table had it."""
        self.execute(f"create or replace table {name} as\n{sql}")

    def content_hash(self, name: str) -> str:
        """Return a hash of the rows of a table, whatever their order."""
        with _failures():
            row = fetch_one(self.con, f"select count(*), sum(hash(one)::hugeint) from {name} as one")
        return f"{row[0]}-{row[1] or 0}"

    def read_parquet(self, name: str, *places: str | Path) -> None:
        """Let a table be what Parquet files, or folders of them, hold."""
        self.create_view(name, f"select * from {parquet(*places)}")

    def write_parquet(self, sql: str, path: Path) -> None:
        """Write the rows of a query as one Parquet file. The connection itself may be confined: it writes none."""
        import pyarrow.parquet as pq

        columns = self.columns(sql)
        wide = ", ".join(
            f"{identifier(name)}::decimal(38, 0) as {identifier(name)}" for name, kind in columns if kind == "HUGEINT"
        )
        with _failures():
            query = f"select *{f' replace ({wide})' if wide else ''} from (\n{sql}\n)"
            rows = self.con.sql(query).to_arrow_reader(_BATCH)
            with pq.ParquetWriter(path, rows.schema) as file:
                for batch in rows:
                    file.write_batch(batch)

    def close(self) -> None:
        """Leave the connection as it is: it is somebody else's."""


def parquet(*places: str | Path) -> str:
    """Return what DuckDB reads Parquet files by, or folders of them."""
    files = (f"{place}/*.parquet" if Path(place).is_dir() else str(place) for place in places)
    return f"read_parquet([{', '.join(map(literal, files))}])"


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        if is_disk_full(error) or is_interrupt(error):
            raise
        raise StatementError(kind_of(error), first_line(error)) from error
