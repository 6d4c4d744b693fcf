"""Texts as the oracle reads them, for tests of the oracle itself."""

from __future__ import annotations

from datetime import datetime

from oracle import (
    CONTRACTS,
    Column,
    Contract,
    FeedResult,
    FileResult,
    Record,
    read_bytes,
)

CALLS = CONTRACTS["calls"]
HEADER = "call_id,service_line,arrived_at,answered_at,ended_at"


def load(text: str | bytes, contract: Contract = CALLS, name: str = "a.csv") -> tuple[FileResult, list[Record]]:
    return read_bytes(contract, name, text.encode() if isinstance(text, str) else text)


def column(feed: str, name: str) -> Column:
    return CONTRACTS[feed].column(name)


def feed_of(feed: str, text: str) -> dict[str, FeedResult]:
    """A feed of one file, each record of which loads."""
    result, rows = load(text, CONTRACTS[feed])
    assert result.rejected == 0, result.rejects
    assert result.refused is None
    return {feed: FeedResult(feed, (result,), tuple(rows))}


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text)
