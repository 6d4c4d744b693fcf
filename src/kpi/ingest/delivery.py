"""One delivered file, read: its records, still as text, and what the ledger says of it before its rows are counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi.errors import BuildError
from kpi.ingest import cells, csv_reader, masking
from kpi.ingest.contract import SEPARATORS, DeliveryMapping, Feed
from kpi.ingest.csv_reader import Cut, Form, Layout, cut_records, form_of
from kpi.ingest.raw_files import content_hash

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_BATCH = 122_880  # rows of one piece of work, as large as a row group of DuckDB


@dataclass(frozen=True, slots=True)
class Delivery:
    """A file that was read. `line` is what the ledger says of it, `size` is in bytes.

    `records` and `illegible` are Arrow tables: of all records, those that cannot be decoded without their number, and
    of these alone.
    """

    mapping: DeliveryMapping | None
    form: Form | None
    records: Any
    illegible: Any
    size: int
    line: dict[str, object]


def read_delivery(feed: Feed, path: Path, careful: bool = False) -> Delivery:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BuildError(f"raw.{feed.name}", f"{path.name} cannot be read: {error.strerror}.") from None
    mapping = next((m for m in feed.mappings if any(fnmatchcase(path.name, pattern) for pattern in m.files)), None)
    names = {name: name for name in mapping.reads} if mapping else cells.header_names(feed)
    dialect = mapping.dialect if mapping else feed.dialect
    line: dict[str, object] = {
        "feed": feed.name,
        "file": path.name,
        "path": f"{feed.name}/{path.name}",
        "content_hash": (hashed := content_hash(data)),
        "unpacked_hash": hashed,
        "bytes": len(data),
        "mapping": mapping.name if mapping else None,
    }
    try:
        content = csv_reader.decompress(data, path.name)
        line |= {"unpacked_hash": hashed if content is data else content_hash(content)}
        layout = csv_reader.read_layout(content, names, dialect)
    except csv_reader.Refusal as refusal:
        refused_for = masking.quoted(str(refusal), 1000)
        return Delivery(mapping, None, None, None, 0, line | {"refused": refused_for, "records": 0})
    cut = cut_records(layout, careful)
    refused = _refusal(feed, mapping, layout, names)
    line |= {
        "encoding": layout.encoding,
        "separator": SEPARATORS[layout.separator],
        "unknown_columns": [masking.quoted(name) for name in csv_reader.unknown_columns(layout.header, names)],
        "missing_columns": [name for name in dict.fromkeys(names.values()) if name not in layout.positions],
        "warnings": [] if refused else csv_reader.warnings_of(layout, cut, _quotable(feed, mapping)),
        "refused": masking.quoted(refused, 1000) or None,
        "records": int((~cut.blank).sum()),
    }
    pieces = csv_reader.pieces_at(layout, cut, () if refused else layout.illegible)
    records, illegible = _records(layout, cut, path.name, pieces)
    return Delivery(mapping, form_of(layout, cut, careful), records, illegible, len(layout.body), line)


def _quotable(feed: Feed, mapping: DeliveryMapping | None) -> list[str]:
    """The columns whose words may be told: nobody writes freely in them, and they name no person."""
    texts = [] if mapping else [column for column in feed.columns if column.kind == "text"]
    return [column.name for column in texts if not column.free_text and not column.pseudonym]


def _refusal(feed: Feed, mapping: DeliveryMapping | None, layout: Layout, names: Mapping[str, str]) -> str:
    required = mapping.reads if mapping else tuple(column.name for column in feed.columns if column.required)
    missing = [name for name in required if name not in layout.positions]
    if layout.twice:
        return f"the header names a column twice: {', '.join(layout.twice)}"
    if missing:
        return csv_reader.missing_columns(layout, names, missing)
    secret = [column.name for column in feed.columns if column.pseudonym]
    if secret and masking.has_identity_code(layout.body[layout.start :]):
        return f"{' or '.join(secret)} looks like a personal identity code, which must not be delivered"
    return ""


def _records(layout: Layout, cut: Cut, file: str, illegible: NDArray[np.int64]) -> tuple[Any, Any]:
    """Make an Arrow table of `_file`, `_record` (null for a blank line) and `_line` without copying any text.

    The pieces that are `illegible` have no `_record` in it; the second table has those alone, None when there are none.
    """
    import numpy as np
    import pyarrow as pa

    def column(kind: Any, values: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> Any:
        # Not by pyarrow.array, which imports pandas to see whether it was given something of it.
        mask = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
        return pa.Array.from_buffers(kind, len(values), [mask, pa.py_buffer(values)])

    offsets, count = np.concatenate(([layout.start], cut.ends)), len(cut.ends)
    name = file.encode()
    names = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, len(name)], np.int32)), pa.py_buffer(name)]
    )
    files = pa.DictionaryArray.from_arrays(column(pa.int8(), np.zeros(count, np.int8)), names)
    lines = pa.LargeStringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(layout.body))
    numbers, is_record = np.cumsum(~cut.blank), ~cut.blank
    is_record[illegible] = False
    numbered = column(pa.int64(), numbers, None if is_record.all() else is_record)
    table = pa.Table.from_arrays([files, numbered, lines], ["_file", "_record", "_line"])
    table = pa.Table.from_batches(table.to_batches(max_chunksize=_BATCH), table.schema)
    if not illegible.size:
        return table, None
    places = column(pa.int64(), illegible)
    taken = [files.take(places), column(pa.int64(), numbers[illegible]), lines.take(places)]
    return table, pa.Table.from_arrays(taken, ["_file", "_record", "_line"])
