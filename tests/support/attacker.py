"""An attacker who has all that `kpi publish --public` writes, and bounds what is hidden by linear programming.

    attacker = Attacker(published, places)
    attacker.bounds("calls", "rehabilitation", 2025, 3, "slow")      # (0.0, 17.0)

What it knows besides is what anybody may know: how the figures are defined, which counts are parts of which, that
lines add up to their group and months to their year, that counts are whole and not negative, how values are rounded,
and that a year's row of a line has at least one case behind it. It is written apart from the models of
`intermediate/disclosure`: nothing here reads them or their seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import cached_property

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix

from attacker_families import ANY, CHANGES, DECEMBER, FAMILIES, Family, Key, Value, Variable


class System:
    """Linear constraints on whole numbers, and the least and greatest value that one of them may have."""

    def __init__(self) -> None:
        self.places: dict[Variable, int] = {}
        self.rows: list[tuple[dict[int, float], float, float]] = []

    def place(self, variable: Variable) -> int:
        """The column of a variable."""
        return self.places.setdefault(variable, len(self.places))

    def add(self, terms: Iterable[tuple[Variable, float]], low: float, high: float = ANY) -> None:
        """Ask that the sum of the terms lies between two numbers."""
        row: dict[int, float] = {}
        for variable, factor in terms:
            row[self.place(variable)] = row.get(self.place(variable), 0) + factor
        self.rows.append((row, low, high))

    @cached_property
    def constraint(self) -> LinearConstraint:
        """All rows as one."""
        data = [factor for row, _, _ in self.rows for factor in row.values()]
        places = [place for row, _, _ in self.rows for place in row]
        starts = np.cumsum([0, *(len(row) for row, _, _ in self.rows)])
        matrix = csr_matrix((data, places, starts), shape=(len(self.rows), len(self.places)))
        high = [np.inf if high >= ANY else high for _, _, high in self.rows]
        low = [-np.inf if low <= -ANY else low for _, low, _ in self.rows]
        return LinearConstraint(matrix, low, high)

    def bounds(self, variable: Variable, is_whole: bool = True) -> tuple[float, float]:
        """The least and greatest value of a variable; infinite where nothing bounds it."""
        found = []
        for sign in (1, -1):
            aim = np.zeros(len(self.places))
            aim[self.places[variable]] = sign
            result = milp(
                aim,
                constraints=self.constraint,
                bounds=Bounds(0, np.inf),
                integrality=np.full(len(aim), int(is_whole)),
                options={"time_limit": 1.0},
            )
            if result.status == 3 or (result.status == 4 and sign == -1):
                found.append(np.inf * -sign)
            elif result.status == 2:
                raise AssertionError(f"what is published contradicts itself about {variable}")
            elif result.x is None and is_whole:
                return self.bounds(variable, is_whole=False)
            else:
                found.append(sign * float(result.mip_dual_bound if is_whole else result.fun))
        return found[0], found[1]

    def contradictions(self, truth: Mapping[Variable, float]) -> list[str]:
        """The constraints that the true values break: of an attacker who knows only what is so there are none."""
        names = {place: name for name, place in self.places.items()}
        found = []
        for row, low, high in self.rows:
            total = sum(factor * truth.get(names[place], 0) for place, factor in row.items())
            if not low - 1e-6 <= total <= high + 1e-6:
                found.append(f"{low} <= {[(names[p], f) for p, f in row.items()]} = {total} <= {high}")
        return found


def range_of(value: float, decimals: str, is_share: bool) -> tuple[float, float]:
    """What may have been rounded to a published value: 0, and 100 of a share, only what is exactly that."""
    if value == 0 or (is_share and value == 100):
        return value, value
    if decimals == "minute":
        return value - 30, value + 30
    shown = max(-int(Decimal(repr(value)).normalize().as_tuple().exponent), int(decimals or "2"))
    half = 0.5 * 10.0**-shown
    if is_share and shown == 2 and value in (0.01, 99.99):
        half = 0.01
    return value - half, value + half


class Attacker:
    """Everything published about one county, as one system of constraints a family."""

    def __init__(self, published: Mapping[Key, Value], decimals: Mapping[str, str], days: int = 365) -> None:
        self.published, self.decimals, self.days = published, decimals, days
        self.years = sorted({key[2] for key in published})
        self.systems: dict[str, System] = {}

    def system(self, name: str) -> System:
        """The constraints of a family."""
        if name not in self.systems:
            self.systems[name] = self._system(FAMILIES[name])
        return self.systems[name]

    def bounds(
        self, family: str, service: str, year: int, month: int, count: str, is_whole: bool = True
    ) -> tuple[float, float]:
        """Between which numbers a count must lie; without `is_whole` counts may be fractions, which bounds less."""
        system = self.system(family)
        variable = (count, service, year, month)
        return system.bounds(variable, is_whole) if variable in system.places else (0.0, np.inf)

    def _system(self, family: Family) -> System:
        system = System()
        cells = {key: value for key, value in self.published.items() if key[0] in family.figures}
        services = sorted({key[1] for key in cells} | set(family.whole_service.values() if cells else ()))
        months = sorted({key[3] for key in cells})
        for year in self.years:
            for service in services:
                for month in months:
                    self._structure(system, family, service, year, month)
            self._over_months(system, family, services, year)
            for whole, parts in family.sums.items():
                for month in months if whole in services else ():
                    for count in family.summed:
                        terms = [((count, part, year, month), -1.0) for part in parts if part in services]
                        system.add([((count, whole, year, month), 1.0), *terms], 0, 0)
        for key, value in cells.items():
            self._cell(system, family, key, value)
        self._changes(system, family)
        return system

    def _structure(self, system: System, family: Family, service: str, year: int, month: int) -> None:
        for whole, *parts in family.splits:
            terms = [((part, service, year, month), -1.0) for part in parts]
            system.add([((whole, service, year, month), 1.0), *terms], 0, 0)
        for total, factor, count in family.at_least:
            system.add([((total, service, year, month), 1.0), ((count, service, year, month), -factor)], 0)
        for total, factor, count in family.at_most:
            system.add([((total, service, year, month), 1.0), ((count, service, year, month), -factor)], -ANY, 0)

    def _over_months(self, system: System, family: Family, services: list[str], year: int) -> None:
        """A year is the sum of its months, and a census of December is that of the year."""
        here = {month for _, _, at, month in self.published if at == year and month}
        if not here:
            return
        counts = {name for split in family.splits for name in split}
        counts |= {name for _, *names in family.figures.values() for name in names}
        for service in services:
            for count in sorted(counts):
                months = [12] if family.is_census else range(1, 13)
                terms = [((count, service, year, month), -1.0) for month in months]
                system.add([((count, service, year, 0), 1.0), *terms], 0, 0)

    def _cell(self, system: System, family: Family, key: Key, cell: Value) -> None:
        figure, service, year, month = key
        kind, *names = family.figures[figure]
        variables = [(name, service, year, month) for name in names]
        if figure.endswith(DECEMBER):
            variables = [(name, service, year, 12) for name in names]
        if figure in family.whole_service:
            variables[-1] = (names[-1], family.whole_service[figure], year, month)
        if family.root and not month and not figure.endswith(DECEMBER):
            system.add([((family.root, service, year, 0), 1.0)], 1)
        if not month and not cell.is_suppressed and not figure.endswith(DECEMBER):
            self._months_without_rows(system, key, variables)
        if not cell.is_suppressed:
            self._shown(system, figure, kind, cell.value, variables)

    def _shown(self, system: System, figure: str, kind: str, value: float | None, variables: list[Variable]) -> None:
        """What a value that is shown says of its counts."""
        whole, is_month = variables[-1], variables[0][3] > 0
        if value is None:
            system.add([(whole, 1.0)], 0, 0)
            return
        low, high = range_of(value, self.decimals[figure.removesuffix(DECEMBER)], kind == "share")
        if kind == "count":
            system.add([(whole, 1.0)], value, value)
        elif kind == "per_day":
            days = (28, 31) if is_month else (self.days, self.days + 1)
            system.add([(whole, 1.0)], low * days[0], high * days[1])
        else:
            scale = 1.0 if kind == "mean" else 100.0
            terms = [(variables[0], scale)] + ([(variables[1], -scale)] if kind == "net" else [])
            system.add([*terms, (whole, -low)], 0)
            system.add([*terms, (whole, -high)], -ANY, 0)

    def _months_without_rows(self, system: System, key: Key, variables: list[Variable]) -> None:
        """A series that is shown has a row in each month with cases."""
        figure, service, year, _ = key
        shown = {month for month in range(1, 13) if (figure, service, year, month) in self.published}
        if any(self.published[figure, service, year, month].is_suppressed for month in shown) or not shown:
            return
        for month in set(range(1, 13)) - shown:
            for name, at, _, _ in variables:
                system.add([((name, at, year, month), 1.0)], 0, 0)

    def _changes(self, system: System, family: Family) -> None:
        for (figure, service, year, _), cell in self.published.items():
            counted = family.figures.get(CHANGES.get(figure, ""))
            if counted and cell.value is not None:
                this, before = ((counted[1], service, at, 0) for at in (year, year - 1))
                system.add([(this, 1.0), (before, -1.0)], cell.value, cell.value)


def true_counts(family: Family, cells: Mapping[Key, tuple[float | None, float | None]]) -> dict[Variable, float]:
    """The counts behind the figures of a family, from the numerators and denominators that are not published."""
    found: dict[Variable, float] = {}
    for (figure, service, year, month), (numerator, denominator) in cells.items():
        if figure not in family.figures or figure.endswith(DECEMBER):
            continue
        kind, *names = family.figures[figure]
        if kind in ("count", "share", "mean", "per_day") and numerator is not None:
            found[names[0], service, year, month] = numerator
        if kind in ("share", "mean", "net") and denominator is not None:
            found[names[-1], family.whole_service.get(figure, service), year, month] = denominator
    for whole, *parts in family.splits:
        for name, service, year, month in list(found):
            known = [part for part in parts if (part, service, year, month) in found]
            if name == whole and len(known) == len(parts) - 1:
                (rest,) = set(parts) - set(known)
                others = sum(found[part, service, year, month] for part in known)
                found[rest, service, year, month] = found[name, service, year, month] - others
    return found
