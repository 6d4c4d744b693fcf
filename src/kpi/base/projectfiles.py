"""Hashes of all but deliveries that decides a build: the project's files and kpi's own code. Cheap to look at."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

_ENDINGS = (".sql", ".yml", ".yaml", ".csv")
_PASSED_OVER = ("warehouse", "src", "docs", "notebooks", "benchmarks", "target", "build", "dist")


def project_digest(root: Path) -> str:
    """Hash the path and content of every SQL, YAML and CSV file of the project, outside deliveries and hidden folders.

    Wider than the project's own paths on purpose: it answers "may anything have changed?" without reading any YAML.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in project_files(root):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode("utf-8", "surrogateescape"))
        digest.update(hashlib.blake2b(path.read_bytes(), digest_size=16).digest())
    return digest.hexdigest()


def code_digest() -> str:
    """Hash kpi's own source: modules, and the queries and page templates beside them."""
    digest = hashlib.blake2b(digest_size=16)
    own = Path(__file__).parents[1]
    for path in sorted(path for pattern in ("*.py", "*.sql", "*.html") for path in own.rglob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def project_files(root: Path) -> Iterator[Path]:
    """Every SQL, YAML and CSV file of the project, in a fixed order.

    Left out are deliveries, and of the folders in the project's own those that are hidden; below models they count.
    """
    seen = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        place = os.path.realpath(folder)
        if place in seen:  # a link led back
            folders.clear()
            continue
        seen.add(place)
        is_top = Path(folder) == root
        folders[:] = sorted(
            name for name in folders if not is_top or (name[0] not in "._" and name not in _PASSED_OVER)
        )
        for name in sorted(names):
            if name.lower().endswith(_ENDINGS):
                yield Path(folder, name)
