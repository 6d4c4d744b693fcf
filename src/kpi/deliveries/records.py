"""Where the records of a delivered file are, and what form they have. Knows nothing of types or the database."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kpi.deliveries.delivery import Layout, blank_of, record_pattern, sign_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
