"""What became of each delivered file of a build, with every warning about it, from the build's record."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from kpi.build_record import BuildRecord
from kpi.errors import ConfigError, nearest
from kpi.presentation import one_line
from kpi.sql import counted


@dataclass(frozen=True, slots=True)
class DeliveryWarning:
    """What is worth a warning of a delivery: the kind of problem, and what it is."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class DeliveredFile:
    """A delivered file: its records, and how many of its rows were loaded, rejected, superseded; None if unknown.

    A warning about a whole feed, or about a file that no feed reads, is of a `file` with no records at all.
    """

    feed: str
    file: str
    records: int | None = None
    rows_loaded: int | None = None
    rows_rejected: int | None = None
    rows_superseded: int | None = None
    warnings: list[DeliveryWarning] = field(default_factory=list)


def delivered_files(record: BuildRecord, feed: str | None = None) -> list[DeliveredFile]:
    """Return the files of a build by feed and name, or those of one feed. Raises ConfigError when there is no such."""
    found = {
        (file.feed, file.file): DeliveredFile(
            file.feed, file.file, file.records, file.rows_loaded, file.rows_rejected, file.rows_superseded
        )
        for file in record.files or ()
    }
    for problem in record.warnings:
        if not problem.code.startswith(("file.", "folder.", "feed.")):
            continue
        of_feed, _, name = problem.place.file.partition("/")
        key = (problem.subject or of_feed, "" if problem.subject else name)
        text = f"{problem.message}{f' {problem.suggestion}' if problem.suggestion else ''}"
        found.setdefault(key, DeliveredFile(*key)).warnings.append(DeliveryWarning(problem.code, text))
    if feed is not None and (known := {name for name, _ in found}) and feed not in known:
        raise ConfigError(f"there is no feed '{feed}'.{nearest(feed, known)}")
    return [found[key] for key in sorted(found) if feed in (None, key[0])]


def delivery_lines(files: Sequence[DeliveredFile]) -> Iterator[str]:
    """Yield a line for each feed, and below it one for each warning."""
    for feed, of_feed in itertools.groupby(files, key=lambda file: file.feed):
        members = list(of_feed)
        delivered = [file for file in members if file.records is not None]
        numbers = (
            counted(len(delivered), "file"),
            counted(sum(file.records or 0 for file in delivered), "record"),
            f"{sum(file.rows_rejected or 0 for file in delivered)} rejected",
            counted(sum(len(file.warnings) for file in members), "warning"),
        )
        yield one_line(f"{feed}: {', '.join(numbers)}")
        for file in members:
            head = f"{file.file}: " if file.file else ""
            yield from (one_line(f"  {head}{warning.message}") for warning in file.warnings)
    if not files:
        yield "There are no deliveries."
