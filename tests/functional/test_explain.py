"""kpi explain on a second project, on hostile names, and where there is nothing to explain."""

from __future__ import annotations

import csv
import json
import shutil
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from test_second_project import copy_library, run

import kpi
from kpi.cli.main import cli
from kpi.errors import ConfigError
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh

HOSTILE = """o'brien"; drop table x; --"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, with a branch of a hostile name, refreshed and published. Tests must not change it."""
    root = copy_library(tmp_path_factory.mktemp("explained") / "library")
    contract = root / "models/staging/visits.yml"
    code = HOSTILE.replace("'", "''")
    contract.write_text(contract.read_text().replace("[main, riverside]", f"[main, riverside, '{code}']"))
    with (root / "warehouse/raw/visits/all.csv").open("a", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerow([HOSTILE, "2025-03-01", 7])
        csv.writer(stream, lineterminator="\n").writerow([HOSTILE, "2025-03-02", "many"])
    with (root / "seeds/branches.csv").open(newline="") as stream:
        header = next(csv.reader(stream))
    with (root / "seeds/branches.csv").open("a", newline="") as stream:
        row = {"figure_id": "visits", "service": HOSTILE, "since": "2025-01-01"}
        csv.writer(stream, lineterminator="\n").writerow([row.get(name, "x") for name in header])
    assert run(root).published
    return root


def explain(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["explain", *arguments, "--project-dir", str(root)])


def test_a_figure_of_a_project_that_is_no_countys(library: Path) -> None:
    found = kpi.explain("mean_loan_days", "main", 2025, project_dir=library)
    assert (found.numerator.value, found.numerator.row_count) == (348.0, 24)
    assert found.numerator.is_exact
    assert found.denominator.is_exact
    assert [step.model for step in found.steps] == [
        *("reports.yearly_figures", "reports.loans_figures", "staging.stg_loans", "raw.loans"),
    ]
    rows = found.rows("numerator")
    assert sum(rows.column("counts_as").to_pylist()) == 348
    clauses = {one.clause: one.row_count for one in found.left_out}
    assert clauses == {"branch = 'main'": 48, "report_year = 2025": 36, "days_lent IS NOT NULL": 12}


def test_quotes_and_semicolons_in_a_service_are_no_sql(library: Path) -> None:
    found = kpi.explain("visits", HOSTILE, 2025, project_dir=library)
    assert (found.value, found.numerator.row_count) == (7.0, 1)
    assert found.numerator.is_exact
    rows = found.rows("left-out").to_pylist()
    assert [row["clause"] for row in rows if row["branch"] is None] == [
        "rejected: visitors: not a whole number"
    ] or any(str(row["clause"]).startswith("rejected: ") for row in rows)


def test_the_screen_fits_80_columns_and_has_no_colour(library: Path) -> None:
    result = explain(library, "loans", "--service", "main", "--year", "2025")
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80
    assert "\x1b" not in result.output
    assert len(result.output.splitlines()) < 50


def test_what_is_misspelt_is_answered_with_the_nearest(library: Path) -> None:
    for arguments, message in (
        (("loanz",), "there is no figure 'loanz'. Did you mean 'loans'?"),
        (("loans", "--service", "mian"), "'loans' has no service 'mian'. Did you mean 'main'?"),
        (("loans",), "'loans' has several services: name one by --service: main, riverside."),
        (("loans", "--service", "main", "--year", "1999"), "'loans' has no figures of 1999. There is: 2024, 2025."),
        (("loans", "--service", "main", "--basis", "census"), "has no basis 'census'. There is: calendar_year."),
    ):
        result = explain(library, *arguments)
        assert isinstance(result.exception, ConfigError)
        assert message in str(result.exception)


def test_rows_as_csv_and_parquet(library: Path, tmp_path: Path) -> None:
    wanted = ("loans", "--service", "main", "--year", "2025", "--rows", "numerator")
    result = explain(library, *wanted, "--format", "csv", "--output", str(tmp_path / "rows.csv"))
    assert result.exit_code == 0
    with (tmp_path / "rows.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 36
    assert rows[0]["file"] == "all.csv"
    result = explain(library, *wanted, "--format", "parquet", "--output", str(tmp_path / "rows.parquet"))
    import pyarrow.parquet

    assert pyarrow.parquet.read_table(tmp_path / "rows.parquet").num_rows == 36
    assert explain(library, "loans", "--format", "csv").exit_code == 2
    assert explain(library, *wanted, "--format", "parquet").exit_code == 2


def test_json_has_all_of_it(library: Path) -> None:
    told = json.loads(explain(library, "loans", "--service", "main", "--json").output)
    assert told["numerator"]["is_exact"] is True
    assert told["steps"][0]["model"] == "reports.yearly_figures"
    assert told["deliveries"][0]["content_hash"]


def test_rows_that_only_stewards_may_open(library: Path, tmp_path: Path) -> None:
    root = tmp_path / "library"
    shutil.copytree(library, root, ignore=shutil.ignore_patterns("builds", "current", ".cache"))
    project = root / "dbt_project.yml"
    settings = "  kpi_warehouse: {stewards_schemas: [raw, staging]}\n"
    project.write_text(project.read_text().replace("vars:\n", f"vars:\n{settings}"))
    assert refresh(root, Options(as_of=date(2026, 1, 10)), lambda line: None).published
    found = kpi.explain("loans", "main", 2025, project_dir=root)
    assert found.needs_stewards == ("raw.loans",)
    assert found.value == 36
    assert "The rows are in raw.loans, which is left out of this file: --stewards opens" in found.text
    with pytest.raises(ConfigError, match=r"raw\.loans is left out of the file for all readers: --stewards opens it"):
        found.rows("numerator")
    own = kpi.explain("loans", "main", 2025, project_dir=root, stewards=True)
    assert own.rows("numerator").num_rows == 36


def test_a_build_that_is_gone_says_so(library: Path) -> None:
    with pytest.raises(ConfigError, match="there is no build '00099'"):
        kpi.explain("loans", "main", build="00099", project_dir=library)
