"""What a notebook gets: frames that name their build, charts without script, and `%%sql` that follows a publish."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import polars
import pyarrow as pa
import pytest
from IPython.core.interactiveshell import InteractiveShell

import kpi
from kpi.errors import ConfigError
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from kpi.warehouse.builds import Warehouse, publish
from small_project import write

HOSTILE = "<script>alert(1)</script>"
FIGURES = f"""\
figure_id,family,name_fi,name_sv,name_en,definition_en,unit,decimals,source
waits,calls,Odotus,{HOSTILE},Waits,All.,seconds,0,Report
"""
SERIES = f"""\
select 'waits' as figure_id, s as service, 2024 + y as report_year, cast(m as bigint) as month,
    cast(case when m = 5 then null else 60.0 * m + y end as double) as value, m = 1 as is_break
from (values ('health'), ('{HOSTILE}')) as t(s), generate_series(0, 1) as u(y), generate_series(1, 12) as v(m)
"""
INDICATORS = """\
select figure_id, service, report_year, 'calendar_year' as basis, sum(value) as value, count(*) as event_count,
    sum(value) as numerator, 1.0::double as denominator
from {{ ref('monthly_series') }}
group by figure_id, service, report_year
"""
BREAKS = f"""\
select 'waits' as figure_id, 'health' as service, date '2025-01-01' as starts_on, 'scope' as kind,
    'Laajeni. {HOSTILE}' as reason_fi, 'Larger. {HOSTILE}' as reason_en
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with months, published."""
    root = tmp_path_factory.mktemp("project")
    models = {"monthly_series": SERIES, "indicators": INDICATORS, "comparability_breaks": BREAKS}
    write(root, {f"models/marts/{name}.sql": text for name, text in models.items()} | {"seeds/figures.csv": FIGURES})
    (root / "warehouse/raw/calls").mkdir(parents=True)
    put(root, "1,health,3,2024-01-01\n")
    return root


def put(root: Path, rows: str) -> str:
    """Deliver calls and publish what comes of it, unjudged."""
    (root / "warehouse/raw/calls/a.csv").write_text(f"call_id,line,waited_seconds,arrived_on\n{rows}")
    build = refresh(root, Options(date(2026, 3, 5), validate=False), lambda _: None).build
    publish(Warehouse(root / "warehouse"), root / "warehouse/builds" / build)
    return build


def test_frames_of_each_kind_have_the_same_rows_and_name_their_build(root: Path) -> None:
    build = Warehouse(root / "warehouse").published()
    frame = kpi.indicators(2025, project_dir=root)
    assert frame.attrs["build"] == build
    arrow = kpi.indicators(2025, project_dir=root, as_="arrow")
    assert isinstance(arrow, pa.Table)
    assert arrow.schema.metadata[b"build"] == build.encode()
    other = kpi.indicators(2025, project_dir=root, as_="polars")
    assert isinstance(other, polars.DataFrame)
    assert other.build == build
    assert frame.to_dict("list") == arrow.to_pydict() == other.to_dict(as_series=False)
    with pytest.raises(ConfigError, match=r"no frames as_='panda'. Did you mean 'pandas'"):
        kpi.indicators(2025, project_dir=root, as_="panda")  # type: ignore[arg-type]


def test_names_are_of_a_language_and_services_are_chosen(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = kpi.indicators(2025, project_dir=root, lang="fi", services=["health"])
    assert frame[["name", "service_name", "unit", "shown"]].to_numpy().tolist() == [
        ["Odotus", "health", "seconds", 4391]
    ]
    assert "name" not in kpi.indicators(2025, project_dir=root).columns
    monkeypatch.setenv("KPI_LANG", "en")
    assert kpi.indicators(2025, project_dir=root)["name"].tolist() == ["Waits", "Waits"]
    with pytest.raises(ConfigError, match=r"no language 'de'"):
        kpi.indicators(lang="de", project_dir=root)
    with pytest.raises(ConfigError, match=r"no service 'helth'. Did you mean 'health'"):
        kpi.indicators(services=["helth"], project_dir=root)


def test_months_have_their_breaks_with_the_reason(root: Path) -> None:
    frame = kpi.series("waits", "health", project_dir=root, lang="fi")
    assert len(frame) == 24
    assert frame["value"].isna().sum() == 2
    broken = frame[frame["is_break"]]
    assert [f"{month:%Y-%m}" for month in broken["month"]] == ["2024-01", "2025-01"]
    assert broken["break_reason"].tolist()[1] == f"Laajeni. {HOSTILE}"
    assert len(kpi.series("waits", project_dir=root)) == 48
    with pytest.raises(ConfigError, match=r"'wait' has no months. Did you mean 'waits'"):
        kpi.series("wait", project_dir=root)
    with pytest.raises(ConfigError, match=r"'waits' has no months for 'social'"):
        kpi.series("waits", "social", project_dir=root)


def test_a_plot_is_svg_with_the_months_and_no_text_is_live_in_it(root: Path) -> None:
    chart = kpi.plot("waits", project_dir=root, lang="sv")
    page = ElementTree.fromstring(chart._repr_html_())
    assert page.find(".//{*}script") is None
    svg = page.find("{*}svg")
    assert svg is not None
    assert HOSTILE in "".join(svg.itertext())
    drawn = [path for path in svg.findall("{*}path") if path.get("fill") == "none"]
    assert len(drawn) == 2
    # Two years of eleven months, a gap in each.
    assert "".join(re.findall("[ML]", str(drawn[0].get("d")))) == "MLLL" + "MLLLLLLLLLL" + "MLLLLLL"
    assert {"5 min", "10 min"} <= {text.replace("\u00a0", " ") for text in svg.itertext()}
    spec = json.loads(json.dumps(chart.altair().to_dict(), default=str))
    assert len(spec["data"]["values"]) == 48
    with pytest.raises(ConfigError, match="has no months for 'social'"):
        kpi.plot("waits", "social", project_dir=root)


def test_builds_are_listed(root: Path) -> None:
    frame = kpi.builds(project_dir=root)
    assert frame["build"].tolist()[-1] == Warehouse(root / "warehouse").published()
    assert frame["is_current"].sum() == 1


@pytest.fixture
def shell(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    monkeypatch.setenv("KPI_PROJECT_DIR", str(root))
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "kpi")
    yield shell
    shell.run_line_magic("unload_ext", "kpi")
    InteractiveShell.clear_instance()


def cell(shell: Any, line: str, sql: str) -> Any:
    return shell.run_cell_magic("sql", line, sql)


def test_a_cell_binds_variables_and_follows_a_publish(
    shell: InteractiveShell, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = "select count(*) as calls from raw.calls where line = $line"
    shell.user_ns["line"] = "health' or true --"
    assert cell(shell, "", count)["calls"].tolist() == [0]
    shell.user_ns["line"] = "health"
    first = cell(shell, "", count)
    assert first["calls"].tolist() == [1]
    build = put(root, "1,health,3,2024-01-01\n2,health,4,2024-01-01\n")
    assert cell(shell, "-o frame --polars", count) is None
    frame = shell.user_ns["frame"]
    assert frame["calls"].to_list() == [2]
    assert (frame.build, first.attrs["build"] < build) == (build, True)
    assert capsys.readouterr().out == f"now reading {build}\n"
    old = first.attrs["build"]
    assert cell(shell, f"--build {old}", count)["calls"].tolist() == [1]
    assert shell.run_line_magic("sql", "select 1 as one")["one"].tolist() == [1]


@pytest.mark.parametrize(
    ("line", "sql", "message"),
    [
        ("", "select $nothing", r"no variable 'nothing' for \$nothing"),
        ("", "select 1; select 2", "takes one statement"),
        ("--polar", "select 1", r"no option --polar. Did you mean '--polars'"),
        ("-o 1x", "select 1", "'1x' is no name of a variable"),
        ("select 1", "select 2", "takes options on its line"),
        ("", "create table marts.mine as select 1", "read-only"),
        ("", "select * from '/etc/passwd'", "(?i)disabled|permission|not exist"),
    ],
)
def test_a_cell_that_cannot_run_says_why(shell: InteractiveShell, line: str, sql: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cell(shell, line, sql)
