"""What is suspect in a file that was read: words that may be others, and cells that may hold records.

Examples are words of letters alone, so no number, code or address, and only of the text columns that hold no free text.
Of all other cells no more is told than a letter with its neighbours.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

from kpi.deliveries.delivery import Layout, cells_within, split_record
from kpi.deliveries.dialect import CODECS
from kpi.deliveries.letters import Doubt, line_ends

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from kpi.deliveries.records import Cut

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
    told = [_doubt(layout, cut, numbers, doubt, quotable) for doubt in layout.doubts]
    if suspects := _that_swallow(layout, cut):
        told.append(
            f"a cell holds line ends and as many separators as a record has, in {_named(numbers[suspects].tolist())}:"
            " there may be records in it, between two quotes that are letters"
        )
    return told


def pieces_at(layout: Layout, cut: Cut, places: Sequence[int]) -> NDArray[np.int64]:
    """Return the pieces of a cut, each once, that some places in the body lie in; those in the header lie in none."""
    import numpy as np

    wanted = np.array(places, np.int64)
    return np.unique(np.searchsorted(cut.ends, wanted[wanted >= layout.start], side="right"))


def _named(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:_NUMBERS]))
    more = f" and {len(numbers) - _NUMBERS} more" if len(numbers) > _NUMBERS else ""
    return f"record{'s' if len(numbers) > 1 else ''} {shown}{more}"


def _doubt(layout: Layout, cut: Cut, numbers: NDArray[np.int64], doubt: Doubt, quotable: Collection[str]) -> str:
    told = f"read as {layout.encoding}, {doubt.why}"
    hits = [hit.start() for hit in doubt.letters.finditer(layout.body, layout.start)]
    if not hits:
        return told
    examples = _examples(layout, cut, pieces_at(layout, cut, hits[:_SEARCHED]), doubt, quotable)
    records = _named(numbers[pieces_at(layout, cut, hits)].tolist())
    return f"{told}: {', '.join(islice(dict.fromkeys(examples), _EXAMPLES))}, in {records}"


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
            told = (_both(word, layout.encoding, doubt.other) for word in words)
            if place in may_quote:
                yield from told
            else:
                short += told
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
