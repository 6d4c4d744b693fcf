"""What a build says of one figure beside its rows: value, definition, printed value, target, the year before.

What it says of models stands in its manifest: descriptions, and names of clauses. A model calls its clauses by `config:
{meta: {left_out: [{clause: …, fi: …, sv: …, en: …}]}}`; `clause` is a condition of its SQL, written with columns by
their names alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

from kpi.build_record import BuildRecord
from kpi.cache import remembered
from kpi.database import fetch_dicts, relations, table_columns
from kpi.errors import ConfigError, nearest
from kpi.files import read_regular
from kpi.lazy import duckdb
from kpi.presentation import LANGUAGES, headline, presented, with_decimals
from kpi.provenance.explanation import Check, Definition, Printed, Target, YearBefore
from kpi.provenance.figure_values import GRAIN, FigureKey, refuse_without_figures
from kpi.settings import ReportTables


def find_figure(con: duckdb.DuckDBPyConnection, tables: ReportTables, wanted: FigureKey) -> FigureKey:
    """Return the row of the indicators that is meant; what is empty, or the year 0, is to be found.

    Raises ConfigError with what there is instead.
    """
    figure_id = wanted.figure_id
    refuse_without_figures(con, tables)
    rows = con.execute(
        f"select service, report_year, basis from {tables.indicators} where figure_id = ? order by all", [figure_id]
    ).fetchall()
    is_described = tables.figures in relations(con)
    own = fetch_dicts(con, f"select * from {tables.figures} where figure_id = ?", [figure_id]) if is_described else []
    if not rows and own:
        raise ConfigError(f"'{figure_id}' is described and has no figures: its rows were not delivered.")
    if not rows:
        figures = con.execute(f"select distinct figure_id from {tables.indicators}").fetchall()
        raise ConfigError(f"there is no figure '{figure_id}'.{nearest(figure_id, [row[0] for row in figures])}")
    services = sorted({row[0] for row in rows})
    if wanted.service and wanted.service not in services:
        raise ConfigError(f"'{figure_id}' has no service '{wanted.service}'.{nearest(wanted.service, services)}")
    if not wanted.service and len(services) > 1:
        raise ConfigError(f"'{figure_id}' has several services: name one by --service: {', '.join(services)}.")
    service = wanted.service or services[0]
    rows = [row for row in rows if row[0] == service]
    years = sorted({row[1] for row in rows})
    if wanted.report_year and wanted.report_year not in years:
        raise ConfigError(
            f"'{figure_id}' has no figures of {wanted.report_year}. There is: {', '.join(map(str, years))}."
        )
    year = wanted.report_year or max([row[1] for row in rows if row[2] != "year_to_date"] or years)
    bases = [row[2] for row in rows if row[1] == year]
    if wanted.basis and wanted.basis not in bases:
        raise ConfigError(f"'{figure_id}' of {year} has no basis '{wanted.basis}'.{nearest(wanted.basis, bases)}")
    usual = own[0].get("basis") if own else None
    return FigureKey(figure_id, service, year, wanted.basis or (str(usual) if usual in bases else str(bases[0])))


@dataclass
class FigureFacts:
    """Reads what the tables of an open build say of one figure, and nothing of where that comes from."""

    con: duckdb.DuckDBPyConnection
    record: BuildRecord
    key: FigureKey

    @property
    def tables(self) -> ReportTables:
        return self.record.report_tables

    @cached_property
    def known(self) -> dict[str, tuple[str, ...]]:
        """The tables of the build, each with its columns."""
        return {name: tuple(columns) for name, columns in table_columns(self.con).items()}

    @cached_property
    def indicator(self) -> dict[str, Any]:
        return self._row(self.tables.indicators)

    @cached_property
    def has_bases(self) -> bool:
        """Whether the figure stands there on several bases, so that this one has to be looked for."""
        return len(self._rows(self.tables.indicators, columns=3)) > 1

    @cached_property
    def origin(self) -> dict[str, Any]:
        """Whether it is derived or kept, with the build and day it was kept from, by the names of an explanation."""
        row = self._row(self.tables.indicator_origins)
        if row.get("origin") != "kept":
            return {"origin": "derived"}
        return {"origin": "kept", "kept_from": as_text(row.get("kept_from")), "kept_on": as_text(row.get("kept_on"))}

    @cached_property
    def definition(self) -> Definition:
        """What the figure is called and means."""
        row, service = (
            self._row(self.tables.figures, columns=1),
            self._row(self.tables.figure_services, columns=2),
        )
        return Definition(
            names=in_languages(row, "name"),
            definitions=in_languages(row, "definition"),
            service_names=in_languages(service, "service_name"),
            owner=in_languages(self._row(self.tables.figure_catalogue, columns=2), "owner"),
            valid_from=as_text(service.get("since") or row.get("since")),
            **{name: as_text(row.get(name)) for name in ("unit", "decimals", "good_direction", "family", "source")},
        )

    def shown(self, value: float | None) -> str:
        """Return a value of the figure as readers see it."""
        if value is None:
            return "-"
        text = presented("v.x", "v.d", "v.u")
        # DuckDB's cast of a DOUBLE of so many digits to DECIMAL is another whole number.
        is_long = 2**53 <= abs(value) < 1e28
        number, kind = (int(value), "hugeint") if is_long else (value, "double")
        row = self.con.execute(
            f"select {text} from (values (cast(? as {kind}), cast(? as varchar), cast(? as varchar))) as v (x, d, u)",
            [number, self.definition.decimals or None, self.definition.unit],
        ).fetchall()[0]
        return with_decimals(str(row[0]), self.definition.decimals)

    @property
    def printed(self) -> Printed | None:
        """The value that a report prints."""
        row = self._row(self.tables.reconciliation)
        if not row:
            return None
        source = " ".join(as_text(row.get(name)) for name in ("source_report", "section") if row.get(name))
        texts = {name: as_text(row.get(name)) for name in ("qualifier", "decimals", "status", "reason")}
        return Printed(float(row["published_value"]), source=source, **texts)

    @property
    def year_before(self) -> YearBefore | None:
        """The figure a year before."""
        row = self._row(self.tables.indicator_changes)
        if not row:
            return None
        year, value = int(row["previous_year"]), row["previous_value"]
        breaks = self._breaks(year) if row.get("has_break") else ()
        return YearBefore(year, as_text(row.get("previous_basis")), value, self.shown(value), row["change"], breaks)

    def _breaks(self, previous: int) -> tuple[tuple[str, Mapping[str, str]], ...]:
        of_years = f"year(starts_on) in ({previous}, {previous + 1}) order by starts_on"
        rows = self._rows(self.tables.comparability_breaks, of_years, columns=2)
        breaks = {(str(row["starts_on"]), str(row.get("reason_en"))): in_languages(row, "reason") for row in rows}
        return tuple((day, reasons) for (day, _), reasons in breaks.items())

    @property
    def target(self) -> Target | None:
        """The target of the year."""
        row = self._row(self.tables.targets, columns=3)
        return Target(float(row["target"]), as_text(row.get("comparison")), as_text(row.get("source"))) if row else None

    @property
    def expectations(self) -> list[Check]:
        """The expectations of the report year; those that fail are about this figure."""
        table = f"{self.tables.indicators.partition('.')[0]}.expectation_results"
        if table not in self.known:
            return []
        sql = f"select * from {table} where report_year = ? order by expectation"
        checks, own = [], f"{self.key.figure_id} {self.key.service} {self.key.report_year} "
        for row in fetch_dicts(self.con, sql, [self.key.report_year]):
            observed = as_text(row.get("observed"))
            is_failed = not row["success"] and own in f"{observed} "
            status = "fail" if is_failed else "pass"
            checks.append(Check(row["expectation"], "expectation", status, "", observed if is_failed else ""))
        return checks

    def _row(self, table: str, columns: int = 4) -> dict[str, Any]:
        """The figure's row of a table; empty when it has none, or there is no such table."""
        return next(iter(self._rows(table, columns=columns)), {})

    def _rows(self, table: str, condition: str = "true", columns: int = 4) -> list[dict[str, Any]]:
        """The figure's rows of a table: those with its id, service, year and basis, or the first so many of these."""
        if table not in self.known:
            return []
        names = GRAIN[:columns]
        where = " and ".join([*(f"{name} = ?" for name in names), condition])
        return fetch_dicts(self.con, f"select * from {table} where {where}", [getattr(self.key, one) for one in names])


