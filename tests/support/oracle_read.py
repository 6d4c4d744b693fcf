"""An independent reading of deliveries, to test the loader against.

It follows the reference text of the feeds and nothing else, in plain Python and as literally as it can: one pass over
the characters of a file, one cell at a time. It shares no code, no contract and no idea with the package it judges.
"""

from __future__ import annotations

import gzip
import os
import re
import unicodedata
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

from oracle_cells import DUPLICATE_KEY, NOT_DECODED, WRONG_FIELD_COUNT, WRONG_ORDER, parse
from oracle_contracts import CONTRACTS, Contract, Record, Value
from oracle_text import (
    ILLEGIBLE,
    SEPARATORS,
    SKIPPED,
    TWICE,
    decode,
    instant,
    is_skipped,
    is_utf16_without_mark,
    occurrences,
    split,
)

# --- From records to rows


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that was not loaded: its number, from 1 after the header, and every (column, reason) of it."""

    record: int
    reasons: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one file. Loaded counts the superseded rows too; a refused file has no rejects one by one."""

    name: str
    encoding: str | None = None
    separator: str | None = None
    header: tuple[str, ...] = ()
    records: int = 0
    loaded: int = 0
    rejected: int = 0
    superseded: int = 0
    refused: str | None = None  # or unreadable, no_header, named_twice, missing_column, records_in_header
    rejects: tuple[Reject, ...] = ()
    unknown_columns: tuple[str, ...] = ()
    missing_columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FeedResult:
    """What became of a feed: its files in order of delivery, its rows in force and those that were superseded.

    A row has the contract's columns, `<column>_utc` for each timestamp, `_file`, `_record`, and `_clock`: each
    `column:twice` and `column:skipped` in order of columns, with commas between.
    """

    feed: str
    files: tuple[FileResult, ...]
    rows: tuple[Record, ...]
    superseded: tuple[Record, ...] = ()

    def file(self, name: str) -> FileResult:
        """The result of the file of that name."""
        return next(each for each in self.files if each.name == name)


def read_row(contract: Contract, cells: Mapping[str, str]) -> tuple[Record, frozenset[tuple[str, str]]]:
    """One record's typed values, and why it cannot be loaded (empty when it can); a column not given is missing."""
    row: Record = {}
    reasons: set[tuple[str, str]] = set()
    for column in contract.columns:
        cell = parse(column, cells.get(column.name, ""))
        row[column.name] = cell.value
        if cell.reason:
            reasons.add((column.name, cell.reason))

    times = [column.name for column in contract.columns if column.type == "timestamp"]
    clock: list[str] = []
    for name in times:
        preceding = _nearest_earlier(contract, row, name)
        before = row[f"{preceding}_utc"] if preceding else None
        wall = row[name]
        row[f"{name}_utc"] = None
        if isinstance(wall, datetime):
            row[f"{name}_utc"] = instant(wall, before if isinstance(before, datetime) else None)
            if len(occurrences(wall)) == 2:
                clock.append(f"{name}:{TWICE}")
            if is_skipped(wall):
                clock.append(f"{name}:{SKIPPED}")
    row["_clock"] = ",".join(clock)

    for name in contract.order:
        preceding = _nearest_earlier(contract, row, name)
        if preceding and row[name] is not None:
            suffix = "_utc" if name in times else ""
            earlier, later = row[preceding + suffix], row[name + suffix]
            if isinstance(earlier, date) and isinstance(later, date) and later < earlier:
                reasons.add((name, WRONG_ORDER))
    return row, frozenset(reasons)


def _nearest_earlier(contract: Contract, row: Record, name: str) -> str | None:
    """The column of the row's time that precedes the one named, those that are missing left out."""
    if name not in contract.order:
        return None
    earlier = [each for each in contract.order[: contract.order.index(name)] if row[each] is not None]
    return earlier[-1] if earlier else None


