"""A run with its log and its notifications, around any function that refreshes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kpi.build_record import FeedStatus
from kpi.codec import from_line, to_line
from kpi.errors import (
    DONE,
    EXITS,
    HELD_BACK,
    INTERRUPTED,
    KILLED,
    NOTHING_TO_DO,
    WITH_WARNINGS,
    Problem,
    exit_of,
    problems_of,
)
from kpi.events import Emit, Event, Listeners, emit_event, now
from kpi.files import read_regular, replace_text
from kpi.jobs.options import Outcome
from kpi.presentation import headline
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.run_log import FailedRun, RunLog, close_killed, last_invocation

if TYPE_CHECKING:
    from kpi.jobs.notifications import Message
    from kpi.warehouse.run_log import RunOutcome


NOTIFIED_FILE = "told.json"
NOBODY_ASLEEP = (INTERRUPTED,)  # who pressed Ctrl-C knows


@dataclass(frozen=True, slots=True)
class Notified:
    """What people were notified of, so that they hear it once: who failed, how late feeds stand, and what is due."""

    failing: FailedRun | None = None
    late: Mapping[str, str] = field(default_factory=dict)
    due: tuple[FeedStatus, ...] = ()


def attend(
    root: Path, command: str, as_of: date, emit: Emit, work: Callable[[Emit], Outcome], notifies: bool = True
) -> Outcome:
    """Do `work` with its events kept in warehouse/runs, and notify people of failure, recovery and new warnings.

    `work` gets where its events go. Raises what it raises; nothing that goes wrong in notifying makes a run fail.
    """
    warehouse = Warehouse(root.resolve() / "warehouse")
    log = RunLog(warehouse.root, command)
    everyone = Listeners(log, emit)
    builds = {folder.name for folder in warehouse.build_folders()}
    before = warehouse.current()
    try:
        outcome = work(everyone)
    except BaseException as error:
        ended = exit_of(error)
        code = ended.code
        new = (
            sorted(folder.name for folder in warehouse.build_folders() if folder.name not in builds)
            if code != 8
            else []
        )
        log.on_event(Event("failed"))
        if notifies and code not in NOBODY_ASLEEP:
            _quietly(everyone, partial(_notify_failure, warehouse, log, error, new[-1] if new else "", everyone))
        message = headline(str(error)) or type(error).__name__
        log.end(ended.outcome, code, new[-1] if new else "", (), message, problems_of(error))
        emit_event(emit, Event("end", outcome=ended.outcome, exit_code=code))
        raise
    if outcome.nothing_to_do:
        if log.run:  # it waited for another run that did it all
            log.end(EXITS[NOTHING_TO_DO].outcome, DONE, outcome.build, ())
        else:
            log.rest(outcome.build)
        emit_event(emit, Event("end", name=outcome.build, outcome=EXITS[NOTHING_TO_DO].outcome, exit_code=DONE))
        _quietly(everyone, lambda: _notify_quiet_night(warehouse, as_of, everyone, notifies))
        return outcome
    if notifies and outcome.published:
        _quietly(everyone, lambda: _notify_success(warehouse, outcome, before, as_of, everyone))
    word = EXITS[DONE if outcome.published else HELD_BACK].outcome
    log.end(word, DONE, outcome.build, [str(problem) for problem in outcome.warnings], problems=outcome.warnings)
    emit_event(emit, Event("end", name=outcome.build, outcome=word, exit_code=DONE))
    return outcome


def exit_code(outcome: Outcome, detailed: bool) -> int:
    """Return the exit code of a run that did not fail: 0, or in detail 10, 11 or 12."""
    if not detailed:
        return DONE
    if outcome.nothing_to_do:
        return NOTHING_TO_DO
    return HELD_BACK if not outcome.published else WITH_WARNINGS if outcome.warnings else DONE


def notify_crash(warehouse: Warehouse, about: Mapping[str, str], emit: Emit) -> RunOutcome | None:
    """Notify of a run that could not do so itself. `about` are systemd's MONITOR_ variables; empty elsewhere.

    Returns the run when it was killed and this is the first to notice. A run that ended by itself has notified people.
    """
    from kpi.jobs import notifications

    dead = close_killed(warehouse.root)
    invocation = about.get("MONITOR_INVOCATION_ID", "")
    run = last_invocation(warehouse.root, invocation) if invocation else None
    if not dead and (run is not None or not invocation):
        emit("No run was killed: whatever failed has sent its own notification. See: kpi runs")
        return None
    how = ", ".join(
        about[f"MONITOR_{part}"] for part in ("SERVICE_RESULT", "EXIT_STATUS") if about.get(f"MONITOR_{part}")
    )
    ended = dead[-1] if dead else None
    _remember(
        warehouse,
        replace(_notified(warehouse), failing=FailedRun(ended.run if ended else "", EXITS[KILLED].outcome, now())),
    )
    _send(warehouse, notifications.killed(warehouse, ended, how), emit)
    return ended


def _notify_failure(warehouse: Warehouse, log: RunLog, error: BaseException, build: str, emit: Emit) -> None:
    failing = FailedRun(log.run, exit_of(error).outcome, now())
    _remember(warehouse, replace(_notified(warehouse), failing=failing))
    close_killed(warehouse.root)
    from kpi.jobs import notifications

    is_sent = notifications.addresses(warehouse.root)
    figures = notifications.affected_figures(warehouse, error, build) if is_sent else ()
    _send(warehouse, notifications.failure(warehouse, log.run, error, figures), emit)


def _notify_success(warehouse: Warehouse, outcome: Outcome, before: Path | None, as_of: date, emit: Emit) -> None:
    from kpi.ingest.calendar import LATE
    from kpi.jobs import notifications

    notified, current = _notified(warehouse), warehouse.current()
    failing = notified.failing
    for run in close_killed(warehouse.root):
        failing = failing or FailedRun(run.run, f"killed {run.message}", run.started_at)
    due = warehouse.outline(current).freshness if current else ()
    earlier_warnings = warehouse.record(before).warnings if before else ()
    earlier, late_kinds = {notifications.identity(problem) for problem in earlier_warnings}, LATE.values()
    new = [
        problem
        for problem in outcome.warnings
        if problem.code not in late_kinds and notifications.identity(problem) not in earlier
    ]
    late, states = _newly_late(due, notified.late, as_of)
    _remember(warehouse, Notified(None, states, due))
    if failing or new or late:
        _send(warehouse, notifications.recovery_message(warehouse, failing, new, late), emit)


def _notify_quiet_night(warehouse: Warehouse, as_of: date, emit: Emit, notifies: bool) -> None:
    """Nothing changed: yet a run before may have failed, and a feed may have become late by that very silence."""
    notified = _notified(warehouse)
    if not notified.failing and not notified.due:
        return
    late, states = _newly_late(notified.due, notified.late, as_of)
    if notified.failing is None and states == notified.late:
        return
    for problem in late:
        emit(f"  warning: {problem}")
    if not notifies:
        return
    _remember(warehouse, replace(notified, failing=None, late=states))
    if notified.failing or late:
        from kpi.jobs import notifications

        _send(warehouse, notifications.recovery_message(warehouse, notified.failing, (), late), emit)


def _newly_late(
    due: Sequence[FeedStatus], earlier_states: Mapping[str, str], as_of: date
) -> tuple[list[Problem], dict[str, str]]:
    """Return a problem for each feed that became late or very late since people heard, and how all late ones stand."""
    if not any(by < as_of for feed in due for by in (feed.expected_by, feed.very_late_by) if by):
        return [], {}
    from kpi.ingest.calendar import late_problems

    problems = {problem.subject: problem for problem in late_problems(due, as_of)}
    states: dict[str, str] = {feed.feed: feed.state(as_of) for feed in due if feed.feed in problems}
    return [problems[feed] for feed, state in states.items() if earlier_states.get(feed) != state], states


def _send(warehouse: Warehouse, message: Message, emit: Emit) -> None:
    from kpi.jobs import notifications

    urls = notifications.addresses(warehouse.root)
    if not urls:
        if why := notifications.unreadable(warehouse.root):
            text = f"  warning: nobody is notified: {notifications.FILE} cannot be read: {why}."
            emit_event(emit, Event("not notified", text))
        return
    troubles = notifications.send(urls, message)
    emit_event(emit, Event("notified", name=message.title, done=len(urls) - len(troubles), total=len(urls)))
    for trouble in troubles:
        emit_event(emit, Event("not notified", f"  warning: {trouble}"))


def _quietly(emit: Emit, work: Callable[[], None]) -> None:
    """Do what must not make a run fail; of what goes wrong in it only the kind is reported."""
    try:
        work()
    except Exception as error:
        emit_event(emit, Event("not notified", f"  warning: people could not be notified: {type(error).__name__}."))


def _notified(warehouse: Warehouse) -> Notified:
    """Return what people were notified of. A part that cannot be read is as if they were not."""
    with suppress(OSError):
        return from_line(Notified, read_regular(warehouse.root / "runs" / NOTIFIED_FILE)) or Notified()
    return Notified()


def _remember(warehouse: Warehouse, notified: Notified) -> None:
    """Record what people were notified of, so that they are notified once."""
    with suppress(OSError):
        replace_text(warehouse.root / "runs" / NOTIFIED_FILE, to_line(notified) + "\n")