def in_languages(row: Mapping[str, Any], name: str) -> dict[str, str]:
    """Return the texts of a row in the languages it has them in."""
    texts = {lang: as_text(row[f"{name}_{lang}"]) for lang in LANGUAGES if row.get(f"{name}_{lang}")}
    return texts or ({"en": as_text(row[name])} if row.get(name) else {})


def as_text(value: object) -> str:
    """Return a value as text; nothing of none."""
    return "" if value is None else str(value)


LEFT_OUT = "left_out"


@lru_cache(maxsize=4)
def _manifest(folder: Path, build: str) -> dict[str, dict[str, Any]]:
    """The nodes and sources of a build's manifest by `schema.name`; none where it has no manifest."""
    try:
        content = json.loads(read_regular(folder / "manifest.json"))
    except (OSError, ValueError):
        return {}
    every = [*content.get("nodes", {}).values(), *content.get("sources", {}).values()]
    nodes = {}
    for node in every:
        if node.get("resource_type") in ("model", "source", "seed", "snapshot"):
            name = node.get("alias") or node.get("identifier") or node["name"]
            nodes[f"{node.get('schema')}.{name}"] = node
    return nodes


def _nodes(folder: Path) -> dict[str, dict[str, Any]]:
    resolved = folder.resolve()
    return _manifest(resolved, resolved.name)


