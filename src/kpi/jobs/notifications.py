"""What people are sent about a run: what failed, which figures are affected, what readers see, what to do.

The addresses hold passwords: they are read from the environment or from a file that is never in git, and no message,
log or error repeats more of one than its kind (`mailtos`).

No row's content is in a message, nor a value that was seen: a message may leave the house.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from kpi import database
from kpi.build_record import BuildRecord, NodeRecord
from kpi.database import table_columns
from kpi.errors import EXITS, KILLED, UNEXPECTED, BuildError, CompileError, DeliveryError, Problem, exit_of, problems_of
from kpi.files import read_regular, why_unreadable
from kpi.ingest.calendar import LATE
from kpi.ingest.masking import message
from kpi.lazy import duckdb
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.permissions import DATABASE, database_folder
from kpi.warehouse.run_log import FailedRun, RunOutcome

VARIABLE, FILE = "KPI_NOTIFY", "notify.txt"
PATIENCE_SECONDS = 60
Kind = Literal["failure", "success", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent. `kind` decides colour and icon where the receiver has them."""

    kind: Kind
    title: str
    body: str


def addresses(warehouse: Path) -> tuple[str, ...]:
    """Return the URLs of KPI_NOTIFY, separated by blanks, else those of warehouse/notify.txt, one a line."""
    setting = os.environ.get(VARIABLE)
    if setting is not None:
        return tuple(setting.split())
    try:
        lines = read_regular(warehouse / FILE).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return ()
    return tuple(line.strip() for line in lines if line.strip() and line.strip()[0] != "#")


def unreadable(warehouse: Path) -> str:
    """Say why the file of addresses cannot be read, and so counts for nothing; empty when it can, or is not there."""
    if os.environ.get(VARIABLE) is not None:
        return ""
    if why := why_unreadable(warehouse / FILE):
        return why
    try:
        read_regular(warehouse / FILE).decode("utf-8-sig")
    except FileNotFoundError:
        return ""
    except OSError as error:
        return error.strerror or type(error).__name__
    except UnicodeDecodeError as error:
        return f"it is not UTF-8 (line {error.object[: error.start].count(10) + 1})"
    return ""


