"""Writing the warehouse: the one lock, what a run before left, and the ledger of what became of every build.

Imports nothing heavy.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kpi.base.errors import ConfigError, DiskFull, is_disk_full
from kpi.base.events import Tell, silent
from kpi.base.files import why_unreadable
from kpi.base.lock import held, is_held
from kpi.deliveries.personal import message
from kpi.warehouse.builds import Warehouse, number_of

UNREADABLE = "unreadable-ledger-"


@contextmanager
def writing(warehouse: Warehouse, wait_seconds: float = 0, tell: Tell = silent) -> Iterator[bool]:
    """Hold the one writer's lock, waiting for it at most so long; yields whether it had to. Raises LockHeld.

    When the disk is full in the meantime, what was being written is removed, and DiskFull raised.
    """
    with held(warehouse.builds / ".lock", wait_seconds, tell) as waited:
        link = warehouse.root / "current"
        if link.is_dir() and not link.is_symlink():
            raise ConfigError(f"{link} is a folder, not the link that readers follow. Move it away, then run again.")
        _clean(warehouse)
        _set_aside(warehouse, tell)
        _catch_up(warehouse)
        try:
            yield waited
        except Exception as error:
            if not is_disk_full(error):
                raise
            _clean(warehouse)
            told = "What this run had written was removed, and readers keep the build they had."
            first = str(error).split("\n", maxsplit=1)[0]
            raise DiskFull(f"the disk is full ({first}). {told} kpi doctor tells how much room is needed.") from error


def is_being_written(warehouse: Warehouse) -> bool:
    """Tell whether a process holds the writer's lock at this moment."""
    return is_held(warehouse.builds / ".lock")


def record(warehouse: Warehouse, build: str, event: str, reason: str = "") -> None:
    """Append one event of a build to the ledger."""
    at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    line = {"at": at, "build": build, "event": event, "reason": message(reason)}
    path = warehouse.builds / "ledger.jsonl"
    # A crash may have cut the last line short; a line end of our own keeps the next one whole.
    broken = path.is_file() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with path.open("ab") as stream:
        stream.write(("\n" if broken else "").encode() + json.dumps(line, ensure_ascii=False).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def _clean(warehouse: Warehouse) -> None:
    """Remove what a killed run left, but for what another user did. Only the holder of the lock may."""
    import shutil

    for leftover in warehouse.builds.glob(".tmp-*"):
        is_folder = leftover.is_dir() and not leftover.is_symlink()
        shutil.rmtree(leftover, ignore_errors=True) if is_folder else leftover.unlink()
    (warehouse.root / ".current-next").unlink(missing_ok=True)


def _set_aside(warehouse: Warehouse, tell: Tell) -> None:
    """Move a ledger that cannot be read and written out of the way: the builds themselves tell most of what it did."""
    path = warehouse.builds / "ledger.jsonl"
    why = why_unreadable(path)
    if not why and path.is_file() and not os.access(path, os.W_OK):
        why = f"user {os.getuid()} may not write it"
    if why:
        aside = path.with_name(f"{UNREADABLE}{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
        os.rename(path, aside)
        tell(f"  warning: the ledger could not be used ({why}): it is now {aside.name}, and a new one is begun.")


def _catch_up(warehouse: Warehouse) -> None:
    """Record what a run made that died before it could say so, what a lost ledger knew, and what is gone.

    What a run was about to publish and did not is removed.
    """
    current, events, kept = warehouse.current(), warehouse.ledger(), warehouse.kept()
    late = f"recorded late: {'the run that made it was cut short' if events else 'the ledger was lost'}"
    for build in sorted(missing(events, kept)):
        record(warehouse, build, "gone", "its folder is not there any more")
    if current in kept and current.name not in told_published(warehouse):
        record(warehouse, current.name, "published", late)
    newest = max((number_of(str(event.get("build"))) for event in events), default=0)
    shown = number_of(current.name) if current else 0
    for folder in kept if newest or shown else ():
        if number_of(folder.name) <= newest or folder == current:
            continue
        status = str(warehouse.facts(folder).get("status", "failed"))
        if status == "published" and number_of(folder.name) > shown and events:
            remove(folder)
        else:
            record(warehouse, folder.name, status, late)


def missing(events: Iterable[Mapping[str, Any]], kept: Sequence[Path]) -> set[str]:
    """Return the ids of builds that the ledger does not say are gone, and whose folders are."""
    last = {str(event.get("build")): event.get("event") for event in events}
    return {build for build, event in last.items() if event not in ("pruned", "gone")} - {path.name for path in kept}


def told_published(warehouse: Warehouse) -> set[str]:
    """Return the ids of all builds that readers were ever shown."""
    return {str(event.get("build")) for event in warehouse.ledger() if event.get("event") == "published"}


def forget_reasons(warehouse: Warehouse) -> None:
    """Take out of the ledger what runs failed of, which may quote a row. Only the holder of the lock may."""
    events = warehouse.ledger()
    if not any(event.get("event") == "failed" and event.get("reason") for event in events):
        return
    lines = [event | {"reason": ""} if event.get("event") == "failed" else event for event in events]
    new = warehouse.builds / ".tmp-ledger"
    with new.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(new, warehouse.builds / "ledger.jsonl")


def left_at(events: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return when readers were last pointed from a build to another one, by its id, as the ledger writes instants."""
    left: dict[str, str] = {}
    shown = ""
    for event in events:
        if event.get("event") in ("published", "rolled back to"):
            left[shown], shown = str(event.get("at", "")), str(event.get("build"))
    return left


def remove(folder: Path) -> None:
    """Remove the folder of a build, so that no part of it ever stands under its name."""
    import shutil

    doomed = folder.with_name(f".tmp-{folder.name}")
    folder.rename(doomed)
    shutil.rmtree(doomed)
