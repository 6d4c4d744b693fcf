"""What an export is made of: the tables that are written, in memory, with what is known of their columns and codes.

They are copies of the build's, row by row and column by column; nothing else of the build can be reached from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum, auto
from pathlib import Path
from typing import Any

from kpi.database import fetch_dicts
from kpi.lazy import duckdb
from kpi.site.content import Names, text_in
from kpi.site.figure_data import columns, in_languages, relation
from kpi.sql import identifier, literal

SCHEMA = "export"


class Role(StrEnum):
    """What an exported table holds; its files, and its sheet, have that name."""

    INDICATORS = auto()
    CHANGES = auto()
    SERIES = auto()
    BREAKS = auto()
    REVISIONS = auto()
    DEFINITIONS = auto()
    CODES = auto()


# What the rows of a table are told apart by, where it has these columns: by the name that it has in an export.
KEYS: Mapping[str, tuple[str, ...]] = {
    Role.INDICATORS: ("figure_id", "service", "report_year", "basis"),
    Role.CHANGES: ("figure_id", "service", "report_year", "basis"),
    Role.SERIES: ("figure_id", "service", "report_year", "month"),
    Role.BREAKS: ("figure_id", "service", "starts_on", "kind", "reason_en"),
    Role.REVISIONS: ("revision_id",),
    Role.DEFINITIONS: ("figure_id", "service"),
    Role.CODES: ("list", "code"),
}


@dataclass(frozen=True, slots=True)
class Selected:
    """A table of a build that is to be exported: under which `name`, and which rows, as SQL after its name."""

    name: str
    relation: str
    description: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    rows: str = ""


@dataclass(frozen=True, slots=True)
class ExportColumn:
    """A column of an exported table: its name, its type in DuckDB, and what it is."""

    name: str
    kind: str
    description: str = ""

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers."""
        return self.is_whole or self.kind in ("DOUBLE", "FLOAT") or self.kind.startswith("DECIMAL")

    @property
    def is_whole(self) -> bool:
        """Whether its values are whole numbers."""
        return self.kind.endswith("INT") or self.kind.endswith("INTEGER")


@dataclass(frozen=True, slots=True)
class ExportTable:
    """An exported table. `key` are the columns that tell its rows apart, none when they do not."""

    name: str
    relation: str
    description: str
    columns: tuple[ExportColumn, ...]
    key: tuple[str, ...]
    row_count: int

    @property
    def place(self) -> str:
        """The table in the connection of its dataset, as SQL."""
        return f"{SCHEMA}.{identifier(self.name)}"

    @property
    def in_order(self) -> str:
        """SQL of its rows, in an order that is the same each time."""
        return f"select * from {self.place} order by all"

    def has(self, *names: str) -> bool:
        """Tell whether it has these columns."""
        return {column.name for column in self.columns}.issuperset(names)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where figures come from: the build's id, the day it was made (ISO 8601), and whether they are synthetic."""

    build: str
    day: str
    is_synthetic: bool = False
    is_public: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """A figure as statistics have it, by its codes.

    `value` is as the table has it, None when there is none. `status` is the code of SDMX that the project's table of
    statuses gives it; empty where there is no such table, as in what is for the public.
    """

    figure_id: str
    service: str
    report_year: int
    basis: str
    value: float | None
    is_suppressed: bool
    is_provisional: bool
    has_break: bool
    status: str


@dataclass(frozen=True, slots=True)
class FigureName:
    """What a figure is called: its family, unit and definition too, each empty when nobody said."""

    name: str
    family: str = ""
    family_name: str = ""
    unit: str = ""
    unit_name: str = ""
    unit_code: str = ""
    decimals: str = ""
    definition: str = ""

    @property
    def places(self) -> int:
        """How many decimals it is shown with."""
        return int(self.decimals) if self.decimals.isdigit() else 0


