"""The one error tree, and an error as a person reads it: each kind has its exit code and shows the line it is about."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class KpiError(Exception):
    """Anything kpi refuses or fails to do. `exit_code` is what the command line returns for it.

    `root` is the folder of the project whose files it names, when it names any.
    """

    exit_code = 1
    root: Path | None = None


class ConfigError(KpiError):
    """The project's settings or properties, or the options of a command, are not usable."""

    exit_code = 3


class DeliveryError(KpiError):
    """A delivered file is worse than its feed's contract allows. `paths` are such files, below the raw folder."""

    exit_code = 4

    def __init__(self, message: str, paths: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.paths = tuple(paths)


class ContractError(ConfigError):
    """A feed's contract contradicts itself or says something the loader does not know."""


class CompileError(KpiError):
    """A model, test, seed or macro is wrong, found before anything ran.

    `line` and `column` are 1-based; 0 when unknown.
    """

    exit_code = 5

    def __init__(self, file: Path | str, line: int, message: str, column: int = 0) -> None:
        self.file, self.line, self.column, self.message = str(file), line, column, message
        place = f"{file}:{line}:{column}" if line and column else f"{file}:{line}" if line else f"{file}"
        super().__init__(f"{place}: {message}")


class CompileErrors(CompileError):
    """Everything that compiling found, told together."""

    def __init__(self, errors: Sequence[CompileError]) -> None:
        self.errors = tuple(errors)
        super().__init__(errors[0].file, errors[0].line, errors[0].message, errors[0].column)
        self.args = ("\n".join(str(error) for error in errors),)


class BuildError(KpiError):
    """A node failed while it ran. `sql` is the statement that failed."""

    exit_code = 6

    def __init__(self, node: str, message: str, sql: str = "") -> None:
        self.node, self.sql = node, sql
        super().__init__(f"{node}: {message}")


class BuildErrors(BuildError):
    """Everything that failed while it ran, and what was skipped because of that, told together."""

    def __init__(self, errors: Sequence[BuildError], lines: Sequence[str]) -> None:
        super().__init__(errors[0].node, str(errors[0]).removeprefix(f"{errors[0].node}: "), errors[0].sql)
        self.errors = tuple(errors)
        self.args = ("\n".join(lines),)


class CheckFailed(KpiError):
    """At least one error-severity check failed; the candidate was kept and readers keep the old build."""

    exit_code = 7


class LockHeld(KpiError):
    """Another process is writing the warehouse."""

    exit_code = 8


class DiskFull(KpiError):
    """No room is left for what a run writes; what it had written was removed, and readers keep the old build."""

    exit_code = 9


def is_disk_full(error: BaseException) -> bool:
    """Tell whether an error is, or came from, a disk or a quota that is full, in Python's words or DuckDB's."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        message = str(seen).lower()
        is_of_writing = isinstance(seen, BuildError) or not isinstance(seen, KpiError)
        if is_of_writing and any(words in message for words in _FULL):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def is_not_allowed(error: BaseException) -> bool:
    """Tell whether an error is that a file may not be read or written, by this user or on this file system."""
    return isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)


def is_interrupt(error: BaseException) -> bool:
    """Tell whether an error is Ctrl-C, in Python's words or in those of DuckDB, which it stops in a statement."""
    if isinstance(error, RuntimeError):
        return str(error) == "Query interrupted"
    return isinstance(error, KeyboardInterrupt) or type(error).__name__ == "InterruptException"


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C be a KeyboardInterrupt also where it stops a statement of DuckDB's."""
    try:
        yield
    except Exception as error:
        if is_interrupt(error):
            raise KeyboardInterrupt from error
        raise


def exit_code_of(error: BaseException) -> int:
    """Return the exit code that the command line gives for an error."""
    if isinstance(error, Exception) and is_disk_full(error):
        return DiskFull.exit_code
    if is_not_allowed(error):
        return ConfigError.exit_code
    if is_interrupt(error):
        return 130
    if isinstance(error, KpiError):
        return error.exit_code
    return error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1


_FULL = ("no space left on", "disk quota exceeded", "file too large", "not enough space", "max_temp_directory_size")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint naming the known name most like `name`, or all of them when they are few, or nothing."""
    import difflib

    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" There is: {', '.join(names)}." if 0 < len(names) <= 12 else ""


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
