"""The figures of a build as files for others: which tables, from which build, in which formats, in one folder.

The folder is replaced as a whole, as that of public tables is. The same build gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kpi.database import reading, table_columns
from kpi.provenance.figure_values import refuse_without_figures
from kpi.settings import ReportTables
from kpi.site.dataset import (
    Dataset,
    Origin,
    Role,
    Selected,
    open_dataset,
    write_csv,
    write_finnish_csv,
    write_package,
    write_parquet,
)
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.permissions import database_path

FORMATS = ("csv", "csv-fi", "parquet", "xlsx", "json-stat", "sdmx-csv", "datapackage")
_MANIFEST = "manifest.json"  # dbt's name for it; importing who writes it (kpi.engine.artifacts) takes 0.1 s
# What a public table holds, by its name without `public_`; that of a role is its own.
_ROLES: Mapping[str, Role] = {
    "monthly_series": Role.SERIES,
    "indicator_changes": Role.CHANGES,
    "comparability_breaks": Role.BREAKS,
    "figure_catalogue": Role.DEFINITIONS,
    "code_lists": Role.CODES,
    **{str(role): role for role in Role},
}


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What is exported: in which formats and language, of which build, and whether it may leave the house.

    `unfinished_years` are left out of what is public unless it is asked for them.
    """

    formats: Sequence[str] = FORMATS
    lang: str = "en"
    build: str | None = None
    is_public: bool = False
    unfinished_years: bool = False


def export_figures(root: Path, folder: Path, options: ExportOptions) -> list[tuple[str, int]]:
    """Write the figures of a build into a folder, in place of what kpi wrote there before.

    Returns the names of the files and their bytes. With `is_public` it is the tables tagged `public` alone, checked as
    those of `kpi publish --public` are. Raises ConfigError when there is no build, when it has no figures, and when a
    file that is not kpi's would be overwritten.
    """
    from kpi.reader.export import refuse_identity_codes, replaced

    warehouse = Warehouse(root.resolve() / "warehouse")
    build = warehouse.folder(options.build)
    options = replace(options, build=build.name)
    record, database = warehouse.outline(build), database_path(build)
    tables = record.report_tables
    selected = _public(warehouse, root, options) if options.is_public else _selected(build, database, tables)
    day = record.as_of or record.finished_at[:10] or record.started_at[:10]
    origin = Origin(record.id or build.name, day, record.synthetic, options.is_public)
    names = _names(tables, selected, options.is_public)
    with replaced(folder) as staged:
        with open_dataset(database, selected, names, origin, options.lang) as dataset:
            for name in FORMATS:
                if name in options.formats:
                    _write(name, dataset, staged)
        if options.is_public:
            refuse_identity_codes(staged)
        return [(path.name, path.stat().st_size) for path in sorted(staged.iterdir())]


def _selected(build: Path, database: Path, tables: ReportTables) -> list[Selected]:
    """The tables that a build has of those an export is made of, with what its manifest says of them."""
    with reading(database) as con:
        refuse_without_figures(con, tables)
        there = table_columns(con)
    described = _described(build)
    relations = {
        Role.INDICATORS: tables.indicators,
        Role.CHANGES: tables.indicator_changes,
        Role.SERIES: tables.monthly_series,
        Role.BREAKS: tables.comparability_breaks,
        Role.REVISIONS: tables.revisions,
        Role.DEFINITIONS: tables.figure_catalogue if tables.figure_catalogue in there else tables.figures,
        Role.CODES: tables.code_lists,
    }
    return [
        Selected(name, relation, *described.get(relation, ("", {})))
        for name, relation in relations.items()
        if relation in there
    ]


def _described(build: Path) -> Mapping[str, tuple[str, Mapping[str, str]]]:
    """What the build's manifest says of each relation and of its columns; nothing when it has none."""
    try:
        nodes = json.loads((build / _MANIFEST).read_bytes())["nodes"].values()
    except (OSError, ValueError, KeyError):
        return {}
    return {
        f"{node['schema']}.{node.get('alias') or node['name']}": (
            " ".join(node["description"].split()),
            {name: " ".join(column["description"].split()) for name, column in node["columns"].items()},
        )
        for node in nodes
        if node["resource_type"] in ("model", "seed", "snapshot")
    }


def _public(warehouse: Warehouse, root: Path, options: ExportOptions) -> list[Selected]:
    """The public tables, checked against their closed lists. Raises ConfigError as `write_public` does."""
    from kpi.engine.compile import compiled
    from kpi.reader.export import checked_public_tables

    selection = []
    names: set[str] = set()
    graph = compiled(root).graph
    for node, rows in checked_public_tables(warehouse, graph, options.build, options.unfinished_years):
        own = str(node.relation).partition(".")[2]
        name = _ROLES.get(own.removeprefix("public_"), own)
        name = own if name in names else name
        names.add(name)
        columns = {column.name: " ".join(column.description.split()) for column in node.columns}
        selection.append(Selected(name, str(node.relation), " ".join(node.description.split()), columns, rows))
    order = [str(role) for role in Role]
    return sorted(selection, key=lambda one: order.index(one.name) if one.name in order else len(order))


def _names(tables: ReportTables, selected: Sequence[Selected], is_public: bool) -> dict[str, str]:
    """Where codes are named. For the public it is its own tables, and the project's words of units and of itself."""
    names = {name: getattr(tables, name) for name in ("code_lists", "publication")}
    if is_public:
        catalogue = next((one.relation for one in selected if one.name == Role.DEFINITIONS), "")
        return names | {"figure_catalogue": catalogue}
    more = ("figures", "figure_services", "figure_catalogue", "observation_status")
    return names | {name: getattr(tables, name) for name in more}


def _write(form: str, dataset: Dataset, folder: Path) -> None:
    """Write a dataset in one format; what only that one needs is imported for it alone."""
    match form:
        case "xlsx":
            from kpi.site.workbook import write_workbook

            write_workbook(dataset, folder)
        case "json-stat":
            from kpi.site.statistics import write_json_stat

            write_json_stat(dataset, folder)
        case "sdmx-csv":
            from kpi.site.statistics import write_sdmx

            write_sdmx(dataset, folder)
        case "datapackage":
            # It describes the CSV files, which may not be there yet.
            if not all((folder / f"{name}.csv").is_file() for name in dataset.tables):
                _write("csv", dataset, folder)
            write_package(dataset, folder)
        case _:
            suffix, write = {
                "csv": (".csv", write_csv),
                "csv-fi": (".fi.csv", write_finnish_csv),
                "parquet": (".parquet", write_parquet),
            }[form]
            for table in dataset.tables.values():
                write(dataset.con, table.in_order, folder / f"{table.name}{suffix}")
