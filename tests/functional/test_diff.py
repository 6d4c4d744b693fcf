"""What differs between two builds, and going back to an earlier one."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from random import Random

import duckdb
import pytest

from kpi.build_record import BuildRecord, to_json
from kpi.database import reading
from kpi.errors import ConfigError
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from kpi.reader.diff import compare_builds, difference_lines, in_order, keys_of
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.lifecycle import roll_back
from small_project import FILES, write

HEADER = "call_id,line,waited_seconds,arrived_on\n"
MART = "models/marts/calls_by_line.sql"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path)
    deliver(tmp_path, "1,health,3,2024-01-01\n2,health,400,2024-01-02\n3,social,5,2024-01-03\n")
    build(tmp_path)
    return tmp_path


def deliver(root: Path, rows: str) -> None:
    (root / "warehouse/raw/calls").mkdir(parents=True, exist_ok=True)
    (root / "warehouse/raw/calls/a.csv").write_text(HEADER + rows)


def build(root: Path) -> str:
    return refresh(root, Options(date(2026, 3, 5), validate=False), lambda _: None).build


def told(root: Path, before: str, after: str) -> list[str]:
    return list(difference_lines(compare_builds(Warehouse(root / "warehouse"), before, after, keys_of(root))))


def test_rows_are_told_by_key_and_tables_by_content(root: Path) -> None:
    first = Warehouse(root / "warehouse").published()
    # The order of rows is no difference; the ledger knows the file by its content.
    deliver(root, "3,social,5,2024-01-03\n2,health,40,2024-01-02\n4,health,7,2024-01-01\n")
    second = build(root)
    assert told(root, first, second) == [
        f"{first} -> {second}",
        "  node model.small.calls_by_line: what it is made from changed",
        "  node model.small.stg_calls: what it is made from changed",
        "  node source.small.raw.calls: what it is made from changed",
        "Tables: 4 the same, 3 differ.",
        "  marts.calls_by_line: 2 -> 2 rows, 1 added, 1 removed",
        "  raw.calls: 3 -> 3 rows, 1 added, 1 removed, 1 changed",
        "  raw.deliveries: 1 -> 1 row, 1 changed",
        "Deliveries: 1 differ.",
        "  calls/a.csv: changed, 3 rows before, 3 rows loaded",
        "Indicators: 0 differ.",
    ]
    same = ["Tables: 7 the same, 0 differ.", "Deliveries: 0 differ.", "Indicators: 0 differ."]
    assert told(root, first, first)[1:] == same


def test_columns_and_tables_that_come_and_go(root: Path) -> None:
    first = Warehouse(root / "warehouse").published()
    sql = FILES[MART].replace("count(*) as call_count", "cast(count(*) as integer) as call_count, 1 as one")
    write(root, {MART: sql, "models/marts/more.sql": "select 1 as x"})
    lines = told(root, first, build(root))
    assert "  node model.small.more: new" in lines
    assert "  node model.small.calls_by_line: its SQL changed" in lines
    assert "  marts.calls_by_line: 2 -> 2 rows; columns: +one, call_count BIGINT -> INTEGER" in lines
    assert "  marts.more: new, 1 row" in lines
    back = told(root, Warehouse(root / "warehouse").published(), first)
    assert "  marts.more: gone, 1 row" in back


def test_a_correction_adds_rows_and_removes_none(root: Path) -> None:
    """A row that a later file corrects stays, superseded: its key has two rows afterwards, and none was removed."""
    first = Warehouse(root / "warehouse").published()
    corrected = f"{HEADER}1,health,4,2024-01-01\n2,health,401,2024-01-02\n3,social,6,2024-01-03\n"
    (root / "warehouse/raw/calls/b.csv").write_text(corrected)
    second = build(root)
    lines = told(root, first, second)
    assert "  raw.calls: 3 -> 6 rows, 3 added, 3 changed" in lines
    assert lines[lines.index("Deliveries: 2 differ.") :] == [
        "Deliveries: 2 differ.",
        "  calls/a.csv: the same, 3 of its 3 rows superseded, before 0",
        "  calls/b.csv: new, 3 rows loaded",
        "Indicators: 0 differ.",
    ]
    back = told(root, second, first)
    assert "  raw.calls: 6 -> 3 rows, 3 removed, 3 changed" in back
    assert "  calls/b.csv: gone, with 3 rows" in back


INDICATORS = """\
with figures as (
    select 'calls_answered' as figure_id, line as service, 'calendar_year' as basis, count(*) as n
    from {{ ref('stg_calls') }}
    group by line
    union all
    select 'calls_of_december' as figure_id, line as service, 'december' as basis, count(*) as n
    from {{ ref('stg_calls') }}
    group by line
    union all
    select 'lines' as figure_id, 'all' as service, 'calendar_year' as basis, count(*) as n from {{ ref('lines') }}
)
select
    figure_id,
    service,
    2024 as report_year,
    basis,
    cast(n as double) as numerator,
    cast(4 as double) as denominator,
    n / 4.0 as value,
    n as event_count
