"""`kpi explain` on SQL as other projects write it: exactly the rows behind the figure, or a plain word why not.

Each shape of `tests/data/sql_shapes.sql` has its rows beside it, written by hand. A row that is wrong, or one that
stands in neither list, is worse than a refusal; what DuckDB says of SQL that nobody wrote is none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import duckdb
import pytest

import kpi
import sql_shapes
from kpi.engine.compile import check_project
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from kpi.project.project import load_project
from kpi.provenance.explanation import Explanation
from kpi.provenance.outline import unexplained
from kpi.warehouse.builds import Warehouse, publish
from sampled import sampled

pytestmark = pytest.mark.long
SHAPES = sql_shapes.read()[:: sampled(3, 1)]
FROM_ROWS = {"distinct_of_union"}  # refused for what the rows come to, which compiling does not know


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with a figure of each shape, refreshed and published. Tests must not change it."""
    root = tmp_path_factory.mktemp("shapes")
    written(root, sql_shapes.project(SHAPES))
    published(root)
    return root


def published(root: Path) -> None:
    build = refresh(root, Options(as_of=date(2026, 1, 10), validate=False), lambda line: None).build
    warehouse = Warehouse(root / "warehouse")
    publish(warehouse, warehouse.builds / build)


def written(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_the_rows_are_those_behind_the_figure_or_it_says_why_not(project: Path, shape: sql_shapes.Shape) -> None:
    found = kpi.explain(shape.name, "all", 2025, project_dir=project)
    assert "Error" not in found.text
    if shape.refusal:
        assert shape.refusal.lower() in found.untraced.lower()
        assert f"models/marts/ind_{shape.name}.sql" in found.untraced
        return
    assert found.untraced == ""
    if not shape.rows:
        assert found.numerator.kind == "number"
        return
    with kpi.open(project_dir=project) as con:
        check_rows(con, found, shape)
        check_sql(con, found)


def check_rows(con: duckdb.DuckDBPyConnection, found: Explanation, shape: sql_shapes.Shape) -> None:
    """The rows are those of the oracle, each with what it counts as; all others were left out, once each."""
    rows = found.rows("numerator").to_pylist()
    counts = {row.get("callback_id") or row["call_id"]: row["counts_as"] for row in rows}
    wanted = dict(con.execute(shape.rows_sql).fetchall())
    assert set(counts) == set(wanted)
    assert {key: float(counts[key]) for key, value in wanted.items() if value is not None} == {
        key: float(value) for key, value in wanted.items() if value is not None
    }
    assert found.numerator.row_count == len(rows) == len(counts)
    if found.numerator.aggregate == "sum":
        assert float(sum(count or 0 for count in counts.values())) == found.value
    out = found.rows("left-out").to_pylist()
    feeds = sorted({row["feed"] for row in rows})
    every = [(row["feed"], row["file"], row["record"]) for row in (*rows, *out) if row["feed"] in feeds]
    loaded = [
        (feed, *place) for feed in feeds for place in con.execute(f"select _file, _record from raw.{feed}").fetchall()
    ]
    assert sorted(every) == sorted(loaded)
    assert sum(one.row_count for one in found.left_out) == len(out)


def check_sql(con: duckdb.DuckDBPyConnection, found: Explanation) -> None:
    """The SQL of the figure's model that is shown gives the figure."""
    (sql,) = [step.sql for step in found.steps if step.model.startswith("marts.ind_")]
    rows = con.execute(f"select numerator from ({sql}) where figure_id = '{found.key.figure_id}'").fetchall()
    assert rows == [(found.value,)], sql


def test_compiling_notes_each_model_that_cannot_be_explained_and_no_other(tmp_path: Path) -> None:
    written(tmp_path, sql_shapes.project(SHAPES, branches=1))
    errors = unexplained(check_project(load_project(tmp_path)))
    noted = {Path(error.file).stem.removeprefix("ind_"): error for error in errors}
    assert set(noted) == {shape.name for shape in SHAPES if shape.refusal} - FROM_ROWS
    for name, error in noted.items():
        assert "kpi explain cannot follow this model" in str(error), name
        assert (error.line or 0) >= 1


def test_a_line_is_that_of_the_word_in_the_way(project: Path) -> None:
    for name, word in (("limit_inside", "limit"), ("pivot_from", "pivot"), ("except", "except")):
        if os.environ.get("KPI_ALL_SEEDS") or name in {shape.name for shape in SHAPES}:
            text = (project / f"models/marts/ind_{name}.sql").read_text().splitlines()
            line = next(number for number, one in enumerate(text, 1) if word in one)
            found = kpi.explain(name, "all", 2025, project_dir=project)
            assert f"models/marts/ind_{name}.sql:{line})" in found.untraced


def test_a_number_beyond_a_double_is_shown_with_all_its_digits(tmp_path: Path) -> None:
    files = sql_shapes.project([one for one in sql_shapes.read() if one.name == "huge"])
    written(tmp_path, {name: text.replace("as double", "as hugeint") for name, text in files.items()})
    published(tmp_path)
    found = kpi.explain("huge", "all", 2025, project_dir=tmp_path)
    value = 1_000_000_000_000_000_001
    assert (found.value, found.numerator.total, found.numerator.is_exact) == (value, value, True)
    assert f"  = {value} " in found.text
    assert "numerator     1 000 000 000 000 000 001 " in found.text