def read_bytes(contract: Contract, name: str, data: bytes) -> tuple[FileResult, list[Record]]:
    """One file by itself: what became of it and the rows it loads, before other files supersede any."""
    if name.endswith(".gz"):
        try:
            data = gzip.decompress(data) if data else _no_gzip()
        except (OSError, EOFError, zlib.error):
            return FileResult(name, refused="unreadable"), []
    if is_utf16_without_mark(data):
        return FileResult(name, refused="unreadable"), []
    text, encoding = decode(data)
    known = {column.name: column.name for column in contract.columns} | dict(contract.aliases)
    separator, header = find_header(text, known)
    if not header:
        return FileResult(name, encoding, refused="no_header"), []

    columns = [known.get(each) for each in header]
    named = [each for each in columns if each is not None]
    absent = tuple(column.name for column in contract.columns if column.name not in named)
    unknown = tuple(each for each in header if each not in known)
    records = [*split(text, separator)][1:]
    count = len(records)
    refused = None
    if len(named) > len(set(named)):
        refused = "named_twice"
    elif any(contract.column(each).required for each in absent):
        refused = "missing_column"
    elif _holds_records(header, separator, text, known, bool(records)):
        refused = "records_in_header"
    if refused:
        return FileResult(name, encoding, separator, header, count, 0, count, 0, refused, (), unknown, absent), []

    rows, rejects = _read_records(contract, columns, records)
    rows = [row | {"_file": name} for row in rows]
    return FileResult(
        name, encoding, separator, header, count, len(rows), len(rejects), 0, None, tuple(rejects), unknown, absent
    ), rows


def _holds_records(
    header: Sequence[str], separator: str, text: str, known: Mapping[str, str], has_records: bool
) -> bool:
    """Whether the header swallowed records: behind a quote, or because no line end of the file is one."""
    if any("\n" in name or "\r" in name for name in header):
        (line,) = re.split("[\r\n]", text.strip("\ufeff \t\r\n"), maxsplit=1)[:1]
        alone = [name.replace('"', "").strip(" \t") for name in line.split(separator)]
        most = max(name.count(separator) for name in header if "\n" in name or "\r" in name)
        if len([name for name in alone if name in known]) > len([name for name in header if name in known]):
            return True
        if most >= len(alone) - 1 > 0:
            return True
    whole = separator.join(header)
    is_odd = any(sign in whole for sign in "\x85\u2028\u2029\x0b\x0c\x1c\x1d\x1e\0")
    days = r"(?<!\d)(\d{4}-\d\d-\d\d|\d{1,2}\.\d{1,2}\.\d{4})(?!\d)"
    return not has_records and (is_odd or any(re.search(days, each) for each in header if each not in known))


