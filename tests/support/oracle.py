"""The independent oracle: what a delivery should load, and what the figures of it should be.

Call `figures(read_feeds(folder))`, or `read_feed("calls", folder / "calls", CONTRACTS["calls"])` for one feed.
"""

from oracle_figures import Key, Row, figures
from oracle_read import (
    CONTRACTS,
    SIX_FEEDS,
    Cell,
    Column,
    Contract,
    FeedResult,
    FileResult,
    Record,
    Reject,
    Value,
    parse,
    read_bytes,
    read_feed,
    read_feeds,
)

__all__ = [
    "CONTRACTS",
    "SIX_FEEDS",
    "Cell",
    "Column",
    "Contract",
    "FeedResult",
    "FileResult",
    "Key",
    "Record",
    "Reject",
    "Row",
    "Value",
    "figures",
    "parse",
    "read_bytes",
    "read_feed",
    "read_feeds",
]
