"""Write public tables into files, in a process that has seen nothing else: `python -m kpi.reader.public_writer`.

A database file may hold what happened to be in the memory of the process that wrote it (DuckDB 2.0.0 did so). This one
reads its order on stdin, as JSON: the build's `database`, the empty `folder` to write into, and `tables`, each with
`schema`, `name`, `comment` and `rows`, the SQL after `from` that says which. It writes to stdout, as JSON, how many
each has.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from kpi.errors import DiskFull, is_disk_full
from kpi.site.dataset import write_csv, write_finnish_csv
from kpi.sql import identifier, literal

PUBLIC_DATABASE = "kpi-public.duckdb"
STORAGE = "v1.0.0"  # every DuckDB since 2024 reads it; what 2.0 writes for itself, only 2.0 does
# Compressed for that version, the same rows are other bytes each time, and what is in the unused part of a block is not
# said anywhere. Public tables are small.
PLAINLY = "set force_compression = 'uncompressed'"


def main() -> None:
    """Do the order on stdin. The exit code says of a disk that is full, which the caller cannot see."""
    order = json.loads(sys.stdin.read())
    try:
        rows = write_files(Path(order["database"]), Path(order["folder"]), order["tables"])
    except Exception as error:
        if not is_disk_full(error):
            raise
        sys.exit(DiskFull.exit_code)
    sys.stdout.write(json.dumps(rows) + "\n")


def write_files(source: Path, folder: Path, tables: list[dict[str, str]]) -> list[int]:
    """Write a database for DuckDB 1.0 with these tables, and each as CSV in two forms. Returns the rows of each."""
    from kpi.database import fetch_one, refuse_leaking, scratch

    refuse_leaking()
    row_counts = []
    with scratch({"threads": "1"}) as con:
        con.execute(PLAINLY)
        con.execute(f"attach {literal(str(source))} as build (read_only)")
        con.execute(f"attach {literal(str(folder / PUBLIC_DATABASE))} as public (storage_version {literal(STORAGE)})")
        for table in tables:
            schema, name = identifier(table["schema"]), identifier(table["name"])
            con.execute(f"create schema if not exists public.{schema}")
            con.execute(
                f"create table public.{schema}.{name} as from build.{schema}.{name} {table['rows']} order by all"
            )
            con.execute(f"comment on table public.{schema}.{name} is {literal(table['comment'])}")
            row_counts.append(int(str(fetch_one(con, f"select count(*) from public.{schema}.{name}")[0])))
            rows = f"select * from public.{schema}.{name} order by all"
            write_csv(con, rows, folder / f"{table['name']}.csv")
            write_finnish_csv(con, rows, folder / f"{table['name']}.fi.csv")
        con.execute("detach public")
    return row_counts


if __name__ == "__main__":
    main()
