"""What becomes of deliveries, by small examples: rows, rejects, corrections, the ledger, and what is said of them."""

from __future__ import annotations

import gzip
import itertools
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from kpi.ingest.contract import Feed
from kpi.ingest.retention import Retention
from loading import Loader, compare_with_oracle, contracts

CALLS = "call_id,service_line,arrived_at,answered_at,ended_at\n"
QUEUE = "census_date,patient_key,specialty,need_confirmed_on\n"
NO_DATES = Retention(None, "")
NPS = "response_id,survey,channel,responded_at,score,comment\n"


def call(number: int | str, day: int = 5) -> str:
    return f"c{number},oral_health,2025-03-{day:02} 14:00:00,2025-03-{day:02} 14:02:00,2025-03-{day:02} 14:05:00\n"


@pytest.fixture
def calls(tmp_path: Path) -> Loader:
    return Loader(tmp_path, [contracts()["calls"]])


# --- Rows


def test_a_row_has_the_contract_its_instants_and_where_it_came_from(calls: Loader) -> None:
    calls.deliver("2025.csv", CALLS + "c1,oral_health,2025-03-05 14:07:09,,2025-07-05 14:09\n")
    calls.load()
    assert calls.rows() == [
        (
            *("c1", "oral_health", datetime(2025, 3, 5, 14, 7, 9), None, datetime(2025, 7, 5, 14, 9)),
            *(datetime(2025, 3, 5, 12, 7, 9), None, datetime(2025, 7, 5, 11, 9)),
            *("2025.csv", 1, None, False),
        )
    ]


def test_columns_may_have_the_names_the_loader_itself_uses(tmp_path: Path) -> None:
    names = ("line", "cell", "cells", "records", "reasons", "file", "record", "text", "value")
    feed = contracts()["nps_responses"]
    text = next(column for column in feed.columns if column.name == "response_id")
    other = tuple(replace(text, name=name, aliases=(), required=False) for name in names)
    loader = Loader(
        tmp_path,
        [
            replace(
                feed, columns=(text, *other), key=("response_id",), time_order=(), retention=NO_DATES, services_by=""
            )
        ],
    )
    loader.deliver("a.csv", ",".join(("response_id", *names)) + "\nr1," + ",".join(names) + "\n")
    loader.load()
    assert loader.rows(", ".join(names)) == [names]


FILES = {
    "as the contract has it": CALLS + "c1,oral_health,2025-03-05 14:07:09,2025-03-05 14:08:00,\n",
    "Finnish headers, semicolons, klo": "puhelun_tunniste;palvelulinja;saapumisaika;vastausaika;päättymisaika\n"
    "c1;oral_health;5.3.2025 klo 14.07.09;05.03.2025 klo 14.08;NULL\n",
    "other order, tabs, quotes, CRLF": "arrived_at\tcall_id\tanswered_at\tservice_line\r\n"
    '"2025-03-05T14:07:09"\t"c1"\t"5.3.2025 14:08"\toral_health\r\n',
    "unknown columns with anything in them": 'call_id,"a\nb",service_line,arrived_at,,answered_at\n'
    'c1,"x,""y""\nz",oral_health,2025-03-05 14:07:09,"5"" putki",2025-03-05 14:08\n',
    "blanks": "\n \t\n call_id , service_line,arrived_at,answered_at, ended_at\n\n"
    ' "c1 " ,oral_health\t, 2025-03-05 14:07:09 ,"\t2025-03-05 14:08", - \n \n',
    "CR": (CALLS + "c1,oral_health,2025-03-05 14:07:09,2025-03-05 14:08:00,-\n").replace("\n", "\r"),
    "no line end": CALLS + "c1,oral_health,2025-03-05 14:07:09,2025-03-05 14:08:00,NULL",
}


