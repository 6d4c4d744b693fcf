"""dbt, imported and warmed once for many projects; run by the Python of dbt's own environment, which has no kpi.

    python tests/support/dbt_process.py

reads a request in JSON from each line of its input, `folder`, `arguments` and `answer`, runs dbt with these in the
folder, in a process of its own, which writes what came of it to the file `answer`. Then it prints a line.

dbt takes over two CPU seconds to begin with a project: it makes classes and parses its own macros, the same for every
one. Here that is done once, before the fork, by parsing a small project and an empty one; the parsed state of that is
laid beside each project, and dbt takes its own macros from it. The parsing opens no database and leaves the static
parser out: the threads of both do not outlive a fork.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

WARM = {
    "dbt_project.yml": "name: own\nversion: '1.0'\nprofile: default\n",
    "profiles.yml": "default: {target: kpi, outputs: {kpi: {type: duckdb, path: target/kpi.duckdb, threads: 1}}}\n",
    "models/m.sql": "select 1 as a",
    "models/m.yml": "models: [{name: m, columns: [{name: a, data_tests: [unique, not_null]}]}]\n",
    "seeds/s.csv": "a\n1\n",
}
PARSED = Path("target/partial_parse.msgpack")


def main() -> None:
    from dbt.cli.main import dbtRunner

    with tempfile.TemporaryDirectory() as folder:
        parse(Path(folder, "warm"), WARM)
        parsed = parse(Path(folder, "bare"), {name: WARM[name] for name in ("dbt_project.yml", "profiles.yml")})
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()  # dbt keeps its connection for as long as its process lives
        if child == 0:
            os.chdir(request["folder"])
            Path("target").mkdir(exist_ok=True)
            Path("target", PARSED.name).write_bytes(parsed)
            output = Path(request["answer"]).with_suffix(".output")
            handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, 1)  # dbt writes to what was there when it was imported
            os.dup2(handle, 2)
            found = answer(request["arguments"], dbtRunner())
            text = output.read_text(encoding="utf-8")
            Path(request["answer"]).write_text(json.dumps({**found, "output": text}), encoding="utf-8")
            os._exit(0)
        os.waitpid(child, 0)
        sys.stdout.write("done\n")
        sys.stdout.flush()


def parse(folder: Path, files: dict[str, str]) -> bytes:
    """Let dbt parse a project, and return the state it keeps of that."""
    from dbt.cli.main import dbtRunner

    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    os.chdir(folder)
    dbtRunner().invoke(["parse", "--no-static-parser", "--profiles-dir", ".", "--log-level-file", "none", "--quiet"])
    found = PARSED.read_bytes()
    os.chdir("/")
    return found


def answer(arguments: list[str], dbt: Any) -> dict[str, Any]:
    """Run dbt. Returns the status of each node and test by its id, and the exception if there was one."""
    outcome = dbt.invoke(arguments)
    results = {result.node.unique_id: str(result.status) for result in getattr(outcome.result, "results", ())}
    return {"exception": str(outcome.exception or ""), "results": results, "success": outcome.success}


if __name__ == "__main__":
    main()
