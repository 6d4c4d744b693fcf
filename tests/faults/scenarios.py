"""What is done to a refresh. Each scenario tells how often it was tried, how the runs ended and what was wrong."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from pathlib import Path

from kpi.warehouse.permissions import DATABASE
from kpi.warehouse.run_log import history

from .at_once import killed_while_loading
from .readers import Readers
from .results import Result, result_of, stage_of
from .stage import Stage, delivery
from .victim import Plan, at_gate, finish, flip, start

NOBODY = 65534
KILLED = -9


def steps_of(stage: Stage) -> list[str]:
    """The steps of a refresh that changes something, in order, with old builds to prune."""
    for _ in range(4):
        stage.next_generation()
        stage.refresh("before")
    stage.next_generation()
    listed = stage.root.parent / "steps"
    stage.run(Plan(list_steps=str(listed)))
    return listed.read_text(encoding="utf-8").splitlines()


def killed_at_steps(every: int = 1, first: int = 1, stewards: bool = False) -> Result:
    """SIGKILL at every n-th named step, with a reader who goes on asking; or with a file for stewards."""
    with stage_of(stewards=stewards) as stage:
        steps = steps_of(stage)
        ended = []
        with Readers(stage.root, 1, 2, 1.0) as readers:
            for number in range(first, len(steps) + 1, every):
                how = stage.suffer(
                    f"SIGKILL at step {number} ({steps[number - 1]})",
                    partial(stage.run, Plan(die_at=number)),
                    codes=(KILLED,),
                )
                ended.append(how)
            reads, _, wrong = readers.end()
        stage.wrong += wrong
        what = f"SIGKILL at {len(set(steps))} named steps{', with a file for stewards' * stewards}"
        return result_of(what, stage, ended, f"; {reads} reads meanwhile")


def killed_at_random(tries: int, seed: int) -> Result:
    """SIGKILL at random moments of the time a run takes; every other one in its last third, when it publishes."""
    chosen = random.Random(seed)
    with stage_of() as stage:
        moments = itertools.cycle(((0.0, 1.1), (0.67, 1.1)))
        ended: list[str] = []
        codes: Counter[int] = Counter()

        def kill() -> int:
            process = start(stage.root, Plan())
            process.join(chosen.uniform(*next(moments)) * stage.seconds)
            process.kill()
            code = finish(process)
            codes[code] += 1
            return code

        with Readers(stage.root, 1, 2, 1.0) as readers:
            for number in range(tries):
                ended.append(stage.suffer(f"SIGKILL at random moment {number}", kill, codes=(KILLED, 0)))
            reads, _, wrong = readers.end()
        stage.wrong += wrong
        message = f"; {codes[KILLED]} died before their end; {reads} reads meanwhile"
        return result_of("SIGKILL at random moments", stage, ended, message)


def rollback_killed(every: int = 1) -> Result:
    """SIGKILL at every step of a rollback; afterwards readers see either build whole."""
    with stage_of() as stage:
        stage.next_generation()
        stage.refresh("before")
        listed = stage.root.parent / "steps"
        stage.run(Plan(("rollback",), list_steps=str(listed)))
        steps = listed.read_text(encoding="utf-8").splitlines()
        ended = []
        for number in range(1, len(steps) + 1, every):
            stage.next_generation()
            stage.refresh("before the rollback")
            was, before = stage.current(), stage.generation
            stage.run(Plan(("rollback",), die_at=number))
            back = (before - 2) % 3 + 1
            moved = stage.current() != was
            stage.sees(back if moved else before, f"a rollback killed at step {number} ({steps[number - 1]})")
            stage.ask_the_doctor(f"a rollback killed at step {number}")
            ended.append("rolled back" if moved else "not rolled back")
        return result_of("SIGKILL at every step of a rollback", stage, ended)


def disk_full(sizes: Iterable[int], by_mount: bool) -> Result:
    """A disk with so many free bytes; or where none can be mounted, a limit to the size of a file."""
    ended: list[str] = []
    if not by_mount:
        with stage_of() as stage:
            for size in sizes:
                plan = Plan(file_bytes=size)
                ended.append(stage.suffer(f"no file over {size} bytes", partial(stage.run, plan), codes=(0, 9)))
            return result_of("no file may pass a size", stage, ended)
    place = Path("/tmp") / f"kpi-faults-disk-{os.getpid()}"
    place.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)], check=True)
        place.chmod(0o755)
        with stage_of(place) as stage:
            stage.undisturbed(1), stage.undisturbed(2), stage.undisturbed(3)
            for size in sizes:
                ended.append(
                    stage.suffer(
                        f"{size} bytes of disk left",
                        partial(_starved, stage, place, size),
                        (place / "ballast").unlink,
                        (0, 9),
                    )
                )
            return result_of("a full disk (tmpfs)", stage, ended)
    finally:
        subprocess.run(["umount", str(place)], check=False)
        place.rmdir()


def _starved(stage: Stage, place: Path, left: int) -> int:
    with (place / "ballast").open("wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, max(1, shutil.disk_usage(place).free - left))
    return stage.run()


def can_mount() -> bool:
    """Whether a tmpfs can be mounted here."""
    if os.getuid():
        return False
    place = Path("/tmp") / f"kpi-faults-try-{os.getpid()}"
    place.mkdir()
    try:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=False, capture_output=True)
        if mounted.returncode == 0:
            subprocess.run(["umount", str(place)], check=True)
        return mounted.returncode == 0
    except OSError:
        return False
    finally:
        place.rmdir()


def permissions() -> Result:
    """Rights taken away: from the folder of builds, from a delivery, from the folder of raw, from the warehouse."""
    with stage_of() as stage:
        owner = NOBODY if os.getuid() == 0 else os.getuid()
        warehouse = stage.root / "warehouse"
        cases: list[tuple[str, Path, int, tuple[int, ...]]] = [
            ("builds cannot be written", warehouse / "builds", 0o555, (1, 3)),
            ("the warehouse cannot be written", warehouse, 0o555, (1, 3)),
            ("a delivery cannot be read", stage.delivery, 0o000, (4,)),
            ("the folder of raw cannot be read", warehouse / "raw/calls", 0o000, (3, 4)),
            ("the log of runs cannot be written", warehouse / "runs", 0o555, (0,)),
            ("the ledger cannot be written", warehouse / "builds/ledger.jsonl", 0o444, (0,)),
            ("the published build cannot be read", Path(), 0o000, (1, 3, 6)),
        ]
        ended = []
        for what, place, mode, codes in cases:
            path = place if place != Path() else warehouse / "current" / DATABASE
            path = path.resolve()
            was = 0o444 if place == Path() else path.stat().st_mode & 0o777

            def fault(path: Path = path, mode: int = mode) -> int:
                _give(stage.root, owner)
                path.chmod(mode)
                code = stage.run(Plan(user=owner if os.getuid() == 0 else 0))
                path.chmod(was)  # noqa: B023
                _give(stage.root, os.getuid())
                return code

            ended.append(stage.suffer(what, fault, codes=codes))
        return result_of("permissions taken away", stage, ended)


def _give(folder: Path, user: int) -> None:
    if os.getuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user, user, follow_symlinks=False)


def bits_flipped(tries: int, seed: int) -> Result:
    """One bit of the candidate flipped before it is verified: found, or without effect on any table."""
    with stage_of() as stage:
        ended = [
            stage.suffer(
                f"bit flipped {number}",
                partial(stage.run, Plan(flip=seed * 1_000_003 + number)),
                codes=(0, 6),
            )
            for number in range(tries)
        ]
        found = ended.count("not published")
        message = f"found {found}, harmless {len(ended) - found}"
        return Result("a bit flipped in the candidate before it is verified", tries, message, tuple(stage.wrong))


def deliveries_changing() -> Result:
    """A delivery truncated while it is hashed or read, or exchanged between the two looks at it."""
    with stage_of() as stage:
        ended = []
        for when in ("while hashed", "after hashing", "while loaded", "swap and back"):
            for how in ("truncate", "swap"):
                if (when, how) == ("swap and back", "truncate"):
                    continue
                whole = delivery(stage.generation % 3 + 1)
                content = whole[: len(whole) // 2] if how == "truncate" else whole + b"c1,health,5,2025-02-01\n"
                if when == "while hashed":
                    ended.append(_changed_before_hashed(stage, content, how))
                    continue
                plan = Plan(meddle=(when, content, how))

                def fault(plan: Plan = plan) -> int:
                    return stage.run(plan)

                mend = lambda: stage.deliver(stage.generation)  # noqa: E731
                ended.append(
                    stage.suffer(
                        f"delivery {how} {when}",
                        fault,
                        mend,
                        (0,) if how == "swap" and when == "while loaded" else (4, 6),
                    )
                )
        return result_of("a delivery truncated or exchanged while it is read", stage, ended)


def _changed_before_hashed(stage: Stage, content: bytes, how: str) -> str:
    """What is hashed is what lies there by then: that is loaded, and the next night's file replaces it."""
    stage.next_generation()
    code = stage.run(Plan(meddle=("while hashed", content, how)))
    stage.deliver(stage.generation)
    stage.refresh(f"after a delivery {how} while hashed")
    stage.sees(stage.generation, f"the run after a delivery {how} while hashed")
    stage.ask_the_doctor(f"a delivery {how} while hashed")
    return "published" if code == 0 else "not published"