@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize("text", FILES.values(), ids=FILES.keys())
def test_one_row_in_many_forms(calls: Loader, text: str, careful: bool) -> None:
    calls.deliver("utf8.csv", text)
    calls.deliver("latin9.csv", text.encode("iso-8859-15"))
    calls.deliver("marked.csv.gz", gzip.compress(text.encode("utf-8-sig")))
    calls.load(careful=careful)
    columns = "call_id, service_line, arrived_at, answered_at, ended_at, answered_at_utc - arrived_at_utc"
    (row,) = set(calls.rows(columns, where="true"))
    assert row[:3] == ("c1", "oral_health", datetime(2025, 3, 5, 14, 7, 9))
    assert row[3:5] == (datetime(2025, 3, 5, 14, 8), None)
    assert row[5].total_seconds() == 51
    assert calls.ledger("records, rows_loaded, rows_rejected") == [(1, 1, 0)] * 3


@pytest.mark.parametrize(
    ("arrived", "answered", "seconds", "flags"),
    [
        ("2025-10-26 02:58:00", "2025-10-26 03:02:00", 240, "answered_at occurs twice"),
        ("2025-10-26 03:58:00", "2025-10-26 03:02:00", 240, "arrived_at occurs twice, answered_at occurs twice"),
        ("2025-10-26 03:02:00", "2025-10-26 03:02:00", 0, "arrived_at occurs twice, answered_at occurs twice"),
        ("2025-10-26 03:58:00", "2025-10-26 04:02:00", 3840, "arrived_at occurs twice"),
        ("2025-10-26 02:59:59", "2025-10-26 04:00:00", 7201, None),
        ("2025-03-30 02:58:00", "2025-03-30 04:02:00", 240, None),
        ("2025-03-30 02:58:00", "2025-03-30 03:02:00", 240, "answered_at does not exist"),
        ("2025-03-30 03:59:59", "2025-03-30 05:00:00", 1, "arrived_at does not exist"),
        ("2025-12-31 23:59:00", "2026-01-01 00:01:00", 120, None),
        ("1994-09-25 02:58:00", "1994-09-25 03:02:00", 240, "answered_at occurs twice"),  # in September until 1995
    ],
)
def test_elapsed_time_is_real(calls: Loader, arrived: str, answered: str, seconds: int, flags: str | None) -> None:
    calls.deliver("a.csv", f"{CALLS}c1,oral_health,{arrived},{answered},\n")
    calls.load()
    assert calls.rows("epoch(answered_at_utc - arrived_at_utc)::bigint, _clock_flags") == [(seconds, flags)]
    assert calls.ledger("rows_clock_flagged") == [(int(flags is not None),)]


# --- Rejects


def test_a_bad_row_is_told_with_every_reason_and_the_good_ones_load(calls: Loader) -> None:
    lines = (
        call(1),
        "c2,dentist,2025-03-05,,\n",
        ",oral_health,2025-03-05 14:00,2025-03-05 13:59,2025-03-05 13:58\n",
        "c4,oral_health,2025-03-05 14:00,,2025-03-05 13:58\n",
        "c5,oral_health\n",
        "c6,oral_health,2025-03-05 14:00,,,\n",
        call(1),
        call(8),
    )
    calls.deliver("a.csv", CALLS + "".join(lines))
    calls.load()
    assert calls.rows("call_id, _record") == [("c1", 1), ("c8", 8)]
    fields = "the record has another number of fields than the header's 5"
    assert calls.rejects() == [
        (
            "a.csv",
            2,
            ["service_line: not one of its codes", "arrived_at: not a date and time: the time of day is missing"],
        ),
        ("a.csv", 3, ["call_id: missing", "answered_at: before arrived_at", "ended_at: before answered_at"]),
        ("a.csv", 4, ["ended_at: before arrived_at"]),
        ("a.csv", 5, [fields]),
        ("a.csv", 6, [fields]),
        ("a.csv", 7, ["call_id: the key stands in an earlier record of the file already"]),
    ]
    values = "select list_transform(reasons, lambda r: r.value) from raw.rejects order by record_number"
    assert [row[0] for row in calls.con.execute(values).fetchall()] == [
        ["dentist", "2025-03-05"],
        [None, "2025-03-05 13:59", "2025-03-05 13:58"],
        ["2025-03-05 13:58"],
        ["2"],
        ["6"],
        ["c1"],
    ]
    assert calls.ledger("records, rows_loaded, rows_rejected") == [(8, 2, 6)]
    texts = calls.con.execute("select line_text from raw.rejects order by record_number").fetchall()
    assert [text for (text,) in texts] == [lines[number].rstrip() for number in range(1, 7)]


