"""The builds on disk: private folders, sealed builds and the published one. Imports nothing heavy.

A build is a folder `builds/<id>` that never changes once it has that name. Readers follow the symlink `current`, which
is swapped by a rename; whoever has a build open keeps it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi.base.errors import ConfigError, nearest
from kpi.base.files import read_regular
from kpi.base.terminal import visible
from kpi.warehouse.rights import DATABASE, close, make_place, open_up, whole, written

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
        return (self.current() or self.builds).name

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
            facts = json.loads(read_regular(folder / FACTS))
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
        """Return what made a build, or the published one; empty when nothing is published.

        A build may be named by its folder too. Of a folder that holds none there are no facts.
        """
        if build and Path(build).is_dir():
            return self.facts(Path(build))
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
        """Return every event of the ledger, oldest first. A line that is cut short or damaged is passed over."""
        events = []
        content = b""
        with suppress(OSError):  # what cannot be read is set aside by who writes next, and told by the doctor
            content = read_regular(self.builds / "ledger.jsonl")
        for line in content.split(b"\n") if content else []:
            with suppress(ValueError):  # bytes that are no UTF-8 are a ValueError too
                event = json.loads(line)
                if isinstance(event, dict):
                    events.append(event)
        return events

    def kept(self) -> list[Path]:
        """Return the folders of all builds, oldest first."""
        if not self.builds.is_dir():
            return []
        return sorted(folder for folder in self.builds.iterdir() if folder.is_dir() and folder.name[0] != ".")


def begin(warehouse: Warehouse, upkeep: Upkeep, start_from: Path | None) -> Path:
    """Make the private folder of a new build, with a copy of the database of another build when one is given."""
    import shutil

    # Numbered first: builds sort by name in the order they were made, whatever the clock does.
    names = [folder.name for folder in warehouse.kept()] + [str(event.get("build")) for event in warehouse.ledger()]
    number = max(map(number_of, names), default=0) + 1
    folder = warehouse.builds / f".tmp-{number:05}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
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
    facts = {**facts, **written(database)}
    if place != folder:
        facts["stewards"] = {**facts["stewards"], **written(place / DATABASE)}
    text = json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False, default=str)
    (folder / FACTS).write_text(visible(text) + "\n", encoding="utf-8")
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


def publish(warehouse: Warehouse, folder: Path) -> str:
    """Point `current` at a build, in one step that readers cannot see halfway.

    Returns a warning when readers have it and the disk did not say that it keeps it; else an empty text.
    """
    link = warehouse.root / ".current-next"
    link.unlink(missing_ok=True)
    link.symlink_to(Path("builds") / folder.name, target_is_directory=True)
    os.replace(link, warehouse.root / "current")
    try:
        to_disk(warehouse.root)
    except OSError as error:
        return f"readers have build {folder.name}, but the disk did not confirm it: {error}. See: kpi doctor"
    return ""


def number_of(build: str) -> int:
    """Return the number that a build's id begins with; 0 when it has none."""
    first = build.partition("-")[0]
    return int(first) if first.isdigit() else 0


def to_disk(path: Path) -> None:
    """Wait until what a file holds, or which entries a folder has, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
