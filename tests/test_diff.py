"""What differs between two builds, and going back to an earlier one."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from kpi.base.engine import reading
from kpi.base.errors import ConfigError
from kpi.nightly.refresh import refresh
from kpi.read.diff import compare_builds, difference_lines, keys_of
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.keeping import roll_back
from kpi.warehouse.options import Options
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
        "Tables: 2 the same, 3 differ.",
        "  marts.calls_by_line: 2 -> 2 rows, 1 added, 1 removed",
        "  raw.calls: 3 -> 3 rows, 1 added, 1 removed, 1 changed",
        "  raw.deliveries: 1 -> 1 rows, 1 added, 1 removed",
        "Indicators: 0 differ.",
    ]
    assert told(root, first, first)[1:] == ["Tables: 5 the same, 0 differ.", "Indicators: 0 differ."]


def test_columns_and_tables_that_come_and_go(root: Path) -> None:
    first = Warehouse(root / "warehouse").published()
    sql = FILES[MART].replace("count(*) as call_count", "cast(count(*) as integer) as call_count, 1 as one")
    write(root, {MART: sql, "models/marts/more.sql": "select 1 as x"})
    lines = told(root, first, build(root))
    assert "  node model.small.more: new" in lines
    assert "  node model.small.calls_by_line: its SQL changed" in lines
    assert "  marts.calls_by_line: 2 -> 2 rows; columns: +one, call_count BIGINT -> INTEGER" in lines
    assert "  marts.more: new, 1 rows" in lines
    back = told(root, Warehouse(root / "warehouse").published(), first)
    assert "  marts.more: gone, 1 rows" in back


def test_indicators_are_told_with_how_much(root: Path) -> None:
    rows = "select 'calls_answered' as figure_id, 'health' as service, 2024 as report_year, 'full_year' as basis, "
    numbers = "cast({} as double) as numerator, cast(4 as double) as denominator, {} / 4.0 as value, 4 as event_count"
    texts = [rows + numbers.format(count, count) for count in (2, 3)]
    texts[1] += " union all " + texts[1].replace("'health'", "'social'")
    builds = []
    for text in texts:
        write(root, {"models/marts/indicators.sql": text})
        builds.append(build(root))
    assert told(root, *builds)[-3:] == [
        "Indicators: 2 differ.",
        "  2024 calls_answered health: 0.5 -> 0.75 (+0.25)",
        "  2024 calls_answered social: - -> 0.75",
    ]


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
    assert (last["build"], last["event"], last["reason"]) == (first, "rolled back to", f"from {second}: wrong delivery")


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
    failed = warehouse.list_builds()[-1]["id"]
    with pytest.raises(ConfigError, match="was not published"):
        roll_back(warehouse, failed, "")
    with pytest.raises(ConfigError, match="no build published before"):
        warehouse.published_before(warehouse.published())
