"""Facts worked out by hand that the oracle must satisfy before anything is judged by it."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostile import cells, clean_file, forms, make_value, mutations, nearly, write_clean, write_hostile
from oracle import (
    CONTRACTS,
    Column,
    Contract,
    FeedResult,
    FileResult,
    Record,
    Row,
    Value,
    figures,
    parse,
    read_bytes,
    read_feed,
    read_feeds,
)
from oracle_figures import (
    add_months,
    add_working_days,
    basis_of,
    care_limit,
    easter_sunday,
    is_working_day,
    median,
    round_half_away,
)
from oracle_read import ILLEGIBLE, decode, instant, is_skipped, occurrences, split

CALLS = CONTRACTS["calls"]
HEADER = "call_id,service_line,arrived_at,answered_at,ended_at"


def load(text: str | bytes, contract: Contract = CALLS, name: str = "a.csv") -> tuple[FileResult, list[Record]]:
    return read_bytes(contract, name, text.encode() if isinstance(text, str) else text)


def column(feed: str, name: str) -> Column:
    return CONTRACTS[feed].column(name)


def feed_of(feed: str, text: str) -> dict[str, FeedResult]:
    """A feed of one file, each record of which loads."""
    result, rows = load(text, CONTRACTS[feed])
    assert result.rejected == 0, result.rejects
    assert result.refused is None
    return {feed: FeedResult(feed, (result,), tuple(rows))}


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text)


# --- Bytes and text


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        (b"abc", "abc", "utf-8"),
        ("\ufeffä".encode(), "ä", "utf-8"),
        ("ä€\x85".encode(), "ä€\x85", "utf-8"),
        (b"\xe4\xa4", "ä€", "iso-8859-15"),
        (b"\xe4 \xa6\xa8", "ä Šš", "iso-8859-15"),
        (b"\xe4\x80", "ä€", "windows-1252"),
        (b"\xe4 \xa4\x96", "ä ¤–", "windows-1252"),
        (b"\xe4\x81\x8d\x8f\x90\x9d", "ä" + ILLEGIBLE * 5, "windows-1252"),
        (b"a\xc3", "a" + ILLEGIBLE, "utf-8"),  # cut in the middle of a letter
        (b"\xc3\nb", "Ã\nb", "iso-8859-15"),
        (b"\xed\xa0\x80", "í\u00a0€", "windows-1252"),  # a surrogate is no UTF-8
        ("ä\nö\n".encode() + b"\xe4\n", f"ä\nö\n{ILLEGIBLE}\n", "utf-8"),
        (b"\xe4\n\xf6\n" + "aä\n".encode(), f"ä\nö\na{ILLEGIBLE * 2}\n", "iso-8859-15"),
        (b"\xef\xbb\xbf\xe4a", f"{ILLEGIBLE}a", "utf-8"),
        ("\ufeffä€".encode("utf-16-le"), "ä€", "utf-16-le"),
        ("\ufeffä€".encode("utf-16-be") + b"\0", f"ä€{ILLEGIBLE}", "utf-16-be"),
        ("kyllä pöytä".encode("cp850"), "kyllä pöytä", "cp850"),
        ("HÄMEENLINNA PÄIVÄ".encode("cp850"), "HÄMEENLINNA PÄIVÄ", "cp850"),
        ("kyllä pöytä".encode("mac-roman"), "kyllä pöytä", "mac-roman"),
    ],
)
def test_the_encoding_is_told_by_the_bytes(data: bytes, text: str, encoding: str) -> None:
    assert decode(data) == (text, encoding)


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        ("a,b", ["a", "b"]),
        (" a ,\tb\t", ["a", "b"]),
        ("a,", ["a", ""]),
        (",", ["", ""]),
        ('"a","b"', ["a", "b"]),
        (' "a" , "b" ', ["a", "b"]),
        ('" a ",b', ["a", "b"]),
        ('"a,b",c', ["a,b", "c"]),
        ('"a""b",c', ['a"b', "c"]),
        ('"","c"', ["", "c"]),
        ('"""",c', ['"', "c"]),
        ('"a"b,c', ['"a"b', "c"]),
        ('a"b,c"', ['a"b', 'c"']),
        ('a"",b', ['a""', "b"]),
        ('"a,b', ['"a', "b"]),
        ('"a"",b', ['"a""', "b"]),
        ('5",6"', ['5"', '6"']),
        ('"a" x,b', ['"a" x', "b"]),
        ('x "a",b', ['x "a"', "b"]),
        ('"a,b"c,"d"', ['"a', 'b"c', "d"]),
        ("\u00a0a,b", ["\u00a0a", "b"]),
        ("\x0ba\x0c,b\x85\u2028", ["\x0ba\x0c", "b\x85\u2028"]),
    ],
)
def test_a_line_is_split_into_cells(line: str, cells: list[str]) -> None:
    assert list(split(line, ",")) == [cells]
    assert list(split(f"{line}\r\n", ",")) == [cells]


