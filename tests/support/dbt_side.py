"""What is asked of real dbt, run by the Python of its own environment (make dbt), which has neither kpi nor pytest.

    python tests/support/dbt_side.py PROJECT TARGET ARTIFACTS

builds PROJECT into the database its profile names, writes dbt's artifacts to TARGET, reads kpi's from ARTIFACTS with
dbt's own classes and with dbt-artifacts-parser, and writes what came of it to TARGET/answers.json.

dbt takes a quarter of a second for a unit test, so it runs the first of every third model; all with KPI_ALL_SEEDS=1.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def main(project: Path, target: Path, artifacts: Path) -> None:
    from dbt.cli.main import dbtRunner

    where = ["--project-dir", str(project), "--profiles-dir", str(project), "--target-path", str(target)]
    where += ["--log-path", str(target), "--log-level-file", "none", "--quiet"]
    # What dbt deprecates is an error, so that the project keeps up with it.
    strict = ["--warn-error-options", '{"error": ["Deprecations"]}']
    answers: dict[str, Any] = {}
    left_out = [] if os.environ.get("KPI_ALL_SEEDS") else further_unit_tests(artifacts)
    exclude = [word for name in left_out for word in ("--exclude", f"unit_test:{name}")]
    built = dbtRunner().invoke(["build", *where, *strict, *exclude])
    answers["exception"] = str(built.exception or "")
    results = getattr(built.result, "results", ())
    answers["failed"] = sorted(
        f"{result.node.unique_id}: {result.message}"
        for result in results
        if result.status not in ("success", "pass", "warn", "no-op")
    )
    # What comes after writes these anew, with less in them.
    kept = {name: (target / name).read_bytes() for name in ("manifest.json", "run_results.json")}
    documented = dbtRunner().invoke(["docs", "generate", "--no-compile", *where])
    answers["documented"] = documented.success
    selected = ["--select", "state:modified", "--resource-type", "model", "--resource-type", "seed"]
    selected += ["--resource-type", "source", "--resource-type", "snapshot"]
    listed = dbtRunner().invoke(["ls", *where, *selected, "--state", str(artifacts)])
    answers["modified"] = listed.result if listed.success else [str(listed.exception)]
    answers["unreadable"] = unreadable(artifacts)
    for name, content in kept.items():
        (target / name).write_bytes(content)
    (target / "answers.json").write_text(json.dumps(answers), encoding="utf-8")


def further_unit_tests(folder: Path) -> list[str]:
    """All unit tests but the first of every third model, by name."""
    first: dict[str, str] = {}
    found = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["unit_tests"].values()
    for test in sorted(found, key=lambda test: str(test["name"])):
        first.setdefault(test["model"], test["name"])
    few = {first[model] for model in sorted(first)[::3]}
    return [test["name"] for test in found if test["name"] not in few]


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
