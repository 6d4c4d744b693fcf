"""Records, keys, local time and the calendar as the oracle must have them, worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest

from oracle import (
    CONTRACTS,
    read_feed,
)
from oracle_calendar import add_months, add_working_days, care_limit, easter_sunday, is_working_day
from oracle_cases import CALLS, HEADER, load, utc
from oracle_sheet import median, round_half_away
from oracle_text import instant, is_skipped, occurrences

# --- Records


def test_a_record_is_rejected_with_every_reason() -> None:
    text = (
        f"{HEADER}\n,x,2025-02-30 10:00,2025-03-05T14:07,\n\n"
        "c1,oral_health,2025-03-05 14:07,\nc2,oral_health,1.1.1989 10:00,,\n"
    )
    result, rows = load(text)
    assert rows == []
    assert [(each.record, set(each.reasons)) for each in result.rejects] == [
        (1, {("call_id", "missing"), ("service_line", "code"), ("arrived_at", "form"), ("answered_at", "form")}),
        (2, {("", "field_count")}),
        (3, {("arrived_at", "range")}),
    ]


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ("2025-03-05 14:00,2025-03-05 14:00,2025-03-05 14:00", None),
        ("2025-03-05 14:00,2025-03-05 13:59,", ("answered_at", "order")),
        ("2025-03-05 14:00,,2025-03-05 13:59", ("ended_at", "order")),
        ("2025-03-05 14:00,2025-03-05 14:02,2025-03-05 14:01", ("ended_at", "order")),
        ("2025-03-30 03:30,2025-03-30 04:29,", ("answered_at", "order")),  # half past three is half past four
        ("2025-03-30 03:30,2025-03-30 04:30,", None),
        ("2025-10-26 03:58,2025-10-26 03:02,2025-10-26 03:01", ("ended_at", "order")),
        ("2025-10-26 04:00,2025-10-26 03:59,", ("answered_at", "order")),
    ],
)
def test_times_of_a_row_are_in_order_as_instants(times: str, reason: tuple[str, str] | None) -> None:
    result, _ = load(f"{HEADER}\nc1,oral_health,{times}\n")
    assert [each.reasons for each in result.rejects] == ([{reason}] if reason else [])


def test_dates_are_in_order() -> None:
    header = "census_date,patient_key,specialty,need_confirmed_on\n"
    result, _ = load(header + "2024-12-31,p,a,2025-01-01\n2024-12-31,q,a,31.12.2024\n", CONTRACTS["care_queue"])
    assert [each.record for each in result.rejects] == [1]


# --- Local time


def test_clock_changes_of_2025() -> None:
    assert occurrences(datetime(2025, 10, 26, 2, 59, 59)) == (utc("2025-10-25T23:59:59"),)
    assert occurrences(datetime(2025, 10, 26, 3, 0)) == (utc("2025-10-26T00:00:00"), utc("2025-10-26T01:00:00"))
    assert occurrences(datetime(2025, 10, 26, 4, 0)) == (utc("2025-10-26T02:00:00"),)
    assert occurrences(datetime(2025, 3, 30, 2, 59)) == (utc("2025-03-30T00:59:00"),)
    assert occurrences(datetime(2025, 3, 30, 3, 30)) == (utc("2025-03-30T01:30:00"),)  # as 04:30 in summer time
    assert occurrences(datetime(2025, 3, 30, 4, 30)) == (utc("2025-03-30T01:30:00"),)
    assert is_skipped(datetime(2025, 3, 30, 3, 59, 59))
    assert not is_skipped(datetime(2025, 3, 30, 4, 0))
    assert not is_skipped(datetime(2025, 10, 26, 3, 30))


def test_clocks_changed_in_september_until_1995_and_still_change_in_2061() -> None:
    assert len(occurrences(datetime(1995, 9, 24, 3, 30))) == 2
    assert len(occurrences(datetime(1995, 10, 29, 3, 30))) == 1
    assert len(occurrences(datetime(2061, 10, 30, 3, 30))) == 2
    assert is_skipped(datetime(2061, 3, 27, 3, 30))


@pytest.mark.parametrize(
    ("start", "end", "minutes"),
    [
        ("02:58", "03:02", 4),
        ("03:58", "03:02", 4),
        ("03:02", "03:58", 56),
        ("03:00", "03:00", 0),
        ("03:59", "04:00", 61),
        ("02:59", "04:00", 121),
    ],
)
def test_elapsed_time_is_real_where_an_hour_occurs_twice(start: str, end: str, minutes: int) -> None:
    first, second = (datetime.fromisoformat(f"2025-10-26 {each}") for each in (start, end))
    preceding = instant(first, None)
    assert instant(second, preceding) - preceding == timedelta(minutes=minutes)


def test_the_preceding_time_is_the_nearest_that_is_not_missing_and_flags_are_told() -> None:
    text = (
        f"{HEADER}\na,oral_health,2025-10-26 03:58,2025-10-26 03:02,2025-10-26 03:10\n"
        "b,oral_health,2025-10-26 03:58,,2025-10-26 03:02\nc,oral_health,2025-03-30 03:15,2025-03-30 04:16,\n"
    )
    _, (first, second, third) = load(text)
    assert first["answered_at_utc"] == utc("2025-10-26T01:02:00")
    assert first["ended_at_utc"] == utc("2025-10-26T01:10:00")
    assert first["_clock"] == "arrived_at:twice,answered_at:twice,ended_at:twice"
    assert second["ended_at_utc"] == utc("2025-10-26T01:02:00")
    assert third["arrived_at_utc"] == utc("2025-03-30T01:15:00")
    assert (third["arrived_at"], third["_clock"]) == (datetime(2025, 3, 30, 3, 15), "arrived_at:skipped")


# --- Keys and corrections


def write(folder: Path, files: Mapping[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_bytes(text.encode())


def test_within_a_file_the_first_loaded_row_counts(tmp_path: Path) -> None:
    good, bad = "oral_health,2025-03-05 14:07,,", "oral_health,2025-03-05,,"
    write(tmp_path, {"a.csv": f"{HEADER}\nc1,{bad}\nc1,{good}\nC1,{good}\nc1,{good}\n"})
    feed = read_feed("calls", tmp_path, CALLS)
    assert [(each.record, set(each.reasons)) for each in feed.files[0].rejects] == [
        (1, {("arrived_at", "form")}),
        (4, {("", "duplicate")}),
    ]
    assert [(row["call_id"], row["_record"]) for row in feed.rows] == [("c1", 2), ("C1", 3)]


def test_across_files_the_last_name_counts(tmp_path: Path) -> None:
    files = {
        name: f"{HEADER}\nc1,oral_health,2025-03-0{number} 10:00,,\nc{number + 1},oral_health,2025-03-05 10:00,,\n"
        for number, name in enumerate(("a.csv", "B.csv", "a_1.csv", "a-1.csv", "10.csv", "9.csv"), start=1)
    }
    files["z.csv"] = f"{HEADER}\nc1,oral_health,2025-03-09,,\n"  # a reject takes no key
    files["ä.csv"] = "nothing\n1\n"
    files["ä.txt"] = files["a.csv"]
    write(tmp_path, files)
    feed = read_feed("calls", tmp_path, CALLS)
    names = [each.name for each in feed.files]
    assert names == ["10.csv", "9.csv", "B.csv", "a.csv", "a-1.csv", "a_1.csv", "z.csv", "ä.csv"]
    assert [each.superseded for each in feed.files] == [1, 1, 1, 1, 1, 0, 0, 0]
    assert [each.loaded for each in feed.files] == [2, 2, 2, 2, 2, 2, 0, 0]
    assert {row["call_id"]: row["_file"] for row in feed.rows}["c1"] == "a_1.csv"
    assert len(feed.rows) == 7
    assert len(feed.superseded) == 5


def test_a_census_is_replaced_whole_by_the_last_file_that_loads_a_row_of_it(tmp_path: Path) -> None:
    header = "census_date,patient_key,specialty,need_confirmed_on\n"
    files = {
        "1.csv": header + "2024-12-31,p,a,2024-01-01\n2024-12-31,q,a,2024-01-01\n2023-12-31,p,a,2023-01-01\n",
        "2.csv": header + "31.12.2024,q,a,2024-02-01\n",
        "3.csv": header + "2023-12-31,p,a,2024-01-01\n2024-12-31,,a,2024-01-01\n",  # two rejects: holds neither date
    }
    write(tmp_path, files)
    feed = read_feed("care_queue", tmp_path, CONTRACTS["care_queue"])
    assert [(each.loaded, each.superseded) for each in feed.files] == [(3, 2), (1, 0), (0, 0)]
    assert [(row["census_date"], row["patient_key"], row["_file"]) for row in feed.rows] == [
        (date(2023, 12, 31), "p", "1.csv"),
        (date(2024, 12, 31), "q", "2.csv"),
    ]


# --- The calendar


def test_months_clamp_to_the_last_day() -> None:
    assert add_months(date(2024, 11, 30), 3) == date(2025, 2, 28)
    assert add_months(date(2023, 11, 30), 3) == date(2024, 2, 29)
    assert add_months(date(2025, 8, 31), -6) == date(2025, 2, 28)
    assert add_months(date(2025, 12, 31), -6) == date(2025, 6, 30)
    assert add_months(date(2024, 10, 31), 4) == date(2025, 2, 28)
    assert add_months(date(2024, 9, 30), 3) == date(2024, 12, 30)
    assert add_months(date(2024, 1, 15), -1) == date(2023, 12, 15)


def test_easter_and_the_working_days_around_it() -> None:
    assert [easter_sunday(year) for year in (1990, 2000, 2008, 2024, 2025, 2038, 2049)] == [
        date(1990, 4, 15),
        date(2000, 4, 23),
        date(2008, 3, 23),
        date(2024, 3, 31),
        date(2025, 4, 20),
        date(2038, 4, 25),
        date(2049, 4, 18),
    ]
    days_off = ("2025-04-18", "2025-04-21", "2025-05-01", "2025-05-29", "2025-06-20", "2025-12-24", "2025-12-26")
    assert not any(is_working_day(date.fromisoformat(day)) for day in (*days_off, "2025-01-06", "2024-12-06"))
    days_on = ("2025-04-17", "2025-04-22", "2025-06-19", "2025-06-23", "2025-12-23", "2025-12-31", "2025-10-31")
    assert all(is_working_day(date.fromisoformat(day)) for day in days_on)


def test_the_day_of_initiation_is_not_counted() -> None:
    assert add_working_days(date(2025, 3, 3), 7) == date(2025, 3, 12)  # Monday to Wednesday of the next week
    assert add_working_days(date(2025, 3, 1), 7) == date(2025, 3, 11)  # from a Saturday: Monday is the first
    assert add_working_days(date(2025, 12, 19), 7) == date(2026, 1, 5)  # 22, 23, 29, 30, 31 Dec; 2, 5 Jan
    assert add_working_days(date(2025, 4, 17), 7) == date(2025, 4, 30)  # 22 to 25, 28 to 30


def test_the_care_guarantee_by_date_and_age() -> None:
    assert care_limit("primary_care", date(2023, 8, 31), 50) == date(2023, 11, 30)
    assert care_limit("primary_care", date(2023, 9, 1), 50) == date(2023, 9, 15)
    assert care_limit("primary_care", date(2024, 12, 31), 23) == date(2025, 1, 14)
    assert care_limit("primary_care", date(2025, 1, 1), 23) == date(2025, 4, 1)
    assert care_limit("primary_care", date(2025, 1, 1), 22) == date(2025, 1, 15)
    assert care_limit("oral_health", date(2023, 8, 31), 5) == date(2024, 2, 29)
    assert care_limit("oral_health", date(2024, 10, 31), 5) == date(2025, 2, 28)
    assert care_limit("oral_health", date(2024, 11, 1), 50) == date(2025, 2, 1)
    assert care_limit("oral_health", date(2025, 1, 1), 22) == date(2025, 4, 1)
    assert care_limit("oral_health", date(2025, 1, 1), 23) == date(2025, 7, 1)


def test_rounding_and_the_median() -> None:
    assert [round_half_away(Fraction(n, 2)) for n in (-5, -3, -1, 0, 1, 3, 5)] == [-3, -2, -1, 0, 1, 2, 3]
    assert round_half_away(Fraction(-249, 100)) == -2
    assert median([]) is None
    assert median([7]) == 7
    assert median([9, 1, 4]) == 4
    assert median([9, 1, 4, 7]) == Fraction(11, 2)
