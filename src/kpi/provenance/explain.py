"""Explains one figure of a build: reads what is known of it, and traces it to the rows of the deliveries.

Everything follows from the build: the compiled SQL of its models, the tables, and its record. No figure, family or feed
is known here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from kpi.build_record import BuildRecord
from kpi.database import duckdb
from kpi.errors import ConfigError, nearest
from kpi.presentation import LANGUAGES, presented, with_decimals
from kpi.provenance.explanation import (
    Check,
    Component,
    Definition,
    Delivery,
    Explanation,
    FigureKey,
    LeftOut,
    Limit,
    Part,
    Printed,
    RowKind,
    Step,
    Target,
    Where,
    YearBefore,
)
from kpi.provenance.path import Catalogue, Hop, Untraceable, paths
from kpi.provenance.steps import shown_sql
from kpi.provenance.trace import FURTHEST, Clause, Trace
from kpi.provenance.weight import weigh
from kpi.settings import ReportTables
from kpi.sql import identifier, literal
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.permissions import database_path

if TYPE_CHECKING:
    import pyarrow as pa

SUPERSEDED, REJECTED, UNJOINED = "superseded", "rejected", "not joined"


def explain(
    root: Path, figure_id: str, service: str | None = None, year: int | None = None, **where: Unpack[Where]
) -> Explanation:
    """Explain one figure of the published build of the project in `root`, or of the build that is named.

    Without `service` it is the only one that the figure has, without `year` the last finished year, without `basis`
    that of the figure's definition. Raises ConfigError, with the nearest name, for a figure that is not there.
    """
    from kpi import database

    warehouse = Warehouse(root.resolve() / "warehouse")
    folder = warehouse.folder(where.get("build"))
    record = warehouse.record(folder)
    if record.nodes is None:
        reason = record.problem or "nothing is noted of its models"
        raise ConfigError(f"build {record.id} cannot be explained: {reason}. Refresh, and explain the new build.")
    stewards = where.get("stewards", False)
    path = database_path(folder, stewards)
    build = _Build(record, folder.resolve(), stewards, where.get("lang", "en"))
    with database.reading(path) as con:
        key = find_figure(con, build.tables, FigureKey(figure_id, service or "", year or 0, where.get("basis") or ""))
        found = _Reading(con, build, key).explanation()

    def rows(kind: str) -> pa.Table:
        with database.reading(path) as own:
            return _Reading(own, build, key).rows(kind)

    return replace(found, _rows=rows)


def find_figure(con: duckdb.DuckDBPyConnection, tables: ReportTables, wanted: FigureKey) -> FigureKey:
    """Return the row of the indicators that is meant; what is empty, or the year 0, is to be found.

    Raises ConfigError with what there is instead.
    """
    figure_id = wanted.figure_id
    rows = con.execute(
        f"select service, report_year, basis from {tables.indicators} where figure_id = ? order by all", [figure_id]
    ).fetchall()
    if not rows:
        raise _no_figure(con, tables, figure_id)
    services = sorted({row[0] for row in rows})
    if wanted.service and wanted.service not in services:
        raise ConfigError(
            f"'{figure_id}' is not told of service '{wanted.service}'.{nearest(wanted.service, services)}"
        )
    if not wanted.service and len(services) > 1:
        raise ConfigError(f"'{figure_id}' is told of several services: name one by --service: {', '.join(services)}.")
    service = wanted.service or services[0]
    rows = [row for row in rows if row[0] == service]
    years = sorted({row[1] for row in rows})
    if wanted.report_year and wanted.report_year not in years:
        raise ConfigError(f"'{figure_id}' is not told of {wanted.report_year}. There is: {', '.join(map(str, years))}.")
    year = wanted.report_year or max([row[1] for row in rows if row[2] != "year_to_date"] or years)
    bases = [row[2] for row in rows if row[1] == year]
    if wanted.basis and wanted.basis not in bases:
        raise ConfigError(f"'{figure_id}' of {year} has no basis '{wanted.basis}'.{nearest(wanted.basis, bases)}")
    own = _rows(con, tables.figures, "figure_id = ?", [figure_id])
    usual = own[0].get("basis") if own else None
    return FigureKey(figure_id, service, year, wanted.basis or (str(usual) if usual in bases else str(bases[0])))


def _no_figure(con: duckdb.DuckDBPyConnection, tables: ReportTables, figure_id: str) -> ConfigError:
    if _rows(con, tables.figures, "figure_id = ?", [figure_id]):
        return ConfigError(f"'{figure_id}' is described, and nothing is told of it: its rows were not delivered.")
    known = con.execute(f"select distinct figure_id from {tables.indicators}").fetchall()
    return ConfigError(f"there is no figure '{figure_id}'.{nearest(figure_id, [row[0] for row in known])}")


@dataclass(frozen=True)
class _Build:
    """What a figure is explained from, besides the tables."""

    record: BuildRecord
    folder: Path
    stewards: bool
    lang: str

    @cached_property
    def tables(self) -> ReportTables:
        return ReportTables.from_names(self.record.tables)


@dataclass
class _Traced:
    """A part of the figure, traced: what is known of it, and its paths that have rows, each with its group's keys."""

    part: Part
    traces: tuple[Trace, ...] = ()
    keys: tuple[tuple[object, ...], ...] = ()
    groups: Mapping[str, int] = field(default_factory=dict)
    by_file: Mapping[tuple[str, str], int] = field(default_factory=dict)
    components: tuple[Component, ...] = ()
    untraced: str = ""