@pytest.mark.parametrize(
    ("text", "records"),
    [
        ("a,b\nc,d", [["a", "b"], ["c", "d"]]),
        ("a,b\r\nc,d\r\n", [["a", "b"], ["c", "d"]]),
        ("a,b\rc,d\r", [["a", "b"], ["c", "d"]]),
        ("a,b\n\r\n\r \t\nc,d\n\n", [["a", "b"], ["c", "d"]]),
        ('a,"b\nc"\nd,e', [["a", "b\nc"], ["d", "e"]]),
        ('a,"b\r\n\r\nc"\nd,e', [["a", "b\r\n\r\nc"], ["d", "e"]]),
        ('a,"b\nc,d\n', [["a", '"b'], ["c", "d"]]),
        ('a,"b\nc,"d"\n', [["a", '"b'], ["c", "d"]]),
        ('a,"b\nc,d"\n', [["a", "b\nc,d"]]),
        ('""\nb', [[""], ["b"]]),
        ("", []),
        (" \n\t\n", []),
    ],
)
def test_a_text_is_split_into_records(text: str, records: list[list[str]]) -> None:
    assert list(split(text, ",")) == records


def test_a_line_of_tabs_is_a_record_of_a_tab_file_only() -> None:
    assert list(split("a\tb\n\t\n  \n \t \n", "\t")) == [["a", "b"], ["", ""], ["", ""]]
    assert list(split("a,b\n\t\n", ",")) == [["a", "b"]]


def test_well_formed_text_is_split_as_the_csv_module_splits_it() -> None:
    random = Random(1)
    words = ("", "a", "b c", "d,e", 'f"g', '"', '""', "h\ni", ",", "ä")
    for _ in range(200):
        rows = [[random.choice(words) for _ in range(3)] for _ in range(5)]
        text = io.StringIO()
        csv.writer(text, quoting=random.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))).writerows(rows)
        assert list(split(text.getvalue(), ",")) == rows


# --- Headers


def test_names_may_be_padded_quoted_aliased_and_in_any_order() -> None:
    contract = CALLS.with_aliases({"saapumisaika": "arrived_at"})
    text = '\n \t\n "service_line" ;huom;\tsaapumisaika; call_id\n oral_health ; x ; 5.3.2025 klo 14.07 ; "c1" \n'
    result, (row,) = load(text, contract)
    assert (result.separator, result.records, result.loaded, result.refused) == (";", 1, 1, None)
    assert result.unknown_columns == ("huom",)
    assert result.missing_columns == ("answered_at", "ended_at")
    assert (row["call_id"], row["service_line"], row["answered_at"]) == ("c1", "oral_health", None)
    assert row["arrived_at"] == datetime(2025, 3, 5, 14, 7)
    assert row["arrived_at_utc"] == datetime(2025, 3, 5, 12, 7)


@pytest.mark.parametrize(
    ("header", "separator"),
    [
        ("call_id,service_line;arrived_at", ","),  # two names against none
        ("call_id;service_line;arrived_at,ended_at", ";"),
        ("call_id;x,ended_at", ","),  # one each: comma first
        ("call_id;x\tended_at", ";"),  # then semicolon
        ("x\tcall_id", "\t"),
        ("nothing;known", ","),
        ('"call_id;service_line",arrived_at', ","),
    ],
)
def test_the_separator_that_yields_most_known_names_is_taken(header: str, separator: str) -> None:
    assert load(header)[0].separator == separator


@pytest.mark.parametrize(
    ("text", "refused", "records"),
    [
        ("", "no_header", 0),
        ("\ufeff", "no_header", 0),
        (" \r\n\t\r", "no_header", 0),
        ("call_id,service_line\n1,2\n\n3\n", "missing_column", 2),
        ("call_id,service_line,Arrived_at\n1,2,3\n", "missing_column", 1),
        ("call_id,service_line,\u00a0arrived_at\n1,2,3\n", "missing_column", 1),
        (f"{HEADER},ended_at\n1\n2\n", "named_twice", 2),
        ("call_id,service_line,arrived_at,saapumisaika\n1\n", "named_twice", 1),
        ("call_id,service_line,saapumisaika,saapumisaika\n1\n", "named_twice", 1),
        ("\x00\x01", "missing_column", 0),
    ],
)
def test_a_header_may_refuse_the_file(text: str, refused: str, records: int) -> None:
    result, rows = load(text, CALLS.with_aliases({"saapumisaika": "arrived_at"}))
    assert (result.refused, result.records, result.rejected, result.loaded) == (refused, records, records, 0)
    assert rows == []


def test_unknown_names_may_repeat() -> None:
    assert load(f"{HEADER},,,x,x\nc1,oral_health,2025-03-05 14:07,,,1,2,3,4\n")[0].loaded == 1


def test_a_gz_file_is_read_whole_or_not_at_all() -> None:
    data = gzip.compress(f"{HEADER}\nc1,oral_health,2025-03-05 14:07,,\n".encode())
    assert load(data, name="a.csv.gz")[0].loaded == 1
    assert load(data + data[:0], name="a.csv.gz")[0].records == 1
    for broken in (b"", data[:1], data[:10], data[:-1], data[:-8], b"call_id"):
        result, _ = load(broken, name="a.csv.gz")
        assert (result.refused, result.records) == ("unreadable", 0)


