"""The builds on disk: the lock, private folders, the published build and the ledger. Imports nothing heavy.

A build is a folder `builds/<id>` that never changes once it has that name. Readers follow the symlink `current`, which
is swapped by a rename; whoever has a build open keeps it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi.base.errors import ConfigError, DiskFull, is_disk_full, nearest
from kpi.base.events import Tell, silent
from kpi.base.lock import held, is_held
from kpi.deliveries.rawfiles import hash_of
from kpi.warehouse.rights import DATABASE, close, make_place, open_up, whole

if TYPE_CHECKING:
    from kpi.base.upkeep import Upkeep

# Failing rows that `kpi test --store-failures` kept of a build, beside it.
FAILURES = "failures.duckdb"
FACTS = "build.json"
_NEWEST = {"candidate": "build that failed or was held back", "latest": "build"}


@dataclass(frozen=True, slots=True)
class Warehouse:
    """The folder `warehouse/` of a project."""

    root: Path

    @property
    def raw(self) -> Path:
        """Where the source systems deliver."""
        return self.root / "raw"

    @property
    def builds(self) -> Path:
        """Where every build has its folder."""
        return self.root / "builds"

    def current(self) -> Path | None:
        """Return the folder of the published build, or None when nothing was published yet."""
        link = self.root / "current"
        return self.builds / os.readlink(link).rpartition("/")[2] if link.is_symlink() else None

    def folder(self, build: str | None = None) -> Path:
        """Return the folder of a build, or of the published one.

        A build is named by its id, its number, a beginning of its id that no other has, `candidate` (the newest that
        failed or was held back) or `latest` (the newest, whatever became of it). Raises ConfigError when there is none.
        """
        if build is None:
            folder = self.current()
            if folder is None or not os.path.isfile(folder / DATABASE):
                raise ConfigError(f"{self.root}: nothing is published here yet. Run: kpi refresh")
            return self.root / "current"
        return self.builds / self._named(build)

    def _named(self, wanted: str) -> str:
        """The id of the build that is meant: an id, its number, a beginning that only one has, or a word for one."""
        names = [entry.name for entry in self.kept()]
        if wanted in names:
            return wanted
        if wanted in _NEWEST:
            return self._newest(wanted)
        if wanted.isdecimal():
            found = [name for name in names if name.partition("-")[0] == wanted.zfill(5)]
        else:
            found = [name for name in names if wanted and name.startswith(wanted)]
        if len(found) > 1:
            raise ConfigError(f"'{wanted}' may be build {' or '.join(found)}. Write more of its id.")
        if not found:
            raise ConfigError(f"there is no build '{wanted}'.{nearest(wanted, [*names, *_NEWEST])} See: kpi builds")
        return found[0]

    def _newest(self, word: str) -> str:
        for folder in reversed(self.kept()):
            is_meant = word == "latest" or self.facts(folder).get("status") in ("failed", "held back")
            if folder.name[0].isdigit() and is_meant and os.path.lexists(whole(folder) / DATABASE):
                return folder.name
        raise ConfigError(f"no {_NEWEST[word]} is kept, or none that you may open. See: kpi builds")

    def published(self) -> str:
        """Return the id of the build that readers see. Raises ConfigError when there is none."""
        self.folder()
        current = self.current()
        return current.name if current else ""

    def published_before(self, build: str) -> str:
        """Return the id of the newest kept build, older than the given one, that was published. Raises ConfigError."""
        older = [facts["id"] for facts in self.list_builds() if facts.get("status") == "published"]
        older = [name for name in older if name < build]
        if not older:
            raise ConfigError(f"no build published before {build} is kept, or none that you may open. See: kpi builds")
        return str(older[-1])

    def facts(self, folder: Path | None) -> dict[str, Any]:
        """Return what made a build; empty when there is no build, or its facts cannot be read."""
        if folder is None:
            return {}
        try:
            facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}

    def list_builds(self) -> list[dict[str, Any]]:
        """Return the facts of every build that is kept, oldest first, each with `is_current`."""
        current = self.current()
        return [
            {**self.facts(folder), "id": folder.name, "is_current": current is not None and folder.name == current.name}
            for folder in self.kept()
        ]

    def last_run(self) -> dict[str, Any]:
        """Return the facts of the newest build, whatever became of it; empty when there is none."""
        numbered = [folder for folder in self.kept() if folder.name[0].isdigit()]
        return {**self.facts(numbered[-1]), "id": numbered[-1].name} if numbered else {}

    def facts_of(self, build: str = "") -> dict[str, Any]:
        """Return what made a build, or the published one; empty when nothing is published."""
        return self.facts(self.folder(build) if build else self.current())

    def last_results(self) -> dict[str, str]:
        """Return how each node of the last run ended: success, error, skipped; of tests pass, fail, warn."""
        last = self.last_run()
        ended = {node: facts["status"] for node, facts in last.get("nodes", {}).items() if facts.get("status")}
        tests = {node.rpartition(".")[2]: node for node in last.get("nodes", {}) if node.startswith("test.")}
        for check in last.get("checks", []):
            if check.get("run_in") == last["id"] and check["name"] in tests:
                ended[tests[check["name"]]] = check["status"]
        return ended

    def ledger(self) -> list[dict[str, Any]]:
        """Return every event of the ledger, oldest first. A line that a crash cut short is passed over."""
        events = []
        path = self.builds / "ledger.jsonl"
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
            try:
                events.append(json.loads(line))
            except ValueError:
                continue
        return events

    def kept(self) -> list[Path]:
        """Return the folders of all builds, oldest first."""
        if not self.builds.is_dir():
            return []
        return sorted(folder for folder in self.builds.iterdir() if folder.is_dir() and folder.name[0] != ".")


@contextmanager
def writing(warehouse: Warehouse, wait_seconds: float = 0, tell: Tell = silent) -> Iterator[bool]:
    """Hold the one writer's lock, waiting for it at most so long; yields whether it had to. Raises LockHeld.

    When the disk is full in the meantime, what was being written is removed, and DiskFull raised.
    """
    with held(warehouse.builds / ".lock", wait_seconds, tell) as waited:
        _clean(warehouse)
        _catch_up(warehouse)
        try:
            yield waited
        except Exception as error:
            if not is_disk_full(error):
                raise
            _clean(warehouse)
            first = str(error).split("\n", maxsplit=1)[0]
            told = "What this run had written was removed, and readers keep the build they had."
            raise DiskFull(f"the disk is full ({first}). {told} kpi doctor tells how much room is needed.") from error


def is_being_written(warehouse: Warehouse) -> bool:
    """Tell whether a process holds the writer's lock at this moment."""
    return is_held(warehouse.builds / ".lock")


