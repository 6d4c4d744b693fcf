"""A build whose models Spark computed is the build that DuckDB computes: its tables, verdict, figures and pages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from conftest import TODAY
from kpi.build_record import BuildRecord
from kpi.cli.main import cli
from kpi.jobs.options import Options, is_by_spark
from kpi.jobs.refresh import refresh
from kpi.warehouse.builds import Warehouse
from small_project import recorded, write
from with_spark import DAY, SPARK, Server, differing, kpi, refreshed, serving

OF_THE_RUN = ("marts.runs",)  # how long the runs took, and of which builds
# One of each kind of what a build is made of: views, tables, rows that are added, versions, contracts, hooks.
PROJECT = {
    "models/intermediate/lines_in_use.sql": """\
{{ config(materialized='ephemeral') }}
select line, name_en from {{ ref('lines') }} as l
where exists (select 1 from {{ ref('stg_calls') }} as c where c.line = l.line)
""",
    "models/marts/named.sql": """\
{{ config(post_hook="update {{ this }} set name_en = name_en || '!'") }}
select n.line, n.name_en, c.call_count, c.call_count / 3 as share, cast(c.call_count as decimal(18, 2)) / 3 as exact
from {{ ref('lines_in_use') }} as n
left join {{ ref('calls_by_line') }} as c on n.line = c.line
""",
    "models/marts/names.sql": """\
{{ config(meta={'allow': {'getvariable': 'the build that is made'}}) }}
select name_en, getvariable('kpi_build') is null as is_bare from {{ ref('named') }}
""",
    "models/marts/labelled.sql": """\
select lines.name_en, c.call_count
from {{ ref('lines') }} as lines
inner join {{ ref('calls_by_line') }} as c on lines.line = c.line
""",
    "models/marts/kept_days.sql": """\
{{ config(materialized='incremental', unique_key='arrived_on') }}
select arrived_on, count(*) as call_count, max(waited_seconds) as longest
from {{ ref('stg_calls') }}
{% if is_incremental() %}
where arrived_on >= (select max(arrived_on) from {{ this }})
{% endif %}
group by arrived_on
""",
    "models/marts/promised.sql": "select isodow(arrived_on) as weekday, call_id from {{ ref('stg_calls') }}",
    "models/marts/no_calls.sql": "select call_id, arrived_on from {{ ref('stg_calls') }} where call_id = 'nobody'",
    "models/marts/marts.yml": """\
models:
  - name: promised
    config: {contract: {enforced: true}}
    columns:
      - {name: call_id, data_type: varchar, constraints: [{type: not_null}]}
      - {name: weekday, data_type: bigint}
  - name: calls_by_line
    columns:
      - name: line
        data_tests:
          - accepted_values: {arguments: {values: [health]}, config: {severity: warn, store_failures: true}}
unit_tests:
  - name: counted
    model: calls_by_line
    given:
      - input: ref('stg_calls')
        rows: [{line: a, waited_seconds: 10}, {line: a, waited_seconds: 301}, {line: b, waited_seconds: 300}]
    expect:
      rows: [{line: a, call_count: 2, in_time_count: 1}, {line: b, call_count: 1, in_time_count: 1}]
  - name: labelled
    model: labelled
    given:
      - {input: ref('lines')}
      - {input: ref('calls_by_line'), rows: [{line: health, call_count: 2}]}
    expect:
      rows: [{name_en: Health line, call_count: 2}]
""",
    "snapshots/versions.yml": """\
snapshots:
  - name: versions
    relation: ref('stg_calls')
    config: {unique_key: call_id, strategy: timestamp, updated_at: arrived_on}
""",
}
FIRST = (
    "call_id,line,waited_seconds,arrived_on\n1,health,10,2026-01-05\n2,social,400,2026-01-05\n3,health,,2026-01-11\n"
)
SECOND = "call_id,line,waited_seconds,arrived_on\n4,health,20,2026-01-11\n5,social,301,2026-01-12\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server for all tests of the file."""
    with serving() as server:
        yield server


def record_of(root: Path) -> BuildRecord:
    return recorded(Warehouse(root / "warehouse"))


def file_of(root: Path) -> Path:
    return root / "warehouse/current/kpi.duckdb"


def verdict_of(record: BuildRecord) -> dict[str, object]:
    """What a build came to, apart from its name and times."""
    rows = {table: count for table, count in (record.rows or {}).items() if table not in OF_THE_RUN}
    found: dict[str, object] = {check.name: replace(check, run_in="") for check in record.checks}
    parts = {name: getattr(record, name) for name in ("years", "warnings", "unit_tests", "files", "freshness")}
    return found | parts | {"rows": rows}


def assert_same(duck: Path, spark: Path) -> None:
    """Compare two builds: every table and view by content, and the verdict."""
    one, other = record_of(duck), record_of(spark)
    assert is_by_spark(other.engine)
    assert differing(file_of(duck), file_of(spark), OF_THE_RUN, (one.id, other.id)) == {}
    verdicts = verdict_of(one), verdict_of(other)
    # Only what differs: pytest takes minutes to compare two verdicts in its own words.
    assert {
        name: (value, verdicts[1].get(name)) for name, value in verdicts[0].items() if value != verdicts[1].get(name)
    } == {}
    assert verdicts[0].keys() == verdicts[1].keys()


def built(record: BuildRecord) -> set[str]:
    """The nodes that a build computed itself."""
    return {node for node, about in (record.nodes or {}).items() if about.built_in == record.id}