# --- Cells


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-03-05 14:07:09", datetime(2025, 3, 5, 14, 7, 9)),
        ("2025-03-05T14:07:09", datetime(2025, 3, 5, 14, 7, 9)),
        ("2025-03-05 14:07", datetime(2025, 3, 5, 14, 7)),
        ("5.3.2025 14:07:09", datetime(2025, 3, 5, 14, 7, 9)),
        ("5.3.2025 14:07", datetime(2025, 3, 5, 14, 7)),
        ("5.3.2025 klo 14.07", datetime(2025, 3, 5, 14, 7)),
        ("5.3.2025 klo 14.07.09", datetime(2025, 3, 5, 14, 7, 9)),
        ("05.03.2025 4:07", datetime(2025, 3, 5, 4, 7)),
        ("05.3.2025 klo 4.07", datetime(2025, 3, 5, 4, 7)),
        ("31.12.2099 23:59:59", datetime(2099, 12, 31, 23, 59, 59)),
        ("1.1.1990 0:00", datetime(1990, 1, 1)),
        ("29.2.2024 04:07", datetime(2024, 2, 29, 4, 7)),
    ],
)
def test_every_form_of_a_timestamp(text: str, expected: datetime) -> None:
    assert parse(column("calls", "arrived_at"), text).value == expected


@pytest.mark.parametrize(
    ("feed", "name", "text", "expected"),
    [
        ("nps_responses", "score", "-0", 0),
        ("nps_responses", "score", "010", 10),
        ("nps_responses", "score", "11", None),
        ("nps_responses", "score", "1\u00a00", None),
        ("experience_answers", "score", "0", None),
        ("nps_invitations", "invitations_sent", "1\u00a0234\u00a0567", 1_234_567),
        ("nps_invitations", "invitations_sent", "12\u202f345", 12_345),
        ("nps_invitations", "invitations_sent", "9223372036854775807", 2**63 - 1),
        ("nps_invitations", "invitations_sent", "9223372036854775808", None),
        ("nps_invitations", "invitations_sent", "-1", None),
        ("nps_invitations", "month", "1.3.2025", date(2025, 3, 1)),
        ("nps_invitations", "month", "2.3.2025", None),
        ("care_queue", "census_date", "05.03.2025", date(2025, 3, 5)),
        ("care_queue", "specialty", "Silmätaudit", "Silmätaudit"),
        ("manual_figures", "value", "-1\u202f234,50", Decimal("-1234.5")),
        ("manual_figures", "value", "1\u00a0234.5", Decimal("1234.5")),
        ("manual_figures", "value", "1,234", Decimal("1.234")),
        ("manual_figures", "value", ".5", None),
        ("manual_figures", "value", "1" * 19, None),
        ("manual_figures", "report_year", "1989", None),
        ("manual_figures", "report_year", "2099", 2099),
        ("chats", "resolved_without_visit", "KYLLÄ", True),
        ("chats", "resolved_without_visit", "E", False),
        ("chats", "resolved_without_visit", "tRuE", True),
        ("chats", "resolved_without_visit", "\u212a", None),
        ("rescue_missions", "urgency", "A", "A"),
        ("rescue_missions", "urgency", "a", None),
        ("calls", "call_id", "null", "null"),
        ("calls", "call_id", "--", "--"),
    ],
)
def test_a_cell_says_what_it_says(feed: str, name: str, text: str, expected: Value) -> None:
    cell = parse(column(feed, name), text)
    assert cell.value == expected
    assert (cell.reason is None) == (expected is not None)


ALL_COLUMNS = [(contract.feed, each) for contract in CONTRACTS.values() for each in contract.columns]


@pytest.mark.parametrize(("feed", "each"), ALL_COLUMNS, ids=[f"{feed}.{each.name}" for feed, each in ALL_COLUMNS])
def test_the_oracle_and_the_hostile_files_agree_on_every_form(feed: str, each: Column) -> None:
    random = Random(1)
    for value in (make_value(each, random, 100) for _ in range(100)):
        for text in forms(each, value):
            assert parse(each, text).value == value, text
    for text in nearly(each):
        cell = parse(each, text)
        assert cell.value is None, text
        assert cell.reason, text


@given(st.data())
def test_any_text_at_all_is_a_value_or_a_reason(data: st.DataObject) -> None:
    _, each = data.draw(st.sampled_from(ALL_COLUMNS))
    text = data.draw(cells(each))
    cell = parse(each, text)
    assert (cell.value is None) or (cell.reason is None)
    assert (cell.value is None and cell.reason is None) == (text in ("", "NULL", "-") and not each.required)


def test_a_missing_value_is_empty_null_or_a_dash_quoted_or_not() -> None:
    for written in ("", '""', "NULL", '" NULL "', "-", '"-"', " \t", '" \t"'):
        result, (row,) = load(f"{HEADER}\nc1,oral_health,2025-03-05 14:07,{written},\n")
        assert (result.loaded, row["answered_at"]) == (1, None)
        result, _ = load(f"{HEADER}\n{written},oral_health,2025-03-05 14:07,,\n")
        assert result.rejects[0].reasons == {("call_id", "missing")}


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


