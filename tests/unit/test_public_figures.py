"""What the public is not told at the edges of the rule; the attack on it is in tests/oracle/test_small_counts.py."""

from __future__ import annotations

import pytest

from kpi.engine.graph import Graph
from modelbench import Bench
from random_counties import MODELS, bench_of_marts

KEY = (2025, "calendar_year")


@pytest.fixture(scope="module")
def bench(graph: Graph) -> Bench:
    """What hides small counts, on empty marts."""
    return bench_of_marts(graph)


def hidden(bench: Bench, rows: list[tuple[object, ...]]) -> set[tuple[str, str]]:
    """Figure and service of what is hidden of these indicators."""
    bench.indicators(rows)
    bench.build(*MODELS)
    assert bench.failures("assert_public_figures_hide_small_counts") == []
    return set(bench.rows("select figure_id, service from marts.public_indicators where is_suppressed"))


def test_the_rule_of_small_counts_at_its_edges(bench: Bench) -> None:
    """One to four are hidden, zero and five are not; a second part goes with a hidden one, and the smallest will do."""
    for count, wanted in ((0, set()), (1, {"rescue", "social"}), (4, {"rescue", "social"}), (5, set())):
        parts = {"rescue": count, "social": 30, "health": 400, "other": 300}
        rows = [("feedback_share", area, *KEY, part, 730 + count, 1, 730 + count) for area, part in parts.items()]
        found = hidden(bench, [*rows, ("feedback_received", "all_services", *KEY, 730 + count, None, 730, 730)])
        assert found == {("feedback_share", area) for area in wanted}, count


def test_what_implies_the_size_of_a_hidden_count_is_hidden_too(bench: Bench) -> None:
    """The count itself, what lies within it, its shares and means; but neither the whole nor what lies beside it."""
    lines = {
        "rehabilitation": (1, 1),
        "health_station": (10, 10),
        "oral_health": (31, 2),
        "emergency_helpline": (100, 40),
    }
    lines["health_lines"] = tuple(map(sum, zip(*lines.values(), strict=True)))  # type: ignore[assignment]
    rows: list[tuple[object, ...]] = []
    for line, (received, never) in lines.items():
        reached = received - never
        rows += [
            ("callbacks_received", line, *KEY, received, None, received, received),
            ("callbacks_never_reached", line, *KEY, never, None, never, received),
            ("same_day_callback_share", line, *KEY, reached // 2, reached, 50, received),
            ("callback_mean_seconds", line, *KEY, 100 * reached, reached, 100, received),
        ]
    found = hidden(bench, rows)
    within = {"callbacks_never_reached", "same_day_callback_share", "callback_mean_seconds"}
    for line in ("rehabilitation", "health_station"):
        assert {(figure, line) for figure in {*within, "callbacks_received"}} <= found
    assert {("callbacks_received", line) for line in ("oral_health", "emergency_helpline", "health_lines")}.isdisjoint(
        found
    )
