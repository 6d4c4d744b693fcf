"""The one error tree, and an error as a person reads it: each kind has its exit code and shows the line it is about."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Exit:
    """One way in which a command ends: its exit code, the word that `kpi runs` has for it, and what to do then.

    `meaning` says when it ends so, `readers` what readers see. Nothing else gives an exit code its word or remedy.
    """

    code: int
    outcome: str
    meaning: str
    readers: str = "the old build"
    remedy: str = ""


_LOOK = "See what it did and whether the warehouse is well: kpi runs show, kpi doctor. Then: kpi refresh"
_KEPT = "the old build; the candidate is kept"
UNEXPECTED, USAGE, DONE, INTERRUPTED, KILLED = 1, 2, 0, 130, 137
ENGINE_LOST = 13
NOTHING_TO_DO, WITH_WARNINGS, HELD_BACK = 10, 11, 12  # with --detailed-exit-codes
EXITS: Mapping[int, Exit] = {
    one.code: one
    for one in (
        Exit(DONE, "published", "published, held back, or nothing to do", "the new build, or the same"),
        Exit(UNEXPECTED, "failed", "unexpected failure", remedy=_LOOK),
        Exit(USAGE, "failed", "wrong use of a command", remedy="See its --help"),
        Exit(
            3,
            "configuration",
            "settings, properties, options or a query that cannot be used; files of the warehouse that may not be read"
            " or written",
            remedy="Mend the setting that is named above, then: kpi refresh",
        ),
        Exit(
            4,
            "deliveries",
            "deliveries worse than their contract allows, or all of them gone",
            _KEPT,
            "Ask for the delivery again or take it out of warehouse/raw; or let it through:"
            " kpi refresh --max-reject-share 1",
        ),
        Exit(
            5,
            "project",
            "a model, test, seed or macro is wrong; nothing ran",
            remedy="Mend the file that is named above, then: kpi refresh",
        ),
        Exit(
            6,
            "build failed",
            "a node failed while it ran",
            _KEPT,
            "Mend the model that is named above, then: kpi refresh",
        ),
        Exit(
            7,
            "checks failed",
            "a check failed",
            _KEPT,
            "Look into the candidate that was kept (kpi builds). Mend what is wrong, or publish it all the same:"
            " kpi refresh --publish-despite-checks REASON",
        ),
        Exit(
            8,
            "lock held",
            "another process is writing; the message says which and since when",
            remedy="See whether the run that holds the lock goes on or hangs: kpi runs",
        ),
        Exit(
            9,
            "disk full",
            "the disk or a quota is full, or what DuckDB may spill; what the run had written is removed",
            remedy="Free disk (kpi doctor tells how much is needed), then: kpi refresh",
        ),
        Exit(NOTHING_TO_DO, "nothing to do", "with `--detailed-exit-codes`: nothing to do", "the same"),
        Exit(WITH_WARNINGS, "published", "with `--detailed-exit-codes`: published, with warnings", "the new build"),
        Exit(HELD_BACK, "held back", "with `--detailed-exit-codes`: built but held back, as with `--select`"),
        Exit(
            ENGINE_LOST,
            "engine lost",
            "the engine that computes the models (Spark) cannot be reached, or was lost while it ran",
            "the old build; what was built is kept",
            "See whether Spark is there: kpi doctor. Then: kpi retry, or kpi refresh when nothing was built yet",
        ),
        Exit(INTERRUPTED, "interrupted", "interrupted with Ctrl-C"),
        Exit(
            KILLED,
            "killed",
            "killed, as a shell says it (SIGKILL; 143 is SIGTERM); the next run notes it",
            remedy=_LOOK,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is wrong: a file of the project or below the raw folder; line and column from 1, 0 for none."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        parts = (self.file, self.line, self.column if self.line else 0)
        return ":".join(str(part) for part in parts if part)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, as the code that met it knows it. Everybody else reads its fields, never its text.

    `code` is its kind, a word for programs; `message` says what is wrong, with nothing in it that was delivered as the
    content of a row; `subject` is the node, test, expectation or setting it is about. `restricted` is what stands for
    the message where rows may be quoted: on the terminal and in the log of who runs it. Readers and mails get `public`.
    """

    code: str
    message: str
    place: Place = Place("")
    suggestion: str = ""
    restricted: str = ""
    subject: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it the same problem another night, whatever it counts: its kind, subject and file."""
        return self.code, self.subject, "" if self.subject else self.place.file

    def public(self) -> Problem:
        """Return what all readers, and mails, may have of it."""
        return replace(self, restricted="")

    def __str__(self) -> str:
        place = str(self.place)
        head = f"{self.subject} ({place})" if self.subject and place else self.subject or place
        text = self.restricted or self.message
        return f"{f'{head}: ' if head else ''}{text}{f' {self.suggestion}' if self.suggestion else ''}"


class KpiError(Exception):
    """Anything kpi refuses or fails to do. `exit_code` is what the command line returns for it, one of EXITS.

    `root` is the folder of the project whose files it names, when it names any.
    """

    exit_code = UNEXPECTED
    root: Path | None = None

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong, each thing by itself."""
        return (Problem(EXITS[self.exit_code].outcome, str(self)),)


