"""One build on its way from a private folder to a published build: load, build, check, seal, publish."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kpi.errors import CheckFailed, KpiError, interruptible, is_disk_full
from kpi.events import Emit, Event, emit_event
from kpi.ingest import raw_files
from kpi.ingest.raw_files import kept_beside
from kpi.jobs.options import Inputs, Options, Outcome
from kpi.project.external import reached
from kpi.settings import spill_folder
from kpi.warehouse.builds import Warehouse, finalize, ingredients_of, publish
from kpi.warehouse.lifecycle import close_earlier, record_outcome
from kpi.warehouse.permissions import DATABASE, as_facts, whole

if TYPE_CHECKING:
    import duckdb

    from kpi.engine.graph import Graph
    from kpi.project.project import Project


@contextmanager
def open_candidate(
    warehouse: Warehouse, graph: Graph, options: Options, candidate: Path
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the database of a build's private folder for writing, confined to what it is made from."""
    from kpi import database

    spill, settings = resources(warehouse, graph, options, candidate)
    with database.building(whole(candidate) / DATABASE, spill, settings, within(warehouse, graph)) as con:
        yield con


def resources(warehouse: Warehouse, graph: Graph, options: Options, candidate: Path) -> tuple[Path, dict[str, str]]:
    """Where a build may spill, and DuckDB's other settings."""
    warehouse_settings, root = graph.project.warehouse_settings, graph.project.root
    settings = warehouse_settings.engine_settings(options.settings or {})
    given = settings.pop("temp_directory", "")
    if warehouse_settings.stewards_schemas and not given:
        spill = whole(candidate) / "spill"
    else:
        spill = spill_folder(warehouse.root, root, given)
    return spill, {"file_search_path": str(root), **settings}


def within(warehouse: Warehouse, graph: Graph) -> list[Path]:
    """The files that what is run may read: deliveries and what is kept of them, seeds, files outside, and builds."""
    from kpi.engine.materializations import seed_folders

    project = graph.project
    outside = [path for location in graph.outside for path in reached(project.root, location)]
    return [warehouse.raw, kept_beside(warehouse.raw), warehouse.builds, *seed_folders(project), *outside]


ASKED = (
    *("select", "exclude", "indirect", "kinds", "state", "selector", "usual_selector", "full_refresh"),
    *("unit_tests", "store_failures"),
)


class Importing(Protocol):
    """Something heavy that is imported beside the build: once that is under way, and awaited when it is needed."""

    def start(self) -> None:
        """Begin, if that has not been done."""

    def join(self) -> None:
        """Wait until it is there."""


