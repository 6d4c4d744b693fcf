"""Bare DuckDB: one process that runs a list of statements on a database file. What kpi is measured against."""

from __future__ import annotations

import json
import sys

import duckdb


def main() -> None:
    """Run `bare.py DATABASE STATEMENTS.json`."""
    database, statements = sys.argv[1:]
    con = duckdb.connect(database)
    with open(statements, encoding="utf-8") as stream:
        for sql in json.load(stream):
            con.execute(sql).fetchall()
    con.execute("checkpoint")
    con.close()


if __name__ == "__main__":
    main()
