"""Explains one figure of a build: reads what is known of it, and traces it to the rows of the deliveries.

Everything follows from the build: the compiled SQL of its models, the tables, and its record. No figure, family or feed
is known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from kpi import database
from kpi.database import fetch_dicts
from kpi.errors import ConfigError
from kpi.files import find_project
from kpi.lazy import duckdb
from kpi.provenance.explanation import (
    Check,
    Component,
    Delivery,
    Explanation,
    LeftOut,
    Limit,
    Part,
    Step,
    Where,
)
from kpi.provenance.figure_facts import (
    FigureFacts,
    as_text,
    clause_labels,
    descriptions,
    find_figure,
    in_languages,
    place_of,
    pseudonyms,
)
from kpi.provenance.figure_values import FigureKey
from kpi.provenance.path import Catalogue, Fixed, Hop, paths
from kpi.provenance.query import INSTEAD, Untraceable, plain_text
from kpi.provenance.steps import dated_seeds, several_branches, shown_sql
from kpi.provenance.trace import FURTHEST, Clause, Trace, entered, furthest
from kpi.provenance.weight import weigh
from kpi.sql import identifier, literal
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.permissions import database_path

if TYPE_CHECKING:
    import pyarrow as pa

REJECTED, UNJOINED = "rejected", "not joined"
_OF_A_FILE = ("feed", "file", "content_hash", "records", "rows_loaded", "rows_rejected", "rows_superseded")


def explain(figure_id: str, service: str | None = None, year: int | None = None, **where: Unpack[Where]) -> Explanation:
    """Explain one figure of a build: its parts, its path to the raw rows, and what left rows out.

    `print(kpi.explain("loans", "riverside", 2025).text)` is the screen of `kpi explain`; `.rows()` are the raw rows.
    Without `service` it is the only one that the figure has, without `year` the last finished year, without `basis`
    that of the figure's definition. `build`, `project_dir`, `stewards` and `lang` are as in the command. Raises
    ConfigError, with the nearest name, for a figure that is not there.
    """
    warehouse = Warehouse(find_project(where.get("project_dir")).resolve() / "warehouse")
    folder = warehouse.folder(where.get("build"))
    record = warehouse.record(folder)
    if record.nodes is None:
        reason = record.problem or "nothing is noted of its models"
        raise ConfigError(f"build {record.id} cannot be explained: {reason}. Refresh, and explain the new build.")
    stewards = where.get("stewards", False)
    path = database_path(folder, stewards)
    wanted = FigureKey(figure_id, service or "", year or 0, where.get("basis") or "")
    with database.reading(path) as con:
        facts = FigureFacts(con, record, find_figure(con, record.report_tables, wanted))
        explanation = _Reading(facts, folder, stewards).explanation(where.get("lang", "en"))

    def rows(kind: str) -> pa.Table:
        if kind not in explanation.sql_by_kind:
            raise ConfigError(_why_no_rows(explanation, kind))
        with database.reading(path) as own:
            return own.sql(explanation.sql_by_kind[kind]).to_arrow_table()

    return replace(explanation, _rows=rows)


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

    def __init__(self, facts: FigureFacts, folder: Path, stewards: bool) -> None:
        self.facts, self.folder, self.stewards = facts, folder, stewards
        self.con, self.key, self.record, self.tables = facts.con, facts.key, facts.record, facts.tables
        self.known, self.indicator = facts.known, facts.indicator
        self._paths: dict[str, tuple[list[list[Hop]], list[Trace]]] = {}
        self._summaries: dict[int, _Summary | None] = {}
        self._repeated: set[str] = set()  # feeds of which a join brings some rows several times

    @cached_property
    def catalogue(self) -> Catalogue:
        """The models of the build, its feeds and its tables."""
        nodes = self.record.nodes or {}
        models = {one.relation: one.sql for name, one in nodes.items() if name.startswith("model.") and one.sql}
        names = {one.feed for one in self.record.freshness} | {one.feed for one in self.record.files or ()}
        return Catalogue(models, {f"raw.{name}": name for name in names}, self.known, cache(self._has_row))

    @cached_property
    def place(self) -> Fixed:
        """The columns that say which figure it is, whatever its basis."""
        return {"figure_id": self.key.figure_id, "service": self.key.service, "report_year": self.key.report_year}

    @cached_property
    def is_kept(self) -> bool:
        """Whether its deliveries were deleted, and it stands as a build had it."""
        return bool(self.facts.origin["origin"] == "kept")

    # --- the explanation ----------------------------------------------------------------------------------------------

    def explanation(self, lang: str) -> Explanation:
        """Return all of it but the rows."""
        facts, row, origin = self.facts, self.indicator, self.facts.origin
        numerator, denominator = self._parts()
        traced = [one for one in (numerator, denominator) if one.traces]
        outs = [] if self._closed(traced) else self._outs(numerator, denominator)
        unjudged = ""
        try:
            with self._refusing([out.trace for out in outs], is_open=True):
                left_out = self._left_out(outs)
        except Untraceable as error:
            outs, left_out, unjudged = [], (), f"what leaves rows out cannot be told: {self._said_of(error)}"
        numerator, denominator = self._recounted(numerator), self._recounted(denominator)
        entered = self._entered(numerator)
        return Explanation(
            key=self.key,
            build=self.record.id,
            value=_exact(row["value"]),
            shown=facts.shown(row["value"]),
            numerator=numerator.part,
            denominator=denominator.part,
            definition=facts.definition,
            last_full_month=row.get("last_full_month"),
            printed=facts.printed,
            year_before=facts.year_before,
            target=facts.target,
            limits=self._limits(denominator if denominator.traces else numerator),
            components=tuple(dict.fromkeys([*numerator.components, *denominator.components])),
            entered=entered,
            steps=self._steps(numerator, denominator, left_out),
            left_out=left_out,
            deliveries=self._deliveries(numerator, denominator),
            checks=self._checks(traced),
            needs_stewards=self._closed(traced),
            untraced=numerator.untraced or denominator.untraced or unjudged,
            lang=lang,
            sql_by_kind=self._sql(numerator, denominator, outs),
            **(origin | ({"origin": "by hand"} if entered and origin["origin"] == "derived" else {})),
        )

    def _parts(self) -> tuple[_Traced, _Traced]:
        row = self.indicator
        numerator = self._traced("numerator")
        if row["numerator"] is None and row["value"] is not None:
            own = self._traced("value")
            if own.traces and own.part.aggregate not in ("sum", "formula"):
                numerator = own
        return numerator, self._traced("denominator")

    @cached_property
    def _labels(self) -> Mapping[tuple[str, str], Mapping[str, str]]:
        """What the project calls the clauses of its models, by model and clause."""
        return clause_labels(self.folder)

    def _traced(self, column: str) -> _Traced:
        value = _exact(self.indicator[column])
        if value is None or self.is_kept:
            return _Traced(Part("none" if value is None else "number", value, column))
        try:
            every_path, traces = self._paths_of(column)
            if not traces:
                return _Traced(Part("number", value, column, self._expression(every_path, column)))
            with self._refusing(traces):
                if any(not one.feed for one in traces):
                    return self._of_figures(column, value, traces)
                return self._of_rows(column, value, traces)
        except Untraceable as error:
            return _Traced(Part("number", value, column), untraced=self._said_of(error))

    def _said_of(self, error: Untraceable) -> str:
        """What an error says, with the file and line of the model."""
        place = place_of(self.folder, error.model, error.word)
        return f"{error.model}{f' ({place})' if place else ''}: {error.message}"

    @contextmanager
    def _refusing(self, traces: Sequence[Trace], is_open: bool = False) -> Iterator[None]:
        """Raise Untraceable for what DuckDB says of SQL that nobody wrote: it is derived from a model's."""
        try:
            yield
        except _of_sql():
            model = next((one.model_at_fault(self._is_right, is_open) for one in traces), self.tables.indicators)
            raise Untraceable(model, INSTEAD["form"]) from None

    def _is_right(self, sql: str) -> bool:
        try:
            self.con.execute(sql).fetchall()
        except _of_sql():
            return False
        return True

    def _paths_of(self, column: str) -> tuple[list[list[Hop]], list[Trace]]:
        """The paths of a part, and those of them with rows as what they are traced by. Raises Untraceable."""
        if column not in self._paths:
            every_path = paths(self.catalogue, self.tables.indicators, [column], self.place)
            weights = [(one, weigh(one, column)) for one in every_path]
            fixed = {**self.place, "basis": self.key.basis} if self.facts.has_bases else self.place
            traces = [Trace(self.catalogue, one, weight, fixed) for one, weight in weights if weight is not None]
            self._paths[column] = every_path, traces
        return self._paths[column]

    def _has_row(self, table: str) -> bool:
        """Whether a table of figures has this one: one that has not is of another family.

        The family of a figure whose deliveries were deleted has no row of its year, but it has those of other years.
        """
        if table not in self.known:
            return True
        looked_for = {"figure_id": self.key.figure_id} if self.is_kept else self.place
        where = " and ".join(f"{name} = ?" for name in looked_for)
        sql = f"select 1 from {table} where {where} limit 1"
        return self.con.execute(sql, list(looked_for.values())).fetchone() is not None

    def _of_rows(self, column: str, value: float, traces: Sequence[Trace]) -> _Traced:
        """A part that is made of rows of deliveries: how many, what they come to, by file, and of which group."""
        part = Part("rows", value, column, aggregate=traces[0].weight.aggregate)
        if any(not one.tables <= set(self.known) for one in traces):
            return _Traced(part, tuple(traces))
        summaries = [(trace, summary) for trace in traces if (summary := self._summary(trace))]
        total = None
        if len(summaries) == 1 or part.aggregate == "sum":
            total = _exact(sum(one.total or 0 for _, one in summaries))
        wanted = _exact(self.indicator["value"]) if column == "value" else value
        is_exact = total is not None and (_is_same(total, wanted) or (not summaries and wanted == 0))
        count = sum(one.row_count for _, one in summaries)
        return _Traced(
            replace(part, row_count=count, total=total, is_exact=is_exact, expression=_text_of(traces[0])),
            tuple(trace for trace, _ in summaries) or (traces[0],),
            tuple(one.keys for _, one in summaries) or ((),),
            {model: number for _, one in summaries for model, number in one.groups.items()},
            {place: number for _, one in summaries for place, number in one.by_file.items()},
            untraced="" if is_exact else self._why_not(column, traces, total, wanted),
        )

    def _why_not(self, column: str, traces: Sequence[Trace], total: object, wanted: object) -> str:
        """Why the rows of a part do not come to it."""
        if len(traces) > 1 and (any(one.weight.is_once or one.weight.has_distinct for one in traces) or total is None):
            top = next(here for here, there in zip(traces[0].path, traces[1].path, strict=False) if here is not there)
            return self._said_of(Untraceable(top.model, INSTEAD["branches"], "union"))
        return f"the rows of the {column} come to {total}, and it is {wanted}."

    def _summary(self, trace: Trace) -> _Summary | None:
        """What the rows of one path come to; None when it has none. A part that is of the same rows comes along."""
        if id(trace) not in self._summaries:
            twins = [trace, *self._twins(trace)]
            leaves = tuple(leaf for one in twins for leaf in one.weight.leaves)
            joint = replace(trace, weight=replace(trace.weight, leaves=leaves)) if twins[1:] else trace
            for one, summary in zip(twins, self._summed(joint, twins), strict=True):
                self._summaries[id(one)] = summary
        return self._summaries[id(trace)]

    def _twins(self, trace: Trace) -> list[Trace]:
        """The denominator's trace, where it is of the same rows, grouped at the same place."""
        if self.indicator["denominator"] is None or trace.weight.formula:
            return []
        try:
            others = self._paths_of("denominator")[1]
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
        keys = range(len(path[top].keys or ()) if top is not None else 0)
        columns = ["__file as file", "count(*) as row_count", *(f"any_value(__key_{n}) as key_{n}" for n in keys)]
        numbers: list[range] = []  # of the weights of each part
        for number, one in enumerate(parts):
            first = numbers[-1].stop if numbers else 0
            own = range(first, first + len(one.weight.leaves))
            entered = " or ".join(f"__in_{n}" for n in own)
            columns.append(f"count(*) filter (where {entered}) as entered_{number}")
            columns += [
                f"count(distinct __group_{place}) filter (where {entered}) as groups_{number}_{place}"
                for place in groups
            ]
            totals = zip(own, one.weight.leaves, strict=True)
            columns += [f"{leaf.total(f'__weight_{n}')} as total_{n}" for n, leaf in totals]
            numbers.append(own)
        sql = f"select {', '.join(columns)} from (\n{joint.rows_in}\n) group by grouping sets ((), (__file))"
        rows = fetch_dicts(self.con, sql)
        of_all_files = next(row for row in rows if row["file"] is None)
        if not of_all_files["row_count"]:
            return [None] * len(parts)
        return [
            _Summary(
                of_all_files[f"entered_{number}"],
                self._total(one, [of_all_files[f"total_{n}"] for n in numbers[number]]),
                tuple(of_all_files[f"key_{n}"] for n in keys),
                {path[place].model: of_all_files[f"groups_{number}_{place}"] for place in reversed(groups)},
                {
                    (one.feed, row["file"]): row[f"entered_{number}"]
                    for row in rows
                    if row["file"] is not None and row[f"entered_{number}"]
                },
            )
            for number, one in enumerate(parts)
        ]

    def _total(self, trace: Trace, totals: Sequence[Any]) -> Any:
        """What a part is, from the totals of its weights."""
        if not trace.weight.formula:
            return totals[0]
        columns = ", ".join(f"{_number(value)} as total_{n}" for n, value in enumerate(totals))
        others = [one for one in totals if not _is_number(one)]
        return self.con.execute(f"select {trace.weight.formula} from (select {columns})", others).fetchall()[0][0]

    def _of_figures(self, column: str, value: float, traces: Sequence[Trace]) -> _Traced:
        """A part that is made of other figures."""
        components = []
        for trace in traces:
            if trace.feed or trace.base not in self.known:
                continue
            role = next((hop.driver for hop in trace.path if hop.siblings), "")
            sql = f"select distinct __file.figure_id, __file.service, __file.report_year from (\n{trace.rows_in}\n)"
            for figure, service, year in self.con.execute(sql).fetchall():
                components.append(self._component(role, figure, service, year))
        return _Traced(Part("figures", value, column), tuple(traces), components=tuple(components))

    def _component(self, role: str, figure: str, service: str, year: int) -> Component:
        sql = f"select * from {self.tables.indicators} where figure_id = ? and service = ? and report_year = ?"
        rows = fetch_dicts(self.con, sql, [figure, service, year])
        own = min(rows, key=lambda row: (row["basis"] != self.key.basis, row["basis"]), default={})
        return Component(role, FigureKey(figure, service, year, own.get("basis", "")), own.get("value"))

    def _expression(self, every_path: Sequence[Sequence[Hop]], column: str) -> str:
        """The SQL of a part that no row stands behind, in the model that computes it."""
        for path in every_path:
            for hop in path:
                own = hop.resolve(column)
                if own.key != "column":
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
        queries: list[_Out] = []
        for part, other in ((numerator, denominator), (denominator, numerator)):
            if part.part.kind != "rows":
                continue
            feeds: dict[str, list[tuple[Trace, tuple[object, ...]]]] = {}
            for trace, keys in zip(part.traces, part.keys, strict=False):
                feeds.setdefault(trace.feed, []).append((trace, keys))
            for feed, every in feeds.items():
                if part is denominator and any(one.trace.feed == feed for one in queries if one.is_numerator):
                    continue
                clauses: list[Clause] = []
                each, first = [], []
                for trace, keys in every:
                    tracing = replace(trace, prior=_conditions_before(trace, other) if part is numerator else ())
                    first.append(len(clauses))
                    each.append((tracing.rows_out(keys, clauses), tracing.rows_out(keys, [], is_once=True)))
                traces = tuple(trace for trace, _ in every)
                sql, once = each[0] if len(each) == 1 else (furthest([one for one, _ in each], first),) * 2
                queries.append(_Out(traces, sql, once, clauses, part is numerator))
        return queries

    def _left_out(self, outs: Sequence[_Out]) -> tuple[LeftOut, ...]:
        reasons: list[LeftOut] = []
        for out in outs:
            rows = self._counts(out)
            for number, count in rows:
                if number != FURTHEST:
                    clause = out.clauses[number]
                    reasons.append(self._one_left(out.trace.feed, clause, count))
            missing = self._count(out.trace.base) - sum(count for _, count in rows)
            if missing:
                reasons.append(LeftOut(out.trace.feed, out.trace.path[0].model, UNJOINED, missing, kind="unjoined"))
        if "raw.rejects" in self.known:
            for feed in dict.fromkeys(out.trace.feed for out in outs):
                rejected = self.con.execute("select count(*) from raw.rejects where feed = ?", [feed]).fetchall()[0][0]
                if rejected:
                    reasons.append(self._one_left(feed, Clause(f"raw.{feed}", REJECTED, REJECTED), rejected))
        counts: dict[tuple[str, str, str, str], LeftOut] = {}
        for one in reasons:  # several branches of a union have the same clauses
            before = counts.setdefault((one.feed, one.model, one.clause, one.kind), one)
            if before is not one:
                key = (one.feed, one.model, one.clause, one.kind)
                counts[key] = replace(before, row_count=before.row_count + one.row_count)
        return tuple(counts.values())

    def _counts(self, out: _Out) -> list[tuple[int, int]]:
        """How many rows each clause leaves out, by its number."""
        count = "select __left, count(*) from (\n{}\n) group by 1 order by 1"
        rows = self.con.execute(count.format(out.once)).fetchall()
        if sum(row[1] for row in rows) != self._count(out.trace.base):  # a join brings some rows several times
            self._repeated.add(out.trace.feed)
            rows = self.con.execute(count.format(out.sql)).fetchall()
        return rows

    def _recounted(self, traced: _Traced) -> _Traced:
        """A part with each of its rows counted once, where a join or several branches of a union repeat some."""
        feeds = [one.feed for one in traced.traces]
        if not traced.part.row_count or (not self._repeated & set(feeds) and len(set(feeds)) == len(feeds)):
            return traced
        sql = " union all by name ".join(self._part_sql(traced))
        rows = self.con.execute(f"select feed, file, count(*) from (\n{sql}\n) group by all").fetchall()
        by_file = {(feed, file): count for feed, file, count in rows}
        return replace(traced, part=replace(traced.part, row_count=sum(by_file.values())), by_file=by_file)

    def _one_left(self, feed: str, clause: Clause, count: int) -> LeftOut:
        labels = self._labels.get((clause.model, clause.text.lower()), {})
        return LeftOut(feed, clause.model, clause.text, count, labels, clause.kind)

    def _count(self, table: str) -> int:
        return int(self.con.execute(f"select count(*) from {table}").fetchall()[0][0])

    # --- rows ---------------------------------------------------------------------------------------------------------

    def _sql(self, numerator: _Traced, denominator: _Traced, outs: Sequence[_Out] = ()) -> dict[str, str]:
        if self._closed([numerator, denominator]):
            return {}
        sql_by_kind = {}
        for name, part in (("numerator", numerator), ("denominator", denominator)):
            if part.part.kind == "rows":
                sql_by_kind[name] = "\nunion all by name\n".join(self._part_sql(part)) + "\norder by feed, file, record"
        if outs:
            each = [self._out_sql(out) for out in outs]
            each += [self._rejects_sql(feed) for feed in dict.fromkeys(out.trace.feed for out in outs)]
            sql_by_kind["left-out"] = "\nunion all by name\n".join(each) + "\norder by feed, file, record"
        return sql_by_kind

    def _part_sql(self, part: _Traced) -> list[str]:
        """SELECT of the rows of a part, one of each feed."""
        feeds = dict.fromkeys(one.feed for one in part.traces)
        return [self._rows_sql([one for one in part.traces if one.feed == feed]) for feed in feeds]

    def _columns(self, base: str) -> str:
        """The columns of a contract, without those that only stewards see: pseudonyms."""
        hidden = () if self.stewards else pseudonyms(self.folder, base)
        names = [one for one in self.known.get(base, ()) if not one.startswith("_") and one not in hidden]
        return "".join(f", r.{identifier(name)}" for name in names)

    def _rows_sql(self, traces: Sequence[Trace]) -> str:
        """SELECT of the rows of one feed, each once, whatever paths they come by."""
        base = traces[0].base
        sql = "\nunion all\n".join(entered(one) for one in traces)
        if len(traces) > 1:
            sql = f"select __row, sum(counts_as) as counts_as from (\n{sql}\n) group by __row"
        return (
            f"select * from (\nselect {literal(traces[0].feed)} as feed, r._file as file, r._record as record,"
            f" counts_as{self._columns(base)}\nfrom (\n{sql}\n) as entered\n"
            f"inner join {base} as r on r.rowid = entered.__row\n)"
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

    def _limits(self, traced: _Traced) -> tuple[Limit, ...]:
        """The rows of seeds that the figure's rows are joined to with dates: what they are measured by."""
        if traced.part.kind != "rows" or self._closed([traced]):
            return ()
        seeds = {one.relation for name, one in (self.record.nodes or {}).items() if name.startswith("seed.")}
        limits: list[Limit] = []
        for trace in traced.traces:
            for seed, sql in dated_seeds(trace, seeds):
                for row in fetch_dicts(self.con, sql):
                    plain = {name: as_text(value) for name, value in row.items() if value is not None}
                    limits.append(Limit(seed, plain, in_languages(row, "limit")))
        return tuple(limits[:6])

    def _entered(self, numerator: _Traced) -> tuple[Mapping[str, str], ...]:
        """The rows themselves of a figure that no group makes: one row, entered as it is."""
        is_plain = numerator.part.kind == "rows" and all(one.top_group is None for one in numerator.traces)
        if not is_plain or self._closed([numerator]) or (numerator.part.row_count or 0) > 3:
            return ()
        rows = fetch_dicts(self.con, self._sql(numerator, _Traced(Part("none", None)))["numerator"])
        return tuple({name: as_text(value) for name, value in row.items()} for row in rows)

    def _deliveries(self, numerator: _Traced, denominator: _Traced) -> tuple[Delivery, ...]:
        counted: dict[tuple[str, str], int] = {}
        for part in (numerator, denominator):
            for place, count in part.by_file.items():
                counted[place] = max(counted.get(place, 0), count)
        return (
            *(
                Delivery(
                    **{name: getattr(one, name) for name in _OF_A_FILE},
                    rows_counted=counted[one.feed, one.file],
                    superseded_by=one.superseded_by or (),
                )
                for one in self.record.files or ()
                if (one.feed, one.file) in counted
            ),
            *self._deleted(),
        )

    def _deleted(self) -> Iterator[Delivery]:
        """Deliveries that were deleted, of the figure's feeds and year."""
        table = self.tables.deleted_deliveries
        if table not in self.known or not self.is_kept:
            return
        sql = f"select * from {table} where ? between first_year and last_year and kept_from = ? order by feed, file"
        feeds = self._feeds_of_family()
        for row in fetch_dicts(self.con, sql, [self.key.report_year, self.facts.origin["kept_from"]]):
            if row["feed"] in feeds:
                yield Delivery(**{name: row[name] for name in _OF_A_FILE}, rows_counted=None, is_deleted=True)

    def _feeds_of_family(self) -> set[str]:
        feeds: set[str] = set()
        for column in ("numerator", "denominator", "value"):
            try:
                every = paths(self.catalogue, self.tables.indicators, [column], self.place)
            except Untraceable:
                continue
            bases = {one[-1].driving.relation.name for one in every if one[-1].driving.relation is not None}
            feeds |= {self.catalogue.feeds[one] for one in bases if one in self.catalogue.feeds}
        return feeds

    def _checks(self, traced: Sequence[_Traced]) -> tuple[Check, ...]:
        models = {hop.model for one in traced for trace in one.traces for hop in trace.path}
        models |= {trace.base for one in traced for trace in one.traces} | {self.tables.indicators}
        checks = []
        for test in self.record.checks:
            tested = [one for one in sorted(models) if re.search(rf"\b{re.escape(one)}\b", test.sql)]
            if tested:
                checks.append(Check(test.name, "test", test.status, tested[0]))
        return (*checks, *self.facts.expectations)

    def _steps(self, numerator: _Traced, denominator: _Traced, left_out: Sequence[LeftOut]) -> tuple[Step, ...]:
        """The models of the path, from the mart down; where there are several paths, one after the other."""
        steps: dict[str, Step] = {}
        for part in (numerator, denominator):
            several = several_branches(part.traces)
            for trace in part.traces:
                for step in self._steps_of(trace, part, left_out):
                    sql = self.catalogue.models[step.model] if step.model in several else step.sql
                    steps.setdefault(step.model, replace(step, sql=sql))
        order = {"mart": 0, "model": 1, "raw": 2}
        return tuple(sorted(steps.values(), key=lambda one: order[one.kind]))[:12]

    def _steps_of(self, trace: Trace, part: _Traced, left_out: Sequence[LeftOut]) -> list[Step]:
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
    row_count: int
    total: Any
    keys: tuple[object, ...]
    groups: Mapping[str, int]
    by_file: Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class _Out:
    """What leaves rows of a feed out, of all paths over it: their numbers in `clauses` by `sql`.

    `once` has the same where no join brings a row several times.
    """

    traces: tuple[Trace, ...]
    sql: str
    once: str
    clauses: list[Clause]
    is_numerator: bool

    @property
    def trace(self) -> Trace:
        """The first of the paths."""
        return self.traces[0]


def _conditions_before(trace: Trace, other: _Traced) -> tuple[Any, ...]:
    """The conditions of the other part, where it is counted of the same rows at the same place."""
    for one in other.traces:
        is_plain = len(one.weight.leaves) == 1 and not one.weight.leaves[0].is_by_weight
        if other.part.kind == "rows" and one.shape == trace.shape and is_plain:
            return one.weight.leaves[0].conditions
    return ()


def _text_of(trace: Trace) -> str:
    """What a part is, as SQL over the rows of one model."""
    weight = trace.weight
    if weight.formula:
        return weight.formula
    leaf = weight.leaves[0]
    return leaf.total(plain_text(leaf.weight))


def _of_sql() -> tuple[type[BaseException], ...]:
    """What DuckDB raises for SQL, and for values that SQL cannot take; not for a disk, memory or an interruption."""
    return (*(duckdb.ProgrammingError, duckdb.NotSupportedError, duckdb.DataError),)


def _why_no_rows(explanation: Explanation, kind: str) -> str:
    if explanation.origin == "kept":
        message = f"its deliveries were deleted; it stands as build {explanation.kept_from} had it, and has no rows."
        return f"'{explanation.key.figure_id}' of {explanation.key.report_year}: {message}"
    if explanation.needs_stewards:
        return f"{', '.join(explanation.needs_stewards)} is left out of the file for all readers: --stewards opens it."
    part = explanation.denominator if kind == "denominator" else explanation.numerator
    return f"'{explanation.key.figure_id}' has no rows of its {kind}: {_why_none(part)}"


def _why_none(part: Part) -> str:
    if part.kind == "figures":
        return "it is made of other figures, which kpi explain names."
    if part.kind == "number":
        return f"it is the number {part.value:g}, behind which stands no row."
    return "it has none; its value is made of its other part alone."


def _number(value: object) -> str:
    """A total as SQL; what is no number, such as a list or a date, is given beside it."""
    return "null" if value is None else str(value) if _is_number(value) else "?"


def _exact(value: Any) -> Any:
    """A number of a table: a whole one with all its digits, any other as it is computed with."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value


def _is_same(total: float, wanted: float | None) -> bool:
    """Whether a total is a value that stands in a table, where it may be a DOUBLE."""
    return wanted is not None and (total == wanted or (isinstance(wanted, float) and float(total) == wanted))


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, int | float | Decimal)