class Run:
    """One build on its way from a private folder to a published build."""

    def __init__(
        self,
        warehouse: Warehouse,
        graph: Graph,
        options: Options,
        emit: Emit,
        candidate: Path,
        before: Mapping[str, Any],
        folder: raw_files.RawFolder,
        inputs: Inputs,
        importing: Importing | None,
    ) -> None:
        self.warehouse, self.graph, self.options, self.emit = warehouse, graph, options, emit
        self.candidate, self.before, self.folder, self.importing = candidate, before, folder, importing
        self.warehouse_settings = graph.project.warehouse_settings
        self.facts: dict[str, Any] = {
            "id": candidate.name.removeprefix(".tmp-"),
            "started_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "as_of": str(options.as_of),
            "inputs": {name: getattr(inputs, name) for name in Inputs.__slots__},
            "settings": settings_of(graph.project),
            "upkeep": asdict(graph.project.warehouse_settings),
            "based_on": before.get("id"),
            "outside": graph.outside,
            "retained": [kept.name for kept in folder.kept],
            "current": current.name if (current := warehouse.current()) else None,
            "asked": {name: getattr(options, name) for name in ASKED},
            "continued": options.continued,
            "tables": graph.project.report_tables.names(),
            "ingredients": asdict(ingredients_of(graph.project, graph.environment_read)),
            **as_facts(self.warehouse_settings),
        }
        self.warnings: tuple[str, ...] = ()

    def run(self) -> Outcome:
        """Build, check, seal, publish; on failure keep the candidate and tell readers nothing."""
        try:
            with interruptible():
                self._build()
                failures = self._verdict()
                if self.warehouse_settings.stewards_schemas and (not failures or self.options.publish_despite_checks):
                    self._part()
        except KpiError as error:
            if is_disk_full(error):  # there is no room to keep it
                raise
            kept = self._keep_failed(str(error))
            if "nodes" in self.facts:
                error.args = (f"{error}\nWhat was built is kept as build {kept.name}. Mend it, then: kpi retry",)
            raise
        except KeyboardInterrupt:
            self._keep_failed("interrupted")
            raise
        if failures and not self.options.publish_despite_checks:
            kept = self._keep_failed("checks failed")
            as_steward = ", stewards=True" if self.warehouse_settings.stewards_schemas else ""
            raise CheckFailed(
                "Checks failed; readers keep the build they had.\n  "
                + "\n  ".join(failures)
                + f"\nThe candidate is kept: kpi.open(build={kept.name!r}{as_steward})."
                " Mend it, then: kpi retry. To publish it all the same: --publish-despite-checks REASON"
            )
        return self._publish(failures)

    def _build(self) -> None:
        import duckdb

        from kpi import database
        from kpi.engine.artifacts import write_artifacts

        with open_candidate(self.warehouse, self.graph, self.options, self.candidate) as con:
            try:
                with interruptible():
                    self._work_on(con)
            except (KpiError, KeyboardInterrupt):
                with suppress(duckdb.Error):  # what failed first is what is told
                    con.execute("checkpoint")
                raise
            con.execute("checkpoint")
            self.facts["rows"] = database.row_counts(con)
            self.facts["storage"] = database.storage(con)
            write_artifacts(self.candidate, self.graph, self.facts, con)
        self._verify()

    def _work_on(self, con: duckdb.DuckDBPyConnection) -> None:
        from kpi.jobs.pipeline import run_pipeline
        from kpi.warehouse.run_log import unreadable, write_table

        begin = self.importing.start if self.importing else lambda: None
        about = self.warehouse, self.graph, self.options, self.before, self.folder, self.facts, self.emit
        run_pipeline(con, *about, begin)
        self.warnings = tuple(self.facts.pop("warnings", ()))
        self._validate(con)
        self._note_freshness(con)
        for message in unreadable(self.warehouse.root):
            self._warn(message)
        write_table(con, self.warehouse.root, with_messages=not self.warehouse_settings.stewards_schemas)

    def _validate(self, con: duckdb.DuckDBPyConnection) -> None:
        """Judge each report year and write its pages; carried over when nothing that is judged has changed."""
        if self.importing is None:
            return
        from kpi.jobs import check_build
        from kpi.validation.report import About, is_labelled_synthetic
        from kpi.validation.rule import read_expectations

        expectations = read_expectations(self.graph.project)
        judged = {node.id for node in self.graph.built() if str(node.relation) in expectations.read_tables()}
        feeds = check_build.feed_expectations(self.graph.feeds)
        self.facts["expected"] = [*(str(feed) for feed in feeds), f"rules {expectations.checksum}"]
        self.facts["synthetic"] = is_labelled_synthetic(self.warehouse.raw)
        inputs, old = self.facts["inputs"], self.before.get("inputs", {})
        same = inputs["code"] == old.get("code") and is_judged_alike(self.before, inputs["day"])
        same = same and all(self.facts[part] == self.before.get(part) for part in ("expected", "synthetic"))
        was, now = self.before.get("nodes", {}), self.facts["nodes"]
        same = same and all(was.get(node, {}).get("version") == now[node]["version"] for node in judged)
        if same and "years" in self.before:
            self.facts["years"] = self.before["years"]
            check_build.carry_over(self.warehouse.builds / str(self.before["id"]), self.candidate)
            return
        emit_event(self.emit, Event("judging", stage="judge"))
        self.importing.join()
        about = About(self.facts["id"], self.options.as_of, self.facts["synthetic"])
        results = check_build.judge_candidate(con, self.candidate, expectations, feeds, about)
        self.facts["years"] = [
            {"year": r.report_year, "expectation": r.expectation, "severity": r.severity, "observed": r.observed}
            for r in results
            if not r.success
        ]
        years = len({result.report_year for result in results})
        index = self.warehouse.builds / self.facts["id"] / check_build.PAGES / "index.html"
        self.emit(f"Judged {len(results)} expectations of {years} report years: {index}")

    def _note_freshness(self, con: duckdb.DuckDBPyConnection) -> None:
        """Note how far each feed has come, and on which days that is judged alike.

        Synthetic deliveries are not expected to go on.
        """
        from kpi.ingest.calendar import as_facts, late_lines, measure, read_months, unchanged_between
        from kpi.validation.report import is_labelled_synthetic

        self.facts["freshness"] = []
        months = read_months(con, self.graph.feeds, self.options.as_of)
        self.facts["alike"] = [str(day) for day in unchanged_between(months, self.options.as_of)]
        if self.graph.feeds and not is_labelled_synthetic(self.warehouse.raw):
            due = measure(con, months)
            self.facts["freshness"] = as_facts(due)
            for _, line in late_lines(due, self.options.as_of):
                self._warn(line)

    def _verify(self) -> None:
        """Read the finished file back, all of it."""
        from kpi.errors import BuildError
        from kpi.jobs.pipeline import read_back

        emit_event(self.emit, Event("publishing", stage="publish"))
        try:
            seen = read_back(whole(self.candidate) / DATABASE)
        except BuildError:
            self.facts.pop("nodes")  # it is no start for a retry
            raise
        if seen != self.facts["rows"]:
            raise BuildError(DATABASE, "the finished file does not hold what was built. Is the disk full?")

    def _part(self) -> None:
        """Write the file for all readers, without what is for stewards."""
        from kpi.jobs.pipeline import write_readers_file

        spill, settings = resources(self.warehouse, self.graph, self.options, self.candidate)
        settings = {"temp_directory": str(spill), **settings}
        schemas = self.warehouse_settings.stewards_schemas
        self.facts["readers"] = write_readers_file(self.candidate, schemas, settings, self.emit)

    def _verdict(self) -> list[str]:
        from kpi.jobs.pipeline import example_lines, verdict

        failures, warnings = verdict(self.facts)
        for message in warnings:
            self.emit(f"  warning: {message}")
        for message in example_lines(self.facts):
            self.emit(message)
        self.warnings = (*self.warnings, *warnings)
        return failures

    def _keep_failed(self, reason: str) -> Path:
        self.facts |= {"status": "failed", "reason": reason, "finished_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        if "nodes" in self.facts and not (self.candidate / "run_results.json").is_file():
            from kpi.engine.artifacts import write_artifacts

            write_artifacts(self.candidate, self.graph, self.facts, None)
        if whole(self.candidate) != self.candidate:
            (self.candidate / DATABASE).unlink(missing_ok=True)  # what is not for readers has no file for them
        kept = finalize(self.warehouse, self.candidate, self.facts, self.warehouse_settings)
        # An error may quote a row. All readers see the ledger; this build only stewards do.
        message = (
            "told in its build.json" if self.warehouse_settings.stewards_schemas else reason.split("\n", maxsplit=1)[0]
        )
        self._settle(kept.name, "failed", message)
        return kept

    def _publish(self, failures: Sequence[str]) -> Outcome:
        reason = self.options.publish_despite_checks if failures else ""
        held_back = self._held_back()
        self.facts |= {
            "status": "held back" if held_back else "published",
            "reason": held_back or reason,
            "despite": list(failures),
            "warnings": list(self.warnings),
            "finished_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        }
        kept = finalize(self.warehouse, self.candidate, self.facts, self.warehouse_settings)
        if held_back:
            self.emit(f"Not published: {held_back}. Open it with kpi.open(build={kept.name!r}).")
        else:
            if message := publish(self.warehouse, kept):
                self._warn(message)
            # Readers have it: whatever goes wrong from here on is told, and does not make the run fail.
            despite = f" Despite failed checks: {reason}" if reason else ""
            self._afterwards(lambda: self.emit(f"Published build {kept.name}.{despite}"))
            self._afterwards(lambda: close_earlier(self.warehouse, self.warehouse_settings, self.emit))
        self._settle(kept.name, "held back" if held_back else "published", held_back or reason)
        return Outcome(kept.name, published=not held_back, warnings=self.warnings)

    def _held_back(self) -> str:
        """Why readers do not get this build although nothing failed; empty when they do."""
        if left := self.facts["partial"]:
            more = f" and {len(left) - 10} more" if len(left) > 10 else ""
            return f"left as they were: {', '.join(left[:10])}{more}"
        return "its report years were not judged" if is_judged(self.graph) and not self.options.validate else ""

    def _settle(self, build: str, event: str, reason: str) -> None:
        for message in record_outcome(self.warehouse, self.warehouse_settings, build, event, reason, self.emit):
            self._warn(message)

    def _warn(self, message: str) -> None:
        self.warnings = (*self.warnings, message)
        self.emit(f"  warning: {message}")

    def _afterwards(self, step: Callable[[], object]) -> None:
        try:
            step()
        except (OSError, KeyboardInterrupt) as error:
            message = str(error) or "interrupted"
            self.warnings = (
                *self.warnings,
                f"readers have the build, but what comes after was not all done: {message}",
            )


def is_judged_alike(facts: Mapping[str, Any], day: str) -> bool:
    """Tell whether a build, by its facts, would be the same on another day: nothing became due in between."""
    first, end = facts.get("alike") or ("", "")
    return bool(first <= day < end)


def is_judged(graph: Graph) -> bool:
    """Tell whether a build of the project has report years to judge."""
    return any(str(node.relation) in graph.project.report_tables.judged() for node in graph.built())


def settings_of(project: Project) -> str:
    """What makes a build file useless as a start for the next: another storage version, for one."""
    import duckdb

    return f"{project.name} duckdb {duckdb.__version__}"