# --- Figures


def row(
    numerator: int | Fraction | None, denominator: int | Fraction | None, value: int | Fraction | None, events: int
) -> Row:
    def exact(number: int | Fraction | None) -> Fraction | None:
        return None if number is None else Fraction(number)

    return Row(exact(numerator), exact(denominator), exact(value), events)


def test_calls() -> None:
    message = figures(
        feed_of(
            "calls",
            f"{HEADER}\n"
            "1,oral_health,2024-12-31 23:58:00,2025-01-01 00:03:00,2025-01-01 00:10:00\n"  # 300 s, handled 420 s
            "2,oral_health,2024-06-01 10:00:00,2024-06-01 10:04:59,\n"  # 299 s
            "3,oral_health,2024-06-01 10:00:00,,2024-06-01 10:01:00\n"  # never answered, though it ended
            "4,rehabilitation,2024-06-01 10:00:00,2024-06-01 10:00:00,2024-06-01 10:00:01\n"
            "5,social_advice,2024-06-01 10:00:00,2024-06-01 10:05:00,\n"
            "6,social_advice,2023-06-01 10:00:00,,\n",
        )
    )
    year = "calendar_year"
    assert message["calls_received", "oral_health", 2024, year] == row(3, None, 3, 3)
    assert message["call_mean_wait_seconds", "oral_health", 2024, year] == row(599, 2, Fraction(599, 2), 3)
    assert message["calls_answered_within_5_minutes_share", "oral_health", 2024, year] == row(1, 2, 50, 3)
    assert message["call_mean_handling_seconds", "oral_health", 2024, year] == row(420, 1, 420, 3)
    assert message["calls_received", "health_lines", 2024, year] == row(4, None, 4, 4)
    assert message["calls_answered_within_5_minutes_share", "health_lines", 2024, year] == row(
        2, 3, Fraction(200, 3), 4
    )
    assert message["call_mean_handling_seconds", "health_lines", 2024, year] == row(421, 2, Fraction(421, 2), 4)
    assert message["calls_answered_within_5_minutes_share", "social_advice", 2024, year] == row(1, 1, 100, 1)
    assert message["call_mean_handling_seconds", "social_advice", 2024, year] == row(0, 0, None, 1)
    assert message["calls_received", "social_advice", 2023, "partial_year"] == row(1, None, 1, 1)
    assert message["call_mean_wait_seconds", "social_advice", 2023, "partial_year"] == row(0, 0, None, 1)
    assert Counter(key[1:3] for key in message) == dict.fromkeys(
        [
            ("oral_health", 2024),
            ("rehabilitation", 2024),
            ("health_lines", 2024),
            ("social_advice", 2024),
            ("social_advice", 2023),
        ],
        4,
    )


def test_callbacks() -> None:
    message = figures(
        feed_of(
            "callbacks",
            "callback_id,service_line,requested_at,reached_at\n"
            "1,oral_health,2024-10-27 03:58,2024-10-27 03:02\n"
            "2,oral_health,2024-12-31 23:59,2025-01-01 00:01\n"
            "3,oral_health,2024-05-05 10:00,\n"
            "4,social_advice,2024-05-05 10:00,\n",
        )
    )
    year = "calendar_year"
    for service in ("oral_health", "health_lines"):
        assert message["callbacks_received", service, 2024, year] == row(3, None, 3, 3)
        assert message["callbacks_never_reached", service, 2024, year] == row(1, None, 1, 3)
        assert message["same_day_callback_share", service, 2024, year] == row(1, 2, 50, 3)
        assert message["callback_mean_seconds", service, 2024, year] == row(360, 2, 180, 3)
    assert message["same_day_callback_share", "social_advice", 2024, year] == row(0, 0, None, 1)
    assert len(message) == 12


def nps_of(counts: Mapping[tuple[int, str, str], str]) -> dict[str, FeedResult]:
    """Answers by year, survey and channel, each given as its scores one after another, a for 10."""
    lines = ["response_id,survey,channel,responded_at,score,comment"]
    for (year, survey, channel), scores in counts.items():
        lines += [
            f"{year}{survey}{channel}{n},{survey},{channel},{year}-05-05 10:00,{int(s, 16)},"
            for n, s in enumerate(scores)
        ]
    return feed_of("nps_responses", "\n".join(lines))