@dataclass(frozen=True, slots=True)
class Dataset:
    """The tables of an export, in a connection of their own, and what all formats say of them.

    `figures` and `services` are in the order in which lists have them, named in the language.
    """

    con: duckdb.DuckDBPyConnection
    origin: Origin
    lang: str
    tables: Mapping[str, ExportTable]
    names: Names
    figures: Mapping[str, FigureName]
    services: Mapping[tuple[str, str], str]

    def says(self, key: str, otherwise: str = "") -> str:
        """What the publication says of itself."""
        return self.names.says(key, self.lang) or otherwise

    def code_name(self, of_list: str, code: str) -> str:
        """What a list calls a code; the code itself when it does not."""
        return self.names.name(of_list, code, self.lang)

    def rows(self, table: ExportTable) -> list[tuple[Any, ...]]:
        """Return the rows of a table, in an order that is the same each time."""
        return self.con.execute(table.in_order).fetchall()

    def observations(self) -> list[Observation]:
        """Return the figures, by figure and service as lists have them, then by year and basis."""
        table = self.tables.get(Role.INDICATORS)
        if table is None:
            return []
        changes = self.tables.get(Role.CHANGES)
        has_break = relation(
            self.con, f"{SCHEMA}.{Role.CHANGES}" if changes else "", {**_FIGURE, "has_break": "boolean"}
        )
        rows = self.con.execute(
            f"""
            select i.figure_id, i.service, i.report_year, coalesce(i.basis, ''),
                case when isfinite(i.value) then i.value end, coalesce(i.is_suppressed, false),
                coalesce(i.is_unfinished, i.basis = 'year_to_date', false), coalesce(c.has_break, false),
                coalesce(o.obs_status, '')
            from {relation(self.con, f"{SCHEMA}.{Role.INDICATORS}", _INDICATORS)} as i
            left join {has_break} as c
                on i.figure_id = c.figure_id and i.service = c.service and i.report_year = c.report_year
                and i.basis = c.basis
            left join {relation(self.con, "known.observation_status", {**_FIGURE, "obs_status": "varchar"})} as o
                on i.figure_id = o.figure_id and i.service = o.service and i.report_year = o.report_year
                and i.basis = o.basis
            where i.figure_id is not null and i.service is not null and i.report_year is not null
            """
        ).fetchall()
        figures, services = list(self.figures), list(self.services)
        places = {figure: place for place, figure in enumerate(figures)}
        of_service = {service: place for place, service in enumerate(services)}
        rows.sort(key=lambda row: (places[row[0]], of_service[row[0], row[1]], row[1], row[2], row[3]))
        return [Observation(*row) for row in rows]


@contextmanager
def open_dataset(
    database: Path, selected: Sequence[Selected], names: Mapping[str, str], origin: Origin, lang: str
) -> Iterator[Dataset]:
    """Copy the selected tables of a build into memory, and read what codes are called there.

    `names` says which relations hold that: `figures`, `figure_services`, `figure_catalogue`, `code_lists` and
    `publication`, and `observation_status` the statuses. Those that are not there leave codes without names.
    """
    from kpi.database import scratch

    with scratch({"threads": "1"}) as con:
        con.execute(f"attach {literal(str(database))} as build (read_only)")
        con.execute(f"create schema {SCHEMA}")
        con.execute("create schema known")
        there = {
            f"{schema}.{name}"
            for schema, name in con.execute(
                "select table_schema, table_name from information_schema.tables where table_catalog = 'build'"
            ).fetchall()
        }
        for one in selected:
            rows = f"from build.{one.relation} {one.rows} order by all"
            con.execute(f"create table {SCHEMA}.{identifier(one.name)} as {rows}")
        for name, place in names.items():
            if place in there:
                con.execute(f"create table known.{identifier(name)} as from build.{place}")
        con.execute("detach build")
        tables = {one.name: _table(con, one) for one in selected}
        known = _names(con, tables)
        yield Dataset(
            con=con,
            origin=origin,
            lang=lang,
            tables=tables,
            names=known,
            figures={figure_id: _figure_name(known, figure_id, lang) for figure_id in known.figures},
            services={key: known.service_name(*key, lang) for key in known.service_names},
        )


def _table(con: duckdb.DuckDBPyConnection, one: Selected) -> ExportTable:
    place = f"{SCHEMA}.{identifier(one.name)}"
    found = tuple(
        ExportColumn(name, kind, one.columns.get(name, ""))
        for name, kind in columns(con, f"{SCHEMA}.{one.name}").items()
    )
    key = KEYS.get(one.name, ())
    count = _one(con, f"select count(*) from {place}")
    if not key or not {column.name for column in found}.issuperset(key):
        key = ()
    elif count:
        named = ", ".join(identifier(name) for name in key)
        distinct = _one(con, f"select count(*) from (select distinct {named} from {place})")
        nulls = _one(con, f"select count(*) from {place} where {' or '.join(f'{identifier(n)} is null' for n in key)}")
        key = key if distinct == count and not nulls else ()
    return ExportTable(one.name, one.relation, one.description, found, key, count)


