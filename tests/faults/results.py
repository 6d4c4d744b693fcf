"""What a scenario tells, and the stage it is played on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .stage import Stage


@dataclass(frozen=True, slots=True)
class Result:
    """A row of the table: what was done, how often, how the runs ended, and all that should not have been."""

    what: str
    tries: int
    ended: str
    wrong: tuple[str, ...] = ()


@contextmanager
def stage_of(inside: Path | None = None, stewards: bool = False, second: bool = False) -> Iterator[Stage]:
    """A stage, removed afterwards."""
    stage = Stage.make(inside, stewards, second)
    try:
        yield stage
    finally:
        stage.remove()


def result_of(what: str, stage: Stage, ended: Iterable[str], tail: str = "") -> Result:
    counts = Counter(ended)
    message = ", ".join(f"{count} {how}" for how, count in sorted(counts.items()))
    return Result(what, counts.total(), message + tail, tuple(stage.wrong))
