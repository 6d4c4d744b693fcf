"""The raw rows of a figure, as SQL: the SELECTs of a path written again, each with the rows of the one below.

Two forms. `rows_in` has the rows that enter, with their weight. `rows_out` filters nothing: joins become outer ones,
conditions become numbers, so that of each row is known which clause left it out first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from kpi.lazy import exp
from kpi.provenance.path import Hop, aggregates_in, windows_in
from kpi.provenance.query import TEXT, Scope, Source, columns_in, conjuncts, literal_of, plain_text, with_columns
from kpi.provenance.weight import DISTINCT, WeighedPath
from kpi.sql import identifier


@dataclass(frozen=True, slots=True)
class Clause:
    """A clause of a model that leaves rows out. `kind` is join, where, key (the figure's own group) or condition."""

    model: str
    text: str
    kind: str


@dataclass
class Writer:
    """Writes one hop. `asked` are the columns needed above it, `wants_first` whether the first row of each group is.

    `upper` is what is left of a hop with windows once they stand in a SELECT below.
    """

    trace: WeighedPath
    place: int
    is_open: bool
    asked: set[str]
    wants_first: bool
    keys: Sequence[object] | None
    upper: Hop | None = None

    @property
    def hop(self) -> Hop:
        return self.upper or self.trace.path[self.place]

    @property
    def is_grouped_below(self) -> bool:
        return any(one.keys is not None for one in self.trace.path[self.place + 1 :])

    @property
    def group_below(self) -> int:
        return next(at for at in range(self.place + 1, len(self.trace.path)) if self.trace.path[at].keys is not None)

    @property
    def is_weighed(self) -> bool:
        return self.trace.weight.place == self.place

    def needs(self) -> tuple[set[str], bool]:
        """Return the columns that this hop needs of the one below, and whether the first row of each group."""
        hop, every = self.hop, self._expressions()
        names = {
            column.name.lower()
            for one in every
            for column in columns_in(one)
            if column.table.lower() == hop.driver or not column.table
        }
        has_first = self.is_grouped_below and (
            (self.is_weighed and self.trace.weight.is_once)
            or any(windows_in(one) or (hop.keys is not None and aggregates_in(one)) for one in every)
            or (self.wants_first and hop.keys is None)
        )
        return names, bool(has_first)

    def _expressions(self) -> list[Any]:
        """All that this hop computes, in terms of its sources."""
        hop = self.hop
        expressions = [hop.resolve(name) for name in sorted(self.asked)]
        expressions += hop.where + [one for one in (hop.having, hop.qualify) if one is not None]
        expressions += [source.on for source in hop.sources if source.on is not None]
        expressions += [source.item for source in hop.sources if source.is_lateral]
        if hop.keys is not None:
            expressions += hop.keys
        if self.is_weighed:
            expressions += [part for leaf in self.trace.weight.leaves for part in (leaf.weight, *leaf.conditions)]
            expressions += self.trace.prior
        return expressions

    def sql(self, below: str, clauses: list[Clause]) -> str:
        """Return the SELECT of this hop over the one below."""
        hop = self.hop
        if hop.keys is None and any(windows_in(one) for one in self._computed()):
            return self._over_windows(below, clauses)
        return self._select(self._open_from(below) if self.is_open else self._from(below), clauses)

    def _select(self, from_: str, clauses: list[Clause]) -> str:
        driver = identifier(self.hop.driver)
        fails = self._fails() if self.is_open else []
        within = self._within(fails)
        if self.is_open and self.hop.having is not None and aggregates_in(self.hop.having):
            test = f"({self._value(self.hop.having, within)})"
            fails.append((test, Clause(self.hop.model, plain_text(self.hop.having), "where")))
        columns = [f"{driver}.{name} as {name}" for name in ("__row", "__file", "__record")]
        columns += [
            f"{self._value(self.hop.resolve(name), within)} as {identifier(name)}" for name in sorted(self.asked)
        ]
        columns += self._hidden(within)
        if self.is_open:
            columns.append(self._left(fails, within, clauses))
        rest = "" if self.is_open else self._filters(within)
        return "select\n    " + ",\n    ".join(columns) + f"\nfrom {from_}{rest}"

    def _computed(self) -> list[Any]:
        """What this hop computes of its rows, beside the conditions that they must meet first."""
        every = [self.hop.resolve(name) for name in sorted(self.asked)]
        every += [self.hop.qualify] if self.hop.qualify is not None else []
        if self.is_weighed:
            every += [part for leaf in self.trace.weight.leaves for part in (leaf.weight, *leaf.conditions)]
            every += self.trace.prior
        return every

    # --- windows ------------------------------------------------------------------------------------------------------

    def _over_windows(self, below: str, clauses: list[Clause]) -> str:
        """The SELECT with its windows computed below it: over the rows that are there by then, and one of each group.

        First the rows that the joins and conditions leave, then the windows, then, of groups, the window of the first
        row for all rows of it, and above them what is computed from the windows.
        """
        hop, driver = self.hop, identifier(self.hop.driver)
        others: dict[str, str] = {}
        windows: dict[str, str] = {}

        def of_driver(column: Any) -> Any:
            if column.table.lower() in (hop.driver, ""):
                return column
            name = others.setdefault(self._text(column), f"__other_{len(others)}")
            return exp.column(name, table=hop.driver)

        def taken_apart(expression: Any) -> Any:
            holder = exp.Paren(this=with_columns(expression, of_driver))
            for window in windows_in(holder):
                name = windows.setdefault(self._text(self._within_window(window)), f"__window_{len(windows)}")
                window.replace(exp.column(name, table=hop.driver))
            value = holder.this.pop()
            value.meta[TEXT] = plain_text(expression)
            return value

        upper = replace(
            hop,
            projections={name: taken_apart(hop.resolve(name)) for name in sorted(self.asked)},
            where=[taken_apart(hop.qualify)] if hop.qualify is not None else [],
            sources=(replace(hop.driving, on=None, side="", kind="", method=""),),
            stars=(),
            renamed={},
            qualify=None,
            fixed={},
        )
        trace = self.trace
        if self.is_weighed:
            leaves = [
                replace(one, weight=taken_apart(one.weight), conditions=tuple(map(taken_apart, one.conditions)))
                for one in trace.weight.leaves
            ]
            weight = replace(trace.weight, leaves=tuple(leaves))
            trace = replace(trace, weight=weight, prior=tuple(map(taken_apart, trace.prior)), plains=trace.plains)
        from_, star = self._below_windows(below, clauses, others), f"{driver}.*"
        computed = "".join(f", {text} as {name}" for text, name in windows.items())
        from_ = f"(select {star}{computed} from {from_} as {driver})"
        if self.is_grouped_below:
            by = f"__group_{self.group_below}" + (", __left is null" if self.is_open else "")
            names = list(windows.values())
            spread = ", ".join(f"max({one}) filter (where __first) over (partition by {by}) as {one}" for one in names)
            from_ = f"(select {driver}.* exclude ({', '.join(names)}), {spread} from {from_} as {driver})"
        above = replace(self, trace=trace, upper=upper)
        return above._select(f"{from_} as {driver}", clauses)

    def _within_window(self, window: Any) -> Any:
        """A window over the rows that are there by then, and, of groups, over the first row of each."""
        own = window.copy()
        parts: list[Any] = [exp.column("__first", table=self.hop.driver)] if self.is_grouped_below else []
        if self.is_open:
            parts.append(exp.Is(this=exp.column("__left", table=self.hop.driver), expression=exp.null()))
        own.set("partition_by", [*(own.args.get("partition_by") or []), *parts])
        return own

    def _below_windows(self, below: str, clauses: list[Clause], others: Mapping[str, str]) -> str:
        """The rows that windows are computed over, with the columns of joined sources that are needed above."""
        driver = identifier(self.hop.driver)
        lower = replace(self, upper=replace(self.hop, qualify=None))
        columns = "".join(f", {text} as {name}" for text, name in others.items())
        columns += "".join(f", {text}" for text in self._carried())
        if not self.is_open:
            return f"(select {driver}.*{columns} from {lower._from(below)}{lower._filters('')})"
        cases = ""
        for test, clause in lower._fails():
            cases += f" when ({test}) is not true then {len(clauses)}"
            clauses.append(clause)
        left = f"coalesce({driver}.__left, case{cases} end)" if cases else f"{driver}.__left"
        return f"(select {driver}.* exclude (__left){columns}, {left} as __left from {lower._open_from(below)})"

    def _value(self, expression: Any, within: str) -> str:
        """SQL of the value that an expression has in each group, on every row of it."""
        hop = self.hop
        if hop.keys is None or not aggregates_in(expression):
            return self._text(expression)
        over = ", ".join(self._text(key) for key in hop.keys) + within
        over = over.removeprefix(", ")
        texts: list[str] = []

        def windowed(node: Any) -> Any:
            is_aggregate = isinstance(node, exp.AggFunc | exp.Filter | exp.WithinGroup)
            if not is_aggregate or node.find_ancestor(exp.AggFunc, exp.Filter, exp.WithinGroup, exp.Window, exp.Query):
                return node
            text = self._text(self._of_first(node) if self.is_grouped_below else node)
            return _held(texts, f"{text} over ({f'partition by {over}' if over else ''})")

        return _filled(self._text(expression.copy().transform(windowed)), texts)

    def _of_first(self, aggregate: Any) -> Any:
        """An aggregate over the first row of each group below: one for each of its rows."""
        rewritten = aggregate.copy()
        first = exp.column("__first", table=self.hop.driver)
        inner = rewritten.find(exp.AggFunc)
        if isinstance(inner.this, exp.Star | exp.Literal) or inner.this is None:
            inner.set("this", exp.Case().when(first, exp.Literal.number(1)))
        elif isinstance(inner.this, exp.Distinct):
            inner.this.set("expressions", [exp.Case().when(first.copy(), one) for one in inner.this.expressions])
        else:
            inner.set("this", exp.Case().when(first, inner.this))
        return rewritten

    def _hidden(self, within: str) -> list[str]:
        """The columns that carry weights, keys and groups upwards."""
        return [*self._weights(within), *self._carried(), *self._keys(), *self._groups(), *self._first(within)]

    def _weights(self, within: str) -> list[str]:
        trace, driver, columns = self.trace, identifier(self.hop.driver), []
        for number, leaf in enumerate(trace.weight.leaves):
            names = f"__weight_{number}", f"__in_{number}"
            if self.is_weighed:
                weight = self._weight(leaf.weight, within)
                entered = self._entered(leaf, weight)
                if trace.weight.is_once:
                    nothing = "0" if trace.weight.aggregate in ("sum", "formula") else "null"
                    weight = f"case when {driver}.__first then {weight} else {nothing} end"
                columns += [f"{weight} as {names[0]}", f"{entered} as {names[1]}"]
            elif self.place < trace.weight.place:
                columns += [f"{driver}.{name} as {name}" for name in names]
        return columns

    def _carried(self) -> list[str]:
        if self.trace.carried is None or self.place > self.trace.carried[0]:
            return []
        at, alias, columns = self.trace.carried
        is_here = self.place == at and self.upper is None
        table = identifier(alias) if is_here else identifier(self.hop.driver)
        names = [identifier(name) if is_here else f"__carried_{n}" for n, name in enumerate(columns)]
        return [f"{table}.{name} as __carried_{number}" for number, name in enumerate(names)]

    def _keys(self) -> list[str]:
        top = self.trace.top_group
        if top is None or self.place > top:
            return []
        if self.place == top:
            return [f"{self._text(key)} as __key_{n}" for n, key in enumerate(self.hop.keys or ())]
        driver = identifier(self.hop.driver)
        return [f"{driver}.__key_{n} as __key_{n}" for n in range(len(self.trace.path[top].keys or ()))]

    def _groups(self) -> list[str]:
        columns = []
        for at, one in enumerate(self.trace.path):
            if one.keys is None or at < self.place:
                continue
            text = f"{identifier(self.hop.driver)}.__group_{at}"
            if at == self.place:
                text = f"hash({', '.join(self._text(key) for key in one.keys) or '0'})"
            columns.append(f"{text} as __group_{at}")
        return columns

    def _first(self, within: str) -> list[str]:
        driver, keys = identifier(self.hop.driver), self.hop.keys
        if not self.wants_first:
            return []
        if keys is None:
            return [f"{driver}.__first as __first"]
        over = (", ".join(self._text(key) for key in keys) + within).removeprefix(", ")
        by = f"partition by {over} " if over else ""
        return [f"row_number() over ({by}order by {driver}.__file, {driver}.__record) = 1 as __first"]

    def _weight(self, weight: Any, within: str) -> str:
        texts: list[str] = []

        def distinct(node: Any) -> Any:
            if isinstance(node, exp.Anonymous) and node.this == DISTINCT:
                value, driver = self._text(node.expressions[0]), identifier(self.hop.driver)
                over = ", ".join([*(self._text(key) for key in self.hop.keys or ()), value]) + within
                text = f"case when {value} is not null and row_number() over (partition by {over}"
                text += f" order by {driver}.__file, {driver}.__record) = 1 then 1 else 0 end"
                return _held(texts, text)
            return node

        return _filled(self._text(weight.copy().transform(distinct)), texts)

    def _entered(self, leaf: Any, weight: str) -> str:
        if leaf.is_by_weight:
            return f"coalesce(({weight}) <> 0, false)"
        tests = [f"({self._text(one)})" for one in leaf.conditions]
        return f"coalesce({' and '.join(tests)}, false)" if tests else "true"

    # --- the rows that enter ------------------------------------------------------------------------------------------

    def _from(self, below: str) -> str:
        text = ""
        for number, source in enumerate(self.hop.sources):
            item = self._item(source, below)
            on = f" on {self._text(source.on)}" if source.on is not None else ""
            text += f"\n{source.join} {item}{on}" if number else item
        return text

    def _item(self, source: Source, below: str) -> str:
        if source.alias == self.hop.driver:
            return f"{below} as {identifier(source.alias)}"
        if source.relation is None or isinstance(source.item, exp.Subquery):
            return self.trace.bound(source.item, self.hop.scope)
        return f"{self.trace.plain(source.relation)} as {identifier(source.alias)}"

    def _filters(self, within: str) -> str:
        hop = self.hop
        tests = [f"({self._text(one)})" for one in hop.where] + self._fixed()
        if any(source.side == "LEFT" and source.alias == hop.driver for source in hop.sources):
            tests.append(f"{identifier(hop.driver)}.__file is not null")
        after: list[str] = []
        if hop.having is not None:
            (after if aggregates_in(hop.having) else tests).append(f"({self._value(hop.having, within)})")
        return (f"\nwhere {' and '.join(tests)}" if tests else "") + (
            f"\nqualify {' and '.join(after)}" if after else ""
        )

    def _fixed(self) -> list[str]:
        """Tests of what is known of the figure's row: they take nothing away, and spare DuckDB the other rows."""
        if any(hop.has_window for hop in self.trace.path[: self.place + 1]):
            return []
        tests = []
        for name, value in self.hop.fixed.items():
            own = self.hop.projections.get(name)
            if own is not None and value is not None and not own.find(exp.AggFunc, exp.Query) and own.find(exp.Column):
                tests.append(f"({self._text(own)}) = {literal_of(value)}")
        return tests

    # --- the rows that are left out -----------------------------------------------------------------------------------

    def _open_from(self, below: str) -> str:
        """FROM with the followed rows first and all else joined to them, so that none of them is lost."""
        hop, sources = self.hop, list(self.hop.sources)
        at = next(number for number, one in enumerate(sources) if one.alias == hop.driver)
        driving = sources[at]
        text = self._item(driving, below)
        for number, source in enumerate(sources):
            if number == at or source.is_test:
                continue
            on = source.on if number else driving.on
            item = self._hit(source, below) if self._is_inner(source) else self._item(source, below)
            asof = "asof " if source.method == "ASOF" else ""
            text += f"\n{asof}left join {item} on {self._text(on) if on is not None else 'true'}"
        return text

    def _hit(self, source: Source, below: str) -> str:
        """A source with a column that says whether a row of it was found."""
        alias, item = identifier(source.alias), self._item(source, below)
        if source.is_lateral:
            return f"lateral (select *, true as __hit from {item.removeprefix('LATERAL ')}) as {alias}"
        where = [
            f"{identifier(column)} is not distinct from {literal_of(value)}" for column, value in self._fixed_in(source)
        ]
        filters = f" where {' and '.join(where)}" if where else ""
        return f"(select *, true as __hit from {item.removesuffix(f' as {alias}')}{filters}) as {alias}"

    def _is_inner(self, source: Source) -> bool:
        """Whether a row without its like in this source is left out."""
        driving = self.hop.driving
        is_first = source is self.hop.sources[0]
        return driving.side != "" or driving.kind != "CROSS" if is_first else source.side == ""

    def _fixed_in(self, source: Source) -> list[tuple[str, object]]:
        """The columns of a joined source that are keys of the figure's group, with their values."""
        columns: list[tuple[str, object]] = []
        if source.method == "ASOF" or source.is_lateral:
            return columns
        for key, value in zip(self.hop.keys or (), self.keys or (), strict=False):
            if isinstance(key, exp.Column) and key.table.lower() == source.alias:
                columns.append((key.name.lower(), value))
        return columns

    def _fails(self) -> list[tuple[str, Clause]]:
        """The tests of this hop that a row must pass, in their order, each with what it is called."""
        hop, tests = self.hop, []
        for source in hop.sources:
            if source.is_test:
                tests.append(self._test_of(source))
            elif source.alias != hop.driver and self._is_inner(source):
                on = source.on if source is not hop.sources[0] else hop.driving.on
                extra = [f"{column} = {literal_of(value)}" for column, value in self._fixed_in(source)]
                text = " AND ".join(extra or [plain_text(one) for one in (conjuncts(on) if on is not None else ())])
                name = source.relation.name.rpartition(".")[2] if source.relation else source.alias
                clause = Clause(hop.model, f"JOIN {name} ({text})" if text else f"JOIN {name}", "join")
                tests.append((f"{identifier(source.alias)}.__hit", clause))
        tests += [(f"({self._text(one)})", Clause(hop.model, plain_text(one), "where")) for one in hop.where]
        for key, value in zip(hop.keys or (), self.keys or (), strict=False):
            if not (isinstance(key, exp.Column) and any(
                key.table.lower() == one.alias and self._is_inner(one) for one in hop.sources if one.alias != hop.driver
            )):  # fmt: skip
                is_null = value is None
                text = f"{plain_text(key)} IS NULL" if is_null else f"{plain_text(key)} = {literal_of(value)}"
                test = f"({self._text(key)} is not distinct from {literal_of(value)})"
                tests.append((test, Clause(hop.model, text, "key")))
        if hop.having is not None and not aggregates_in(hop.having):
            tests.append((f"({self._text(hop.having)})", Clause(hop.model, plain_text(hop.having), "where")))
        return tests

    def _test_of(self, source: Source) -> tuple[str, Clause]:
        """The test that a SEMI or ANTI join is."""
        is_anti = source.kind == "ANTI"
        on = self._text(source.on) if source.on is not None else "true"
        name = source.relation.name.rpartition(".")[2] if source.relation else source.alias
        text = " AND ".join(plain_text(one) for one in (conjuncts(source.on) if source.on is not None else ()))
        test = f"{'not ' if is_anti else ''}exists (select 1 from {self._item(source, '')} where {on})"
        text = f"{'ANTI JOIN' if is_anti else 'JOIN'} {name} ({text})"
        return test, Clause(self.hop.model, text, "where" if is_anti else "join")

    def _within(self, fails: Sequence[tuple[str, Clause]]) -> str:
        """What windows are partitioned by besides, so that rows that were left out have no part in them."""
        if not self.is_open:
            return ""
        tests = [f"{identifier(self.hop.driver)}.__left is null", *(test for test, _ in fails)]
        return f", coalesce({' and '.join(tests)}, false)"

    def _left(self, fails: Sequence[tuple[str, Clause]], within: str, clauses: list[Clause]) -> str:
        """The column with the number of the first clause that a row fails."""
        driver, place = identifier(self.hop.driver), self.place
        cases = ""
        for test, clause in fails:
            cases += f" when ({test}) is not true then {len(clauses)}"
            clauses.append(clause)
        own = f"case{cases} end" if cases else "null"
        columns = [f"coalesce({driver}.__left, {own}) as __left"]
        trace = self.trace
        if self.is_weighed:
            columns.append(f"{self._out(clauses, within)} as __out")
        elif place < trace.weight.place:
            columns.append(f"{driver}.__out as __out")
        if place == (trace.top_group or 0):
            inner = columns[1].rpartition(" as ")[0]
            columns = [f"coalesce({driver}.__left, {own}, {inner}) as __left"]
        return ",\n    ".join(columns)

    def _out(self, clauses: list[Clause], within: str) -> str:
        """SQL of the number of the first condition of the part itself that a row fails; null when it enters."""
        leaves = self.trace.weight.leaves
        model, cases = self.hop.model, ""
        own = {plain_text(one) for leaf in leaves for one in leaf.conditions}
        for one in self.trace.prior:
            if plain_text(one) not in own:
                cases += f" when ({self._text(one)}) is not true then {len(clauses)}"
                clauses.append(Clause(model, plain_text(one), "condition"))
        if len(leaves) > 1:
            entered = [self._entered(leaf, self._weight(leaf.weight, within)) for leaf in leaves]
            text = " OR ".join(" AND ".join(plain_text(one) for one in leaf.conditions) for leaf in leaves)
            clauses.append(Clause(model, text, "condition"))
            return f"case{cases} when not ({' or '.join(entered)}) then {len(clauses) - 1} end"
        leaf = leaves[0]
        for one in leaf.conditions:
            cases += f" when ({self._text(one)}) is not true then {len(clauses)}"
            clauses.append(Clause(model, plain_text(one), "condition"))
        if leaf.is_by_weight:
            weight = self._weight(leaf.weight, within)
            cases += f" when ({weight}) = 0 then {len(clauses)}"
            clauses.append(Clause(model, f"{plain_text(leaf.weight)} <> 0", "condition"))
        return f"case{cases} end" if cases else "cast(null as bigint)"

    def _text(self, expression: Any) -> str:
        """SQL of an expression; over rows that were left out, what cannot be computed of them is null."""
        if not self.is_open or isinstance(expression, exp.Query | exp.Table | exp.Lateral | exp.Unnest):
            return self.trace.bound(expression, self.hop.scope)
        holder = exp.Paren(this=expression.copy())
        failing = (exp.Cast, exp.StrToTime, exp.StrToDate)  # on values that they do not expect
        for one in list(holder.find_all(*failing)):
            if not one.find_ancestor(exp.Query, *failing) and not one.find(exp.AggFunc, exp.Window, exp.Query):
                one.replace(exp.Anonymous(this="try", expressions=[one.copy()]))
        return self.trace.bound(holder.this, self.hop.scope)


def _held(texts: list[str], sql: str) -> Any:
    """A column that stands for SQL which is written apart, until `_filled` puts it in."""
    texts.append(sql)
    return exp.column(f"kpi_sql_{len(texts) - 1}_")


def _filled(text: str, texts: Sequence[str]) -> str:
    for number, sql in enumerate(texts):
        text = text.replace(f"kpi_sql_{number}_", sql)
    return text


FURTHEST = 1_000_000
"""The number of a row that no clause leaves out: beyond that of any clause."""


@dataclass
class Trace(WeighedPath):
    """One path of one part, with what it takes to write it as SQL."""

    @property
    def base(self) -> str:
        """The raw table, or the table of other figures, that the path ends at."""
        return self.path[-1].driving_relation.name

    @property
    def feed(self) -> str:
        """The feed whose rows these are; empty where the path ends at figures."""
        return self.catalogue.feeds.get(self.base, "")

    @property
    def shape(self) -> tuple[object, ...]:
        """What makes it the same rows, grouped the same way and weighed at the same place."""
        hops = [(id(hop.select), hop.driver, tuple(map(plain_text, hop.keys or ()))) for hop in self.path]
        return (*hops, self.weight.place, self.weight.is_once)

    @property
    def tables(self) -> set[str]:
        """The tables of the build that the rows are traced with, by `schema.name`."""
        tables = {self.base}
        front: list[tuple[Any, Scope]] = []
        for hop in self.path:
            others = [one for one in hop.sources if one.alias != hop.driver and one.relation is not None]
            tables |= {one.relation.name for one in others if one.relation is not None and one.relation.query is None}
            front += [(one.relation.query, one.relation.scope) for one in others if one.relation and one.relation.query]
            front += [(one.item, hop.scope) for one in hop.sources if one.relation is None]
            front += [(one, hop.scope) for one in [*hop.projections.values(), *hop.where]]
        return tables | set(tables_in(front))

    @cached_property
    def rows_in(self) -> str:
        """SELECT of the rows that the row of the figure is made of, before the conditions of its part.

        Columns: __row, __file, __record, __weight_0, …, __in_0, … (whether it enters), __key_0, … (the group that the
        figure is), and __group_0, … (of each hop that groups, a hash of the group).
        """
        self.plains = {}
        ctes = self._ctes(is_open=False, first=0)
        top = self._name(0)
        where = " and ".join(
            f"{identifier(name)} is not distinct from {literal_of(value)}" for name, value in self.key.items()
        )
        return f"{self._with(ctes)}\nselect * from {top} where {where}"

    def model_at_fault(self, is_right: Callable[[str], bool], is_open: bool) -> str:
        """Return the model of the first SELECT, from the raw table up, that SQL over the rows below is not right of.

        `is_open` is whether nothing is filtered, as in `rows_out`.
        """
        self.plains = {}
        first = (self.top_group or 0) if is_open else 0
        ctes = self._ctes(is_open=is_open, first=first, clauses=[])
        for number, hop in enumerate(reversed(self.path[first:]), 1):
            if not is_right(f"{self._with(ctes[: number + 1])}\nselect * from {ctes[number][0]} "):
                return hop.model
        return self.path[0].model

    def rows_out(self, keys: Sequence[object], clauses: list[Clause], is_once: bool = False) -> str:
        """Return SELECT of all rows of the feed with the number of the clause that leaves each out.

        Columns: __row (the rowid of the raw table), __left (the index in `clauses`, which it adds to; larger than any
        where the row enters). `keys` are the values of __key_0, … of the figure. Of a row that a join brings several
        times counts the time that gets furthest; with `is_once` it is there each time, which costs less to compute.
        """
        self.plains = {}
        first = self.top_group or 0
        ctes = self._ctes(is_open=True, first=first, keys=keys, clauses=clauses)
        other, cases = "", ""
        if self.top_group is None:
            for name, value in self.key.items():
                cases += f" when {identifier(name)} is distinct from {literal_of(value)} then {len(clauses)}"
                clauses.append(Clause(self.path[0].model, f"{name} = {literal_of(value)}", "key"))
            other = f", case{cases} end"
        left = f"coalesce(__left{other}, {FURTHEST})"
        if is_once:
            return f"{self._with(ctes)}\nselect __row, {left} as __left from {self._name(first)}"
        return f"{self._with(ctes)}\nselect __row, max({left}) as __left from {self._name(first)} group by __row"

    def rows_of_source(self, place: int, alias: str, columns: Sequence[str]) -> str:
        """Return SELECT of the rows of a joined source, by some of its columns, that the rows of the figure found."""
        carrying = replace(self, carried=(place, alias, tuple(columns)))
        entered = " or ".join(f"__in_{number}" for number in range(len(self.weight.leaves)))
        names = ", ".join(f"__carried_{number} as {identifier(name)}" for number, name in enumerate(columns))
        return f"select distinct {names} from (\n{carrying.rows_in}\n) where {entered}"

    def _with(self, ctes: Sequence[tuple[str, str]]) -> str:
        every = [*self.plains.items(), *ctes]
        recursive = "recursive " if self._recursive & set(self.plains) else ""
        return f"with {recursive}" + ",\n".join(f"{name} as (\n{sql}\n)" for name, sql in every)

    def _name(self, place: int) -> str:
        hop = self.path[place]
        model = hop.model.rpartition(".")[2]
        return identifier(f"{place:02}_{model}" + (f"_{hop.name}" if hop.name != model else ""))

    def _ctes(
        self, is_open: bool, first: int, keys: Sequence[object] | None = None, clauses: list[Clause] | None = None
    ) -> list[tuple[str, str]]:
        """The SELECTs from the raw table up to the hop `first`, which comes last."""
        columns = set(self.key) if not is_open or self.top_group is None else set()
        wants_first = [False] * (len(self.path) + 1)
        writers = []
        for place in range(first, len(self.path)):
            writer = Writer(self, place, is_open, columns, wants_first[place], keys if place == first else None)
            columns, wants_first[place + 1] = writer.needs()
            writers.append(writer)
        fail = ", cast(null as bigint) as __left" if is_open else ""
        source = "__source"
        place_of_row = "rowid as __row, _file as __file, _record as __record"
        if not self.feed:
            place_of_row = (
                "0 as __row, {'figure_id': figure_id, 'service': service, 'report_year': report_year} as __file"
            )
            place_of_row += ", 0 as __record"
        selects = [(source, f"select *, {place_of_row}{fail} from {self.base}")]
        for writer in reversed(writers):
            selects.append((self._name(writer.place), writer.sql(selects[-1][0], [] if clauses is None else clauses)))
        return selects


def furthest(queries: Sequence[str], first: Sequence[int]) -> str:
    """SELECT of what leaves each row out of all of several paths: the clause of that on which it gets furthest.

    `first` are the numbers of the first clause of each.
    """
    each = [f"select __row, __left, {number} as __path, {start} as __first from (\n{sql}\n)"
            for number, (sql, start) in enumerate(zip(queries, first, strict=True))]  # fmt: skip
    by = f"(__left - __first) * {len(queries)} - __path"
    return (
        f"select __row, case when max(__left) = {FURTHEST} then {FURTHEST} else arg_max(__left, {by}) end as __left"
        f" from (\n" + "\nunion all\n".join(each) + "\n) group by __row"
    )


def entered(trace: Trace) -> str:
    """SELECT of the rows that come by one path, each once, with what they count as."""
    is_in = " or ".join(f"__in_{n}" for n in range(len(trace.weight.leaves)))
    # Without coalesce() DuckDB 2.0.1 takes the sum for a number of eight bits when it sorts the rows by others.
    weight = "coalesce(sum(__weight_0), 0)" if trace.weight.aggregate == "sum" else "any_value(__weight_0)"
    if trace.weight.formula:
        weight = "cast(1 as bigint)"
    return f"select __row, {weight} as counts_as from (\n{trace.rows_in}\n) where {is_in} group by __row"


def tables_in(front: list[tuple[Any, Scope]]) -> Iterator[str]:
    """Yield the tables that queries name, through the CTEs that they read."""
    visited_ids: set[int] = set()
    while front:
        query, scope = front.pop()
        if id(query) in visited_ids:
            continue
        visited_ids.add(id(query))
        for table in query.find_all(exp.Table):
            if table.db:
                yield ".".join(part.name for part in table.parts).lower()
            elif table.name.lower() in scope.ctes:
                front.append(scope.ctes[table.name.lower()])
