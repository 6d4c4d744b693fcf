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
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix

LINES = (
    *("health_station", "maternity_and_child_clinic", "oral_health", "rehabilitation", "emergency_helpline"),
    "mental_health_and_substance_abuse",
)
STATEMENTS = (
    *(
        "got_help_when_needed",
        "cared_for_as_a_whole",
        "decisions_made_together",
        "felt_safe",
        "knows_what_happens_next",
    ),
    *("information_was_understandable", "care_was_useful"),
)
AREAS = ("health", "social", "rescue", "other")
DECISIONS = {
    "disability_services": "disability_decisions",
    "child_welfare": "child_welfare_notifications",
    "income_support": "income_support",
    "service_needs_assessment": "service_needs_assessments",
}
DECEMBER = " december"  # after the name of a figure that is told of December beside the year
ANY = 1e12  # more than any count or sum of seconds

Key = tuple[str, str, int, int]  # figure, service, year, month; month 0 is the year
Variable = tuple[str, str, int, int]  # count, service, year, month


@dataclass(frozen=True)
class Value:
    """A published cell: its value, and whether it is hidden."""

    value: float | None
    is_suppressed: bool


@dataclass(frozen=True)
class Family:
    """What the figures of one family say of counts, and how these counts hang together.

    `figures` has kind and counts of each: `count n`, `share n d`, `mean total d`, `net n m d`, `per_day n`. A part
    whose name ends in `?` lacks an answer or a time, and tells nothing of a person. A `root` has a case in each row of
    a year.
    """

    figures: Mapping[str, tuple[str, ...]]
    splits: tuple[tuple[str, ...], ...] = ()
    sums: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    summed: tuple[str, ...] = ()
    root: str = ""
    is_census: bool = False
    at_least: tuple[tuple[str, float, str], ...] = ()  # total >= factor * count
    at_most: tuple[tuple[str, float, str], ...] = ()
    whole_service: Mapping[str, str] = field(default_factory=dict)  # of a share, where its whole is another service's


