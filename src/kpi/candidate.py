"""One build on its way from a private folder to a published build: load, build, check, seal, publish."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi import rawfiles
from kpi.errors import CheckFailed, KpiError
from kpi.warehouse import DATABASE, Warehouse, prune, publish, record, seal

if TYPE_CHECKING:
    import threading

    import duckdb

    from kpi.graph import Graph
    from kpi.project import Project

EXPECTATIONS = "expectations.json"
JUDGED = ("marts.indicators", "marts.coverage", "marts.reconciliation")
KEEP_PUBLISHED, KEEP_FAILED, GRACE = 7, 3, timedelta(hours=24)

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What one run was asked to do. `as_of` is the day of the refresh; `select` limits what is rebuilt."""

    as_of: date
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    full_refresh: bool = False
    max_reject_share: float | None = None
    publish_despite_checks: str = ""
    variables: Mapping[str, Any] | None = None
    settings: Mapping[str, str] | None = None
    validate: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did. `build` is the build's id; `published` whether readers now see it."""

    build: str
    published: bool
    nothing_to_do: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a build is made from, as hashes: the same inputs need no build."""

    project: str
    code: str
    raw: str
    month: str
    variables: str


class Run:
    """One build on its way from a private folder to a published build."""

    def __init__(
        self,
        warehouse: Warehouse,
        graph: Graph,
        options: Options,
        tell: Tell,
        candidate: Path,
        before: Mapping[str, Any],
        folder: rawfiles.RawFolder,
        inputs: Inputs,
        importing: threading.Thread | None,
    ) -> None:
        self.warehouse, self.graph, self.options, self.tell = warehouse, graph, options, tell
        self.candidate, self.before, self.folder, self.importing = candidate, before, folder, importing
        self.facts: dict[str, Any] = {
            "id": candidate.name.removeprefix(".tmp-"),
            "started_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "as_of": str(options.as_of),
            "inputs": {name: getattr(inputs, name) for name in Inputs.__slots__},
            "settings": settings_of(graph.project),
            "based_on": before.get("id"),
        }
        self.warnings: tuple[str, ...] = ()

    def carry_out(self) -> Outcome:
        """Build, check, seal, publish; on failure keep the candidate and tell readers nothing."""
        try:
            self._build()
            failures = self._verdict()
        except KpiError as error:
            self._keep_failed(str(error))
            raise
        if failures and not self.options.publish_despite_checks:
            kept = self._keep_failed("checks failed")
            raise CheckFailed(
                "Checks failed; readers keep the build they had.\n  "
                + "\n  ".join(failures)
                + f"\nThe candidate is kept:"
                f" kpi.open(build={kept.name!r}). To publish it all the same: --publish-despite-checks REASON"
            )
        return self._publish(failures)

    def _build(self) -> None:
        from kpi import engine
        from kpi.build import build_nodes, stale
        from kpi.checks import run_tests
        from kpi.fingerprint import fingerprints
        from kpi.graph import select
        from kpi.load import load, refuse_bad_files

        now = fingerprints(self.graph, self.folder)
        previous = {node_id: facts["fingerprint"] for node_id, facts in self.before.get("nodes", {}).items()}
        chosen = select(self.graph, self.options.select, self.options.exclude)
        database = self.candidate / DATABASE
        spill = self.warehouse.builds / ".tmp-spill"
        with engine.building(database, spill, dict(self.options.settings or {})) as con:
            self._load(con, load, refuse_bad_files)
            old = stale(self.graph, now, previous, engine.relations(con))
            nodes = [node for node in old if node.id in chosen]
            results = build_nodes(con, self.graph, nodes)
            self.facts["partial"] = [node.name for node in old if node.id not in chosen]
            rebuilt = {result.id for result in results} | {n for n in now if previous.get(n) != now[n]}
            self.tell(f"Built {len(results)} of {len(self.graph.built())} seeds and models.")
            tests = [test for test in self.graph.tests() if test.id in chosen]
            due = [test for test in tests if previous.get(test.id) != now[test.id] or rebuilt & set(test.depends_on)]
            checks = run_tests(con, due)
            self._note_nodes(now, previous, results, {node.id for node in old} - {node.id for node in nodes})
            self._note_checks(checks, {test.name for test in self.graph.tests()})
            self.tell(f"Ran {len(checks)} data tests: {sum(c.is_error for c in checks)} failed.")
            self._validate(con, now, previous)
            con.execute("checkpoint")
            self.facts["rows"] = engine.row_counts(con)
        self._verify()

    def _load(self, con: duckdb.DuckDBPyConnection, load: Any, refuse_bad_files: Any) -> None:
        if not self.graph.feeds:
            return
        report = load(con, self.graph.feeds, self.warehouse.raw, self.folder, self.options.as_of)
        self.warnings = report.warnings
        records = f"{report.records:,}".replace(",", " ")
        self.tell(
            f"Loaded {len(report.loaded)} new or changed files, dropped {len(report.removed)};"
            f" the deliveries hold {records} records."
        )
        new, told = set(report.loaded), 0
        for warning in report.warnings:
            # What an earlier run told of a file that is still the same is not told every night.
            if warning.partition(":")[0] in new or "/" not in warning.partition(":")[0]:
                self.tell(f"  warning: {warning}")
                told += 1
        if len(report.warnings) > told:
            self.tell(f"  {len(report.warnings) - told} older warnings of deliveries: kpi show raw.deliveries")
        refuse_bad_files(con, self.graph.feeds, self.options.max_reject_share)
        columns = "feed, file, content_hash, records, rows_loaded, rows_rejected, rows_superseded"
        rows = con.execute(f"select {columns} from raw.deliveries order by feed, file").fetchall()
        self.facts["files"] = [dict(zip(columns.split(", "), row, strict=True)) for row in rows]

    def _note_nodes(
        self, now: Mapping[str, str], previous: Mapping[str, str], results: Sequence[Any], left_stale: set[str]
    ) -> None:
        known: dict[str, Any] = self.before.get("nodes", {})
        done = {result.id: result for result in results}
        self.facts["nodes"] = {
            node.id: {
                # A node that was left stale keeps its old fingerprint, so that the next run still rebuilds it.
                "fingerprint": previous.get(node.id, "") if node.id in left_stale else now[node.id],
                "relation": str(node.relation),
                "sql": node.sql,
                "seconds": done[node.id].seconds if node.id in done else known.get(node.id, {}).get("seconds"),
                "built_in": self.facts["id"] if node.id in done else known.get(node.id, {}).get("built_in"),
            }
            for node in self.graph.nodes.values()
        }

    def _note_checks(self, checks: Sequence[Any], names: set[str]) -> None:
        kept = {check["name"]: check for check in self.before.get("checks", []) if check["name"] in names}
        for check in checks:
            kept[check.name] = {
                "name": check.name,
                "severity": check.severity,
                "failures": check.failures,
                "where": check.where,
                "sql": check.sql,
            }
        self.facts["checks"] = [kept[name] for name in sorted(kept)]

    def _validate(self, con: duckdb.DuckDBPyConnection, now: Mapping[str, str], previous: Mapping[str, str]) -> None:
        """Judge each report year; carried over when nothing that is judged has changed."""
        judged = {node.id for node in self.graph.built() if str(node.relation) in JUDGED}
        if not judged or self.importing is None:
            return
        inputs, old = self.facts["inputs"], self.before.get("inputs", {})
        same = all(inputs[part] == old.get(part) for part in ("month", "code"))
        if same and "years" in self.before and all(previous.get(node) == now[node] for node in judged):
            self.facts["years"] = self.before["years"]
        else:
            self.importing.join()
            from kpi.expectations import FeedExpectation, results_as_json, validate, write_results

            feeds = [FeedExpectation(feed.name, feed.expected_every) for feed in self.graph.feeds]
            results = validate(con, feeds, self.options.as_of)
            write_results(con, results)
            (self.candidate / EXPECTATIONS).write_text(results_as_json(results), encoding="utf-8")
            self.facts["years"] = [
                {"year": r.report_year, "expectation": r.expectation, "severity": r.severity, "observed": r.observed}
                for r in results
                if not r.success
            ]
            years = sorted({result.report_year for result in results})
            self.tell(f"Judged {len(results)} expectations of {len(years)} report years.")
        previous_file = self.warehouse.builds / str(self.before.get("id")) / EXPECTATIONS
        if not (self.candidate / EXPECTATIONS).exists() and previous_file.is_file():
            (self.candidate / EXPECTATIONS).write_bytes(previous_file.read_bytes())

    def _verify(self) -> None:
        """Open the finished file as a reader would, and count: an aborted write can leave a file with no tables."""
        from kpi import engine
        from kpi.errors import BuildError

        with engine.reading(self.candidate / DATABASE) as con:
            seen = engine.row_counts(con)
        if seen != self.facts["rows"]:
            raise BuildError(DATABASE, "the finished file does not hold what was built. Is the disk full?")

    def _verdict(self) -> list[str]:
        failures = []
        for check in self.facts["checks"]:
            if check["failures"]:
                told = f"{check['name']} ({check['where']}): {check['failures']} failing rows"
                if check["severity"] == "error":
                    failures.append(told)
                else:
                    self.warnings = (*self.warnings, told)
                    self.tell(f"  warning: {told}")
        for year in self.facts.get("years", []):
            told = f"{year['year']} {year['expectation']}: {year['observed']}"
            if year["severity"] == "error":
                failures.append(told)
            else:
                self.warnings = (*self.warnings, told)
                self.tell(f"  warning: {told}")
        return failures

    def _keep_failed(self, reason: str) -> Path:
        self.facts |= {"status": "failed", "reason": reason, "finished_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        kept = seal(self.warehouse, self.candidate, self.facts)
        record(self.warehouse, kept.name, "failed", reason.split("\n", maxsplit=1)[0])
        self._prune()
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
        kept = seal(self.warehouse, self.candidate, self.facts)
        if held_back:
            record(self.warehouse, kept.name, "held back", held_back)
            self.tell(f"Not published: {held_back}. Open it with kpi.open(build={kept.name!r}).")
        else:
            publish(self.warehouse, kept)
            record(self.warehouse, kept.name, "published", reason)
            self.tell(f"Published build {kept.name}." + (f" Despite failed checks: {reason}" if reason else ""))
        self._prune()
        return Outcome(kept.name, published=not held_back, warnings=self.warnings)

    def _held_back(self) -> str:
        """Why readers do not get this build although nothing failed; empty when they do."""
        if self.facts["partial"]:
            return f"left as they were: {', '.join(self.facts['partial'])}"
        is_judged = any(str(node.relation) in JUDGED for node in self.graph.built())
        return "its report years were not judged" if is_judged and not self.options.validate else ""

    def _prune(self) -> None:
        gone = prune(self.warehouse, KEEP_PUBLISHED, KEEP_FAILED, GRACE)
        for build in gone:
            record(self.warehouse, build, "pruned")


def settings_of(project: Project) -> str:
    """What makes a build file useless as a start for the next: another storage version, for one."""
    import duckdb

    return f"{project.name} duckdb {duckdb.__version__}"
