"""The same work as a refresh in plain statements: each file by a typed read_csv, then the compiled models and tests.

The reading is as kind to bare DuckDB as can be: it is told each file's separator, header order and date form, gets
files in encodings it does not know as UTF-8 copies, drops what it cannot read (ignore_errors), and works out neither
keys, corrections, instants nor reasons.
"""

from __future__ import annotations

from pathlib import Path

from kpi.engine.graph import Graph
from kpi.engine.materializations import statements
from kpi.engine.test_runner import test_statements
from kpi.ingest.cells import header_names
from kpi.ingest.contract import SQL_TYPES, Feed
from kpi.ingest.csv_reader import decompress, read_layout, split_record
from kpi.ingest.ledger import OWN
from kpi.ingest.raw_files import RawFile, RawFolder
from kpi.sql import identifier, literal

_FORMS = ("%d.%m.%Y klo %H.%M.%S", "%d.%m.%Y klo %H.%M", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M")


def records(file: Path) -> int:
    """Count the lines of a delivery without its header: near enough to tell one volume from another."""
    return max(decompress(file.read_bytes(), file.name).count(b"\n") - 1, 0)


def raw_tables(graph: Graph) -> list[str]:
    """Create the raw schema, one empty table a feed, and those that the loader fills beside them."""
    tables = {feed.name: feed.table_columns for feed in graph.feeds} | dict(OWN)
    statements = ["create schema if not exists raw"]
    for name, columns in tables.items():
        typed = ", ".join(f"{identifier(column)} {kind}" for column, kind in columns)
        statements.append(f"create or replace table raw.{identifier(name)} ({typed})")
    return statements


def loads(graph: Graph, raw: Path, folder: RawFolder, copies: Path) -> list[str]:
    """One insert a file; `copies` is a folder for what must be in UTF-8."""
    feeds = {feed.name: feed for feed in graph.feeds}
    return [load_statement(feeds[file.feed], raw, file, copies) for file in folder.files]


def load_statement(feed: Feed, raw: Path, file: RawFile, copies: Path) -> str:
    """The insert of one file by a typed read_csv."""
    path = raw / file.feed / file.name
    layout = read_layout(decompress(path.read_bytes(), file.name), header_names(feed))
    kinds = {layout.positions[c.name]: (c.name, SQL_TYPES[c.kind]) for c in feed.columns if c.name in layout.positions}
    columns = [kinds.get(place, (f"unknown_{place}", "VARCHAR")) for place in range(len(layout.header))]
    listed = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in columns)
    options = [
        f"delim = {literal(layout.separator)}",
        "header = true",
        "auto_detect = false",
        f"columns = {{{listed}}}",
    ]
    options += [
        "quote = '\"'",
        "escape = '\"'",
        "ignore_errors = true",
        "strict_mode = false",
        "nullstr = ['', 'NULL', '-']",
    ]
    if layout.encoding in ("windows-1252", "iso-8859-15"):
        path = copies / f"{file.feed}-{file.name.removesuffix('.gz')}"
        path.write_bytes(layout.body)
    options += _forms(layout.body[layout.start : layout.start + 4000].decode("utf-8", "replace"), layout.separator)
    names = {name for name, _ in columns}
    values = [identifier(c.name) if c.name in names else "null" for c in feed.columns]
    values += [identifier(name) if name in names else "null" for name in feed.instants]
    values += [literal(file.name), "null", "null", "false"]
    return (
        f"insert into raw.{identifier(feed.name)} select {', '.join(values)}"
        f" from read_csv({literal(str(path))}, {', '.join(options)})"
    )


def models(graph: Graph, among: frozenset[str] | None = None) -> list[str]:
    """The statements that build seeds and models, and the test counts that go with them."""
    nodes = [node for node in graph.built() if among is None or node.id in among]
    schemas = sorted({node.relation.schema for node in nodes})
    tests = [test for test in graph.tests() if among is None or set(test.depends_on) & among]
    return (
        [f"create schema if not exists {identifier(schema)}" for schema in schemas]
        + [sql for node in nodes for sql in statements(graph.project, node)]
        + test_statements(tests)
    )


def _forms(sample: str, separator: str) -> list[str]:
    """The options that read the date form of a file's first records, when it is a Finnish one."""
    cells = [cell for line in sample.splitlines()[:20] for cell in split_record(line, separator)]
    finnish = [cell for cell in cells if cell[:2].strip(".").isdigit() and cell.count(".") >= 2 and cell[0] != "2"]
    if not finnish:
        return []
    longest = max(finnish, key=len)
    if " " not in longest:
        return ["dateformat = '%d.%m.%Y'"]
    marks = 0 if "klo" in longest else 2
    has_seconds = longest.partition(" ")[2].count("." if marks == 0 else ":") == 2
    return [f"timestampformat = {literal(_FORMS[marks + (0 if has_seconds else 1)])}"]
