"""What the public is not told: small counts, and whatever would tell one by a sum, a difference or a share."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest

from kpi.engine.graph import Graph, compile_project
from kpi.project.project import load_project
from modelbench import Bench

LINES = ("health_station", "oral_health", "rehabilitation", "emergency_helpline")
DISCLOSURE = (
    *("int_figure_periods", "int_figure_counts", "int_counts", "int_small_counts", "int_cover_pairs"),
    *("int_hidden_years", "int_hidden_months", "int_hidden_values", "public_indicators"),
    *("public_monthly_series", "public_changes"),
)
Cell = tuple[str, str, int, str, str | None, str | None, str]  # figure, service, year, basis, counts it is made of


class World:
    """Random counts of two years by name, the cells made of them, and the sums that hold between them."""

    def __init__(self, random: Random) -> None:
        self.random, self.size = random, random.choice((3, 9, 15, 40, 300))
        self.counts: dict[str, int] = {}
        self.cells: list[Cell] = []
        self.sums: list[tuple[str, list[str]]] = []
        for year in (2024, 2025):
            self._lines(year)
            for service in ("health", "social_advice"):
                self._nps(f"{service} {year}", service, year)
            areas = [self._count(f"{area} {year}") for area in ("health", "social", "rescue", "other")]
            total = self._sum(f"feedback {year}", areas)
            self._cell("feedback_received", "all_services", year, total)
            for area in areas:
                self._cell("feedback_share", area.split()[0], year, area, total)
            rescue, ems = self._count(f"rescue missions {year}"), self._count(f"ems {year}")
            self._cell("rescue_missions", "rescue", year, rescue)
            self._cell("ems_missions", "rescue", year, ems)
            self._cell("rescue_department_missions", "rescue", year, self._sum(f"missions {year}", [rescue, ems]))
            between, over_6, rest = (self._count(f"{name} {year}") for name in ("between", "over 6", "rest"))
            over_180 = self._sum(f"over 180 {year}", [between, over_6])
            queue = self._sum(f"queue {year}", [over_180, rest])
            self._cell("specialist_queue", "specialist_care", year, queue, basis="census_december")
            for figure, part in (("180_days", over_180), ("180_days_share", over_180), ("6_months_share", over_6)):
                whole = queue if figure.endswith("share") else None
                self._cell(f"specialist_queue_over_{figure}", "specialist_care", year, part, whole, "census_december")
        for figure, service, count in (
            *(("nps_responses_change", service, f"responses {service}") for service in ("health", "social_advice")),
            ("feedback_received_change", "all_services", "feedback"),
        ):
            change = f"{figure} {service}"
            self.counts[change] = self.counts[f"{count} 2025"] - self.counts[f"{count} 2024"]
            self.sums.append((f"{count} 2025", [f"{count} 2024", change]))
            self._cell(figure, service, 2025, change, basis="change_from_previous_year")

    def _count(self, name: str) -> str:
        self.counts[name] = self.random.choice((0, self.random.randint(0, 6), self.random.randint(0, self.size)))
        return name

    def _sum(self, whole: str, parts: list[str]) -> str:
        self.counts[whole] = sum(self.counts[part] for part in parts)
        self.sums.append((whole, parts))
        return whole

    def _cell(
        self, figure: str, service: str, year: int, count: str | None, of: str | None = None, basis: str = ""
    ) -> None:
        self.cells.append((figure, service, year, basis or "calendar_year", count, of, of or count or ""))
        if count and of and (of, [count, f"{of} without {count}"]) not in self.sums:
            self.counts[f"{of} without {count}"] = self.counts[of] - self.counts[count]
            self.sums.append((of, [count, f"{of} without {count}"]))

    def _lines(self, year: int) -> None:
        names = ("in time", "slow", "abandoned", "same day", "later", "unreached")
        parts = {line: [self._count(f"{name} {line} {year}") for name in names] for line in LINES}
        group = [self._sum(f"{name} {year}", [parts[line][n] for line in LINES]) for n, name in enumerate(names)]
        for line, (soon, slow, abandoned, same_day, later, never) in {**parts, "health_lines": group}.items():
            answered, reached = self._sum(soon + "+", [soon, slow]), self._sum(same_day + "+", [same_day, later])
            self._cell("calls_received", line, year, self._sum(answered + "+", [answered, abandoned]))
            self._cell("calls_answered_within_5_minutes_share", line, year, soon, answered)
            self._cell("call_mean_wait_seconds", line, year, None, answered)
            self._cell("callbacks_received", line, year, self._sum(reached + "+", [reached, never]))
            self._cell("callbacks_never_reached", line, year, never)
            self._cell("same_day_callback_share", line, year, same_day, reached)
            self._cell("callback_mean_seconds", line, year, None, reached)

    def _nps(self, name: str, service: str, year: int) -> None:
        promoters, detractors, passives = (self._count(f"{kind} {name}") for kind in ("up", "down", "passive"))
        responses = self._sum(f"responses {name}", [promoters, detractors, passives])
        self.counts[f"net {name}"] = self.counts[promoters] - self.counts[detractors]
        self.sums.append((promoters, [f"net {name}", detractors]))
        self._cell("nps_responses", service, year, responses)
        self._cell("nps_promoter_share", service, year, promoters, responses)
        self._cell("nps_detractor_share", service, year, detractors, responses)
        self.cells.append(("nps", service, year, "calendar_year", f"net {name}", responses, responses))

    def told(self, visible: set[tuple[str, str, int]]) -> list[str]:
        """The small counts that follow from what is visible, even if every share and mean told its counts exactly."""
        known = {count for cell in self.cells if cell[:3] in visible for count in cell[4:6] if count}
        # Abandoned calls are no figure and no rest of one: nothing says how many of the calls were answered.
        small = {
            name
            for name, count in self.counts.items()
            if 1 <= count <= 4 and not name.startswith(("net", "abandoned")) and "change" not in name
        }
        unknown = {name: place for place, name in enumerate(name for name in self.counts if name not in known)}
        matrix = np.zeros((len(self.sums), len(unknown)))
        for row, (whole, parts) in enumerate(self.sums):
            for name, sign in ((whole, 1), *((part, -1) for part in parts)):
                if name in unknown:
                    matrix[row, unknown[name]] += sign
        _, sizes, directions = np.linalg.svd(matrix)
        free = np.abs(directions[int((sizes > 1e-9).sum()) :]).max(axis=0, initial=0)
        return sorted(small & known) + [name for name in sorted(small - known) if free[unknown[name]] < 1e-9]


@pytest.fixture(scope="module")
def graph() -> Graph:
    """The project, compiled."""
    return compile_project(load_project(Path(__file__).resolve().parents[2]))


@pytest.fixture
def bench(graph: Graph) -> Bench:
    """The project built on no deliveries at all, to be changed."""
    return Bench(graph)


def test_public_figures_tell_no_small_count(bench: Bench) -> None:
    """Neither by a sum over services or figures, nor by a share, nor by the change from the year before."""
    shown = hidden = 0
    for seed in range(20):
        world = World(Random(seed))
        rows = []
        for figure, service, year, basis, count, of, events in world.cells:
            numerator, denominator = world.counts.get(count or ""), world.counts.get(of or "")
            rows.append((figure, service, year, basis, numerator, denominator, 1, world.counts[events]))
        bench.indicators(rows)
        bench.build(*DISCLOSURE)
        assert bench.failures("assert_public_figures_hide_small_counts") == []
        public = bench.rows(
            "select figure_id, service, report_year from marts.public_indicators where not is_suppressed"
        )
        assert world.told({(row[0], row[1], row[2]) for row in public}) == [], seed
        shown, hidden = shown + len(public), hidden + len(rows) - len(public)
    assert shown > hidden / 2, "hiding everything would be no art"


def test_the_rule_of_small_counts_at_its_edges(bench: Bench) -> None:
    """One to four are hidden, zero and five are not; a second part goes with a hidden one, and the smallest will do."""
    key = ("feedback_share", 2025, "calendar_year")
    for count, wanted in ((0, set()), (1, {"rescue", "social"}), (4, {"rescue", "social"}), (5, set())):
        parts = {"rescue": count, "social": 30, "health": 400, "other": 300}
        rows = [(key[0], area, *key[1:], part, 730 + count, 1, 730 + count) for area, part in parts.items()]
        bench.indicators([*rows, ("feedback_received", "all_services", *key[1:], 730 + count, None, 730, 730)])
        bench.build(*DISCLOSURE)
        hidden = bench.rows("select service from marts.public_indicators where is_suppressed and value is null")
        assert {service for (service,) in hidden} == wanted, count
