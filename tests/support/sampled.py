"""How many seeds the random tests take: a few in CI, where minutes count, all with KPI_ALL_SEEDS=1."""

from __future__ import annotations

import os
from typing import TypeVar

Sample = TypeVar("Sample")


def sampled(few: Sample, everything: Sample) -> Sample:
    """Return what a random test goes through: the few of every run of CI, or everything when the environment asks."""
    return everything if os.environ.get("KPI_ALL_SEEDS") else few