def clock() -> Result:
    """The clock jumps back or forth: ten years, a day, a minute."""
    with stage_of() as stage:
        ended = []
        for shift in (timedelta(days=-3650), timedelta(days=-1), timedelta(minutes=-1), timedelta(days=3650)):
            plan = Plan(clock=shift)
            ended.append(stage.suffer(f"the clock {shift}", partial(stage.run, plan), codes=(0,)))
        names = [run.run for run in history(stage.root / "warehouse")]
        if names != sorted(names) or len({name[:6] for name in names}) != len(names):
            stage.wrong.append("runs are not in the order they began")
        return result_of("the clock jumps", stage, ended)


def together(tries: int) -> Result:
    """Two refreshes at once: one does it, the other says so, or finds nothing left to do."""
    with stage_of() as stage:
        codes: Counter[int] = Counter()

        def both() -> int:
            two = [start(stage.root, Plan(pause=("event loading", 0.3))) for _ in range(2)]
            ended = sorted(finish(one) for one in two)
            codes.update(ended)
            return ended[0] if ended[1] in (0, 8) else ended[1]

        ended = [stage.suffer(f"two at once {number}", both, codes=(0,)) for number in range(tries)]
        message = ", ".join(f"exit code {code}: {count}" for code, count in sorted(codes.items()))
        return result_of("two refreshes at once", stage, ended, f"; {message}")


