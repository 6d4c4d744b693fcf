"""Counties made of random counts, small ones mostly, as rows of marts.indicators and marts.monthly_series.

Each has two years of its own, ten after those of the one before, so that hundreds go through the compiled models at
once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from attacker_families import AREAS, DECISIONS, LINES, STATEMENTS
from kpi.engine.graph import Graph
from modelbench import Bench

STAND_INS = ("indicators", "monthly_series", "indicator_changes", "comparability_breaks", "unfinished_years")
MODELS = (
    *("int_count_units", "int_count_sums"),
    *("int_figure_periods", "int_figure_counts", "int_counts", "int_small_counts", "int_cover_pairs"),
    *("int_hidden_years", "int_hidden_months", "int_hidden_values", "public_indicators"),
    *("public_monthly_series", "public_changes"),
)
FIRST_YEAR = 1000
DAYS = 365
Counts = Mapping[str, int]
Figure = tuple[str, float | None, float | None, int]  # figure, numerator, denominator, raw rows
Row = tuple[str, str, int, int, str, float | None, float | None, int]


def bench_of_marts(graph: Graph) -> Bench:
    """The seeds and empty marts, and nothing that they are made of: cheap, and enough for what hides small counts."""
    bench = Bench(graph, is_built=False)
    bench.build(*(node.name for node in graph.built() if node.kind == "seed"))
    for node in graph.built():
        if node.name in STAND_INS:
            columns = ", ".join(f'"{column.name}" {column.data_type}' for column in node.columns)
            bench.con.execute(f"create table {node.relation} ({columns})")
    return bench


def calls(n: Counts) -> list[Figure]:
    """The figures of calls, of how many calls ended how."""
    in_time, handled = n["in_time"] + n["without_end"], n["in_time"] + n["slow"]
    answered = in_time + n["slow"]
    events = answered + n["abandoned"]
    return [
        ("calls_received", events, None, events),
        ("call_mean_wait_seconds", 97 * in_time + 411 * n["slow"], answered, events),
        ("calls_answered_within_5_minutes_share", in_time, answered, events),
        ("call_mean_handling_seconds", 300 * handled, handled, events),
    ]


def callbacks(n: Counts) -> list[Figure]:
    """The figures of callback requests."""
    reached = n["same_day"] + n["later"]
    events = reached + n["never"]
    return [
        ("callbacks_received", events, None, events),
        ("callbacks_never_reached", n["never"], None, events),
        ("same_day_callback_share", n["same_day"], reached, events),
        ("callback_mean_seconds", 5000 * n["same_day"] + 90000 * n["later"], reached, events),
    ]


def helpline(n: Counts) -> list[Figure]:
    """The figures of the helpline; whose contact was resolved was asked."""
    resolved = n["happy"] + n["unhappy"]
    contacts = resolved + n["sent_on"] + n["other"]
    return [
        ("helpline_resolved_at_first_contact_share", resolved, contacts, contacts),
        ("helpline_sent_to_emergency_share", n["sent_on"], contacts, contacts),
        ("helpline_sufficient_advice_share", n["happy"], resolved, contacts),
    ]


def nps(n: Counts) -> list[Figure]:
    """The figures of the recommendation survey."""
    up, down = n["promoters"], n["detractors"]
    responses = up + down + n["passives"]
    return [
        ("nps", up - down, responses, responses),
        ("nps_promoter_share", up, responses, responses),
        ("nps_detractor_share", down, responses, responses),
        ("nps_responses", responses, None, responses),
        ("nps_response_rate", responses, responses + n["silent"], responses),
    ]


def rescue(n: Counts) -> list[Figure]:
    """The figures of missions."""
    missions = n["rescue"] + n["ems"]
    return [
        ("rescue_department_missions", missions, None, missions),
        ("rescue_missions", n["rescue"], None, missions),
        ("ems_missions", n["ems"], None, missions),
        ("rescue_unit_alarms_per_day", missions, DAYS, missions),
    ]


def queue(n: Counts) -> list[Figure]:
    """The figures of a census of the queue."""
    over_180 = n["over_6"] + n["between"]
    everybody = over_180 + n["shorter"]
    return [
        ("specialist_queue", everybody, None, everybody),
        ("specialist_queue_over_180_days", over_180, None, over_180),
        ("specialist_queue_over_180_days_share", over_180, everybody, everybody),
        ("specialist_queue_over_6_months_share", n["over_6"], everybody, everybody),
    ]


def visits(service: str, soon: str) -> Callable[[Counts], list[Figure]]:
    """The figures of first visits to a service."""

    def of(n: Counts) -> list[Figure]:
        old, young = n["old_in_time"] + n["old_late"], n["young_in_time"] + n["young_late"]
        return [
            (f"{service}_within_{soon}_share", n["old_in_time"] + n["young_late"], old + young, old + young),
            (f"care_guarantee_{service}_23_and_over_share", n["old_in_time"], old, old),
            (f"care_guarantee_{service}_under_23_share", n["young_in_time"], young, young),
        ]

    return of


def incidents(n: Counts) -> list[Figure]:
    """The figures of safety reports."""
    reports = n["harmful"] + n["harmless"]
    return [
        ("safety_incidents", reports, None, reports),
        ("safety_incidents_moderate_or_severe_share", n["harmful"], reports, reports),
    ]


def users(n: Counts) -> list[Figure]:
    """The figures of a census of users, who are active or not, and over 70 or not."""
    registered = n["active"] + n["inactive"] + n["old"]
    return [
        ("digital_registered_users", registered, None, 99),
        ("digital_active_users", n["active"], None, 99),
        ("digital_users_over_70_share", n["old"], registered, 99),
    ]


def contacts(n: Counts) -> list[Figure]:
    """The figures of contacts by their way."""
    remote = n["replacing"] + n["remote"]
    everything = remote + n["in_person"]
    return [
        ("remote_contact_share", remote, everything, 99),
        ("visit_replacing_remote_contact_share", n["replacing"], everything, 99),
    ]


def share(figure: str) -> Callable[[Counts], list[Figure]]:
    """One share, of cases on time and late."""
    return lambda n: [(figure, n["on_time"], n["on_time"] + n["late"], n["on_time"] + n["late"])]


def count(figure: str) -> Callable[[Counts], list[Figure]]:
    """One count."""
    return lambda n: [(figure, n["n"], None, n["n"])]


SERVICES: tuple[tuple[str, Callable[[Counts], list[Figure]], str], ...] = (
    *((line, calls, "in_time slow abandoned without_end") for line in (*LINES, "social_advice")),
    *((line, callbacks, "same_day later never") for line in (*LINES, "social_advice")),
    *((line, count("chats_received"), "n") for line in (*LINES, "social_advice")),
    ("emergency_helpline", helpline, "happy unhappy sent_on other"),
    *((survey, nps, "promoters detractors passives silent") for survey in ("health", "social_advice")),
    *((content, count("feedback_content"), "n") for content in ("thanks", "criticism")),
    ("rescue", rescue, "rescue ems"),
    ("specialist_care", queue, "over_6 between shorter"),
    ("primary_care", visits("primary_care", "14_days"), "old_in_time old_late young_in_time young_late"),
    ("oral_health", visits("oral_health", "3_months"), "old_in_time old_late young_in_time young_late"),
    *((service, share(f"{name}_on_time_share"), "on_time late") for service, name in DECISIONS.items()),
    *((client, count("ombudsman_contacts"), "n") for client in ("social", "patient")),
    ("all_services", incidents, "harmful harmless"),
    ("oma_kymenlaakso", users, "active inactive old"),
    ("all_services", contacts, "replacing remote in_person"),
)
CENSUSES = (queue, users)


class Counties:
    """The rows of several counties, by figure, service, year and month (0 for the year)."""

    def __init__(self, random: np.random.Generator, number: int) -> None:
        self.random = random
        self.rows: list[Row] = []
        self.years = [(FIRST_YEAR + 10 * county, FIRST_YEAR + 10 * county + 1) for county in range(number)]
        for years in self.years:
            for year in years:
                self._year(year)
            self._changes(years[1])

    def _monthly(self, names: Sequence[str], size: float) -> np.ndarray:
        """Counts by name and month: some names are rare, some months quiet."""
        weights = self.random.choice((0.01, 0.3, 1, 3), len(names), p=(0.1, 0.2, 0.4, 0.3)) * size
        quiet = self.random.choice((0, 0.2, 1), 12, p=(0.01, 0.02, 0.97))
        return self.random.poisson(np.outer(weights, quiet))

    def _year(self, year: int) -> None:
        groups: dict[Callable[[Counts], list[Figure]], np.ndarray] = {}
        sizes: dict[object, float] = {}
        for service, figures, text in SERVICES:
            names = text.split()
            size = sizes.setdefault(figures, float(self.random.choice((2, 20, 60, 300))))
            counts = self._monthly(names, size * float(self.random.choice((0.03, 1, 1, 3))))
            if figures is nps:  # of a month without answers there is no row, whoever was invited
                counts[-1] *= counts[:-1].any(axis=0)
            self._figures(year, service, figures, names, counts)
            if service in LINES and figures in (calls, callbacks):
                groups[figures] = groups.get(figures, 0) + counts
            if service in LINES and figures not in (calls, callbacks) and text == "n":
                groups[LINE_CHATS] = groups.get(LINE_CHATS, 0) + counts
        for figures, counts in groups.items():
            names = next((text.split() for _, f, text in SERVICES if f is figures), ["n"])
            self._figures(year, "health_lines", figures, names, counts)
        self._experience(year)
        self._feedback(year)

    def _figures(
        self, year: int, service: str, figures: Callable[[Counts], list[Figure]], names: Sequence[str], n: np.ndarray
    ) -> None:
        is_census = figures in CENSUSES
        months = {month: dict(zip(names, map(int, n[:, month - 1]), strict=True)) for month in range(1, 13)}
        whole = months[12] if is_census else {name: int(n[at].sum()) for at, name in enumerate(names)}
        for month, counts in (*months.items(), (0, whole)):
            if sum(counts.values()):
                for figure, numerator, denominator, events in figures(counts):
                    if events:
                        basis = "month" if month else "census_december" if is_census else "calendar_year"
                        cases = 30 if month and figure == "rescue_unit_alarms_per_day" else denominator
                        self.rows.append((figure, service, year, month, basis, numerator, cases, events))

    def _experience(self, year: int) -> None:
        size = float(self.random.choice((0.2, 1, 6, 30)))
        answers = self.random.poisson(np.outer(self.random.choice((0.3, 1), 7), np.full(12, size)))
        scores = np.array([[int(self.random.integers(1, 6, n).sum()) for n in row] for row in answers])
        for month in range(13):
            of = slice(None) if not month else slice(month - 1, month)
            n, s = answers[:, of].sum(axis=1), scores[:, of].sum(axis=1)
            basis = "month" if month else "calendar_year"
            for at, statement in enumerate(STATEMENTS):
                if n[at]:
                    row = ("experience_statement_mean", statement, year, month, basis, s[at], n[at], int(n[at]))
                    self.rows.append(row)
            if n.sum():
                total, everybody = int(s.sum()), int(n.sum())
                key = ("all_services", year, month, basis)
                self.rows.append(("experience_mean", *key, total, everybody, everybody))
                self.rows.append(("experience_answers", *key, everybody, None, everybody))

    def _feedback(self, year: int) -> None:
        counts = self._monthly(AREAS, float(self.random.choice((2, 20, 60, 300))))
        for month in range(13):
            n = counts.sum(axis=1) if not month else counts[:, month - 1]
            total, basis = int(n.sum()), "month" if month else "calendar_year"
            if total:
                self.rows.append(("feedback_received", "all_services", year, month, basis, total, None, total))
                for at, area in enumerate(AREAS):
                    self.rows.append(("feedback_share", area, year, month, basis, int(n[at]), total, total))

    def _changes(self, year: int) -> None:
        """The changes that are figures themselves, of counts."""
        values = {row[:3]: row[5] for row in self.rows if row[2] >= year - 1 and not row[3]}
        for (figure, service, at), value in list(values.items()):
            change = {"nps_responses": "nps_responses_change", "feedback_received": "feedback_received_change"}
            before = values.get((figure, service, year - 1))
            if at == year and figure in change and before is not None and value is not None:
                key = (change[figure], service, year, 0, "change_from_previous_year")
                self.rows.append((*key, value - before, None, 99))

    def load(self, bench: Bench) -> None:
        """Put the rows into the marts, and build what hides small counts of them."""
        columns = zip(*self.rows, strict=True)
        names = ("figure_id", "service", "report_year", "month", "basis", "numerator", "denominator", "event_count")
        types = (pa.string(), pa.string(), pa.int64(), pa.int64(), pa.string(), pa.float64(), pa.float64(), pa.int64())
        table = pa.table({n: pa.array(list(c), t) for n, c, t in zip(names, columns, types, strict=True)})
        bench.con.register("counties", table)
        value = """
            case f.unit when 'percent' then 100 * numerator / nullif(denominator, 0)
                when 'points' then 100 * numerator / nullif(denominator, 0)
                else numerator / coalesce(nullif(denominator, 0), case when denominator is null then 1 end) end"""
        for target in ("indicators", "monthly_series", "indicator_changes"):
            bench.con.execute(f"delete from marts.{target}")
        bench.con.execute(f"""
            insert into marts.indicators by name
            select figure_id, service, report_year, c.basis, numerator, denominator, event_count,
                case when c.basis like 'change%' then numerator else {value} end as value
            from counties c join seeds.figures f using (figure_id) where month = 0""")
        bench.con.execute(f"""
            insert into marts.monthly_series by name
            select figure_id, service, report_year, month, numerator, denominator, event_count, {value} as value,
                false as is_break, true as is_full_month
            from counties c join seeds.figures f using (figure_id) where month > 0""")
        bench.con.execute("""
            insert into marts.indicator_changes by name
            select a.figure_id, a.service, a.report_year, a.basis, a.value, b.report_year as previous_year,
                b.basis as previous_basis, b.value as previous_value, a.value - b.value as change, false as has_break
            from marts.indicators a join marts.indicators b using (figure_id, service)
            where a.report_year = b.report_year + 1 and a.basis = b.basis and a.basis not like 'change%'""")
        bench.build(*MODELS)


LINE_CHATS = count("chats_received")
