"""The loader alone: one process that loads deliveries into a database file, as a refresh does before it builds."""

from __future__ import annotations

import pickle
import sys
from datetime import date
from pathlib import Path

from kpi import database
from kpi.ingest.loader import load
from kpi.ingest.raw_files import scan


def main() -> None:
    """Run `load_once.py DATABASE RAW FEEDS.pickle DAY [SETTING=VALUE …]`; the settings are DuckDB's."""
    file, raw, feeds, day, *settings = sys.argv[1:]
    path = Path(file)
    given = dict(setting.split("=", 1) for setting in settings)
    with database.building(path, path.with_name("spill"), given) as con:
        load(con, pickle.loads(Path(feeds).read_bytes()), Path(raw), scan(Path(raw)), date.fromisoformat(day))
        con.execute("checkpoint")


if __name__ == "__main__":
    main()
