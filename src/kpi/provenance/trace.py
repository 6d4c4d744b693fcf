"""The raw rows of a figure, as SQL: the SELECTs of a path written again, each with the rows of the one below.

Two forms. `rows_in` has the rows that enter, with their weight. `rows_out` filters nothing: joins become outer ones,
conditions become numbers, so that of each row is known which clause left it out first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from kpi.lazy import exp
from kpi.provenance.query import Scope, literal_of, plain_text
from kpi.provenance.weighed_path import WeighedPath
from kpi.provenance.writer import Clause, Writer
from kpi.sql import identifier

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