def test_the_text_of_a_reject_is_cut_at_500_characters(calls: Loader) -> None:
    calls.deliver("a.csv", CALLS + f'"{"ä" * 600}\n{"ö" * 600}",x,{"y" * 600},,\r\n')
    calls.load()
    ((text, reasons),) = calls.con.execute("select line_text, reasons from raw.rejects").fetchall()
    assert text == '"' + "ä" * 499
    assert [(reason["column_name"], len(reason["value"])) for reason in reasons] == [
        ("service_line", 1),
        ("arrived_at", 200),
    ]


def test_a_rejected_row_neither_takes_nor_replaces_a_key(calls: Loader) -> None:
    calls.deliver("a.csv", CALLS + "c1,x,2025-03-05 14:00,,\n" + call(1) + call(2))
    calls.deliver("b.csv", CALLS + "c2,x,2025-03-05 14:00,,\n")
    calls.load()
    assert calls.rows("call_id, _file, _record") == [("c1", "a.csv", 2), ("c2", "a.csv", 3)]


REFUSED = {
    "a required column is missing": ("call_id,service_line,started\n" + call(1) + call(2), 2),
    "a column named twice": ("call_id,puhelun_tunniste,service_line,arrived_at\n1,2,3,4\n", 1),
    "no header": ("\n\n", 0),
}


@pytest.mark.parametrize(("text", "records"), REFUSED.values(), ids=REFUSED.keys())
def test_a_file_that_is_refused(calls: Loader, text: str, records: int) -> None:
    calls.deliver("a.csv", text)
    calls.load()
    assert calls.rows() == []
    assert calls.ledger("records, rows_loaded, rows_rejected, refused is not null") == [(records, 0, records, True)]
    assert len(calls.rejects()) == records


def test_a_missing_required_column_is_told_with_what_was_found(calls: Loader) -> None:
    calls.deliver("a.csv", "call_id;palvelulinja;arrived\n1;2;3\n")
    report = calls.load()
    reason = "required columns are missing: arrived_at; 2 of its 3 columns are known, unknown are: column 3"
    reason += " (did you mean 'arrived_at'?)"
    assert calls.rejects() == [("a.csv", 1, [reason])]
    assert report.warnings == (f"calls/a.csv: refused, {reason}.",)


def test_a_file_without_records_is_told(calls: Loader) -> None:
    calls.deliver("a.csv", CALLS)
    assert calls.load().warnings == ("calls/a.csv: holds no records.",)
    assert calls.refused() == ""


def test_unknown_and_missing_columns_are_reported(calls: Loader) -> None:
    calls.deliver("a.csv", "call_id,huom,service_line,arrived_at,\nc1,x,oral_health,2025-03-05 14:00,\n")
    report = calls.load()
    assert calls.ledger("unknown_columns, missing_columns, rows_loaded") == [
        (["column 2", "column 5"], ["answered_at", "ended_at"], 1)
    ]
    assert report.warnings == (
        "calls/a.csv: columns nobody asked for, ignored: column 2, column 5.",
        "calls/a.csv: optional columns that are not there, taken as missing: answered_at, ended_at.",
    )


# --- Corrections


