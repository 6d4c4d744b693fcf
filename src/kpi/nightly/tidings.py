"""What is told of a run to people who were asleep: what failed, which figures, what readers see, what to do.

No row's content is told, nor a value that was seen: a message may leave the house.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from kpi.base.errors import BuildError, CheckFailed, KpiError, exit_code_of
from kpi.deliveries.personal import message
from kpi.nightly.notify import Message
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.runlog import OUTCOMES
from kpi.warehouse.runs import Ended

SHOWN = 12  # lines of a list
REMEDIES = {
    3: "Mend the setting that is named above, then: kpi refresh",
    4: "Ask for the delivery anew or take it out of warehouse/raw; or let it through: kpi refresh --max-reject-share 1",
    5: "Mend the file that is named above, then: kpi refresh",
    6: "Mend the model that is named above, then: kpi refresh",
    7: "Look into the candidate that was kept (kpi builds). Mend what is wrong, or publish it all the same:"
    " kpi refresh --publish-despite-checks REASON",
    8: "See whether the run that holds the lock goes on or hangs: kpi runs",
    9: "Free disk (kpi doctor tells how much is needed), then: kpi refresh",
}
OTHERWISE = "See what it did and whether the warehouse is well: kpi runs show, kpi doctor. Then: kpi refresh"


def failure(warehouse: Warehouse, run: str, error: BaseException, figures: Sequence[str]) -> Message:
    """Tell that a run failed."""
    code = exit_code_of(error)
    outcome = OUTCOMES.get(code, "failed")
    return Message(
        "failure",
        f"kpi {_name(warehouse)}: the refresh failed: {outcome}",
        _text(
            f"The refresh of {warehouse.root.parent} {_here()} failed: {outcome} (exit code {code}).",
            ("What failed", what_failed(error)),
            ("Figures concerned", figures),
            ("What readers see", [readers_see(warehouse)]),
            ("What to do", [REMEDIES.get(code, OTHERWISE), *([f"All of it: kpi runs show {run}"] if run else [])]),
        ),
    )


def killed(warehouse: Warehouse, run: Ended | None, how: str) -> Message:
    """Tell that a run ended without being able to tell so itself, or never began."""
    what = f"It was ended from outside {run.message}".strip() if run else "It left no trace in kpi runs: it never began"
    return Message(
        "failure",
        f"kpi {_name(warehouse)}: the refresh was killed" if run else f"kpi {_name(warehouse)}: no refresh began",
        _text(
            f"The refresh of {warehouse.root.parent} {_here()} did not end by itself.",
            ("What failed", [f"{what}{f' ({how})' if how else ''}."]),
            ("What readers see", [readers_see(warehouse)]),
            ("What to do", [OTHERWISE, "Too little memory? Then: kpi schedule --memory-max, or --memory-limit"]),
        ),
    )


def good_news(
    warehouse: Warehouse, failing: dict[str, Any] | None, warnings: Sequence[str], late: Sequence[str]
) -> Message:
    """Tell that a run succeeded after one that failed, or has warnings that the last published build did not have."""
    name = _name(warehouse)
    very_late = [line for line in late if line.startswith("very late")]
    title = f"kpi {name}: new warnings ({len(warnings) + len(late)})"
    title = f"kpi {name}: deliveries are very late ({len(very_late)})" if very_late else title
    title = f"kpi {name}: the refresh works again" if failing else title
    again = (
        [f"The run {failing.get('run', '')} of {str(failing.get('at'))[:16]} failed: {failing.get('outcome')}."]
        if failing
        else []
    )
    return Message(
        "failure" if very_late else "warning" if warnings or late else "success",
        title,
        _text(
            f"The refresh of {warehouse.root.parent} {_here()} {'works again' if failing else 'has news'}.",
            ("Before", again),
            ("Deliveries that are late", late),
            ("New warnings", [_without_values(line) for line in warnings]),
            ("What readers see", [readers_see(warehouse)]),
            ("What to do", ["Ask for the deliveries; see kpi freshness."] if late else []),
        ),
    )


def readers_see(warehouse: Warehouse) -> str:
    """Say which build readers see and of when it is."""
    current = warehouse.current()
    if current is None:
        return "Nothing: no build was published yet."
    facts = warehouse.facts(current)
    finished = str(facts.get("finished_at", "")).replace("T", " ").removesuffix("Z")[:16]
    return f"Build {current.name}, of {facts.get('as_of', 'an unknown day')}, finished {finished} UTC."


def what_failed(error: BaseException) -> list[str]:
    """Return what an error says, a line each, without values of rows: of DuckDB's errors only their kind."""
    if isinstance(error, BuildError):
        parts = getattr(error, "errors", (error,))
        return [f"{part.node}: {_kind(str(part).removeprefix(f'{part.node}: '))}" for part in parts]
    if isinstance(error, CheckFailed):
        lines = [line.strip() for line in str(error).splitlines() if line.startswith("  ")]
        return [_without_values(line) for line in lines] or [str(error).splitlines()[0]]
    if isinstance(error, KpiError):
        return [line.rstrip() for line in str(error).splitlines()]
    return [f"{type(error).__name__}, which kpi did not expect."]


def is_new(warning: str, before: Iterable[str]) -> bool:
    """Tell whether a warning is none of those before. Counts, values and lines of files may differ."""
    return _essence(warning) not in {_essence(line) for line in before}


def _essence(warning: str) -> str:
    what, _, rest = warning.partition(": ")
    return re.sub(r":\d+\)", ")", what) + re.sub(r"\d+(?:[.,]\d+)*", "#", rest)


def _without_values(line: str) -> str:
    """A report year's expectation without what was seen; any other line as it is."""
    return line.partition(": ")[0] if re.match(r"\d{4} ", line) else line


def _kind(told: str) -> str:
    kind = told.partition(":")[0]
    return kind if kind.endswith("Error") and len(kind) < 60 else "failed while it ran"


def _name(warehouse: Warehouse) -> str:
    return warehouse.root.parent.name


def _here() -> str:
    import socket

    return f"on {socket.gethostname()} at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def _text(first: str, *parts: tuple[str, Sequence[str]]) -> str:
    lines = [first]
    for title, told in parts:
        if told:
            more = [f"  and {len(told) - SHOWN} more"] if len(told) > SHOWN else []
            lines += ["", f"{title}:", *(f"  {line}" for line in told[:SHOWN]), *more]
    return message("\n".join(lines)) + "\n"
