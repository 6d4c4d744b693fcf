"""What is asked of real dbt, run by the Python of its own environment (make dbt), which has neither kpi nor pytest.

    python tests/support/dbt_side.py PROJECT TARGET ARTIFACTS

builds PROJECT into the database its profile names, writes dbt's artifacts to TARGET, reads kpi's from ARTIFACTS with
dbt's own classes and with dbt-artifacts-parser, and writes what came of it to TARGET/answers.json.

dbt parses once for all. It takes 33 ms of CPU for a data test and 130 for a unit test, of which there are over a
thousand: it runs the first of each kind and every so many of that kind; all with KPI_ALL_SEEDS=1.
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any

EVERY_DATA_TEST, EVERY_UNIT_TEST = 8, 20


def main(project: Path, target: Path, artifacts: Path) -> None:
    from dbt.cli.main import dbtRunner

    where = ["--project-dir", str(project), "--profiles-dir", str(project), "--target-path", str(target)]
    where += ["--log-path", str(target), "--log-level-file", "none", "--quiet"]
    # What dbt deprecates is an error, so that the project keeps up with it.
    strict = ["--warn-error-options", '{"error": ["Deprecations"]}']
    answers: dict[str, Any] = {"documented": False, "modified": [], "failed": []}
    parsed = dbtRunner().invoke(["parse", *where, *strict])
    answers["exception"] = str(parsed.exception or "")
    if parsed.success:
        of_all = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
        left_out = set() if os.environ.get("KPI_ALL_SEEDS") else further_tests(parsed.result)
        answers |= commands(dbtRunner(manifest=parsed.result), [*where, *strict], artifacts, left_out)
        built = json.loads((target / "built.json").read_text(encoding="utf-8"))
        of_all["nodes"] |= built["nodes"]
        (target / "manifest.json").write_text(json.dumps(of_all), encoding="utf-8")
    answers["unreadable"] = unreadable(artifacts)
    (target / "answers.json").write_text(json.dumps(answers), encoding="utf-8")


def commands(dbt: Any, where: list[str], artifacts: Path, left_out: set[str]) -> dict[str, Any]:
    """Run what is asked of dbt on what it parsed, building without the tests that are left out."""
    target = Path(where[where.index("--target-path") + 1])
    selected = ["--select", "state:modified", "--resource-type", "model", "--resource-type", "seed"]
    selected += ["--resource-type", "source", "--resource-type", "snapshot"]
    listed = dbt.invoke(["ls", *where, *selected, "--state", str(artifacts)])
    for tests in (dbt.manifest.nodes, dbt.manifest.unit_tests):
        for name in left_out & tests.keys():
            del tests[name]
    built = dbt.invoke(["build", *where])
    results = getattr(built.result, "results", ())
    # What comes after writes these anew, with less in them.
    (target / "manifest.json").rename(target / "built.json")
    run_results = (target / "run_results.json").read_bytes()
    documented = dbt.invoke(["docs", "generate", "--no-compile", *where])
    (target / "run_results.json").write_bytes(run_results)
    return {
        "exception": str(built.exception or ""),
        "failed": sorted(
            f"{result.node.unique_id}: {result.message}"
            for result in results
            if result.status not in ("success", "pass", "warn", "no-op")
        ),
        "documented": documented.success,
        "modified": listed.result if listed.success else [str(listed.exception)],
        "left_out": sorted(left_out),
    }


def further_tests(manifest: Any) -> set[str]:
    """The ids of all tests but the first of each kind and every so many of it."""
    data_tests = (node for node in manifest.nodes.values() if node.resource_type == "test")
    return further(data_tests, kind_of_data_test, EVERY_DATA_TEST) | further(
        manifest.unit_tests.values(), kind_of_unit_test, EVERY_UNIT_TEST
    )


def further(tests: Iterable[Any], kind: Callable[[Any], Hashable], every: int) -> set[str]:
    of_kind: dict[Hashable, list[str]] = defaultdict(list)
    for test in tests:
        of_kind[kind(test)].append(test.unique_id)
    return {name for names in of_kind.values() for place, name in enumerate(sorted(names)) if place % every}


def kind_of_data_test(test: Any) -> Hashable:
    """What it is written as, of what and of how many, and how it is set."""
    metadata, config = getattr(test, "test_metadata", None), test.config
    settings = {name: config.get(name) for name in ("severity", "error_if", "warn_if", "fail_calc", "limit")}
    return (
        getattr(metadata, "name", ""),
        getattr(metadata, "namespace", ""),
        getattr(test, "column_name", None) is None,
        frozenset(name.partition(".")[0] for name in test.depends_on.nodes),
        config.get("where") is None,
        config.get("store_failures"),
        frozenset((name, str(value)) for name, value in settings.items()),
    )


def kind_of_unit_test(test: Any) -> Hashable:
    """How its rows are written, and whether it sets what a macro or variable is."""
    formats = frozenset(str(one.format) for one in (*test.given, test.expect))
    return formats, len(test.given) > 1, test.overrides is None


def unreadable(folder: Path) -> list[str]:
    """Read kpi's artifacts in both ways there are. Return what is wrong with them."""
    from dbt.artifacts.schemas.catalog import CatalogArtifact
    from dbt.artifacts.schemas.manifest import WritableManifest
    from dbt.artifacts.schemas.run import RunResultsArtifact
    from dbt_artifacts_parser.parser import parse_catalog, parse_manifest, parse_run_results

    wrong = []
    for name, artifact, parse in (
        ("manifest.json", WritableManifest, parse_manifest),
        ("run_results.json", RunResultsArtifact, parse_run_results),
        ("catalog.json", CatalogArtifact, parse_catalog),
    ):
        try:
            artifact.read_and_check_versions(str(folder / name))
            parse(json.loads((folder / name).read_text(encoding="utf-8")))
        except Exception as error:  # whatever they raise is what is asked
            wrong.append(f"{name}: {error}")
    return wrong


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
