"""What is said of a header that is not as it should be. No name of it is quoted: it may be a record of people's data.

A delivery whose header line is missing has its first record there. So unknown names are told by their place, and by the
known name that they resemble.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping, Sequence

from kpi.deliveries.delivery import Layout, known_names, lines_at, split_record
from kpi.deliveries.dialect import SEPARATORS
from kpi.deliveries.filekinds import text_kind

_CLOSE = 0.75  # how much of a name must be that of a known one: one letter in four may differ
_MOST_TOLD = 8  # places or names in a message
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
    more = [f"and {len(items) - _MOST_TOLD} more"] if len(items) > _MOST_TOLD else []
    return ", ".join([*items[:_MOST_TOLD], *more])


def missing_columns(layout: Layout, names: Mapping[str, str], missing: Sequence[str]) -> str:
    """Say that a file is refused for its missing columns, and what may be the cause."""
    told = f"required columns are missing: {shortened(missing)}"
    known = sum(name in names for name in layout.header)
    hint = _hint(layout, names, known)
    if known:
        unknown = shortened(unknown_columns(layout.header, names))
        told += f"; {known} of its {len(layout.header)} columns are known"
        return told + (f", unknown are: {unknown}" if unknown else "") + (f"; {hint}" if hint else "")
    # Nothing told the separator: the one of most cells is meant.
    line = layout.body[layout.begin : layout.start].decode()
    header = max((split_record(line, separator) for separator in SEPARATORS), key=len)
    near = [text for text in unknown_columns(header, names) if "did you mean" in text]
    kind = text_kind(layout.body[layout.top : layout.top + _BEGINNING].decode("utf-8", "ignore"))
    cause = f"it is {kind}" if kind else hint or shortened(near) or "the header line may be missing"
    count = f"none of its {len(header)} columns is known" if len(header) > 1 else "its one column is not known"
    return f"{told}; {count}: {cause}"


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
