"""How rows that differ are shown: those missing, those too many, and of two much alike the cells that differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SHOWN = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is expected `count` times more often than it is there; less often when the count is negative."""

    count: int
    cells: tuple[str | None, ...]


def shown(columns: Sequence[str], differences: Sequence[Difference]) -> str:
    """Return a table of the rows that differ, columns aligned.

    `-` is a row expected and not there, `+` one there and not expected, `~` one with cells that differ: what was
    expected and what is there instead.
    """
    missing = [row.cells for row in differences for _ in range(row.count)]
    extra = [row.cells for row in differences for _ in range(-row.count)]
    lines = [("", *columns)]
    for ours, theirs in _alike(missing, extra):
        missing.remove(ours)
        extra.remove(theirs)
        cells = zip(ours, theirs, strict=True)
        lines.append(("~", *(_text(a) if a == b else f"{_text(a)} -> {_text(b)}" for a, b in cells)))
    lines += [("-", *map(_text, row)) for row in missing] + [("+", *map(_text, row)) for row in extra]
    more = len(lines) - 1 - SHOWN
    lines = lines[: SHOWN + 1]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    told = ["    " + "  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    if more > 0:
        told.append(f"    and {more} more rows that differ")
    return "\n".join([*told, "    (- expected but not there, + there but not expected, ~ expected -> found)"])


def _alike(
    missing: Sequence[tuple[str | None, ...]], extra: Sequence[tuple[str | None, ...]]
) -> list[tuple[tuple[str | None, ...], tuple[str | None, ...]]]:
    """Pairs of a missing and an extra row of which more cells agree than differ, the most alike first."""
    scored = sorted(
        (
            (-sum(a == b for a, b in zip(ours, theirs, strict=True)), i, j)
            for i, ours in enumerate(missing[:SHOWN])
            for j, theirs in enumerate(extra[:SHOWN])
        ),
    )
    used: set[tuple[str, int]] = set()
    pairs = []
    for score, i, j in scored:
        if -score * 2 >= len(missing[i]) and score and not used & {("-", i), ("+", j)}:
            used |= {("-", i), ("+", j)}
            pairs.append((missing[i], extra[j]))
    return pairs


def _text(value: str | None) -> str:
    if value is None:
        return "null"
    return value.replace("\n", "\\n") if value else "''"
