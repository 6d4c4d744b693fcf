"""Whether what may leave the house may: no text of it came from a delivery unless it stands in a closed list."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kpi.base.errors import ConfigError
from kpi.base.names import counted, identifier, literal
from kpi.compile.binding import Columns
from kpi.compile.lineage import Edge, lineage
from kpi.compile.origins import Place
from kpi.deliveries.personal import IDENTITY_MARK, has_identity_code, is_found, masked, quoted

if TYPE_CHECKING:
    import duckdb

    from kpi.compile.graph import Graph
    from kpi.models.model import Node

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
    found = [line for node in nodes for line in _problems(con, graph, columns, node, seeds)]
    if found:
        raise ConfigError(
            "Not published, for texts that came from a delivery may not leave the house unless a list names them:\n  "
            + "\n  ".join(found)
            + "\nAdd them to the seed that lists them (such as figures and figure_services), or to accepted_values of"
            " the column; or take them out of the delivery, then: kpi refresh"
        )


def refuse_identity_codes(folder: Path) -> None:
    """Raise ConfigError when any file in a folder holds an identity code, wherever in it that stands."""
    for path in sorted(folder.iterdir()):
        if has_identity_code(path.read_bytes()):
            told = "Neither a text, a comment nor a name of a column may."
            raise ConfigError(f"Not published: {path.name} would hold an identity code. {told}")


def _problems(
    con: duckdb.DuckDBPyConnection, graph: Graph, columns: Mapping[str, Columns], node: Node, seeds: str
) -> Iterator[str]:
    place = f"build.{node.relation}"
    _, edges = lineage(graph, columns, str(node.relation))
    kinds = con.execute(f"select column_name, column_type from (describe {place})").fetchall()
    for column, kind in kinds:
        if kind in _NO_TEXT or kind.startswith("DECIMAL"):
            continue
        text, told = f"{identifier(column)}::varchar", f"{node.relation}.{column}"
        is_open, allowed = _closed_list(graph, _made_from(edges, (str(node.relation), column)))
        known = f"({seeds} union all select unnest([{', '.join(map(literal, allowed))}]::varchar[]))"
        unknown = f"{text} not in {known}"
        # A telephone number that stands in a seed is an office's own; an identity code never is.
        personal = f"{is_found(text)} and ({unknown} or contains({masked(text)}, {literal(IDENTITY_MARK)}))"
        values = con.execute(
            f"select {text} as value, {personal} as is_personal, count(*) as row_count from {place}"
            f" where {text} is not null and ({personal} or ({is_open} and {unknown})) group by all order by all"
        ).fetchall()
        if values:
            rows = sum(int(row[2]) for row in values)
            shown = ", ".join(f"'{quoted(str(row[0]), 60)}'" for row in values[:SHOWN])
            more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
            why = "hold personal data" if any(row[1] for row in values) else "stand in no list"
            yield f"{told}: {counted(len(values), 'value')} in {counted(rows, 'row')} {why}: {shown}{more}"


def _closed_list(graph: Graph, places: Collection[Place]) -> tuple[bool, tuple[str, ...]]:
    """Tell whether a column, by all it is made from, has a part from a delivery; and the values that are declared."""
    sources = {str(one.relation) for one in graph.nodes.values() if one.kind == "source"}
    is_open = any(table in sources for table, _ in places)
    return is_open, tuple(sorted(_accepted(graph, places)))


def _made_from(edges: Sequence[Edge], start: Place) -> set[Place]:
    """A column and all columns that it is made from."""
    sources: dict[Place, list[Place]] = {}
    for edge in edges:
        sources.setdefault(edge.column, []).append(edge.source)
    found, front = {start}, [start]
    while front:
        new = [place for place in sources.get(front.pop(), ()) if place not in found]
        found.update(new)
        front += new
    return found


def _accepted(graph: Graph, places: Collection[Place]) -> set[str]:
    """The values that data tests of these columns accept."""
    found: set[str] = set()
    for test in graph.tests():
        if test.test and test.test.kind.rpartition(".")[2] == "accepted_values":
            judged = graph.nodes.get(test.relation.node)
            if judged and (str(judged.relation), test.test.column) in places:
                found.update(map(str, test.test.arguments["values"]))
    return found


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
