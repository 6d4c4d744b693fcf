"""Spark is lost in the middle of a build: nothing half made is published, it is told, and the next run mends it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from kpi.errors import ENGINE_LOST
from kpi.jobs.options import is_by_spark
from kpi.warehouse.builds import Warehouse
from small_project import recorded, write
from with_spark import DAY, SAIL, environment, kpi, needed, refreshed, serving

SLOW = """\
{{ config(materialized='table') }}
select count(*) as pairs
from {{ ref('stg_calls') }} as a
cross join {{ ref('stg_calls') }} as b
cross join {{ ref('stg_calls') }} as c
cross join {{ ref('stg_calls') }} as d
where a.waited_seconds + b.waited_seconds + c.waited_seconds + d.waited_seconds = 7
"""


def test_a_server_that_dies_in_the_middle_leaves_the_build_that_readers_had(tmp_path: Path) -> None:
    root = write(tmp_path)
    warehouse = Warehouse(root / "warehouse")
    rows = "".join(f"{number},health,{number},2026-01-05\n" for number in range(400))
    (root / "warehouse/raw/calls").mkdir(parents=True)
    (root / "warehouse/raw/calls/calls_2026-01.csv").write_text(f"call_id,line,waited_seconds,arrived_on\n{rows}")
    with serving() as server:
        refreshed(root, server)
        before = warehouse.published()
        (root / "models/marts/pairs.sql").write_text(SLOW)
        words = ["refresh", "--as-of", DAY, "--remote", server.address, "--log-format", "plain"]
        run = subprocess.Popen(
            [needed(SAIL), "-m", "kpi.cli", *words],
            cwd=root,
            env=environment() | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert run.stdout is not None
        while "are computed by Spark" not in (line := run.stdout.readline()):
            assert line, run.communicate()
        server.process.kill()
        _, complaint = run.communicate(timeout=240)
    assert run.returncode == ENGINE_LOST
    assert "was lost while it computed. Nothing of this build is published." in complaint
    assert "Traceback" not in complaint
    assert warehouse.published() == before
    assert not (warehouse.builds / ".tmp-spark").exists()
    # Without a server the next run says so before it does anything; the failed build is as it was.
    failed = warehouse.last_run()
    assert failed is not None
    assert failed.status == "failed"
    done = kpi(root, "retry", "--as-of", DAY, "--remote", server.address)
    assert done.returncode == ENGINE_LOST
    assert "no server of Spark Connect answers" in done.stderr
    assert (warehouse.last_run() or failed).id == failed.id
    (root / "models/marts/pairs.sql").write_text("select count(*) as pairs from {{ ref('stg_calls') }}")
    with serving(server.port) as server:
        done = kpi(root, "retry", "--as-of", DAY, "--remote", server.address)
    assert done.returncode == 0, done.stderr
    assert warehouse.published() != before
    assert is_by_spark(recorded(warehouse).engine)
