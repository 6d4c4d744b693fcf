"""One path from a part of a figure to its rows, with their weight and the names that its SQL has for what it joins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kpi.lazy import exp
from kpi.provenance.path import Catalogue, Fixed, Hop
from kpi.provenance.query import Relation, Scope, is_recursive, opened
from kpi.provenance.weight import Weight
from kpi.sql import identifier


@dataclass
class WeighedPath:
    """One path of one part of a figure, and what each of its rows adds to it.

    `prior` are conditions that leave rows out before those of the part itself: those of its denominator.
    """

    catalogue: Catalogue
    path: Sequence[Hop]
    weight: Weight
    key: Fixed
    prior: tuple[Any, ...] = ()
    carried: tuple[int, str, tuple[str, ...]] | None = None
    plains: dict[str, str] = field(default_factory=dict)
    _queries: dict[str, Any] = field(default_factory=dict, repr=False)
    _recursive: set[str] = field(default_factory=set, repr=False)

    @property
    def top_group(self) -> int | None:
        """The number of the topmost hop that groups; None where no hop does."""
        return next((place for place, hop in enumerate(self.path) if hop.keys is not None), None)

    def plain(self, relation: Relation) -> str:
        """Return the name by which a relation is selected from whose rows are not followed; adds its CTE."""
        if relation.query is None:
            return relation.name
        name = f"{relation.scope.model.rpartition('.')[2]}__{relation.name}"
        while self._queries.setdefault(name, relation.query) is not relation.query:
            name += "_"  # two queries inside others have one name
        name = identifier(name)
        if name not in self.plains:
            if is_recursive(relation):
                self._recursive.add(name)
                self.plains[name] = ""  # it reads itself by this name
            query, scope = opened(relation.query, relation.scope)
            sql = self.bound(query, scope)
            self.plains.pop(name, None)  # after what it reads
            self.plains[name] = sql
        return name

    def bound(self, expression: Any, scope: Scope) -> str:
        """Return SQL of an expression in which the names of CTEs are those of `plain`."""
        copy = expression.copy()
        for table in list(copy.find_all(exp.Table)):
            name = table.name.lower()
            if not table.db and name in scope.ctes and not isinstance(table.this, exp.Func):
                plain = self.plain(Relation(name, *scope.ctes[name]))
                fresh = exp.to_table(plain, dialect="duckdb")
                own = table.args.get("alias")
                fresh.set("alias", own or exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)))
                for key in ("joins", "pivots", "sample"):
                    if table.args.get(key):
                        fresh.set(key, table.args[key])
                if table is copy:
                    return str(fresh.sql(dialect="duckdb"))
                table.replace(fresh)
        return str(copy.sql(dialect="duckdb"))
