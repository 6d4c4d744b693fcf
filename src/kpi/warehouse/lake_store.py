"""Where the Parquet of a lake lies: a folder of this machine or one that is mounted here, or an object store.

In a folder a version of a table is written aside and renamed into place; an object store has no rename, so there the
manifest, which is written last, is what makes a version count. Imports nothing heavy.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from kpi.errors import BuildError, ConfigError
from kpi.files import to_disk
from kpi.ingest.raw_files import hash_of
from kpi.lazy import duckdb

FOLDER = "lake"
TEMPORARY = ".tmp-"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
# By the scheme of an address: how pyarrow calls it, and the extension by which DuckDB reads it.
_SCHEMES = {
    "s3": ("s3", "httpfs"),
    "s3a": ("s3", "httpfs"),
    "gs": ("gs", "httpfs"),
    "abfss": ("abfss", "azure"),
    "abfs": ("abfs", "azure"),
}


@dataclass(frozen=True, slots=True)
class LakeFile:
    """A Parquet file by its path below the lake, with the size and checksum (SHA-256) it was written with."""

    path: str
    bytes: int
    checksum: str


class Store(Protocol):
    """What holds the versions of tables. A version is a folder `<relation>/<version>` that never changes."""

    @property
    def location(self) -> str:
        """The address, as manifests note it; empty when it is the warehouse's own folder."""

    def uri(self, path: str) -> str:
        """Return how DuckDB and Spark name what is at a path below the lake."""

    def take(self, staged: Path, version: str) -> None:
        """Take a folder that was written aside in as a version. Raises OSError; then nothing has its name."""

    def damage(self, file: LakeFile) -> str:
        """Say what is wrong with a file; empty when it is as it was written."""

    def versions(self) -> Iterator[str]:
        """Yield every version that is there, whether a manifest names it or not."""

    def remove(self, version: str) -> None:
        """Remove a version. Raises OSError."""

    def note(self, name: str, text: str) -> None:
        """Put a manifest beside what it names, where others than kpi read the lake."""

    def prepare(self, con: duckdb.DuckDBPyConnection) -> None:
        """Let a connection read what `uri` names. Raises ConfigError when it cannot."""


@dataclass(frozen=True, slots=True)
class FolderStore:
    """A folder; `own` says that it is the warehouse's. Files are sealed: 0444 in folders of 0555."""

    root: Path
    own: bool = True

    @property
    def location(self) -> str:
        """The folder when it was set, else empty: a warehouse may be moved."""
        return "" if self.own else str(self.root)

    def uri(self, path: str) -> str:
        """Return the whole path."""
        return str(self.root / path)

    def take(self, staged: Path, version: str) -> None:
        """Seal a folder, get it to disk, and give it its name in one step. It stands beside its place already."""
        target = self.root / version
        for file in sorted(staged.iterdir()):
            os.chmod(file, 0o444)
            to_disk(file)
        os.chmod(staged, 0o555)
        to_disk(staged)
        os.rename(staged, target)
        to_disk(target.parent)

    def damage(self, file: LakeFile) -> str:
        """Look at the size, then at every byte: 0.1 CPU s for 150 MB."""
        path = self.root / file.path
        try:
            if path.stat().st_size != file.bytes:
                return f"{file.path} has {path.stat().st_size} bytes, not {file.bytes}"
            return "" if hash_of(path) == file.checksum else f"{file.path} is not what was written"
        except FileNotFoundError:
            return f"{file.path} is not there"
        except OSError as error:
            return f"{file.path} cannot be read: {error.strerror}"

    def versions(self) -> Iterator[str]:
        """Yield what lies in the folders of tables, but for what is being written."""
        for folder in sorted(self.root.glob("*/*")):
            if folder.is_dir() and folder.name[0] != "." and "." in folder.parent.name:
                yield folder.relative_to(self.root).as_posix()

    def remove(self, version: str) -> None:
        """Take its name from a version, then remove it."""
        target = self.root / version
        if not target.is_dir():
            return
        doomed = target.with_name(TEMPORARY + target.name)
        remove_tree(doomed)
        os.rename(target, doomed)
        remove_tree(doomed)

    def note(self, name: str, text: str) -> None:
        """Write a manifest aside and swap it in, where the lake is not the warehouse's own."""
        if not self.own:
            write_whole(self.root / name, text)

    def prepare(self, con: duckdb.DuckDBPyConnection) -> None:
        """Nothing is needed to read files."""


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """A prefix of an object store, by pyarrow's file system. Keys and endpoints come from the environment, as its SDK
    reads them; none is written down."""

    address: str

    @property
    def location(self) -> str:
        """The address as it was set."""
        return self.address

    @property
    def extension(self) -> str:
        """The extension by which DuckDB reads it."""
        return _SCHEMES[self.address.partition(":")[0]][1]

    @property
    def files(self) -> Any:
        """Its pyarrow.fs.FileSystem. Raises ConfigError when it cannot be reached."""
        return _file_system(self.address)[0]

    @property
    def base(self) -> str:
        """The lake's folder, as that names it."""
        return _file_system(self.address)[1]

    def uri(self, path: str) -> str:
        """Return the address of what is there."""
        return f"{self.address}/{path}"

    def take(self, staged: Path, version: str) -> None:
        """Copy the files of a folder. What was copied before something failed is named by no manifest."""
        from pyarrow import fs

        self.files.create_dir(f"{self.base}/{version}", recursive=True)  # some stores have real folders
        for file in sorted(staged.iterdir()):
            place = f"{self.base}/{version}/{file.name}"
            fs.copy_files(str(file), place, source_filesystem=fs.LocalFileSystem(), destination_filesystem=self.files)
            if self._size(place) != file.stat().st_size:
                raise OSError(0, "the store does not hold what was written", self.uri(f"{version}/{file.name}"))
        remove_tree(staged)

    def damage(self, file: LakeFile) -> str:
        """Look at the size alone: the store watches over the bytes it holds."""
        size = self._size(f"{self.base}/{file.path}")
        if size is None:
            return f"{self.uri(file.path)} is not there"
        return "" if size == file.bytes else f"{self.uri(file.path)} has {size} bytes, not {file.bytes}"

    def versions(self) -> Iterator[str]:
        """Yield the folders that hold objects."""
        from pyarrow import fs

        infos = self.files.get_file_info(fs.FileSelector(self.base, recursive=True, allow_not_found=True))
        paths = [one.path.removeprefix(self.base).strip("/") for one in infos if one.type == fs.FileType.File]
        yield from sorted({path.rpartition("/")[0] for path in paths if path.count("/") == 2})

    def remove(self, version: str) -> None:
        """Delete the objects of a version."""
        from pyarrow import fs

        place = f"{self.base}/{version}"
        if self.files.get_file_info(place).type == fs.FileType.Directory:
            self.files.delete_dir(place)

    def note(self, name: str, text: str) -> None:
        """Put a manifest beside the data: a single object is written whole or not at all."""
        place = f"{self.base}/{name}"
        self.files.create_dir(place.rpartition("/")[0], recursive=True)
        with self.files.open_output_stream(place) as stream:
            stream.write(text.encode())

    def prepare(self, con: duckdb.DuckDBPyConnection) -> None:
        """Load the extension that reads the store. Raises ConfigError when it is not installed."""
        try:
            con.execute(f"load {self.extension}")
        except duckdb.Error:
            message = f"DuckDB reads {self.address} by its extension {self.extension}, which is not installed here"
            remedy = f"Install it where the network may be reached, in DuckDB: install {self.extension};"
            raise ConfigError(f"{message}. {remedy}") from None

    def _size(self, place: str) -> int | None:
        from pyarrow import fs

        about = self.files.get_file_info(place)
        return about.size if about.type == fs.FileType.File else None


