"""One delivered file as bytes: its kind, separator, header and records, and what is suspect in them.

The grammar of a record: cells between separators, records between line ends (LF, CRLF or CR). A cell is quoted only
when one quoted text, inner quotes doubled, is all there is of it but blanks; any other quote is a letter.

A delivery whose header line is missing has its first record there. So unknown names are told by their place, and by the
known name that they resemble.

Examples are words of letters alone, so no number, code or address, and only of the text columns that hold no free text.
Of all other cells no more is told than a letter with its neighbours.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from itertools import islice
from typing import TYPE_CHECKING, Literal

from kpi.ingest.contract import CODECS, SEPARATORS, UNKNOWN, Dialect
from kpi.ingest.encoding import Doubt, Undecodable, decode, line_ends
from kpi.presentation import listed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray


_EXPORT = "save it as CSV UTF-8 in the program that it comes from"
_UNPACK = "unpack it and deliver the CSV files in it"
# How files begin that are no text. What is ASCII alone could begin a header, where no other byte follows.
_BINARY: tuple[tuple[bytes, str], ...] = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", f"an old Excel workbook (xls), or one with a password: {_EXPORT}"),
    (b"\x1f\x8b", "gzip: give it a name that ends in .csv.gz"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"BZh", f"bzip2: {_UNPACK}"),
    (b"\xfd7zXZ\x00", f"xz: {_UNPACK}"),
    (b"\x28\xb5\x2f\xfd", f"zstd: {_UNPACK}"),
    (b"\x1f\x9d", f"compress: {_UNPACK}"),
    (b"7z\xbc\xaf\x27\x1c", f"a 7z archive: {_UNPACK}"),
    (b"Rar!\x1a\x07", f"a rar archive: {_UNPACK}"),
    (b"%PDF-", "a PDF document: ask for the data that it was made from, as CSV"),
    (b"PAR1", "a parquet file: write it as CSV UTF-8"),
    (b"ARROW1", "an Arrow file: write it as CSV UTF-8"),
    (b"\xff\xff\xff\xff", "an Arrow stream: write it as CSV UTF-8"),
    (b"ORC", "an ORC file: write it as CSV UTF-8"),
    (b"Obj\x01", "an Avro file: write it as CSV UTF-8"),
    (b"SQLite format 3\x00", "an SQLite database: write its table as CSV UTF-8"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"GIF8", "a picture (GIF)"),
    (b"\x80\x04\x95", "a Python pickle: write it as CSV UTF-8"),
    (b"\x80\x05\x95", "a Python pickle: write it as CSV UTF-8"),
)
_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1f\x80-\xff]")
_HEAD = 256  # bytes
# Of zip archives, by the names of what is in them. Other archives are told as such.
_ZIPPED: tuple[tuple[bytes, str], ...] = (
    (b"application/vnd.oasis.opendocument.spreadsheet", f"an OpenDocument sheet (ods): {_EXPORT}"),
    (b"application/vnd.oasis.opendocument", f"an OpenDocument file: {_EXPORT}"),
    (b"xl/", f"an Excel workbook (xlsx): {_EXPORT}"),
    (b"word/", f"a Word document (docx): {_EXPORT}"),
    (b"ppt/", f"a PowerPoint document (pptx): {_EXPORT}"),
    (b"Index/", f"a Numbers document: {_EXPORT}"),
)
_TEXTS: tuple[tuple[str, str], ...] = (
    (r"%pdf-", "a PDF document: ask for the data that it was made from, as CSV"),
    (r"\$fl[23]@", f"an SPSS file: {_EXPORT}"),
    (r"<stata_dta>", f"a Stata file: {_EXPORT}"),
    (r"\{\\rtf", f"an RTF document: {_EXPORT}"),
    (r"(?s)<\?xml.*urn:schemas-microsoft-com:office:spreadsheet", f"an Excel sheet as XML: {_EXPORT}"),
    (
        r"<!doctype html|<html|<head|<body|<table|<meta|<script",
        "an HTML page: an error page or a login instead of data?",
    ),
    (r"<\?xml|<[a-z][\w:.-]*[\s>]", f"XML: {_EXPORT}"),
    (r"\{\s*[\"}]|\[\s*[\[{\"\d\]]", f"JSON: {_EXPORT}"),
    (r"(?:create|insert\s+into|select|begin|set)\s[^,;\t]*[(;]", f"SQL: {_EXPORT}"),
    (r"version https://git-lfs", "a pointer of Git LFS and not the file: fetch it with git lfs pull"),
    (r"-----begin |age-encryption\.org", "an encrypted or signed file: deliver what is in it"),
    (r"(?:from|received|return-path|mime-version): ", "an e-mail: deliver the file that is attached to it"),
)


def binary_kind(content: bytes) -> str:
    """Say what a file is that is no text at all, and what to do about it; empty when it may be a text."""
    if content[8:12] == b"DUCK":
        return "a DuckDB database: write its table as CSV UTF-8"
    if content.startswith(b"PK\x03\x04"):
        # The names of what is in an archive stand at its end too, where those of the first parts may not come first.
        ends = content[:65536] + content[-65536:]
        return next((said for part, said in _ZIPPED if part in ends), f"a zip archive: {_UNPACK}")
    kind = next((said for start, said in _BINARY if content.startswith(start)), "")
    return kind if _NO_TEXT.search(content[:_HEAD]) else ""


def text_kind(text: str) -> str:
    """Say what a text is whose header has no known name, by how it begins; empty when it may be a CSV file."""
    begin = text.lstrip("\ufeff \t\r\n").lower()
    kind = next((said for pattern, said in _TEXTS if re.match(pattern, begin)), "")
    first_line = re.match(r"[^\r\n]*", text)
    if not kind and first_line and re.search("[\0-\x08\x0e-\x1f\x7f-\x9f\ufffd]", first_line.group()):
        return "no text: it has bytes in its first line that no header has"
    return kind


_SOUGHT = (",", ";", "\t")  # separators that are looked for, in the order that decides when they are equal
LARGEST_FILE = 4 << 30  # bytes after decompression; more than any year of any feed, less than a gz bomb
# A bomb is refused long before that, while it still fits into memory: no CSV shrinks to a fiftieth that is this large.
LARGE, LARGEST_TIMES = 256 << 20, 50
_CHUNK = 16 << 20  # bytes that are unpacked at a time
_GZIP = 31  # zlib's word for a header and a checksum as gzip writes them
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
    for piece in _unpacked(data):
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST_FILE:
            raise Refusal(f"the gz file holds more than {LARGEST_FILE} bytes")
        if size > max(LARGE, LARGEST_TIMES * len(data)):
            raise Refusal(f"the gz file holds more than {LARGEST_TIMES} times its own size")
    return b"".join(pieces)


def _unpacked(data: bytes) -> Iterator[bytes]:
    """Yield what the members of a gz file hold, a chunk at a time. Raises Refusal for what is not whole.

    Not by GzipFile, which takes twice as long: it asks for eight kilobytes at a time.
    """
    while data:
        member = zlib.decompressobj(wbits=_GZIP)
        while not member.eof:
            try:
                piece = member.decompress(data, _CHUNK)
            except zlib.error:
                raise Refusal("the gz file cannot be read: it is damaged, or something else follows in it") from None
            data = member.unconsumed_tail
            if not piece and not data and not member.eof:
                raise Refusal("the gz file cannot be read: it ends before its content does")
            yield piece
        data = member.unused_data.lstrip(b"\0")  # zeros may fill up a block


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


_PADDING_WINDOW = 1 << 16  # bytes, few enough for a cache of the processor
_WINDOW = 1 << 18  # bytes that are searched for line ends at a time; an odd quote spoils only its own window
_TAB, _LF, _CR, _SPACE, _QUOTE = 9, 10, 13, 32, 34


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a body is cut: the ends of its records and blank lines, and which of these pieces are blank lines.

    `quotes` tells whether there are none, or all are plain (they enclose a whole cell, with nothing in it that would
    need them), or some are not.
    """

    ends: NDArray[np.int64]
    blank: NDArray[np.bool_]
    quotes: Literal["none", "plain", "odd"]


