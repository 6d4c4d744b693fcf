"""What may leave the house: the tables tagged `public`, checked against closed lists, in a folder replaced as a whole.

A list in the folder says which of its files kpi wrote; no other file is ever touched.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kpi.database import attached, fetch_one, reading
from kpi.errors import ConfigError, DiskFull, KpiError
from kpi.errors import Place as FilePlace
from kpi.files import change_places, staging_folder, to_disk
from kpi.ingest.masking import IDENTITY_MARK, has_identity_code, hidden, is_found, masked, quoted
from kpi.ingest.raw_files import hash_of
from kpi.lazy import duckdb
from kpi.presentation import listed
from kpi.sql import Columns, counted, identifier, literal
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.permissions import database_path

if TYPE_CHECKING:
    from kpi.engine.graph import Graph, Node
    from kpi.engine.lineage import Edge, Place


SHOWN = 5  # values of a column
# Types that hold no text; of all others each value is looked at as text.
_NO_TEXT = (
    *("BIGINT", "INTEGER", "SMALLINT", "TINYINT", "HUGEINT", "DOUBLE", "FLOAT", "BOOLEAN", "DATE", "TIME"),
    *("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "UBIGINT", "UINTEGER", "USMALLINT", "UTINYINT", "UHUGEINT"),
)


def refuse_open_text(
    con: duckdb.DuckDBPyConnection, graph: Graph, columns: Mapping[str, Columns], nodes: Sequence[Node]
) -> None:
    """Raise ConfigError when a text of a public table is not from a closed list, or looks like personal data.

    A closed list is what stands in the project's seeds, what `accepted_values` of the column or of one that it is made
    from allows, and what the SQL itself says. The build is attached as `build`.
    """
    seeds = _texts_of_seeds(con, graph)
    problems = [line for node in nodes for line in _problems(con, graph, columns, node, seeds)]
    if problems:
        raise ConfigError(
            "Not published, for texts that came from a delivery may not leave the house unless a list names them:\n  "
            + "\n  ".join(problems)
            + "\nAdd them to the seed that lists them (such as figures and figure_services), or to accepted_values of"
            " the column; or take them out of the delivery, then: kpi refresh"
        )


def refuse_identity_codes(folder: Path) -> None:
    """Raise ConfigError when any file in a folder holds an identity code, wherever in it that stands."""
    for path in sorted(folder.iterdir()):
        if has_identity_code(path.read_bytes()):
            message = "Neither a text, a comment nor a name of a column may."
            raise ConfigError(f"Not published: {path.name} would hold an identity code. {message}")


def _problems(
    con: duckdb.DuckDBPyConnection, graph: Graph, columns: Mapping[str, Columns], node: Node, seeds: str
) -> Iterator[str]:
    from kpi.engine.lineage import lineage  # not at the top: an export for the house needs none

    place = f"build.{node.relation}"
    sources = {str(one.relation) for one in graph.nodes.values() if one.kind == "source"}
    _, edges = lineage(graph, columns, str(node.relation))
    kinds = con.execute(f"select column_name, column_type from (describe {place})").fetchall()
    for column, kind in kinds:
        if kind in _NO_TEXT or kind.startswith("DECIMAL"):
            continue
        text, message = f"{identifier(column)}::varchar", f"{node.relation}.{column}"
        places = _made_from(edges, (str(node.relation), column))
        is_open, allowed = any(table in sources for table, _ in places), sorted(_accepted(graph, places))
        allowed_texts = f"({seeds} union all select unnest([{', '.join(map(literal, allowed))}]::varchar[]))"
        unknown = f"{text} not in {allowed_texts}"
        # A telephone number that stands in a seed is an office's own; an identity code never is.
        personal = f"{is_found(text)} and ({unknown} or contains({masked(text)}, {literal(IDENTITY_MARK)}))"
        values = con.execute(
            f"select {text} as value, {personal} as is_personal, count(*) as row_count from {place}"
            f" where {text} is not null and ({personal} or ({is_open} and {unknown})) group by all order by all"
        ).fetchall()
        if values:
            rows = sum(int(row[2]) for row in values)
            shown = listed([f"'{quoted(str(row[0]), 60)}'" for row in values], SHOWN)
            why = "hold personal data" if any(row[1] for row in values) else "stand in no list"
            yield f"{message}: {counted(len(values), 'value')} in {counted(rows, 'row')} {why}: {shown}"


def _made_from(edges: Sequence[Edge], start: Place) -> set[Place]:
    """A column and all columns that it is made from."""
    sources: dict[Place, list[Place]] = {}
    for edge in edges:
        sources.setdefault(edge.column, []).append(edge.source)
    places, front = {start}, [start]
    while front:
        new = [place for place in sources.get(front.pop(), ()) if place not in places]
        places.update(new)
        front += new
    return places


def _accepted(graph: Graph, places: Collection[Place]) -> set[str]:
    """The values that data tests of these columns accept."""
    values: set[str] = set()
    for test in graph.tests():
        if test.test and test.test.kind.rpartition(".")[2] == "accepted_values":
            tested = graph.nodes.get(test.relation.node)
            if tested and (str(tested.relation), test.test.column) in places:
                values.update(map(str, test.test.arguments["values"]))
    return values


def _texts_of_seeds(con: duckdb.DuckDBPyConnection, graph: Graph) -> str:
    """SQL of a query of every text that stands in a seed of the build: they are kept in git, and are no delivery."""
    con.execute("create or replace temp table texts_of_seeds (value varchar)")
    for node in graph.built():
        if node.kind != "seed":
            continue
        for column, kind in con.execute(
            "select column_name, data_type from duckdb_columns() where database_name = 'build'"
            " and schema_name = ? and table_name = ? order by column_index",
            [node.relation.schema, node.relation.name],
        ).fetchall():
            if kind == "VARCHAR":
                text = identifier(column)
                con.execute(
                    f"insert into texts_of_seeds select distinct {text} from build.{node.relation}"
                    f" where {text} is not null"
                )
    return "select value from texts_of_seeds"


LIST = "kpi-public.json"


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write the new files into; when that went well, they are in place of the old ones.

    Raises ConfigError when a file of another hand has the name of a new one. Old files that kpi wrote and that are not
    written again are removed.
    """
    folder = Path(os.path.realpath(folder))  # resolve() ends in an error of its own for a circle of links
    with staging_folder(folder) as staging:
        yield staging
        new = sorted(path.name for path in staging.iterdir())
        old = written_by_kpi(folder)
        others = [path for path in sorted(folder.iterdir()) if path.name not in old and path != staging]
        if collisions := [path.name for path in others if path.name in {*new, LIST}]:
            message = (
                f"{', '.join(collisions)} in {folder} {'is' if len(collisions) == 1 else 'are'} not of kpi's writing"
            )
            raise ConfigError(
                f"{message}, and public files would take the name. Move them away, or name another folder."
            )
        _write_list(staging, new)
        for path in staging.iterdir():
            os.chmod(path, 0o444 if path.suffix == ".duckdb" else 0o644)
            to_disk(path)
        if not change_places(folder, staging, others):
            _one_by_one(folder, staging, old)