def rollback_meanwhile(tries: int) -> Result:
    """A rollback while a refresh is running is refused; readers get what the refresh publishes."""
    with stage_of() as stage:
        stage.next_generation()
        stage.refresh("before")

        def both() -> int:
            gate = stage.root.parent / "gate"
            os.mkfifo(gate)
            refresh = start(stage.root, Plan(gate=("event testing", str(gate))))
            with at_gate(refresh, gate):
                code = stage.run(Plan(("rollback",)))
            gate.unlink()
            if code != 8:
                stage.wrong.append(f"a rollback during a refresh ended with {code}")
            return finish(refresh)

        ended = [stage.suffer(f"rollback meanwhile {number}", both, codes=(0,)) for number in range(tries)]
        return result_of("a rollback during a refresh", stage, ended, "; the rollback is refused with 8")


def stale_wal() -> Result:
    """A write-ahead log beside the published build, and a leftover of a killed run with one."""
    with stage_of() as stage:
        builds = stage.warehouse.builds
        wal = (stage.root / "warehouse/current").resolve() / f"{DATABASE}.wal"

        def leftover() -> int:
            left = builds / ".tmp-00099-20260101T000000Z"
            left.mkdir()
            (left / DATABASE).write_bytes(b"no database")
            (left / f"{DATABASE}.wal").write_bytes(b"no log")
            return stage.run()

        ended = [stage.suffer("a leftover with a stale .wal", leftover, codes=(0,))]
        wal = (stage.root / "warehouse/current").resolve() / f"{DATABASE}.wal"
        wal.write_bytes(os.urandom(4096))
        before = len(stage.wrong)
        stage.ask_the_doctor("a stale .wal beside the published build")
        if len(stage.wrong) == before:
            stage.wrong.append("the doctor does not see a stale .wal")
        del stage.wrong[before:]
        stage.next_generation()
        stage.refresh("with a stale .wal beside the published build")
        stage.sees(stage.generation, "a stale .wal beside the build before")
        wal.unlink(missing_ok=True)
        stage.ask_the_doctor("a stale .wal was removed, as the doctor says")
        return result_of("a stale .wal", stage, [*ended, "published"])