@dataclass(frozen=True, slots=True)
class Form:
    """All that the SQL which splits a file's records depends on: files of one form can be read together.

    `positions` are pairs of column and place, `width` is the number of fields of the header. Without quotes, blanks
    around cells or carriage returns there is less to do; `by_grammar` does it all for every cell.
    """

    separator: str
    width: int
    positions: tuple[tuple[str, int], ...]
    quotes: Literal["none", "plain", "odd"]
    has_padding: bool
    has_returns: bool
    by_grammar: bool


def cut_records(layout: Layout, careful: bool = False) -> Cut:
    """Find where each record, or blank line, after the header ends, its line end included.

    Most files have line ends where records end, and those are found a window at a time. A window with a quote that
    does not plainly enclose a cell within a line is read record by record; with `careful` every one is.
    """
    import numpy as np

    body, at = layout.body, layout.start
    letters = np.frombuffer(body, np.uint8)
    record, has_returns, has_quotes = record_pattern(layout.separator), layout.has(b"\r"), layout.has(b'"')
    found: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    are_plain = not careful
    while at < len(body):
        stop = _line_end(body, at)
        ends = _line_ends(letters[at:stop], has_returns)
        is_cut, is_plain = _look_at_quotes(letters[at:stop], ends, layout.separator) if has_quotes else (True, True)
        are_plain &= is_plain
        if is_cut and not careful:
            found.append(ends + at)
            at = stop
            continue
        one_by_one = []
        while at < stop and (match := record.match(body, at)):
            at = match.end()
            one_by_one.append(at)
        found.append(np.array(one_by_one, np.int64))
    all_ends = np.concatenate(found)
    return Cut(all_ends, _blank_lines(layout, all_ends), ("plain" if are_plain else "odd") if has_quotes else "none")


