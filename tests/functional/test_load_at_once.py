"""Feeds that are loaded beside each other: the same rows, in the same order, and the same errors as one by one."""

from __future__ import annotations

import threading
import time
from datetime import date
from pathlib import Path

import pytest

from hostile import write_hostile
from kpi import database
from kpi.errors import BuildError
from kpi.ingest import loader, raw_table
from kpi.ingest.raw_files import scan
from loading import Loader, aliases, contracts

FEEDS = ("calls", "care_queue", "manual_figures")
HEADERS = {"calls": "call_id,service_line,arrived_at", "chats": "chat_id,service_line,started_at"}


def beside(raw: Path, threads: int, feeds: tuple[str, ...] = FEEDS) -> Loader:
    found = Loader(raw, [contracts()[name] for name in feeds])
    found.con = database.scratch({"threads": str(threads)})
    return found


@pytest.fixture(autouse=True)
def few_bytes_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "_FEW", 0)


@pytest.mark.long
def test_what_is_loaded_is_the_same_and_in_the_same_order(tmp_path: Path) -> None:
    one, four = beside(tmp_path, 1), beside(tmp_path, 4)
    said: dict[int, list[str]] = {}
    for turn in range(2):  # from nothing, and then on what is there
        names = {feed: aliases(feed) for feed in FEEDS}
        write_hostile(tmp_path, 40 + turn, rows=20, feeds=FEEDS, aliases=names, dirt=0.06)
        for each, bench in ((1, one), (4, four)):
            said[each] = []
            loader.load(bench.con, bench.feeds, tmp_path, scan(tmp_path), date(2026, 1, 15), said[each].append)
        assert said[1] == said[4]
        for table in (*FEEDS, "rejects", "deliveries"):
            rows = [bench.con.execute(f"from raw.{table}").fetchall() for bench in (one, four)]
            assert rows[0] == rows[1], table
    assert len(one.rejects()) > 5


def test_the_error_is_that_of_the_first_feed_whichever_comes_to_its_own_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, read = beside(tmp_path, 4, ("calls", "chats")), raw_table.read_delivery
    for feed, header in HEADERS.items():
        bench.deliver("a.csv", f"{header}\n1,oral_health,2025-03-05 14:00\n", feed)

    def read_and_fail(feed: object, path: Path, careful: bool = False) -> None:
        time.sleep(0.3 if path.parent.name == "calls" else 0)
        raise BuildError(f"raw.{path.parent.name}", "cannot be read")

    monkeypatch.setattr(raw_table, "read_delivery", read_and_fail)
    with pytest.raises(BuildError, match=r"raw\.calls"):
        loader.load(bench.con, bench.feeds, tmp_path, scan(tmp_path), date(2026, 1, 15))
    monkeypatch.setattr(raw_table, "read_delivery", read)
    assert bench.load().loaded == ("calls/a.csv", "chats/a.csv")


def test_what_stops_a_run_stops_every_feed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, endless = beside(tmp_path, 2, ("calls", "chats")), threading.Event()
    for feed, header in HEADERS.items():
        bench.deliver("a.csv", f"{header}\n1,oral_health,2025-03-05 14:00\n", feed)
    bring_up = raw_table.bring_up

    def bring_up_for_ever(con: database.duckdb.DuckDBPyConnection, *given: object) -> raw_table.FeedLoad:
        endless.set()
        con.execute("select count(*) from range(1000000000000)").fetchall()
        return bring_up(con, *given)  # type: ignore[arg-type]

    def interrupt(emit: object, event: object) -> None:
        endless.wait(60)
        raise KeyboardInterrupt

    monkeypatch.setattr(raw_table, "bring_up", bring_up_for_ever)
    monkeypatch.setattr(loader, "emit_event", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bench.load()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("load")]


def test_keys_are_looked_at_in_parts_and_all_that_stand_twice_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [*range(300), *range(0, 300, 7)]
    records = "".join(f"{key},oral_health,2025-03-05 14:00:{place % 60:02}\n" for place, key in enumerate(keys))
    found = []
    for most, hashes in ((2_000_000, 100), (50, 100), (50, 20), (2_000_000, 20)):  # 43 of them, or too many of them
        monkeypatch.setattr(raw_table, "_KEYS", most)
        monkeypatch.setattr(raw_table, "_MOST_HASHES", hashes)
        bench = beside(tmp_path, 1, ("calls",))
        bench.deliver("a.csv", f"{HEADERS['calls']}\n{records}", "calls")
        bench.load()
        found.append([bench.con.execute(f"from raw.{table} order by all").fetchall() for table in ("calls", "rejects")])
    assert all(one == found[0] for one in found)
    assert len(found[0][1]) == 43
