"""A small project that leaves the rows of persons out of the file that all readers open, and who sees what of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path

import kpi
from kpi.events import Emit
from kpi.jobs.doctor import examine
from kpi.jobs.options import Options, Outcome
from kpi.jobs.recorded_run import attend
from kpi.jobs.refresh import refresh
from kpi.warehouse.builds import Warehouse
from small_project import FILES, write

MARKER = "Aino-Marjatta-Esimerkki"
HEADER = "call_id,line,waited_seconds,arrived_on\n"
LEFT_OUT = "vars:\n  kpi_warehouse:\n    stewards_schemas: [raw, staging]\n"
OPTIONS = Options(date(2026, 3, 5), validate=False)
MODELS = {
    "models/marts/by_line_now.sql": (
        "{{ config(materialized='view') }}\n"
        "select line, count(*) as call_count from {{ ref('stg_calls') }} group by line\n"
    ),
    "models/marts/line_names.sql": "{{ config(materialized='view') }}\nselect line, name_en from {{ ref('lines') }}\n",
}
CALL_IDS = "select call_id from {{ ref('stg_calls') }}\n"


def project() -> Iterator[Path]:
    """Write the project with a delivery of three rows, and remove it afterwards."""
    # Not pytest's own folder: another user could not even look into that.
    folder = Path(tempfile.mkdtemp(prefix="kpi-stewards-"))
    folder.chmod(0o755)
    write(folder, {**MODELS, "dbt_project.yml": settings(LEFT_OUT)})
    deliver(folder, 3)
    yield folder
    shutil.rmtree(folder)


def put(root: Path, files: Mapping[str, str]) -> None:
    """Write files of the project and deliveries; all others stay."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def settings(variables: str = LEFT_OUT) -> str:
    return FILES["dbt_project.yml"].replace("vars:\n", variables)


def deliver(root: Path, rows: int, name: str = "a") -> Path:
    path = root / f"warehouse/raw/calls/{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEADER + "".join(f"{MARKER}-{name}{n},health,{n % 90},2024-01-01\n" for n in range(rows)))
    return path


def run(root: Path, options: Options = OPTIONS) -> list[str]:
    """Refresh as the command line does, with its log, and return what was told."""
    message: list[str] = []

    def work(emit: Emit) -> Outcome:
        return refresh(root, options, emit)

    attend(root, "refresh", options.as_of, message.append, work)
    return message


def built(message: list[str]) -> str:
    return next(line for line in message if line.startswith("Built "))


def warehouse_of(root: Path) -> Warehouse:
    return Warehouse(root / "warehouse")


def schemas(root: Path, stewards: bool = False, build: str | None = None) -> set[str]:
    with kpi.open(build, root, stewards=stewards) as con:
        return {row[0] for row in con.execute("select distinct schema_name from duckdb_schemas()").fetchall()} & {
            *("raw", "staging", "marts", "seeds", "dbt_test__audit"),
        }


def calls(root: Path, stewards: bool, build: str | None = None) -> object:
    with kpi.open(build, root, stewards=stewards) as con:
        return con.execute("select sum(call_count) from marts.calls_by_line").fetchall()[0][0]


def findings(root: Path) -> dict[str, str]:
    return {
        finding.what: finding.level
        for finding in examine(warehouse_of(root))
        if finding.level != "ok" and "calls: very late" not in finding.what
    }


def as_another(root: Path, group: int = 0) -> dict[str, str]:
    """What another user is told, by what it tried; files that hold the marker under `holds`."""
    command = [sys.executable, str(Path(__file__).parents[1] / "support/as_another.py"), str(root), MARKER, str(group)]
    process = subprocess.run(command, check=False, capture_output=True, text=True)
    ended = process.stdout
    assert ended.endswith("ended\n"), process.stderr
    held = "\n".join(re.findall(r"^holds (.*)$", ended, re.MULTILINE))
    return dict(re.findall(r"^([a-z]+(?: [^\s:]+)?): (.*)$", ended, re.MULTILINE)) | {"holds": held}


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def readable_by_others(root: Path) -> dict[str, bytes]:
    """Every file of the warehouse, but for deliveries, that others may read by its mode and those of its folders."""
    found: dict[str, bytes] = {}
    for folder, folders, names in os.walk(root / "warehouse"):
        folders[:] = [name for name in folders if mode(Path(folder, name)) & 0o001 and name != "raw"]
        files = [Path(folder, name) for name in names]
        found |= {str(path.relative_to(root)): path.read_bytes() for path in files if mode(path) & 0o004}
    return found


def holding(root: Path) -> list[str]:
    """The files that others can read and that hold the marker."""
    return sorted(name for name, data in readable_by_others(root).items() if MARKER.encode() in data)
