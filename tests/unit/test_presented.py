"""0 and 100 are shown only when they are exactly that, wherever a figure is shown; the models' macro says the same."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from kpi.presentation import Form, presented, significant, with_decimals
from once import ROOT
from tiny import Tiny

# Value, decimals and unit of a figure, and how it is shown in English and in Finnish.
SHOWN = (
    (99.793, "0", "percent", "99.8", "99,8 %"),
    (100.0, "0", "percent", "100", "100 %"),
    (100.0, "1", "percent", "100.0", "100,0 %"),
    (99.96, "0", "percent", "99.96", "99,96 %"),
    (99.96, "1", "percent", "99.96", "99,96 %"),
    (99.999, "2", "percent", "99.99", "99,99 %"),
    (99.4, "0", "percent", "99", "99 %"),
    (0.0, "0", "percent", "0", "0 %"),
    (0.4, "0", "percent", "0.4", "0,4 %"),
    (0.04, "1", "percent", "0.04", "0,04 %"),
    (1e-9, "1", "percent", "0.01", "0,01 %"),
    (-1e-9, "0", "percent", "-0.01", "−0,01 %"),
    (-99.8, "0", "percent", "-99.8", "−99,8 %"),
    (-100.0, "0", "percent", "-100", "−100 %"),
    (100.2, "0", "percent", "100.2", "100,2 %"),
    (100.0000001, "0", "percent", "100.01", "100,01 %"),
    (0.5, "0", "percent", "1", "1 %"),
    (99.5, "0", "points", "99.5", "99,5"),
    (0.3, "0", "points", "0.3", "0,3"),
    (99.8, "0", "count_per_day", "100", "100 / vrk"),
    (0.25, "0", "count_per_day", "0.3", "0,3 / vrk"),
    (12.0, "1", "days", "12.0", "12,0 vrk"),
    (0.3, "0", "seconds", "0.3", "0,3 s"),
    (20.0, "minute", "seconds", "20", "20 s"),
    (0.0, "minute", "seconds", "0", "0 min"),
    (20700.0, "minute", "seconds", "20700", "5 h 45 min"),
    (1234567.0, "0", "persons", "1234567", "1 234 567"),
    (99.5, None, None, "100", "100"),
    (None, "0", "percent", None, "–"),
    (float("inf"), "0", "percent", None, "–"),
)


@pytest.mark.parametrize(("value", "decimals", "unit", "english", "finnish"), SHOWN)
def test_0_and_100_are_shown_only_when_exact(
    value: float | None, decimals: str | None, unit: str | None, english: str | None, finnish: str
) -> None:
    with duckdb.connect() as con:
        con.execute(
            "create table one as select $1::double as v, $2::varchar as d, $3::varchar as u", [value, decimals, unit]
        )
        row = con.execute(f"select {presented('v', 'd', 'u')} from one").fetchone()
    assert row
    assert (row[0] is None) == (english is None)
    if row[0] is not None:
        assert with_decimals(str(row[0]), decimals) == english
    assert Form(unit or "", decimals or "0", "fi").write(row[0]).replace("\u00a0", " ") == finnish


def test_the_macro_of_the_models_says_the_same(tmp_path: Path) -> None:
    lines = ",\n".join(
        f"(cast({value} as double), {decimals!r}, {unit!r})"
        for value, decimals, unit, *_ in SHOWN
        if value not in (None, float("inf")) and decimals and unit
    )
    with duckdb.connect() as con:
        tiny = Tiny(tmp_path, con)
        tiny.write({"macros/rounding.sql": (ROOT / "macros/rounding.sql").read_text(encoding="utf-8")})
        tiny.write({"numbers": f"select v, d, u from (values {lines}) as t(v, d, u)"})
        tiny.write({"shown": "select v, {{ presented('v', 'd', 'u') }} as by_macro, u, d from {{ ref('numbers') }}"})
        tiny.build()
        other = f"select v, by_macro, {presented('v', 'd', 'u')} as by_engine from shown where by_macro <> by_engine"
        assert con.execute(other).fetchall() == []
        assert con.execute("select count(by_macro) from shown").fetchall() == [(len(lines.splitlines()),)]


@pytest.mark.parametrize(
    ("form", "value", "written"),
    [
        (Form("seconds"), 553, "9 min 13 s"),
        (Form("seconds", "minute"), 20700, "5 h 45 min"),
        (Form("percent", "1"), "1.60", "1,6 %"),
        (Form("percent", "1", "en"), "1.60", "1.6%"),
        (Form("percent", "1", "sv", is_signed=True), "-8.50", "−8,5 %"),
        (Form("points", "0", is_signed=True), "79.00", "+79"),
        (Form("points", "0", is_signed=True), "0", "0"),
        (Form("count", "0"), 11920, "11 920"),
        (Form("count", "0", "en"), 11920, "11,920"),
        (Form("days", "1", "sv"), "80.90", "80,9 dygn"),
        (Form("days", "1", symbols={"days": "pv"}), "80.90", "80,9 pv"),
        (Form("score_1_to_5", "2"), "4.70", "4,70"),
        (Form("percent", "0"), "99.80", "99,8 %"),
        (Form("percent", "0"), None, "–"),
    ],
)
def test_a_value_is_written_as_a_report_of_its_language_prints_it(
    form: Form, value: str | int | None, written: str
) -> None:
    assert form.write(value).replace("\u00a0", " ") == written


def test_a_qualifier_stands_before_a_value_and_a_change_of_shares_is_in_percentage_points() -> None:
    assert Form("persons", "0", "sv").write(70000, "more_than") == "över\u00a070\u00a0000"
    assert Form("percent", "0").change("-2") == "−2\u00a0prosenttiyksikköä"
    ones = [Form("percent", "1", code).change(1).replace("\u00a0", " ") for code in ("fi", "sv", "en")]
    assert ones == ["+1,0 prosenttiyksikkö", "+1,0 procentenhet", "+1.0 percentage point"]
    assert Form("points", "0", "en").change(3) == "+3"
    assert Form("seconds", "0").change(-61) == "−1\u00a0min\u00a01\u00a0s"
    assert Form("count", "0").change(0) == "0"


def test_significant_digits_never_make_a_whole_of_a_part() -> None:
    assert [significant(value, 4) for value in (99.996, 99.94, 100.0, 0.0, 12345.0, -99.999, 100.001)] == [
        *("99.996", "99.94", "100", "0", "1.234e+04", "-99.999", "100.001"),
    ]