def test_nps_by_text_message_only() -> None:
    feeds = nps_of(
        {
            (2023, "health", "sms"): "a98607650",  # 2 promoters, 5 detractors of 9
            (2024, "health", "sms"): "99990777",  # 4 less 1 of 8: 37.5
            (2024, "health", "web"): "000000",
            (2025, "health", "sms"): "09",
            (2024, "social_advice", "qr"): "9a",
            (2023, "social_advice", "sms"): "9",
            (2022, "social_advice", "sms"): "7",
        }
    )
    feeds |= feed_of(
        "nps_invitations",
        "survey,channel,month,invitations_sent\n"
        "health,sms,2024-01-01,30\nhealth,sms,2024-12-01,10\nhealth,web,2024-12-01,1000\n"
        "social_advice,sms,2024-01-01,7\nhealth,sms,2021-01-01,5\n",
    )
    message = figures(feeds)
    year, change = "calendar_year", "change_from_previous_year"
    assert message["nps", "health", 2023, year] == row(-3, 9, Fraction(-300, 9), 9)
    assert message["nps", "health", 2024, year] == row(3, 8, Fraction(75, 2), 8)
    assert message["nps_promoter_share", "health", 2024, year] == row(4, 8, 50, 8)
    assert message["nps_detractor_share", "health", 2024, year] == row(1, 8, Fraction(25, 2), 8)
    assert message["nps_responses", "health", 2024, year] == row(8, None, 8, 8)
    assert message["nps_response_rate", "health", 2024, year] == row(8, 40, 20, 8)
    assert message["nps_response_rate", "health", 2025, year] == row(2, 0, None, 2)
    assert message["nps_change", "health", 2024, change] == row(38 + 33, None, 71, 8)
    assert message["nps_change", "health", 2025, change] == row(-38, None, -38, 2)
    assert message["nps_responses_change", "health", 2024, change] == row(-1, None, -1, 8)

    assert message["nps", "social_advice", 2024, year] == row(0, 0, None, 0)
    assert message["nps_promoter_share", "social_advice", 2024, year] == row(0, 0, None, 0)
    assert message["nps_responses", "social_advice", 2024, year] == row(0, None, 0, 0)
    assert message["nps_response_rate", "social_advice", 2024, year] == row(0, 7, 0, 0)
    assert ("nps_change", "social_advice", 2024, change) not in message
    assert message["nps_responses_change", "social_advice", 2024, change] == row(-1, None, -1, 0)
    assert message["nps_change", "social_advice", 2023, "partial_year"] == row(100, None, 100, 1)
    assert message["nps", "social_advice", 2023, "partial_year"] == row(1, 1, 100, 1)
    assert not [key for key in message if key[2] == 2021]


def test_rescue_missions() -> None:
    message = figures(
        feed_of(
            "rescue_missions",
            "mission_id,mission_type,urgency,alarmed_at,first_unit_at_scene_at\n"
            "1,rescue,A,2024-01-01 10:00:00,2024-01-01 10:05:00\n"
            "2,rescue,C,2024-12-31 23:59:00,2025-01-01 00:05:01\n"
            "3,rescue,D,2024-05-05 10:00:00,2024-05-05 11:00:00\n"
            "4,rescue,B,2024-05-05 10:00:00,\n"
            "5,ems,A,2024-05-05 10:00:00,2024-05-05 10:01:00\n"
            "6,ems,A,2023-05-05 10:00:00,2023-05-05 10:01:00\n"
            "7,rescue,D,2025-05-05 10:00:00,2025-05-05 10:01:00\n",
        )
    )
    year, change = "calendar_year", "change_from_previous_year"
    assert message["rescue_department_missions", "rescue", 2024, year] == row(5, None, 5, 5)
    assert message["rescue_missions", "rescue", 2024, year] == row(4, None, 4, 4)
    assert message["ems_missions", "rescue", 2024, year] == row(1, None, 1, 1)
    assert message["rescue_unit_alarms_per_day", "rescue", 2024, year] == row(5, 366, Fraction(5, 366), 5)
    assert message["rescue_unit_alarms_per_day", "rescue", 2023, year] == row(1, 365, Fraction(1, 365), 1)
    middle = Fraction(300 + 361, 2)
    assert message["first_unit_response_seconds", "rescue", 2024, year] == row(middle, 2, middle, 3)
    assert message["first_unit_response_seconds", "rescue", 2023, year] == row(None, 0, None, 0)
    assert message["rescue_missions", "rescue", 2023, year] == row(0, None, 0, 0)
    assert message["ems_missions", "rescue", 2025, year] == row(0, None, 0, 0)
    assert message["rescue_missions_change_pct", "rescue", 2024, change] == row(4, 0, None, 4)
    assert message["rescue_missions_change_pct", "rescue", 2025, change] == row(-3, 4, -75, 1)
    assert ("rescue_missions_change_pct", "rescue", 2023, change) not in message


def test_the_queue_counts_patients_of_the_years_last_census() -> None:
    message = figures(
        feed_of(
            "care_queue",
            "census_date,patient_key,specialty,need_confirmed_on\n"
            "2024-12-31,p,a,2024-07-04\n"  # 180 days: not over; under 6 months
            "2024-12-31,q,a,2024-07-03\n"  # 181 days; under 6 months
            "2024-12-31,q,b,2024-06-30\n"  # 184 days; 6 months to the day
            "2024-12-31,r,a,2024-06-29\n"  # 185 days; over 6 months
            "2024-06-30,p,a,2020-01-01\n"
            "2025-08-31,p,a,2025-02-28\n"  # 184 days; 6 months to the clamped day
            "2025-08-31,q,a,2025-02-27\n",
        )
    )
    december, census = "census_december", "census"
    assert message["specialist_queue", "specialist_care", 2024, december] == row(3, None, 3, 4)
    assert message["specialist_queue_over_180_days", "specialist_care", 2024, december] == row(2, None, 2, 3)
    share = message["specialist_queue_over_180_days_share", "specialist_care", 2024, december]
    assert share == row(2, 3, Fraction(200, 3), 4)
    share = message["specialist_queue_over_6_months_share", "specialist_care", 2024, december]
    assert share == row(1, 3, Fraction(100, 3), 4)
    assert message["specialist_queue_over_180_days", "specialist_care", 2025, census] == row(2, None, 2, 2)
    assert message["specialist_queue_over_6_months_share", "specialist_care", 2025, census] == row(1, 2, 50, 2)
    assert len(message) == 8


