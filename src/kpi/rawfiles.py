"""What lies in `warehouse/raw`: every delivered file with the hash of its content. Imports nothing heavy."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

ENDINGS = (".csv", ".csv.gz")


@dataclass(frozen=True, slots=True)
class RawFile:
    """One delivered file. `path` is relative to the raw folder, with forward slashes; `size` is in bytes."""

    feed: str
    name: str
    content_hash: str
    size: int

    @property
    def path(self) -> str:
        """The file's path below the raw folder."""
        return f"{self.feed}/{self.name}"


@dataclass(frozen=True, slots=True)
class RawFolder:
    """All deliveries in byte order of feed and name, and what was passed over."""

    files: tuple[RawFile, ...]
    ignored: tuple[str, ...]

    def digest(self) -> str:
        """A hash of every file's path and content."""
        text = "\n".join(f"{file.path}\0{file.content_hash}" for file in self.files)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def content_hash(data: bytes) -> str:
    """Hash a file's bytes."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def scan(raw: Path) -> RawFolder:
    """Hash every delivery directly below `raw/<feed>/`. A name that is not UTF-8 is passed over and told."""
    files: list[RawFile] = []
    ignored: list[str] = []
    for feed in _entries(raw):
        if not feed.is_dir():
            continue
        for entry in _entries(Path(feed.path)):
            shown = os.fsencode(f"{feed.name}/{entry.name}").decode("utf-8", "backslashreplace")
            readable = shown == f"{feed.name}/{entry.name}"
            if readable and entry.name.endswith(ENDINGS) and entry.is_file() and entry.name[0] != ".":
                with open(entry.path, "rb") as stream:
                    hashed = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16))
                    size = stream.tell()
                files.append(RawFile(feed.name, entry.name, hashed.hexdigest(), size))
            elif entry.name[0] != ".":
                ignored.append(shown)
    return RawFolder(tuple(files), tuple(ignored))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except FileNotFoundError:
        return []
