"""Where the project is; files read safely, whoever put them there, and written whole; checksums of project and kpi."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from kpi.errors import ConfigError, LockHeld


def read_regular(path: Path) -> bytes:
    """Return what a file holds. Raises OSError for what cannot be read, and for what is no file.

    Opening a pipe that nobody writes to would wait for ever.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a file", str(path))
        return stream.read()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a file to write; when that went well it is in place of `path`, of which nothing is lost until then.

    What is no file, such as a pipe, is written itself, and so is a file in a folder in which none can be made.
    """
    target = Path(os.path.realpath(path))
    if (os.path.lexists(target) and not is_regular(target)) or not os.access(target.parent, os.W_OK | os.X_OK):
        yield path
        return
    new = target.with_name(f".kpi-{os.getpid()}-{checksum(target.name, 4)}")  # a name may be as long as names can be
    try:
        yield new
        if target.exists():
            os.chmod(new, stat.S_IMODE(target.stat().st_mode))
        os.replace(new, target)
    except OSError as error:
        if error.filename and os.fsdecode(error.filename) == str(new):
            error.filename = str(path)
        raise
    finally:
        new.unlink(missing_ok=True)


def replace_text(path: Path, text: str, durable: bool = False) -> None:
    """Write a file whole, in place of what has its name: who reads meanwhile gets the old one. Raises OSError.

    With `durable` it is on the disk before it takes the name: after a power cut either text is there, and whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with new.open("w", encoding="utf-8") as stream:
            stream.write(text)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(new, path)
    except OSError as error:
        if error.filename:  # whoever is told of it knows the file, and not what it was written as
            error.filename = str(path)
        raise
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """Wait until what a file holds, or which entries a folder has, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def folder_lock(folder: Path, waits: bool = False) -> Iterator[bool]:
    """Hold a folder, or wait until that can be; yields whether it is held. It may have changed places meanwhile.

    On a file system where folders have no locks all go on as if they held it.
    """
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
            is_held = os.fstat(descriptor).st_ino == folder.stat().st_ino
        except BlockingIOError:
            is_held = False
        except OSError:
            is_held = True
        yield is_held
    finally:
        os.close(descriptor)


_SCRATCH = re.compile(r"kpi-(?:verify|diff)-\w+")  # folders in the system's temporary one
_SURELY_LEFT = 3600  # seconds


@contextmanager
def scratch_folder(command: str) -> Iterator[Path]:
    """Yield a folder for a command to work in, `verify` or `diff`, that nobody else can look into; it goes at the end.

    It is held as long as that lasts. It may hold deliveries, so what killed commands left goes too.
    """
    import tempfile

    remove_scratch()
    with tempfile.TemporaryDirectory(prefix=f"kpi-{command}-") as name, folder_lock(Path(name)):
        yield Path(name).resolve()


def remove_scratch() -> None:
    """Remove the folders of this user's in which commands worked that were killed an hour ago or earlier."""
    import shutil
    import tempfile
    import time

    with suppress(OSError):
        for left in [path for path in Path(tempfile.gettempdir()).iterdir() if _SCRATCH.fullmatch(path.name)]:
            about = left.lstat()
            is_ours = stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid()
            if is_ours and about.st_mtime <= time.time() - _SURELY_LEFT:
                with folder_lock(left) as is_free:  # or a command is working there
                    if is_free:
                        shutil.rmtree(left, ignore_errors=True)


_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


