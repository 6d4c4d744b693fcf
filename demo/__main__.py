"""Write the county's synthetic deliveries: `python -m demo warehouse/raw`, or `kpi demo`, which calls this."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from demo.deliver import finish_demo, write_demo
from demo.feeds import FEEDS
from kpi.errors import KpiError
from kpi.ingest.raw_files import scan


def main() -> int:
    """Write deliveries, or finish what an earlier run had ready; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description="Write synthetic deliveries of 2023 to 2025.")
    parser.add_argument("raw", type=Path, help="the folder of deliveries, which must be empty")
    parser.add_argument("--seed", type=int, default=2025, help="the same seed gives the same bytes")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the county's volumes")
    parser.add_argument("--feeds", nargs="*", help="those to write, by name; all of them unless given")
    parser.add_argument("--if-empty", action="store_true", help="do nothing where deliveries or a published build are")
    options = parser.parse_args()
    raw: Path = options.raw
    try:
        if done := finish_demo(raw):
            print(f"Finished what an earlier kpi demo began in {raw}: {done.files} SYNTHETIC files.")
            return 0
        # Where something was published, an empty folder is a loss to be told, not a place for synthetic data.
        if options.if_empty and (scan(raw).files or (raw.parent / "current").exists()):
            return 0
        print(f"Writing SYNTHETIC deliveries into {raw}: made up, no real person or event is in them.", flush=True)
        feeds = [feed for feed in FEEDS if options.feeds is None or feed.name in options.feeds]
        report = write_demo(raw, options.seed, options.scale, feeds)
    except KpiError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    size = f"{report.bytes / 1e6:.0f} MB"
    print(f"Wrote {report.files} files, {report.records} records, {size} (seed {options.seed}).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
