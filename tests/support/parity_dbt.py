"""dbt itself with dbt-spark builds the project's models; compared with kpi's tables, column by column, no tolerance.

    make parity-dbt                          # python -m parity_dbt [--scale 0.01] [--keep FOLDER]

Neither kpi's translation of SQL nor its engine takes part in Spark's side: dbt renders the models for the target
`spark` of profiles.yml, and Spark runs them. Both sides share the raw tables, which the loader made and the lake holds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import duckdb

from demo.deliver import write_demo
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from kpi.sql import literal
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.lake import lake_of, write

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("KPI_DBT_SPARK") or ROOT / ".venv-dbt-spark/bin/python")
TODAY = date(2026, 11, 21)
# In which build a value began: dbt knows of none.
OF_A_BUILD = {"marts.vintages": ("valid_from", "valid_to")}


def main() -> int:
    """Build with both and compare. Returns 0 when all tables are equal."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--scale", type=float, default=0.01, help="share of the demo's rows")
    arguments.add_argument("--keep", type=Path, help="a folder for both sides, which is not removed")
    given = arguments.parse_args()
    if not PYTHON.is_file():
        sys.stderr.write(f"{PYTHON} is not there. Set it up: make dbt-spark\n")
        return 2
    folder = given.keep or Path(tempfile.mkdtemp(prefix="kpi-parity-dbt-"))
    try:
        return compare(*build(folder, given.scale))
    finally:
        if not given.keep:
            _remove(folder)


def build(folder: Path, scale: float) -> tuple[Path, Path]:
    """Build the demo with kpi on DuckDB and with dbt on Spark. Returns kpi's database and the folder of Spark's."""
    root, out = folder / "project", folder / "spark"
    for name in ("models", "seeds", "macros", "expectations", "tests/sql", "report"):
        shutil.copytree(ROOT / name, root / name)
    for name in ("dbt_project.yml", "profiles.yml"):
        shutil.copy(ROOT / name, root)
    out.mkdir()
    write_demo(root / "warehouse/raw", scale=scale)
    outcome = refresh(root, Options(as_of=TODAY, validate=False), lambda line: None)
    warehouse = Warehouse(root / "warehouse")
    database = warehouse.builds / outcome.build / "kpi.duckdb"
    with duckdb.connect() as con:
        con.execute(f"attach {literal(str(database))} as kpi (read_only)")
        con.execute("use kpi")
        names = con.execute("select table_name from duckdb_tables() where schema_name = 'raw'").fetchall()
        lake = lake_of(warehouse, warehouse.record(database.parent).warehouse_settings)
        manifest = write(lake, con, outcome.build, [f"raw.{name}" for (name,) in names])
    for table in manifest.tables:
        (out / "raw").mkdir(exist_ok=True)
        (out / "raw" / table.relation.removeprefix("raw.")).symlink_to(lake.uri(table))
    side = ROOT / "tests/support/dbt_spark_side.py"
    done = subprocess.run([PYTHON, side, root, out / "raw", out], check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout[-4000:] + done.stderr[-4000:])
    return database, out


def compare(database: Path, out: Path) -> int:
    """Print what differs, and how much was compared."""
    answers = json.loads((out / "answers.json").read_text(encoding="utf-8"))
    wrong = [f"dbt {command}: {answer['exception']}" for command, answer in answers.items() if answer["exception"]]
    results = {node: result for answer in answers.values() for node, result in answer["results"].items()}
    wrong += [
        f"{node}: {status}: {' '.join(str(said).split())[:400]}"
        for node, (status, said) in results.items()
        if status != "success"
    ]
    tables = sorted((out / "tables").glob("*.*"))
    with duckdb.connect() as con:
        con.execute("set TimeZone = 'UTC'")
        con.execute(f"attach {literal(str(database))} as kpi (read_only)")
        for table in tables:
            wrong += [f"{table.name}: {what}" for what in _differences(con, table)]
        kept = "select count(*) from information_schema.tables where table_catalog = 'kpi' and table_schema <> 'raw'"
        ours = con.execute(kept).fetchall()[0][0]
    for line in wrong:
        sys.stdout.write(f"{line}\n")
    equal = len(tables) - len({line.partition(":")[0] for line in wrong} & {table.name for table in tables})
    built = sum(status == "success" for status, _ in results.values())
    sys.stdout.write(f"dbt-spark built {built} of {len(results)} nodes; {equal} of {len(tables)} tables are equal")
    sys.stdout.write(f" (of kpi's {ours}).\n")
    return 1 if wrong else 0


def _differences(con: duckdb.DuckDBPyConnection, table: Path) -> list[str]:
    theirs = f"read_parquet({literal(f'{table}/*.parquet')})"
    left_out = OF_A_BUILD.get(table.name, ())
    columns = [row[:2] for row in con.execute(f"describe kpi.{table.name}").fetchall() if row[0] not in left_out]
    names = {row[0] for row in con.execute(f"describe from {theirs}").fetchall()}
    if names != {name for name, _ in columns} | set(left_out):
        return [f"columns {sorted(names ^ {name for name, _ in columns})}"]
    # A sum of whole numbers is a HUGEINT to DuckDB and a BIGINT to Spark: compared as what kpi has.
    ours_of = ", ".join(f'"{name}"' for name, _ in columns)
    theirs_of = ", ".join(f'cast("{name}" as {kind}) as "{name}"' for name, kind in columns)
    found = []
    for what, one, other in (
        ("rows that Spark lacks", f"select {ours_of} from kpi.{table.name}", f"select {theirs_of} from {theirs}"),
        ("rows that Spark has besides", f"select {theirs_of} from {theirs}", f"select {ours_of} from kpi.{table.name}"),
    ):
        rows = con.execute(f"({one}) except all ({other})").fetchall()
        if rows:
            found.append(f"{len(rows)} {what}, the first {rows[0]}")
    return found


def _remove(folder: Path) -> None:
    for place, _, _ in os.walk(folder):
        os.chmod(place, 0o755)
    shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
