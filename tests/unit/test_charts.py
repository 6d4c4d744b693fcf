"""Charts: round ticks (of time in minutes and hours), gaps where a month is missing, labels outside the drawing."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest

from kpi.presentation import Form
from kpi.site.charts import Mark, bar, line_chart, path_of, sparkline, ticks


@pytest.mark.parametrize(
    ("low", "high", "unit", "expected"),
    [
        (0, 100, "percent", [0, 50, 100]),
        (400, 700, "seconds", [360, 480, 600, 720]),
        (0, 18000, "seconds", [0, 7200, 14400, 21600]),
        (62.5, 71.2, "points", [60, 65, 70, 75]),
    ],
)
def test_ticks_are_round_and_span_the_values(low: float, high: float, unit: str, expected: list[float]) -> None:
    assert ticks(low, high, unit) == expected


def test_ticks_of_one_value_span_it() -> None:
    found = ticks(5, 5, "count")
    assert found[0] <= 5 <= found[-1]
    assert len(found) > 1


def test_a_missing_month_is_a_gap_and_labels_stand_outside_the_drawing() -> None:
    values = [Decimal(1), Decimal(2), None, Decimal(3), None, Decimal(4), Decimal(5)]
    chart = line_chart(values, [(0, "<2025>")], Form("count", "0"), 'says "all"', [Mark(3, 1)], Decimal(4))
    assert len(re.findall("<polyline", chart)) == 3
    drawing = chart[chart.index("<svg") : chart.index("</svg>")]
    assert "text" not in drawing
    assert "&lt;2025&gt;" in chart
    assert 'aria-label="says &#34;all&#34;"' in chart
    assert '<span class="mark l43">1</span>' in chart
    assert " style=" not in chart
    assert line_chart([None], [], Form(), "nothing") == ""


def test_a_sparkline_breaks_where_years_cannot_be_compared() -> None:
    values = [Decimal(1), Decimal(2), Decimal(3), Decimal(4)]
    assert sparkline(values).count("<polyline") == 1
    assert sparkline(values, [2]).count("<polyline") == 2
    assert sparkline([Decimal(1), None]) == ""


def test_a_path_has_at_most_twelve_boxes_and_a_bar_is_never_longer_than_its_place() -> None:
    assert path_of([(f"<t{place}>", "") for place in range(30)]).count('class="box"') == 12
    assert "&lt;t0&gt;" in path_of([("<t0>", "")])
    assert 'width="100.0"' in bar(Decimal(5), Decimal(5))
    assert 'width="0.0"' in bar(Decimal(-5), Decimal(5))
    assert 'width="0.0"' in bar(Decimal(0), Decimal(0))
