"""One delivered file as bytes: its encoding, separator and header. Knows nothing of types or the database.

The grammar of a record: cells between separators, records between line ends (LF, CRLF or CR). A cell is quoted only
when one quoted text, inner quotes doubled, is all there is of it but blanks; any other quote is a letter.
"""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
LARGEST_FILE = 4 << 30  # bytes after decompression; more than any year of any feed, less than a gz bomb
# A bomb is refused long before that, while it still fits into memory: no CSV shrinks to a fiftieth that is this large.
LARGE, LARGEST_TIMES = 256 << 20, 50
_CHUNK = 16 << 20  # bytes of a text that are decoded at a time: a whole file as str can be four times its size


class Refusal(Exception):
    """Why a file cannot be read at all."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a readable file is written. `positions` gives the place of each known column in the header.

    `body` is the whole file in UTF-8; its records begin at `start`, after the header.
    """

    encoding: str
    separator: str
    header: tuple[str, ...]
    positions: Mapping[str, int]
    twice: tuple[str, ...]
    body: bytes
    start: int

    @property
    def unknown(self) -> tuple[str, ...]:
        """Headers that mean no column of the contract."""
        known = set(self.positions.values())
        return tuple(name for place, name in enumerate(self.header) if place not in known and name not in self.twice)

    def has(self, letter: bytes) -> bool:
        """Whether a letter stands anywhere after the header."""
        return self.body.find(letter, self.start) >= 0


def decompress(data: bytes, name: str) -> bytes:
    """Return the file's content; `.gz` is unpacked whole. Raises Refusal for a gz that cannot be read to its end."""
    if not name.endswith(".gz"):
        return data
    pieces, size = [], 0
    if not data:
        raise Refusal("the gz file is empty")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            while piece := stream.read(_CHUNK):
                pieces.append(piece)
                size += len(piece)
                if size > LARGEST_FILE:
                    raise Refusal(f"the gz file holds more than {LARGEST_FILE} bytes")
                if size > max(LARGE, LARGEST_TIMES * len(data)):
                    raise Refusal(f"the gz file holds more than {LARGEST_TIMES} times its own size")
    except (OSError, EOFError, zlib.error) as error:
        raise Refusal(f"the gz file cannot be read: {error}") from None
    return b"".join(pieces)


def read_layout(content: bytes, names: Mapping[str, str]) -> Layout:
    """Find encoding, separator and header. `names` maps every accepted header to its column.

    Raises Refusal when the file has no header line.
    """
    encoding, body, begin = _as_utf8(content)
    best: tuple[int, str, tuple[str, ...], int] = (-1, "", (), 0)
    for separator in SEPARATORS:
        # What a blank line is depends on the separator: a line of tabs is a record of a tab file.
        line = record_pattern(separator).match(body, _end_of_blank_lines(body, begin, separator))
        header = tuple(split_record(line.group().decode("utf-8"), separator)) if line and line.group() else ()
        hits = sum(name in names for name in header)
        if hits > best[0]:
            best = hits, separator, header, line.end() if line else 0
    _, separator, header, start = best
    if not header:
        raise Refusal("the file has no header line")
    positions: dict[str, int] = {}
    twice = []
    for place, name in enumerate(header):
        column = names.get(name)
        if column in positions:
            twice.append(name)
        elif column is not None:
            positions[column] = place
    return Layout(encoding, separator, header, positions, tuple(twice), body, start)


def split_record(record: str, separator: str) -> Sequence[str]:
    """Split one record into its cells, blanks and enclosing quotes removed."""
    cells = []
    for quoted, bare in _cells(separator).findall(record.rstrip("\r\n") + separator):
        cells.append(bare[:-1].strip(" \t") if bare else quoted.replace('""', '"').strip(" \t"))
    return cells


def _as_utf8(content: bytes) -> tuple[str, bytes, int]:
    """Return the encoding, the content in UTF-8, and where it begins after a byte order mark."""
    if content.isascii() or _is_utf8(content):
        return "utf-8", content, 3 if content.startswith(codecs.BOM_UTF8) else 0
    encoding = "windows-1252" if re.search(rb"[\x80-\x9f]", content) else "iso-8859-15"
    pieces = (content[at : at + _CHUNK] for at in range(0, len(content), _CHUNK))
    return encoding, b"".join(piece.decode(encoding, "replace").encode("utf-8") for piece in pieces), 0


def _is_utf8(content: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for at in range(0, len(content), _CHUNK):
            decoder.decode(content[at : at + _CHUNK], final=at + _CHUNK >= len(content))
    except UnicodeDecodeError:
        return False
    return True


def _end_of_blank_lines(body: bytes, begin: int, separator: str) -> int:
    blank = blank_of(separator)
    found = re.compile(rf"(?:{blank}*(?:\r\n|\r|\n))*(?:{blank}*\Z)?".encode()).match(body, begin)
    return found.end() if found else begin


def blank_of(separator: str) -> str:
    """Return a regular expression of one letter that is layout around a cell."""
    return "[ ]" if separator == "\t" else "[ \t]"


@cache
def record_pattern(separator: str) -> re.Pattern[bytes]:
    """Return the grammar of a record with its line end."""
    blank = blank_of(separator)
    quoted = rf'{blank}*"[^"]*+(?:""[^"]*+)*+"{blank}*(?=[{separator}\r\n]|\Z)'
    cell = rf"(?:{quoted}|[^{separator}\r\n]*)"
    return re.compile(rf"{cell}(?:{separator}{cell})*(?:\r\n|\n|\r|\Z)".encode())


@cache
def _cells(separator: str) -> re.Pattern[str]:
    blank = blank_of(separator)
    return re.compile(f'{blank}*"((?:[^"]|"")*+)"{blank}*{separator}|([^{separator}]*{separator})')
