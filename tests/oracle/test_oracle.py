"""Facts worked out by hand that the oracle must satisfy before anything is judged by it."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
from collections import Counter
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostile import clean_file, mutations, write_clean, write_hostile
from hostile_cells import cells, forms, nearly
from hostile_rows import make_value
from oracle import (
    CONTRACTS,
    Column,
    Value,
    figures,
    parse,
    read_feed,
    read_feeds,
)
from oracle_cases import CALLS, HEADER, column, load
from oracle_text import ILLEGIBLE, decode, split

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