def _one(con: duckdb.DuckDBPyConnection, sql: str) -> int:
    (count,) = con.execute(sql).fetchall()[0]
    return int(count)


def _names(con: duckdb.DuckDBPyConnection, tables: Mapping[str, ExportTable]) -> Names:
    """Read what things are called: figures as the catalogue has them, then the lists; those of no list come last."""

    def rows(name: str, wanted: Mapping[str, str], order: str = "seed_order") -> Iterator[dict[str, Any]]:
        yield from fetch_dicts(con, f"select * from {relation(con, f'known.{name}', wanted)} order by {order}")

    names = Names()
    for row in rows("code_lists", _CODES, "list, sort_order, seed_order"):
        names.codes.setdefault(row["list"] or "", {})[row["code"] or ""] = row
    for row in rows("publication", {"key": "varchar", **in_languages("value")}):
        names.publication[row["key"] or ""] = row
    catalogue = list(rows("figure_catalogue", {**_FIGURES, **_SERVICES, "service_order": "bigint"}))
    used = con.execute(f"select * from ({_used(con, tables, ('figure_id', 'service'))}) order by all").fetchall()
    unlisted = [{"figure_id": figure_id, "service": service} for figure_id, service in used]
    described = [*catalogue, *rows("figures", _FIGURES), *unlisted]
    services = [*({**row, "sort_order": row["service_order"]} for row in catalogue),
                *rows("figure_services", {**_SERVICES, "sort_order": "bigint"}), *unlisted]  # fmt: skip
    figures = _first(described, lambda row: row["figure_id"])
    families = names.codes.get("family", {})
    names.figures = dict(
        sorted(
            figures.items(),
            key=lambda item: (_place(item[1]), _place(families.get(item[1].get("family") or ""))),
        )
    )
    by_service = _first(services, lambda row: row["service"] and (row["figure_id"], row["service"]))
    names.service_names = dict(sorted(by_service.items(), key=lambda item: (item[0][0], _place(item[1]))))
    return names


def _first(rows: Iterable[dict[str, Any]], key_of: Callable[[dict[str, Any]], Any]) -> dict[Any, dict[str, Any]]:
    """Return the first row of each key."""
    found: dict[Any, dict[str, Any]] = {}
    for row in rows:
        if key := key_of(row):
            found.setdefault(key, row)
    return found


def _place(row: Mapping[str, Any] | None) -> tuple[bool, int]:
    """Return where a row stands in its list; one of no list comes last."""
    order = (row or {}).get("sort_order")
    return order is None, order or 0


def _figure_name(names: Names, figure_id: str, lang: str) -> FigureName:
    row = names.figures[figure_id]
    family, unit = row.get("family") or "", row.get("unit") or ""
    return FigureName(
        name=names.figure_name(figure_id, lang),
        family=family,
        family_name=names.name("family", family, lang),
        unit=unit,
        unit_name=names.name("unit", unit, lang),
        unit_code=names.codes.get("unit", {}).get(unit, {}).get("sdmx_code") or "",
        decimals=row.get("decimals") or "",
        definition=text_in(row, "definition", lang),
    )


def _used(con: duckdb.DuckDBPyConnection, tables: Mapping[str, ExportTable], names: Sequence[str]) -> str:
    """SQL of what stands in these columns of the exported tables."""
    parts = [f"select {', '.join(names)} from {table.place}" for table in tables.values() if table.has(*names)] or [
        f"select {', '.join(f'null::varchar as {name}' for name in names)} where false"
    ]
    return " union ".join(parts)


_FIGURE = {"figure_id": "varchar", "service": "varchar", "report_year": "bigint", "basis": "varchar"}
_INDICATORS = {**_FIGURE, "value": "double", "is_suppressed": "boolean", "is_unfinished": "boolean"}
_FIGURES = {
    "figure_id": "varchar",
    "family": "varchar",
    "unit": "varchar",
    "decimals": "varchar",
    "sort_order": "bigint",
    **in_languages("name"),
    **in_languages("definition"),
}
_SERVICES = {"figure_id": "varchar", "service": "varchar", **in_languages("service_name")}
_CODES = {
    "list": "varchar",
    "code": "varchar",
    "sort_order": "bigint",
    **in_languages("name"),
    "sdmx_code": "varchar",
}
