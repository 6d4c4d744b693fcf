"""Why a figure differs between two builds: deliveries, seeds, code and the engine, in parts that sum to the change.

This is the interface that releases use; it is being written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from kpi.build_record import BuildRecord
from kpi.provenance.contributions import Part

if TYPE_CHECKING:
    from kpi.ingest.contract import Feed


@dataclass(frozen=True, slots=True)
class BuildSide:
    """A build to compare: its record, and its DuckDB file with all schemas that the figure is made from."""

    record: BuildRecord
    database: Path


@dataclass(frozen=True, slots=True)
class Key:
    """A figure of a service in a report year; an empty basis is the only one, or the main one."""

    figure: str
    service: str
    year: int
    basis: str = ""


@dataclass(frozen=True, slots=True)
class BuildChange:
    """How a figure moved between two builds, and the parts of it by cause, largest first.

    `before` and `after` are the exact values in the figure's unit, None where there is none; `shown_*` as printed.
    `without` are the values that a median would have without each delivery, by its path; they do not sum. `notes` say
    what limits the answer.
    """

    key: Key
    before: Fraction | None
    after: Fraction | None
    shown_before: Decimal | None
    shown_after: Decimal | None
    parts: tuple[Part, ...]
    without: Mapping[str, Fraction | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Attribution:
    """Two builds compared, for as many figures as one asks: what is built on the way is built once.

    `feeds` are the contracts of the project (`kpi.engine.compile.compiled(root).graph.feeds`).
    """

    def __init__(self, before: BuildSide, after: BuildSide, feeds: Sequence[Feed]) -> None:
        self.before, self.after, self.feeds = before, after, feeds

    def causes(self, key: Key) -> BuildChange:
        """Return how a figure moved and why. Raises ConfigError when it is in neither build."""
        raise NotImplementedError
