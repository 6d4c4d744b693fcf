"""The nightly job: load what changed, rebuild what that touches, check, publish. Nothing changed means nothing done."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi import rawfiles
from kpi.candidate import Run, settings_of
from kpi.options import Inputs, Options, Outcome, Tell
from kpi.outside import contents
from kpi.warehouse import DATABASE, Warehouse, begin, writing

if TYPE_CHECKING:
    import threading

__all__ = ["Options", "Outcome", "refresh"]


def refresh(root: Path, options: Options, tell: Tell) -> Outcome:
    """Bring the published build up to date with the project and the deliveries.

    `tell` gets a line for each step. Raises DeliveryError, CompileErrors, BuildError or CheckFailed, after which
    readers still see what they saw before and the failed candidate is kept, or LockHeld.
    """
    warehouse = Warehouse(root.resolve() / "warehouse")
    folder = rawfiles.scan(warehouse.raw)
    inputs = _inputs(root.resolve(), folder, options)
    current = warehouse.current()
    before = warehouse.facts(current)
    if (
        current
        and (current / DATABASE).is_file()
        and _is_same(inputs, before)
        and contents(root.resolve(), before.get("outside", ())) == before.get("outside", {})
        and not (options.full_refresh or options.select or options.exclude)
    ):
        tell(f"Nothing changed since build {before['id']}: nothing to do.")
        return Outcome(before["id"], published=True, nothing_to_do=True)

    from kpi.compiling import compiled

    importing = _import_expectations() if options.validate else None
    graph = compiled(root, options.variables).graph
    tell(f"Compiled {len(graph.built())} seeds and models, {len(graph.tests())} tests, {len(graph.feeds)} feeds.")
    with writing(warehouse):
        current = warehouse.current()
        before = {} if options.full_refresh else warehouse.facts(current)
        if before.get("settings") not in (None, settings_of(graph.project)):
            before = {}
        candidate = begin(warehouse, current if before else None)
        run = Run(warehouse, graph, options, tell, candidate, before, folder, inputs, importing)
        return run.carry_out()


def _inputs(root: Path, folder: rawfiles.RawFolder, options: Options) -> Inputs:
    from kpi.projectfiles import code_digest, project_digest

    return Inputs(
        project=project_digest(root),
        code=code_digest(),
        raw=folder.digest(),
        # The running year is judged up to its last full month, so a new month is a new question.
        month=f"{options.as_of:%Y-%m}",
        variables=hashlib.blake2b(repr(sorted((options.variables or {}).items())).encode(), digest_size=16).hexdigest(),
    )


def _is_same(inputs: Inputs, before: Mapping[str, Any]) -> bool:
    return bool(before) and before.get("inputs") == {name: getattr(inputs, name) for name in Inputs.__slots__}


def _import_expectations() -> threading.Thread:
    """Start importing Great Expectations, which takes seconds; DuckDB leaves the interpreter free meanwhile."""
    import threading

    from kpi.expectations import import_great_expectations

    thread = threading.Thread(target=import_great_expectations, daemon=True)
    thread.start()
    return thread
