"""What leaves the house holds the tagged tables and nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner
from test_diff import build, deliver

from killed import killed_at
from kpi.cli.main import cli
from kpi.engine.nodes import compile_project
from kpi.errors import ConfigError, KpiError
from kpi.project.project import load_project
from kpi.reader import export, public_writer
from kpi.reader.export import LIST, public_nodes, write_public
from kpi.reader.public_writer import PUBLIC_DATABASE
from kpi.warehouse.builds import Warehouse
from small_project import write

MART = "{{ config(tags=['public']) }}\nselect line, call_count, '=cmd()' as note from {{ ref('calls_by_line') }}\n"


ACCEPTED = """\
models:
  - name: {model}
    columns: [{{name: line, data_tests: [{{accepted_values: {{arguments: {{values: [health, new]}}}}}}]}}]
"""


def publish(root: Path, folder: Path) -> list[tuple[str, int]]:
    graph = compile_project(load_project(root))
    return [(table.table, table.rows) for table in write_public(Warehouse(root / "warehouse"), graph, folder)]


@pytest.fixture
def written_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are written by this process and not by a fresh one, which takes longer than all else of a test."""

    def write_files(source: Path, folder: Path, tables: Sequence[Mapping[str, str]]) -> list[int]:
        return public_writer.write_files(source.resolve(), folder, [dict(table) for table in tables])

    monkeypatch.setattr(export, "_written", write_files)


def test_only_tagged_tables_leave_the_house(tmp_path: Path) -> None:
    root = write(tmp_path / "project", {"models/marts/open_calls.sql": MART})
    deliver(root, "SECRET-1,health,3,2024-01-01\nSECRET-2,social,5,2024-01-03\n")
    build(root)
    out = tmp_path / "out"
    assert publish(root, out) == [("marts.open_calls", 2)]
    assert sorted(path.name for path in out.iterdir()) == [PUBLIC_DATABASE, LIST, "open_calls.csv", "open_calls.fi.csv"]
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


@pytest.mark.usefixtures("written_here")
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
    figures = {f"marts.public_{name}" for name in ("indicators", "monthly_series", "changes")}
    assert set(tables) == {*figures, "marts.comparability_breaks", "marts.figure_catalogue"}
    with duckdb.connect(tmp_path / "out" / PUBLIC_DATABASE, read_only=True) as con:
        for table in ("indicators", "monthly_series"):
            shown = f"select count(*) from marts.public_{table} where is_suppressed and value is not null"
            assert con.execute(shown).fetchall() == [(0,)]
    assert all(rows > 0 for rows in tables.values())


def test_a_query_as_csv_has_no_live_formula(tmp_path: Path) -> None:
    root = write(tmp_path)
    deliver(root, "1,health,3,2024-01-01\n")
    build(root)
    sql = "select '=cmd()' as a, '@x' as b, '+1' as c, -1 as d, 'plain' as e"
    result = CliRunner().invoke(cli, ["query", "--csv", "--project-dir", str(root), sql])
    assert result.output == "a,b,c,d,e\n'=cmd(),'@x,'+1,-1,plain\n"


CODE, PHONE = "131052-308T", "040 765 4321"
ONE = "1,health,3,2024-01-01\n"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def built(root: Path, rows: str = ONE, files: Mapping[str, str | bytes | None] | None = None) -> Path:
    """The small project with a public table, built of these rows."""
    write(root, {"models/marts/open_calls.sql": MART, **(files or {})})
    deliver(root, rows)
    build(root)
    return root


