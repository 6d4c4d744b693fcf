"""A county in order for tests to break, judged as a refresh judges: what did not change is known from before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kpi.cache import caching
from small_county import County


@pytest.fixture(scope="module")
def judgements(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what was judged, as a refresh does: a case changes a few rows, and what hangs on them is judged anew."""
    with caching(tmp_path_factory.getbasetemp() / "judgements"):
        yield


@pytest.fixture
def county(judgements: None) -> County:
    """A county in order, to be broken."""
    return County()