def written_by_kpi(folder: Path) -> set[str]:
    """Return the names of the files of a folder that kpi wrote and nobody has changed since, and the list of them."""
    try:
        sums_by_name = json.loads((folder / LIST).read_text(encoding="utf-8"))["files"]
        return {LIST} | {
            name for name, sums in sums_by_name.items() if _is_a_name(name) and _is_of(folder / name, sums)
        }
    except FileNotFoundError:
        return _before_there_was_a_list(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {LIST}


def _before_there_was_a_list(folder: Path) -> set[str]:
    """What an earlier kpi wrote: a database, and a CSV of each of its tables."""
    from kpi.reader.public_writer import PUBLIC_DATABASE

    if not (folder / PUBLIC_DATABASE).is_file():
        return set()
    with suppress(duckdb.Error), reading(folder / PUBLIC_DATABASE) as con:
        tables = con.execute("select table_name from duckdb_tables()").fetchall()
        names = {f"{table}.csv" for (table,) in tables}
        return {PUBLIC_DATABASE} | {name for name in names if (folder / name).is_file()}
    return set()


def _write_list(staged: Path, names: list[str], old: Iterable[Path] = ()) -> None:
    """Write the list of files into a folder, with old ones elsewhere that are still to be removed."""
    files = {name: [hash_of(staged / name)] for name in names}
    for path in old:
        files.setdefault(path.name, []).append(hash_of(path))
    message = "The files that kpi publish or kpi export wrote. It replaces and removes these, and no others."
    text = json.dumps({"about": message, "files": files}, indent=1, ensure_ascii=False)
    (staged / LIST).write_text(text + "\n", encoding="utf-8")


def _one_by_one(folder: Path, staged: Path, old: set[str]) -> None:
    """Remove the old files, then move the new ones in: who is killed in between leaves too few, and no mixture."""
    new = sorted(path.name for path in staged.iterdir() if path.name != LIST)
    # Until all is done the list has both: of whatever is left, it is known that kpi wrote it.
    _write_list(staged, new, [folder / name for name in sorted(old - {LIST})])
    os.replace(staged / LIST, folder / LIST)
    for name in sorted(old - {LIST}):
        (folder / name).unlink(missing_ok=True)
    _write_list(staged, new)
    for name in (*new, LIST):
        os.replace(staged / name, folder / name)
    to_disk(folder)


def _is_a_name(name: str) -> bool:
    return name == os.path.basename(name) and name not in ("", ".", "..")


def _is_of(file: Path, sums: Collection[str]) -> bool:
    with suppress(OSError):
        return hash_of(file) in sums
    return False


TAG = "public"
PRIVATE_LAYERS = ("raw", "staging", "intermediate")


@dataclass(frozen=True, slots=True)
class PublicTable:
    """One table that was written, with its number of rows."""

    table: str
    rows: int


def public_nodes(graph: Graph) -> tuple[Node, ...]:
    """Return the models tagged `public`. Raises ConfigError when there are none, or one is of a layer of rows."""
    nodes = tuple(node for node in graph.built() if node.kind == "model" and TAG in node.tags)
    if not nodes:
        raise ConfigError(f"no model has the tag '{TAG}': give it to those that may leave the house.")
    for node in nodes:
        private = {*PRIVATE_LAYERS, *graph.project.warehouse_settings.stewards_schemas}
        if node.relation.schema.lower() in private or {"staging", "intermediate"}.intersection(node.file.parts):
            message = f"'{node.name}' has the tag '{TAG}', but {node.relation.schema} is not for the public."
            raise ConfigError(message, FilePlace(str(node.file), node.line))
    return nodes


def write_public(
    warehouse: Warehouse, graph: Graph, folder: Path, build: str | None = None, unfinished_years: bool = False
) -> tuple[PublicTable, ...]:
    """Write the public tables of a build, the published one by default, into `folder`, in place of what it held.

    A process of its own writes the files, which has read nothing else. The database is one that DuckDB 1.0 opens; of
    each table there is a CSV, and one as Finnish spreadsheets read it (`.fi.csv`), in which no text is a formula. Rows
    of years that are not finished (where the column that a model names as `meta.unfinished_rows` is true) are only
    written with `unfinished_years`. Raises ConfigError when the build lacks a table, or that column, when a text came
    from a delivery and stands in no closed list, and when a file that is not kpi's would be overwritten.
    """
    build = warehouse.folder(build).name  # what is checked is what is written
    tables = [
        {
            "schema": node.relation.schema,
            "name": node.relation.name,
            "comment": node.description,
            "rows": finished,
        }
        for node, finished in checked_public_tables(warehouse, graph, build, unfinished_years)
    ]
    with replaced(folder) as staged:
        rows = _written(database_path(warehouse.folder(build)), staged, tables)
        refuse_identity_codes(staged)
    names = [f"{table['schema']}.{table['name']}" for table in tables]
    return tuple(PublicTable(name, count) for name, count in zip(names, rows, strict=True))


def checked_public_tables(
    warehouse: Warehouse, graph: Graph, build: str | None = None, unfinished_years: bool = False
) -> list[tuple[Node, str]]:
    """Return the public tables of a build, each with the SQL after its name that says which rows may leave the house.

    Raises ConfigError when the build lacks a table, or the column that says which years are not finished, and when a
    text came from a delivery and stands in no closed list.
    """
    from kpi.cache import caching
    from kpi.engine.binder import check_all
    from kpi.engine.compile import CACHE

    nodes = public_nodes(graph)
    source = database_path(warehouse.folder(build))
    columns = graph.columns or check_all(graph.project)[1]
    with caching(graph.project.root / CACHE), attached({"build": source}) as con:
        for node in nodes:
            _refuse_missing(con, node)
        refuse_open_text(con, graph, columns, nodes)
        return [(node, "" if unfinished_years else _finished_rows(con, node)) for node in nodes]


def _finished_rows(con: duckdb.DuckDBPyConnection, node: Node) -> str:
    """SQL that leaves out rows of years that are not finished, if the model says which they are."""
    meta = node.config.get("meta")
    column = meta.get("unfinished_rows") if isinstance(meta, Mapping) else None
    if column is None:
        return ""
    schema, name = identifier(node.relation.schema), identifier(node.relation.name)
    kinds = con.execute(f"select column_name, column_type from (describe build.{schema}.{name})").fetchall()
    if (column, "BOOLEAN") not in kinds:
        message = f"the table {node.relation} of the build has no boolean column '{column}', its meta.unfinished_rows."
        raise ConfigError(f"{message} Run: kpi refresh", FilePlace(str(node.file), node.line))
    return f"where {identifier(column)} is not true"


def _written(source: Path, folder: Path, tables: Sequence[Mapping[str, str]]) -> list[int]:
    """Have the files written by a fresh process. Returns the rows of each table."""
    order = json.dumps({"database": str(source.resolve()), "folder": str(folder), "tables": list(tables)})
    command = [sys.executable, "-m", "kpi.reader.public_writer"]
    done = subprocess.run(command, input=order, capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode == DiskFull.exit_code:
        raise DiskFull("the public files cannot be written: the disk is full. Make room, and run again.")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise KpiError(f"the public files were not written: {hidden(lines[-1])}")
    return [int(count) for count in json.loads(done.stdout)]


def _refuse_missing(con: duckdb.DuckDBPyConnection, node: Node) -> None:
    count = fetch_one(
        con,
        "select count(*) from duckdb_tables() where database_name = 'build' and schema_name = ? and table_name = ?",
        [node.relation.schema, node.relation.name],
    )
    if not count[0]:
        raise ConfigError(f"the build has no table {node.relation}; a public model is a table. Run: kpi refresh")
