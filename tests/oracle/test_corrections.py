"""Which delivery counts when several speak of the same, by names, times or a column, and what is said of it.

The orders are those that people really produce: browsers and file managers number and copy files, and people call
them corrected, version 2 or old.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from kpi import database
from kpi.errors import ConfigError
from kpi.ingest.contract import oldest_first, read_feed
from kpi.project.project import load_project
from loading import Loader, compare_with_oracle, contracts
from oracle_read import delivery_order
from small_project import FILES, write
from tiny import Tiny

CALLS = "call_id,service_line,arrived_at,answered_at,ended_at\n"
QUEUE = "census_date,patient_key,specialty,need_confirmed_on\n"


def call(number: int, day: int = 5) -> str:
    return f"c{number},oral_health,2025-03-{day:02} 14:00:09,,\n"


@pytest.fixture
def calls(tmp_path: Path) -> Loader:
    return Loader(tmp_path, [contracts()["calls"]])


# --- The order of names

# Each line is in its order, oldest first.
ORDERS = (
    ("x.csv", "x (1).csv", "x (2).csv", "x (10).csv"),
    ("x.csv", "x(1).csv"),
    ("x.csv", "x-corrected.csv"),
    ("x.csv", "x_korjattu.csv", "x_korjattu2.csv", "x_korjattu10.csv"),
    ("x.csv", "x_korjattu.csv", "x_korjattu (1).csv"),
    ("x.csv", "x_v2.csv", "x_v9.csv", "x_v10.csv"),
    ("x.csv", "x-V2.csv", "x v3.csv", "x_versio_4.csv"),
    ("x.csv", "x - kopio.csv", "x - kopio (2).csv"),
    ("x.csv", "x - Copy.csv", "x - Copy (2).csv"),
    ("x.csv", "Copy of x.csv", "Copy (2) of x.csv"),
    ("x.csv", "Kopio tiedostosta x.csv"),
    ("x.csv", "x-2.csv"),
    ("x.csv", "x_2.csv", "x_9.csv", "x_10.csv"),
    ("x.csv", "x.csv.gz"),
    ("x.csv.gz", "x-corrected.csv"),
    ("x.csv", "x-corrected.csv.gz"),
    ("X.csv", "x.csv"),
    ("x.csv", "X-korjattu.csv"),
    ("X.csv", "x-korjattu.csv"),
    ("x.csv", "KORJATTU x.csv"),
    ("x_vanha.csv", "x.csv"),
    ("x-old.csv", "x.csv", "x-new.csv"),
    ("x_alustava.csv", "x.csv", "x_lopullinen.csv"),
    ("x_luonnos.csv", "x.csv"),
    ("x.csv", "x - pa\u0308ivitetty.csv"),  # as a Mac spells it
    ("x.csv", "xb.csv"),
    ("calls_2025-03.csv", "calls_2025-03-corrected.csv", "calls_2025-04.csv", "calls_2025-04 (1).csv"),
    ("calls_2025-03.csv", "calls 2025-03 korjattu.csv", "calls_2025-04.csv"),
    ("puhelut_maaliskuu.csv", "puhelut_korjattu_maaliskuu.csv", "puhelut_toukokuu.csv"),
    ("calls_2025_3.csv", "calls_2025_10.csv"),
    ("calls_2025.csv", "calls_2025-03.csv"),
    ("calls_2025.csv", "correction_2025.csv"),
    # Where no name is a correction of another, or only of itself, they are in the order of their bytes.
    ("a.csv", "b.csv"),
    ("01.csv", "02.csv"),
    ("2025.csv", "correction.csv"),
    ("2025-03.csv", "2025-03_Z.csv", "2025-03_a.csv", "2025-03_ä.csv"),
    ("10.csv", "9.csv", "B.csv", "a.csv", "a-1.csv", "a_1.csv", "z.csv", "ä.csv"),
    ("calls_2024-12.csv", "calls_2025-01.csv", "calls_20250131.csv"),
    ("a_new.csv", "b_old.csv"),
)


@pytest.mark.parametrize("names", ORDERS, ids=" < ".join)
def test_names_from_the_oldest_to_the_newest(names: tuple[str, ...]) -> None:
    for shuffled in itertools.islice(itertools.permutations(names), 24):
        assert oldest_first(shuffled) == names
    assert tuple(delivery_order(names[::-1])) == names


def test_any_names_have_one_order_and_it_is_the_oracles() -> None:
    random = Random(9)
    words = ("calls", "Calls", "puhelut", "2025", "03", "3", "10", "2024-12", "a", "Z", "ä")
    marks = ("korjattu", "corrected", "v2", "v10", "(1)", "- kopio", "vanha", "2", "10", "KORJATTU", "final2", "x")
    for _ in range(500):
        names = {
            random.choice("_- .").join(random.choices(words, k=random.randrange(1, 4)))
            + "".join(random.choice("_- ") + mark for mark in random.choices(marks, k=random.randrange(3)))
            + random.choice((".csv", ".csv", ".csv.gz"))
            for _ in range(6)
        }
        ordered = oldest_first(names)
        assert ordered == oldest_first(reversed(ordered))
        assert list(ordered) == delivery_order(sorted(names))


def test_names_that_are_no_corrections_are_in_the_order_of_their_bytes() -> None:
    months = [f"{year}-{month:02}" for year in (2024, 2025) for month in range(1, 13)]
    names = [f"{feed}_{month}{more}.csv" for feed in ("a", "B", "ä") for month in months for more in ("", "b", "_c")]
    assert list(oldest_first(names)) == sorted(names, key=str.encode)


# --- What becomes of rows


@pytest.mark.parametrize("newer", ["2025-03-corrected.csv", "2025-03 (1).csv", "2025-03 - kopio.csv", "2025-03-v2.csv"])
def test_the_rows_of_a_corrected_file_count(calls: Loader, newer: str) -> None:
    calls.deliver(newer, CALLS + call(1, day=6) + call(2, day=6))
    calls.load()
    calls.deliver("2025-03.csv", CALLS + call(1) + call(2))
    report = calls.load()
    assert calls.rows("call_id, day(arrived_at), _file") == [("c1", 6, newer), ("c2", 6, newer)]
    message = f"calls/2025-03.csv: all its rows (2) are replaced by calls/{newer}, newer by its name."
    assert report.warnings == (message,)
    columns = "file, delivery_number, rows_superseded, superseded_by"
    assert sorted(calls.ledger(columns)) == sorted([("2025-03.csv", 1, 2, [newer]), (newer, 2, 0, None)])
    compare_with_oracle(calls)
    calls.remove(newer)  # withdrawn
    assert calls.load().warnings == ()
    assert calls.rows("day(arrived_at), _file") == [(5, "2025-03.csv")] * 2


def test_a_file_is_told_to_be_replaced_by_all_that_replace_it(calls: Loader) -> None:
    calls.deliver("a.csv", CALLS + "".join(map(call, range(5))))
    for number in range(5):
        calls.deliver(f"b{number}.csv", CALLS + call(number, day=6))
    (message,) = calls.load().warnings
    by = "calls/b0.csv, calls/b1.csv, calls/b2.csv and 2 more"
    assert message == f"calls/a.csv: all its rows (5) are replaced by {by}, newer by its name."
    calls.deliver("b4.csv", CALLS + call(9))  # a row of a.csv is in force again
    assert calls.load().warnings == ()
    assert calls.ledger("superseded_by")[0] == (["b0.csv", "b1.csv", "b2.csv", "b3.csv"],)


def test_a_new_file_may_change_the_order_of_those_that_were_there(calls: Loader) -> None:
    """Alone, `correction_2025` sorts after `calls_2025`; beside `2025` it is a correction of that one."""
    calls.deliver("correction_2025.csv", CALLS + call(1, day=6))
    calls.deliver("calls_2025.csv", CALLS + call(1, day=5))
    calls.load()
    assert calls.rows("day(arrived_at)") == [(6,)]
    calls.deliver("2025.csv", CALLS + call(2))
    calls.load()
    assert calls.rows("call_id, day(arrived_at)") == [("c2", 5), ("c1", 5)]
    fresh = Loader(calls.raw, calls.feeds)
    fresh.load()
    assert fresh.content() == calls.content()
    compare_with_oracle(calls)
    calls.remove("2025.csv")
    calls.load()
    assert calls.rows("day(arrived_at)") == [(6,)]


def test_a_census_in_a_corrected_file_replaces_the_census(tmp_path: Path) -> None:
    queue = Loader(tmp_path, [contracts()["care_queue"]])
    queue.deliver("2024 (1).csv", QUEUE + "2024-12-31,p3,x,2024-05-01\n")
    queue.deliver("2024.csv", QUEUE + "2024-12-31,p1,x,2024-05-01\n2024-12-31,p2,x,2024-05-01\n")
    report = queue.load()
    assert queue.rows("patient_key") == [("p3",)]
    message = "all its rows (2) are replaced by care_queue/2024 (1).csv, newer by its name."
    assert report.warnings == (f"care_queue/2024.csv: {message}",)
    compare_with_oracle(queue)
    queue.remove("2024 (1).csv")
    queue.load()
    assert queue.rows("patient_key") == [("p1",), ("p2",)]


def test_a_delivery_that_equals_another_is_told(calls: Loader) -> None:
    text = CALLS + call(1) + call(2)
    calls.deliver("a.csv", text)
    calls.deliver("b.csv.gz", gzip.compress(text.encode()))
    calls.deliver("c.csv", text + call(3))
    calls.deliver("empty.csv", CALLS)
    calls.deliver("nothing.csv", CALLS)
    report = calls.load()
    assert calls.ledger("same_content_as") == [(None,), ("a.csv",), (None,), (None,), (None,)]
    assert "calls/b.csv.gz: holds the same as calls/a.csv: it was delivered twice." in report.warnings


MISSIONS = "incident_date,dispatch_time,arrive_time\n"


def test_a_mapping_may_make_keys_of_the_file_name(tmp_path: Path) -> None:
    """Records without identifiers: with keys of their number alone the second file would swallow the first."""
    feed = contracts()["rescue_missions"]
    year = MISSIONS + "".join(f"20{{year}}-03-05,10:0{n}:01,10:1{n}:07\n" for n in range(9))
    for number, sql in enumerate(("file_name || record_number", "'rainier_valley-' || record_number")):
        mapping = replace(feed.mappings[0], columns={**feed.mappings[0].columns, "mission_id": sql})
        missions = Loader(tmp_path / str(number), [replace(feed, mappings=(mapping,))])
        missions.deliver("rainier_valley_fire_2019.csv", year.format(year=19))
        missions.deliver("rainier_valley_fire_2020.csv", year.format(year=20))
        report = missions.load()
        message = "all its rows (9) are replaced by rescue_missions/rainier_valley_fire_2020.csv, newer by its name."
        assert report.warnings == ((f"rescue_missions/rainier_valley_fire_2019.csv: {message}",) if number else ())
        assert len(missions.rows()) == (9 if number else 18)
    own = Loader(tmp_path / "own", [feed])
    own.deliver("rainier_valley_fire_2019.csv", year.format(year=19))
    own.deliver("rainier_valley_fire_2020.csv", year.format(year=20))
    own.load()
    assert len(own.rows()) == 18


# --- What a contract may say


def test_the_newer_may_be_told_by_the_time_of_delivery(tmp_path: Path) -> None:
    calls = Loader(tmp_path, [replace(contracts()["calls"], newer_by="time_of_delivery")])
    for name, day, time in (("z.csv", 1, 1_000), ("a.csv", 2, 2_000), ("b.csv", 3, 1_000)):
        calls.deliver(name, CALLS + call(1, day))
        os.utime(calls.raw / "calls" / name, (0, time))
    report = calls.load()
    assert calls.rows("day(arrived_at)") == [(2,)]
    assert calls.ledger("file, delivery_number, epoch(delivered_at)::int") == [
        ("a.csv", 3, 2_000),
        ("b.csv", 1, 1_000),  # where times are equal the name decides
        ("z.csv", 2, 1_000),
    ]
    message = "calls/z.csv: all its rows (1) are replaced by calls/a.csv, newer by its time of delivery."
    assert report.warnings[-1] == message
    os.utime(calls.raw / "calls" / "b.csv", (0, 3_000))  # delivered again, the same
    calls.load()
    assert calls.rows("day(arrived_at)") == [(3,)]
    fresh = Loader(calls.raw, calls.feeds)
    fresh.load()
    assert fresh.content() == calls.content()


def test_the_time_of_a_file_decides_nothing_elsewhere(calls: Loader) -> None:
    for name, day, time in (("a.csv", 1, 2_000), ("b.csv", 2, 1_000)):
        calls.deliver(name, CALLS + call(1, day))
        os.utime(calls.raw / "calls" / name, (0, time))
    calls.load()
    before = calls.content()
    os.utime(calls.raw / "calls" / "a.csv", (0, 9_000))
    assert calls.load().loaded == ()
    assert calls.content() == before
    assert calls.ledger("delivered_at") == [(None,), (None,)]


def test_the_newer_may_be_told_by_a_column_of_the_rows(tmp_path: Path) -> None:
    """The greatest value counts, a missing one is before all, and where they are equal the later file counts."""
    calls = Loader(tmp_path, [replace(contracts()["calls"], newer_by="ended_at")])
    row = "c{},oral_health,2025-03-05 14:00:09,,{}\n"
    a = ((1, "2025-03-05 15:00:01"), (2, ""), (3, "2025-03-05 15:00:01"), (4, ""))
    b = ((1, "2025-03-05 14:30:01"), (2, "2025-03-05 14:30:01"), (3, "2025-03-05 15:00:01"), (4, ""))
    calls.deliver("a.csv", CALLS + "".join(row.format(*one) for one in a))
    calls.deliver("b.csv", CALLS + "".join(row.format(*one) for one in b))
    calls.load()
    assert sorted(calls.rows("call_id, _file")) == [("c1", "a.csv"), ("c2", "b.csv"), ("c3", "b.csv"), ("c4", "b.csv")]
    calls.deliver("c.csv", CALLS + row.format(1, "2025-03-05 14:59:01"))
    (message,) = calls.load().warnings
    assert message == "calls/c.csv: all its rows (1) are replaced by calls/a.csv, newer by ended_at."
    calls.remove("a.csv")
    calls.load()
    assert sorted(calls.rows("call_id, _file"))[0] == ("c1", "c.csv")


def test_a_census_may_be_told_by_a_column(tmp_path: Path) -> None:
    queue = Loader(tmp_path, [replace(contracts()["care_queue"], newer_by="need_confirmed_on")])
    queue.deliver("a.csv", QUEUE + "2024-12-31,p1,x,2024-05-01\n2024-12-31,p2,x,2024-12-01\n")
    queue.deliver("b.csv", QUEUE + "2024-12-31,p1,x,2024-05-02\n2024-12-31,p3,x,2024-05-02\n")
    queue.load()
    assert queue.rows("patient_key, _file") == [("p1", "a.csv"), ("p2", "a.csv")]


@pytest.mark.parametrize(("given", "message"), [
    ("file_nam", "not 'file_nam'. Did you mean 'file_name'?"),
    ("arrived", "not 'arrived'. Did you mean 'arrived_on'?"),
    ("[line]", "'newer_by' must be a text"),
])  # fmt: skip
def test_a_mistake_in_how_the_newer_is_told(tmp_path: Path, given: str, message: str) -> None:
    yaml = "models/staging/calls.yml"
    write(tmp_path, {yaml: FILES[yaml].replace("key: [call_id]", f"key: [call_id], newer_by: {given}")})
    with pytest.raises(ConfigError) as raised:
        read_feed(load_project(tmp_path).sources[0])
    assert message in str(raised.value)


def test_how_the_newer_is_told_is_read_from_the_contract(tmp_path: Path) -> None:
    yaml = "models/staging/calls.yml"
    for given in ("file_name", "time_of_delivery", "arrived_on"):
        write(tmp_path, {yaml: FILES[yaml].replace("key: [call_id]", f"key: [call_id], newer_by: {given}")})
        assert read_feed(load_project(tmp_path).sources[0]).newer_by == given


# --- In a refresh

CONTRACT = """
sources:
  - name: raw
    tables:
      - name: visits
        config: {meta: {feed: {key: [visit_id], newer_by: time_of_delivery}}}
        columns:
          - {name: visit_id, data_type: varchar, config: {meta: {required: true}}}
          - {name: visited_on, data_type: date}
