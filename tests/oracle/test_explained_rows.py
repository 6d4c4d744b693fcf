"""Every figure is explained to its raw rows exactly; thirty are recounted with pandas from the files themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import pytest

import kpi
from kpi.errors import ConfigError
from kpi.provenance.explanation import Explanation, Part, RowKind
from loading import aliases
from oracle import CONTRACTS, read_feed
from sampled import sampled


@pytest.fixture(scope="module")
def county(small_demo: Path) -> Path:
    """The project with a hundredth of the demonstration's rows, published."""
    return small_demo


def explained(county: Path, figure: str, service: str, year: int = 2025) -> Explanation:
    return kpi.explain(figure, service, year, project_dir=county)


# --- every figure ----------------------------------------------------------------------------------------------------

RANKED = """
    select figure_id, service, report_year, basis, row_number() over (
        partition by figure_id, basis order by hash(figure_id || service || report_year)) as place
    from marts.indicators
"""


SLICES = 8  # each of them within a test's time on a busy machine


@pytest.mark.parametrize("part_of_them", range(SLICES))
def test_every_figure_of_every_family_is_made_of_exactly_its_rows(county: Path, part_of_them: int) -> None:
    """One service and year of each figure and basis: the rows' sum is the part, and none of the feed is forgotten.

    Explaining one takes half a second, so CI takes every third.
    """
    with kpi.open(project_dir=county) as con:
        keys = con.execute(f"select * exclude (place) from ({RANKED}) where place = 1 order by all").fetchall()
        assert len({key[0] for key in keys}) > 60
        for figure, service, year, basis in keys[:: sampled(4, 1)][part_of_them::SLICES]:
            found = kpi.explain(figure, service, year, basis=basis, project_dir=county)
            assert found.untraced == "", (figure, service, year, found.untraced)
            for part in (found.numerator, found.denominator):
                check_part(con, found, part)
            if "left-out" in found.sql_by_kind:
                check_partition(con, found)


def check_part(con: duckdb.DuckDBPyConnection, found: Explanation, part: Part) -> None:
    if part.kind != "rows":
        return
    name = "denominator" if part.column == "denominator" else "numerator"
    sql = found.sql_by_kind[name]
    count, total = con.execute(f"select count(*), sum(counts_as) from ({sql})").fetchall()[0]
    assert (part.is_exact, part.row_count) == (True, count), (found.key, part)
    if part.aggregate == "sum":
        assert float(total or 0) == part.value, (found.key, part)
    elif part.aggregate == "median":
        assert con.execute(f"select median(counts_as) from ({sql})").fetchall()[0][0] == found.value


def check_partition(con: duckdb.DuckDBPyConnection, found: Explanation) -> None:
    """Each row of the feeds is in the numerator or left out by one clause, and each rejected record is left out."""
    counted = " union all ".join(
        f"select feed, file, record from ({found.sql_by_kind[name]})"
        for name in ("numerator", "left-out")
        if name in found.sql_by_kind
    )
    if found.key.figure_id == "nps_response_rate":  # its denominator is of another feed, the invitations
        counted += f" union all select feed, file, record from ({found.sql_by_kind['denominator']})"
    feeds = con.execute(
        f"select feed, count(*), count(distinct (file, record)) from ({counted}) group by feed"
    ).fetchall()
    for feed, rows, distinct in feeds:
        loaded = con.execute(f"select count(*) from raw.{feed}").fetchall()[0][0]
        rejected = con.execute("select count(*) from raw.rejects where feed = ?", [feed]).fetchall()[0][0]
        assert rows == distinct == loaded + rejected, (found.key, feed)
    out = found.sql_by_kind["left-out"]
    assert con.execute(f"select count(*) from ({out})").fetchall()[0][0] == sum(one.row_count for one in found.left_out)


def test_a_change_is_explained_by_its_two_figures(county: Path) -> None:
    found = explained(county, "nps_responses_change", "health")
    assert [(one.role, one.key.figure_id, one.key.report_year) for one in found.components] == [
        ("this_year", "nps_responses", 2025),
        ("year_before", "nps_responses", 2024),
    ]
    this, before = (one.value or 0 for one in found.components)
    assert this - before == found.value
    assert found.numerator.kind == "figures"


def test_a_figure_entered_by_hand_says_when_and_with_what_note(county: Path) -> None:
    found = explained(county, "volunteer_encounters", "olka")
    assert found.origin == "by hand"
    (row,) = found.entered
    assert row["entered_on"] == "2026-01-26"
    assert row["source_note"].startswith("OLKA-pisteiden tilasto")
    assert "olka@example.com" not in found.text  # what was masked when it was loaded stays so
    assert row["file"] == "kasin_syotetyt_2025_korjaus.csv"


