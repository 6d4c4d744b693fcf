"""Readers in processes of their own, who never stop asking two tables of one build the same question."""

from __future__ import annotations

import json
import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

from .victim import fork


class Readers:
    """Processes with so many threads each; `pause` are seconds between two questions of a thread."""

    def __init__(self, root: Path, processes: int, threads: int, pause: float) -> None:
        self.folder = root.parent
        self.stop = self.folder / "stop"
        self.processes: list[BaseProcess] = [
            fork(read, root, self.folder / f"reader-{number}.json", self.stop, threads, pause)
            for number in range(processes)
        ]

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def have_begun(self) -> None:
        """Wait until each process has read."""
        for number, process in enumerate(self.processes):
            while not (self.folder / f"reader-{number}.json.begun").exists() and process.is_alive():
                time.sleep(0.05)

    def end(self) -> tuple[int, int, list[str]]:
        """Stop them; return how often they read, how many builds they saw at least, and what was wrong."""
        self.stop.touch()
        reads, builds, wrong = 0, 0, []
        for number, process in enumerate(self.processes):
            process.join(240)
            if process.is_alive():
                process.kill()
                wrong.append("a reader hung")
            message = self.folder / f"reader-{number}.json"
            if not message.is_file():
                wrong.append(f"a reader died with {process.exitcode}")
                continue
            found = json.loads(message.read_text())
            message.unlink()
            message.with_suffix(".json.begun").unlink(missing_ok=True)
            reads, builds = reads + found["reads"], max(builds, found["builds"])
            wrong += found["wrong"]
        self.processes = []
        self.stop.unlink(missing_ok=True)
        return reads, builds, wrong


def read(root: Path, message: Path, stop: Path, threads: int, pause: float) -> None:
    """Read with so many threads until told to stop, and once more then, so that the last build is seen."""
    reads = [0] * threads
    seen: set[int] = set()
    wrong: list[str] = []
    work = [
        threading.Thread(target=_read_on, args=(root, stop, pause, number, reads, seen, wrong))
        for number in range(threads)
    ]
    for thread in work:
        thread.start()
    while not all(reads) and any(thread.is_alive() for thread in work):
        time.sleep(0.05)
    message.with_suffix(".json.begun").touch()
    for thread in work:
        thread.join()
    message.write_text(json.dumps({"reads": sum(reads), "builds": len(seen), "wrong": wrong[:5]}))


def _read_on(
    root: Path, stop: Path, pause: float, number: int, reads: list[int], seen: set[int], wrong: list[str]
) -> None:
    import kpi

    # Every second is a steward, who sees the rows themselves too.
    is_steward = number % 2 == 0
    generation = "max(waited_seconds) from raw.calls" if is_steward else "generation from marts.generation"
    is_over = False
    while not is_over:
        is_over = stop.exists()
        try:
            with kpi.open(project_dir=root, stewards=is_steward) as con:
                # Every third keeps its connection for a while, as a notebook does.
                for _ in range(8 if number % 3 == 0 else 1):
                    first = con.execute("select generation, calls, waited_seconds from marts.generation").fetchall()
                    time.sleep(pause / 8)
                    second = con.execute(
                        f"select (select {generation}), sum(call_count)::bigint,"
                        " sum(waited_seconds)::bigint from marts.calls_by_line"
                    ).fetchall()
                    reads[number] += 1
                    seen.add(first[0][1])
                    if first != second:
                        wrong.append(f"torn: {first} and {second}")
        except Exception as error:
            wrong.append(f"{type(error).__name__}: {str(error)[:200]}")
        time.sleep(pause)
