"""One delivered file as bytes: its encoding, separator, header and records. Knows nothing of types or the database.

The grammar of a record: cells between separators, records between line ends (LF, CRLF or CR). A cell is quoted only
when one quoted text, inner quotes doubled, is all there is of it but blanks; any other quote is a letter.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
LARGEST_FILE = 4 << 30  # bytes after decompression; more than any year of any feed, less than a gz bomb


@dataclass(frozen=True, slots=True)
class Refusal(Exception):
    """Why a file cannot be read at all."""

    reason: str


@dataclass(frozen=True, slots=True)
class Layout:
    """How a readable file is written. `positions` gives the place of each known column in the header.

    `body` is the whole file in UTF-8 without a byte order mark; its header is `body[head:start]`.
    """

    encoding: str
    separator: str
    header: tuple[str, ...]
    positions: Mapping[str, int]
    twice: tuple[str, ...]
    body: bytes
    head: int
    start: int

    @property
    def unknown(self) -> tuple[str, ...]:
        """Headers that mean no column of the contract."""
        known = set(self.positions.values())
        return tuple(name for place, name in enumerate(self.header) if place not in known and name not in self.twice)


def decompress(data: bytes, name: str) -> bytes:
    """Return the file's content; `.gz` is unpacked whole. Raises Refusal for a gz that cannot be read to its end."""
    if not name.endswith(".gz"):
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            content = stream.read(LARGEST_FILE + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise Refusal(f"the gz file cannot be read: {error}") from None
    if len(content) > LARGEST_FILE:
        raise Refusal(f"the gz file holds more than {LARGEST_FILE} bytes")
    return content


def read_layout(content: bytes, names: Mapping[str, str]) -> Layout:
    """Find encoding, separator and header. `names` maps every accepted header to its column.

    Raises Refusal when the file has no header line.
    """
    encoding, body = _as_utf8(content)
    blank = re.compile(rb"(?:[ \t]*(?:\r\n|\r|\n))*+[ \t]*+").match(body)
    begin = blank.end() if blank else 0
    begin = max(body.rfind(b"\n", 0, begin), body.rfind(b"\r", 0, begin)) + 1
    if not body[begin:].strip(b" \t"):
        raise Refusal("the file has no header line")
    best: tuple[int, str, tuple[str, ...], int] | None = None
    for separator in SEPARATORS:
        line = _record(separator).match(body, begin)
        if line is None:
            continue
        header = tuple(split_record(line.group().decode("utf-8"), separator))
        hits = sum(name in names for name in header)
        if best is None or hits > best[0]:
            best = hits, separator, header, line.end()
    if best is None:
        raise Refusal("the file has no header line")
    _, separator, header, start = best
    positions: dict[str, int] = {}
    twice = []
    for place, name in enumerate(header):
        column = names.get(name)
        if column in positions:
            twice.append(name)
        elif column is not None:
            positions[column] = place
    return Layout(encoding, separator, header, positions, tuple(twice), body, begin, start)


def plain_records(layout: Layout) -> int | None:
    """Count the records of a file so plain that any CSV reader takes it the same way; None for every other file.

    Plain: no NUL, only LF or CRLF, and no quotes, or quotes only around whole cells of one line without inner quotes.
    """
    body, start = layout.body, layout.start
    if b"\0" in body or (b"\r" in body and body.count(b"\r") != body.count(b"\r\n")):
        return None
    if b'"' in body and not _plain_quotes(layout.separator).fullmatch(body, start):
        return None
    lines = body.count(b"\n", start)
    return lines if body.endswith(b"\n") or len(body) == start else lines + 1


def split_records(layout: Layout) -> list[str]:
    """Return every record after the header in order, line ends included, blank lines left out."""
    text = layout.body[layout.start :].decode("utf-8")
    blank = " \r\n" if layout.separator == "\t" else " \t\r\n"
    if '"' in text:
        records = _text_record(layout.separator).findall(text)
    else:
        records = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [record for record in records if record.strip(blank)]


def split_record(record: str, separator: str) -> Sequence[str]:
    """Split one record into its cells, blanks and enclosing quotes removed."""
    blanks = " " if separator == "\t" else " \t"
    cells = []
    for quoted, bare in _cells(separator).findall(record.rstrip("\r\n") + separator):
        cells.append(quoted.replace('""', '"').strip(" \t") if quoted or not bare else bare[:-1].strip(blanks))
    return cells


def cell_patterns(separator: str) -> tuple[str, str]:
    """Return the regular expressions of one cell with its separator, and of a quoted cell alone (RE2 syntax)."""
    blank = "[ ]*" if separator == "\t" else "[ \t]*"
    quoted = f'{blank}"(?:[^"]|"")*"{blank}'
    return f"{quoted}{separator}|[^{separator}]*{separator}", quoted


def _as_utf8(content: bytes) -> tuple[str, bytes]:
    if content.startswith(b"\xef\xbb\xbf"):
        try:
            content[3:].decode("utf-8")
            return "utf-8-sig", content[3:]
        except UnicodeDecodeError:
            pass
    try:
        if not content.isascii():
            content.decode("utf-8")
        return "utf-8", content
    except UnicodeDecodeError:
        encoding = "windows-1252" if re.search(rb"[\x80-\x9f]", content) else "iso-8859-15"
        return encoding, content.decode(encoding, errors="replace").encode("utf-8")


def _cell(separator: str) -> str:
    blank = "[ ]*+" if separator == "\t" else "[ \t]*+"
    return rf'(?:{blank}"[^"]*+(?:""[^"]*+)*+"{blank}(?=[{separator}\r\n]|\Z)|[^{separator}\r\n]*+)'


@cache
def _record(separator: str) -> re.Pattern[bytes]:
    cell = _cell(separator)
    return re.compile(rf"{cell}(?:{separator}{cell})*+(?:\r\n|\n|\r|\Z)".encode())


@cache
def _text_record(separator: str) -> re.Pattern[str]:
    return re.compile(_record(separator).pattern.decode())


@cache
def _plain_quotes(separator: str) -> re.Pattern[bytes]:
    cell = rf'(?:"[^"\r\n]*+"|[^"{separator}\r\n]*+)'
    return re.compile(rf"(?:{cell}(?:{separator}{cell})*+(?:\r?\n|\Z))*+".encode())


@cache
def _cells(separator: str) -> re.Pattern[str]:
    blank = "[ ]*" if separator == "\t" else "[ \t]*"
    return re.compile(rf'{blank}"((?:[^"]|"")*+)"{blank}{separator}|([^{separator}]*{separator})')