def begin(warehouse: Warehouse, upkeep: Upkeep, start_from: Path | None) -> Path:
    """Make the private folder of a new build, with a copy of the database of another build when one is given."""
    import shutil

    # Numbered first: builds sort by name in the order they were made, whatever the clock does.
    numbers = [_number(folder.name) for folder in warehouse.kept()]
    numbers += [_number(str(event.get("build"))) for event in warehouse.ledger()]
    folder = warehouse.builds / f".tmp-{max(numbers, default=0) + 1:05}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    place = make_place(folder, upkeep)
    if start_from is not None:
        shutil.copyfile(whole(start_from) / DATABASE, place / DATABASE)
        os.chmod(place / DATABASE, 0o644)
    return folder


def seal(warehouse: Warehouse, folder: Path, facts: Mapping[str, Any], upkeep: Upkeep) -> Path:
    """Write what made the build, get everything to disk, make it read-only and give the folder its name.

    Where schemas are left out for readers, the stewards' part of it is closed to all others; so is all of a build
    that has no file for readers.
    """
    database, place = folder / DATABASE, whole(folder)
    facts = {**facts, "checksum": hash_of(database) if database.is_file() else None}
    if place != folder:
        kept = place / DATABASE
        facts["stewards"] = {**facts["stewards"], "checksum": hash_of(kept) if kept.is_file() else None}
    text = json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False, default=str)
    (folder / FACTS).write_text(text + "\n", encoding="utf-8")
    if place != folder:
        for entry in (*place.iterdir(), place, *([] if database.is_file() else [folder])):
            close(entry, upkeep.stewards_group)
    for entry in sorted(folder.rglob("*")):
        if entry == database:
            os.chmod(entry, 0o444)
        to_disk(entry)
    if place != folder and database.is_file():
        open_up(folder, warehouse.builds)
    to_disk(folder)
    final = warehouse.builds / folder.name.removeprefix(".tmp-")
    folder.rename(final)
    to_disk(warehouse.builds)
    return final


def publish(warehouse: Warehouse, folder: Path) -> None:
    """Point `current` at a build, in one step that readers cannot see halfway."""
    link = warehouse.root / ".current-next"
    link.unlink(missing_ok=True)
    link.symlink_to(Path("builds") / folder.name, target_is_directory=True)
    os.replace(link, warehouse.root / "current")
    to_disk(warehouse.root)


def record(warehouse: Warehouse, build: str, event: str, reason: str = "") -> None:
    """Append one event of a build to the ledger."""
    line = {"at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "build": build, "event": event, "reason": reason}
    path = warehouse.builds / "ledger.jsonl"
    # A crash may have cut the last line short; a line end of our own keeps the next one whole.
    broken = path.is_file() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with path.open("ab") as stream:
        stream.write(("\n" if broken else "").encode() + json.dumps(line, ensure_ascii=False).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def _clean(warehouse: Warehouse) -> None:
    """Remove what a killed run left. Only the holder of the lock may."""
    import shutil

    for leftover in warehouse.builds.glob(".tmp-*"):
        shutil.rmtree(leftover)
    (warehouse.root / ".current-next").unlink(missing_ok=True)


def _catch_up(warehouse: Warehouse) -> None:
    """Record what a run made that died before it could say so; remove what it was about to publish and did not."""
    current, events = warehouse.current(), warehouse.ledger()
    late = "recorded late: the run that made it was cut short"
    if current is not None and current.name not in told_published(warehouse):
        record(warehouse, current.name, "published", late)
    newest = max((_number(str(event.get("build"))) for event in events), default=0)
    for folder in warehouse.kept() if newest else ():
        if _number(folder.name) > newest and folder != current:
            status = str(warehouse.facts(folder).get("status", "failed"))
            if status == "published":
                remove(folder)
            else:
                record(warehouse, folder.name, status, late)


def told_published(warehouse: Warehouse) -> set[str]:
    """Return the ids of all builds that readers were ever shown."""
    return {str(event.get("build")) for event in warehouse.ledger() if event.get("event") == "published"}


def _number(build: str) -> int:
    first = build.partition("-")[0]
    return int(first) if first.isdigit() else 0


def remove(folder: Path) -> None:
    """Remove the folder of a build, so that no part of it ever stands under its name."""
    import shutil

    doomed = folder.with_name(f".tmp-{folder.name}")
    folder.rename(doomed)
    shutil.rmtree(doomed)


def to_disk(path: Path) -> None:
    """Wait until what a file holds, or which entries a folder has, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
