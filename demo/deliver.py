"""`kpi demo`: synthetic deliveries at the county's true volumes, deterministic from a seed, plainly labelled.

The published figures come out of them; nothing in the models knows of it.
"""

from __future__ import annotations

import fcntl
import gzip
import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb

from demo.feeds import FEEDS
from demo.files import Feed, render
from demo.times import PRELUDE
from kpi import database
from kpi.errors import ConfigError
from kpi.ingest.raw_files import ENDINGS, UNFINISHED_DEMO

LABEL_NAME = "README.txt"
LABEL = """\
SYNTEETTISTÄ AINEISTOA - SYNTHETIC DATA

Tämän kansion toimitukset on tuottanut komento `kpi demo` (siemenluku {seed}). Ne ovat keksittyjä:
ne eivät sisällä tietoja yhdestäkään oikeasta ihmisestä tai tapahtumasta. Niillä kokeillaan
järjestelmää; niistä ei voi päätellä mitään todellisuudesta.

The deliveries in this folder were made by the command `kpi demo` (seed {seed}). They are invented:
they hold no data of any real person or event. They are for trying the system out; nothing about
the real world can be concluded from them.

{feeds}
"""
_PARTIAL = UNFINISHED_DEMO.parent.name


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What was written: files, records (rejects included), bytes on disk, records by feed, and the seed."""

    files: int
    records: int
    bytes: int
    rows: tuple[tuple[str, int], ...]
    seed: int


def write_demo(raw: Path, seed: int = 2025, scale: float = 1.0, feeds: Sequence[Feed] = FEEDS) -> DemoReport:
    """Write synthetic deliveries of 2023 to 2025 into `raw/<feed>/`, and a label into `raw/README.txt`.

    The same seed gives the same bytes. `scale` multiplies the volumes; the published figures come out at 1.0, with
    any seed. `feeds` are those to write. A feed's folder appears whole or not at all. Raises ConfigError when a feed's
    folder already holds deliveries or `raw` a README.txt of another kind, when another run is writing there, or when
    `scale` is not usable; then nothing is written.
    """
    if not (math.isfinite(scale) and 0 < scale <= 10):
        raise ConfigError(f"scale {scale} is not usable: give a number over 0 and at most 10")
    if raw.exists() and not raw.is_dir():
        raise ConfigError(f"{raw} is no folder: name the folder that holds, or shall hold, the deliveries")
    raw.mkdir(parents=True, exist_ok=True)
    label = LABEL.format(feeds="\n".join(feed.name for feed in FEEDS), seed=seed)
    with _staging(raw) as staging:
        _refuse_overwriting(raw, label, feeds)
        report = _generate(staging, seed, scale, feeds)
        # The label comes first, so that no synthetic delivery ever lies there without it.
        (staging / ".label").write_text(label, encoding="utf-8")
        # From here on a run that is killed is finished by the next, and no refresh reads what is there by then.
        ready = staging / UNFINISHED_DEMO.name
        ready.with_suffix(".new").write_text(json.dumps(asdict(report)), encoding="utf-8")
        os.replace(ready.with_suffix(".new"), ready)
        _move_all(staging, raw)
    return report


def finish_demo(raw: Path) -> DemoReport | None:
    """Move into place what an earlier run had ready when it was killed. Returns what that wrote; None without one."""
    if not os.path.exists(raw / UNFINISHED_DEMO):
        return None
    with _locked(raw):
        if not os.path.exists(raw / UNFINISHED_DEMO):
            return None
        facts = json.loads((raw / UNFINISHED_DEMO).read_text(encoding="utf-8"))
        _move_all(raw / _PARTIAL, raw)
        shutil.rmtree(raw / _PARTIAL, ignore_errors=True)
    return DemoReport(**{**facts, "rows": tuple((feed, rows) for feed, rows in facts["rows"])})


def _move_all(staging: Path, raw: Path) -> None:
    """Move label and feeds that are still in the staging folder into place; then nothing is unfinished."""
    if (staging / ".label").exists():
        os.replace(staging / ".label", raw / LABEL_NAME)
    for folder in sorted(entry for entry in staging.iterdir() if entry.is_dir() and entry.name != ".spill"):
        _publish(folder, raw / folder.name.removeprefix("."))
    (staging / UNFINISHED_DEMO.name).unlink()


def _generate(staging: Path, seed: int, scale: float, feeds: Sequence[Feed]) -> DemoReport:
    rows: list[tuple[str, int]] = []
    files = written = 0
    with _scratch(staging, seed, scale) as con:
        for feed in feeds:
            folder = staging / f".{feed.name}"
            folder.mkdir()
            con.execute(feed.sql)
            total = 0
            for file in feed.files:
                data, records = render(con, feed, file)
                if file.style.compressed:
                    data = gzip.compress(data, compresslevel=6, mtime=0)
                (folder / file.file_name).write_bytes(data)
                total += records
                files += 1
                written += len(data)
            con.execute(f"drop table {feed.name}")
            rows.append((feed.name, total))
    return DemoReport(files, sum(count for _, count in rows), written, tuple(rows), seed)


@contextmanager
def _scratch(staging: Path, seed: int, scale: float) -> Iterator[duckdb.DuckDBPyConnection]:
    con = database.scratch({"memory_limit": "600MB", "temp_directory": str(staging / ".spill")})
    try:
        # Not random(): what a row is depends on its own number and the seed, whichever thread makes it. The hashes
        # are mixed once more, since hash(a, b) of two salts differ by the same bits in every row.
        con.execute(
            f"""
            set enable_progress_bar = false;
            create macro mixed(x, salt) as hash(xor(hash(x), hash(salt || '/{int(seed)}')));
            create macro noise(x, salt) as (mixed(x, salt) >> 12) / 4503599627370496.0;
            create macro scaled(n) as greatest(1, cast(round(n * {float(scale)!r}) as bigint));
            {PRELUDE}
            """
        )
        yield con
    finally:
        con.close()


@contextmanager
def _staging(raw: Path) -> Iterator[Path]:
    """A folder beside the feeds' folders that is gone afterwards; what a killed run left is cleaned first.

    When moving what is ready into place fails it stays, for `finish_demo`.
    """
    with _locked(raw):
        staging = raw / _PARTIAL
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        try:
            yield staging
        finally:
            if not os.path.exists(raw / UNFINISHED_DEMO):
                shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _locked(raw: Path) -> Iterator[None]:
    handle = os.open(raw, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{raw}: another `kpi demo` is writing here; wait for it to end") from None
        yield
    finally:
        os.close(handle)


def _refuse_overwriting(raw: Path, label: str, feeds: Sequence[Feed]) -> None:
    for feed in feeds:
        folder = raw / feed.name
        found = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
        held = [name for name in found if name.lower().endswith(ENDINGS)]
        if held:
            raise ConfigError(
                f"{folder} already holds deliveries ({len(held)}, such as {held[0]}): synthetic ones are written "
                "only beside none. Choose another raw folder, or move these away first"
            )
        if (folder.exists() or folder.is_symlink()) and not folder.is_dir():
            raise ConfigError(f"{folder} is no folder: move it away first")
    readme = raw / LABEL_NAME
    if readme.exists() and LABEL.split("\n", 1)[0] not in readme.read_text(encoding="utf-8", errors="replace"):
        raise ConfigError(f"{readme} is not a label of synthetic data: move it away first, it is not overwritten")


def _publish(ready: Path, folder: Path) -> None:
    if folder.is_symlink() or (folder.is_dir() and any(folder.iterdir())):
        # Something other than deliveries lies there and stays: each file appears whole.
        for file in sorted(ready.iterdir()):
            os.replace(file, folder / file.name)
    else:
        os.replace(ready, folder)
