"""What leaves the house holds the tagged tables and nothing else."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

from kpi.base.errors import ConfigError
from kpi.cli.main import cli
from kpi.compile.graph import compile_project
from kpi.parse.project import load_project
from kpi.read.public import PUBLIC_DATABASE, public_nodes, write_public
from kpi.warehouse.builds import Warehouse
from small_project import write
from test_diff import build, deliver

MART = "{{ config(tags=['public']) }}\nselect line, call_count, '=cmd()' as note from {{ ref('calls_by_line') }}\n"


def publish(root: Path, folder: Path) -> list[tuple[str, int]]:
    graph = compile_project(load_project(root))
    return [(table.table, table.rows) for table in write_public(Warehouse(root / "warehouse"), graph, folder)]


def test_only_tagged_tables_leave_the_house(tmp_path: Path) -> None:
    root = write(tmp_path / "project", {"models/marts/open_calls.sql": MART})
    deliver(root, "SECRET-1,health,3,2024-01-01\nSECRET-2,social,5,2024-01-03\n")
    build(root)
    out = tmp_path / "out"
    assert publish(root, out) == [("marts.open_calls", 2)]
    assert sorted(path.name for path in out.iterdir()) == [PUBLIC_DATABASE, "open_calls.csv"]
    # Not even as left-over bytes.
    assert all(b"SECRET" not in path.read_bytes() for path in out.iterdir())
    with duckdb.connect(out / PUBLIC_DATABASE, read_only=True) as con:
        assert con.execute("select schema_name, table_name from duckdb_tables()").fetchall() == [
            ("marts", "open_calls")
        ]
        assert con.execute("select note from marts.open_calls").fetchall() == [("=cmd()",)] * 2
        assert con.execute("select count(*) from duckdb_views() where not internal").fetchall() == [(0,)]
    assert (out / "open_calls.csv").read_text() == "line,call_count,note\nhealth,1,'=cmd()\nsocial,1,'=cmd()\n"
    assert not (out / PUBLIC_DATABASE).stat().st_mode & 0o222


def test_it_is_written_again_in_one_step(tmp_path: Path) -> None:
    root = write(tmp_path / "project", {"models/marts/open_calls.sql": MART})
    deliver(root, "1,health,3,2024-01-01\n")
    build(root)
    publish(root, tmp_path / "out")
    with duckdb.connect(tmp_path / "out" / PUBLIC_DATABASE, read_only=True) as reader:
        deliver(root, "1,health,3,2024-01-01\n2,social,3,2024-01-01\n")
        build(root)
        assert publish(root, tmp_path / "out") == [("marts.open_calls", 2)]
        assert reader.execute("select count(*) from marts.open_calls").fetchall() == [(1,)]


def test_rows_of_persons_cannot_be_tagged(tmp_path: Path) -> None:
    root = write(tmp_path)
    with pytest.raises(ConfigError, match="no model has the tag 'public'"):
        public_nodes(compile_project(load_project(root)))
    staging = "models/staging/stg_calls.sql"
    write(root, {staging: "{{ config(tags=['public']) }}\n" + (root / staging).read_text()})
    with pytest.raises(ConfigError, match=r"stg_calls.sql:2: 'stg_calls' has the tag 'public', but staging is not"):
        public_nodes(compile_project(load_project(root)))


def test_a_build_without_the_table_is_told(tmp_path: Path) -> None:
    root = write(tmp_path)
    deliver(root, "1,health,3,2024-01-01\n")
    build(root)
    write(root, {"models/marts/open_calls.sql": MART})
    with pytest.raises(ConfigError, match=r"the build has no table marts\.open_calls"):
        publish(root, tmp_path / "out")


def test_the_countys_public_tables(demo_project: Path, tmp_path: Path) -> None:
    tables = dict(publish(demo_project, tmp_path / "out"))
    assert set(tables) == {"marts.public_indicators", "marts.comparability_breaks", "marts.figure_catalogue"}
    with duckdb.connect(tmp_path / "out" / PUBLIC_DATABASE, read_only=True) as con:
        shown = "select count(*) from marts.public_indicators where is_suppressed and value is not null"
        assert con.execute(shown).fetchall() == [(0,)]
    assert all(rows > 0 for rows in tables.values())


def test_a_query_as_csv_has_no_live_formula(tmp_path: Path) -> None:
    root = write(tmp_path)
    deliver(root, "1,health,3,2024-01-01\n")
    build(root)
    sql = "select '=cmd()' as a, '@x' as b, '+1' as c, -1 as d, 'plain' as e"
    result = CliRunner().invoke(cli, ["query", "--csv", "--project-dir", str(root), sql])
    assert result.output == "a,b,c,d,e\n'=cmd(),'@x,'+1,-1,plain\n"


UNFINISHED = """{{ config(tags=['public'], meta={'unfinished_rows': 'is_unfinished'}) }}
select line, call_count, line = 'health' as is_unfinished from {{ ref('calls_by_line') }}
"""


def test_years_that_are_not_finished_leave_the_house_only_when_asked_for(tmp_path: Path) -> None:
    root = write(tmp_path / "project", {"models/marts/open_calls.sql": UNFINISHED})
    deliver(root, "1,health,3,2024-01-01\n2,social,5,2024-01-03\n")
    build(root)
    out = tmp_path / "out"
    asked = ["publish", "--public", str(out), "--project-dir", str(root)]
    assert CliRunner().invoke(cli, asked).output == "marts.open_calls: 1 rows\n"
    assert (out / "open_calls.csv").read_text(encoding="utf-8").splitlines()[1:] == ["social,1,false"]
    assert CliRunner().invoke(cli, [*asked, "--include-unfinished-years"]).output == "marts.open_calls: 2 rows\n"


def test_a_build_without_the_column_of_unfinished_rows_is_refused(tmp_path: Path) -> None:
    root = write(
        tmp_path / "project",
        {"models/marts/open_calls.sql": MART.replace("['public']", "['public'], meta={'unfinished_rows': 'is_open'}")},
    )
    deliver(root, "1,health,3,2024-01-01\n")
    build(root)
    with pytest.raises(ConfigError, match="has no boolean column 'is_open'"):
        publish(root, tmp_path / "out")