FAMILIES: dict[str, Family] = {
    "calls": Family(
        {
            "calls_received": ("count", "received"),
            "call_mean_wait_seconds": ("mean", "waited", "answered"),
            "calls_answered_within_5_minutes_share": ("share", "in_time", "answered"),
            "call_mean_handling_seconds": ("mean", "talked", "handled"),
        },
        (
            ("received", "answered", "abandoned"),
            ("answered", "in_time", "slow"),
            ("answered", "handled", "without_end?"),
        ),
        {"health_lines": LINES},
        ("received", "answered", "abandoned", "in_time", "slow", "handled", "waited", "talked"),
        "received",
        at_least=(("waited", 300, "slow"),),
    ),
    "callbacks": Family(
        {
            "callbacks_received": ("count", "requests"),
            "callbacks_never_reached": ("count", "never"),
            "same_day_callback_share": ("share", "same_day", "reached"),
            "callback_mean_seconds": ("mean", "seconds", "reached"),
        },
        (("requests", "reached", "never"), ("reached", "same_day", "later")),
        {"health_lines": LINES},
        ("requests", "reached", "never", "same_day", "later", "seconds"),
        "requests",
    ),
    "chats": Family({"chats_received": ("count", "chats")}, (), {"health_lines": LINES}, ("chats",), "chats"),
    "helpline": Family(
        {
            "helpline_resolved_at_first_contact_share": ("share", "resolved", "contacts"),
            "helpline_sent_to_emergency_share": ("share", "sent_on", "contacts"),
            "helpline_sufficient_advice_share": ("share", "sufficient", "asked"),
        },
        (
            ("contacts", "resolved", "sent_on", "other_end"),
            ("contacts", "asked", "not_asked?"),
            ("asked", "sufficient", "insufficient"),
        ),
        root="contacts",
    ),
    "nps": Family(
        {
            "nps": ("net", "promoters", "detractors", "responses"),
            "nps_promoter_share": ("share", "promoters", "responses"),
            "nps_detractor_share": ("share", "detractors", "responses"),
            "nps_responses": ("count", "responses"),
            "nps_response_rate": ("share", "responses", "invitations"),
        },
        (("responses", "promoters", "detractors", "passives"), ("invitations", "responses", "silent")),
        root="",
    ),
    "experience": Family(
        {
            "experience_statement_mean": ("mean", "score", "answers"),
            "experience_mean": ("mean", "score", "answers"),
            "experience_answers": ("count", "answers"),
        },
        (),
        {"all_services": STATEMENTS},
        ("score", "answers"),
        "answers",
        at_least=(("score", 1, "answers"),),
        at_most=(("score", 5, "answers"),),
    ),
    "feedback": Family(
        {"feedback_received": ("count", "items"), "feedback_share": ("share", "items", "items")},
        (),
        {"all_services": AREAS},
        ("items",),
        whole_service={"feedback_share": "all_services"},
    ),
    "content": Family({"feedback_content": ("count", "labels")}),
    "rescue": Family(
        {
            "rescue_department_missions": ("count", "missions"),
            "rescue_missions": ("count", "rescue"),
            "ems_missions": ("count", "ems"),
            "rescue_unit_alarms_per_day": ("per_day", "missions"),
        },
        (("missions", "rescue", "ems"),),
        root="missions",
    ),
    "queue": Family(
        {
            "specialist_queue": ("count", "queue"),
            "specialist_queue_over_180_days": ("count", "over_180"),
            "specialist_queue_over_180_days_share": ("share", "over_180", "queue"),
            "specialist_queue_over_6_months_share": ("share", "over_6", "queue"),
        },
        (("queue", "over_180", "shorter"), ("over_180", "over_6", "between")),
        root="queue",
        is_census=True,
    ),
    "visits": Family(
        {
            "primary_care_within_14_days_share": ("share", "soon", "visits"),
            "oral_health_within_3_months_share": ("share", "soon", "visits"),
            **{
                f"care_guarantee_{service}_{age}_share": ("share", f"{age}_in_time", age)
                for service in ("primary_care", "oral_health")
                for age in ("23_and_over", "under_23")
            },
        },
        (
            ("visits", "soon", "not_soon"),
            ("visits", "23_and_over", "under_23"),
            ("23_and_over", "23_and_over_in_time", "23_and_over_late"),
            ("under_23", "under_23_in_time", "under_23_late"),
        ),
        root="visits",
    ),
    "housing": Family(
        {
            "elderly_housing_mean_wait_days": ("mean", "days", "placements"),
            f"elderly_housing_mean_wait_days{DECEMBER}": ("mean", "days", "placements"),
        },
        root="placements",
    ),
    "decisions": Family(
        {f"{name}_on_time_share": ("share", "on_time", "cases") for name in DECISIONS.values()},
        (("cases", "on_time", "late"),),
        root="cases",
    ),
    "ombudsman": Family({"ombudsman_contacts": ("count", "contacts")}),
    "incidents": Family(
        {
            "safety_incidents": ("count", "incidents"),
            "safety_incidents_moderate_or_severe_share": ("share", "harmful", "incidents"),
        },
        (("incidents", "harmful", "harmless"),),
        root="incidents",
    ),
    "users": Family(
        {
            "digital_registered_users": ("count", "registered"),
            "digital_active_users": ("count", "active"),
            "digital_users_over_70_share": ("share", "over_70", "registered"),
        },
        (("registered", "active", "inactive"), ("registered", "over_70", "under_70")),
        is_census=True,
    ),
    "contacts": Family(
        {
            "remote_contact_share": ("share", "remote", "contacts"),
            "visit_replacing_remote_contact_share": ("share", "replacing", "contacts"),
        },
        (("contacts", "remote", "in_person"), ("remote", "replacing", "other")),
        root="contacts",
    ),
}
CHANGES = {"nps_responses_change": "nps_responses", "feedback_received_change": "feedback_received"}


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
