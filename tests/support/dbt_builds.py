"""Small projects built by real dbt, run by the Python of its own environment, which has neither kpi nor pytest.

    python tests/support/dbt_builds.py FOLDER

builds each folder of FOLDER that holds a dbt_project.yml, with the arguments its file `arguments` may have, and writes
what came of it to its file target/answers.json.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

PROFILE = "default:\n  target: kpi\n  outputs: {kpi: {type: duckdb, path: target/kpi.duckdb, threads: 1}}\n"


def main(folder: Path) -> None:
    from dbt.cli.main import dbtRunner

    for project in sorted(found.parent for found in folder.glob("*/dbt_project.yml")):
        (project / "target").mkdir(exist_ok=True)
        (project / "profiles.yml").write_text(PROFILE, encoding="utf-8")
        child = os.fork()  # dbt keeps its connection for as long as its process lives
        if child == 0:
            os.chdir(project)
            (project / "target/answers.json").write_text(json.dumps(built(project, dbtRunner())), encoding="utf-8")
            os._exit(0)
        os.waitpid(child, 0)


def built(project: Path, dbt: Any) -> dict[str, Any]:
    """Build one project. Returns the status of each node and test by its id, and the exception if there was one."""
    more = (project / "arguments").read_text(encoding="utf-8").split() if (project / "arguments").is_file() else []
    outcome = dbt.invoke(["build", "--profiles-dir", ".", "--log-level-file", "none", "--quiet", *more])
    results = getattr(outcome.result, "results", ())
    found = {result.node.unique_id: str(result.status) for result in results}
    return {"exception": str(outcome.exception or ""), "results": found, "success": outcome.success}


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
