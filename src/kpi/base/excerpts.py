"""An error as a person reads it: the file's own line below it, with a caret under the place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kpi.base.errors import CompileErrors, KpiError

_PLACE = re.compile(r"(?P<file>[^\s:][^:\n]*):(?P<line>[0-9]+)(:(?P<column>[0-9]+))?: (?P<message>.*)")
_QUOTED = re.compile(r"'([^'\s]+)'")
_HINT = re.compile(r" (?:Did you mean|There is:) ")
_SETTING = re.compile(r"([a-z][a-z_-]+): ")


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
    Where that line only begins what is wrong, such as a data test or a model, the place is the setting that is meant.
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
    lines = _lines_of(root / file) if root else []
    if not column and 0 < line <= len(lines):
        line = _meant(lines, line, found["message"], is_yaml=file.endswith((".yml", ".yaml")))
    source = lines[line - 1] if 0 < line <= len(lines) else ""
    if source and not column:
        names = [name for name in _QUOTED.findall(found["message"]) if name in source]
        column = (source.index(names[0]) if names else len(source) - len(source.lstrip())) + 1
    return Mistake(file, line, column, found["message"], source)


def _meant(lines: list[str], line: int, message: str, is_yaml: bool) -> int:
    """Return the line where the last name that a message quotes stands, or the setting that the message begins with.

    In YAML it is looked for in the entry that begins at `line`; in a template among its quoted texts and `setting=`.
    """
    names = [] if message.startswith("not valid YAML") else _QUOTED.findall(_HINT.split(message)[0])
    setting = _SETTING.match(message)
    words = [re.escape(names[-1])] if names else []
    if words and re.search(rf"(?<!\w){words[0]}(?!\w)", lines[line - 1]):
        return line
    if not is_yaml:
        words = [rf"""['"]{word}['"]""" for word in words]
        words += [rf"\b{setting[1]}['\"]?\s*[=:]"] if setting else []
    elif setting:
        words.append(rf"{setting[1]}\s*:")
    places = range(line, _end(lines, line)) if is_yaml else range(len(lines))
    for word in words:
        for place in places:
            if re.search(rf"(?<!\w){word}(?!\w)", lines[place]):
                return place + 1
    return line


def _end(lines: list[str], line: int) -> int:
    """Return the index of the line after the YAML entry that begins at `line`: all of it is indented further."""
    deep = len(lines[line - 1]) - len(lines[line - 1].lstrip())
    for place in range(line, len(lines)):
        text = lines[place].lstrip()
        if text and not text.startswith("#") and len(lines[place]) - len(text) <= deep:
            return place
    return len(lines)


def _lines_of(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
