"""Incremental models and rows that come late, are corrected or withdrawn: as a full refresh has them, or it is said."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

import kpi
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from small_project import write

HEADER = "call_id,line,waited_seconds,arrived_on\n"
SELECT = "select call_id, waited_seconds, arrived_on from {{ ref('stg_calls') }}\n"
NEWER = "{% if is_incremental() %}where arrived_on > (select max(arrived_on) from {{ this }}){% endif %}\n"
UNSEEN = "{% if is_incremental() %}where call_id not in (select call_id from {{ this }}){% endif %}\n"
CLOCK = SELECT.replace(" from", ", now() as at from")
MODELS = {
    "newer days": ("materialized='incremental'", SELECT + NEWER),
    "keys not seen": ("materialized='incremental'", SELECT + UNSEEN),
    "by key": ("materialized='incremental', unique_key='call_id'", SELECT),
    "rows stay": ("materialized='incremental', full_refresh=false", SELECT + NEWER),
    "another each time": ("materialized='incremental', unique_key='call_id'", CLOCK),
}
LATE = ("02.csv", "3,health,3,2025-01-10\n")
CORRECTED = ("03.csv", "1,health,99,2025-01-05\n")
WITHDRAWN = ("01.csv", "")
REPLACED = ("01.csv", "1,health,5,2025-01-05\n2,health,2,2025-01-20\n")
ADDED = ("04.csv", "4,health,4,2025-02-01\n")
COUNTS, ROWS = "a full refresh would make {}", "it holds other rows than a full refresh would make"
CASES = [
    ("newer days", LATE, COUNTS.format(3)),
    ("newer days", CORRECTED, ROWS),
    ("newer days", REPLACED, ROWS),
    ("newer days", WITHDRAWN, COUNTS.format(0)),
    ("newer days", ADDED, ""),
    ("keys not seen", LATE, ""),
    ("keys not seen", CORRECTED, ROWS),
    ("by key", LATE, ""),
    ("by key", CORRECTED, ""),
    ("by key", WITHDRAWN, COUNTS.format(0)),
    ("rows stay", LATE, ""),
    ("another each time", CORRECTED, ""),
]


def run(root: Path, full_refresh: bool = False) -> list[str]:
    options = Options(date(2026, 3, 5), validate=False, full_refresh=full_refresh)
    return [str(one) for one in refresh(root, options, lambda line: None).warnings if one.subject == "increments"]


def rows(root: Path) -> list[tuple[object, ...]]:
    with kpi.open(None, root) as con:
        return con.execute("select * from marts.increments order by all").fetchall()


@pytest.mark.parametrize(("model", "delivery", "message"), CASES, ids=[f"{one[0]}-{one[1][0]}" for one in CASES])
def test_a_table_that_a_full_refresh_would_make_otherwise_is_told(
    model: str, delivery: tuple[str, str], message: str, tmp_path: Path
) -> None:
    config, sql = MODELS[model]
    root = write(tmp_path, {"models/marts/increments.sql": f"{{{{ config({config}) }}}}\n{sql}"})
    folder = root / "warehouse/raw/calls"
    folder.mkdir(parents=True)
    (folder / "01.csv").write_text(HEADER + "1,health,1,2025-01-05\n2,health,2,2025-01-20\n")
    assert run(root) == []
    name, text = delivery
    (folder / name).write_text(HEADER + text)
    messages = run(root)
    assert [message in one for one in messages] == ([True] if message else [])
    if message:
        assert messages[0].startswith("increments (models/marts/increments.sql:")
        assert messages[0].endswith("See: kpi refresh --full-refresh --select increments")
    if model not in ("rows stay", "another each time"):
        incremental = rows(root)
        assert run(root, full_refresh=True) == []
        assert (rows(root) == incremental) is not bool(message)