def test_a_mean_of_shares_is_a_formula_of_the_counts_behind_it(county: Path) -> None:
    found = explained(county, "social_processes_on_time_share", "social_services")
    assert (found.numerator.aggregate, found.numerator.is_exact) == ("formula", True)
    assert "total_0" in found.numerator.expression


def test_the_days_of_the_year_are_no_rows(county: Path) -> None:
    found = explained(county, "rescue_unit_alarms_per_day", "rescue")
    assert (found.denominator.kind, found.denominator.value) == ("number", 365)
    with pytest.raises(ConfigError, match="is the number 365, behind which stands no row"):
        found.rows("denominator")


# --- thirty figures recounted ----------------------------------------------------------------------------------------

Rows = pd.DataFrame
Mask = Callable[[Rows], "pd.Series[bool]"]


def every(rows: Rows) -> pd.Series[bool]:
    return pd.Series(True, index=rows.index)


def on(year: int, column: str, **values: object) -> Mask:
    def mask(rows: Rows) -> pd.Series[bool]:
        found = pd.to_datetime(rows[column]).dt.year == year
        for name, value in values.items():
            found &= rows[name].isin(value) if isinstance(value, tuple | list) else rows[name] == value
        return found

    return mask


def seconds(rows: Rows, start: str, end: str) -> pd.Series[float]:
    return (pd.to_datetime(rows[f"{end}_utc"]) - pd.to_datetime(rows[f"{start}_utc"])).dt.total_seconds()


LINES = (
    *("health_station", "maternity_and_child_clinic", "oral_health", "rehabilitation", "emergency_helpline"),
    "mental_health_and_substance_abuse",
)

# Figure, service and year; the feed; which rows are in the scope, in the denominator, and of them in the numerator.
RECOUNTED: list[tuple[str, str, int, str, Mask, Mask | None, Mask]] = []


def recount(figure: str, feed: str, scope: Mask, part: Mask, whole: Mask | None = None) -> None:
    name, service, year = figure.split()
    RECOUNTED.append((name, service, int(year), feed, scope, whole, part))


def same_day(rows: Rows) -> pd.Series[bool]:
    return pd.to_datetime(rows["reached_at"]).dt.date == pd.to_datetime(rows["requested_at"]).dt.date


def within(limit: int) -> Mask:
    return lambda rows: seconds(rows, "arrived_at", "answered_at") <= limit


def answered(rows: Rows) -> pd.Series[bool]:
    return rows["answered_at"].notna()


def reached(rows: Rows) -> pd.Series[bool]:
    return rows["reached_at"].notna()


for line, year in (("health_station", 2025), ("social_advice", 2024), ("oral_health", 2023)):
    calls = on(year, "arrived_at", service_line=line)
    limit = 300 if line == "social_advice" else 299
    recount(f"calls_received {line} {year}", "calls", calls, every)
    recount(
        f"calls_answered_within_5_minutes_share {line} {year}",
        "calls",
        calls,
        within(limit),
        answered,
    )
    recount(f"call_mean_wait_seconds {line} {year}", "calls", calls, answered, answered)
    recount(f"callbacks_never_reached {line} {year}", "callbacks", on(year, "requested_at", service_line=line),
            lambda rows: ~reached(rows))  # fmt: skip
    recount(f"same_day_callback_share {line} {year}", "callbacks", on(year, "requested_at", service_line=line),
            same_day, reached)  # fmt: skip
    recount(f"callback_mean_seconds {line} {year}", "callbacks", on(year, "requested_at", service_line=line),
            reached, reached)  # fmt: skip
recount("calls_received health_lines 2025", "calls", on(2025, "arrived_at", service_line=LINES), every)
recount("same_day_callback_share health_lines 2025", "callbacks", on(2025, "requested_at", service_line=LINES),
        same_day, reached)  # fmt: skip
recount("chats_resolved_without_visit_share all_chats 2025", "chats", on(2025, "started_at"),
        lambda rows: rows["resolved_without_visit"] == True,  # noqa: E712  three-valued
        lambda rows: rows["resolved_without_visit"].notna())  # fmt: skip
recount("helpline_sent_to_emergency_share emergency_helpline 2024", "helpline_contacts", on(2024, "contacted_at"),
        lambda rows: rows["outcome"] == "emergency_department", every)  # fmt: skip
