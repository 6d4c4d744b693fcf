"""An error as a person reads it: the file's own line below it, with a caret under the place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kpi.errors import CompileErrors, KpiError

_PLACE = re.compile(r"(?P<file>[^\s:][^:\n]*):(?P<line>[0-9]+)(:(?P<column>[0-9]+))?: (?P<message>.*)")
_QUOTED = re.compile(r"'([^'\s]+)'")


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in a file. `line` and `column` are 1-based, 0 when unknown; `source` is the line of the file."""

    file: str
    line: int
    column: int
    message: str
    source: str = ""

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        return f"{place}: {self.message}" if place else self.message


def mistakes(error: KpiError) -> list[Mistake]:
    """Return every mistake that an error tells, with the line of the file when its project's folder is known.

    Where only the line is known, the column is that of the first name the message quotes, or of the line's first word.
    """
    texts = [str(one) for one in error.errors] if isinstance(error, CompileErrors) else str(error).split("\n")
    return [_mistake(text, error.root) for text in texts]


def told(error: KpiError) -> str:
    """Return an error as text: for each mistake its place and message, then the source line and a caret."""
    return "\n".join(line for mistake in mistakes(error) for line in _lines(mistake))


def _lines(mistake: Mistake) -> Iterator[str]:
    yield str(mistake)
    if mistake.source.strip() and mistake.column:
        yield f"    {mistake.source}"
        # Tabs stay tabs, so that the caret stands where the terminal shows the place.
        yield "    " + re.sub(r"[^\t]", " ", mistake.source[: mistake.column - 1]) + "^"


def _mistake(text: str, root: Path | None) -> Mistake:
    found = _PLACE.fullmatch(text)
    if not found:
        return Mistake("", 0, 0, text)
    file, line, column = found["file"], int(found["line"]), int(found["column"] or 0)
    source = _line(root / file, line) if root else ""
    if source and not column:
        names = [name for name in _QUOTED.findall(found["message"]) if name in source]
        column = (source.index(names[0]) if names else len(source) - len(source.lstrip())) + 1
    return Mistake(file, line, column, found["message"], source)


def _line(file: Path, number: int) -> str:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    return lines[number - 1] if 0 < number <= len(lines) else ""
