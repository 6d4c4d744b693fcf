"""A refresh over files of another user that may not be read: `without_rights.py PROJECT`, which has one delivery.

The first refresh has root's rights, so that whatever is imported late is there; then they are given up.
"""

from __future__ import annotations

import os
import sys
from datetime import date
from pathlib import Path

from kpi.jobs.notifications import unreadable
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh

NOBODY = 65534
CLOSED = ("runs/000050-x.jsonl", "notify.txt")
OPTIONS = Options(date(2026, 3, 5), validate=False)


def main() -> None:
    """Refresh twice, and print what is said of the addresses."""
    root = Path(sys.argv[1])
    refresh(root, OPTIONS, lambda _: None)
    delivery = root / "warehouse/raw/calls/a.csv"
    delivery.write_text(delivery.read_text() + "2,health,6,2025-01-02\n")
    for path in (root, *root.rglob("*")) if os.getuid() == 0 else ():
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    for name in CLOSED:
        path = root / "warehouse" / name
        path.parent.mkdir(exist_ok=True)
        path.parent.chmod(0o777)
        path.write_text("{}\n")
        path.chmod(0)
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    if not refresh(root, OPTIONS, lambda _: None).published:
        sys.exit("not published")
    sys.stdout.write(unreadable(root / "warehouse") + "\n")


if __name__ == "__main__":
    main()
