"""Where the SELECTs of models and tests are computed: in the build's own DuckDB file, or, by this, on Spark.

The build's file is the same either way: seeds and deliveries are loaded into it, views are views of it, and the rows of
a table that Spark computed land in it. So hooks, contracts, incremental models, snapshots and whoever reads a build
know of one database. What Spark reads goes to it as Parquet, and comes back as Parquet, cast to the types that DuckDB's
binder gives the same SELECT.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi.database import columns_of, duckdb, first_line, kind_of
from kpi.engine.graph import Graph, Node
from kpi.engine.runner import AdapterFor, DuckAdapter
from kpi.errors import BuildError, Place, StatementError, is_disk_full, is_interrupt
from kpi.events import Emit, silent
from kpi.sql import Columns, identifier, literal, word

if TYPE_CHECKING:
    from kpi.engine.spark import SparkDatabase
    from kpi.settings import EngineSettings


BUILD_VARIABLE = "kpi_build"  # in SQL, getvariable('kpi_build') is the build that is made
_BATCH = 20_480  # rows that leave DuckDB at once: few enough that their texts fit into Arrow's 2 GB
_VARIABLE = re.compile(rf"\bgetvariable\s*\(\s*'{BUILD_VARIABLE}'\s*\)", re.IGNORECASE)


class SparkAdapter:
    """SELECTs are computed by Spark over Parquet of what they read.

    `con` holds the tables of the graph's nodes, `folder` the Parquet; it is made when it is needed. `connect` opens
    Spark, when something is to be computed.
    """

    has_subqueries_in_aggregates = False

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        graph: Graph,
        connect: Callable[[], SparkDatabase],
        folder: Path,
        build: str,
    ) -> None:
        self.con, self.graph, self.folder, self.build = con, graph, folder, build
        self._connect = connect
        self._names: dict[str, str] = {}  # of what Spark has, by relation
        self._views: dict[str, set[str]] = {}  # what each view that Spark has is made of, by relation
        self._computed: dict[str, Path] = {}  # Parquet of a node's rows, by id, until it lands
        self._files: dict[str, Sequence[str]] = {}  # Parquet that is there already, by relation
        self._number = 0

    @cached_property
    def spark(self) -> SparkDatabase:
        """Spark, opened when it is first asked for."""
        spark = self._connect()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return spark

    def landing(self, node: Node, adds: bool) -> Node:
        """Compute the rows of a table on Spark. Seeds, views and tables of other files stay DuckDB's."""
        if node.kind not in ("model", "snapshot") or node.materialized in ("view", "ephemeral"):
            return node
        increment = node.increment if adds and node.kind == "model" else None
        with _named(node):
            path = self._new_path()
            columns = self._write(node, increment.sql if increment else node.sql, path)
        rows = landed_select(columns, path)
        if increment:
            return replace(node, increment=replace(increment, sql=rows))
        if node.kind == "model" and node.materialized != "incremental" and not (node.hooks.before or node.hooks.after):
            self._computed[node.id] = path
        return replace(node, sql=rows)

    def landed(self, node: Node) -> None:
        """Let what Spark computed stand for the node's table; anything else is fetched when somebody reads it."""
        place = str(node.relation)
        self._files.pop(place, None)
        for one in [name for name, read in self._views.items() if node.id in read]:
            del self._views[one]  # Spark's view goes on reading what was there when it was made
            self._names.pop(one, None)
        self._views.pop(place, None)
        self._names.pop(place, None)
        if path := self._computed.pop(node.id, None):
            self.spark.read_parquet(self._name(place), str(path))

    def use_parquet(self, files: Mapping[str, Sequence[str]]) -> None:
        """Let tables be read from these files, and not be written for Spark once more."""
        self._files.update(files)

    def select(self, node: Node, sql: str) -> str:
        """Compute a SELECT over what a node reads."""
        path = self._new_path()
        return landed_select(self._write(node, sql, path), path)

    def first_row(self, node: Node, sql: str) -> tuple[Any, ...]:
        """Return the first row of a SELECT over what a node reads."""
        found = self.spark.fetch(self._translated(node, sql)[0]).slice(0, 1).to_pylist()
        return tuple(found[0].values())

    def rows_here(self, node: Node, sql: str) -> str:
        """Compute a SELECT over what a node reads, and give its rows, which are few, to the connection."""
        self._number += 1
        name = f"kpi_rows_{self._number}"
        text, columns = self._translated(node, sql)
        self.con.register(name, self.spark.fetch(text))
        return _cast(columns, name)

    def _write(self, node: Node, sql: str, path: Path) -> Columns:
        text, columns = self._translated(node, sql)
        self.spark.write_parquet(text, path)
        return columns

    def _translated(self, node: Node, sql: str) -> tuple[str, Columns]:
        """The SELECT in Spark's words and its columns in DuckDB's; what it reads is there, and parts of it."""
        from kpi.engine.spark_sql import to_spark_in_steps

        columns = columns_of(self.con, sql)
        read = (*self._read_by(node), *((node.id,) if node.kind in ("model", "snapshot") else ()))
        relations = {self.graph.nodes[one].relation: self.graph.nodes[one] for one in read}
        mentioned = {relation: one for relation, one in relations.items() if relation.schema and relation.name in sql}
        places = {
            (relation.schema, relation.name): self._there(one)
            for relation, one in mentioned.items()
            if one.id != node.id or self._is_there(node)
        }
        self._number += 1
        prefix = f"kpi_{self._number}_part"
        parts, text = to_spark_in_steps(reading(self._with_variables(sql), places), dict(columns), prefix)
        for name, part in parts:
            self.spark.create_table(name, part)
        return text, columns

    def _read_by(self, node: Node) -> Iterator[str]:
        """The nodes whose relations a node's SQL reads, those of the ephemeral models in it too."""
        for one in node.depends_on:
            parent = self.graph.nodes[one]
            yield from self._read_by(parent) if parent.materialized == "ephemeral" else (one,)

    def _is_there(self, node: Node) -> bool:
        """Whether the table of a node that reads itself is there."""
        try:
            columns_of(self.con, f"from {node.relation}")
        except duckdb.CatalogException:
            return False
        return True

    def _there(self, node: Node) -> str:
        """The name by which Spark has a node's relation; it is made known to it when it is not."""
        place = str(node.relation)
        if place not in self._names:
            if node.kind == "model" and node.materialized == "view":
                with _named(node):
                    sql = self._translated(node, node.sql)[0]
                    self.spark.create_view(self._name(place), sql)
                read = list(self._read_by(node))
                below = (self._views.get(str(self.graph.nodes[one].relation), set()) for one in read)
                self._views[place] = set(read).union(*below)
            else:
                files = self._files.get(place) or [self._exported(place)]
                self.spark.read_parquet(self._name(place), *files)
        return self._names[place]

    def _exported(self, place: str) -> str:
        """Write a table as Parquet. Returns the file."""
        path = self._new_path(".parquet")
        self.spark  # noqa: B018  the folder is made when it is opened
        _write_parquet(self.con, place, path)
        return str(path)

    def _name(self, place: str) -> str:
        """A word for a relation that none has, or had."""
        self._number += 1
        self._names[place] = f"kpi_{self._number}_{word(place)}"
        return self._names[place]

    def _new_path(self, ending: str = "") -> Path:
        self._number += 1
        return self.folder / f"{self._number}{ending}"

    def _with_variables(self, sql: str) -> str:
        """The SQL with what it asks of variables in its place: Spark knows none of the connection's."""
        return _VARIABLE.sub(lambda _: literal(self.build), sql)


