"""One delivered file as bytes: its encoding, separator and header. Knows nothing of types or the database.

The grammar of a record: cells between separators, records between line ends (LF, CRLF or CR). A cell is quoted only
when one quoted text, inner quotes doubled, is all there is of it but blanks; any other quote is a letter.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from kpi.deliveries.dialect import SEPARATORS, UNKNOWN, Dialect
from kpi.deliveries.encoding import Undecodable, decode
from kpi.deliveries.filekinds import binary_kind
from kpi.deliveries.letters import Doubt

_SOUGHT = (",", ";", "\t")  # separators that are looked for, in the order that decides when they are equal
LARGEST_FILE = 4 << 30  # bytes after decompression; more than any year of any feed, less than a gz bomb
# A bomb is refused long before that, while it still fits into memory: no CSV shrinks to a fiftieth that is this large.
LARGE, LARGEST_TIMES = 256 << 20, 50
_CHUNK = 16 << 20  # bytes that are unpacked at a time
_LINE = re.compile(rb"[^\r\n]*+(?:\r\n|\r|\n|\Z)")
_EXCEL = re.compile(rb'"?sep=(?P<letter>\t|[^\r\n"])"?[ ]*(?:\r\n|\r|\n|\Z)', re.IGNORECASE)


class Refusal(Exception):
    """Why a file cannot be read at all."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a readable file is written. `positions` gives the place of each known column in the header.

    `body` is the whole file in UTF-8; its lines begin at `top`, after a byte order mark and Excel's `sep=`, its header
    at `begin` and its records at `start`. `skipped` is how many lines the contract has above the header. `illegible`
    are the places in `body` of what could not be decoded.
    """

    encoding: str
    separator: str
    header: tuple[str, ...]
    positions: Mapping[str, int]
    twice: tuple[str, ...]
    body: bytes
    top: int
    begin: int
    start: int
    skipped: int
    illegible: tuple[int, ...]
    doubts: tuple[Doubt, ...]

    def has(self, letter: bytes) -> bool:
        """Whether a letter stands anywhere after the header."""
        return self.body.find(letter, self.start) >= 0


def decompress(data: bytes, name: str) -> bytes:
    """Return the file's content; `.gz` is unpacked whole. Raises Refusal for a gz that cannot be read to its end."""
    if not name.lower().endswith(".gz"):
        return data
    pieces, size = [], 0
    if not data:
        raise Refusal("the gz file is empty")
    if not data.startswith(b"\x1f\x8b"):
        kind = binary_kind(data) or "not compressed. If it is CSV, give it a name that ends in .csv"
        raise Refusal(f"the gz file cannot be read: it is {kind}")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            while piece := stream.read(_CHUNK):
                pieces.append(piece)
                size += len(piece)
                if size > LARGEST_FILE:
                    raise Refusal(f"the gz file holds more than {LARGEST_FILE} bytes")
                if size > max(LARGE, LARGEST_TIMES * len(data)):
                    raise Refusal(f"the gz file holds more than {LARGEST_TIMES} times its own size")
    except gzip.BadGzipFile:  # its text quotes bytes
        raise Refusal("the gz file cannot be read: it is damaged, or something else follows in it") from None
    except (OSError, EOFError, zlib.error) as error:
        raise Refusal(f"the gz file cannot be read: {error}") from None
    return b"".join(pieces)


def read_layout(content: bytes, names: Mapping[str, str], dialect: Dialect = UNKNOWN) -> Layout:
    """Find encoding, separator and header, but for what the contract says of them.

    `names` maps every accepted header to its column. Raises Refusal when the file is no text or has no header line.
    """
    if kind := binary_kind(content):
        raise Refusal(f"it is {kind}")
    try:
        decoded = decode(content, dialect.encoding)
    except Undecodable as error:
        raise Refusal(f"it {error}") from None
    body, top, separators = decoded.body, decoded.begin, (dialect.separator,) if dialect.separator else _SOUGHT
    if excel := _EXCEL.match(body, top):
        top, letter = excel.end(), excel["letter"].decode("utf-8", "replace")
        if letter not in SEPARATORS:
            raise Refusal(f"its first line, 'sep=', names a separator that is none of {', '.join(SEPARATORS.values())}")
        separators = (letter,)
    begin = top
    for above in lines_at(body, top, dialect.skip_lines):
        begin += len(above)
    best: tuple[int, str, tuple[str, ...], int, int] = (-1, "", (), 0, 0)
    for separator in separators:
        # What a blank line is depends on the separator: a line of tabs is a record of a tab file.
        at = _end_of_blank_lines(body, begin, separator)
        line = record_pattern(separator).match(body, at)
        header = tuple(split_record(line.group().decode("utf-8"), separator)) if line and line.group() else ()
        hits = sum(name in names for name in header)
        if hits > best[0]:
            best = hits, separator, header, at, line.end() if line else 0
    _, separator, header, begin, start = best
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
    return Layout(
        encoding=decoded.encoding,
        separator=separator,
        header=header,
        positions=positions,
        twice=tuple(twice),
        body=body,
        top=top,
        begin=begin,
        start=start,
        skipped=dialect.skip_lines,
        illegible=decoded.illegible,
        doubts=decoded.doubts,
    )


def lines_at(body: bytes, begin: int, most: int) -> Iterator[bytes]:
    """Yield the first lines of a body from `begin` on, at most so many, with their line ends."""
    for _ in range(most):
        line = _LINE.match(body, begin)
        if not line or not line.group():
            return
        begin = line.end()
        yield line.group()


def known_names(line: bytes, separator: str, names: Mapping[str, str]) -> int:
    """Count the known names in what may be a header."""
    return sum(name in names for name in split_record(line.decode("utf-8", "replace"), separator))


def split_record(record: str, separator: str) -> Sequence[str]:
    """Split one record into its cells, blanks and enclosing quotes removed."""
    return [cell.strip(" \t") for cell in cells_within(record, separator)]


def cells_within(record: str, separator: str) -> Sequence[str]:
    """Split one record into its cells, enclosing quotes removed and not the blanks between them."""
    found = _cells(separator).findall(record.rstrip("\r\n") + separator)
    return [bare[:-1] if bare else quoted.replace('""', '"') for quoted, bare in found]


def _end_of_blank_lines(body: bytes, begin: int, separator: str) -> int:
    blank = blank_of(separator)
    found = re.compile(rf"(?:{blank}*(?:\r\n|\r|\n))*(?:{blank}*\Z)?".encode()).match(body, begin)
    return found.end() if found else begin


def blank_of(separator: str) -> str:
    """Return a regular expression of one letter that is layout around a cell."""
    return "[ ]" if separator == "\t" else "[ \t]"


def sign_of(separator: str) -> str:
    """Return a regular expression of a separator."""
    return f"[{separator}]"


@cache
def record_pattern(separator: str) -> re.Pattern[bytes]:
    """Return the grammar of a record with its line end."""
    blank = blank_of(separator)
    quoted = rf'{blank}*"[^"]*+(?:""[^"]*+)*+"{blank}*(?=[{separator}\r\n]|\Z)'
    cell = rf"(?:{quoted}|[^{separator}\r\n]*)"
    return re.compile(rf"{cell}(?:{sign_of(separator)}{cell})*(?:\r\n|\n|\r|\Z)".encode())


@cache
def _cells(separator: str) -> re.Pattern[str]:
    blank, sign = blank_of(separator), sign_of(separator)
    return re.compile(f'{blank}*"((?:[^"]|"")*+)"{blank}*{sign}|([^{separator}]*{sign})')
