"""One build on its way from a private folder to a published build: load, build, check, seal, publish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi import rawfiles
from kpi.errors import CheckFailed, DeliveryError, KpiError
from kpi.options import Inputs, Options, Outcome, Tell
from kpi.warehouse import DATABASE, Warehouse, prune, publish, record, seal

if TYPE_CHECKING:
    import threading

    import duckdb

    from kpi.graph import Graph
    from kpi.project import Project

JUDGED = ("marts.indicators", "marts.coverage", "marts.reconciliation")
KEEP_PUBLISHED, KEEP_FAILED, GRACE = 7, 3, timedelta(hours=24)


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
        from kpi import engine, history
        from kpi.artifacts import write_artifacts
        from kpi.build import build_nodes, prepare, run_hooks, stale, strangers
        from kpi.checks import Store, run_tests
        from kpi.fingerprint import definitions, fingerprints
        from kpi.load import load, refuse_bad_files
        from kpi.selection import select
        from kpi.unit_runs import refuse_failing_units

        now = fingerprints(self.graph, self.folder)
        self.definitions = definitions(self.graph)
        previous = {node_id: facts["fingerprint"] for node_id, facts in self.before.get("nodes", {}).items()}
        chosen = select(self.graph, self.options.select, self.options.exclude)
        database = self.candidate / DATABASE
        spill = self.warehouse.builds / ".tmp-spill"
        settings = {"file_search_path": str(self.graph.project.root), **(self.options.settings or {})}
        with engine.building(database, spill, settings) as con:
            published = self.warehouse.current()
            facts = self.before or self.warehouse.facts(published)
            if published and not self.before:
                history.carry_over(con, self.graph, facts, published / DATABASE, self.tell)
            self._load(con, load, refuse_bad_files)
            old = stale(self.graph, now, previous, engine.relations(con))
            nodes = [node for node in old if node.id in chosen]
            if self.options.unit_tests:
                count = refuse_failing_units(self.graph, [node.id for node in nodes])
                if count:
                    self.tell(f"Ran {count} unit tests of what is rebuilt: none failed.")
            prepare(con, self.graph, nodes, history.kept(self.graph, facts))
            run_hooks(con, "on-run-start", self.graph.on_run.before)
            anew = history.anew(self.graph, facts, self.definitions, self.options.full_refresh, self.tell)
            results = build_nodes(con, self.graph, nodes, anew, strangers(con, self.graph))
            self.facts["partial"] = [node.name for node in old if node.id not in chosen]
            rebuilt = {result.id for result in results} | {n for n in now if previous.get(n) != now[n]}
            self.tell(f"Built {len(results)} of {len(self.graph.built())} seeds and models.")
            tests = [test for test in self.graph.tests() if test.id in chosen]
            due = [test for test in tests if previous.get(test.id) != now[test.id] or rebuilt & set(test.depends_on)]
            checks = run_tests(con, due, Store(engine.CATALOG, self.options.store_failures))
            self._note_nodes(now, previous, results, {node.id for node in old} - {node.id for node in nodes})
            self._note_checks(checks, {test.name for test in self.graph.tests()})
            self.tell(f"Ran {len(checks)} data tests: {sum(c.is_error for c in checks)} failed.")
            self._validate(con, now, previous)
            run_hooks(con, "on-run-end", self.graph.on_run.after)
            self.facts["kept"] = strangers(con, self.graph)
            con.execute("checkpoint")
            self.facts["rows"] = engine.row_counts(con)
            write_artifacts(self.candidate, self.graph, self.facts, con)
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
        for path in report.removed[:10]:
            self.tell(f"  warning: {path}: no longer there, its rows are gone.")
        if len(report.removed) > 10:
            self.tell(f"  warning: and {len(report.removed) - 10} more files are no longer there.")
        # What an earlier run told of a delivery that is still the same is not told every night.
        known = {file.path for file in self.folder.files} - set(report.loaded)
        old = [warning for warning in report.warnings if warning.partition(": ")[0] in known]
        for warning in report.warnings:
            if warning not in old:
                self.tell(f"  warning: {warning}")
        if old:
            self.tell(
                f"  {len(old)} older warnings of deliveries that are the same: see rows_rejected in raw.deliveries."
            )
        had_files = self.warehouse.facts(self.warehouse.current()).get("files")
        if had_files and not self.folder.files and not self.options.publish_despite_checks:
            raise DeliveryError(
                f"All deliveries are gone from {self.warehouse.raw}: is a disk not mounted? Readers keep the build they"
                " had. If it is meant, publish it with --publish-despite-checks REASON."
            )
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
                "definition": known.get(node.id, {}).get("definition")
                if node.id in left_stale
                else self.definitions[node.id],
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
                "status": check.status,
                "stored": check.stored,
                "failures": check.failures,
                "where": check.where,
                "sql": check.sql,
            }
        self.facts["checks"] = [kept[name] for name in sorted(kept)]

    def _validate(self, con: duckdb.DuckDBPyConnection, now: Mapping[str, str], previous: Mapping[str, str]) -> None:
        """Judge each report year and write its pages; carried over when nothing that is judged has changed."""
        if self.importing is None or not self._is_judged():
            return
        from kpi import validation

        judged = {node.id for node in self.graph.built() if str(node.relation) in validation.LOOKED_AT}
        feeds = validation.feed_expectations(self.graph.feeds)
        self.facts["expected"] = [str(feed) for feed in feeds]
        self.facts["synthetic"] = validation.is_labelled_synthetic(self.warehouse.raw)
        inputs, old = self.facts["inputs"], self.before.get("inputs", {})
        same = all(inputs[part] == old.get(part) for part in ("month", "code"))
        same = same and all(self.facts[part] == self.before.get(part) for part in ("expected", "synthetic"))
        if same and "years" in self.before and all(previous.get(node) == now[node] for node in judged):
            self.facts["years"] = self.before["years"]
            validation.carry_over(self.warehouse.builds / str(self.before["id"]), self.candidate)
            return
        self.importing.join()
        about = validation.About(self.facts["id"], self.options.as_of, self.facts["synthetic"])
        results = validation.judge_candidate(con, self.candidate, feeds, about)
        self.facts["years"] = [
            {"year": r.report_year, "expectation": r.expectation, "severity": r.severity, "observed": r.observed}
            for r in results
            if not r.success
        ]
        years = len({result.report_year for result in results})
        index = self.warehouse.builds / self.facts["id"] / validation.PAGES / "index.html"
        self.tell(f"Judged {len(results)} expectations of {years} report years: {index}")

    def _is_judged(self) -> bool:
        return any(str(node.relation) in JUDGED for node in self.graph.built())

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
            # A build of an earlier version did not say what became of a test.
            old = "pass" if not check["failures"] else "fail" if check["severity"] == "error" else "warn"
            status = check.get("status", old)
            if status != "pass":
                told = f"{check['name']} ({check['where']}): {check['failures']} failing rows"
                told += f", kept in {check['stored']}" if check.get("stored") else ""
                if status == "fail":
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
        if "nodes" in self.facts and not (self.candidate / "run_results.json").is_file():
            from kpi.artifacts import write_artifacts

            write_artifacts(self.candidate, self.graph, self.facts, None)
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
        return "its report years were not judged" if self._is_judged() and not self.options.validate else ""

    def _prune(self) -> None:
        gone = prune(self.warehouse, KEEP_PUBLISHED, KEEP_FAILED, GRACE)
        for build in gone:
            record(self.warehouse, build, "pruned")


def settings_of(project: Project) -> str:
    """What makes a build file useless as a start for the next: another storage version, for one."""
    import duckdb

    return f"{project.name} duckdb {duckdb.__version__}"
