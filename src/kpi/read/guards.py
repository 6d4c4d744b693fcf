"""Whether what schemas are left out for readers is kept from them: modes, groups, earlier builds, deliveries, logs."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kpi.base.errors import KpiError
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.keeping import rolled_back_from, shows
from kpi.warehouse.rights import DATABASE, group_of, is_closed, left_out, whole


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `remedy` says what to do when it is not well."""

    level: Literal["ok", "warning", "error"]
    what: str
    remedy: str = ""


def guarded(warehouse: Warehouse) -> Iterator[Finding]:
    """Look whether readers can get at schemas that the project leaves out for them; nothing when it leaves out none."""
    asked = _asked(warehouse)
    current = warehouse.current()
    schemas = asked if asked is not None else left_out(warehouse.facts(current))
    found = [finding for folder in warehouse.kept() for finding in _modes(warehouse, folder)]
    if schemas:
        found += _shown(warehouse, schemas)
        found += _beside(warehouse)
        if not found:
            found.append(Finding("ok", f"readers cannot get at {', '.join(sorted(schemas))}"))
    yield from found


def _asked(warehouse: Warehouse) -> frozenset[str] | None:
    """The schemas that the project leaves out; None when that cannot be told."""
    from kpi.parse.project import load_project

    try:
        return frozenset(load_project(warehouse.root.parent).upkeep.stewards_schemas)
    except KpiError:
        return None


def _modes(warehouse: Warehouse, folder: Path) -> Iterator[Finding]:
    """What others, or another group, can get at of a build's stewards' part."""
    place = whole(folder)
    if place == folder:
        return
    group = str(warehouse.facts(folder).get("stewards", {}).get("group", ""))
    has_readers = os.path.lexists(folder / DATABASE)
    for path in (place, place / DATABASE) if has_readers else (folder, place, place / DATABASE):
        try:
            about = path.stat()
        except OSError:  # it is closed to whoever asks
            continue
        mode, told = stat.S_IMODE(about.st_mode), path.relative_to(warehouse.builds)
        allowed = 0o700 | (0o050 if group else 0)
        if mode & ~allowed or (path.name == DATABASE and mode & 0o222):
            remedy = f"chmod {allowed if path.is_dir() else allowed & 0o440:04o} {path}"
            yield Finding("error", f"{told} is for stewards, and has the mode {mode:04o}", remedy)
        if group and group_of(about.st_gid) != group:
            yield Finding("error", f"{told} belongs to group {group_of(about.st_gid)}", f"chgrp {group} {path}")


def _shown(warehouse: Warehouse, schemas: frozenset[str]) -> Iterator[Finding]:
    """Builds that show readers what the project leaves out: made before it did."""
    current = warehouse.current()
    group = _group(warehouse)
    for folder in warehouse.kept():
        if not os.access(folder, os.X_OK) or is_closed(folder, group):
            continue
        if shown := shows(warehouse, folder, schemas):
            told = f"build {folder.name} shows all readers {', '.join(shown)}"
            newer = rolled_back_from(warehouse)
            forward = f"kpi rollback {newer.name}" if newer else "Run: kpi refresh"
            remedy = forward if folder == current else f"chmod 0700 {folder}, or remove it"
            yield Finding("warning", told, remedy)


def _beside(warehouse: Warehouse) -> Iterator[Finding]:
    """The same rows where no build guards them: as they were delivered, and in what runs told."""
    runs, raw = warehouse.root / "runs", warehouse.raw
    if runs.is_dir() and not is_closed(runs, _group(warehouse)):
        yield Finding("warning", f"readers may open {runs}, where errors quote rows", f"chmod 0700 {runs}")
    way = [folder.stat().st_mode & 0o001 for folder in (warehouse.root.parent, warehouse.root)]
    if raw.is_dir() and all(way) and raw.stat().st_mode & 0o001:
        told = f"others may look into {raw}, where the rows are that readers' builds leave out"
        yield Finding("warning", told, f"chmod o-rwx {raw}")


def _group(warehouse: Warehouse) -> str:
    return str(warehouse.facts_of().get("stewards", {}).get("group", ""))