class PlacedError(KpiError):
    """An error that knows where in a file it is."""

    def __init__(self, message: str, place: Place | None = None) -> None:
        self.message, self.place = message, place or Place("")
        super().__init__(f"{place}: {message}" if place else message)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong, with its place."""
        return (Problem(EXITS[self.exit_code].outcome, self.message, self.place),)


class ConfigError(PlacedError):
    """The project's settings or properties, or the options of a command, are not usable."""

    exit_code = 3


class ConfigErrors(ConfigError):
    """Several mistakes of settings, properties and files, reported together."""

    def __init__(self, errors: Sequence[KpiError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in errors))

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong, in the order of the errors."""
        return tuple(problem for error in self.errors for problem in error.problems)


class DeliveryError(KpiError):
    """A delivered file is worse than its feed's contract allows. `files` says of each such file what is wrong with it.

    `is_unreadable` tells that a file or folder may not be read, or is not there.
    """

    exit_code = 4

    def __init__(self, message: str, files: Iterable[Problem] = (), is_unreadable: bool = False) -> None:
        super().__init__(message)
        self.files, self.is_unreadable = tuple(files), is_unreadable

    @property
    def paths(self) -> frozenset[str]:
        """Those files, below the raw folder."""
        return frozenset(problem.place.file for problem in self.files)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with each file; the whole text when it is about no single one."""
        return self.files or (Problem(EXITS[self.exit_code].outcome, str(self)),)


class ContractError(ConfigError):
    """A feed's contract contradicts itself or says something the loader does not know."""


class CompileError(KpiError):
    """A model, test, seed or macro is wrong, found before anything ran.

    `line` and `column` are 1-based; 0 when unknown. `code` is the kind of mistake, where a program asks for it.
    """

    exit_code = 5

    def __init__(self, file: Path | str, line: int, message: str, column: int = 0, code: str = "") -> None:
        self.file, self.line, self.column, self.message = str(file), line, column, message
        self.code = code or EXITS[self.exit_code].outcome
        super().__init__(f"{Place(self.file, line, column)}: {message}")

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong, with its place."""
        return (Problem(self.code, self.message, Place(self.file, self.line, self.column)),)


class CompileErrors(CompileError):
    """Everything that compiling found, reported together."""

    def __init__(self, errors: Sequence[CompileError]) -> None:
        self.errors = tuple(errors)
        super().__init__(errors[0].file, errors[0].line, errors[0].message, errors[0].column)
        self.args = ("\n".join(str(error) for error in errors),)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong, in the order of files and lines."""
        return tuple(problem for error in self.errors for problem in error.problems)


class BuildError(KpiError):
    """A node failed while it ran, or what was built is not what it must be. `sql` is the statement that failed.

    `message` is what all may read; `restricted` is what DuckDB said, which quotes rows.
    """

    exit_code = 6

    def __init__(
        self, node: str, message: str, sql: str = "", *, place: Place | None = None, restricted: str = ""
    ) -> None:
        self.node, self.message, self.sql = node, message, sql
        self.problem = Problem(EXITS[6].outcome, message, place or Place(""), restricted=restricted, subject=node)
        super().__init__(str(self.problem))

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What failed."""
        return (self.problem,)


class BuildErrors(BuildError):
    """Everything that failed while it ran, and what was skipped because of that, reported together."""

    def __init__(self, errors: Sequence[BuildError], lines: Sequence[str]) -> None:
        first = errors[0]
        super().__init__(
            first.node, first.message, first.sql, place=first.problem.place, restricted=first.problem.restricted
        )
        self.errors = tuple(errors)
        self.args = ("\n".join(lines),)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What failed; not what was skipped because of it."""
        return tuple(problem for error in self.errors for problem in error.problems)


