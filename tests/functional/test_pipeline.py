"""Deliveries that come, change and go: after each load the indicators are those of the oracle, and of a fresh start.

Loaded and built on one database in memory. Whole refreshes are compared with the oracle in test_figures_all.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from random import Random

import pytest

from building import build_nodes
from hostile import clean_file, write_hostile
from kpi.engine.graph import Graph
from loading import Loader, aliases, contracts
from oracle import CONTRACTS, SIX_FEEDS, Key, Row, figures, read_feed

Doubles = tuple[float | None, float | None, float | None, int]
LONG_AFTER = date(2101, 1, 1)  # every year is finished: the oracle knows nothing of years that are not
MEDIANS = ("first_unit_response_seconds",)  # whose numerator the oracle tells and the contract leaves empty


def indicators(loader: Loader, graph: Graph) -> dict[Key, Doubles]:
    """Load what changed, build everything, and read every indicator."""
    loader.load(LONG_AFTER)
    build_nodes(loader.con, graph, list(graph.built()))
    rows = loader.con.execute(
        "select figure_id, service, report_year, basis, numerator, denominator, value, event_count"
        " from marts.indicators"
    ).fetchall()
    found = {row[:4]: row[4:] for row in rows}
    assert len(found) == len(rows)
    return found


def expected(raw: Path) -> dict[Key, Doubles]:
    known = {feed: contract.with_aliases(aliases(feed)) for feed, contract in CONTRACTS.items()}
    rows: Mapping[Key, Row] = figures({feed: read_feed(feed, raw / feed, contract) for feed, contract in known.items()})
    message = {key: row.as_doubles() for key, row in rows.items()}
    return {key: (None, *row[1:]) if key[0] in MEDIANS else row for key, row in message.items()}


def assert_same(found: dict[Key, Doubles], wanted: dict[Key, Doubles]) -> None:
    assert sorted(found) == sorted(wanted)
    for key, row in wanted.items():
        for one, other in zip(found[key], row, strict=True):
            is_same = one is other if one is None or other is None else math.isclose(one, other, rel_tol=1e-12)
            assert is_same, (key, found[key], row)


@pytest.mark.long
def test_indicators_follow_deliveries_that_come_change_and_go(tmp_path: Path, graph: Graph) -> None:
    store, raw, random = tmp_path / "store", tmp_path / "raw", Random(4)
    written = write_hostile(store, 21, rows=150, aliases={feed: aliases(feed) for feed in SIX_FEEDS})
    files = [path.relative_to(store) for path in written]
    random.shuffle(files)
    loader = Loader(raw, list(contracts().values()))
    for part in (files[: len(files) // 2], files[len(files) // 2 :]):  # the later ones correct and are corrected
        for path in part:
            loader.deliver(path.name, (store / path).read_bytes(), path.parts[0])
        assert_same(indicators(loader, graph), expected(raw))
    for number, path in enumerate(random.sample(files, 12)):  # some go, some come again as others
        if number % 2:
            loader.remove(path.name, path.parts[0])
        else:
            loader.deliver(path.name, clean_file(path.parts[0], number, rows=40), path.parts[0])
    found = indicators(loader, graph)
    assert_same(found, expected(raw))
    fresh = Loader(shutil.copytree(raw, tmp_path / "fresh"), loader.feeds)
    assert indicators(fresh, graph) == found
    assert fresh.content() == loader.content()
