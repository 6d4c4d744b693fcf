"""Deliveries past their retention go, and the figures made of them stay as published, whatever happens meanwhile."""

from __future__ import annotations

import csv
import gzip
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from click.testing import CliRunner, Result

import small_project
from kpi import database
from kpi.cli.main import cli
from kpi.errors import CheckFailed, ConfigError, DeliveryError, KpiError
from kpi.ingest import raw_files, release_files
from kpi.ingest.raw_files import hash_of, scan
from kpi.jobs import prune_raw as pruning
from kpi.jobs.check_build import validate_build
from kpi.jobs.doctor import examine
from kpi.jobs.options import Options
from kpi.jobs.prune_raw import prune_raw
from kpi.jobs.refresh import refresh
from kpi.provenance.releases import Release, missing_deliveries, write_release
from kpi.validation.expectations import YearResult
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.lifecycle import roll_back

TODAY = date(2026, 3, 5)
RUN = Options(as_of=TODAY)
MARKER = "kilpikonna-4711"  # in a row that must be gone, to the last byte
CALLS = """\
sources:
  - name: raw
    tables:
      - name: calls
        config: {meta: {feed: {key: [call_id], time_order: [arrived_on, answered_on], expected_every: year, RETENTION}}}
        columns:
          - name: call_id
            data_type: varchar
            config: {meta: {required: true}}
          - name: line
            data_type: varchar
          - name: waited_seconds
            data_type: bigint
          - name: arrived_on
            data_type: date
            config: {meta: {required: true}}
          - name: answered_on
            data_type: date
      - name: notes
        config: {meta: {feed: {key: [call_id, note], expected_every: year, NOTES}}}
        columns:
          - name: call_id
            data_type: varchar
            config: {meta: {required: true}}
          - name: note
            data_type: varchar
            config: {meta: {required: true}}
      - name: kept_indicators
      - name: deleted_deliveries
"""
STG_CALLS = """\
select call_id, line, waited_seconds, arrived_on, year(arrived_on) as report_year
from {{ source('raw', 'calls') }}
where not _is_superseded
"""
DERIVED = """\
{{ config(materialized='table') }}
select
    'calls_received' as figure_id,
    line as service,
    report_year,
    'calendar_year' as basis,
    cast(count(*) as double) as numerator,
    cast(null as double) as denominator,
    cast(count(*) as double) as value,
    count(*) as event_count
from {{ ref('stg_calls') }}
group by line, report_year
union all
select
    'call_mean_wait_seconds' as figure_id,
    line as service,
    report_year,
    'calendar_year' as basis,
    cast(sum(waited_seconds) as double) as numerator,
    cast(count(waited_seconds) as double) as denominator,
    sum(waited_seconds) / nullif(cast(count(waited_seconds) as double), 0) as value,
    count(*) as event_count
from {{ ref('stg_calls') }}
group by line, report_year
union all
select
    'call_notes' as figure_id,
    'all' as service,
    report_year,
    'calendar_year' as basis,
    cast(count(*) as double) as numerator,
    cast(null as double) as denominator,
    cast(count(*) as double) as value,
    count(*) as event_count
from {{ source('raw', 'notes') }} as notes
inner join {{ ref('stg_calls') }} as calls using (call_id)
where not notes._is_superseded
group by report_year
"""
INDICATORS = """\
select figure_id, service, report_year, basis, numerator, denominator, value, event_count
from {{ ref('derived') }} as derived
anti join {{ source('raw', 'kept_indicators') }} as kept using (figure_id, service, report_year, basis)
union all
select figure_id, service, report_year, basis, numerator, denominator, value, event_count
from {{ source('raw', 'kept_indicators') }}
"""
ORIGINS = """\
select i.*, case when k.kept_from is null then 'derived' else 'kept' end as origin, k.kept_from
from {{ ref('indicators') }} as i
left join (select figure_id, service, report_year, basis, kept_from from {{ source('raw', 'kept_indicators') }}) as k
    using (figure_id, service, report_year, basis)
"""
DELETED = "select * from {{ source('raw', 'deleted_deliveries') }}\n"
COVERAGE = """\
select 'calls' as feed, report_year, month(arrived_on) as month, count(*) as row_count, 1 as service_count
from {{ ref('stg_calls') }}
group by all
"""
FILES: Mapping[str, str | None] = {
    "models/staging/calls.yml": CALLS,
    "models/staging/stg_calls.sql": STG_CALLS,
    "models/derived.sql": DERIVED,
    "models/marts/indicators.sql": INDICATORS,
    "models/marts/indicator_origins.sql": ORIGINS,
    "models/marts/deleted_deliveries.sql": DELETED,
    "models/marts/coverage.sql": COVERAGE,
    "models/marts/calls_by_line.sql": None,
    "tests/assert_in_time_is_part.sql": None,
}
HEADER = "call_id,line,waited_seconds,arrived_on,answered_on\n"
# 2020 is past retention in 2026 with 5 years; one call of it was answered in 2021.
DELIVERED = {
    "calls/2020.csv": HEADER
    + "a1,health,10,2020-02-01,\na2,health,20,2020-03-01,\n"
    + f"{MARKER},health,31,2020-12-31,2021-01-01\nbad,health,x,2020-01-01,\n",
    "calls/2020_correction.csv.gz": HEADER + "a2,health,25,2020-03-01,\n",
    "calls/2021.csv": HEADER + "b1,health,7,2021-05-01,\nb2,social,,2021-06-01,\n",
    "calls/between.csv": HEADER + "".join(f"m{y},health,4,{y}-05-01,\n" for y in (2022, 2023, 2024)),
    "calls/2025.csv": HEADER + "c1,health,9,2025-05-01,\n",
    "notes/2020.csv": "call_id,note\na1,called back\na1,thanked\nnobody,stray\n",
    "notes/2021.csv": "call_id,note\nb1,called back\n",
}
ALL = "figure_id, service, report_year, basis, numerator, denominator, value, event_count"