@contextmanager
def adapters(
    settings: EngineSettings, graph: Graph, folder: Path, build: str, emit: Emit = silent
) -> Iterator[AdapterFor]:
    """Yield what gives an adapter for a connection, all of one session that is opened when something is computed.

    The `folder` is for Parquet of the run, and is removed with its end.
    """
    if not settings.is_spark:
        yield DuckAdapter
        return
    opened: list[SparkDatabase] = []

    def connect() -> SparkDatabase:
        from kpi.engine.spark import address_of, open_spark
        from kpi.engine.spark_sql import SETTINGS

        if not opened:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            opened.append(open_spark(settings, folder, SETTINGS))
            emit(f"Models and tests are computed by {opened[0].version} at {address_of(settings)}.")
        return opened[0]

    numbers = count(1)
    try:
        yield lambda con: SparkAdapter(con, graph, connect, folder / f"exchange-{next(numbers)}", build)
    finally:
        for database in opened:
            database.close()
        shutil.rmtree(folder, ignore_errors=True)


def reading(sql: str, places: Mapping[tuple[str, str], str]) -> str:
    """Return SQL that reads other tables in the `places` (schema and name), under the names they are known by."""
    import sqlglot

    kinds = sqlglot.TokenType
    tokens = sqlglot.Dialect.get_or_raise("duckdb").tokenize(sql)
    pieces, end = [], 0
    for number in range(len(tokens) - 2):
        schema, dot, name = tokens[number : number + 3]
        table = places.get((schema.text, name.text))
        if dot.token_type != kinds.DOT or table is None or (number and tokens[number - 1].token_type == kinds.DOT):
            continue
        after = tokens[number + 3].token_type if number + 3 < len(tokens) else None
        if after == kinds.DOT:
            put = identifier(name.text)  # a column with its table's full name before it
        elif after in (kinds.ALIAS, kinds.VAR, kinds.IDENTIFIER):
            put = table
        else:
            put = f"{table} as {identifier(name.text)}"
        pieces += [sql[end : schema.start], put]
        end = name.end + 1
    return "".join(pieces) + sql[end:]


def landed_select(columns: Columns, path: Path) -> str:
    """Return the SELECT that reads back what was written as Parquet, with DuckDB's types."""
    files = f"{path}/*.parquet" if path.is_dir() else str(path)
    return _cast(columns, f"read_parquet([{literal(files)}])")


def _cast(columns: Columns, table: str) -> str:
    casts = ", ".join(f"cast({identifier(name)} as {kind}) as {identifier(name)}" for name, kind in columns)
    return f"select {casts} from {table}"


def _write_parquet(con: duckdb.DuckDBPyConnection, place: str, path: Path) -> None:
    """Write a table as one Parquet file. The connection itself may be confined: it writes none."""
    import pyarrow.parquet as pq

    try:
        columns = columns_of(con, f"from {place}")
        wide = ", ".join(
            f"{identifier(name)}::decimal(38, 0) as {identifier(name)}" for name, kind in columns if kind == "HUGEINT"
        )
        rows = con.sql(f"select *{f' replace ({wide})' if wide else ''} from {place}").to_arrow_reader(_BATCH)
        with pq.ParquetWriter(path, rows.schema) as file:
            for batch in rows:
                file.write_batch(batch)
    except duckdb.Error as error:
        if is_disk_full(error) or is_interrupt(error):
            raise
        raise StatementError(kind_of(error), first_line(error)) from error


@contextmanager
def _named(node: Node) -> Iterator[None]:
    """Let a statement that fails be an error of the node."""
    try:
        yield
    except StatementError as error:
        message = f"{error.kind} on Spark"
        raise BuildError(
            node.name, message, node.sql, place=Place(str(node.file), node.line), restricted=f"{message}: {error}"
        ) from error
