"""Do everything to a refresh and print the table of docs/reference/faults.md: `make faults`."""

from __future__ import annotations

import argparse
import os
import sys
import time

from .results import Result
from .scenarios import scenarios


def cpu_seconds() -> float:
    """What this and all that was forked took so far."""
    from multiprocessing import forkserver

    own = sum(os.times()[:4])
    server = getattr(forkserver._forkserver, "_forkserver_pid", None)
    if server is None:
        return own
    with open(f"/proc/{server}/stat", encoding="ascii") as stat:
        ticks = stat.read().rpartition(")")[2].split()[11:15]
    return own + sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Run the scenarios; the exit code says whether anything was wrong."""
    asked = argparse.ArgumentParser(prog="faults", description=__doc__)
    asked.add_argument("names", nargs="*", help="of scenarios; without, all of them")
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--times", type=int, default=200, help="random moments; bits and publishes are half as many")
    asked.add_argument("--short", action="store_true")
    given = asked.parse_args()
    results: list[Result] = []
    for name, scenario in scenarios(given.short, given.seed, given.times):
        if given.names and name not in given.names:
            continue
        began = time.monotonic()
        results.append(scenario())
        message = results[-1]
        print(
            f"{name}: {time.monotonic() - began:.0f} s, {message.tries} times: {message.ended}",
            file=sys.stderr,
            flush=True,
        )
        for wrong in results[-1].wrong:
            print(f"  wrong: {wrong}", file=sys.stderr)
    print(f"{cpu_seconds():.0f} CPU s", file=sys.stderr)
    user = "root" if os.getuid() == 0 else "an unprivileged user"
    print(f"Seed {given.seed}, as {user}.\n")
    print("| what is done | times | how the runs ended | wrong |")
    print("|---|---:|---|---:|")
    for result in results:
        if result.tries:
            print(f"| {result.what} | {result.tries} | {result.ended} | {len(result.wrong)} |")
    return int(any(result.wrong for result in results))


if __name__ == "__main__":
    sys.exit(main())