def is_exposed(warehouse: Path) -> bool:
    """Tell whether others than its owner can read the file of addresses."""
    try:
        return bool((warehouse / FILE).stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False


def send(urls: Sequence[str], message: Message) -> list[str]:
    """Send a message to every address. Returns what went wrong, a line each, and raises nothing.

    It takes at most a minute: a server that does not answer is given up on.
    """
    troubles: list[str] = []
    done = threading.Event()

    def work() -> None:
        try:
            troubles.extend(_send(urls, message))
        finally:
            done.set()

    threading.Thread(target=work, daemon=True).start()
    if not done.wait(PATIENCE_SECONDS):
        return [f"no notification was sent within {PATIENCE_SECONDS} s; it was given up."]
    return troubles


def _send(urls: Sequence[str], message: Message) -> list[str]:
    try:
        import apprise
    except ImportError:
        return ["apprise is not installed, so no notification was sent. Run: pip install apprise"]
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    troubles = []
    for number, url in enumerate(urls, start=1):
        what = f"notification address {number} ({_kind_of(url)})"
        try:
            plugin: Any = apprise.Apprise.instantiate(url, suppress_exceptions=True)
            if plugin is None:
                troubles.append(f"{what} is not one that apprise knows. See its list of services.")
            elif not plugin.notify(title=message.title, body=message.body, notify_type=message.kind):
                troubles.append(f"{what} did not take the message.")
        except Exception as error:
            # The text of the error may repeat the address.
            troubles.append(f"{what} failed: {type(error).__name__}.")
    return troubles


def _kind_of(url: str) -> str:
    kind = url.partition("://")[0]
    return kind if "://" in url and kind.isalnum() and len(kind) < 20 else "not a URL"


FIGURE = "figure_id"


def affected_figures(warehouse: Warehouse, error: BaseException, build: str) -> tuple[str, ...]:
    """Return `id (name)` of each figure that a failed run concerns, in order; empty when none is known.

    `build` is the candidate on disk, if there is one. Taken from the builds alone: the project may not compile.
    """
    candidate = warehouse.builds / build if build else None
    record = warehouse.record(candidate) if candidate else BuildRecord("")
    published = warehouse.current()
    nodes = {**((warehouse.record(published).nodes if published else None) or {}), **(record.nodes or {})}
    figure_ids: set[str] = set()
    failed = [check for check in record.checks if check.failures and check.severity == "error"]
    causes: set[str] = set()
    if candidate and not isinstance(error, BuildError | DeliveryError):
        figure_ids, feeds = _of_years(candidate, record)
        causes = {node for node in nodes if node.startswith("source.") and node.rpartition(".")[2] in feeds}
        with suppress(Exception), _open(candidate) as con:
            revisions = record.report_tables.revisions
            figure_ids |= _of_rows(con, f"select figure_id from {revisions} where status = 'open'")
            for check in list(failed):
                if figures := _of_rows(con, check.sql):
                    figure_ids |= figures
                    failed.remove(check)
    names_of_failed = {check.name for check in failed}
    tests = {node for node in nodes if node.startswith("test.") and node.rpartition(".")[2] in names_of_failed}
    causes |= {parent for node in tests for parent in nodes[node].parents}
    causes |= _causes(error, nodes)
    names: dict[str, str] = {}
    if published:
        with suppress(Exception), _open(published) as con:
            figure_ids |= _downstream(con, nodes, causes)
            figures_table = warehouse.record(published).report_tables.figures
            names = dict(con.execute(f"select figure_id, name_en from {figures_table}").fetchall())
    return tuple(f"{figure} ({names[figure]})" if names.get(figure) else figure for figure in sorted(figure_ids))


def _open(folder: Path) -> duckdb.DuckDBPyConnection:
    return database.reading(database_folder(folder) / DATABASE)


def _of_years(candidate: Path, record: BuildRecord) -> tuple[set[str], set[str]]:
    """Figures, and feeds, of the rows that break an expectation whose failure is an error."""
    errors = {(year.year, year.expectation) for year in record.years or () if year.severity == "error"}
    try:
        results = json.loads((candidate / "expectations.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set(), set()
    rows = [
        row
        for result in results
        if (result["report_year"], result["expectation"]) in errors
        for row in result.get("rows", [])
    ]
    return {row[FIGURE] for row in rows if FIGURE in row}, {row["feed"] for row in rows if "feed" in row}


def _of_rows(con: duckdb.DuckDBPyConnection, sql: str) -> set[str]:
    """Figures that the failing rows of a test name; empty when its rows have no figure."""
    with suppress(Exception):
        rows = con.execute(f"select distinct {FIGURE} from ({sql}\n) as failing where {FIGURE} is not null").fetchall()
        return {str(row[0]) for row in rows}
    return set()


def _causes(error: BaseException, nodes: Mapping[str, NodeRecord]) -> set[str]:
    """The nodes that an error names: the feed of a delivery, or the models that failed."""
    if isinstance(error, DeliveryError):
        feeds = {Path(problem.place.file).parts[0] for problem in error.files}
        return {node for node in nodes if node.startswith("source.") and node.rpartition(".")[2] in feeds}
    if isinstance(error, BuildError):
        failed = {problem.subject for problem in error.problems}
        return {node for node in nodes if node.rpartition(".")[2] in failed}
    if isinstance(error, CompileError):
        files = {Path(problem.place.file).stem for problem in error.problems}
        return {node for node in nodes if node.rpartition(".")[2] in files}
    return set()


def _downstream(con: duckdb.DuckDBPyConnection, nodes: Mapping[str, NodeRecord], causes: Iterable[str]) -> set[str]:
    """Figures of the nearest tables of figures made from the given nodes: beyond those, all figures come together."""
    tables = {name for name, columns in table_columns(con).items() if FIGURE in columns}
    children: dict[str, list[str]] = {}
    for node, noted in nodes.items():
        for parent in noted.parents:
            children.setdefault(parent, []).append(node)
    figures: set[str] = set()
    waiting, visited = list(causes), set(causes)
    while waiting:
        node = waiting.pop()
        place = nodes[node].relation if not node.startswith("test.") else None
        if place in tables and not node.startswith(("seed.", "source.")):
            figures |= {str(row[0]) for row in con.execute(f"select distinct {FIGURE} from {place}").fetchall()}
            continue
        new = [child for child in children.get(node, ()) if child not in visited]
        visited.update(new)
        waiting += new
    return figures


SHOWN = 12  # lines of a list


def failure(warehouse: Warehouse, run: str, error: BaseException, figures: Sequence[str]) -> Message:
    """Tell that a run failed."""
    ended = exit_of(error)
    return Message(
        "failure",
        f"kpi {_name(warehouse)}: the refresh failed: {ended.outcome}",
        _text(
            f"The refresh of {warehouse.root.parent} {_here()} failed: {ended.outcome} (exit code {ended.code}).",
            ("What failed", what_failed(error)),
            ("Figures concerned", figures),
            ("What readers see", [readers_see(warehouse)]),
            (
                "What to do",
                [ended.remedy or EXITS[UNEXPECTED].remedy, *([f"All of it: kpi runs show {run}"] if run else [])],
            ),
        ),
    )


def killed(warehouse: Warehouse, run: RunOutcome | None, how: str) -> Message:
    """Tell that a run ended without being able to tell so itself, or never began."""
    what = f"It was ended from outside {run.message}".strip() if run else "It left no trace in kpi runs: it never began"
    return Message(
        "failure",
        f"kpi {_name(warehouse)}: the refresh was killed" if run else f"kpi {_name(warehouse)}: no refresh began",
        _text(
            f"The refresh of {warehouse.root.parent} {_here()} did not end by itself.",
            ("What failed", [f"{what}{f' ({how})' if how else ''}."]),
            ("What readers see", [readers_see(warehouse)]),
            (
                "What to do",
                [EXITS[KILLED].remedy, "Too little memory? Then: kpi schedule --memory-max, or --memory-limit"],
            ),
        ),
    )


def recovery_message(
    warehouse: Warehouse, failing: FailedRun | None, warnings: Sequence[Problem], late: Sequence[Problem]
) -> Message:
    """Tell that a run succeeded after one that failed, or has warnings that the last published build did not have."""
    name = _name(warehouse)
    very_late = [problem for problem in late if problem.code == LATE["very late"]]
    title = f"kpi {name}: new warnings ({len(warnings) + len(late)})"
    title = f"kpi {name}: deliveries are very late ({len(very_late)})" if very_late else title
    title = f"kpi {name}: the refresh works again" if failing else title
    again = [f"The run {failing.run} of {failing.at[:16]} failed: {failing.outcome}."] if failing else []
    return Message(
        "failure" if very_late else "warning" if warnings or late else "success",
        title,
        _text(
            f"The refresh of {warehouse.root.parent} {_here()} {'works again' if failing else 'has news'}.",
            ("Before", again),
            ("Deliveries that are late", [str(problem.public()) for problem in late]),
            ("New warnings", [str(problem.public()) for problem in warnings]),
            ("What readers see", [readers_see(warehouse)]),
            ("What to do", ["Ask for the deliveries; see kpi freshness."] if late else []),
        ),
    )


def readers_see(warehouse: Warehouse) -> str:
    """Say which build readers see and of when it is."""
    current = warehouse.current()
    if current is None:
        return "Nothing: no build was published yet."
    record = warehouse.record(current)
    finished = record.finished_at.replace("T", " ").removesuffix("Z")[:16] or "at an unknown time,"
    return f"Build {current.name}, of {record.as_of or 'an unknown day'}, finished {finished} UTC."


def what_failed(error: BaseException) -> list[str]:
    """Return what an error says, a line each, without anything that is restricted."""
    lines = [line for problem in problems_of(error) for line in str(problem.public()).split("\n")]
    return [line.rstrip() for line in lines]


def identity(problem: Problem) -> tuple[str, ...]:
    """Return what makes a warning the same as one of another night; counts, values and lines of files may differ."""
    from kpi.ingest.loader import READING  # with all that loads: who is notified of nothing needs none of it

    return (*problem.key, problem.message if problem.code == READING else "")


def _name(warehouse: Warehouse) -> str:
    return warehouse.root.parent.name


def _here() -> str:
    import socket

    return f"on {socket.gethostname()} at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def _text(first: str, *parts: tuple[str, Sequence[str]]) -> str:
    lines = [first]
    for title, items in parts:
        if items:
            more = [f"  and {len(items) - SHOWN} more"] if len(items) > SHOWN else []
            lines += ["", f"{title}:", *(f"  {line}" for line in items[:SHOWN]), *more]
    return message("\n".join(lines)) + "\n"