def form_of(layout: Layout, cut: Cut, careful: bool = False) -> Form:
    """Look at a whole file for what its form depends on; with `careful` take the most difficult for granted."""
    return Form(
        separator=layout.separator,
        width=len(layout.header),
        positions=tuple(sorted(layout.positions.items(), key=lambda item: item[1])),
        quotes="odd" if careful else cut.quotes,
        has_padding=careful or _has_padding(layout, cut.quotes),
        has_returns=careful or layout.has(b"\r"),
        by_grammar=careful,
    )


def cell_pattern(separator: str) -> str:
    """Return the regular expression of one cell with its separator (RE2 syntax)."""
    blank, sign = blank_of(separator), sign_of(separator)
    return f'{blank}*"(?:[^"]|"")*"{blank}*{sign}|[^{separator}]*{sign}'


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


def _line_ends(window: NDArray[np.uint8], has_returns: bool) -> NDArray[np.int64]:
    """Return the place after each line of a window that ends where a line does."""
    import numpy as np

    is_end = window == _LF
    if has_returns:
        returns = window == _CR
        returns[:-1] &= ~is_end[1:]
        is_end |= returns
    is_end[-1] = True  # the last line of the file may have no line end
    return np.flatnonzero(is_end) + 1


def _look_at_quotes(window: NDArray[np.uint8], ends: NDArray[np.int64], separator: str) -> tuple[bool, bool]:
    """Tell whether records end where lines do, for all that quotes matter, and whether all quotes are plain."""
    import numpy as np

    quotes = np.flatnonzero(window == _QUOTE)
    if not quotes.size:
        return True, True
    if quotes.size % 2:
        return False, False
    opening, closing = quotes[::2], quotes[1::2]
    is_edge = np.zeros(256, np.bool_)
    is_edge[[ord(separator), _LF, _CR]] = True
    before = is_edge[window[opening - 1]] | (opening == 0)
    after = is_edge[window[np.minimum(closing + 1, window.size - 1)]] | (closing == window.size - 1)
    if not before.all() or not after.all() or _are_inside(ends - 1, quotes):
        return False, False
    return True, not _are_inside(np.flatnonzero(window == ord(separator)), quotes)


