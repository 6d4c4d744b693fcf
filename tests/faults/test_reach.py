"""What a project's SQL reaches: its own tables. No file, no network, nothing of the process, not even when run."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

import kpi
from kpi import database
from kpi.engine.compile import compiled
from kpi.errors import KpiError
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from small_project import FILES, write

# {file} is a CSV beside the project, {raw} one in its raw folder.
ATTEMPTS = (
    "select * from read_text('{file}')",
    "select * from read_csv('{raw}')",
    "select * from main.read_text('{file}')",
    "select * from system.main.read_text('{file}')",
    "select * from \"read_text\"('{file}')",
    "select * from READ_BLOB(['{file}'])",
    "select * from glob('{file}')",
    "select (select content from read_text('{file}')) as content",
    "select 1 as one where exists (select 1 from read_text('{file}'))",
    "select 1 as one where 1 in (select 1 from read_csv('{file}'))",
    "select t.content from (values (1)) as v (x), lateral (select content from read_text('{file}')) as t",
    "select t.content from (values ('{file}')) as v (x), lateral read_text(v.x) as t",
    "select t.content from (values (1)) as v (x) cross join read_text('{file}') as t",
    "with a as (from read_text('{file}')) select content from a",
    "with a as materialized (table '{file}') select * from a",
    "with recursive a as (select content from read_text('{file}') union all select content from a) select * from a",
    "from read_text('{file}')",
    "from '{file}'",
    'from "{file}"',
    "select * from '{file}' as t",
    "select * from '/etc/*.csv'",
    "select 1 as one union all select 1 from read_text('{file}')",
    "select 1 as one order by (select size from read_text('{file}'))",
    "select 1 as one limit (select size from read_text('{file}'))",
    "select list_transform([1], lambda x: (select content from read_text('{file}'))) as a",
    "pivot '{file}' on secret in (1) using count(*)",
    "unpivot '{file}' on secret into name a value b",
    "select * from query('select * from read_text(''{file}'')')",
    "select * from query_table('{file}')",
    "select * from json_execute_serialized_sql(json_serialize_sql('select 1'))",
    "select * from 'https://example.org/a.csv'",
    "select * from read_csv('https://example.org/a.csv')",
    "select * from read_duckdb('{file}')",
    "select * from parquet_metadata('{file}')",
    "select * from sniff_csv('{file}')",
    "select * from duckdb_secrets()",
    "select * from duckdb_settings()",
    "select * from enable_logging(storage = 'file', storage_path = '{out}')",
    "select * from force_checkpoint()",
    "select * from pandas_scan(1)",
    "select * from python_map_function(1, 2)",
    "select getenv('HOME') as home",
    "select * from information_schema.tables",
    "select * from frame_of_the_process",
    "describe read_text('{file}')",
    "summarize '{file}'",
    "show all tables",
    "values (1); copy (select 1) to '{out}'",
    "copy (select 1) to '{out}'",
    "attach '{out}' as other",
    "install httpfs",
    "load httpfs",
    "set enable_external_access = true",
    "create table x as select 1",
    "{{{{ run_query(\"select * from read_text('{file}')\").columns[0].values()[0] }}}}",
    "{{% set found = run_query(\"copy (select 1) to '{out}'\") %}}select 1 as one",
    "{{% call statement('x', fetch_result=true) %}}select * from '{file}'{{% endcall %}}select 1 as one",
    "select {{{{ modules.os.getcwd() }}}} as one",
    "select '{{{{ self.__init__.__globals__ }}}}' as one",
    "{{% include '{file}' %}}",
)
frame_of_the_process = pa.table({"secret": [1]})


def places(root: Path) -> dict[str, str]:
    raw = root / "warehouse/raw/calls"
    raw.mkdir(parents=True, exist_ok=True)
    (raw / "a.csv").write_text("call_id,line,waited_seconds,arrived_on\n1,health,3,2024-01-01\n")
    secret = root.parent / "secret.csv"
    secret.write_text("secret\n1\n")
    return {"file": str(secret), "raw": str(raw / "a.csv"), "out": str(root.parent / "out.csv")}


def test_no_model_reaches_beyond_its_parents(tmp_path: Path) -> None:
    root = write(tmp_path / "project")
    where = places(root)
    model = root / "models/marts/attempt.sql"
    through = []
    for attempt in ATTEMPTS:
        model.write_text(attempt.format(**where))
        try:
            compiled(root)
        except KpiError:
            continue
        through.append(attempt)
    assert through == []
    assert not Path(where["out"]).exists()


@pytest.mark.parametrize("place", ["hook", "test"])
def test_no_hook_and_no_test_does_either(tmp_path: Path, place: str) -> None:
    root = write(tmp_path / "project")
    where = places(root)
    through = []
    for attempt in ATTEMPTS:
        text = attempt.format(**where)
        if "{" in text or "frame_of" in text or text.startswith(("create table x", "select * from info")):
            continue  # rendered as a model's text is; or told when it runs; or what a hook may do
        if place == "test":
            (root / "tests/attempt.sql").write_text(text)
        else:
            hook = text.replace('"', '\\"')
            (root / "models/marts/attempt.sql").write_text(f'{{{{ config(pre_hook="{hook}") }}}}select 1 as one')
        try:
            compiled(root)
        except KpiError:
            continue
        through.append(attempt)
    # What tells of DuckDB itself, no file and nothing of the process, is nothing to keep from a hook.
    harmless = ("duckdb_settings", "duckdb_secrets", "getenv", "show all")
    assert [attempt for attempt in through if not any(word in attempt for word in harmless)] == []


def test_what_would_get_past_the_compiler_reaches_the_deliveries_and_nothing_else(tmp_path: Path) -> None:
    root = write(tmp_path / "project")
    where = places(root)
    (root / "warehouse/raw/calls/link.csv").symlink_to(where["file"])
    raw = root / "warehouse/raw"
    with database.building(tmp_path / "x.duckdb", tmp_path / "spill", within=[raw]) as con:
        assert con.execute(f"select count(*) from '{where['raw']}'").fetchall() == [(1,)]
        for attempt in (
            f"select * from read_text('{where['file']}')",
            f"select * from read_csv('{raw}/../../../secret.csv')",
            f"select * from read_csv('{raw}/calls/link.csv')",
            f"select * from glob('{root}/*')",
            f"copy (select 1) to '{where['out']}'",
            f"attach '{where['out']}' as other",
            "select * from read_csv('https://example.org/a.csv')",
            "install httpfs",
            "load httpfs",
            "set enable_external_access = true",
            f"set allowed_directories = ['{root.parent}']",
            "select * from frame_of_the_process",
        ):
            try:
                found = con.execute(attempt).fetchall()
            except duckdb.Error:
                continue
            assert found == [], attempt
    assert not Path(where["out"]).exists()
    with database.scratch() as con:  # where nothing guards, they succeed
        assert con.execute("select * from frame_of_the_process").fetchall() == [(1,)]
        assert con.execute(f"select * from read_csv('{raw}/calls/link.csv')").fetchall() == [(1,)]


def test_a_build_reads_deliveries_behind_a_link_seeds_and_sources_that_are_files(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "far").mkdir()
    (tmp_path / "far/b.csv").write_text("name,day\nb,01.02.2024\n")
    sources = """\
