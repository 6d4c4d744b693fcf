"""What lies in `warehouse/raw`: every delivered file with the hash of its content. Imports nothing heavy."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kpi.base.errors import DeliveryError
from kpi.deliveries.kept import KeptFolder, deleted, read_folders
from kpi.deliveries.personal import hidden_codes

ENDINGS = (".csv", ".csv.gz")  # in any case: Windows writes .CSV
# Here while `kpi demo` moves its finished folders into place, and after one that was killed doing so.
UNFINISHED_DEMO = Path(".demo-partial", "ready.json")


@dataclass(frozen=True, slots=True)
class RawFile:
    """One delivered file. `path` is relative to the raw folder, with forward slashes; `size` is in bytes.

    `modified` is when it was last written, in seconds since 1970 (UTC). It counts only where a contract says so.
    """

    feed: str
    name: str
    content_hash: str
    size: int
    modified: int = field(default=0, compare=False)

    @property
    def path(self) -> str:
        """The file's path below the raw folder."""
        return f"{self.feed}/{self.name}"


@dataclass(frozen=True, slots=True)
class RawFolder:
    """All deliveries in byte order of feed and name, and what was passed over.

    `kept` is what is left of deliveries that were deleted by their retention, `deleted` are those of them that lie
    there all the same.
    """

    files: tuple[RawFile, ...]
    ignored: tuple[str, ...]
    kept: tuple[KeptFolder, ...] = ()
    deleted: tuple[RawFile, ...] = ()

    def digest(self) -> str:
        """A hash of the path and content of every file that is read."""
        lines = [f"{file.path}\0{file.content_hash}" for file in self.files]
        text = "\n".join([*lines, *(f"kept/{folder.name}\0{folder.content_hash}" for folder in self.kept)])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def content_hash(data: bytes) -> str:
    """Hash a file's bytes, as `sha256sum` does."""
    return hashlib.sha256(data).hexdigest()


def hash_of(file: Path) -> str:
    """Hash a file's bytes, as `sha256sum` does."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def modified(file: Path) -> int | None:
    """Return when a file was last written, in seconds since 1970 (UTC); None when it is not there."""
    try:
        return int(file.stat().st_mtime)
    except OSError:
        return None


def scan(raw: Path) -> RawFolder:
    """Hash every delivery directly below `raw/<feed>/`.

    What is hidden, not named in UTF-8, or a link that leads out of the raw folder is passed over and told. Raises
    DeliveryError for a file or a folder that cannot be read, for one whose name holds an identity code, which would
    stand in every row that came from it, and for what is kept when it is not as it was written.
    """
    files: list[RawFile] = []
    ignored: list[str] = []
    try:
        home = raw.resolve()
    except (OSError, RuntimeError):
        raise DeliveryError(f"{raw} cannot be read: it is a link to itself.") from None
    if os.path.exists(raw / UNFINISHED_DEMO):
        raise DeliveryError(f"{raw} holds a part of what `kpi demo` writes: it was stopped. Run: kpi demo")
    for feed in _entries(raw):
        if not _is(feed.is_dir):
            if feed.is_symlink() and not _is(feed.is_file):
                ignored.append(feed.name)
            continue
        if _leads_out(feed, home):
            ignored.append(feed.name)
            continue
        for entry in _entries(Path(feed.path)):
            if hidden_codes(entry.name) != entry.name:
                told = f"{feed.name}/{hidden_codes(entry.name)}: the name of this file holds an identity code."
                raise DeliveryError(f"{told} Rename it: names of files stand in every row and in logs.")
            shown = os.fsencode(f"{feed.name}/{entry.name}").decode("utf-8", "backslashreplace")
            is_delivery = entry.name.lower().endswith(ENDINGS)
            is_hidden = entry.name[0] == "."
            is_file = _is(entry.is_file) and not _leads_out(entry, home) and shown == f"{feed.name}/{entry.name}"
            if is_delivery and not is_hidden and is_file:
                files.append(_read(feed.name, entry))
            elif is_delivery or not is_hidden:
                ignored.append(shown)
    kept = read_folders(kept_beside(raw))
    gone = deleted(kept_beside(raw), kept)
    are_gone = [(file.path, file.content_hash) in gone for file in files]
    return RawFolder(
        files=tuple(file for file, is_gone in zip(files, are_gone, strict=True) if not is_gone),
        ignored=tuple(ignored),
        kept=kept,
        deleted=tuple(file for file, is_gone in zip(files, are_gone, strict=True) if is_gone),
    )


def kept_beside(raw: Path) -> Path:
    """Return the folder of what is kept of deleted deliveries."""
    return raw.parent / "kept"


def _is(ask: Callable[[], bool]) -> bool:
    """Whether an entry is what is asked; a link to itself, which raises, is nothing."""
    try:
        return ask()
    except OSError:
        return False


def _leads_out(entry: os.DirEntry[str], home: Path) -> bool:
    return entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(home)


def _read(feed: str, entry: os.DirEntry[str]) -> RawFile:
    try:
        with open(entry.path, "rb") as stream:
            hashed = hashlib.file_digest(stream, "sha256")
            size, modified = stream.tell(), int(os.fstat(stream.fileno()).st_mtime)
            return RawFile(feed, entry.name, hashed.hexdigest(), size, modified)
    except OSError as error:
        raise DeliveryError(f"{feed}/{entry.name} cannot be read: {error.strerror}.") from None


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DeliveryError(f"{folder} cannot be read: {error.strerror}.") from None