@contextmanager
def staging_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to write into what shall be in `folder`, which is made; it is removed at the end.

    It is beside `folder`, where that can be, for then both can change places in one step; else in it. A folder that is
    made here goes again when nothing came into it. Raises OSError, and LockHeld when another command writes there.
    """
    import shutil

    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    is_beside = os.access(folder.parent, os.W_OK | os.X_OK) and not os.path.ismount(folder)
    staging = (folder.parent if is_beside else folder) / f".{folder.name}.kpi-next"
    with folder_lock(folder) as is_free:
        if not is_free:
            raise LockHeld(f"{folder} is being written by another command. Try again when it is done.")
        try:
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir()
            yield staging
        except OSError as error:
            # Whoever is told of it named the folder, and has never heard of the other one.
            if error.filename and os.fsdecode(error.filename).startswith(f"{staging}{os.sep}"):
                error.filename = str(folder)
            raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            if is_new:
                with suppress(OSError):  # it holds what was written
                    folder.rmdir()


def change_places(folder: Path, staging: Path, others: Sequence[Path]) -> bool:
    """Let both folders change places, files of others being in both; tell whether that could be done in one step."""
    import ctypes
    import shutil

    if staging.parent == folder or any(path.is_symlink() or not path.is_file() for path in others):
        return False  # a folder cannot be in two places
    try:
        for path in others:
            os.link(path, staging / path.name)
        about = folder.stat()
        if about.st_uid != staging.stat().st_uid or about.st_gid != staging.stat().st_gid:
            os.chown(staging, about.st_uid, about.st_gid)
        shutil.copystat(folder, staging)
        to_disk(staging)
        rename = ctypes.CDLL(None, use_errno=True).renameat2
        done = rename(_HERE, os.fsencode(staging), _HERE, os.fsencode(folder), _EXCHANGE) == 0
    except (OSError, AttributeError):
        done = False
    if done:
        to_disk(folder.parent)
        return True
    for path in others:
        (staging / path.name).unlink(missing_ok=True)
    return False


def is_regular(path: Path) -> bool:
    """Tell whether a path is a file, or a link to one; not a folder, a pipe, or a link to nothing or to itself."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def why_unreadable(path: Path) -> str:
    """Say why what stands there cannot be read; empty when it can, or when nothing of the name is there."""
    if not os.path.lexists(path):
        return ""
    if path.is_symlink() and not path.exists():
        return "it is a link to nothing"
    if not is_regular(path):
        return "it is no file"
    if not os.access(path, os.R_OK):
        return f"user {os.getuid()} may not read it"
    return ""


def find_project(start: Path | str | None = None) -> Path:
    """Return the project's folder: `start`, else KPI_PROJECT_DIR, else the nearest one at or above where we are."""
    place = start or os.environ.get("KPI_PROJECT_DIR")
    if place:
        return _usable(Path(place))
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "dbt_project.yml").is_file():
            return _usable(folder)
    message = "Name the project with --project-dir, project_dir= or KPI_PROJECT_DIR."
    raise ConfigError(f"{here}: no dbt_project.yml here or above. {message}")


def _usable(folder: Path) -> Path:
    """Return the folder. Raises ConfigError when DuckDB could not name a file in it."""
    try:
        path = str(folder.resolve())
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"{folder} is no folder: {error}") from None
    wrong = next((sign for sign in path if sign in "?*[\\" or not sign.isprintable()), "")
    if wrong:
        shown = path.encode("unicode_escape", "backslashreplace").decode()
        message = "DuckDB does not take it for a part of a file's name. Rename the folder, or move the project."
        raise ConfigError(f"{shown} has {wrong!a} in it: {message}")
    return folder


def checksum(text: str, size: int = 16) -> str:
    """Return a hash of a text, of so many bytes, in hexadecimal: for telling whether something is as it was."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()


_ENDINGS = (".sql", ".yml", ".yaml", ".csv")
RELEASE_FILES = frozenset(("release.yml", "SHA256SUMS"))  # of the folder of a release
RELEASES = "releases"
RELEASE_NAME = re.compile(r"(\d{4})-([1-9]\d*)")
_DOC_BLOCK = re.compile(rb"\{%-?\s*docs\b")
_PASSED_OVER = ("warehouse", "src", "docs", "notebooks", "benchmarks", "target", "build", "dist")


def is_release(folder: Path, names: Iterable[str]) -> bool:
    """Tell whether a folder with files of these names is the release of a report year, or one being written.

    Such as `releases/2025-1`. One of its two files is enough: should the other be lost, the rest are no seeds either.
    """
    is_named = folder.parent.name == RELEASES and RELEASE_NAME.fullmatch(folder.name.removeprefix("."))
    return bool(is_named) and not RELEASE_FILES.isdisjoint(names)


def project_digest(root: Path) -> str:
    """Hash the path and content of every file that `project_files` yields: SQL, YAML, CSV and doc blocks.

    Wider than the project's own paths on purpose: it answers "may anything have changed?" without reading any YAML.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path, content in project_contents(root).items():
        digest.update(f"{path}\0".encode("utf-8", "surrogateescape"))
        digest.update(content)
    return digest.hexdigest()


