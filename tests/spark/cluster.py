"""A standalone cluster of Spark on loopback, in a folder that goes with it: that of the benchmarks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import benchmarks.cluster
from with_spark import SPARK, needed


@contextmanager
def cluster() -> Iterator[str]:
    """Start a master and two workers on 127.0.0.1; yields the address of the master."""
    needed(SPARK)
    with (
        tempfile.TemporaryDirectory(prefix="kpi-cluster-") as folder,
        benchmarks.cluster.cluster(Path(folder)) as running,
    ):
        yield running.address