sources:
  - name: files
    tables:
      - {name: near, config: {meta: {external_location: "data/*.csv"}}}
      - name: far
        config: {meta: {external_location: "read_csv('FAR', dateformat = '%d.%m.%Y', delim = ',')"}}
""".replace("FAR", str(tmp_path / "far/b.csv"))
    model = "select name from {{ source('files', 'near') }} union all select name from {{ source('files', 'far') }}"
    settings = FILES["dbt_project.yml"].replace(
        "limit_seconds: 300", f"limit_seconds: 300\n  kpi_warehouse: {{source_folders: ['{tmp_path}/far']}}"
    )
    changes = {
        "dbt_project.yml": settings,
        "models/files.yml": sources,
        "models/marts/both.sql": model,
        "data/it's.csv": "name,day\na,1\n",
    }
    root = write(tmp_path / "project", changes)
    (root / "warehouse").mkdir()
    (root / "warehouse/raw").symlink_to(disk)
    places(root)
    refresh(root, Options(date(2026, 3, 5), validate=False), lambda _: None)
    with kpi.open(project_dir=root) as con:
        assert con.execute("select name from marts.both order by all").fetchall() == [("a",), ("b",)]
        assert con.execute("select count(*) from raw.calls").fetchall() == [(1,)]
        assert con.execute("select count(*) from seeds.lines").fetchall() == [(2,)]