def store_of(warehouse: Path, setting: str = "") -> Store:
    """Return the store of a setting: empty for `lake` in the warehouse, a folder, or the address of an object store.

    Asks no network. Raises ConfigError for what is neither.
    """
    if not setting:
        return FolderStore(warehouse / FOLDER)
    match = _SCHEME.fullmatch(setting)
    if not match:
        path = Path(setting).expanduser()
        return FolderStore(path if path.is_absolute() else warehouse.parent / path, own=False)
    scheme, rest = match[1].lower(), match[2].strip("/")
    if scheme == "file":
        return FolderStore(Path("/" + rest), own=False)
    if scheme not in _SCHEMES:
        addresses = ", ".join(f"{name}://" for name in _SCHEMES)
        raise ConfigError(f"lake: '{setting}' is no place for Parquet: a folder, or an address of {addresses}.")
    container = rest.partition("/")[0]
    is_azure = scheme.startswith("abfs")
    if not re.fullmatch(r"[^\s/?#@:]+@[^\s/?#@:]+" if is_azure else r"[^\s/?#@:]+", container):
        form = "abfss://container@account.dfs.core.windows.net/folder" if is_azure else f"{scheme}://bucket/folder"
        raise ConfigError(f"lake: '{setting}' names no place in the store: write it as {form}.")
    if "?" in rest:
        raise ConfigError(
            f"lake: '{scheme}://{container}/…' holds a key or a setting: those come from the environment."
        )
    return ObjectStore(f"{scheme}://{rest}")


@cache
def _file_system(address: str) -> tuple[Any, str]:
    """The file system of an address and the path in it. Not before it is needed: the store may be asked for its region.

    Raises ConfigError.
    """
    from pyarrow import fs

    scheme, _, rest = address.partition("://")
    try:
        files, base = fs.FileSystem.from_uri(f"{_SCHEMES[scheme][0]}://{rest}")
    except (OSError, ValueError, NotImplementedError) as error:
        message = "Are its keys and its region in the environment?"
        raise ConfigError(f"the lake at {address} cannot be reached: {error}. {message}") from None
    return files, base.strip("/")


def write_whole(path: Path, text: str) -> None:
    """Write a text file aside, get it to disk and swap it in, so that nobody ever sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(TEMPORARY + path.name)
    aside.unlink(missing_ok=True)
    try:
        with aside.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(aside, 0o444)
        os.replace(aside, path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    to_disk(path.parent)


def remove_tree(folder: Path) -> None:
    """Remove a folder that may be sealed, if it is there. Raises OSError."""
    if not folder.is_dir() or folder.is_symlink():
        return
    for place, _, _ in os.walk(folder):
        os.chmod(place, 0o700)
    shutil.rmtree(folder)


def disk_error(relation: str, error: OSError) -> BuildError:
    """Return the error of a table that a store did not take."""
    where = f" ({error.filename})" if error.filename else ""
    return BuildError(relation, f"the lake cannot be written: {error.strerror or error}{where}. See: kpi doctor")
