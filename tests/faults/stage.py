"""A small project whose deliveries come in generations, so that one can tell what a reader ought to see.

Generation g is the delivery b.csv with 400 + g rows that all waited g seconds. `marts.generation` and
`marts.calls_by_line` say the same of it only within one build: that is the identity which readers check.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from kpi import database
from kpi.jobs.doctor import examine
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.permissions import DATABASE, STEWARDS
from small_project import FILES, write

from .victim import Plan, finish, log_of, start

HEADER = "call_id,line,waited_seconds,arrived_on\n"
MODELS = {
    "models/marts/calls_by_line.sql": (
        "select line, count(*) as call_count, count(*) filter (where waited_seconds <= {{ var('limit_seconds') }})"
        " as in_time_count, sum(waited_seconds)::bigint as waited_seconds from {{ ref('stg_calls') }} group by line\n"
    ),
    "models/marts/generation.sql": (
        "select max(waited_seconds) as generation, count(*) as calls, sum(waited_seconds)::bigint as waited_seconds"
        " from {{ ref('stg_calls') }}\n"
    ),
}
LEFT_OUT = FILES["dbt_project.yml"].replace("vars:\n", "vars:\n  kpi_warehouse: {stewards_schemas: [raw, staging]}\n")
# A second feed, which comes in generations too, and two threads to load both with.
SECOND = {
    "models/staging/chats.yml": FILES["models/staging/calls.yml"].partition("models:")[0].replace("calls", "chats"),
    "dbt_project.yml": FILES["dbt_project.yml"].replace("vars:\n", "vars:\n  kpi_warehouse: {threads: 2}\n"),
}
# Other rows of the log of runs are in each: what is left are the tables a build is asked for.
NOT_COMPARED = "marts.runs"
Tables = dict[str, tuple[object, ...]]
_UNDISTURBED: dict[tuple[bool, bool, int], Tables] = {}  # the same for every warehouse


def delivery(generation: int) -> bytes:
    """The delivery b.csv of a generation."""
    lines = ("health", "social")
    rows = (f"b{n},{lines[n % 2]},{generation},2025-01-{n % 28 + 1:02}\n" for n in range(400 + generation))
    return (HEADER + "".join(rows)).encode()


def tables_of(file: Path) -> Tables:
    """Number of rows and sum of their hashes of every table in a build."""
    with database.reading(file) as con:
        names = [name for name in database.row_counts(con) if name != NOT_COMPARED]
        return {
            name: tuple(con.execute(f"select count(*), sum(hash(t)::hugeint) from {name} as t").fetchall()[0])
            for name in names
        }


@dataclass(slots=True)
class Stage:
    """A warehouse to which things are done. `wrong` collects what should not have been."""

    root: Path
    generation: int = 0
    seconds: float = 0  # that the last undisturbed run took
    stewards: bool = False
    second: bool = False
    wrong: list[str] = field(default_factory=list)

    @classmethod
    def make(cls, inside: Path | None = None, stewards: bool = False, second: bool = False) -> Stage:
        """Write the project, with one build published.

        With `stewards` what holds single calls is left out of it, with `second` there is another feed.
        """
        # Not in a folder of pytest's: another user could not look into that.
        root = Path(tempfile.mkdtemp(prefix="kpi-faults-", dir=inside)) / "project"
        root.parent.chmod(0o755)
        more = ({"dbt_project.yml": LEFT_OUT} if stewards else {}) | (SECOND if second else {})
        stage = cls(write(root, MODELS | more), stewards=stewards, second=second)
        raw = root / "warehouse/raw/calls"
        raw.mkdir(parents=True)
        old = "".join(f"a{n},health,{n % 90},2024-03-{n % 28 + 1:02}\n" for n in range(3000))
        (raw / "a.csv").write_text(HEADER + old)
        stage.deliver(1)
        stage.refresh("the first")
        return stage

    def remove(self) -> None:
        """Remove the project and all that was built."""
        shutil.rmtree(self.root.parent, ignore_errors=True)

    @property
    def warehouse(self) -> Warehouse:
        """The warehouse of the project."""
        return Warehouse(self.root / "warehouse")

    @property
    def delivery(self) -> Path:
        """The delivery that changes."""
        return self.root / "warehouse/raw/calls/b.csv"

    def deliver(self, generation: int) -> None:
        """Deliver a generation."""
        new = self.delivery.with_name(".b.next")
        new.write_bytes(delivery(generation))
        os.replace(new, self.delivery)
        if self.second:
            (chats := self.root / "warehouse/raw/chats").mkdir(exist_ok=True)
            (chats / "b.csv").write_bytes(delivery(generation))
        self.generation = generation

    def next_generation(self) -> int:
        """Deliver another generation than the last; there are few, so that each is computed undisturbed once."""
        self.deliver(self.generation % 3 + 1)
        return self.generation

    def run(self, plan: Plan = Plan()) -> int:  # noqa: B008
        """Do a run and return its exit code."""
        return finish(start(self.root, plan))

    def refresh(self, when: str) -> None:
        """Do an undisturbed run, which must succeed and not leave a traceback."""
        began = time.monotonic()
        code = self.run()
        self.seconds = time.monotonic() - began
        if code:
            self.wrong.append(f"{when}: the refresh ended with {code}: {self.said()[-400:]}")

    def said(self) -> str:
        """What the runs wrote so far."""
        log = log_of(self.root)
        return log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""

    def current(self) -> str:
        """The build that readers are pointed at."""
        folder = self.warehouse.current()
        return folder.name if folder else ""

    def undisturbed(self, generation: int) -> Tables:
        """The tables that an undisturbed run makes of a generation, in a warehouse of its own."""
        key = (self.stewards, self.second, generation)
        if key not in _UNDISTURBED:
            other = Stage.make(self.root.parent, self.stewards, self.second)
            other.deliver(generation)
            other.refresh("undisturbed")
            self.wrong += other.wrong
            _UNDISTURBED[key] = other.tables()
            other.remove()
        return _UNDISTURBED[key]

    def tables(self) -> Tables:
        """The tables of the current build, and those of its stewards' file."""
        current = self.root / "warehouse/current"
        if not self.stewards:
            return tables_of(current / DATABASE)
        in_whole = tables_of(current / STEWARDS / DATABASE)
        return tables_of(current / DATABASE) | {f"{STEWARDS} {name}": rows for name, rows in in_whole.items()}

    def ask_who_can_read(self, when: str) -> None:
        """Note when a file that holds single calls could be opened by others, whatever state it is in."""
        for file in self.warehouse.builds.rglob(DATABASE) if self.stewards else ():
            try:
                way = [place.stat().st_mode & 0o005 for place in (file, file.parent, file.parent.parent)]
                held = tables_of(file) if all(way) else {}
            except (duckdb.Error, OSError):
                continue  # half written
            if any(name.startswith("raw.") for name in held):
                self.wrong.append(f"{when}: others can read {file.relative_to(self.warehouse.builds)}")

    def sees(self, generation: int, when: str) -> None:
        """Note when the current build does not open, or holds anything but this generation."""
        try:
            seen = self.tables()
        except (duckdb.Error, OSError) as error:
            self.wrong.append(f"{when}: the current build does not open: {str(error)[:200]}")
            return
        if seen != self.undisturbed(generation):
            different = sorted(name for name, _ in set(seen.items()) ^ set(self.undisturbed(generation).items()))
            self.wrong.append(f"{when}: not generation {generation}: {', '.join(different)}")

    def suffer(
        self,
        when: str,
        fault: Callable[[], object],
        mend: Callable[[], object] = lambda: None,
        codes: tuple[int, ...] = (),
    ) -> str:
        """Do something bad to a run of a new generation, then look whether all is as it must be.

        `fault` does it and returns the exit code; `mend` takes the cause away. Returns how it ended.
        """
        before, was = self.generation, self.current()
        self.next_generation()
        said = len(self.said())
        with database.reading(self.root / "warehouse/current" / DATABASE) as held:
            code = fault()
            waited = held.execute("select max(waited_seconds) from marts.calls_by_line").fetchall()
            if not waited[0][0]:
                self.wrong.append(f"{when}: who had the build open does not see it any more")
        published = self.current() != was
        if "Traceback" in self.said()[said:]:
            self.wrong.append(f"{when}: a traceback: {self.said()[-600:]}")
        if codes and code not in codes:
            self.wrong.append(f"{when}: exit code {code}, not {codes}: {self.said()[said:][-400:]}")
        self.sees(self.generation if published else before, when)
        self.ask_who_can_read(when)
        mend()
        self.refresh(f"after {when}")
        self.sees(self.generation, f"the run after {when}")
        self.ask_the_doctor(when)
        return "published" if published else "not published"

    def ask_the_doctor(self, when: str) -> None:
        """Note what `kpi doctor` calls an error, and what was left lying."""
        found = [finding.what for finding in examine(self.warehouse) if finding.level == "error"]
        found = [what for what in found if ": very late: its newest day" not in what]  # as the years go by
        found += [left.name for left in self.warehouse.builds.glob(".tmp-*")]
        self.wrong += [f"after {when}: {what}" for what in found]
