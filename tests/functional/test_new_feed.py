"""A new feed and its figures are new files, rows of seeds and a line of dbt_project.yml: no model lists the feeds."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import date
from pathlib import Path

import duckdb
import pytest

from conftest import copy_project
from kpi.database import reading
from kpi.engine.compile import check_project
from kpi.errors import KpiError
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from kpi.project.project import load_project
from tiny import Tiny

CONTRACT = """\
sources:
  - name: raw
    schema: raw
    tables:
      - name: home_visits
        description: Visits to homes as delivered. Grain, one row per loaded record of a delivery.
        config:
          meta:
            feed:
              key: [visit_id]
              services_by: town
              raw_retention_by: planned_at
        columns:
          - {name: visit_id, data_type: varchar, description: Its id., config: {meta: {required: true}}}
          - {name: town, data_type: varchar, description: Where., config: {meta: {required: true}}}
          - {name: planned_at, data_type: timestamp, description: When planned., config: {meta: {required: true}}}
          - {name: arrived_at, data_type: timestamp, description: When made.}
models:
  - name: stg_home_visits
    description: Visits in force. Grain, one row per visit_id.
"""
STAGING = """\
with source as (

    select * from {{ source('raw', 'home_visits') }}

)

select
    visit_id,
    town,
    year(planned_at) as report_year,
    month(planned_at) as report_month
from source
where not _is_superseded
"""
STEP = """\
with visits as (

    select * from {{ ref('stg_home_visits') }}

),

