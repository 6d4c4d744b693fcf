"""From the bytes of a file to records of cells, and from the wall clock to instants, as the oracle has it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

HELSINKI = ZoneInfo("Europe/Helsinki")


# --- From bytes to records


# Stands for what cannot be decoded: no character, so no text has it.
ILLEGIBLE = "\ufdd0"
_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


def decode(data: bytes) -> tuple[str, str]:
    """The text of a file and the name of its encoding; what cannot be decoded is ILLEGIBLE.

    Line by line: those that are UTF-8 above ASCII outvote those that are not, or are outvoted.
    """
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            if encoding == "utf-8":
                return _legible(data[3:].decode("utf-8", "surrogateescape")), encoding
            whole = data[2 : len(data) - len(data) % 2]
            return _legible(whole.decode(encoding, "surrogatepass")) + ILLEGIBLE * (len(data) % 2), encoding
    lines = [line for line in re.split(rb"(?<=[\r\n])", data) if not line.isascii()]
    good = [line for line in lines if _is_utf8(line)]
    is_cut = _is_utf8(re.sub(rb"(?:[\xc2\xc3]|\xe2[\x80-\x82]?|\xf0(?:\x9f[\x80-\xbf]?)?)\Z", b"", data))
    if is_cut or len(good) >= len(lines) - len(good):
        return _legible(data.decode("utf-8", "surrogateescape")), "utf-8"
    encoding = _single_byte(data)
    codec = {"windows-1252": "cp1252"}.get(encoding, encoding)
    pieces = []
    for line in re.split(rb"(?<=[\r\n])", data):
        # Letters of UTF-8 in a file of another encoding.
        is_other = not line.isascii() and _is_utf8(line) and re.search(rb"[\xc2\xc3\xe2]|\xc5[^\xa0]", line)
        text = "".join(_letter(byte, codec) for byte in line)
        pieces.append(re.sub("[\x80-\U0010ffff]", ILLEGIBLE, text) if is_other else text)
    return "".join(pieces), encoding


def is_utf16_without_mark(data: bytes) -> bool:
    """Whether most of either every first or every second byte of the beginning is zero, and of the other few are."""
    first, second = (Counter(data[at:400:2])[0] for at in (0, 1))
    is_marked = any(data.startswith(mark) for mark in _MARKS)
    return len(data) >= 8 and not is_marked and max(first, second) > 0.4 * len(data[:400]) > 10 * min(first, second)


def _letter(byte: int, codec: str) -> str:
    try:
        return bytes([byte]).decode(codec)
    except UnicodeDecodeError:
        return ILLEGIBLE


def _legible(text: str) -> str:
    return re.sub("[\ud800-\udfff]", ILLEGIBLE, text)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _single_byte(data: bytes) -> str:
    """Which encoding of one byte a letter: by the letters in words, then by whether a byte 0x80 to 0x9F occurs."""
    latin = len(re.findall(rb"(?<=[A-Za-z])[\xc4\xc5\xd6\xe4\xe5\xf6]|[\xc4\xc5\xd6\xe4\xe5\xf6](?=[A-Za-z])", data))
    dos = len(re.findall(rb"(?<=[A-Za-z\x84\x86\x94])(?:[\x84\x86]|\x94(?=[A-Za-z\x84\x86\x94]))", data))
    mac = len(re.findall(rb"(?<=[a-z\x8a\x8c\x9a])[\x8a\x8c]", data))
    capitals = len(re.findall(rb"(?<=[A-Z])[\x8e\x99](?![a-z])", data))
    if max(dos, mac) > 2 * latin or (capitals >= 3 and not latin):
        return "mac-roman" if mac > dos else "cp850"
    return "windows-1252" if re.search(rb"[\x80-\x9f]", data) else "iso-8859-15"


SEPARATORS = (",", ";", "\t")  # in the order that decides when they are equal


def split(text: str, separator: str) -> Iterator[list[str]]:
    """The records of a text, each a list of cells without their layout: quotes and blanks around.

    The first record is the header. A line of blanks only is no record; a tab is no blank where it separates.
    """
    blank = " " if separator == "\t" else "[ \t]"
    line_end = r"(?:\r\n|\r|\n|\Z)"
    blank_line = re.compile(f"{blank}*{line_end}")
    quoted = re.compile(f'{blank}*"((?:[^"]|"")*+)"{blank}*(?=[{separator}]|{line_end})')
    bare = re.compile(f"[^{separator}\r\n]*")
    ending = re.compile(line_end)

    position, length = 0, len(text)
    while position < length:
        if found := blank_line.match(text, position):
            position = found.end()
            continue
        cells: list[str] = []
        while True:
            if found := quoted.match(text, position):
                cells.append(found[1].replace('""', '"').strip(" \t"))
            elif found := bare.match(text, position):
                cells.append(found[0].strip(" \t"))
            else:  # cannot be: a bare cell may be empty
                raise ValueError(f"no cell at {position}")
            position = found.end()
            if text.startswith(separator, position):
                position += 1
                continue
            found = ending.match(text, position)
            if found is None:
                raise ValueError(f"no line end at {position}")
            position = found.end()
            break
        yield cells


# --- Local time

TWICE = "twice"
SKIPPED = "skipped"


def occurrences(wall: datetime) -> tuple[datetime, ...]:
    """The instants, in UTC and without a zone, that a wall-clock time may be: two when the clock shows it twice.

    A time that the clock skips is one instant: that of the time one hour later.
    """
    first = wall.replace(tzinfo=HELSINKI, fold=0).astimezone(UTC).replace(tzinfo=None)
    second = wall.replace(tzinfo=HELSINKI, fold=1).astimezone(UTC).replace(tzinfo=None)
    return (first, second) if second > first else (first,)


def is_skipped(wall: datetime) -> bool:
    """Whether the clock never shows this time."""
    first = wall.replace(tzinfo=HELSINKI, fold=0)
    return first.astimezone(UTC).astimezone(HELSINKI).replace(tzinfo=None) != wall


def instant(wall: datetime, preceding: datetime | None) -> datetime:
    """The instant of a time: its earliest occurrence that is not before the preceding instant of its row.

    When every occurrence is before it the row is in the wrong order, and the first is as good as any.
    """
    possible = occurrences(wall)
    return next((each for each in possible if preceding is None or each >= preceding), possible[0])
