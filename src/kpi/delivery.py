"""One delivered file as bytes: its encoding, separator, header and records. Knows nothing of types or the database.

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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
LARGEST_FILE = 4 << 30  # bytes after decompression; more than any year of any feed, less than a gz bomb
_CHUNK = 16 << 20  # bytes of a text that are decoded at a time: a whole file as str can be four times its size
_WINDOW = 1 << 18  # bytes that are searched for line ends at a time; an odd quote spoils only its own window
_TAB, _LF, _CR, _SPACE, _QUOTE = b'\t\n\r "'


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


@dataclass(frozen=True, slots=True)
class Form:
    """All that the SQL which splits a file's records depends on: files of one form can be read together.

    `positions` are pairs of column and place, `width` is the number of fields of the header. Without quotes, blanks
    around cells or carriage returns there is less to do; `by_grammar` does it all for every cell.
    """

    separator: str
    width: int
    positions: tuple[tuple[str, int], ...]
    has_quotes: bool
    has_padding: bool
    has_returns: bool
    by_grammar: bool


def form_of(layout: Layout, careful: bool = False) -> Form:
    """Look at a whole file for what its form depends on; with `careful` take the most difficult for granted."""
    return Form(
        separator=layout.separator,
        width=len(layout.header),
        positions=tuple(sorted(layout.positions.items(), key=lambda item: item[1])),
        has_quotes=careful or layout.has(b'"'),
        has_padding=careful or _has_padding(layout),
        has_returns=careful or layout.has(b"\r"),
        by_grammar=careful,
    )


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
        line = _record(separator).match(body, _end_of_blank_lines(body, begin, separator))
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


def record_ends(layout: Layout, careful: bool = False) -> NDArray[np.int64]:
    """Return where in the body each record, or blank line, after the header ends, its line end included.

    Most files have line ends where records end, and those are found a window at a time. A window with a quote that
    does not plainly enclose a cell within a line is read record by record; with `careful` every one is.
    """
    import numpy as np

    body, at = layout.body, layout.start
    letters = np.frombuffer(body, np.uint8)
    record, has_returns, has_quotes = _record(layout.separator), layout.has(b"\r"), layout.has(b'"')
    found: list[NDArray[np.int64]] = []
    while at < len(body):
        stop = _line_end(body, at)
        ends = None if careful else _plain_ends(letters[at:stop], layout.separator, has_returns, has_quotes)
        if ends is None:
            one_by_one = []
            while at < stop and (match := record.match(body, at)):
                at = match.end()
                one_by_one.append(at)
            found.append(np.array(one_by_one, np.int64))
        else:
            found.append(ends + at)
            at = stop
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def blank_lines(layout: Layout, ends: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which of the pieces that end at `ends` are blank lines: they are no records."""
    import numpy as np

    body, blanks = layout.body, b" \r\n" if layout.separator == "\t" else b" \t\r\n"
    is_blank = np.zeros(256, np.bool_)
    is_blank[list(blanks)] = True
    starts = np.concatenate(([layout.start], ends))[:-1]
    blank: NDArray[np.bool_] = is_blank[np.frombuffer(body, np.uint8)[starts]]
    for place in np.flatnonzero(blank):
        blank[place] = not body[starts[place] : ends[place]].strip(blanks)
    return blank


def split_record(record: str, separator: str) -> Sequence[str]:
    """Split one record into its cells, blanks and enclosing quotes removed."""
    cells = []
    for quoted, bare in _cells(separator).findall(record.rstrip("\r\n") + separator):
        cells.append(bare[:-1].strip(" \t") if bare else quoted.replace('""', '"').strip(" \t"))
    return cells


def cell_pattern(separator: str) -> str:
    """Return the regular expression of one cell with its separator (RE2 syntax)."""
    blank = _blank(separator)
    return f'{blank}*"(?:[^"]|"")*"{blank}*{separator}|[^{separator}]*{separator}'


def _has_padding(layout: Layout) -> bool:
    """Whether a blank stands next to a separator, a quote or a line end anywhere after the header."""
    import numpy as np

    body, separator = layout.body, ord(layout.separator)
    edges = np.zeros(256, np.bool_)
    edges[[separator, _QUOTE, _LF, _CR]] = True
    letters = np.frombuffer(body, np.uint8)
    blanks = [blank for blank in (_SPACE, _TAB) if blank != separator and layout.has(bytes([blank]))]
    for at in range(layout.start, len(body), _WINDOW):
        window = letters[at - 1 : at + _WINDOW + 1]  # with a neighbour on either side
        for blank in blanks:
            found = np.flatnonzero(window[1:-1] == blank) + 1
            if edges[window[found - 1]].any() or edges[window[found + 1]].any():
                return True
    return body[-1] in blanks


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
    blank = _blank(separator)
    found = re.compile(rf"(?:{blank}*(?:\r\n|\r|\n))*(?:{blank}*\Z)?".encode()).match(body, begin)
    return found.end() if found else begin


def _line_end(body: bytes, at: int) -> int:
    """Return the end of the last line that ends within a window; of the first that does when it is longer."""
    limit = at + _WINDOW
    if limit >= len(body):
        return len(body)
    stop = max(body.rfind(b"\n", at, limit), body.rfind(b"\r", at, limit)) + 1
    if not stop:
        longer = re.compile(rb"[\r\n]").search(body, limit)
        stop = longer.end() if longer else len(body)
    return stop + (body[stop - 1] == _CR and body[stop : stop + 1] == b"\n")


def _plain_ends(
    window: NDArray[np.uint8], separator: str, has_returns: bool, has_quotes: bool
) -> NDArray[np.int64] | None:
    """Return where the lines of a window end, or None when a quote does not plainly enclose a cell of one line."""
    import numpy as np

    is_end = window == _LF
    if has_returns:
        returns = window == _CR
        returns[:-1] &= ~is_end[1:]
        is_end |= returns
    ends = np.flatnonzero(is_end) + 1
    quotes = np.flatnonzero(window == _QUOTE) if has_quotes else ends[:0]
    if quotes.size:
        if quotes.size % 2:
            return None
        opening, closing = quotes[::2], quotes[1::2]
        edges = (ord(separator), _LF, _CR)
        before = np.isin(window[opening - 1], edges) | (opening == 0)
        after = np.isin(window[np.minimum(closing + 1, window.size - 1)], edges) | (closing == window.size - 1)
        inside = np.searchsorted(quotes, ends - 1) % 2
        if not before.all() or not after.all() or inside.any():
            return None
    if window.size and (not ends.size or ends[-1] != window.size):
        ends = np.append(ends, window.size)  # the last line of the file, without a line end
    return ends


def _blank(separator: str) -> str:
    return "[ ]" if separator == "\t" else "[ \t]"


@cache
def _record(separator: str) -> re.Pattern[bytes]:
    blank = _blank(separator)
    quoted = rf'{blank}*"[^"]*+(?:""[^"]*+)*+"{blank}*(?=[{separator}\r\n]|\Z)'
    cell = rf"(?:{quoted}|[^{separator}\r\n]*)"
    return re.compile(rf"{cell}(?:{separator}{cell})*(?:\r\n|\n|\r|\Z)".encode())


@cache
def _cells(separator: str) -> re.Pattern[str]:
    blank = _blank(separator)
    return re.compile(f'{blank}*"((?:[^"]|"")*+)"{blank}*{separator}|([^{separator}]*{separator})')