def project_contents(root: Path) -> dict[str, bytes]:
    """Return a hash of every file that `project_files` yields, by its path from the root."""
    hashes, below = {}, os.path.join(root, "")
    for path in map(str, project_files(root)):
        with open(path, "rb") as stream:
            content = hashlib.blake2b(stream.read(), digest_size=16).digest()
        # Whoever has nothing to do waits for this, and asking where a path leads takes as long as reading the file.
        hashes[path[len(below) :] if path.startswith(below) else os.path.relpath(path, root)] = content
    return hashes


def code_digest() -> str:
    """Hash kpi's own source: modules, and the queries, words, labels, styles and page templates beside them."""
    digest = hashlib.blake2b(digest_size=16)
    own = [os.path.join(folder, name) for folder, _, names in os.walk(Path(__file__).parent) for name in names]
    for path in sorted(path for path in own if path.endswith((".py", ".sql", ".html", ".yml", ".json", ".css", ".js"))):
        with open(path, "rb") as stream:
            digest.update(stream.read())
    return digest.hexdigest()


def project_files(root: Path) -> Iterator[Path]:
    """Every SQL, YAML and CSV file of the project, Markdown with doc blocks and the sentences of its report, in order.

    Left out are deliveries, and of the folders in the project's own those that are hidden; below models they count.
    Then those of packages that lie elsewhere, whether a link in dbt_packages or a list of packages leads there.
    """
    visited = {root.resolve()}
    yield from _files_below(root, visited)
    sentences = sorted((root / "report").rglob("*.md"))
    yield from (path for path in sentences if is_regular(path) and not _is_of_project(path))
    todo = [root]
    while todo:
        for package in _packages_elsewhere(todo.pop()):
            if package.resolve() not in visited:
                visited.add(package.resolve())
                todo.append(package)
                yield from _files_below(package, visited)


def _packages_elsewhere(folder: Path) -> Iterator[Path]:
    for installed in ("dbt_packages", "dbt_modules"):
        if (folder / installed).is_dir():
            yield from sorted(path for path in (folder / installed).iterdir() if path.is_symlink() and path.is_dir())
    for name in ("packages.yml", "dependencies.yml"):
        if (folder / name).is_file():
            text = (folder / name).read_text("utf-8", "replace")
            for local in re.findall(r"""\blocal\s*:\s*["']?([^"'\s,}]+)""", text):
                path = Path(os.path.normpath(folder / local))
                if (path / "dbt_project.yml").is_file():
                    yield path


def _files_below(root: Path, packages: set[Path]) -> Iterator[Path]:
    been = set[str]()
    for folder, folders, names in os.walk(root, followlinks=True):
        if (place := os.path.realpath(folder)) in been:  # a link led back
            folders.clear()
            continue
        been.add(place)
        is_top = Path(folder) == root
        folders[:] = sorted(
            name
            for name in folders
            if Path(folder, name) not in packages and not (is_top and (name[0] in "._" or name in _PASSED_OVER))
        )
        for name in sorted(names):
            # A pipe of such a name would be waited for, and a link to nothing is no file.
            if is_regular(path := Path(folder, name)) and _is_of_project(path):
                yield path


def _is_of_project(path: Path) -> bool:
    """Whether what a file holds may matter: of Markdown, doc blocks do; the rest is for people alone."""
    if path.suffix.lower() == ".md":
        return bool(_DOC_BLOCK.search(path.read_bytes()))
    return path.name.lower().endswith(_ENDINGS)
