"""Results of earlier compilations and judgements, each kind kept in one file: it saves time and changes no result.

Every entry is found by a hash of all that it follows from, and counts only for the same kpi, Python and libraries. The
file may be deleted, cut or garbled at any time: it then holds nothing.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar, cast

from kpi.environment import holds_value
from kpi.files import code_digest, read_regular

_T = TypeVar("_T")
_MAGIC = b"kpi compile cache 2\n"
_SUM = 32  # bytes of a checksum
_LIBRARIES = frozenset(("duckdb", "sqlglot", "sqlglotc", "jinja2", "pyyaml"))
_OPTIONAL = frozenset(("sqlglotc",))
_KEPT_UNUSED = 20
# Keys of whole projects begin with this; only the last one is kept, for they are large.
WHOLE = "whole-"


class Cache:
    """Entries by key, each kept as bytes until it is asked for, with the number of runs it has not been used in.

    Whole projects stand first in the file, by themselves: where nothing changed, nothing else of it is looked at.
    """

    def __init__(self, file: Path, is_read: bool = True) -> None:
        self.file = file
        self._wholes, self._rest = _read(file) if is_read else ({}, _Part())
        self._used: dict[str, bytes] = {}
        self._new: set[str] = set()
        self._read: dict[str, tuple[int, bytes]] | None = None

    @property
    def _entries(self) -> dict[str, tuple[int, bytes]]:
        if self._read is None:
            self._read = self._rest.entries()
        return self._read

    def get(self, key: str) -> Any:
        """Return what is kept under the key, or None."""
        held = self._used.get(key) or (self._wholes if key.startswith(WHOLE) else self._entries).get(key, (0, b""))[1]
        if not held:
            return None
        try:
            value = _Plain(io.BytesIO(held)).load()
        except Exception:  # what cannot be read is not there
            return None
        self._used[key] = held
        return value

    def has(self, key: str) -> bool:
        """Tell whether anything is kept under the key, which is no whole project's."""
        return key in self._used or key in self._entries

    def put(self, key: str, value: object) -> None:
        """Keep a value; one that cannot be kept, or holds what the environment gave, is worked out again each time."""
        with suppress(Exception):
            held = _pickled(value)
            if not holds_value(held):
                self._used[key] = held
                self._new.add(key)

    def save(self) -> None:
        """Write the file again when there is something new to keep. A folder that cannot be written is no error."""
        if not self._new:
            return
        wholes = {key: (0, held) for key, held in self._used.items() if key.startswith(WHOLE)} or self._wholes
        rest = self._rest
        if self._read is not None or any(not key.startswith(WHOLE) for key in self._new):
            used = {key: (0, held) for key, held in self._used.items() if not key.startswith(WHOLE)}
            aged = {key: (age + 1, held) for key, (age, held) in self._entries.items() if age < _KEPT_UNUSED}
            rest = _Part.of(aged | used)
        first = _Part.of(wholes)
        import tempfile

        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.file.parent, prefix=".compiled-")
        except OSError:
            return
        try:
            with os.fdopen(handle, "wb") as stream:
                size = len(first.content).to_bytes(8, "big")
                stream.writelines([_MAGIC, size, first.checksum, first.content, rest.checksum, rest.content])
            Path(name).replace(self.file)
        except OSError:
            Path(name).unlink(missing_ok=True)


_active: ContextVar[Cache | None] = ContextVar("compile_cache", default=None)


@contextmanager
def caching(file: Path, is_read: bool = True) -> Iterator[Cache]:
    """Let all that is compiled in here use the cache in `file`; unless `is_read`, it is worked out and kept anew."""
    active = _active.get()
    if active is not None and active.file == file:
        yield active
        return
    cache = Cache(file, is_read)
    token = _active.set(cache)
    try:
        yield cache
    finally:
        _active.reset(token)
        cache.save()


@contextmanager
def without_cache() -> Iterator[None]:
    """Let all that is done in here be done, and nothing of it be kept: for what is too little to read a cache for."""
    token = _active.set(None)
    try:
        yield
    finally:
        _active.reset(token)


def remembered(make: Callable[[], _T], *parts: object, is_right: Callable[[_T], bool] = lambda value: True) -> _T:
    """Return what `make` makes, or made before from the same `parts`, which must tell all that it follows from.

    What else it follows from, `is_right` must look at. An error is never remembered, so that it is raised again with
    all it knows.
    """
    cache = _active.get()
    if cache is None:
        return make()
    key = key_of(*parts)
    value = cache.get(key)
    if value is None or not is_right(value):
        value = make()
        cache.put(key, value)
    return cast(_T, value)


def recall(*parts: object) -> Any:
    """Return what is remembered under these parts; None where nothing is."""
    cache = _active.get()
    return None if cache is None else cache.get(key_of(*parts))


def remember(value: object, *parts: object) -> None:
    """Remember a value under these parts, in place of another. Where nothing is kept this does nothing."""
    cache = _active.get()
    if cache is not None:
        cache.put(key_of(*parts), value)


def is_remembered(*parts: object) -> bool:
    """Tell whether something is remembered that was made from these parts."""
    cache = _active.get()
    return cache is not None and cache.has(key_of(*parts))