@pytest.mark.usefixtures("written_here")
@pytest.mark.parametrize("value", [CODE, PHONE, "call me", "x@example.fi", "131052 – 308t"])
def test_a_text_of_a_delivery_that_no_list_names_stops_it_and_leaves_what_was_there(value: str, tmp_path: Path) -> None:
    root = built(tmp_path / "project", files={"models/staging/calls.yml": OPEN})
    publish(root, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    built(root, f"{ONE}2,{value},5,2024-01-03\n", {"models/staging/calls.yml": OPEN})
    with pytest.raises(ConfigError) as stopped:
        publish(root, tmp_path / "out")
    message = str(stopped.value)
    assert "marts.open_calls.line: 1 value in 1 row" in message
    assert "accepted_values" in message
    assert (value in message) == (value == "call me")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    result = CliRunner().invoke(cli, ["publish", "--public", str(tmp_path / "new"), "--project-dir", str(root)])
    assert isinstance(result.exception, ConfigError)
    assert names(tmp_path / "new") == [] if (tmp_path / "new").exists() else True


OPEN = """\
sources:
  - name: raw
    tables:
      - name: calls
        config: {meta: {feed: {key: [call_id]}}}
        columns:
          - {name: call_id, data_type: varchar, config: {meta: {required: true}}}
          - {name: line, data_type: varchar}
          - {name: waited_seconds, data_type: bigint}
          - {name: arrived_on, data_type: date}
"""


def mart(select: str) -> dict[str, str]:
    return {"models/marts/open_calls.sql": f"{{{{ config(tags=['public']) }}}}\n{select}\n"}


@pytest.mark.usefixtures("written_here")
@pytest.mark.parametrize(
    ("files", "is_let_through"),
    [
        ({}, False),
        ({"seeds/lines.csv": "line,name_en\nhealth,Health line\nnew,New\n"}, True),
        ({"models/marts/marts.yml": ACCEPTED.format(model="open_calls")}, True),
        ({"models/marts/marts.yml": ACCEPTED.format(model="calls_by_line")}, True),  # that it is made from
        (mart("select 'a ' || line as line from {{ ref('calls_by_line') }}"), False),
        (mart("select [line] as line from {{ ref('calls_by_line') }}"), False),
        (mart("select max(call_id) as one from {{ ref('stg_calls') }}"), False),
        (mart("select 'said by the model' as line, count(*) as n from {{ ref('stg_calls') }}"), True),
        (mart("select 'soita 040 123 4567' as line"), False),
        (
            mart("select name_en from {{ ref('lines') }}")
            | {"seeds/lines.csv": "line,name_en\nhealth,Call 0800 123 456\n"},
            True,
        ),
        (mart("select name_en from {{ ref('lines') }}") | {"seeds/lines.csv": f"line,name_en\nhealth,{CODE}\n"}, False),
    ],
)
def test_closed_lists_are_seeds_accepted_values_and_what_the_sql_says(
    files: dict[str, str], is_let_through: bool, tmp_path: Path
) -> None:
    root = built(tmp_path / "project", "1,new,3,2024-01-01\n", {"models/staging/calls.yml": OPEN, **files})
    if is_let_through:
        assert publish(root, tmp_path / "out")
        return
    with pytest.raises(ConfigError, match=r"Not published, for texts .*\n  marts\.open_calls\."):
        publish(root, tmp_path / "out")


@pytest.mark.usefixtures("written_here")
def test_an_identity_code_in_a_comment_or_a_name_stops_it(tmp_path: Path) -> None:
    described = f"models:\n  - name: open_calls\n    description: kysy {CODE}\n"
    root = built(tmp_path / "project", files={"models/marts/marts.yml": described})
    with pytest.raises(ConfigError, match=r"kpi-public\.duckdb would hold an identity code"):
        publish(root, tmp_path / "out")
    named = {
        "models/marts/marts.yml": None,
        "models/marts/open_calls.sql": f"{{{{ config(tags=['public']) }}}}\nselect 1 as \"{CODE}\"\n",
    }
    built(root, files=named)
    with pytest.raises(ConfigError, match="would hold an identity code"):
        publish(root, tmp_path / "out")
    assert names(tmp_path) == ["project"]


@pytest.mark.usefixtures("written_here")
def test_what_is_no_longer_public_goes_and_what_others_put_there_stays(tmp_path: Path) -> None:
    second = {"models/marts/second.sql": "{{ config(tags=['public']) }}\nselect line from {{ ref('lines') }}\n"}
    root, out = built(tmp_path / "project", files=second), tmp_path / "out"
    publish(root, out)
    assert {"second.csv", "second.fi.csv"} <= set(names(out))
    (out / "index.html").write_text("theirs")
    (out / "second.txt").write_text("theirs")
    inode = (out / "index.html").stat().st_ino
    built(root, files={"models/marts/second.sql": None})
    publish(root, out)
    kept = [PUBLIC_DATABASE, LIST, "open_calls.csv", "open_calls.fi.csv"]
    assert names(out) == sorted([*kept, "index.html", "second.txt"])
    assert (out / "index.html").stat().st_ino == inode
    # A folder or a link cannot be in two places at once: then one file is replaced after the other.
    (out / ".git").mkdir()
    (out / ".git/config").write_text("theirs")
    (out / "link").symlink_to("nowhere")
    built(root, files=second)
    publish(root, out)
    assert names(out) == sorted([*kept, "second.csv", "second.fi.csv", "index.html", "second.txt", ".git", "link"])
    assert (out / ".git/config").read_text() == "theirs"
    # Theirs were not taken for kpi's own in doing so, which would remove them the next time.
    publish(root, out)
    assert {"index.html", "second.txt"} <= set(names(out))
    assert names(tmp_path) == ["out", "project"]


@pytest.mark.usefixtures("written_here")
def test_an_earlier_kpis_files_are_known_by_their_database(tmp_path: Path) -> None:
    root, out = built(tmp_path / "project"), tmp_path / "out"
    out.mkdir()
    with duckdb.connect(out / PUBLIC_DATABASE) as con:
        con.execute("create schema marts; create table marts.retired (a int); create table marts.open_calls (a int)")
    for name in ("retired.csv", "open_calls.csv", "theirs.csv"):
        (out / name).write_text("a\n")
    publish(root, out)
    assert names(out) == sorted([PUBLIC_DATABASE, LIST, "open_calls.csv", "open_calls.fi.csv", "theirs.csv"])


@pytest.mark.usefixtures("written_here")
def test_a_file_of_others_is_never_overwritten_and_one_that_they_changed_stays(tmp_path: Path) -> None:
    second = {"models/marts/second.sql": "{{ config(tags=['public']) }}\nselect line from {{ ref('lines') }}\n"}
    root, out = built(tmp_path / "project", files=second), tmp_path / "out"
    out.mkdir()
    (out / "second.csv").write_text("theirs")
    with pytest.raises(ConfigError, match=r"second\.csv in .* is not of kpi's writing"):
        publish(root, out)
    assert names(out) == ["second.csv"]
    assert names(tmp_path) == ["out", "project"]
    (out / "second.csv").unlink()
    publish(root, out)
    (out / "second.csv").write_text("changed by hand")
    built(root, files={"models/marts/second.sql": None})
    publish(root, out)
    assert "second.csv" in names(out)
    assert "second.fi.csv" not in names(out)


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("step", range(18))
def test_whenever_it_is_cut_short_no_mixture_is_left(
    step: int, others: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each of its steps in turn, whatever fails or is killed: what lies there is of one time."""
    out = tmp_path / "out"
    with export.replaced(out) as staged:
        for name in ("a.csv", "b.csv"):
            (staged / name).write_text("old")
    if others:
        (out / "theirs").mkdir()
    with killed_at(step, monkeypatch), export.replaced(out) as staged:
        for name in ("b.csv", "c.csv"):
            (staged / name).write_text("new")
    texts = {path.read_text() for path in out.glob("*.csv")}
    assert len(texts) <= 1
    if not others:
        assert names(out) in (["a.csv", "b.csv", LIST], ["b.csv", "c.csv", LIST])
    with export.replaced(out) as staged:  # and the next time all is well
        (staged / "d.csv").write_text("next")
    assert names(out) == sorted(["d.csv", LIST, *(["theirs"] if others else [])])
    assert names(tmp_path) == ["out"]


def test_other_programs_can_read_it(tmp_path: Path) -> None:
    select = """\
select 1.5::decimal(6, 2) as amount, -2.25::double as share, 7 as whole, true as is_so, date '2025-03-05' as day, text
from (select unnest(['=a', '+1', '-1', '@x', chr(9) || 'y', chr(10) || 'z', '＝1', 'ä;b', 'plain']) as text)
"""
    root, out = built(tmp_path / "project", files=mart(select)), tmp_path / "out"
    publish(root, out)
    # The version of the format stands behind the magic: 64 is that of DuckDB 0.10 to 1.x, 67 and more is newer.
    assert (out / PUBLIC_DATABASE).read_bytes()[8:20] == b"DUCK" + (64).to_bytes(8, "little")
    finnish = (out / "open_calls.fi.csv").read_bytes()
    assert finnish.startswith("\ufeffamount;share;whole;is_so;day;text\n".encode())
    lines = finnish.decode("utf-8-sig").split("\n")
    assert "1,50;-2,25;7;true;2025-03-05;plain" in lines
    assert '1,50;-2,25;7;true;2025-03-05;"ä;b"' in lines
    for form in ("open_calls.csv", "open_calls.fi.csv"):
        text = (out / form).read_text(encoding="utf-8-sig")
        for start in ("=a", "+1", "-1", "@x", "\ty", "\nz", "＝1"):
            assert f"'{start}" in text
        assert text.count("'") == 7


def test_a_fresh_process_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = built(tmp_path / "project")
    commands: list[list[str]] = []
    run = subprocess.run

    def noted(command: list[str], **given: object) -> object:
        commands.append(command)
        return run(command, **given)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", noted)
    publish(root, tmp_path / "out")
    assert commands == [[sys.executable, "-m", "kpi.reader.public_writer"]]
    first = (tmp_path / "out" / PUBLIC_DATABASE).read_bytes()[3 * 4096 :]
    publish(root, tmp_path / "out")
    assert (tmp_path / "out" / PUBLIC_DATABASE).read_bytes()[3 * 4096 :] == first
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(KpiError, match="the public files were not written"):
        publish(root, tmp_path / "out")
    assert len(names(tmp_path / "out")) == 4


UNFINISHED = """{{ config(tags=['public'], meta={'unfinished_rows': 'is_unfinished'}) }}
select line, call_count, line = 'health' as is_unfinished from {{ ref('calls_by_line') }}
"""


@pytest.mark.usefixtures("written_here")
def test_years_that_are_not_finished_leave_the_house_only_when_asked_for(tmp_path: Path) -> None:
    root = write(tmp_path / "project", {"models/marts/open_calls.sql": UNFINISHED})
    deliver(root, "1,health,3,2024-01-01\n2,social,5,2024-01-03\n")
    build(root)
    out = tmp_path / "out"
    asked = ["publish", "--public", str(out), "--project-dir", str(root)]
    assert CliRunner().invoke(cli, asked).output == "marts.open_calls: 1 row\n"
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
