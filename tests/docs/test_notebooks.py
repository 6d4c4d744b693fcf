"""The notebooks run from top to bottom against a build of a small demo."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
OFFLINE = Path(__file__).parents[1] / "support/offline.py"


def test_there_is_a_notebook_for_each_of_four_questions() -> None:
    names = ["first_look", "investigate_a_change", "make_a_figure", "quality_of_a_year"]
    assert [path.stem for path in NOTEBOOKS] == names


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs(path: Path, demo_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "clear the outputs before committing"
    monkeypatch.setenv("KPI_PROJECT_DIR", str(demo_project))
    # Without a network: whatever asks for one fails.
    arguments = [f"--IPKernelApp.exec_files={OFFLINE}"]
    limits = {"timeout": 300, "startup_timeout": 300}
    NotebookClient(notebook, kernel_name="python3", extra_arguments=arguments, **limits).execute()