def test_every_kind_of_node_is_the_same_by_spark_from_night_to_night(tmp_path: Path, server: Server) -> None:
    duck, spark = (write(tmp_path / name, PROJECT) for name in ("duck", "spark"))
    for root in (duck, spark):
        (root / "warehouse/raw/calls").mkdir(parents=True)
        (root / "warehouse/raw/calls/calls_2026-01.csv").write_text(FIRST)
    options = Options(TODAY, unit_tests=True)
    refresh(duck, options, lambda line: None)
    done = kpi(spark, "build", "--as-of", DAY, "--remote", server.address)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Models and tests are computed by Spark" in done.stdout
    assert "Ran 2 unit tests of what is rebuilt: none failed." in done.stdout
    assert done.stderr.count("Warning") == 0
    assert_same(duck, spark)
    assert not (spark / "warehouse/builds/.tmp-spark").exists()
    # Nothing changed: nothing is done, and nobody asks whether Spark is there.
    told = {"engine": "spark", "remote": "sc://127.0.0.1:1"}
    assert refresh(spark, Options(TODAY, engine=told), lambda line: None).nothing_to_do
    # A file more: what is due is built, rows are added, versions are kept.
    for root in (duck, spark):
        (root / "warehouse/raw/calls/calls_2026-02.csv").write_text(SECOND)
    refresh(duck, Options(TODAY), lambda line: None)
    refreshed(spark, server)
    assert built(record_of(duck)) == built(record_of(spark))
    assert_same(duck, spark)
    # What the one engine made is no start for the other.
    lines: list[str] = []
    refresh(spark, Options(TODAY), lines.append)
    said = [line for line in lines if "was computed by Spark, so nothing of it is a start for DuckDB" in line]
    assert len(said) == 1
    assert not is_by_spark(record_of(spark).engine)


def test_every_kind_of_node_is_the_same_by_a_driver_in_java(tmp_path: Path) -> None:
    duck, spark = (write(tmp_path / name, PROJECT) for name in ("duck", "spark"))
    for root in (duck, spark):
        (root / "warehouse/raw/calls").mkdir(parents=True)
        (root / "warehouse/raw/calls/calls_2026-01.csv").write_text(FIRST)
    refresh(duck, Options(TODAY), lambda line: None)
    done = kpi(spark, "refresh", "--as-of", DAY, "--master", "local[2]", python=SPARK)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " at local[2]." in done.stdout
    assert_same(duck, spark)


def test_a_model_that_fails_on_spark_is_named_and_its_rows_stay_in_the_house(tmp_path: Path, server: Server) -> None:
    allowed = "{{ config(meta={'allow': {'text_cast': 'it is to fail on a row'}}) }}"
    fails = {
        "models/marts/fails.sql": f"{allowed} select cast(line as bigint) as number from {{{{ ref('stg_calls') }}}}"
    }
    root = write(tmp_path, fails)
    (root / "warehouse/raw/calls").mkdir(parents=True)
    (root / "warehouse/raw/calls/calls_2026-01.csv").write_text(FIRST)
    done = kpi(root, "refresh", "--as-of", DAY, "--remote", server.address)
    assert done.returncode == 6
    assert "fails (models/marts/fails.sql:1)" in done.stderr
    last = Warehouse(root / "warehouse").last_run()
    assert last is not None
    assert last.status == "failed"
    assert "health" not in (last.nodes or {})["model.small.fails"].message.partition(" on Spark")[0]
    # Continued on the engine that computed it, and on no other.
    (root / "models/marts/fails.sql").write_text("select 1 as number")
    done = kpi(root, "retry", "--as-of", DAY)
    assert done.returncode == 3
    assert "was computed by spark. Continue it there: kpi retry --engine spark" in done.stderr
    done = kpi(root, "retry", "--as-of", DAY, "--remote", server.address)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def by_spark(small_demo: Path, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small demo again, from the same deliveries, computed by Spark."""
    root = tmp_path_factory.mktemp("spark") / "project"
    shutil.copytree(small_demo, root, ignore=shutil.ignore_patterns("builds", "current", "runs", "published.jsonl"))
    refreshed(root, server, "--publish-despite-checks", "a hundredth of the volumes")
    return root


def test_the_demo_is_the_same_by_spark(small_demo: Path, by_spark: Path) -> None:
    assert_same(small_demo, by_spark)


@pytest.mark.parametrize(
    "words",
    [
        ("show", "--json"),
        ("show", "calls_received", "--json"),
        ("explain", "same_day_callback_share", "--service", "health_station", "--year", "2025", "--json"),
    ],
)
def test_readers_of_the_demo_are_told_the_same(small_demo: Path, by_spark: Path, words: tuple[str, ...]) -> None:
    said = [printed(root, words) for root in (small_demo, by_spark)]
    assert said[0]
    is_same = said[0] == said[1]
    assert is_same


def printed(root: Path, words: tuple[str, ...]) -> object:
    """What a command prints of a build as JSON, the build's name apart."""
    done = CliRunner().invoke(cli, [*words, "--project-dir", str(root)])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.replace(record_of(root).id, "BUILD"))


def test_pages_of_the_demo_are_the_same_by_spark(small_demo: Path, by_spark: Path) -> None:
    sites = [(root / "warehouse/current").resolve() for root in (small_demo, by_spark)]
    pages = [
        {
            path.relative_to(build / "site"): path.read_bytes().replace(build.name.encode(), b"BUILD")
            for path in (build / "site").rglob("*")
            if path.is_file() and path.name != "fingerprint"
        }
        for build in sites
    ]
    assert len(pages[0]) > 500
    assert [path for path in pages[0] if pages[0][path] != pages[1].get(path)] == []
    assert pages[0].keys() == pages[1].keys()
