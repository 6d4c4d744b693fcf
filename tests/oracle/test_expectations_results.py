"""Formulas, what the results of expectations are written as, and that judging touches nothing else."""

from __future__ import annotations

import json
import random
import re
import socket
from pathlib import Path

import pytest

from county_breaks import count, put, ratio
from kpi.cache import caching
from kpi.validation.expectations import results_as_json, validate, write_results
from kpi.validation.rule import read_formula
from small_county import AFTER_THE_YEARS, FEEDS, HEALTH_LINES, County, expectations

RULES = expectations().rules
SUMS = expectations().sums


# --- formulas --------------------------------------------------------------------------------------------------------


def test_a_formula_is_read_term_by_term() -> None:
    formula = read_formula(
        "nps - before:nps - 1 <= calls_received.denominator@lines? + rows:calls#december", {"lines": HEALTH_LINES}
    )
    assert not formula.is_equal
    message = [
        (t.side, t.sign, t.name, t.amount, t.services, t.basis, t.years_back, t.is_optional) for t in formula.terms
    ]
    assert message == [
        ("left", 1, "nps", "value", (), "", 0, False),
        ("left", -1, "nps", "value", (), "", 1, False),
        ("left", -1, "", "1", (), "", 0, False),
        ("right", 1, "calls_received", "denominator", HEALTH_LINES, "", 0, True),
        ("right", 1, "calls", "rows", (), "december", 0, False),
    ]


@pytest.mark.parametrize("text", ["nps", "nps = a = b", "nps == 1", "nps = A", "nps = a.b.c", "nps=1"])
def test_what_is_no_formula_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        read_formula(text)


def test_every_figure_of_a_formula_is_described(county: County) -> None:
    known = {row["figure_id"] for row in county.tables["seeds.figures"]}
    feeds = {expectation.feed for expectation in FEEDS}
    for sum_ in SUMS:
        for formula in sum_.formulas:
            for term in formula.terms:
                assert not term.name or term.name in (feeds if term.amount.startswith("rows") else known)


# --- the results -----------------------------------------------------------------------------------------------------


def test_results_do_not_depend_on_the_order_of_the_rows(county: County) -> None:
    put("volunteer_encounters", "olka", 2025, value=-9, numerator=-9)(county)
    first = results_as_json(county.judge(2025))
    for table_rows in county.tables.values():
        random.Random(7).shuffle(table_rows)
    assert results_as_json(county.judge(2025)) == first


def test_what_the_order_of_adding_leaves_behind_is_not_told(county: County) -> None:
    areas = ("health", "social", "rescue", "other")
    for items in ((666, 1, 51, 1282), (1, 666, 1282, 51), (1282, 51, 666, 1), (51, 666, 1, 1282)):
        for area, number in zip(areas, items, strict=True):
            ratio("feedback_share", area, 2025, number, 2_000, 100)(county)
        (found,) = (result for result in county.judge(2025) if result.expectation == "feedback_shares_make_100")
        assert found.observed == "2 values: 0"


def test_results_are_written_as_a_table_and_as_json(county: County) -> None:
    count("ems_missions", "rescue", 2025, 8_999)(county)
    with county.connect() as con:
        results = validate(con, expectations(), FEEDS, AFTER_THE_YEARS, 2025)
        write_results(con, results)
        write_results(con, results)
        described = con.execute("describe marts.expectation_results").fetchall()
        written = con.execute("from marts.expectation_results").fetchall()
        write_results(con, ())
        assert con.execute("select count(*) from marts.expectation_results").fetchall() == [(0,)]
    assert [(name, kind) for name, kind, *_ in described] == [
        ("report_year", "INTEGER"),
        ("expectation", "VARCHAR"),
        ("description", "VARCHAR"),
        ("description_fi", "VARCHAR"),
        ("severity", "VARCHAR"),
        ("success", "BOOLEAN"),
        ("observed", "VARCHAR"),
        ("is_provisional", "BOOLEAN"),
    ]
    message = json.loads(results_as_json(results))
    assert [tuple(one[name] for name, *_ in described) for one in message] == written
    assert [one["rows"] for one in message if not one["success"]] == [
        [
            {
                "figure_id": "rescue_department_missions",
                "service": "rescue",
                "value": 12_000,
                "compared": 11_999,
                "note": "rescue_department_missions = rescue_missions + ems_missions",
            }
        ]
    ]
    assert all(one["rows"] == [] for one in message if one["success"])


def test_it_is_silent_and_touches_neither_network_nor_disk(
    county: County, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for variable in ("HOME", "TMPDIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    ratio("nps", "health", 2025, 5_310, 9_000, 100)(county)
    with caching(tmp_path.parent / "judged-anew"):  # nothing of it is known from before
        county.judge(2025)
        assert list(tmp_path.rglob("*")) == []
    assert capfd.readouterr() == ("", "")


def test_the_documentation_names_every_expectation_with_its_severities() -> None:
    text = (Path(__file__).parents[2] / "docs/reference/validation.md").read_text(encoding="utf-8")
    letters = {"error": "E", "warn": "w", "skip": "-"}
    message: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("| `") and line.count("|") == 4:
            names, severities, _ = (cell.strip() for cell in line.strip("|").split("|"))
            each = [part.strip() for part in severities.split("/")]
            for place, name in enumerate(re.findall(r"`([\w:<>]+)`", names)):
                message[name] = each[place] if len(each) > 1 else each[0]
    expected = {rule.name: f"{letters[rule.severity]} {letters[rule.running_year]}" for rule in RULES}
    plausible = {name for name in expected if name.startswith("plausible:")}
    assert {message["plausible:<figure>"]} == {expected.pop(name) for name in plausible}
    assert expected.items() <= message.items()
    others = {"plausible:<figure>", "every_month_present:<feed>", "delivered_in_year:<feed>", "no_later_years"}
    assert set(message) == set(expected) | others