def pages_of_the_published(tries: int, seed: int) -> Result:
    """A bit of the published build flipped on its disk: the doctor finds it, and a full refresh mends it."""
    chosen = random.Random(seed)
    with stage_of() as stage:
        for number in range(tries):
            database = (stage.root / "warehouse/current").resolve() / DATABASE
            database.chmod(0o644)
            place = flip(database, chosen)
            database.chmod(0o444)
            before = len(stage.wrong)
            stage.ask_the_doctor("")
            if len(stage.wrong) == before:
                stage.wrong.append(f"the doctor does not see the bit flipped at {place}")
            del stage.wrong[before:]
            stage.next_generation()
            code = finish(start(stage.root, Plan((*Plan().command, "--full-refresh"))))
            if code:
                stage.wrong.append(f"a full refresh over a damaged build {number} ended with {code}")
            stage.sees(stage.generation, "a full refresh over a damaged build")
            shutil.rmtree(database.parent)
        return Result("a bit flipped in the published build", tries, f"the doctor found {tries}", tuple(stage.wrong))


def many_readers(publishes: int, processes: int, threads: int) -> Result:
    """Many readers while build after build is published."""
    with stage_of() as stage:
        readers = Readers(stage.root, processes, threads, 0.4)
        with readers:
            readers.have_begun()
            for number in range(publishes):
                stage.next_generation()
                code = stage.run(Plan(keep=7))
                if code:
                    stage.wrong.append(f"publish {number} ended with {code}")
            reads, seen, wrong = readers.end()
        stage.wrong += wrong
        stage.ask_the_doctor("all was read")
        if reads < processes * threads or seen < min(2, publishes):
            stage.wrong.append(f"only {reads} reads of {seen} generations")
        what = f"{processes * threads} readers in {processes} processes"
        return Result(what, publishes, f"{reads} reads, {len(wrong)} wrong", tuple(stage.wrong))


def scenarios(short: bool, seed: int, times: int = 200) -> list[tuple[str, Callable[[], Result]]]:
    """Everything that is tried, under the name it can be asked for; what is random so many times."""
    tmpfs = can_mount()
    sizes = (200_000, 900_000, 2_000_000) if short else (4_096, 65_536, *range(200_000, 4_200_001, 400_000))
    return [
        ("steps", lambda: killed_at_steps(24 if short else 1, seed % 24 + 1 if short else 1)),
        ("stewards", lambda: killed_at_steps(24 if short else 1, seed % 24 + 13 if short else 1, stewards=True)),
        ("loading", lambda: killed_while_loading(18 if short else 1, seed % 18 + 1 if short else 1)),
        ("random", lambda: killed_at_random(3 if short else times, seed)),
        ("rollback", lambda: rollback_killed(6 if short else 1)),
        ("disk", lambda: disk_full(sizes, tmpfs and not short)),
        ("size", lambda: disk_full(() if short else sizes, False)),
        ("permissions", permissions),
        ("flips", lambda: bits_flipped(3 if short else times // 2, seed)),
        ("doctor", lambda: pages_of_the_published(1 if short else 10, seed)),
        ("delivery", deliveries_changing),
        ("clock", clock),
        ("together", lambda: together(1 if short else 10)),
        ("meanwhile", lambda: rollback_meanwhile(1 if short else 5)),
        ("wal", stale_wal),
        ("readers", lambda: many_readers(3 if short else times // 2, 2 if short else 5, 5 if short else 10)),
    ]