from figures
"""


def test_changed_figures_tell_by_how_much_their_basis_when_it_is_not_the_year_and_the_files_behind_them(
    root: Path,
) -> None:
    deliver(root, "1,health,3,2024-01-01\n2,health,400,2024-01-02\n")
    write(root, {"models/marts/indicators.sql": INDICATORS})
    first = build(root)
    for name, row in (("b", "4,health,9,2024-02-01"), ("c", "5,social,9,2024-02-01"), ("d", "6,social,9,2024-02-02")):
        (root / f"warehouse/raw/calls/{name}.csv").write_text(f"{HEADER}{row}\n")
    second = build(root)
    cause = " <- calls/b.csv, calls/c.csv and 1 more"
    lines = told(root, first, second)
    assert lines[lines.index("Indicators: 4 differ.") :] == [
        "Indicators: 4 differ.",
        f"  2024 calls_answered health: 0.5 -> 0.75 (+0.25){cause}",
        f"  2024 calls_answered social: - -> 0.5{cause}",
        f"  2024 calls_of_december health, december: 0.5 -> 0.75 (+0.25){cause}",
        f"  2024 calls_of_december social, december: - -> 0.5{cause}",
    ]
    write(root, {"models/marts/indicators.sql": INDICATORS.replace("'all'", "'each'")})
    assert [line for line in told(root, second, build(root)) if " lines " in line] == [
        "  2024 lines all: 0.5 -> -",
        "  2024 lines each: - -> 0.5",
    ]


def test_a_figure_is_made_from_the_feeds_of_its_own_table_and_not_of_what_unites_figures(tmp_path: Path) -> None:
    """Its own is the table made from the fewest feeds; a count of all feeds counts as all of them."""
    import duckdb

    from kpi.build_record import NodeRecord
    from kpi.reader.diff import DeliveryChange, behind, feeds_of_figures

    def made(relation: str, *parents: str) -> NodeRecord:
        return NodeRecord(relation=relation, parents=dict.fromkeys(parents, "1"))

    nodes = {
        **{f"source.p.raw.{name}": made(f"raw.{name}") for name in ("calls", "chats", "feed_months")},
        "seed.p.figures": made("seeds.figures"),
        "model.p.stg": made("staging.stg", "source.p.raw.calls"),
        "model.p.a": made("marts.a", "model.p.stg", "seed.p.figures"),
        "model.p.b": made("marts.b", "source.p.raw.chats", "source.p.raw.feed_months"),
        "model.p.all": made("marts.all_of_them", "model.p.a", "model.p.b"),
        "model.p.seeded": made("marts.seeded", "seed.p.figures"),
    }
    with duckdb.connect() as con:
        con.execute("attach ':memory:' as later; create schema later.marts; create schema later.seeds")
        for table, figures in (("a", "('x')"), ("b", "('y')"), ("all_of_them", "('x'), ('y')"), ("seeded", "('x')")):
            con.execute(f"create table later.marts.{table} as from (values {figures}) as v(figure_id)")
        tables = {f"marts.{name}": ("figure_id",) for name in ("a", "b", "all_of_them", "seeded")}
        found = feeds_of_figures(con, "later", nodes, tables, {"x", "y"})
    assert found == {"x": frozenset({"calls"}), "y": frozenset({"chats", "feed_months"})}
    calls = DeliveryChange("calls", "a.csv", False, None, {"rows_loaded": 1})
    assert [behind(found[figure], [calls]) for figure in "xy"] == [[calls], [calls]]
    chats = DeliveryChange("chats", "a.csv", False, None, {"rows_loaded": 1})
    assert [behind(found[figure], [calls, chats]) for figure in "xy"] == [[calls], [chats]]


def test_one_build_is_compared_with_what_readers_see_the_older_before_the_later(root: Path) -> None:
    warehouse = Warehouse(root / "warehouse")
    first = warehouse.published()
    deliver(root, "1,health,3,2024-01-01\n")
    second = build(root)
    write(root, {"tests/fails.sql": "select 1 as x"})
    with pytest.raises(Exception, match="Checks failed"):
        build(root)
    failed = warehouse.list_builds()[-1].id
    assert in_order(warehouse, "candidate", None) == (second, failed)
    assert in_order(warehouse, "latest", None) == (second, failed)
    assert in_order(warehouse, first, None) == in_order(warehouse, "1", None) == (first, second)
    assert in_order(warehouse, None, None) == in_order(warehouse, second, None) == (first, second)
    assert in_order(warehouse, failed, first) == (failed, first)
    with pytest.raises(ConfigError, match="there is no build '77'"):
        in_order(warehouse, "77", None)


def test_a_rollback_shows_readers_an_earlier_build_and_is_in_the_ledger(root: Path) -> None:
    warehouse = Warehouse(root / "warehouse")
    first = warehouse.published()
    deliver(root, "1,health,3,2024-01-01\n")
    second = build(root)
    assert warehouse.published_before(second) == first
    roll_back(warehouse, first, "wrong delivery")
    with reading(warehouse.folder() / "kpi.duckdb") as con:
        assert con.execute("select count(*) from raw.calls").fetchall() == [(3,)]
    last = warehouse.ledger()[-1]
    assert (last.build, last.event, last.reason) == (first, "rolled back to", f"from {second}: wrong delivery")


def test_what_was_taken_back_is_not_published_again_until_something_changes(root: Path) -> None:
    warehouse = Warehouse(root / "warehouse")
    first = warehouse.published()
    deliver(root, "1,health,3,2024-01-01\n")
    second = build(root)
    roll_back(warehouse, first, "wrong delivery")
    assert build(root) == first
    assert warehouse.published() == first
    deliver(root, "1,health,4,2024-01-01\n")
    third = build(root)
    assert third not in (first, second)
    assert warehouse.published() == third
    roll_back(warehouse, second, "")
    assert build(root) == second


def test_there_is_no_way_back_to_what_was_never_published(root: Path) -> None:
    warehouse = Warehouse(root / "warehouse")
    write(root, {"tests/fails.sql": "select 1 as x"})
    with pytest.raises(Exception, match="Checks failed"):
        build(root)
    failed = warehouse.list_builds()[-1].id
    with pytest.raises(ConfigError, match="was not published"):
        roll_back(warehouse, failed, "")
    with pytest.raises(ConfigError, match="no build published before"):
        warehouse.published_before(warehouse.published())


def test_no_count_is_negative_and_rows_are_conserved_whatever_keys_repeat(tmp_path: Path) -> None:
    """Of keys that repeat, are null, come and go: rows before, and those added, less those removed, are rows after."""
    warehouse, rng = Warehouse(tmp_path), Random(2025)
    for name in ("00001", "00002"):
        folder = warehouse.builds / name
        folder.mkdir(parents=True)
        (folder / "build.json").write_text(to_json(BuildRecord(name)))
        with duckdb.connect(str(folder / "kpi.duckdb")) as con:
            for table in range(30):
                con.execute(f"create table t{table} (k integer, v integer)")
                rows = [[rng.choice((None, 1, 2, 3)), rng.choice((None, 1, 2))] for _ in range(rng.randint(0, 9))]
                con.executemany(f"insert into t{table} values (?, ?)", rows or [[9, 9]])
    for key in (("k",), ()):
        found = compare_builds(warehouse, "00001", "00002", {f"main.t{table}": key for table in range(30)})
        assert len(found.tables) > 20
        for change in found.tables:
            assert min(change.added, change.removed, change.changed) >= 0
            assert change.rows_before is not None
            assert change.rows_before + change.added - change.removed == change.rows_after
        assert not any(re.search(r"(^|[ ,])-\d", line) for line in difference_lines(found))