def test_chats_and_the_helpline() -> None:
    message = figures(
        feed_of(
            "chats",
            "chat_id,service_line,started_at,resolved_without_visit\n1,oral_health,2024-05-05 10:00,k\n"
            "2,social_advice,2024-05-05 10:00,\n3,social_advice,2024-05-05 10:00,ei\n4,oral_health,2023-05-05 10:00,\n",
        )
        | feed_of(
            "helpline_contacts",
            "contact_id,contacted_at,outcome,advice_sufficient\n1,2024-05-05 10:00,resolved,1\n"
            "2,2024-05-05 10:00,other_care,\n3,2024-05-05 10:00,emergency_department,0\n",
        )
    )
    year = "calendar_year"
    assert message["chats_received", "social_advice", 2024, year] == row(2, None, 2, 2)
    assert message["chats_received", "health_lines", 2024, year] == row(1, None, 1, 1)
    assert message["chats_resolved_without_visit_share", "all_chats", 2024, year] == row(1, 2, 50, 3)
    assert message["chats_resolved_without_visit_share", "all_chats", 2023, year] == row(0, 0, None, 1)
    helpline = "emergency_helpline"
    third = Fraction(100, 3)
    assert message["helpline_resolved_at_first_contact_share", helpline, 2024, year] == row(1, 3, third, 3)
    assert message["helpline_sent_to_emergency_share", helpline, 2024, year] == row(1, 3, third, 3)
    assert message["helpline_sufficient_advice_share", helpline, 2024, year] == row(1, 2, 50, 3)


def test_experience_and_feedback() -> None:
    message = figures(
        feed_of(
            "experience_answers",
            "answer_id,statement,answered_at,score\n1,felt_safe,2024-05-05 10:00,5\n"
            "2,felt_safe,2024-05-05 10:00,4\n3,care_was_useful,2024-05-05 10:00,1\n",
        )
        | feed_of(
            "feedback",
            "feedback_id,received_at,service_area\n1,2024-05-05 10:00,health\n2,2024-05-05 10:00,other\n"
            "3,2024-05-05 10:00,other\n4,2023-12-31 23:59,rescue\n5,2022-01-01 00:00,health\n",
        )
        | feed_of(
            "feedback_labels",
            "feedback_id,content\n1,thanks\n1,criticism\n2,thanks\n4,other\n99,thanks\n",
        )
    )
    year, change = "calendar_year", "change_from_previous_year"
    assert message["experience_statement_mean", "felt_safe", 2024, year] == row(9, 2, Fraction(9, 2), 2)
    assert message["experience_mean", "all_services", 2024, year] == row(10, 3, Fraction(10, 3), 3)
    assert message["experience_answers", "all_services", 2024, year] == row(3, None, 3, 3)
    assert ("experience_statement_mean", "knows_what_happens_next", 2024, year) not in message
    assert message["feedback_received", "all_services", 2024, year] == row(3, None, 3, 3)
    assert message["feedback_share", "other", 2024, year] == row(2, 3, Fraction(200, 3), 3)
    assert message["feedback_share", "social", 2024, year] == row(0, 3, 0, 3)
    assert message["feedback_received_change", "all_services", 2024, change] == row(2, None, 2, 3)
    assert message["feedback_received_change", "all_services", 2023, "partial_year"] == row(0, None, 0, 1)
    assert message["feedback_received", "all_services", 2023, "partial_year"] == row(1, None, 1, 1)
    assert message["feedback_content", "thanks", 2024, year] == row(2, None, 2, 2)
    assert message["feedback_content", "suggestion", 2024, year] == row(0, None, 0, 0)
    assert message["feedback_content", "other", 2023, "partial_year"] == row(1, None, 1, 1)
    assert not [key for key in message if key[0] == "feedback_content" and key[2] == 2022]


