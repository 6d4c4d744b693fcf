"""A table of figures that holds what no figure can be: the run names it, and readers keep what they had."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from kpi.errors import BuildError
from kpi.jobs.options import Options, Outcome
from kpi.jobs.refresh import refresh
from kpi.warehouse.builds import Warehouse

FILES = {
    "dbt_project.yml": "name: own\nmodels:\n  own: {+materialized: table}\nseeds:\n  own: {+schema: seeds}\n",
    "macros/names.sql": "{% macro generate_schema_name(name, node) -%} {{ name or 'marts' }} {%- endmacro %}\n",
    "seeds/figures.csv": "figure_id,name_en,unit,decimals\ncalls,Calls,count,0\n",
    "models/indicators.sql": (
        "select 'calls' as figure_id, 'north' as service, 2025 as report_year, 'calendar_year' as basis,"
        " 1.0::double as numerator, 1.0::double as denominator, 3.0::double as value, 1 as event_count"
    ),
    "models/monthly_series.sql": (
        "select 'calls' as figure_id, 'north' as service, 2025 as report_year, 1 as month, 3.0::double as value"
    ),
}
NO_NUMBER = "no number that can be shown: not a number, infinite or too large. May a denominator be zero?"
TWICE = "stand in several rows. In 2 rows."
CASES = {
    "nan": ("indicators", {"value": "'nan'::double"}, f"value is {NO_NUMBER} In 1 row."),
    "infinite": ("indicators", {"value": "1 / 0"}, f"value is {NO_NUMBER} In 1 row."),
    "single": ("indicators", {"value": "'-inf'::float"}, f"value is {NO_NUMBER} In 1 row."),
    "huge": ("indicators", {"value": "1e300::double"}, f"value is {NO_NUMBER} In 1 row."),
    "part": ("indicators", {"numerator": "'nan'::double"}, f"numerator is {NO_NUMBER} In 1 row."),
    "whole": ("indicators", {"denominator": "'inf'::double"}, f"denominator is {NO_NUMBER} In 1 row."),
    "month": ("monthly_series", {"value": "1 / 0"}, f"value is {NO_NUMBER} In 1 row."),
    "no service": ("indicators", {"service": "null::varchar"}, "service is missing. In 1 row."),
    "an empty service": ("indicators", {"service": "''"}, "service is missing. In 1 row."),
    "no figure": ("monthly_series", {"figure_id": "null::varchar"}, "figure_id is missing. In 1 row."),
    "no basis": ("indicators", {"basis": "' '"}, "basis is missing. In 1 row."),
    "no year": ("indicators", {"report_year": "null::bigint"}, "report_year is missing. In 1 row."),
    "a year before all": ("indicators", {"report_year": "-5"}, "report_year is none from 1 to 9999. In 1 row."),
    "a year of a date": ("indicators", {"report_year": "20250101"}, "report_year is none from 1 to 9999. In 1 row."),
    "no month": ("monthly_series", {"month": "null::bigint"}, "month is missing. In 1 row."),
    "a thirteenth month": ("monthly_series", {"month": "13"}, "month is none from 1 to 12. In 1 row."),
    "twice": ("indicators", {"value": "4.0::double"}, f"figure_id, service, report_year and basis {TWICE}"),
    "a month twice": ("monthly_series", {"value": "4.0::double"}, f"figure_id, service, report_year and month {TWICE}"),
}  # fmt: skip


def write(root: Path, table: str = "", cells: dict[str, str] | None = None, is_twice: bool = False) -> Path:
    """The project, with a second row in one of its tables that has other cells, and is of another service."""
    for name, text in FILES.items():
        content = text
        if cells and name == f"models/{table}.sql":
            changed = cells if is_twice else {"service": "'south'", **cells}
            row = text
            for column, sql in changed.items():
                before, _, after = row.partition(f" as {column}")
                row = f"{before[: before.rfind(' ') + 1]}{sql} as {column}{after}"
            content = f"{text} union all {row}"
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return root


def run(root: Path) -> Outcome:
    return refresh(root, Options(as_of=date(2026, 3, 5)), lambda line: None)


def test_what_can_be_a_figure_is_published(tmp_path: Path) -> None:
    run(write(tmp_path, "indicators", {"value": "null::double", "numerator": "-0.0::double"}))
    assert Warehouse(tmp_path / "warehouse").current()


@pytest.mark.parametrize("case", CASES)
def test_what_no_figure_can_be_keeps_a_build_from_readers(case: str, tmp_path: Path) -> None:
    run(write(tmp_path))
    before = Warehouse(tmp_path / "warehouse").published()
    table, cells, message = CASES[case]
    with pytest.raises(BuildError) as caught:
        run(write(tmp_path, table, cells, is_twice="twice" in case))
    (problem,) = caught.value.problems
    assert (problem.subject, problem.place.file) == (f"marts.{table}", f"models/{table}.sql")
    assert problem.message == message
    assert Warehouse(tmp_path / "warehouse").published() == before


NAMES = {
    "seeds/figure_services.csv": "figure_id,service\ncalls,north\ncalls,south\n",
    "seeds/code_lists.csv": "list,code,name_en\nbasis,calendar_year,Year\nunit,month,M\n",
}
UNKNOWN = {
    "seeds/figure_services.csv": (
        {"service": "'norht'"},
        "marts.indicators: has 'calls' of the service 'norht', which seeds.figure_services does not name."
        " Did you mean 'north'? In 1 row.",
    ),
    "seeds/code_lists.csv": (
        {"basis": "'calender_year'"},
        "marts.indicators: has the basis 'calender_year', which seeds.code_lists does not name."
        " Did you mean 'calendar_year'? In 1 row.",
    ),
}


@pytest.mark.parametrize("seed", UNKNOWN)
def test_a_service_or_basis_that_nothing_names_is_told(seed: str, tmp_path: Path) -> None:
    """It is published: a figure may be there before its names. Where nothing names any, there is nothing to say."""
    cells, message = UNKNOWN[seed]
    root = write(tmp_path, "indicators", cells)
    messages = [str(one) for one in run(root).warnings]
    assert message not in messages
    (root / seed).write_text(NAMES[seed])
    assert message in [str(one) for one in run(root).warnings]
    write(root)
    assert message not in [str(one) for one in run(root).warnings]
