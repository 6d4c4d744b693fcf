"""Tables as files a program or a spreadsheet reads: CSV in two forms, Parquet, and a Data Package about them."""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kpi.lazy import duckdb
from kpi.site.dataset import Dataset, ExportColumn, ExportTable, Role
from kpi.sql import identifier, literal

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
