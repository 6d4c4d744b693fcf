"""`python -m benchmarks.memory`: a refresh of ten times the demo's calls with 512 MB for DuckDB, in a temporary folder.

It shows whether load and build finish by spilling: time, peak memory of the process, and the most that lay in the
temporary folder. Time and disk are bounded: beyond them the refresh is ended and that is the result.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.county import copy_county
from demo.feeds import FEEDS

HERE = Path(__file__).resolve().parent
TODAY = "2026-11-21"
WRITE = """\
import sys
from pathlib import Path
from demo.deliver import FEEDS, write_demo
calls = [feed for feed in FEEDS if feed.name == "calls"]
write_demo(Path(sys.argv[1]), scale=float(sys.argv[2]), feeds=calls)
others = [feed for feed in FEEDS if feed.name != "calls" and feed.name in sys.argv[3:]]
write_demo(Path(sys.argv[1]), scale=min(1, float(sys.argv[2])), feeds=others)
"""


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder that others may be writing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(place, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def main() -> None:
    """Write the deliveries, refresh, print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--scale", type=float, default=10, help="of the calls, at most 10; other feeds follow it below 1"
    )
    parser.add_argument("--memory-limit", default="512MB")
    parser.add_argument("--minutes", type=float, default=10, help="after which the refresh is ended")
    parser.add_argument("--gigabytes", type=float, default=15, help="of disk, beyond which it is ended")
    names = [feed.name for feed in FEEDS]
    parser.add_argument("--feeds", nargs="*", default=names, help="those delivered beside the calls; all unless given")
    parser.add_argument("--expectations", action="store_true", help="judge the report years too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kpi-memory-") as name:
        root = Path(name) / "project"
        if shutil.disk_usage(name).free < given.gigabytes * 1e9:
            sys.exit(f"less than {given.gigabytes:g} GB are free here; see --gigabytes")
        copy_county(root)
        raw = root / "warehouse/raw"
        started = time.perf_counter()
        writing = [sys.executable, "-c", WRITE, str(raw), str(given.scale), *given.feeds]
        subprocess.run(writing, check=True, cwd=HERE.parent)
        took = time.perf_counter() - started
        print(f"wrote {len({'calls', *given.feeds})} feeds, {size_of(raw) / 1e6:.0f} MB, in {took:.0f} s", flush=True)
        sys.exit(refresh(root, given))


def refresh(root: Path, given: argparse.Namespace) -> str | None:
    """Refresh within the bounds, and print what was seen. Returns what went wrong."""
    spill = root / "spill"
    spill.mkdir()
    command = [sys.executable, "-m", "kpi.cli", "refresh", "--as-of", TODAY, "--project-dir", str(root)]
    command += ["--publish-despite-checks", "more calls than were published", "--log-format", "plain"]
    command += ["--memory-limit", given.memory_limit, "--temp-directory", str(spill)]
    command += [] if given.expectations else ["--no-expectations"]
    most, disk, ended = 0, 0, ""
    with tempfile.TemporaryFile() as message:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=message, stderr=message)
        while True:
            done, status, usage = os.wait4(process.pid, os.WNOHANG)
            if done:
                break
            most, disk = max(most, size_of(spill)), max(disk, size_of(root))
            if not ended and (time.perf_counter() - started > given.minutes * 60 or disk > given.gigabytes * 1e9):
                ended = "out of time" if disk <= given.gigabytes * 1e9 else "out of disk"
                process.kill()
            time.sleep(0.2)
        wall = time.perf_counter() - started
        message.seek(0)
        lines = message.read().decode().splitlines()
    code = os.waitstatus_to_exitcode(status)
    print(f"memory limit {given.memory_limit}, calls x {given.scale:g}: exit {code} {ended}")
    print(
        f"wall {wall:.0f} s, CPU {usage.ru_utime + usage.ru_stime:.0f} s, peak memory {usage.ru_maxrss / 1024:.0f} MB"
    )
    print(f"most spilled {most / 1e6:.0f} MB, most on disk {disk / 1e6:.0f} MB")
    print("\n".join(line for line in lines if not line.startswith("  warning: ")))
    return f"the refresh did not finish {ended}" if code else None


if __name__ == "__main__":
    main()