def test_the_row_of_the_file_that_sorts_last_counts(calls: Loader) -> None:
    calls.deliver("2025-03.csv", CALLS + call(1) + call(2))
    calls.deliver("2025-03_a.csv", CALLS + call(1, day=6))
    calls.deliver("2025-03_ä.csv", CALLS + call(1, day=7) + call(3))
    calls.deliver("2025-03_Z.csv", CALLS + call(1, day=8))
    calls.load()
    assert calls.rows("call_id, day(arrived_at), _file") == [
        ("c2", 5, "2025-03.csv"),
        ("c1", 7, "2025-03_ä.csv"),
        ("c3", 5, "2025-03_ä.csv"),
    ]
    assert calls.ledger("file, rows_loaded, rows_superseded") == [
        ("2025-03.csv", 2, 1),
        ("2025-03_Z.csv", 1, 1),
        ("2025-03_a.csv", 1, 1),
        ("2025-03_ä.csv", 2, 0),
    ]


def test_a_census_is_replaced_whole(tmp_path: Path) -> None:
    queue = Loader(tmp_path, [contracts()["care_queue"]])
    queue.deliver("a.csv", QUEUE + "2024-12-31,p1,x,2024-05-01\n2024-12-31,p2,x,2024-05-01\n2025-12-31,p1,x,2024-05-01")
    queue.deliver("b.csv", QUEUE + "2024-12-31,p3,x,2024-05-01\n2024-12-31,p3,x,2024-05-02\n2025-12-31,p1,x,2026-05-01")
    queue.load()
    # The second row of p3 repeats a key, and the only row of 2025 in b is a reject: b does not hold that census.
    assert queue.rows("year(census_date), patient_key, _file") == [(2025, "p1", "a.csv"), (2024, "p3", "b.csv")]
    assert queue.ledger("file, rows_loaded, rows_rejected, rows_superseded") == [("a.csv", 3, 0, 2), ("b.csv", 1, 2, 0)]
    queue.deliver("c.csv", QUEUE + "2024-12-31,p9,x,2024-05-01\n")  # none of the keys it replaces
    queue.load()
    assert queue.rows("patient_key", where="not _is_superseded and year(census_date) = 2024") == [("p9",)]
    fresh = Loader(tmp_path, queue.feeds)
    fresh.load()
    assert fresh.content() == queue.content()
    queue.remove("c.csv")
    queue.remove("b.csv")
    queue.load()
    assert len(queue.rows()) == 3
    assert queue.ledger("file, rows_superseded") == [("a.csv", 0)]


# --- Only what changed


def test_a_census_is_replaced_by_one_that_has_none_of_its_keys(tmp_path: Path) -> None:
    queue = Loader(tmp_path, [contracts()["care_queue"]])
    queue.deliver("a.csv", QUEUE + "2024-12-31,p1,x,2024-05-01\n2024-12-31,p2,x,2024-05-01\n")
    queue.deliver("b.csv", QUEUE + "2024-12-31,p3,x,2024-05-01\n")
    queue.load()
    assert queue.rows("patient_key") == [("p3",)]


def test_only_what_changed_is_read(calls: Loader) -> None:
    for name in ("a.csv", "b.csv", "c.csv"):
        calls.deliver(name, CALLS + call(name))
    assert calls.load().loaded == ("calls/a.csv", "calls/b.csv", "calls/c.csv")
    assert calls.load().loaded == ()
    calls.deliver("b.csv", CALLS + call("b.csv") + call(2))
    calls.remove("c.csv")
    report = calls.load()
    assert (report.loaded, report.removed, report.records) == (("calls/b.csv",), ("calls/c.csv",), 3)
    assert calls.rows("call_id, _file") == [("ca.csv", "a.csv"), ("cb.csv", "b.csv"), ("c2", "b.csv")]