def _are_inside(places: NDArray[np.int64], quotes: NDArray[np.int64]) -> bool:
    """Tell whether any place is between an opening quote and the closing one after it; a closing quote is not."""
    import numpy as np

    return bool((np.searchsorted(quotes, places, side="right") % 2).any())


def _blank_lines(layout: Layout, ends: NDArray[np.int64]) -> NDArray[np.bool_]:
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


def _has_padding(layout: Layout, quotes: str) -> bool:
    """Whether a blank stands next to a separator, a quote or a line end anywhere after the header."""
    import numpy as np

    body, separator = layout.body, ord(layout.separator)
    if separator == _TAB and quotes == "odd":
        return True  # a tab is a blank between quotes, and only there
    letters = np.frombuffer(body, np.uint8)
    blanks = [blank for blank in (_SPACE, _TAB) if blank != separator and layout.has(bytes([blank]))]
    before = layout.start - 1  # the header's line end is an edge too
    edges = [separator, _LF, *(edge for edge in (_CR, _QUOTE) if body.find(bytes([edge]), before) >= 0)]
    # Comparing all letters takes less than the places of blanks: every time of day has one before it.
    for at in range(layout.start, len(body) if blanks else 0, _PADDING_WINDOW):
        window = letters[at - 1 : at + _PADDING_WINDOW + 1]  # with a neighbour on either side
        is_edge = reduce(np.logical_or, (window == edge for edge in edges))
        is_blank = reduce(np.logical_or, (window == blank for blank in blanks))
        if (is_blank[1:-1] & (is_edge[:-2] | is_edge[2:])).any():
            return True
    return body[-1] in blanks


_CLOSE = 0.75  # how much of a name must be that of a known one: one letter in four may differ
_MOST_NAMES = 8  # places or names in a message
_BEGINNING = 65536  # bytes that tell what a text is
_MOST_LINES = 40  # that are searched for the header