def test_visits_housing_and_decisions() -> None:
    message = figures(
        feed_of(
            "care_visits",
            "visit_id,service,need_assessed_on,visited_on,age_years\n1,primary_care,2024-12-31,2025-01-14,23\n"
            "2,primary_care,2025-01-01,2025-01-16,22\n3,primary_care,2025-01-01,,22\n"
            "4,oral_health,2024-11-30,2025-02-28,40\n5,oral_health,2024-11-30,2025-03-01,40\n",
        )
        | feed_of(
            "housing_placements",
            "application_id,initiated_on,placed_on\n1,2024-01-01,2024-01-11\n2,2024-12-01,2024-12-06\n"
            "3,2023-12-30,2024-01-01\n4,2023-01-01,2023-11-30\n5,2023-01-01,\n",
        )
        | feed_of(
            "decisions",
            "case_id,process,initiated_on,decided_on,special_reason\n"
            "1,disability_service,2024-11-30,2025-02-28,\n2,disability_service,2024-11-30,2025-03-01,\n"
            "3,disability_service,2024-11-30,2025-03-01,k\n"
            "4,child_welfare_notification,2025-12-19,2026-01-05,0\n"
            "5,supplementary_income_support,2025-04-17,2025-04-30,ei\n"
            "6,supplementary_income_support,2025-04-17,2025-05-02,ei\n7,service_needs_assessment,2025-01-01,,\n",
        )
    )
    year = "calendar_year"
    assert message["primary_care_within_14_days_share", "primary_care", 2025, year] == row(1, 2, 50, 2)
    assert message["care_guarantee_primary_care_23_and_over_share", "primary_care", 2025, year] == row(1, 1, 100, 1)
    assert message["care_guarantee_primary_care_under_23_share", "primary_care", 2025, year] == row(0, 1, 0, 1)
    assert message["oral_health_within_3_months_share", "oral_health", 2025, year] == row(1, 2, 50, 2)
    assert message["care_guarantee_oral_health_23_and_over_share", "oral_health", 2025, year] == row(1, 2, 50, 2)
    assert message["care_guarantee_oral_health_under_23_share", "oral_health", 2025, year] == row(0, 0, None, 0)
    wait = "elderly_housing_mean_wait_days"
    assert message[wait, "elderly_housing", 2024, year] == row(17, 3, Fraction(17, 3), 3)
    assert message[wait, "elderly_housing", 2024, "december"] == row(5, 1, 5, 1)
    assert message[wait, "elderly_housing", 2023, "december"] == row(0, 0, None, 0)
    assert message["disability_decisions_on_time_share", "disability_services", 2025, year] == row(
        2, 3, Fraction(200, 3), 3
    )
    assert message["income_support_on_time_share", "income_support", 2025, year] == row(1, 2, 50, 2)
    assert message["child_welfare_notifications_on_time_share", "child_welfare", 2026, year] == row(1, 1, 100, 1)
    total = Fraction(200, 3) + 50
    assert message["social_processes_on_time_share", "social_services", 2025, year] == row(total, 2, total / 2, 5)
    assert ("service_needs_assessments_on_time_share", "service_needs_assessment", 2025, year) not in message


def test_the_other_feeds() -> None:
    message = figures(
        feed_of(
            "ombudsman_contacts",
            "contact_id,contacted_on,client_type,resolved_in_one_call\n1,2024-05-05,patient,k\n2,2024-05-05,patient,\n",
        )
        | feed_of(
            "safety_incidents",
            "incident_id,reported_on,incident_type,harm\n1,2024-05-05,x,moderate\n2,2024-05-05,x,unknown\n"
            "3,2024-05-05,x,severe\n",
        )
        | feed_of("safety_inspections", "inspection_id,inspected_on,kind\n1,2024-05-05,x\n")
        | feed_of(
            "digital_users",
            "census_date,age_from,age_to,registered_users,active_users\n2024-11-30,0,69,30,3\n2024-11-30,70,,10,2\n"
            "2024-06-30,0,,1,1\n",
        )
        | feed_of(
            "digital_care_paths",
            "path_id,opened_on,closed_on,self_care\n1,2022-12-31,,ei\n2,2023-01-01,2023-12-31,k\n"
            "3,2022-01-01,2024-01-01,k\n",
        )
        | feed_of("chat_services", "service_id,opened_on,closed_on\n1,2023-01-01,2023-01-02\n2,2023-05-05,\n")
        | feed_of(
            "care_contacts",
            "month,sector,mode,replaces_visit,contacts\n2024-01-01,health,in_person,k,50\n"
            "2024-01-01,health,letter,ei,30\n1.2.2024,social,video,k,20\n2023-01-01,social,video,k,0\n",
        )
        | feed_of(
            "manual_figures",
            "report_year,figure_id,service,value,entered_on\n2025,volunteer_encounters,olka,26\u00a0000,2026-01-01\n"
            "2025,wellbeing_service_monthly_reach,wellbeing_service,2400,2026-01-01\n"
            '2025,nps,health,79,2026-01-01\n2025,oma,x,"-1,5",2026-01-01\n',
        )
    )
    year, december, end = "calendar_year", "census_december", "end_of_year"
    digital = "oma_kymenlaakso"
    expected = {
        ("ombudsman_contacts", "social", 2024, year): row(0, None, 0, 0),
        ("ombudsman_contacts", "patient", 2024, year): row(2, None, 2, 2),
        ("ombudsman_resolved_in_one_call_share", "ombudsman", 2024, year): row(1, 1, 100, 2),
        ("safety_incidents", "all_services", 2024, year): row(3, None, 3, 3),
        ("safety_incidents_moderate_or_severe_share", "all_services", 2024, year): row(2, 3, Fraction(200, 3), 3),
        ("safety_inspections", "rescue", 2024, year): row(1, None, 1, 1),
        ("digital_registered_users", digital, 2024, december): row(40, None, 40, 2),
        ("digital_active_users", digital, 2024, december): row(5, None, 5, 2),
        ("digital_users_over_70_share", digital, 2024, december): row(10, 40, 25, 2),
        ("digital_care_paths", digital, 2022, end): row(2, None, 2, 2),
        ("digital_care_paths", digital, 2023, end): row(2, None, 2, 2),
        ("digital_care_paths", digital, 2024, end): row(1, None, 1, 1),
        ("digital_care_paths", digital, 2025, end): row(1, None, 1, 1),
        ("digital_self_care_paths", digital, 2022, end): row(1, None, 1, 1),
        ("digital_self_care_paths", digital, 2023, end): row(1, None, 1, 1),
        ("digital_self_care_paths", digital, 2024, end): row(0, None, 0, 0),
        ("digital_self_care_paths", digital, 2025, end): row(0, None, 0, 0),
        ("new_chat_services", "all_services", 2023, year): row(2, None, 2, 2),
        ("remote_contact_share", "all_services", 2024, year): row(50, 100, 50, 3),
        ("visit_replacing_remote_contact_share", "all_services", 2024, year): row(20, 100, 20, 3),
        ("remote_contact_share", "all_services", 2023, year): row(0, 0, None, 1),
        ("visit_replacing_remote_contact_share", "all_services", 2023, year): row(0, 0, None, 1),
        ("volunteer_encounters", "olka", 2025, year): row(26_000, None, 26_000, 1),
        ("wellbeing_service_monthly_reach", "wellbeing_service", 2025, "monthly_mean"): row(2400, None, 2400, 1),
        ("oma", "x", 2025, year): row(Fraction(-3, 2), None, Fraction(-3, 2), 1),
    }
    assert message == expected


