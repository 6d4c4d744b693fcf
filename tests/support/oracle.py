"""The independent oracle: what a delivery should load, and what the figures of it should be.

Call `figures(read_feeds(folder))`, or `read_feed("calls", folder / "calls", CONTRACTS["calls"])` for one feed.
"""

from oracle_cells import Cell, parse
from oracle_contracts import CONTRACTS, SIX_FEEDS, Column, Contract, Record, Value
from oracle_figures import figures
from oracle_read import FeedResult, FileResult, Reject, read_bytes, read_feed, read_feeds
from oracle_sheet import Key, Row

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