def unknown_columns(header: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Describe each column whose name means none of the contract: its place and, when it is near one, that name."""
    found = []
    for place, name in enumerate(header, start=1):
        if name not in names:
            near = _near(name, names)
            found.append(f"column {place} (did you mean '{near}'?)" if near else f"column {place}")
    return found


def shortened(items: Sequence[str]) -> str:
    """Join what is told, the first few of it."""
    more = [f"and {len(items) - _MOST_NAMES} more"] if len(items) > _MOST_NAMES else []
    return ", ".join([*items[:_MOST_NAMES], *more])


def missing_columns(layout: Layout, names: Mapping[str, str], missing: Sequence[str]) -> str:
    """Say that a file is refused for its missing columns, and what may be the cause."""
    message = f"required columns are missing: {shortened(missing)}"
    known = sum(name in names for name in layout.header)
    hint = _hint(layout, names, known)
    if known:
        unknown = shortened(unknown_columns(layout.header, names))
        message += f"; {known} of its {len(layout.header)} columns are known"
        return message + (f", unknown are: {unknown}" if unknown else "") + (f"; {hint}" if hint else "")
    # Nothing told the separator: the one of most cells is meant.
    line = layout.body[layout.begin : layout.start].decode()
    header = max((split_record(line, separator) for separator in SEPARATORS), key=len)
    near = [text for text in unknown_columns(header, names) if "did you mean" in text]
    kind = text_kind(layout.body[layout.top : layout.top + _BEGINNING].decode("utf-8", "ignore"))
    cause = f"it is {kind}" if kind else hint or shortened(near) or "the header line may be missing"
    count = f"none of its {len(header)} columns is known" if len(header) > 1 else "its one column is not known"
    return f"{message}; {count}: {cause}"


def _near(name: str, names: Mapping[str, str]) -> str:
    """The known name that a name resembles, capitals, accents and what joins words aside; empty when there is none."""
    plain: dict[str, str] = {}
    for known in sorted(names):
        plain.setdefault(_plain(known), known)
    close = difflib.get_close_matches(_plain(name[:100]), plain, n=1, cutoff=_CLOSE)
    return plain[close[0]] if close else ""


def _plain(name: str) -> str:
    letters = unicodedata.normalize("NFKD", name.casefold())
    return re.sub(r"[\W_]", "", letters)


def _hint(layout: Layout, names: Mapping[str, str], known: int) -> str:
    """Say where the header seems to be, or what seems to separate it, when that is not where it was looked for."""
    best = (max(known, 1), "")
    for number, line in enumerate(lines_at(layout.body, layout.top, _MOST_LINES)):
        for separator, said in SEPARATORS.items():
            hits = known_names(line, separator, names)
            if hits <= best[0] or (number == layout.skipped and separator == layout.separator):
                continue
            settings = [f"skip_lines: {number}"] if number != layout.skipped else []
            settings += [f"separator: {said}"] if separator != layout.separator else []
            best = hits, f"its line {number + 1} looks like the header: set '{', '.join(settings)}' in the contract"
    return best[1]


# What another program may have taken for a line end, or have put in the place of one.
_OTHER_ENDS: Mapping[str, str] = {
    "\x85": "next line",
    "\u2028": "line separator",
    "\u2029": "paragraph separator",
    "\x0b": "line tabulation",
    "\x0c": "form feed",
    "\x1c": "file separator",
    "\x1d": "group separator",
    "\x1e": "record separator",
    "\0": "null",
}
_DAY = re.compile(r"(?<![0-9])(?:[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4})(?![0-9])")


def records_in_header(layout: Layout, cut: Cut, names: Mapping[str, str]) -> str:
    """Say why records may stand in the header, where none is counted; empty when the header is one.

    A quote that it opens may close in a record. Where nothing follows it, line ends may be none: then another sign
    stands in it, or dates do.
    """
    line = layout.body[layout.begin : layout.start].decode("utf-8", "replace")
    first, *more = re.split("[\r\n]", line.strip(" \t\r\n"), maxsplit=1)
    if more:
        known, separators = sum(name in names for name in layout.header), first.count(layout.separator)
        unquoted = sum(name in names for name in split_record(first.replace('"', ""), layout.separator))
        inside = [cell for cell in layout.header if re.search("[\r\n]", cell)]
        if unquoted > known or any(cell.count(layout.separator) >= separators > 0 for cell in inside):
            return "a quote in the header closes in a later line: there are records in it"
    if not cut.blank.all():
        return ""
    for sign, said in _OTHER_ENDS.items():
        if sign in line:
            where = f"U+{ord(sign):04X} ({said}) stands in its header line"
            return f"it has no records, and {where}: line ends are LF, CRLF or CR"
    if any(_DAY.search(cell) for cell in layout.header if cell not in names):
        return "it has no records, and dates stand in its header line: are there records in it, without line ends?"
    return ""


_EXAMPLES = 3
_LONGEST = 30  # letters of a word that is told
_SEARCHED = 500  # letters in doubt that are looked at for examples
_NUMBERS = 5  # records that are named
# Part of a word: letters, and signs above ASCII that may be letters in truth; no digit, blank, or sign of an address.
_WORD = rf"(?:[^\W\d_]|[^\x00-\x7f\s\d]){{0,{_LONGEST}}}"


def warnings_of(layout: Layout, cut: Cut, quotable: Collection[str]) -> list[str]:
    """Return what is suspect, a line each. `quotable` are the columns whose words may be told."""
    import numpy as np

    numbers = np.cumsum(~cut.blank, dtype=np.int64)
    message = [_doubt(layout, cut, numbers, doubt, quotable) for doubt in layout.doubts]
    if suspects := _that_swallow(layout, cut):
        message.append(
            f"a cell holds line ends and as many separators as a record has, in {_named(numbers[suspects].tolist())}:"
            " there may be records in it, between two quotes that are letters"
        )
    return message


def pieces_at(layout: Layout, cut: Cut, places: Sequence[int]) -> NDArray[np.int64]:
    """Return the pieces of a cut, each once, that some places in the body lie in; those in the header lie in none."""
    import numpy as np

    wanted = np.array(places, np.int64)
    return np.unique(np.searchsorted(cut.ends, wanted[wanted >= layout.start], side="right"))


def _named(numbers: Sequence[int]) -> str:
    return f"record{'s' if len(numbers) > 1 else ''} {listed(numbers, _NUMBERS)}"


def _doubt(layout: Layout, cut: Cut, numbers: NDArray[np.int64], doubt: Doubt, quotable: Collection[str]) -> str:
    message = f"read as {layout.encoding}, {doubt.why}"
    hits = [hit.start() for hit in doubt.letters.finditer(layout.body, layout.start)]
    if not hits:
        return message
    examples = _examples(layout, cut, pieces_at(layout, cut, hits[:_SEARCHED]), doubt, quotable)
    records = _named(numbers[pieces_at(layout, cut, hits)].tolist())
    return f"{message}: {', '.join(islice(dict.fromkeys(examples), _EXAMPLES))}, in {records}"


def _examples(
    layout: Layout, cut: Cut, pieces: Iterable[int], doubt: Doubt, quotable: Collection[str]
) -> Iterator[str]:
    """Yield words with a letter in doubt, and what they would be in the other encoding; last those cut short."""
    may_quote = {place for name, place in layout.positions.items() if name in quotable}
    short: list[str] = []
    for piece in pieces:
        start = int(cut.ends[piece - 1]) if piece else layout.start
        record = layout.body[start : int(cut.ends[piece])].decode("utf-8", "replace")
        for place, cell in enumerate(split_record(record, layout.separator)):
            words = _words(cell, doubt.letters, place in may_quote)
            message = (_both(word, layout.encoding, doubt.other) for word in words)
            if place in may_quote:
                yield from message
            else:
                short += message
    yield from short


def _words(cell: str, letters: re.Pattern[bytes], is_whole: bool) -> Iterator[str]:
    """Yield what stands around each letter in doubt: the word, or no more than its neighbours."""
    text = cell.encode()
    some = _WORD if is_whole else "[^\\W\\d_]?"
    for hit in letters.finditer(text):
        before, after = (
            re.search(f"{some}\\Z", text[: hit.start()].decode()),
            re.match(some, text[hit.end() :].decode()),
        )
        yield (before.group() if before else "") + hit.group().decode() + (after.group() if after else "")


def _both(word: str, encoding: str, other: str) -> str:
    # What was UTF-8 before was taken for Windows-1252, whatever it was delivered in.
    codec = "cp1252" if other == "utf-8" and encoding.startswith("utf") else CODECS[encoding]
    try:
        instead = word.encode(codec).decode(CODECS[other]) if other else word
    except UnicodeError:
        instead = word
    return _shown(word) if instead == word else f"{_shown(word)} (or {_shown(instead)}?)"


def _shown(word: str) -> str:
    # A control character would reach a terminal.
    letters = (letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in word)
    return f"'{''.join(letters)}'"


def _that_swallow(layout: Layout, cut: Cut) -> list[int]:
    """Return the pieces with a cell that holds line ends and as many separators as records have."""
    separators = len(layout.header) - 1
    if cut.quotes != "odd" or not separators:
        return []
    separator, found = layout.separator.encode(), []
    for piece in _of_several_lines(layout, cut):
        start = int(cut.ends[piece - 1]) if piece else layout.start
        record = layout.body[start : int(cut.ends[piece])]
        if record.count(separator) < 2 * separators:
            continue
        cells = cells_within(record.decode("utf-8", "replace"), layout.separator)
        if any(cell.count(layout.separator) >= separators and re.search("[\r\n]", cell) for cell in cells):
            found.append(piece)
    return found


def _of_several_lines(layout: Layout, cut: Cut) -> list[int]:
    """Return the pieces, none of them blank, within which a line ends."""
    import numpy as np

    letters = np.frombuffer(layout.body, np.uint8)
    ends = line_ends(letters)
    starts = np.concatenate(([layout.start], cut.ends))[:-1]
    # A last record without a line end has none from its start on.
    first = np.append(ends, letters.size)[np.searchsorted(ends, starts)]
    is_crlf = (first + 2 == cut.ends) & (letters[np.minimum(first, letters.size - 1)] == 13)
    is_crlf &= letters[np.minimum(first + 1, letters.size - 1)] == 10
    return np.flatnonzero((first + 1 < cut.ends) & ~is_crlf & ~cut.blank).tolist()