def test_the_basis_of_the_year_a_service_started() -> None:
    assert basis_of("nps_change", "social_advice", 2023, "change_from_previous_year") == "partial_year"
    assert basis_of("feedback_content", "thanks", 2023, "calendar_year") == "partial_year"
    assert basis_of("feedback_content", "thanks", 2024, "calendar_year") == "calendar_year"
    assert basis_of("ombudsman_contacts", "social", 2023, "calendar_year") == "calendar_year"


# --- The hostile files themselves


def test_hostile_files_follow_from_the_seed_and_hold_every_kind_of_dirt(tmp_path: Path) -> None:
    kinds: Counter[str] = Counter()
    for seed in range(6):
        folder = tmp_path / str(seed)
        written = write_hostile(folder, seed, rows=200)
        again = write_hostile(tmp_path / "again" / str(seed), seed, rows=200)
        assert [path.read_bytes() for path in written] == [path.read_bytes() for path in again]
        feeds = read_feeds(folder)
        for feed in feeds.values():
            for each in feed.files:
                assert each.records == each.loaded + each.rejected
                assert len({reject.record for reject in each.rejects}) == (0 if each.refused else each.rejected)
                kinds.update([each.refused or "accepted", each.encoding or "", each.separator or ""])
                kinds.update(reason for reject in each.rejects for _, reason in reject.reasons)
            kinds["superseded"] += len(feed.superseded)
            kinds.update(
                flag.partition(":")[2] for each in feed.rows for flag in str(each["_clock"]).split(",") if flag
            )
        message = figures(feeds)
        assert sum(each.value is not None for each in message.values()) > 200
    for kind in (
        *("unreadable", "no_header", "named_twice", "missing_column", "accepted"),
        *("utf-8", "windows-1252", "iso-8859-15", ",", ";", "\t", "superseded", "twice", "skipped"),
        *("field_count", "missing", "form", "range", "code", "order", "duplicate"),
    ):
        assert kinds[kind] > 1, kind


@pytest.mark.parametrize("feed", CONTRACTS)
def test_clean_files_load_whole(feed: str) -> None:
    result, rows = load(clean_file(feed, seed=1, rows=200, clock_changes=False), CONTRACTS[feed])
    assert (result.separator, result.encoding) == (",", "utf-8")
    assert result.rejects == ()
    assert result.loaded == len(rows) > 20


def test_clean_files_may_correct_each_other_and_most_of_them_survive_a_mutation(tmp_path: Path) -> None:
    write_clean(tmp_path, seed=1, rows=100)
    assert len(read_feed("nps_invitations", tmp_path / "nps_invitations", CONTRACTS["nps_invitations"]).superseded) > 0
    data = clean_file("calls", seed=1, rows=100, clock_changes=False)
    results = [load(each)[0] for each in itertools.islice(mutations(data, seed=1), 300)]
    assert all(each.records == each.loaded + each.rejected for each in results)
    assert sum(each.loaded >= 95 for each in results) > 100
    assert any(each.refused for each in results)
    assert any(each.rejected == 1 for each in results)
    assert any(each.encoding != "utf-8" for each in results)
