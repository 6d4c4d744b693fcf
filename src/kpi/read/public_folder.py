"""The folder of public files: all of it is of one build, whatever happens while it is replaced.

A list in the folder says which of its files kpi wrote; no other file is ever touched.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kpi.base.errors import ConfigError
from kpi.warehouse.builds import to_disk

LIST = "kpi-public.json"
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


@contextmanager
def replaced(folder: Path, name: str = "public") -> Iterator[Path]:
    """Give an empty folder to write the new files into; when that went well, they are in place of the old ones.

    Raises ConfigError when a file of another hand has the name of a new one. Old files that kpi wrote and that are not
    written again are removed.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    # Beside it where that can be, for then both can change places in one step.
    beside = os.access(folder.parent, os.W_OK | os.X_OK) and not os.path.ismount(folder)
    staged = (folder.parent if beside else folder) / f".{folder.name}.kpi-next"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    try:
        yield staged
        new = sorted(path.name for path in staged.iterdir())
        old = written_by_kpi(folder)
        strangers = [path for path in sorted(folder.iterdir()) if path.name not in old and path != staged]
        if taken := [path.name for path in strangers if path.name in {*new, LIST}]:
            told = f"{', '.join(taken)} in {folder} {'is' if len(taken) == 1 else 'are'} not of kpi's writing"
            raise ConfigError(f"{told}, and public files would take the name. Move them away, or name another folder.")
        _write_list(staged, new)
        for path in staged.iterdir():
            os.chmod(path, 0o444 if path.suffix == ".duckdb" else 0o644)
            to_disk(path)
        if not (beside and _in_one_step(folder, staged, strangers)):
            _one_by_one(folder, staged, old)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def written_by_kpi(folder: Path) -> set[str]:
    """Return the names of the files of a folder that kpi wrote and nobody has changed since, and the list of them."""
    try:
        listed = json.loads((folder / LIST).read_text(encoding="utf-8"))["files"]
        return {LIST} | {name for name, sums in listed.items() if _is_a_name(name) and _is_of(folder / name, sums)}
    except FileNotFoundError:
        return _before_there_was_a_list(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {LIST}


def _before_there_was_a_list(folder: Path) -> set[str]:
    """What an earlier kpi wrote: a database, and a CSV of each of its tables."""
    from kpi.read.public_writer import PUBLIC_DATABASE

    if not (folder / PUBLIC_DATABASE).is_file():
        return set()
    import duckdb

    from kpi.base.engine import reading

    with suppress(duckdb.Error), reading(folder / PUBLIC_DATABASE) as con:
        tables = con.execute("select table_name from duckdb_tables()").fetchall()
        names = {f"{table}.csv" for (table,) in tables}
        return {PUBLIC_DATABASE} | {name for name in names if (folder / name).is_file()}
    return set()


def _write_list(staged: Path, names: list[str], old: Iterable[Path] = ()) -> None:
    """Write the list of files into a folder, with old ones elsewhere that are still to be removed."""
    files = {name: [_sum(staged / name)] for name in names}
    for path in old:
        files.setdefault(path.name, []).append(_sum(path))
    told = "The files that kpi publish --public wrote. It replaces and removes these, and no others."
    text = json.dumps({"about": told, "files": files}, indent=1, ensure_ascii=False)
    (staged / LIST).write_text(text + "\n", encoding="utf-8")


def _in_one_step(folder: Path, staged: Path, strangers: list[Path]) -> bool:
    """Let both folders change places, files of others being in both; tell whether that could be done."""
    try:
        for path in strangers:
            if path.is_symlink() or not path.is_file():
                return False  # a folder cannot be in two places
            os.link(path, staged / path.name)
        about = folder.stat()
        if about.st_uid != staged.stat().st_uid or about.st_gid != staged.stat().st_gid:
            os.chown(staged, about.st_uid, about.st_gid)
        shutil.copystat(folder, staged)
        to_disk(staged)
        rename = ctypes.CDLL(None, use_errno=True).renameat2
        done = rename(_HERE, os.fsencode(staged), _HERE, os.fsencode(folder), _EXCHANGE) == 0
    except (OSError, AttributeError):
        done = False
    if done:
        to_disk(folder.parent)
        return True
    for path in strangers:
        (staged / path.name).unlink(missing_ok=True)
    return False


def _one_by_one(folder: Path, staged: Path, old: set[str]) -> None:
    """Remove the old files, then move the new ones in: who is killed in between leaves too few, and no mixture."""
    new = sorted(path.name for path in staged.iterdir() if path.name != LIST)
    # Until all is done the list has both: of whatever is left, it is known that kpi wrote it.
    _write_list(staged, new, [folder / name for name in sorted(old - {LIST})])
    os.replace(staged / LIST, folder / LIST)
    for name in sorted(old - {LIST}):
        (folder / name).unlink(missing_ok=True)
    _write_list(staged, new)
    for name in (*new, LIST):
        os.replace(staged / name, folder / name)
    to_disk(folder)


def _is_a_name(name: str) -> bool:
    return name == os.path.basename(name) and name not in ("", ".", "..")


def _is_of(file: Path, sums: Collection[str]) -> bool:
    with suppress(OSError):
        return _sum(file) in sums
    return False


def _sum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