def find_header(text: str, known: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """The separator that yields the most known names in the header, and the header; empty when there is none."""
    separator, header, most = SEPARATORS[0], tuple[str, ...](), -1
    for candidate in SEPARATORS:
        names = tuple(next(split(text, candidate), ()))
        count = sum(1 for name in names if name in known)
        if count > most:
            separator, header, most = candidate, names, count
    return separator, header


def _read_records(
    contract: Contract, columns: Sequence[str | None], records: Sequence[Sequence[str]]
) -> tuple[list[Record], list[Reject]]:
    rows: list[Record] = []
    rejects: list[Reject] = []
    taken: set[tuple[Value, ...]] = set()
    for number, cells in enumerate(records, start=1):
        if any(ILLEGIBLE in cell for cell in cells):
            rejects.append(Reject(number, frozenset({("", NOT_DECODED)})))
            continue
        if len(cells) != len(columns):
            rejects.append(Reject(number, frozenset({("", WRONG_FIELD_COUNT)})))
            continue
        named = {column: cell for column, cell in zip(columns, cells, strict=True) if column}
        row, reasons = read_row(contract, named)
        key = tuple(row[each] for each in contract.key)
        if not reasons and key in taken:
            reasons = frozenset({("", DUPLICATE_KEY)})
        if reasons:
            rejects.append(Reject(number, reasons))
            continue
        taken.add(key)
        rows.append(row | {"_record": number})
    return rows, rejects


def _no_gzip() -> bytes:
    raise EOFError("an empty file is no gzip file")


def read_feed(feed: str, folder: Path, contract: Contract) -> FeedResult:
    """Every delivery of a feed that lies directly in a folder; a folder that is not there holds none."""
    paths = [
        path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.is_file() and path.name.endswith((".csv", ".csv.gz"))
    ]
    files: list[FileResult] = []
    loaded: list[list[Record]] = []
    order = delivery_order([path.name for path in paths])
    for path in sorted(paths, key=lambda path: order.index(path.name)):
        result, rows = read_bytes(contract, path.name, path.read_bytes())
        files.append(result)
        loaded.append(rows)

    # Which file holds each key, or each census, in force: the last to name it.
    holder: dict[tuple[Value, ...], int] = {}
    claims = (contract.census,) if contract.census else contract.key
    for index, rows in enumerate(loaded):
        for row in rows:
            holder[tuple(row[name] for name in claims)] = index
    in_force: list[Record] = []
    superseded: list[Record] = []
    for index, rows in enumerate(loaded):
        lost = [row for row in rows if holder[tuple(row[name] for name in claims)] != index]
        in_force += [row for row in rows if holder[tuple(row[name] for name in claims)] == index]
        superseded += lost
        files[index] = replace(files[index], superseded=len(lost))
    return FeedResult(feed, tuple(files), tuple(in_force), tuple(superseded))


# Words that say of a file that it is a later form of another, or an earlier one.
_LATER = re.findall(
    r"\S+",
    """
    corr corrected correction corrections fix fixed fixes update updated revised revision resend resent new newer newest
    latest final copy korj korjattu korjatut korjaus korjaukset korjauksia korjattuna täydennetty täydennys päivitetty
    päivitys uusi uudempi uusin uudelleen uudestaan uusittu lopullinen kopio rättad rättelse korrigerad uppdaterad
    kompletterad ny nyare slutlig kopia
    """,
)
_EARLIER = re.findall(
    r"\S+",
    """
    old older original previous preliminary draft backup bak wrong vanha vanhat vanhempi vanhentunut alkuperäinen
    edellinen alustava luonnos varmuuskopio väärä virheellinen gammal gamla ursprunglig preliminär utkast
    """,
)


def delivery_order(names: Sequence[str]) -> list[str]:
    """Names of files from the oldest to the newest: in the order of their bytes without the ending, short numbers as
    numbers unless the name begins with them; but corrections, copies and versions of a file of the folder right after
    it, and old ones right before."""
    about = {name: _about(name) for name in names}

    def padded(name: str) -> bytes:
        stem = re.sub(r"\.csv(\.gz)?$", "", name, flags=re.IGNORECASE)
        first, *pieces = re.split("([0-9]+)", stem)
        short = ["" if first else pieces.pop(0)] if pieces else []
        return os.fsencode(first + "".join(short + [one.zfill(3) if one.isdigit() else one for one in pieces]))

    def place(name: str) -> tuple[object, ...]:
        base, sign, _ = about[name]
        family = [other for other in names if base and about[other][0] == base]
        if not any(about[other][1] for other in family):
            return padded(name), 0, [], padded(name), os.fsencode(name)
        plain = [other for other in family if not about[other][1]]
        return min(map(padded, plain or family)), sign, about[name][2], padded(name), os.fsencode(name)

    return sorted(names, key=place)


def _about(name: str) -> tuple[list[str], int, list[tuple[str, int]]]:
    """What a file is of, whether it is a later (1) or an earlier (-1) form of that, and which."""
    stem = unicodedata.normalize("NFC", re.sub(r"\.csv(\.gz)?$", "", name, flags=re.IGNORECASE)).lower()
    stem = re.sub(r"\bcopy \(([0-9]{1,3})\) of\b", r"copy\1", stem)
    stem = re.sub(r"\bcopy of\b", "copy", stem)
    stem = re.sub(r"\b(?:kopio tiedostosta|kopia av)\b", "copy", stem)
    stem = re.sub(r"(?<![^\W\d_])(?:version|versio|ver|rev|v)[\W_]?([0-9]{1,3})(?![^\W_])", r" v\1 ", stem)
    base, sign, which = [], 0, []
    for piece in re.findall(r"\([0-9]{1,3}\)|[^\W\d_]+[0-9]*|[0-9]+", stem):
        word, digits = re.sub("[^\\w]|[0-9]", "", piece), re.sub("[^0-9]", "", piece)
        is_mark = word in _LATER or word in _EARLIER or (word == "v" and digits != "") or piece[0] == "("
        if is_mark and len(digits) <= 3:
            sign = -1 if sign < 0 or word in _EARLIER else 1
            which.append((word, int(digits or "1")))
        else:
            base += [word] if word else []
            base += [str(int(digits))] if digits else []
    return base, sign if base else 0, which if base else []


def read_feeds(folder: Path, aliases: Mapping[str, Mapping[str, str]] | None = None) -> dict[str, FeedResult]:
    """Every feed under a raw folder, one subfolder each; `aliases` is by feed, alias to column name."""
    return {
        feed: read_feed(feed, folder / feed, contract.with_aliases((aliases or {}).get(feed, {})))
        for feed, contract in CONTRACTS.items()
    }