class Killed(BaseException):
    """The process is gone."""


def project(
    root: Path, retention: str = "raw_retention_years: 5, raw_retention_by: arrived_on", notes: str = ""
) -> Path:
    """Write the project; its notes go with the calls they are of."""
    years = retention.partition(",")[0]
    notes = notes or (f"{years}, raw_retention_by: calls.arrived_on" if "years" in years else "late_after_days: 9")
    text = CALLS.replace("RETENTION", retention or "late_after_days: 9").replace("NOTES", notes)
    return small_project.write(root, {**FILES, "models/staging/calls.yml": text})


def deliver(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / "warehouse/raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())


def refreshed(root: Path) -> list[str]:
    message: list[str] = []
    refresh(root, replace(RUN, max_reject_share=1), message.append)
    return message


def prune(root: Path, delete: bool = True, **options: Any) -> list[str]:
    message: list[str] = []
    prune_raw(root, replace(RUN, max_reject_share=1), message.append, delete, **{"today": TODAY, **options})
    return message


def ask(root: Path, sql: str) -> list[tuple[Any, ...]]:
    with database.reading(root / "warehouse/current/kpi.duckdb") as con:
        return con.execute(sql).fetchall()


def figures(root: Path) -> list[tuple[Any, ...]]:
    return ask(root, f"select {ALL} from marts.indicators order by all")


def lying(root: Path) -> set[str]:
    raw = root / "warehouse/raw"
    return {str(path.relative_to(raw)) for path in raw.rglob("*.csv*")}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, delivered and published. Tests work on copies."""
    root = project(tmp_path_factory.mktemp("published"))
    deliver(root, DELIVERED)
    refreshed(root)
    return root


@pytest.fixture
def root(published: Path, tmp_path: Path) -> Path:
    return shutil.copytree(published, tmp_path / "project", symlinks=True)


GONE = {"calls/2020.csv", "calls/2020_correction.csv.gz", "notes/2020.csv"}


def test_the_deliveries_go_and_every_figure_stays(root: Path) -> None:
    """To the last digit, and with what became of each record on record: rows in are rows loaded and rejected."""
    before, delivered = figures(root), ask(root, "select file, records, rows_loaded from raw.deliveries order by all")
    was = Warehouse(root / "warehouse").published()
    message = "\n".join(prune(root))
    assert figures(root) == before
    assert lying(root) == set(DELIVERED) - GONE
    assert "delete  calls/2020.csv: 2020, 3 rows loaded, 1 rejected" in message
    assert f"Builds that hold rows of deleted deliveries, or of those to be deleted: {was}." in message
    assert ask(root, "select distinct report_year, kept_from, kept_on from raw.kept_indicators") == [(2020, was, TODAY)]
    gone = ask(root, "select file, records, rows_loaded, rows_rejected, rows_superseded, first_year, last_year,"
                     " kept_from from marts.deleted_deliveries where feed = 'calls' order by file")  # fmt: skip
    assert gone == [("2020.csv", 4, 3, 1, 1, 2020, 2020, was), ("2020_correction.csv.gz", 1, 1, 0, 0, 2020, 2020, was)]
    still = ask(root, "select file, records, rows_loaded from raw.deliveries union all"
                      " select file, records, rows_loaded from raw.deleted_deliveries order by all")  # fmt: skip
    assert still == delivered
    assert ask(root, "select count(*) from raw.rejects") == [(0,)]
    events = [event for event in Warehouse(root / "warehouse").ledger() if event.event == "delivery deleted"]
    assert {event.reason.partition(",")[0] for event in events} == GONE
    assert refreshed(root)[-1].startswith("Nothing changed")
    assert "none" not in prune(root)[-1]


def test_no_byte_of_a_deleted_row_is_left_in_what_is_published(root: Path) -> None:
    """The file is made anew: a copy would have the rows in its free blocks."""
    database = root / "warehouse/current/kpi.duckdb"
    assert MARKER.encode() in database.read_bytes()
    prune(root)
    assert MARKER.encode() not in database.read_bytes()
    assert not any(MARKER.encode() in path.read_bytes() for path in (root / "warehouse/kept").rglob("*.*"))


def test_where_rows_are_for_stewards_the_same_holds(root: Path) -> None:
    """Neither the file for all readers nor the stewards' has a byte of it left."""
    settings = root / "dbt_project.yml"
    text = settings.read_text()
    settings.write_text(text.replace("vars:\n", "vars:\n  kpi_warehouse: {stewards_schemas: [raw, staging]}\n"))
    refreshed(root)
    before = figures(root)
    whole = Warehouse(root / "warehouse").builds / Warehouse(root / "warehouse").published() / "stewards/kpi.duckdb"
    assert MARKER.encode() in whole.read_bytes()
    prune(root)
    assert figures(root) == before
    current = root / "warehouse/current"
    for file in (current / "kpi.duckdb", current / "stewards/kpi.duckdb"):
        assert MARKER.encode() not in file.read_bytes()
    assert lying(root) == set(DELIVERED) - GONE
    assert "kept_as_published" not in {result.expectation for result in judge_failures(root)}


def judge_failures(root: Path) -> list[YearResult]:
    return [result for result in validate_build(root, None, None, None, None) if not result.success]


def test_without_the_flag_nothing_is_touched(root: Path) -> None:
    def state() -> dict[str, bytes]:
        # The lock tells who held it last, and what compiling found out is no part of the warehouse.
        paths = (
            path
            for path in (root / "warehouse").rglob("*")
            if path.is_file() and path.name not in (".lock", "compiled")
        )
        return {str(path): path.read_bytes() for path in paths}

    before = state()
    message = prune(root, delete=False)
    assert state() == before
    assert not (root / "warehouse/kept").exists()
    assert "  delete  calls/2020_correction.csv.gz: 2020, 1 rows loaded, 0 rejected" in message
    assert any("3 of 2020" in line for line in message)
    assert message[-1] == "Nothing was deleted. To delete what is listed: kpi prune-raw --delete"


def test_a_refresh_tells_of_it_and_deletes_nothing(root: Path) -> None:
    deliver(root, {"calls/2025_more.csv": HEADER + "c2,health,1,2025-07-01,\n"})
    message = "\n".join(refreshed(root))
    assert "calls: 2 of its deliveries hold nothing after 2020, past retention. See: kpi prune-raw" in message
    assert lying(root) == {*DELIVERED, "calls/2025_more.csv"}


def killed(*_: object, **__: object) -> None:
    raise Killed


def killed_after(function: Callable[..., Any], times: int = 1) -> Callable[..., Any]:
    count = 0

    def wrapped(*arguments: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        found = function(*arguments, **named)
        if count == times:
            raise Killed
        return found

    return wrapped


STEPS: Mapping[str, Callable[[], Any]] = {
    "while it is tried": lambda: patch("kpi.jobs.prune_raw._write", killed),
    "before it is in effect": lambda: patch.object(Path, "rename", killed),
    "when it is in effect": lambda: patch("kpi.jobs.prune_raw._emit_builds", killed),
    "before the refresh": lambda: patch("kpi.jobs.prune_raw.refresh", killed),
    "in the refresh": lambda: patch("kpi.jobs.refresh.Run._validate", killed),
    "before it is published": lambda: patch("kpi.jobs.refresh.publish", killed),
    "before it is deleted": lambda: patch("kpi.jobs.prune_raw._delete", killed),
    "when one was deleted": lambda: patch("kpi.jobs.prune_raw._delete", killed_after(pruning._delete)),
    "before it is recorded": lambda: patch("kpi.jobs.prune_raw.record", killed),
    "when two were deleted": lambda: patch("kpi.jobs.prune_raw._delete", killed_after(pruning._delete, 2)),
}


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_nothing_is_lost_and_running_it_again_finishes(root: Path, step: str) -> None:
    """Readers see the same figures at every moment, a night between changes none, and a file goes only in the end."""
    before = figures(root)
    with STEPS[step](), pytest.raises(Killed):
        prune(root)
    assert figures(root) == before
    message = refreshed(root)
    assert figures(root) == before
    assert not any("gone" in line for line in message)
    left = lying(root)
    prune(root)
    assert figures(root) == before
    assert lying(root) == set(DELIVERED) - GONE
    assert left >= lying(root)
    assert len(list((root / "warehouse/kept").iterdir())) == 1
    assert len(ask(root, "from raw.deleted_deliveries")) == 3


def test_a_file_that_comes_back_is_not_read(root: Path) -> None:
    """The same bytes: out of a backup, say. The run tells it, the figures stay, and the next deletion takes it."""
    before = figures(root)
    prune(root)
    deliver(root, {"calls/2020.csv": DELIVERED["calls/2020.csv"], "calls/2025_more.csv": HEADER})
    message = "\n".join(refreshed(root))
    assert "calls/2020.csv: deleted by retention, lies there and not read. See: kpi prune-raw" in message
    assert figures(root) == before
    assert "  delete  calls/2020.csv: on record as deleted already, and not read" in prune(root, delete=False)
    prune(root)
    assert "calls/2020.csv" not in lying(root)
    assert len(list((root / "warehouse/kept").iterdir())) == 1


def test_a_period_delivered_again_changes_nothing_that_is_kept(root: Path) -> None:
    """A part of it, and otherwise: what was published stands. It is past retention, is told, and goes again."""
    before = figures(root)
    prune(root)
    deliver(root, {"calls/2020_again.csv": HEADER + "a1,health,99,2020-02-01,\n"})
    message = "\n".join(refreshed(root))
    assert "calls: 1 of its deliveries hold nothing after 2020, past retention" in message
    assert figures(root) == before
    message = "\n".join(prune(root))
    assert "none that is not kept already or can still be derived" in message
    assert figures(root) == before
    assert lying(root) == set(DELIVERED) - GONE
    assert len(ask(root, "from raw.deleted_deliveries where file = '2020_again.csv'")) == 1
    assert len(ask(root, "select distinct kept_from from raw.kept_indicators")) == 1


def test_what_a_later_file_still_holds_of_the_year_does_not_change_it(root: Path) -> None:
    """A correction that holds rows of 2020 and of 2025 stays: the figures of 2020 are kept, not made of that rest."""
    deliver(root, {"calls/2025_x.csv": HEADER + "a1,health,11,2020-02-01,\nc9,health,5,2025-09-01,\n"})
    refreshed(root)
    before = figures(root)
    message = "\n".join(prune(root))
    assert "stays   calls/2025_x.csv: 2020 to 2025, not all of it is past" in message
    assert "calls/2025_x.csv: holds rows of 2020, a year whose deliveries were deleted: they change no kept" in message
    assert figures(root) == before
    assert ask(root, "select count(*) from raw.calls where year(arrived_on) = 2020") == [(1,)]


def test_a_figure_that_nothing_of_the_deletion_touches_is_not_kept(root: Path) -> None:
    """What a later file holds the whole of can be derived for good: it is not frozen."""
    rows = "".join(line + "\n" for line in DELIVERED["calls/2020.csv"].splitlines()[1:4])
    deliver(
        root,
        {"calls/all_of_it.csv": HEADER + rows.replace("a2,health,20", "a2,health,25") + "c8,social,1,2025-01-01,\n"},
    )
    refreshed(root)
    before = figures(root)
    message = "\n".join(prune(root))
    assert "none that is not kept already or can still be derived" in message or "1 of 2020" in message
    assert figures(root) == before
    kept_ids = {row[0] for row in ask(root, "select figure_id from raw.kept_indicators")}
    assert not kept_ids & {"calls_received", "call_mean_wait_seconds"}


def test_a_superseded_row_of_a_later_year_would_come_back_so_it_is_refused(root: Path) -> None:
    """The file of 2021 holds a call that a file of 2020 alone corrected to 2020: without that, 2021 has it again."""
    deliver(root, {"calls/2021.csv": DELIVERED["calls/2021.csv"] + "a9,health,50,2021-01-01,\n"})
    deliver(root, {"calls/z_2020.csv": HEADER + "a9,health,50,2020-12-31,\n"})
    refreshed(root)
    before, delivered = figures(root), lying(root)
    with pytest.raises(CheckFailed, match=r"2021 calls_received health \(calendar_year\): 1.0 -> 2.0") as refused:
        prune(root)
    assert "longer raw_retention_years to the feed" in str(refused.value)
    assert (figures(root), lying(root)) == (before, delivered)
    assert not (root / "warehouse/kept").exists()
    assert refreshed(root)[-1].startswith("Nothing changed")


def test_a_retention_by_the_wrong_column_is_refused(tmp_path: Path) -> None:
    """A call that arrived in 2021 and was promised in 2020: by the latter its file would be past."""
    root = project(tmp_path, "raw_retention_years: 5, raw_retention_by: answered_on", notes="late_after_days: 9")
    calls = (root / "models/staging/calls.yml").read_text().replace("time_order: [arrived_on, answered_on], ", "")
    (root / "models/staging/calls.yml").write_text(calls)
    deliver(root, {**DELIVERED, "calls/2021.csv": HEADER + "b1,health,7,2021-05-01,2020-12-31\n"})
    refreshed(root)
    before = figures(root)
    with pytest.raises(CheckFailed, match="raw_retention_by is the column that gives the report year"):
        prune(root)
    assert (figures(root), lying(root)) == (before, set(DELIVERED))


def test_figures_that_the_project_does_not_take_in_are_not_lost(root: Path) -> None:
    """A project whose indicators leave out what is kept: nothing is deleted."""
    (root / "models/marts/indicators.sql").write_text("select * from {{ ref('derived') }}\n")
    (root / "models/marts/unused.sql").write_text("select * from {{ source('raw', 'kept_indicators') }}\n")
    refreshed(root)
    with pytest.raises(CheckFailed, match=r"take in raw\.kept_indicators"):
        prune(root)
    assert lying(root) == set(DELIVERED)


def test_a_check_that_would_fail_afterwards_stops_it(root: Path) -> None:
    message = "select 1 as found where (select count(*) from {{ ref('stg_calls') }}) < 8\n"
    (root / "tests").mkdir(exist_ok=True)
    (root / "tests/assert_enough.sql").write_text(message)
    refreshed(root)
    with pytest.raises(CheckFailed, match="assert_enough"):
        prune(root)
    assert lying(root) == set(DELIVERED)


def edit(change: Callable[[str], str]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "kept_indicators.csv"
        path.write_text(change(path.read_text()))

    return damage


def sums(damage: Callable[[Path], None]) -> Callable[[Path], None]:
    def with_sums(folder: Path) -> None:
        damage(folder)
        raw_files.write_sums(folder)

    return with_sums


DAMAGES: Mapping[str, tuple[Callable[[Path], None], str]] = {
    "edited": (edit(lambda text: text.replace(",28", ",29").replace("22.0", "23.0")), "not as it was written"),
    "a line cut off": (edit(lambda text: text[: text.rstrip().rfind("\n") + 1]), "not as it was written"),
    "cut in a line": (edit(lambda text: text[:-20]), "not as it was written"),
    "emptied": (edit(lambda text: ""), "not as it was written"),
    "a figure twice": (sums(edit(lambda text: text + text.splitlines()[-1] + "\n")), "stands twice"),
    "another header": (sums(edit(lambda text: text.replace("value", "worth"))), "not as it was written"),
    "not a number": (sums(edit(lambda text: text.replace("3.0", "three"))), "cannot be read"),
    "no numbers at all": (sums(edit(lambda text: text.splitlines()[0] + "\n\x00\x01,\n")), "cannot be read"),
    "without sums": (lambda folder: (folder / "SHA256SUMS").unlink(), "not as it was written"),
    "without the list": (lambda folder: (folder / "deleted_deliveries.csv").unlink(), "not as it was written"),
    "gone": (shutil.rmtree, "Gone from"),
}


@pytest.fixture(scope="module")
def pruned(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = shutil.copytree(published, tmp_path_factory.mktemp("pruned") / "project", symlinks=True)
    prune(root)
    return root


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_kept_is_used_as_written_or_not_at_all(pruned: Path, tmp_path: Path, damage: str) -> None:
    """A change nobody signed for, or one that makes no sense, stops the run; readers keep the figures they had."""
    root = shutil.copytree(pruned, tmp_path / "project", symlinks=True)
    before = figures(root)
    change, message = DAMAGES[damage]
    (folder,) = (root / "warehouse/kept").iterdir()
    change(folder)
    with pytest.raises(DeliveryError, match=message):
        refreshed(root)
    assert figures(root) == before


def test_a_kept_figure_is_changed_on_purpose_by_new_sums(pruned: Path, tmp_path: Path) -> None:
    root = shutil.copytree(pruned, tmp_path / "project", symlinks=True)
    (folder,) = (root / "warehouse/kept").iterdir()
    with (folder / "kept_indicators.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (folder / "kept_indicators.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | {"value": "4.0"} if row["figure_id"] == "calls_received" else row for row in rows)
    raw_files.write_sums(folder)
    refreshed(root)
    values = ask(root, "select value from marts.indicators where figure_id = 'calls_received' and report_year = 2020")
    assert values == [(4.0,)]


def test_what_is_kept_is_given_up_only_with_a_reason(pruned: Path, tmp_path: Path) -> None:
    root = shutil.copytree(pruned, tmp_path / "project", symlinks=True)
    shutil.rmtree(root / "warehouse/kept")
    with pytest.raises(DeliveryError, match="publish-despite-checks"):
        refreshed(root)
    refresh(root, replace(RUN, publish_despite_checks="they were wrong"), lambda line: None)
    assert ask(root, "select count(*) from marts.indicators where report_year = 2020") == [(0,)]


@pytest.mark.parametrize(
    ("as_of", "today", "is_named", "message"),
    [
        (date(2036, 1, 1), date(2036, 1, 1), False, "is the clock right"),
        (date(2027, 1, 1), date(2027, 1, 1), False, "is the clock right"),
        (date(2036, 1, 1), date(2026, 3, 5), True, "has not come yet"),
    ],
)
def test_a_clock_that_is_wrong_deletes_nothing(
    root: Path, as_of: date, today: date, is_named: bool, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        prune_raw(root, replace(RUN, as_of=as_of), lambda line: None, True, today, is_named)
    assert lying(root) == set(DELIVERED)


def test_a_clock_that_went_back_deletes_less(root: Path) -> None:
    message: list[str] = []
    prune_raw(root, replace(RUN, as_of=date(2025, 12, 31)), message.append, True, date(2025, 12, 31), False)
    assert lying(root) == set(DELIVERED)
    assert any("so 2019 and before are past retention" in line for line in message)


def test_only_what_readers_see_is_compared_with(root: Path) -> None:
    """Something was delivered since, or readers were taken back: first a refresh."""
    deliver(root, {"calls/2025_more.csv": HEADER + "c2,health,1,2025-07-01,\n"})
    with pytest.raises(ConfigError, match="Run first: kpi refresh"):
        prune(root)
    warehouse = Warehouse(root / "warehouse")
    first = warehouse.published()
    refreshed(root)
    roll_back(warehouse, first, "")
    with pytest.raises(ConfigError, match="Run first: kpi refresh"):
        prune(root)
    assert lying(root) == {*DELIVERED, "calls/2025_more.csv"}


def test_readers_taken_back_between_the_steps_keep_the_files(root: Path) -> None:
    """The build they see was made of the rows: nothing goes while that is so."""
    with STEPS["before it is deleted"](), pytest.raises(Killed):
        prune(root)
    warehouse = Warehouse(root / "warehouse")
    roll_back(warehouse, warehouse.published_before(warehouse.published()), "")
    with pytest.raises(KpiError, match="so none was deleted"):
        prune(root)
    assert lying(root) == set(DELIVERED)


def test_a_figure_that_went_between_the_steps_keeps_the_files(root: Path) -> None:
    """One of the year that a file that stays makes, and that a changed model leaves out: somebody is to look first."""
    deliver(root, {"calls/2025_x.csv": HEADER + "s1,social,11,2020-02-01,\nc9,health,5,2025-09-01,\n"})
    refreshed(root)
    with STEPS["before the refresh"](), pytest.raises(Killed):
        prune(root)
    without = INDICATORS.replace("union all", "where service <> 'social' union all")
    (root / "models/marts/indicators.sql").write_text(without)
    with pytest.raises(KpiError, match="has not: 2020 call_mean_wait_seconds social, 2020 calls_received social"):
        prune(root)
    assert lying(root) >= set(DELIVERED)
    (root / "models/marts/indicators.sql").write_text(INDICATORS)
    prune(root)
    assert lying(root) == {*DELIVERED, "calls/2025_x.csv"} - GONE


def test_a_file_changed_after_it_was_looked_at_is_not_deleted(root: Path) -> None:
    """It has the name of one on record, and other content: it is a delivery like any other."""
    with STEPS["before it is deleted"](), pytest.raises(Killed):
        prune(root)
    before = figures(root)
    deliver(root, {"calls/2020.csv": HEADER + "b7,health,1,2025-01-02,\nb8,health,1,2020-01-02,\n"})
    prune_or_refresh = refreshed(root)
    assert any("calls/2020_correction.csv.gz" in line for line in prune_or_refresh)
    prune(root)
    assert "calls/2020.csv" in lying(root)
    assert [row for row in figures(root) if row[2] == 2020] == [row for row in before if row[2] == 2020]


def test_what_cannot_be_told_the_age_of_stays(root: Path) -> None:
    """A file of which nothing loaded, and a link: both are for somebody to look at."""
    deliver(root, {"calls/odd.csv": HEADER + "x,health,y,2020-01-01,\n", "calls/empty.csv": HEADER})
    deliver(root, {"elsewhere/linked.csv": HEADER + "k1,health,1,2020-01-05,\n"})
    (root / "warehouse/raw/calls/linked.csv").symlink_to(root / "warehouse/raw/elsewhere/linked.csv")
    refreshed(root)
    message = "\n".join(prune(root))
    assert "stays   calls/odd.csv: not all of it has a date" in message
    assert "stays   calls/empty.csv" not in message
    assert "stays   calls/linked.csv: 2020, a link" in message
    assert lying(root) >= {"calls/odd.csv", "calls/empty.csv", "calls/linked.csv", "elsewhere/linked.csv"}


def test_notes_of_a_call_that_stays_stay_with_it(root: Path) -> None:
    """The notes of 2020 in one file with one of 2021 are as young as that call."""
    deliver(root, {"notes/2020.csv": DELIVERED["notes/2020.csv"] + "b2,late\n"})
    refreshed(root)
    message = "\n".join(prune(root))
    assert "stays   notes/2020.csv: 2020 to 2021, not all of it is past" in message
    assert "notes/2020.csv" in lying(root)


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        (
            "raw_retention_years: 4, raw_retention_by: calls.arrived_on",
            "'raw_retention_years' of both must be the same",
        ),
        ("raw_retention_by: calls.arrived_on", "'raw_retention_years' of both must be the same"),
        ("raw_retention_years: 5, raw_retention_by: calls.line", "'calls.line' is no date of a feed"),
        ("raw_retention_years: 5, raw_retention_by: call.arrived_on", "Did you mean 'calls'?"),
    ],
)
def test_a_feed_that_cannot_follow_another_does_not_compile(tmp_path: Path, notes: str, message: str) -> None:
    root = project(tmp_path, notes=notes)
    with pytest.raises(KpiError) as raised:
        refreshed(root)
    assert message in str(raised.value)
    assert "models/staging/calls.yml:" in str(raised.value)


def test_on_the_command_line(root: Path) -> None:
    def run(*words: str) -> Result:
        return CliRunner().invoke(cli, ["prune-raw", "--project-dir", str(root), *words])

    found = run("--as-of", str(TODAY), "--max-reject-share", "1")
    assert (found.exit_code, found.output.splitlines()[-1]) == (
        0,
        "Nothing was deleted. To delete what is listed: kpi prune-raw --delete",
    )
    assert isinstance(run("--delete", "--dry-run").exception, ConfigError)
    assert lying(root) == set(DELIVERED)
    found = run("--as-of", str(TODAY), "--max-reject-share", "1", "--delete")
    assert found.exit_code == 0
    assert "Deleted 3 deliveries." in found.output
    assert lying(root) == set(DELIVERED) - GONE


def test_feeds_go_by_their_own_years(tmp_path: Path) -> None:
    """Two feeds with other retentions: a year that only one of them is past may change in nothing of the other."""
    files = {
        name.replace("calls", "chats"): text.replace("call_id", "chat_id")
        for name, text in DELIVERED.items()
        if name.startswith("calls")
    }
    contract = (
        CALLS.partition("      - name: notes")[0].replace("name: calls", "name: chats").replace("call_id", "chat_id")
    )
    root = project(tmp_path)
    text = contract.replace("RETENTION", "raw_retention_years: 4, raw_retention_by: arrived_on")
    text = text.replace("  - name: raw\n    tables:", "  - name: raw_too\n    schema: raw\n    tables:")
    derived = DERIVED.partition("union all")[0].replace("calls_received", "chats").replace("stg_calls", "stg_chats")
    (root / "models/staging/chats.yml").write_text(text)
    stg = STG_CALLS.replace("call_id", "chat_id").replace("'raw', 'calls'", "'raw_too', 'chats'")
    (root / "models/staging/stg_chats.sql").write_text(stg)
    (root / "models/derived.sql").write_text(DERIVED + "union all" + derived.split("}}", 1)[1])
    deliver(root, {**DELIVERED, **files})
    refreshed(root)
    before = figures(root)
    message = "\n".join(prune(root))
    assert figures(root) == before
    assert "chats/2021.csv" not in lying(root)
    assert "calls/2021.csv" in lying(root)
    of_2021 = ask(root, "select distinct figure_id from raw.kept_indicators where report_year = 2021")
    assert of_2021 == [("chats",)]
    assert "of 2020" in message


def test_a_project_without_a_place_for_figures_is_told_so(tmp_path: Path) -> None:
    root = small_project.write(tmp_path)
    deliver(root, {"calls/2020.csv": "call_id,line,waited_seconds,arrived_on\na,health,1,2020-01-01\n"})
    refreshed(root)
    with pytest.raises(ConfigError, match=r"no marts.indicators, raw.deleted_deliveries, raw.kept_indicators"):
        prune(root)


def test_feeds_without_a_retention_keep_everything(tmp_path: Path) -> None:
    root = project(tmp_path, "", "late_after_days: 9")
    deliver(root, DELIVERED)
    refreshed(root)
    assert prune(root) == [
        "No feed has a retention: raw_retention_years in its contract sets one (docs/guides/delete-old-deliveries.md)."
    ]
    assert lying(root) == set(DELIVERED)


def test_readers_taken_back_to_deleted_rows_are_told_of(root: Path) -> None:
    first = Warehouse(root / "warehouse").published()
    prune(root)
    done = CliRunner().invoke(cli, ["rollback", first, "--project-dir", str(root)])
    assert done.exit_code == 0
    assert "made before deliveries were deleted, so readers see their rows again" in done.output
    assert any("may show their rows" in finding.what for finding in examine(Warehouse(root / "warehouse")))


def test_every_delivery_may_be_past(tmp_path: Path) -> None:
    """An empty raw folder is then as it should be; when the rest of it goes too it is not."""
    root = project(tmp_path, "raw_retention_years: 1, raw_retention_by: arrived_on")
    deliver(root, {"calls/2024.csv": HEADER + "a1,health,10,2024-02-01,\na2,health,20,2024-12-31,2025-01-01\n"})
    refreshed(root)
    before = figures(root)
    prune(root)
    assert lying(root) == set()
    assert figures(root) == before
    assert len(before) > 0


def test_a_damaged_build_is_not_what_figures_are_kept_from(root: Path) -> None:
    file = (root / "warehouse/current/kpi.duckdb").resolve()
    file.chmod(0o644)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(ConfigError, match="is not what was written"):
        prune(root)
    assert lying(root) == set(DELIVERED)


def test_each_year_after_the_other(root: Path) -> None:
    """A second deletion keeps what the first kept and adds its own; the builds they are from stay told."""
    before = figures(root)
    prune(root)
    deliver(root, {"calls/2026.csv": HEADER + "d1,health,3,2026-02-01,\n"})
    later = replace(RUN, as_of=date(2027, 1, 2), max_reject_share=1)
    refresh(root, later, lambda line: None)
    prune_raw(root, later, lambda line: None, True, date(2027, 1, 2), False)
    assert [row for row in figures(root) if row[2] < 2026] == before
    assert len(ask(root, "select distinct kept_from from raw.kept_indicators where report_year in (2020, 2021)")) == 2
    assert lying(root) == {"calls/between.csv", "calls/2025.csv", "calls/2026.csv"}


def test_what_is_kept_is_told_where_people_look(root: Path) -> None:
    """Its year is judged, with its rows neither missed nor passed over in silence."""
    prune(root)
    (line,) = ask(
        root, "select success, observed from marts.expectation_results where expectation = 'kept_as_published'"
    )
    assert line[0]
    assert line[1].startswith(
        f"kept from build {ask(root, 'select kept_from from raw.kept_indicators')[0][0]}: 3 figures"
    )
    assert "deliveries of calls deleted: 2" in line[1]


def test_deliveries_of_a_release_go_only_when_it_is_meant(root: Path) -> None:
    """A year that was released could never be built again: the dry run says so, and deleting refuses without a flag."""
    name = "calls/2020.csv"
    delivery = ("calls", "2020.csv", hash_of(root / "warehouse/raw" / name), 4, 3, 1, 1, None, 2020, 2020)
    fields = {"release": "2020-1", "report_year": 2020, "number": 1, "build": "b"}
    write_release(root, Release(fields, (), (), [delivery], ()))
    refreshed(root)
    warned = "  warning: release 2020-1 was made from 1 of these: it could never be built again."
    assert warned in prune(root, delete=False)
    with pytest.raises(ConfigError, match=r"deliveries of 2020-1 would go, .* --also-released"):
        prune(root)
    assert lying(root) == set(DELIVERED)
    message: list[str] = []
    meant = replace(RUN, max_reject_share=1, also_released=True)
    prune_raw(root, meant, message.append, delete=True, today=TODAY)
    assert warned in message
    assert lying(root) == set(DELIVERED) - GONE
    folder = release_files.releases_folder(root) / "2020-1"
    assert "2020.csv was deleted by its retention" in missing_deliveries(
        folder, root / "warehouse/raw", scan(root / "warehouse/raw")
    )[0]  # fmt: skip