class CheckFailed(KpiError):
    """At least one error-severity check failed; the candidate was kept and readers keep the old build.

    `checks` says which, where they are more than the text of the error.
    """

    exit_code = 7

    def __init__(self, message: str, checks: Iterable[Problem] = ()) -> None:
        super().__init__(message)
        self.checks = tuple(checks)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What failed, check by check; the whole text when it is about no single one."""
        return self.checks or (Problem(EXITS[self.exit_code].outcome, str(self)),)


class LockHeld(KpiError):
    """Another process is writing the warehouse."""

    exit_code = 8


class StatementError(Exception):
    """A statement failed for Spark. `kind` is what all may read; the text is what it said, which may quote a row."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


class EngineLost(KpiError):
    """The engine that computes the models, when it is another than DuckDB, cannot be reached or was lost."""

    exit_code = ENGINE_LOST


class DiskFull(KpiError):
    """No room is left for what a run writes; what it had written was removed, and readers keep the old build."""

    exit_code = 9


def is_disk_full(error: BaseException) -> bool:
    """Tell whether an error is, or came from, a disk or a quota that is full, in Python's words or DuckDB's."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        message = str(cause).lower()
        is_of_writing = isinstance(cause, BuildError) or not isinstance(cause, KpiError)
        if is_of_writing and any(words in message for words in _FULL):
            return True
        cause = cause.__cause__ or cause.__context__
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
        return INTERRUPTED
    if isinstance(error, KpiError):
        return error.exit_code
    return error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else UNEXPECTED


def exit_of(error: BaseException) -> Exit:
    """Return how a run ends that ends with an error."""
    return EXITS.get(exit_code_of(error), EXITS[UNEXPECTED])


def problems_of(error: BaseException) -> tuple[Problem, ...]:
    """Return what is wrong by an error. Of one that kpi did not expect only its kind is public."""
    if isinstance(error, KpiError):
        return error.problems
    kind = type(error).__name__
    return (Problem(EXITS[UNEXPECTED].outcome, f"{kind}, which kpi did not expect.", restricted=str(error) or kind),)


_FULL = ("no space left on", "disk quota exceeded", "file too large", "not enough space", "max_temp_directory_size")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint naming the known name most like `name`, or all of them when they are few, or nothing."""
    import difflib

    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" There is: {', '.join(names)}." if 0 < len(names) <= 12 else ""


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
    return [_mistake(problem, error.root) for problem in error.problems]


def error_text(error: KpiError) -> str:
    """Return an error as text: for each mistake its place and message, then the source line and a caret."""
    text = str(error)
    if text != "\n".join(map(str, error.problems)):  # it says more than its problems: counts, and what to do
        return text
    return "\n".join(line for mistake in mistakes(error) for line in _lines(mistake))


def _lines(mistake: Mistake) -> Iterator[str]:
    yield str(mistake)
    if mistake.source.strip() and mistake.column:
        yield f"    {mistake.source}"
        # Tabs stay tabs, so that the caret stands where the terminal shows the place.
        yield "    " + re.sub(r"[^\t]", " ", mistake.source[: mistake.column - 1]) + "^"


def _mistake(problem: Problem, root: Path | None) -> Mistake:
    place, message = problem.place, problem.message
    if not place.line or problem.subject or problem.restricted:  # of what ran, not of a file's text
        return Mistake("", 0, 0, str(problem))
    file, line, column = place.file, place.line, place.column
    lines = _lines_of(root / file) if root else []
    if not column and 0 < line <= len(lines):
        line = _meant(lines, line, message, is_yaml=file.endswith((".yml", ".yaml")))
    source = lines[line - 1] if 0 < line <= len(lines) else ""
    if source and not column:
        names = [name for name in _QUOTED.findall(message) if name in source]
        column = (source.index(names[0]) if names else len(source) - len(source.lstrip())) + 1
    return Mistake(file, line, column, message, source)


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