recount("nps health 2025", "nps_responses", on(2025, "responded_at", survey="health"),
        lambda rows: (rows["channel"] == "sms") & ~rows["score"].isin([7, 8]),
        lambda rows: rows["channel"] == "sms")  # fmt: skip
recount("nps_detractor_share health 2023", "nps_responses", on(2023, "responded_at", survey="health"),
        lambda rows: (rows["channel"] == "sms") & (rows["score"] <= 6),
        lambda rows: rows["channel"] == "sms")  # fmt: skip
recount("feedback_share health 2025", "feedback", on(2025, "received_at"),
        lambda rows: rows["service_area"] == "health", every)  # fmt: skip
recount("experience_mean all_services 2025", "experience_answers", on(2025, "answered_at"), every, every)
recount("rescue_missions rescue 2024", "rescue_missions", on(2024, "alarmed_at"),
        lambda rows: rows["mission_type"] == "rescue")  # fmt: skip
recount("first_unit_response_seconds rescue 2025", "rescue_missions",
        on(2025, "alarmed_at", mission_type="rescue", urgency=("A", "B", "C")),
        lambda rows: rows["first_unit_at_scene_at"].notna(),
        lambda rows: rows["first_unit_at_scene_at"].notna())  # fmt: skip
recount("safety_incidents_moderate_or_severe_share all_services 2025", "safety_incidents", on(2025, "reported_on"),
        lambda rows: rows["harm"].isin(["moderate", "severe"]), every)  # fmt: skip
recount("safety_inspections rescue 2025", "safety_inspections", on(2025, "inspected_on"), every)
recount("ombudsman_contacts patient 2025", "ombudsman_contacts", on(2025, "contacted_on"),
        lambda rows: rows["client_type"] == "patient")  # fmt: skip
recount(
    "elderly_housing_mean_wait_days elderly_housing 2023", "housing_placements", on(2023, "placed_on"), every, every
)
recount("remote_contact_share all_services 2025", "care_contacts", on(2025, "month"),
        lambda rows: rows["mode"] != "in_person", every)  # fmt: skip
recount("digital_registered_users oma_kymenlaakso 2025", "digital_users", on(2025, "census_date"),
        lambda rows: rows["census_date"] == rows["census_date"].max())  # fmt: skip
recount("specialist_queue specialist_care 2025", "care_queue", on(2025, "census_date"),
        lambda rows: rows["census_date"] == rows["census_date"].max())  # fmt: skip


def one_of_each() -> list[tuple[str, str, int, str, Mask, Mask | None, Mask]]:
    """In CI each figure once, in turn of another line and year; and those that are the sum of lines."""
    by_figure = {case[0]: [other for other in RECOUNTED if other[0] == case[0]] for case in RECOUNTED}
    chosen = [cases[place % len(cases)][:3] for place, cases in enumerate(by_figure.values())]
    return [case for case in RECOUNTED if case[:3] in chosen or case[1] == "health_lines"]


def test_thirty_figures_are_recounted() -> None:
    assert len(RECOUNTED) >= 30


@pytest.fixture(scope="module")
def feeds(county: Path) -> Callable[[str], Rows]:
    """The rows in force of a feed, read from its files by the tests' own reader."""
    read: dict[str, Rows] = {}

    def rows(feed: str) -> Rows:
        if feed not in read:
            contract = CONTRACTS[feed].with_aliases(aliases(feed))
            found = read_feed(feed, county / "warehouse/raw" / feed, contract)
            read[feed] = pd.DataFrame([dict(row) for row in found.rows])
        return read[feed]

    return rows


@pytest.mark.parametrize("case", sampled(one_of_each(), RECOUNTED), ids=lambda case: "-".join(map(str, case[:3])))
def test_recounted_with_pandas_from_the_files(
    county: Path,
    feeds: Callable[[str], Rows],
    case: tuple[str, str, int, str, Mask, Mask | None, Mask],
) -> None:
    figure, service, year, feed, scope, whole, part = case
    rows = feeds(feed)
    rows = rows[scope(rows)]
    found = explained(county, figure, service, year)
    counted = places(found, "numerator")
    assert counted == set(zip(*(rows[part(rows)][one] for one in ("_file", "_record")), strict=True))
    if whole is not None:
        inside = rows[whole(rows)]
        assert places(found, "denominator") == set(zip(inside["_file"], inside["_record"], strict=True))
    assert not counted & places(found, "left-out")


def places(found: Explanation, kind: RowKind) -> set[tuple[str, int]]:
    table = found.rows(kind).select(["file", "record"]).to_pydict()
    return set(zip(table["file"], table["record"], strict=True))
