"""What an export is made of: the tables in memory, with what is known of them; and CSV, Parquet and a Data Package.

They are copies of the build's, row by row and column by column; nothing else of the build can be reached from here.
"""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum, auto
from pathlib import Path
from typing import Any

from kpi.database import fetch_dicts
from kpi.lazy import duckdb
from kpi.site.content import Names, text_in
from kpi.site.figure_data import CODES, FIGURES, INDICATORS, KEY, SERVICES, columns, in_languages, relation
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
        has_break = relation(self.con, f"{SCHEMA}.{Role.CHANGES}" if changes else "", (*KEY, "has_break"))
        rows = self.con.execute(
            f"""
            select i.figure_id, i.service, i.report_year, coalesce(i.basis, ''),
                case when isfinite(i.value) then i.value end, coalesce(i.is_suppressed, false),
                coalesce(i.is_unfinished, i.basis = 'year_to_date', false), coalesce(c.has_break, false),
                coalesce(o.obs_status, '')
            from {relation(self.con, f"{SCHEMA}.{Role.INDICATORS}", INDICATORS)} as i
            left join {has_break} as c
                on i.figure_id = c.figure_id and i.service = c.service and i.report_year = c.report_year
                and i.basis = c.basis
            left join {relation(self.con, "known.observation_status", (*KEY, "obs_status"))} as o
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

    def rows(name: str, wanted: Iterable[str], order: str = "seed_order") -> Iterator[dict[str, Any]]:
        yield from fetch_dicts(con, f"select * from {relation(con, f'known.{name}', wanted)} order by {order}")

    names = Names()
    for row in rows("code_lists", CODES, "list, sort_order, seed_order"):
        names.codes.setdefault(row["list"] or "", {})[row["code"] or ""] = row
    for row in rows("publication", ("key", *in_languages("value"))):
        names.publication[row["key"] or ""] = row
    catalogue = list(rows("figure_catalogue", dict.fromkeys((*FIGURES, *SERVICES, "service_order"))))
    used = con.execute(f"select * from ({_used(con, tables, ('figure_id', 'service'))}) order by all").fetchall()
    unlisted = [{"figure_id": figure_id, "service": service} for figure_id, service in used]
    described = [*catalogue, *rows("figures", FIGURES), *unlisted]
    services = [*({**row, "sort_order": row["service_order"]} for row in catalogue),
                *rows("figure_services", SERVICES), *unlisted]  # fmt: skip
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


# A spreadsheet takes a text that begins with one of these for a formula, the full-width ones too.
FORMULA = "^[=+\\-@\\t\\r\\n\uff1d\uff0b\uff0d\uff20]"
PACKAGE = "datapackage.json"
_BLOCK = 1 << 16
_PROFILES = "https://datapackage.org/profiles/2.0"
_KINDS = {"BOOLEAN": "boolean", "DATE": "date", "TIMESTAMP": "datetime", "TIME": "time"}


def guarded(con: duckdb.DuckDBPyConnection, select: str, has_decimal_comma: bool = False) -> str:
    """SQL of the same rows, in which no text is a formula for a spreadsheet; numbers as Finns write them if asked."""
    from kpi.database import columns_of

    columns = []
    for name, kind in columns_of(con, select):
        column = identifier(name)
        if kind == "VARCHAR":
            safe = f"case when regexp_matches({column}, {literal(FORMULA)}) then '''' || {column} else {column} end"
            columns.append(f"{safe} as {column}")
        elif has_decimal_comma and (kind in ("DOUBLE", "FLOAT") or kind.startswith("DECIMAL")):
            columns.append(f"replace({column}::varchar, '.', ',') as {column}")
        else:
            columns.append(column)
    return f"select {', '.join(columns)} from ({select}\n)"


def write_csv(con: duckdb.DuckDBPyConnection, select: str, file: Path) -> None:
    """Write rows as CSV: commas, decimal points, UTF-8, and no text that is a formula for a spreadsheet."""
    con.execute(f"copy ({guarded(con, select)}) to {literal(str(file))} (format csv, header, delimiter ',')")


def write_finnish_csv(con: duckdb.DuckDBPyConnection, select: str, file: Path) -> None:
    """Write rows as a Finnish spreadsheet opens them: semicolons, decimal commas, and a mark that it is UTF-8."""
    plain = file.with_name(f"{file.name}.part")
    rows = guarded(con, select, has_decimal_comma=True)
    con.execute(f"copy ({rows}) to {literal(str(plain))} (format csv, header, delimiter ';')")
    with plain.open("rb") as source, file.open("wb") as target:
        target.write(codecs.BOM_UTF8)
        while piece := source.read(_BLOCK):
            target.write(piece)
    plain.unlink()


def write_parquet(con: duckdb.DuckDBPyConnection, select: str, file: Path) -> None:
    """Write rows as Parquet, texts as they are."""
    con.execute(f"copy ({select}) to {literal(str(file))} (format parquet, compression zstd)")


def write_package(dataset: Dataset, folder: Path) -> None:
    """Write the description of the CSV files in a folder as a Data Package 2.0: types, keys, licence, checksums."""
    licence = {
        "name": dataset.says("licence_id"),
        "path": dataset.says("licence_url"),
        "title": dataset.says("licence"),
    }
    contributor = {
        "title": dataset.says("publisher"),
        "path": dataset.says("contact_url"),
        "roles": ["publisher"] if dataset.says("publisher") else [],
    }
    package = {
        "$schema": f"{_PROFILES}/datapackage.json",
        "name": _slug(dataset.says("publisher_id")) or "figures",
        "id": dataset.origin.build,
        "title": dataset.says("title"),
        "version": dataset.says("version"),
        "created": f"{dataset.origin.day}T00:00:00Z",
        "description": SYNTHETIC if dataset.origin.is_synthetic else "",
        "keywords": [word.strip() for word in dataset.says("keywords").split(",") if word.strip()],
        "licenses": [_given(licence)] if licence["name"] or licence["path"] else [],
        "contributors": [_given(contributor)] if contributor["title"] else [],
        "resources": [_resource(dataset, table, folder) for table in dataset.tables.values()],
    }
    text = json.dumps(_given(package), indent=1, ensure_ascii=False) + "\n"
    (folder / PACKAGE).write_text(text, encoding="utf-8")


SYNTHETIC = "SYNTHETIC: made from made-up deliveries."


def _resource(dataset: Dataset, table: ExportTable, folder: Path) -> Mapping[str, object]:
    path = folder / f"{table.name}.csv"
    content = path.read_bytes()
    return _given(
        {
            "$schema": f"{_PROFILES}/dataresource.json",
            "name": _slug(table.name),
            "type": "table",
            "path": path.name,
            "description": table.description,
            "format": "csv",
            "mediatype": "text/csv",
            "encoding": "utf-8",
            "bytes": len(content),
            "hash": f"sha256:{hashlib.sha256(content).hexdigest()}",
            "schema": _given(
                {
                    "$schema": f"{_PROFILES}/tableschema.json",
                    "fields": [_field(column) for column in table.columns],
                    "missingValues": [""],
                    "primaryKey": list(table.key),
                    "foreignKeys": _foreign_keys(dataset, table),
                }
            ),
        }
    )


def _field(column: ExportColumn) -> Mapping[str, object]:
    kind = "integer" if column.is_whole else "number" if column.is_number else _KINDS.get(column.kind, "string")
    more: dict[str, object] = {"trueValues": ["true"], "falseValues": ["false"]} if kind == "boolean" else {}
    return _given({"name": column.name, "type": kind, "description": column.description, **more})


def _foreign_keys(dataset: Dataset, table: ExportTable) -> list[Mapping[str, object]]:
    """That every figure and service is described, where that is so."""
    other, names = dataset.tables.get(Role.DEFINITIONS), ("figure_id", "service")
    if other is None or other.key != names or table is other or not table.has(*names):
        return []
    unknown_files = dataset.con.execute(
        f"select 1 from {table.place} anti join {other.place} using (figure_id, service) limit 1"
    ).fetchall()
    reference = {"resource": _slug(other.name), "fields": list(names)}
    return [] if unknown_files else [{"fields": list(names), "reference": reference}]


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that say something: a description has no empty properties."""
    return {name: value for name, value in values.items() if value not in ("", [], None)}


def _slug(text: str) -> str:
    """A name of a package or resource: small letters, digits, and `-._`."""
    return "".join(sign if sign.isascii() and (sign.isalnum() or sign in "-._") else "-" for sign in text.lower())