unfinished_months as (

    select * from {{ ref('int_unfinished_months') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

periods as (

    select
        {{ period_columns('visits') }},
        count(*) as visit_count
    from visits
    {{ join_unfinished_months('visits', 'home_visits') }}
    {{ by_year_and_month('visits') }}

),

figures as (

    {{ count_figure('home_visits', counted='visit_count', event_count='visit_count', service="'home_care'") }}

)

{{ figures_with_basis() }}
"""
DESPITE = Options(date(2026, 2, 5), publish_despite_checks="a county of one feed")
TOWN = "              services_by: town\n"
FAMILY = "    - care_contacts\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The county's project with a feed, its staging model and its figure more, and two deliveries of it."""
    root = copy_project(tmp_path / "county")
    (root / "models/staging/social/home_visits.yml").write_text(CONTRACT)
    (root / "models/staging/social/stg_home_visits.sql").write_text(STAGING)
    (root / "models/intermediate/social/int_home_visits_figures.sql").write_text(STEP)
    for seed, row in (
        ("figures", "home_visits,home_visits,Kotikäynnit,Hembesök,Home visits,Kaikki.,Alla.,All.,count,0,none,"
         "calendar_year,client_advice,2025-01-01,suppress,Sopimus,access,901,exact,,false" + 12 * ","),
        ("figure_services", "home_visits,home_care,Kotihoito,Hemvård,Home care,2025-01-01,900"),
    ):  # fmt: skip
        with (root / f"seeds/{seed}.csv").open("a", encoding="utf-8") as stream:
            stream.write(f"{row}\n")
    folder = root / "warehouse/raw/home_visits"
    folder.mkdir(parents=True)
    header = "visit_id;town;planned_at;arrived_at\n"
    (folder / "2025.csv").write_text(
        f"{header}a;kotka;31.12.2025 23:30;1.1.2026 0:10\nb;hamina;5.3.2025 9:00;\nc;kotka;6.3.2025 9:00;6.3.2025 9:05"
    )
    (folder / "2026.csv").write_text(f"{header}c;kotka;7.3.2025 9:00;\nd;kotka;1.1.2026 0:00;\n")
    return root


def list_family(root: Path) -> None:
    settings = root / "dbt_project.yml"
    settings.write_text(settings.read_text().replace(FAMILY, f"{FAMILY}    - home_visits\n"))


def test_compile_names_the_model_of_a_family_that_nobody_lists_and_where_to_list_it(root: Path) -> None:
    with pytest.raises(KpiError) as caught:
        check_project(load_project(root))
    place = "Add it to figure_families under vars in dbt_project.yml."
    for hub in ("indicators", "monthly_series", "int_same_months_before"):
        reads_every = f"'{hub}' reads every model named int_*_figures (its meta.reads_every)"
        assert f"{reads_every}, but not 'int_home_visits_figures'. {place}" in str(caught.value)


def test_a_family_that_would_tell_a_running_year_as_a_whole_one_is_refused(root: Path) -> None:
    list_family(root)
    step = root / "models/intermediate/social/int_home_visits_figures.sql"
    step.write_text(step.read_text().replace("by_year_and_month('visits')", "by_year_and_month()"))
    with pytest.raises(KpiError, match=r"int_home_visits_figures.sql:\d+: .*a running year would pass for a whole one"):
        check_project(load_project(root))


@pytest.mark.long
def test_a_new_feed_is_in_every_hub_without_an_edit_of_a_model_or_of_another_models_tests(root: Path) -> None:
    """Coverage comes from the contract: the row of the later file counts, and the time that gives the report year."""
    list_family(root)
    graph = check_project(load_project(root))
    assert {"unit_test"} == {test.id.partition(".")[0] for test in graph.unit_tests}
    refresh(root, DESPITE, lambda _: None)
    with reading(root / "warehouse/current/kpi.duckdb") as con:
        covered = "select report_year, month, row_count, service_count from marts.coverage where feed = 'home_visits'"
        assert con.execute(f"{covered} order by 1, 2").fetchall() == [
            (2025, 3, 2, 2),
            (2025, 12, 1, 1),
            (2026, 1, 1, 1),
        ]
        figure = "from marts.{} where figure_id = 'home_visits' order by 1, 2"
        series = con.execute(f"select report_year, month, value {figure.format('monthly_series')}").fetchall()
        assert series == [(2025, 3, 2), (2025, 12, 1), (2026, 1, 1)]
        years = con.execute(f"select report_year, basis, value {figure.format('indicators')}").fetchall()
        assert years == [(2025, "calendar_year", 3), (2026, "year_to_date", 1)]

    # Coverage follows deliveries that go, and contracts that change.
    def again() -> list[tuple[int, int, int]]:
        refresh(root, DESPITE, lambda _: None)
        with reading(root / "warehouse/current/kpi.duckdb") as con:
            sql = "select report_year, row_count, service_count from marts.coverage where feed = 'home_visits'"
            return con.execute(f"{sql} order by all").fetchall()

    (root / "warehouse/raw/home_visits/2026.csv").unlink()
    assert again() == [(2025, 1, 1), (2025, 2, 2)]
    contract = root / "models/staging/social/home_visits.yml"
    contract.write_text(
        CONTRACT.replace("planned_at\n        columns", "arrived_at\n        columns").replace(TOWN, "")
    )
    assert again() == [(2025, 1, 1), (2026, 1, 1)]  # the year of the arrival now, and no town


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "              raw_retention_by: planned_at\n",
            "",
            "'raw_retention_by' which column gives it: planned_at, arrived_at",
        ),
        ("services_by: town", "services_by: towm", "'services_by' names no column 'towm'. Did you mean 'town'?"),
    ],
)
def test_a_contract_says_what_its_rows_are_counted_by(tmp_path: Path, old: str, new: str, message: str) -> None:
    """With several dates, which of them gives the report year; but only where the counts are read."""
    with closing(duckdb.connect()) as con:
        tiny = Tiny(tmp_path, con)
        counts = "sources: [{name: raw, schema: raw, tables: [{name: feed_months}]}]\n"
        tiny.write({"models/home_visits.yml": CONTRACT, "stg_home_visits": STAGING, "models/counts.yml": counts})
        tiny.compiled()
        tiny.write({"models/home_visits.yml": CONTRACT.replace(old, new)})
        with pytest.raises(KpiError, match=re.escape(message)):
            tiny.compiled()
        if not new:
            tiny.write({"models/counts.yml": ""})
            tiny.compiled()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("{models: part_*}", "models/part_b.sql:1: 'whole' reads every model named part_\\* .* but not 'part_b'.$"),
        ("{models: inc_*}", "models/whole.yml:5: no model is named inc_\\*, which meta.reads_every asks for."),
        ("{model: part_*}", "models/whole.sql:1: meta.reads_every has 'models', a pattern of names such as int_\\*"),
        ("part_*", "meta.reads_every has 'models', a pattern of names such as int_\\*"),
    ],
)
def test_a_model_that_should_read_others_and_does_not_is_refused(tmp_path: Path, wanted: str, message: str) -> None:
    with closing(duckdb.connect()) as con:
        tiny = Tiny(tmp_path, con)
        tiny.write({"part_a": "select 1 as x", "part_b": "select 2 as x", "whole": "select x from {{ ref('part_a') }}"})
        tiny.compiled()
        yaml = f"models:\n  - name: whole\n    config:\n      meta:\n        reads_every: {wanted}\n"
        tiny.write({"models/whole.yml": yaml})
        with pytest.raises(KpiError, match=message):
            tiny.compiled()
        every = "select x from {{ ref('part_a') }} union all select x from {{ ref('part_b') }}"
        tiny.write({"whole": every, "models/whole.yml": yaml.replace(wanted, "{models: part_*}")})
        tiny.compiled()
