"""A feed of one column of each kind, and cells delivered to it one a row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from kpi.ingest.contract import Feed, read_feed
from kpi.ingest.loader import LoadReport
from kpi.project.project import load_project
from loading import Loader

TYPES = {
    "visit_id": "varchar",
    "unit": "varchar",
    "line": "varchar",
    "visited_on": "date",
    "arrived_at": "timestamp",
    "left_at": "timestamp",
    "persons": "bigint",
    "amount": "decimal(24,6)",
    "comment": "varchar",
}
COLUMNS: Mapping[str, dict[str, Any]] = {
    "visit_id": {"required": True},
    "line": {"codes": ["health_station", "oral_health", "sms", "A", "hätä"]},
    "comment": {"free_text": "mask"},
}


def feed_of(folder: Path, settings: Mapping[str, Any] | None = None, **columns: Mapping[str, Any]) -> Feed:
    """The feed `visits`, with settings of its own and of its columns besides."""
    described = [
        {"name": name, "data_type": kind, "config": {"meta": {**COLUMNS.get(name, {}), **columns.get(name, {})}}}
        for name, kind in TYPES.items()
    ]
    meta = {"feed": {"key": ["visit_id"], **(settings or {})}}
    tables = [{"name": "visits", "config": {"meta": meta}, "columns": described}]
    (folder / "models").mkdir(parents=True, exist_ok=True)
    (folder / "dbt_project.yml").write_text("name: small\n")
    text = yaml.safe_dump({"sources": [{"name": "raw", "tables": tables}]}, allow_unicode=True)
    (folder / "models/visits.yml").write_text(text, encoding="utf-8")
    return read_feed(load_project(folder).sources[0])


def load_both_ways(loader: Loader) -> LoadReport:
    """Load in both ways, assert that they agree, and return what the usual one reports."""
    careful = Loader(loader.raw, loader.feeds)
    careful.load(careful=True)
    report = loader.load()
    assert careful.content() == loader.content()
    counts = loader.ledger("records - rows_loaded - rows_rejected")
    assert counts == [(0,)] * len(counts)
    return report


def reasons_of(loader: Loader) -> list[tuple[int, list[str]]]:
    return [(record, reasons) for _, record, reasons in loader.rejects()]


def quoted(*cells: str) -> str:
    return ";".join('"' + cell.replace('"', '""') + '"' for cell in cells) + "\n"


def column_of(loader: Loader, name: str, *cells: str, file: str = "a.csv") -> LoadReport:
    """Deliver cells of one column, each in a row of its own, quoted, and load them."""
    lines = [quoted(f"v{number}", cell) for number, cell in enumerate(cells, start=1)]
    loader.deliver(file, f"visit_id;{name}\n" + "".join(lines))
    return load_both_ways(loader)
