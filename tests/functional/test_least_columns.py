"""A project whose tables have the columns that the engine asks for, and no others: nothing reads more of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from kpi.cli.main import cli
from kpi.errors import KpiError
from kpi.settings import REPORT_COLUMNS, column_type
from released import BRANCHES, LIBRARY, TODAY, deliver, kpi, released_library, run

SOURCES = {
    "indicators": "yearly_figures",
    "coverage": "feed_coverage",
    "reconciliation": "printed_against_counted",
    "observation_status": "statuses",
    "revisions": "differences_from_print",
    "figures": "figure_register",
    "figure_services": "branches",
    "revision_reasons": "reasons",
}
# What a row of the others holds, by column; another number is 2026, another text a word.
CELLS = {
    "figure_id": "'loans'",
    "service": "'main'",
    "report_year": "2025",
    "basis": "'calendar_year'",
    "previous_year": "2024",
    "feed": "'loans'",
    "comparison": "'at_most'",
    "month": "1",
    "first_year": "2019",
    "last_year": "2020",
    "section": "'all'",
    "role": "'value'",
}
COMMANDS = {
    "show": ("show",),
    "show a figure": ("show", "loans", "--year", "2025"),
    "explain": ("explain", "loans", "--service", "main", "--year", "2025"),
    "rows": ("explain", "mean_loan_days", "--service", "main", "--year", "2025", "--rows", "denominator"),
    "why": ("why", "loans", "--service", "main", "--from", "2024", "--to", "2025"),
    "why of builds": ("why", "loans", "--service", "main", "--year", "2025", "--from", "{first}", "--to", "{last}"),
    "diff": ("diff", "{first}", "{last}"),
    "builds": ("builds",),
    "validate": ("validate",),
    "export": ("export", "{out}/export"),
    "site": ("site", "{out}/site"),
    "validated pages": ("validate", "--html", "{out}/validated"),
    "revisions": ("revisions",),
    "release": ("release", "2024", "--note", "as printed", "--by", "Ada"),
    "query": ("query", "select * from least.indicators"),
}


def least_models() -> dict[str, str]:
    """A model for each table the engine reads, with its required columns alone."""
    models = {}
    for key, (required, _) in REPORT_COLUMNS.items():
        names = {name.replace("*", "en"): kind for name, kind in required.items()}
        if key in SOURCES:
            models[key] = f"select {', '.join(names)} from {{{{ ref('{SOURCES[key]}') }}}}"
            continue
        usual = {"number": "2026", "truth value": "true", "day": "date '2025-01-01'", "text": "'word'"}
        own = {} if key == "unfinished_years" else CELLS
        cells = [f"cast({own.get(name, usual[kind])} as {column_type(name)}) as {name}" for name, kind in names.items()]
        models[key] = f"select {', '.join(cells)}"
    return {f"models/least/least_{key}.sql": f"{{{{ config(alias='{key}') }}}}\n{sql}\n" for key, sql in models.items()}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library with such tables, released, and with a later loan that moves a figure."""
    settings = (LIBRARY / "dbt_project.yml").read_text(encoding="utf-8")
    others = [line for line in settings.splitlines() if line.split(":")[0].strip() not in REPORT_COLUMNS]
    text = "\n".join(others).replace("  kpi_tables:", "  kpi_tables:\n" + "\n".join(
        f"    {key}: least.{key}" for key in REPORT_COLUMNS
    ))  # fmt: skip
    text = text.replace(
        "models:\n  library:\n", "models:\n  library:\n    least: {+schema: least, +materialized: table}\n"
    )
    root = released_library(tmp_path_factory.mktemp("least") / "library", {"dbt_project.yml": text, **least_models()})
    deliver(root, "loans/late.csv", f"loan_id,branch,lent_on,returned_on\nlate,{BRANCHES[1]},2025-12-30,2026-01-14\n")
    with pytest.raises(KpiError, match="released as 2025-1"):
        run(root)
    acknowledged = kpi(root, "revisions", "acknowledge", "--all", "--reason", "late_data", "--note", "x", "--by", "Ada")
    assert acknowledged.exit_code == 0, acknowledged.output
    assert run(root, TODAY).published
    return root


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_reads_a_column_that_a_table_may_lack(root: Path, tmp_path: Path, command: str) -> None:
    published = sorted(path.name for path in (root / "warehouse/builds").iterdir() if path.name[0].isdigit())
    names = {"first": published[0], "last": published[-1], "out": str(tmp_path)}
    words = [word.format(**names) for word in COMMANDS[command]]
    result = CliRunner().invoke(cli, [*words, "--project-dir", str(root)])
    assert result.exit_code == 0, result.output + repr(result.exception)