def normal(clause: str) -> str:
    """Return the SQL of a clause as the tracer writes it, in lower case. Raises ValueError when it is no condition."""
    return remembered(partial(_normal, clause), "clause", clause)


def _normal(clause: str) -> str:
    import sqlglot
    from sqlglot.errors import SqlglotError

    from kpi.provenance.query import plain_text

    try:
        return plain_text(sqlglot.parse_one(clause, dialect="duckdb")).lower()
    except SqlglotError as error:
        raise ValueError(headline(str(error))) from None


def clause_labels(folder: Path) -> Mapping[tuple[str, str], Mapping[str, str]]:
    """Return what each model of a build calls its clauses: by relation and clause, a text by language."""
    return labels_of({name: node.get("config", {}).get("meta") or node.get("meta")
                      for name, node in _nodes(folder).items()})  # fmt: skip


def labels_of(metas: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, str]]:
    """Return what models call their clauses, from the `meta` of each: by relation and clause, a text by language."""
    labels: dict[tuple[str, str], Mapping[str, str]] = {}
    for relation, meta in metas.items():
        for one in (meta.get(LEFT_OUT) if isinstance(meta, dict) else None) or ():
            if isinstance(one, dict) and isinstance(clause := one.get("clause"), str):
                texts = {lang: str(one[lang]) for lang in LANGUAGES if one.get(lang)}
                with suppress(ValueError):
                    labels[relation, normal(clause)] = texts
    return labels


def descriptions(folder: Path) -> Mapping[str, str]:
    """Return the description of each model and source by its relation."""
    return {name: " ".join(str(node.get("description") or "").split()) for name, node in _nodes(folder).items()}


def place_of(folder: Path, relation: str, word: str) -> str:
    """Return the file of a model, with the line where a word of SQL stands first; empty where it is not known."""
    node = _nodes(folder).get(relation, {})
    file, code = str(node.get("original_file_path") or ""), str(node.get("raw_code") or "")
    found = re.search(rf"\b{word}\b", code, re.IGNORECASE) if word else None
    return f"{file}:{code.count(chr(10), 0, found.start()) + 1}" if file and found else file


def pseudonyms(folder: Path, relation: str) -> tuple[str, ...]:
    """Return the columns of a raw table whose contract calls them pseudonyms."""
    columns = _nodes(folder).get(relation, {}).get("columns", {})
    return tuple(
        name
        for name, column in columns.items()
        if (column.get("config", {}).get("meta") or column.get("meta") or {}).get("pseudonym")
    )