class _Reading:
    """Reads what one figure of an open build is explained by."""

    def __init__(self, con: duckdb.DuckDBPyConnection, build: _Build, key: FigureKey) -> None:
        self.con, self.key, self.record, self.tables = con, key, build.record, build.tables
        self.folder, self.stewards, self.lang = build.folder, build.stewards, build.lang
        self._paths: dict[str, tuple[list[list[Hop]], list[Trace]]] = {}
        self._summaries: dict[int, _Summary | None] = {}
        self.known = {
            f"{schema}.{name}": tuple(columns)
            for schema, name, columns in con.execute(
                "select schema_name, table_name, list(column_name order by column_index) from duckdb_columns()"
                " where database_name = current_database() and not internal group by all"
            ).fetchall()
        }

    @cached_property
    def catalogue(self) -> Catalogue:
        """The models of the build, its feeds and its tables."""
        nodes = self.record.nodes or {}
        models = {one.relation: one.sql for name, one in nodes.items() if name.startswith("model.") and one.sql}
        names = {one.feed for one in self.record.freshness} | {one.feed for one in self.record.files or ()}
        return Catalogue(models, {f"raw.{name}": name for name in names}, self.known, cache(self._has_row))

    @cached_property
    def indicator(self) -> dict[str, Any]:
        """The figure's row."""
        return _rows(self.con, self.tables.indicators, self._this, list(_values(self.key)))[0]

    _this = "figure_id = ? and service = ? and report_year = ? and basis = ?"

    # --- the explanation ----------------------------------------------------------------------------------------------

    def explanation(self) -> Explanation:
        """Return all of it but the rows."""
        definition = self._definition()
        row, origin = self.indicator, self._origin()
        numerator, denominator = self._parts(origin["origin"] == "kept")
        traced = [one for one in (numerator, denominator) if one.traces]
        outs = [] if self._closed(traced) else self._outs(numerator, denominator)
        left_out = self._left_out(outs)
        entered = self._entered(numerator)
        return Explanation(
            key=self.key,
            build=self.record.id,
            value=row["value"],
            shown=self._shown(row["value"], definition),
            numerator=numerator.part,
            denominator=denominator.part,
            definition=definition,
            last_full_month=row.get("last_full_month"),
            printed=self._printed(),
            year_before=self._year_before(definition),
            target=self._target(),
            limits=self._limits(denominator if denominator.traces else numerator),
            components=tuple(dict.fromkeys([*numerator.components, *denominator.components])),
            entered=entered,
            steps=self._steps(numerator, denominator, left_out),
            left_out=left_out,
            deliveries=self._deliveries(numerator, denominator),
            checks=self._checks(traced),
            needs_stewards=self._closed(traced),
            untraced=numerator.untraced or denominator.untraced,
            lang=self.lang,
            sql_by_kind=self._sql(numerator, denominator, outs),
            **(origin | ({"origin": "by hand"} if entered and origin["origin"] == "derived" else {})),
        )

    def _parts(self, is_kept: bool) -> tuple[_Traced, _Traced]:
        row = self.indicator
        numerator = self._traced("numerator", is_kept)
        if row["numerator"] is None and row["value"] is not None:
            own = self._traced("value", is_kept)
            if own.traces and own.part.aggregate not in ("sum", "formula"):
                numerator = own
        return numerator, self._traced("denominator", is_kept)

    @cached_property
    def _labels(self) -> Mapping[tuple[str, str], Mapping[str, str]]:
        """What the project calls the clauses of its models, by model and clause."""
        from kpi.provenance.labels import clause_labels

        return clause_labels(self.folder)

    def _traced(self, column: str, is_kept: bool) -> _Traced:
        value = self.indicator[column]
        if value is None or is_kept:
            return _Traced(Part("none" if value is None else "number", value, column))
        try:
            found, traces = self._found(column)
        except Untraceable as error:
            return _Traced(Part("number", value, column), untraced=str(error))
        if not traces:
            return _Traced(Part("number", value, column, self._expression(found, column)))
        if any(not one.feed for one in traces):
            return self._of_figures(column, value, traces)
        return self._of_rows(column, value, traces)

    def _found(self, column: str) -> tuple[list[list[Hop]], list[Trace]]:
        """The paths of a part, and those of them with rows as what they are traced by. Raises Untraceable."""
        if column not in self._paths:
            key = {"figure_id": self.key.figure_id, "service": self.key.service, "report_year": self.key.report_year}
            found = paths(self.catalogue, self.tables.indicators, [column], key)
            weights = [(one, weigh(one, column)) for one in found]
            fixed = {**key, "basis": self.key.basis} if self._has_bases else key
            traces = [Trace(self.catalogue, one, weight, fixed) for one, weight in weights if weight is not None]
            self._paths[column] = found, traces
        return self._paths[column]

    @cached_property
    def _has_bases(self) -> bool:
        """Whether the figure stands there on several bases, so that this one has to be looked for."""
        where = "figure_id = ? and service = ? and report_year = ?"
        return len(_rows(self.con, self.tables.indicators, where, list(_values(self.key))[:3])) > 1

    def _has_row(self, table: str) -> bool:
        """Whether a table of figures has this one: one that has not is of another family.

        The family of a figure whose deliveries were deleted has no row of its year, but it has those of other years.
        """
        if table not in self.known:
            return True
        looked_for: dict[str, object] = {"figure_id": self.key.figure_id}
        if self._origin()["origin"] != "kept":
            looked_for |= {"service": self.key.service, "report_year": self.key.report_year}
        where = " and ".join(f"{name} = ?" for name in looked_for)
        return (
            self.con.execute(f"select 1 from {table} where {where} limit 1", list(looked_for.values())).fetchone()
            is not None
        )

    def _of_rows(self, column: str, value: float, traces: Sequence[Trace]) -> _Traced:
        """A part that is made of rows of deliveries: how many, what they come to, by file, and of which group."""
        part = Part("rows", value, column, aggregate=traces[0].weight.aggregate)
        if any(not one.tables <= set(self.known) for one in traces):
            return _Traced(part, tuple(traces))
        used: list[Trace] = []
        keys: list[tuple[object, ...]] = []
        totals: list[_Summary] = []
        groups: dict[str, int] = {}
        by_file: dict[tuple[str, str], int] = {}
        for trace in traces:
            summary = self._summary(trace)
            if summary is None:
                continue
            used.append(trace)
            keys.append(summary.keys)
            groups |= summary.groups
            by_file |= summary.by_file
            totals.append(summary)
        count = sum(one.row_count for one in totals)
        total: Any = None
        if len(totals) == 1 or part.aggregate == "sum":
            total = sum(one.total or 0 for one in totals)
            total = float(total) if total is not None else None
        wanted = self.indicator["value"] if column == "value" else value
        is_exact = total is not None and (total == wanted or (not totals and wanted == 0))
        return _Traced(
            replace(part, row_count=count, total=total, is_exact=is_exact, expression=_text_of(traces[0])),
            tuple(used) or (traces[0],),
            tuple(keys) or ((),),
            groups,
            by_file,
            untraced="" if is_exact else f"the rows of the {column} come to {total}, and it is {wanted}.",
        )

    def _summary(self, trace: Trace) -> _Summary | None:
        """What the rows of one path come to; None when it has none. A part that is of the same rows comes along."""
        if id(trace) not in self._summaries:
            twins = [trace, *self._twins(trace)]
            leaves = tuple(leaf for one in twins for leaf in one.weight.leaves)
            joint = replace(trace, weight=replace(trace.weight, leaves=leaves)) if twins[1:] else trace
            for one, found in zip(twins, self._summed(joint, twins), strict=True):
                self._summaries[id(one)] = found
        return self._summaries[id(trace)]

    def _twins(self, trace: Trace) -> list[Trace]:
        """The denominator's trace, where it is of the same rows, grouped at the same place."""
        if self.indicator["denominator"] is None or trace.weight.formula:
            return []
        try:
            others = self._found("denominator")[1]
        except Untraceable:
            return []
        return [
            one
            for one in others
            if not any(trace is two for two in others) and not one.weight.formula and one.shape == trace.shape
        ]

    def _summed(self, joint: Trace, parts: Sequence[Trace]) -> list[_Summary | None]:
        """What the rows of one path come to for each of the parts whose weights they carry."""
        path, top = joint.path, joint.top_group
        groups = [place for place, hop in enumerate(path) if hop.keys is not None]
        columns = ["__file", "count(*)"]
        columns += [f"any_value(__key_{n})" for n in range(len(path[top].keys or ()) if top is not None else 0)]
        at, offset, places = len(columns), 0, []
        for one in parts:
            numbers = range(offset, offset + len(one.weight.leaves))
            entered = " or ".join(f"__in_{n}" for n in numbers)
            columns.append(f"count(*) filter (where {entered})")
            columns += [f"count(distinct __group_{place}) filter (where {entered})" for place in groups]
            columns += [
                leaf.aggregate.format(f"__weight_{n}") for n, leaf in zip(numbers, one.weight.leaves, strict=True)
            ]
            places.append(len(columns) - len(numbers) - len(groups) - 1)
            offset += len(numbers)
        sql = f"select {', '.join(columns)} from (\n{joint.rows_in}\n) group by grouping sets ((), (__file))"
        rows = self.con.execute(sql).fetchall()
        total_row = next(row for row in rows if row[0] is None)
        if not total_row[1]:
            return [None] * len(parts)
        found: list[_Summary | None] = []
        for one, start in zip(parts, places, strict=True):
            after = start + 1 + len(groups)
            counts = {path[place].model: total_row[start + 1 + n] for n, place in reversed(list(enumerate(groups)))}
            by_file = {(one.feed, row[0]): row[start] for row in rows if row[0] is not None and row[start]}
            total = self._total(one, total_row[after : after + len(one.weight.leaves)])
            found.append(_Summary(total_row[1], total_row[start], total, tuple(total_row[2:at]), counts, by_file))
        return found

    def _total(self, trace: Trace, totals: Sequence[Any]) -> Any:
        """What a part is, from the totals of its weights."""
        if not trace.weight.formula:
            return totals[0]
        named = ", ".join(f"{_number(value)} as total_{n}" for n, value in enumerate(totals))
        return self.con.execute(f"select {trace.weight.formula} from (select {named})").fetchall()[0][0]

    def _of_figures(self, column: str, value: float, traces: Sequence[Trace]) -> _Traced:
        """A part that is made of other figures."""
        components = []
        for trace in traces:
            if trace.feed or trace.base not in self.known:
                continue
            role = next((hop.driver for hop in trace.path if hop.siblings), "")
            sql = f"select distinct __file.figure_id, __file.service, __file.report_year from (\n{trace.rows_in}\n)"
            for figure, service, year in self.con.execute(sql).fetchall():
                components.append(self._component(role, figure, service, year, trace.base))
        return _Traced(Part("figures", value, column), tuple(traces), components=tuple(components))

    def _component(self, role: str, figure: str, service: str, year: int, table: str) -> Component:
        found = _rows(
            self.con,
            self.tables.indicators,
            "figure_id = ? and service = ? and report_year = ?",
            [figure, service, year],
        )
        own = sorted(found, key=lambda row: (row["basis"] != self.key.basis, row["basis"]))
        return Component(
            role or "",
            FigureKey(figure, service, year, own[0]["basis"] if own else ""),
            own[0]["value"] if own else None,
        )

    def _expression(self, found: Sequence[Sequence[Hop]], column: str) -> str:
        """The SQL of a part that no row stands behind, in the model that computes it."""
        from kpi.provenance.trace import plain_text

        for path in found:
            for hop in path:
                own = hop.resolve(column)
                if not isinstance(own, type(hop.catalogue.query_of)) and own.key != "column":
                    return plain_text(own)
                column = own.name.lower()
        return ""

    # --- the rows that are left out -----------------------------------------------------------------------------------

    def _closed(self, traced: Sequence[_Traced]) -> tuple[str, ...]:
        """The tables of the path that the build's file for all readers does not have."""
        needed = {table for one in traced for trace in one.traces if trace.feed for table in trace.tables}
        return tuple(sorted(one for one in needed if one not in self.known))

    def _outs(self, numerator: _Traced, denominator: _Traced) -> list[_Out]:
        """The queries that tell of each row of the feeds what leaves it out: those of the numerator go before."""
        found: list[_Out] = []
        for part, other in ((numerator, denominator), (denominator, numerator)):
            if part.part.kind != "rows":
                continue
            for trace, keys in zip(part.traces, part.keys, strict=False):
                if part is denominator and any(one.trace.feed == trace.feed for one in found if one.is_numerator):
                    continue
                clauses: list[Clause] = []
                prior = _conditions_before(trace, other) if part is numerator else ()
                tracing = replace(trace, prior=prior)
                once = tracing.rows_out(keys, [], is_once=True)
                found.append(_Out(trace, tracing.rows_out(keys, clauses), once, clauses, part is numerator))
        return found

    def _left_out(self, outs: Sequence[_Out]) -> tuple[LeftOut, ...]:
        found: list[LeftOut] = []
        for out in outs:
            rows = self._counts(out)
            for number, count in rows:
                if number != FURTHEST:
                    clause = out.clauses[number]
                    found.append(self._one_left(out.trace.feed, clause, count))
            missing = self._count(out.trace.base) - sum(count for _, count in rows)
            if missing:
                found.append(LeftOut(out.trace.feed, out.trace.path[0].model, UNJOINED, missing, kind="unjoined"))
        if "raw.rejects" in self.known:
            for feed in dict.fromkeys(out.trace.feed for out in outs):
                rejected = self.con.execute("select count(*) from raw.rejects where feed = ?", [feed]).fetchall()[0][0]
                if rejected:
                    found.append(self._one_left(feed, Clause(f"raw.{feed}", REJECTED, REJECTED), rejected))
        return tuple(found)

    def _counts(self, out: _Out) -> list[tuple[int, int]]:
        """How many rows each clause leaves out, by its number."""
        count = "select __left, count(*) from (\n{}\n) group by 1 order by 1"
        rows = self.con.execute(count.format(out.once)).fetchall()
        if sum(row[1] for row in rows) != self._count(out.trace.base):  # a join brings some rows several times
            rows = self.con.execute(count.format(out.sql)).fetchall()
        return rows

    def _one_left(self, feed: str, clause: Clause, count: int) -> LeftOut:
        labels = self._labels.get((clause.model, clause.text.lower()), {})
        return LeftOut(feed, clause.model, clause.text, count, labels, clause.kind)

    def _count(self, table: str) -> int:
        return int(self.con.execute(f"select count(*) from {table}").fetchall()[0][0])

    # --- rows ---------------------------------------------------------------------------------------------------------

    def rows(self, kind: RowKind | str) -> pa.Table:
        """Return the raw rows of one kind."""
        origin = self._origin()
        numerator, denominator = self._parts(origin["origin"] == "kept")
        if origin["origin"] == "kept":
            message = f"its deliveries were deleted; it stands as build {origin['kept_from']} had it, and has no rows."
            raise ConfigError(f"'{self.key.figure_id}' of {self.key.report_year}: {message}")
        traced = [one for one in (numerator, denominator) if one.traces]
        if closed := self._closed(traced):
            raise ConfigError(f"{', '.join(closed)} is left out of the file for all readers: --stewards opens it.")
        sql = self._sql(numerator, denominator, self._outs(numerator, denominator)).get(str(kind))
        if sql is None:
            part = denominator.part if kind == "denominator" else numerator.part
            raise ConfigError(f"'{self.key.figure_id}' has no rows of its {kind}: {_why_none(part, self.key)}")
        return self.con.sql(sql).to_arrow_table()

    def _sql(self, numerator: _Traced, denominator: _Traced, outs: Sequence[_Out] = ()) -> dict[str, str]:
        if self._closed([numerator, denominator]):
            return {}
        found = {}
        for name, part in (("numerator", numerator), ("denominator", denominator)):
            if part.part.kind == "rows":
                each = [self._rows_sql(trace) for trace in part.traces]
                found[name] = "\nunion all by name\n".join(each) + "\norder by feed, file, record"
        if outs:
            each = [self._out_sql(out) for out in outs]
            each += [self._rejects_sql(feed) for feed in dict.fromkeys(out.trace.feed for out in outs)]
            found["left-out"] = "\nunion all by name\n".join(each) + "\norder by feed, file, record"
        return found

    def _columns(self, base: str) -> str:
        """The columns of a contract, without those that only stewards see: pseudonyms."""
        from kpi.provenance.labels import pseudonyms

        hidden = () if self.stewards else pseudonyms(self.folder, base)
        names = [one for one in self.known.get(base, ()) if not one.startswith("_") and one not in hidden]
        return "".join(f", r.{identifier(name)}" for name in names)

    def _rows_sql(self, trace: Trace) -> str:
        leaves = range(len(trace.weight.leaves))
        entered = " or ".join(f"__in_{n}" for n in leaves)
        # Without coalesce() DuckDB 2.0.1 takes the sum for a number of eight bits when it sorts the rows by others.
        weight = "coalesce(sum(__weight_0), 0)" if trace.weight.aggregate == "sum" else "any_value(__weight_0)"
        if trace.weight.formula:
            weight = "cast(1 as bigint)"
        return (
            f"select * from (\nselect {literal(trace.feed)} as feed, r._file as file, r._record as record, counts_as"
            f"{self._columns(trace.base)}\nfrom (\nselect __row, {weight} as counts_as from (\n{trace.rows_in}\n)"
            f" where {entered} group by __row\n) as entered\ninner join {trace.base} as r on r.rowid = entered.__row\n)"
        )

    def _out_sql(self, out: _Out) -> str:
        base = out.trace.base
        texts = ", ".join(literal(one.text) for one in out.clauses)
        models = ", ".join(literal(one.model) for one in out.clauses)
        return (
            f"select * from (\nselect {literal(out.trace.feed)} as feed, r._file as file, r._record as record,"
            f" coalesce([{texts}][__left + 1], {literal(UNJOINED)}) as clause,"
            f" coalesce([{models}][__left + 1], {literal(out.trace.path[0].model)}) as model{self._columns(base)}\n"
            f"from {base} as r left join (\n{out.sql}\n) as judged on r.rowid = judged.__row\n"
            f"where judged.__left is distinct from {FURTHEST}\n)"
        )

    def _rejects_sql(self, feed: str) -> str:
        """The rejected records, with the reasons but none of their cells."""
        if "raw.rejects" not in self.known:
            return "select null as feed where false"
        reason = "case when x.column_name = '' then x.reason else x.column_name || ': ' || x.reason end"
        return (
            f"select * from (select feed, file, record_number as record, {literal(REJECTED + ': ')} ||"
            f" array_to_string([{reason} for x in reasons], '; ') as clause, {literal(f'raw.{feed}')} as model"
            f" from raw.rejects where feed = {literal(feed)})"
        )

    # --- what else is known -------------------------------------------------------------------------------------------

    def _definition(self) -> Definition:
        own = _rows(self.con, self.tables.figures, "figure_id = ?", [self.key.figure_id])
        services = _rows(
            self.con,
            self.tables.figure_services,
            "figure_id = ? and service = ?",
            [self.key.figure_id, self.key.service],
        )
        row, service = own[0] if own else {}, services[0] if services else {}
        catalogue = "marts.figure_catalogue"
        owners: list[dict[str, Any]] = []
        if catalogue in self.known:
            owners = _rows(self.con, catalogue, "figure_id = ? and service = ?", [self.key.figure_id, self.key.service])
        return Definition(
            names=_named(row, "name"),
            definitions=_named(row, "definition"),
            service_names=_named(service, "service_name"),
            unit=_text(row.get("unit")),
            decimals=_text(row.get("decimals")),
            good_direction=_text(row.get("good_direction")),
            family=_text(row.get("family")),
            owner=_named(owners[0], "owner") if owners else {},
            valid_from=_text(service.get("since") or row.get("since")),
            source=_text(row.get("source")),
        )

    def _shown(self, value: float | None, definition: Definition) -> str:
        if value is None:
            return "-"
        text = presented("v.x", "v.d", "v.u")
        row = self.con.execute(
            f"select {text} from (values (cast(? as double), cast(? as varchar), cast(? as varchar))) as v (x, d, u)",
            [value, definition.decimals or None, definition.unit],
        ).fetchall()[0]
        return with_decimals(str(row[0]), definition.decimals)

    def _origin(self) -> dict[str, Any]:
        table = self.tables.indicator_origins
        found = _rows(self.con, table, self._this, list(_values(self.key))) if table in self.known else []
        if not found or found[0]["origin"] != "kept":
            return {"origin": "derived"}
        return {
            "origin": "kept",
            "kept_from": _text(found[0].get("kept_from")),
            "kept_on": _text(found[0].get("kept_on")),
        }

    def _printed(self) -> Printed | None:
        if self.tables.reconciliation not in self.known:
            return None
        found = _rows(self.con, self.tables.reconciliation, self._this, list(_values(self.key)))
        if not found:
            return None
        row = found[0]
        source = " ".join(_text(row.get(name)) for name in ("source_report", "section") if row.get(name))
        return Printed(
            float(row["published_value"]),
            _text(row.get("qualifier")),
            _text(row.get("decimals")),
            _text(row.get("status")),
            _text(row.get("reason")),
            source,
        )

    def _year_before(self, definition: Definition) -> YearBefore | None:
        if self.tables.indicator_changes not in self.known:
            return None
        found = _rows(self.con, self.tables.indicator_changes, self._this, list(_values(self.key)))
        if not found:
            return None
        row = found[0]
        return YearBefore(
            int(row["previous_year"]),
            _text(row.get("previous_basis")),
            row["previous_value"],
            self._shown(row["previous_value"], definition),
            row["change"],
            self._breaks(int(row["previous_year"])) if row.get("has_break") else (),
        )

    def _breaks(self, previous: int) -> tuple[tuple[str, Mapping[str, str]], ...]:
        table = "marts.comparability_breaks"
        if table not in self.known:
            return ()
        found = _rows(
            self.con,
            table,
            "figure_id = ? and service = ? and year(starts_on) in (?, ?) order by starts_on",
            [self.key.figure_id, self.key.service, previous, previous + 1],
        )
        breaks = {(str(row["starts_on"]), str(row.get("reason_en"))): _named(row, "reason") for row in found}
        return tuple((day, reasons) for (day, _), reasons in breaks.items())

    def _target(self) -> Target | None:
        if self.tables.targets not in self.known:
            return None
        where = "figure_id = ? and service = ? and report_year = ?"
        values = [self.key.figure_id, self.key.service, self.key.report_year]
        found = _rows(self.con, self.tables.targets, where, values)
        if not found:
            return None
        row = found[0]
        return Target(float(row["target"]), _text(row.get("comparison")), _text(row.get("source")))

    def _limits(self, traced: _Traced) -> tuple[Limit, ...]:
        """The rows of seeds that the figure's rows are joined to with dates: what they are measured by."""
        from kpi.provenance.steps import dated_seeds

        if traced.part.kind != "rows" or self._closed([traced]):
            return ()
        seeds = {one.relation for name, one in (self.record.nodes or {}).items() if name.startswith("seed.")}
        found: list[Limit] = []
        for trace in traced.traces:
            for seed, sql in dated_seeds(trace, seeds):
                cursor = self.con.execute(sql)
                names = [column[0] for column in cursor.description or []]
                for values in cursor.fetchall():
                    row = dict(zip(names, values, strict=True))
                    plain = {name: _text(value) for name, value in row.items() if value is not None}
                    found.append(Limit(seed, plain, _named(row, "limit")))
        return tuple(found[:6])

    def _entered(self, numerator: _Traced) -> tuple[Mapping[str, str], ...]:
        """The rows themselves of a figure that no group makes: one row, entered as it is."""
        is_plain = numerator.part.kind == "rows" and all(one.top_group is None for one in numerator.traces)
        if not is_plain or self._closed([numerator]) or (numerator.part.row_count or 0) > 3:
            return ()
        rows = self.con.execute(self._sql(numerator, _Traced(Part("none", None)))["numerator"])
        names = [column[0] for column in rows.description or []]
        return tuple({name: _text(value) for name, value in zip(names, row, strict=True)} for row in rows.fetchall())

    def _deliveries(self, numerator: _Traced, denominator: _Traced) -> tuple[Delivery, ...]:
        counted: dict[tuple[str, str], int] = {}
        for part in (numerator, denominator):
            for place, count in part.by_file.items():
                counted[place] = max(counted.get(place, 0), count)
        found = [
            Delivery(
                one.feed,
                one.file,
                one.content_hash,
                one.records,
                one.rows_loaded,
                one.rows_rejected,
                one.rows_superseded,
                counted[one.feed, one.file],
                one.superseded_by or (),
            )
            for one in self.record.files or ()
            if (one.feed, one.file) in counted
        ]
        return tuple(found) + self._deleted()

    def _deleted(self) -> tuple[Delivery, ...]:
        """Deliveries that were deleted, of the figure's feeds and year."""
        table = self.tables.deleted_deliveries
        if table not in self.known or self._origin()["origin"] != "kept":
            return ()
        found = _rows(
            self.con,
            table,
            "? between first_year and last_year and kept_from = ? order by feed, file",
            [self.key.report_year, self._origin()["kept_from"]],
        )
        feeds = self._feeds_of_family()
        return tuple(
            Delivery(
                row["feed"],
                row["file"],
                row["content_hash"],
                row["records"],
                row["rows_loaded"],
                row["rows_rejected"],
                row["rows_superseded"],
                None,
                is_deleted=True,
            )
            for row in found
            if row["feed"] in feeds
        )

    def _feeds_of_family(self) -> set[str]:
        key = {"figure_id": self.key.figure_id, "service": self.key.service, "report_year": self.key.report_year}
        found: set[str] = set()
        for column in ("numerator", "denominator", "value"):
            try:
                every = paths(self.catalogue, self.tables.indicators, [column], key)
            except Untraceable:
                continue
            bases = {one[-1].driving.relation.name for one in every if one[-1].driving.relation is not None}
            found |= {self.catalogue.feeds[one] for one in bases if one in self.catalogue.feeds}
        return found

    def _checks(self, traced: Sequence[_Traced]) -> tuple[Check, ...]:
        models = {hop.model for one in traced for trace in one.traces for hop in trace.path}
        models |= {trace.base for one in traced for trace in one.traces} | {self.tables.indicators}
        found = []
        for test in self.record.checks:
            named = [one for one in sorted(models) if re.search(rf"\b{re.escape(one)}\b", test.sql)]
            if named:
                found.append(Check(test.name, "test", test.status, named[0]))
        table = f"{self.tables.indicators.partition('.')[0]}.expectation_results"
        if table not in self.known:
            return tuple(found)
        rows = _rows(self.con, table, "report_year = ? order by expectation", [self.key.report_year])
        for row in rows:
            observed = _text(row.get("observed"))
            names_it = f"{self.key.figure_id} {self.key.service} {self.key.report_year} " in f"{observed} "
            status = "pass" if row["success"] or not names_it else "fail"
            found.append(Check(row["expectation"], "expectation", status, "", observed if status == "fail" else ""))
        return tuple(found)

    def _steps(self, numerator: _Traced, denominator: _Traced, left_out: Sequence[LeftOut]) -> tuple[Step, ...]:
        """The models of the path, from the mart down; where there are several paths, one after the other."""
        found: dict[str, Step] = {}
        for part in (numerator, denominator):
            for trace in part.traces:
                for step in self._steps_of(trace, part, left_out):
                    found.setdefault(step.model, step)
        order = {"mart": 0, "model": 1, "raw": 2}
        return tuple(sorted(found.values(), key=lambda one: order[one.kind]))[:12]

    def _steps_of(self, trace: Trace, part: _Traced, left_out: Sequence[LeftOut]) -> list[Step]:
        from kpi.provenance.labels import descriptions

        names = list(dict.fromkeys(hop.model for hop in trace.path))
        words = descriptions(self.folder)
        steps, rows_in = [], None
        if trace.base in self.known:
            rows_in = self._count(trace.base) if trace.feed else None
        mine = [one for one in left_out if one.feed == trace.feed]
        kind: Literal["raw", "model"] = "raw" if trace.feed else "model"
        steps.append(
            Step(trace.base, kind, words.get(trace.base, ""), (), "", None, rows_in, tuple(
                one for one in mine if one.model == trace.base
            ))
        )  # fmt: skip
        for model in reversed(names):
            here = tuple(one for one in mine if one.model == model)
            rows_out = rows_in
            if rows_in is not None:
                rows_out = part.groups.get(model, rows_in - sum(one.row_count for one in here))
            columns, sql = shown_sql(trace, model, part.part.column)
            is_top: Literal["mart", "model"] = "mart" if model == names[0] else "model"
            steps.append(Step(model, is_top, words.get(model, ""), columns, sql, rows_in, rows_out, here))
            rows_in = rows_out
        return steps[::-1]