def key_of(*parts: object) -> str:
    """Return the key of an entry that follows from `parts` (values whose text says all of them) and from this kpi."""
    digest = hashlib.blake2b(_stamp(), digest_size=16)
    for part in parts:
        text = part if isinstance(part, str) else repr(part)
        digest.update(f"{len(text)}\0{text}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


_stamps: list[bytes] = []


def _stamp() -> bytes:
    """Kpi's own code and the versions of all that compiling asks; worked out once a process."""
    if not _stamps:
        message = [code_digest(), sys.version, *_versions()]
        _stamps.append(hashlib.blake2b("\n".join(message).encode(), digest_size=32).digest())
    return _stamps[0]


def _versions() -> list[str]:
    """The folders that say which libraries are installed, where each is first found, as `duckdb-2.0.1.dist-info`.

    Their names alone: importing what reads them takes as long as the rest of a run that finds nothing to do.
    """
    folder_by_library: dict[str, str] = {}
    for folder in sys.path:
        with suppress(OSError):
            for name in sorted(os.listdir(folder or ".")):
                library = name.partition("-")[0].lower()
                if library in _LIBRARIES and name.endswith(".dist-info"):
                    folder_by_library.setdefault(library, name)
    if missing := _LIBRARIES - _OPTIONAL - folder_by_library.keys():
        from importlib.metadata import version

        folder_by_library.update({library: version(library) for library in missing})
    return sorted(folder_by_library.values())


class _Part:
    """Entries as they stand in the file, with a checksum that only this kpi can repeat."""

    def __init__(self, checksum: bytes = b"", content: bytes = b"") -> None:
        self.checksum, self.content = checksum, content

    @classmethod
    def of(cls, entries: dict[str, tuple[int, bytes]]) -> _Part:
        """Return entries as they are written."""
        content = pickle.dumps(entries, protocol=5)
        return cls(_checksum(content), content)

    def entries(self) -> dict[str, tuple[int, bytes]]:
        """Return the entries; none when a byte of them is another than was written."""
        try:
            content = _Plain(io.BytesIO(self.content)).load() if self.checksum == _checksum(self.content) else None
        except Exception:  # whatever is wrong with it, it is as good as deleted
            return {}
        return content if isinstance(content, dict) else {}


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_SUM, key=_stamp()).digest()


def _read(file: Path) -> tuple[dict[str, tuple[int, bytes]], _Part]:
    """Whole projects, and the part of the file that holds the rest."""
    try:
        content = read_regular(file)
    except Exception:  # whatever is wrong with it, it is as good as deleted
        return {}, _Part()
    start = len(_MAGIC) + 8
    end = start + _SUM + int.from_bytes(content[len(_MAGIC) : start], "big")
    if content[: len(_MAGIC)] != _MAGIC or end > len(content):
        return {}, _Part()
    first = _Part(content[start : start + _SUM], content[start + _SUM : end])
    return first.entries(), _Part(content[end : end + _SUM], content[end + _SUM :])


class LazyTuple(Sequence[_T]):
    """A tuple that stays as the cache has it until somebody looks into it."""

    def __init__(self, held: bytes) -> None:
        self._held = held
        self._items: tuple[_T, ...] | None = None

    @classmethod
    def of(cls, items: Sequence[_T]) -> LazyTuple[_T]:
        """Return one of these items."""
        return items if isinstance(items, cls) else cls(_pickled(tuple(items)))

    def items(self) -> tuple[_T, ...]:
        """Return the tuple."""
        if self._items is None:
            self._items = _Plain(io.BytesIO(self._held)).load()
        return self._items

    def __getitem__(self, place: Any) -> Any:
        return self.items()[place]

    def __len__(self) -> int:
        return len(self.items())

    def __iter__(self) -> Iterator[_T]:
        return iter(self.items())

    def __eq__(self, other: object) -> bool:
        return self.items() == (other.items() if isinstance(other, LazyTuple) else other)

    def __hash__(self) -> int:
        return hash(self.items())

    def __repr__(self) -> str:
        return repr(self.items())

    def __reduce__(self) -> tuple[type[LazyTuple[_T]], tuple[bytes]]:
        return LazyTuple, (self._held,)


class _Reducers(dict[type, Callable[[Any], Any]]):
    """How values are taken apart, by type: a dataclass all at once, where Python's own way asks field by field."""

    def __missing__(self, kind: type) -> Callable[[Any], Any]:
        if issubclass(kind, type):
            raise KeyError(kind)  # a class goes by its name
        names = [one.name for one in fields(kind)] if is_dataclass(kind) and not hasattr(kind, "__post_init__") else []
        reducer: Callable[[Any], Any] = _reduced
        if len(names) > 1:
            values = attrgetter(*names)

            def reducer(value: Any) -> Any:
                return kind, values(value)

        self[kind] = reducer
        return reducer


def _reduced(value: Any) -> Any:
    return value.__reduce_ex__(5)


_reducers = _Reducers()


def _pickled(value: object) -> bytes:
    stream = io.BytesIO()
    pickler = pickle.Pickler(stream, protocol=5)
    pickler.dispatch_table = _reducers
    pickler.dump(value)
    return stream.getvalue()


_PATHS = ("pathlib", "pathlib._local")
_VALUES = {("datetime", name) for name in ("date", "datetime", "timedelta", "timezone")} | {("decimal", "Decimal")}


class _Plain(pickle.Unpickler):
    """Reads kpi's own values and nothing else: a file from elsewhere cannot have anything called."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class of kpi's, or of a value that YAML yields."""
        allowed = (module.startswith("kpi.") and "." not in name) or (module, name) in _VALUES or module in _PATHS
        kind = super().find_class(module, name) if allowed else None
        if not isinstance(kind, type):
            raise pickle.UnpicklingError(f"{module}.{name}")
        return kind