"""
MODEL = "select day(visited_on) as day, count(*) as visits from {{ source('raw', 'visits') }} where not _is_superseded"


def test_a_refresh_notices_a_delivery_that_came_again_and_tells_what_it_replaces(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path, database.scratch())
    tiny.write({"models/visits.yml": CONTRACT, "by_day": f"{MODEL} group by 1"})
    raw = tmp_path / "warehouse/raw/visits"
    raw.mkdir(parents=True)
    for name, day, time in (("a.csv", 1, 1_000), ("b.csv", 2, 2_000)):
        (raw / name).write_text(f"visit_id,visited_on\nv1,2025-03-0{day}\n")
        os.utime(raw / name, (0, time))
    lines = tiny.refresh()
    message = "visits/{}.csv: all its rows (1) are replaced by visits/{}.csv, newer by its time of delivery."
    assert f"  warning: {message.format('a', 'b')}" in lines
    assert tiny.published("select day from main.by_day") == [(2,)]
    build = json.loads((tmp_path / "warehouse/current/build.json").read_text())
    assert [(f["file"], f["superseded_by"], f["delivered_at"]) for f in build["files"]] == [
        ("a.csv", ["b.csv"], 1_000),
        ("b.csv", None, 2_000),
    ]
    assert tiny.refresh()[-1].startswith("Nothing changed")
    os.utime(raw / "a.csv", (0, 3_000))
    assert any("all its rows (1) are replaced by visits/a.csv" in line for line in tiny.refresh())
    assert tiny.published("select day from main.by_day") == [(1,)]
    assert tiny.refresh()[-1].startswith("Nothing changed")


def test_a_file_that_stays_is_told_of_again_when_another_replaces_it(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path, database.scratch())
    tiny.write(
        {"models/visits.yml": CONTRACT.replace(", newer_by: time_of_delivery", ""), "by_day": f"{MODEL} group by 1"}
    )
    raw = tmp_path / "warehouse/raw/visits"
    raw.mkdir(parents=True)
    (raw / "a.csv").write_text("visit_id,visited_on\nv1,2025-03-01\n")
    tiny.refresh()
    (raw / "a (1).csv").write_text("visit_id,visited_on\nv1,2025-03-02\n")
    message = "  warning: visits/a.csv: all its rows (1) are replaced by visits/a (1).csv, newer by its name."
    assert message in tiny.refresh()
    (raw / "b.csv").write_text("visit_id,visited_on\nv2,2025-03-02\n")
    assert message not in tiny.refresh()  # it was told
    os.utime(raw / "a.csv", (0, 9_000))
    assert tiny.refresh()[-1].startswith("Nothing changed")