@dataclass(frozen=True, slots=True)
class _Summary:
    scope_count: int
    row_count: int
    total: Any
    keys: tuple[object, ...]
    groups: Mapping[str, int]
    by_file: Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class _Out:
    trace: Trace
    sql: str
    once: str
    clauses: list[Clause]
    is_numerator: bool


def _conditions_before(trace: Trace, other: _Traced) -> tuple[Any, ...]:
    """The conditions of the other part, where it is counted of the same rows at the same place."""
    for one in other.traces:
        is_plain = len(one.weight.leaves) == 1 and not one.weight.leaves[0].is_by_weight
        if other.part.kind == "rows" and one.shape == trace.shape and is_plain:
            return one.weight.leaves[0].conditions
    return ()


def _text_of(trace: Trace) -> str:
    """What a part is, as SQL over the rows of one model."""
    from kpi.provenance.trace import plain_text

    weight = trace.weight
    if weight.formula:
        return weight.formula
    leaf = weight.leaves[0]
    return leaf.aggregate.format(plain_text(leaf.weight))


def _why_none(part: Part, key: FigureKey) -> str:
    if part.kind == "figures":
        return "it is made of other figures, which kpi explain names."
    if part.kind == "number":
        return f"it is the number {part.value:g}, behind which stands no row."
    return "it has none; its value is made of its other part alone."


def _rows(con: duckdb.DuckDBPyConnection, table: str, where: str, values: Sequence[object]) -> list[dict[str, Any]]:
    cursor = con.execute(f"select * from {table} where {where}", list(values))
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _values(key: FigureKey) -> tuple[str, str, int, str]:
    return key.figure_id, key.service, key.report_year, key.basis


def _named(row: Mapping[str, Any], name: str) -> dict[str, str]:
    """The texts of a row in the languages it has them in."""
    found = {lang: _text(row[f"{name}_{lang}"]) for lang in LANGUAGES if row.get(f"{name}_{lang}")}
    return found or ({"en": _text(row[name])} if row.get(name) else {})


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _number(value: object) -> str:
    return "null" if value is None else str(value)