def test_a_removed_file_gives_back_what_it_replaced(calls: Loader) -> None:
    calls.deliver("a.csv", CALLS + call(1, day=1))
    calls.deliver("b.csv", CALLS + call(1, day=2) + "bad\n")
    calls.deliver("c.csv", CALLS + call(1, day=3))
    calls.load()
    calls.remove("c.csv")
    calls.load()
    assert calls.rows("day(arrived_at)") == [(2,)]
    calls.deliver("b.csv", CALLS + call(2, day=2))
    calls.load()
    assert calls.rows("call_id, day(arrived_at)") == [("c1", 1), ("c2", 2)]
    assert calls.rejects() == []
    assert calls.ledger("file, rows_superseded") == [("a.csv", 0), ("b.csv", 0)]


@pytest.mark.long
def test_the_order_in_which_files_come_and_go_does_not_matter(tmp_path: Path) -> None:
    feeds = [contracts()[name] for name in ("calls", "care_queue")]
    files = {
        ("calls", "a.csv"): CALLS + call(1) + call(2) + call(2, day=9) + "c3,x,,,\n",
        ("calls", "b.csv"): CALLS + call(1, day=6) + call(1, day=7) + call(4),
        ("calls", "c.csv"): CALLS.replace("call_id", "id") + call(5),
        ("care_queue", "a.csv"): QUEUE + "2024-12-31,p1,x,2024-05-01\n2025-12-31,p1,x,2024-05-01\n",
        ("care_queue", "b.csv"): QUEUE + "2024-12-31,p2,x,2024-05-01\n2024-12-31,p2,x,2024-05-02\n",
    }
    whole = Loader(tmp_path / "whole", feeds)
    for (feed, name), text in files.items():
        whole.deliver(name, text, feed)
    whole.load()
    compare_with_oracle(whole)
    for turn, order in enumerate(list(itertools.permutations(files))[::40]):
        one_by_one = Loader(tmp_path / str(turn), feeds)
        for feed, name in order:
            one_by_one.deliver(name, CALLS + call(1, day=20) + call(99) if feed == "calls" else QUEUE, feed)
            one_by_one.deliver("z.csv", files[feed, name], feed)
            one_by_one.load()
            one_by_one.remove("z.csv", feed)
            one_by_one.deliver(name, files[feed, name], feed)
            one_by_one.load()
        assert one_by_one.content() == whole.content()


def test_a_changed_contract_loads_its_feed_anew_and_no_other(tmp_path: Path) -> None:
    loader = Loader(tmp_path, [contracts()["calls"], contracts()["care_queue"]])
    loader.deliver("a.csv", CALLS + call(1) + "c2,dentist,2025-03-05 14:00,,\n")
    loader.deliver("a.csv", QUEUE + "2024-12-31,p1,x,2024-05-01\n", "care_queue")
    loader.load()
    loader.feeds = (_with_codes(loader.feeds[0], "oral_health", "dentist"), loader.feeds[1])
    assert loader.load().loaded == ("calls/a.csv",)
    assert loader.rows("call_id") == [("c1",), ("c2",)]
    assert loader.rejects() == []
    loader.feeds = loader.feeds[1:]  # a feed that is no longer described has no table and no line in the ledger
    loader.load()
    assert loader.ledger("feed") == [("care_queue",)]
    assert loader.con.execute("select 1 from duckdb_tables() where table_name = 'calls'").fetchall() == []


def _with_codes(feed: Feed, *codes: str) -> Feed:
    columns = tuple(replace(c, codes=codes) if c.name == "service_line" else c for c in feed.columns)
    return replace(feed, columns=columns, fingerprint="another")


def test_a_ledger_of_another_shape_is_made_anew(calls: Loader) -> None:
    calls.deliver("a.csv", CALLS + call(1))
    calls.load()
    calls.con.execute("alter table raw.deliveries drop column latest_date")
    assert calls.load().loaded == ("calls/a.csv",)
    assert len(calls.rows()) == 1
