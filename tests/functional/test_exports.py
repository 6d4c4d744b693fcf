"""kpi export: every format, read back by the programs it is for, is the build; and whatever texts say stays text."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import openpyxl
import pandas as pd
import pytest
from click.testing import CliRunner
from frictionless import Package
from jsonstat_validator import validate_jsonstat
from pyjstat import pyjstat
from pysdmx.io import read_sdmx
from pysdmx.io.json.sdmxjson2.messages.structure import JsonStructureMessage

import kpi
from kpi.cli.main import cli
from kpi.errors import ConfigError
from kpi.jobs.options import Options
from kpi.jobs.refresh import refresh
from kpi.reader.figures_export import ExportOptions, export_figures
from kpi.site.statistics import code_of
from kpi.warehouse.builds import Warehouse, publish
from small_project import write

COMMAND, SCRIPT, BROKEN = "=cmd|' /C calc'!A0", "<script>alert(1)</script>", "two\nlines"
FIGURES = f"""\
figure_id,family,name_fi,name_sv,name_en,definition_en,unit,decimals,source
answered,../calls,=1+2,{SCRIPT},"Answered, in time",All.,percent,0,Report
waits,calls,"Odotus
aika",+46 1,@waits,-All.,seconds,0,Report
"""
SERVICES = f"""\
figure_id,service,service_name_fi,service_name_sv,service_name_en
answered,"{COMMAND}",{COMMAND},{COMMAND},{COMMAND}
answered,{SCRIPT},{SCRIPT},{SCRIPT},{SCRIPT}
waits,"{BROKEN}","{BROKEN}","{BROKEN}","{BROKEN}"
"""
INDICATORS = f"""\
select figure_id, service, report_year, 'calendar_year' as basis, cast(value as double) as value,
    1 as event_count, cast(value as double) as numerator, 1.0::double as denominator
from (values ('answered', '{COMMAND.replace("'", "''")}', 2024, 99.793), ('answered', '{SCRIPT}', 2024, 0.2),
    ('answered', '{SCRIPT}', 2025, 12345.678901234567), ('waits', '{BROKEN.replace(chr(10), "' || chr(10) || '")}', 2025, null),
    ('waits', '{BROKEN.replace(chr(10), "' || chr(10) || '")}', 2024, -3.0))
    as t(figure_id, service, report_year, value)
"""  # noqa: E501
SERIES = """\
select figure_id, service, report_year, cast(3 as bigint) as month, value, true as is_break
from {{ ref('indicators') }}
"""
PUBLIC = """\
{{ config(tags=['public']) }}
select figure_id, service, report_year, basis, case when report_year = 2024 then value end as value,
    report_year = 2025 as is_suppressed
from {{ ref('indicators') }}
"""
PUBLICATION = """\
key,value_fi,value_sv,value_en
title,Luvut,Tal,Numbers
publisher,Alue,Område,County
publisher_id,county,county,county
region_code,10,10,10
region,Alue,Område,County
licence,CC BY,CC BY,CC BY
licence_id,CC-BY-4.0,CC-BY-4.0,CC-BY-4.0
"""
CODES = """\
list,code,sort_order,name_fi,name_sv,name_en,sdmx_code
unit,percent,10,prosenttia,procent,percent,PT
basis,calendar_year,10,kalenterivuosi,kalenderår,calendar year,
"""
KEY = ["figure_id", "service", "report_year", "basis"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose names are hostile, published. Tests must not change it."""
    root = tmp_path_factory.mktemp("project")
    seeds = {"figures": FIGURES, "figure_services": SERVICES, "publication": PUBLICATION, "code_lists": CODES}
    models = {"indicators": INDICATORS, "monthly_series": SERIES, "public_indicators": PUBLIC}
    write(root, {f"seeds/{name}.csv": text for name, text in seeds.items()})
    write(root, {f"models/marts/{name}.sql": text for name, text in models.items()})
    (root / "warehouse/raw/calls").mkdir(parents=True)
    (root / "warehouse/raw/calls/a.csv").write_text("call_id,line,waited_seconds,arrived_on\n1,health,3,2024-01-01\n")
    build = refresh(root, Options(date(2026, 3, 5), validate=False), lambda _: None).build
    publish(Warehouse(root / "warehouse"), root / "warehouse/builds" / build)  # unjudged
    return root


@pytest.fixture(scope="module")
def out(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every format of that build."""
    folder = tmp_path_factory.mktemp("exports") / "out"
    export_figures(root, folder, ExportOptions())
    return folder


def mart(root: Path, table: str = "marts.indicators") -> pd.DataFrame:
    with kpi.open(project_dir=root) as con:
        return con.execute(f"from {table} order by all").df()


def same(found: pd.DataFrame, wanted: pd.DataFrame, rtol: float = 0) -> None:
    by = list(wanted.columns)
    found, wanted = (frame[by].sort_values(by).reset_index(drop=True) for frame in (found, wanted))
    pd.testing.assert_frame_equal(found, wanted, check_dtype=False, rtol=rtol, atol=0)


def test_csv_has_the_marts_and_no_formula(root: Path, out: Path) -> None:
    found = pd.read_csv(out / "indicators.csv")
    assert set(found["service"]) == {f"'{COMMAND}", SCRIPT, BROKEN}
    found["service"] = found["service"].str.removeprefix("'")
    same(found, mart(root))
    finnish = pd.read_csv(out / "indicators.fi.csv", sep=";", decimal=",", encoding="utf-8-sig")
    finnish["service"] = finnish["service"].str.removeprefix("'")
    same(finnish, mart(root))
    assert pd.read_csv(out / "definitions.csv")["name_fi"].tolist() == ["'=1+2", "Odotus\naika"]


def test_parquet_has_the_marts_and_texts_as_they_are(root: Path, out: Path) -> None:
    same(pd.read_parquet(out / "indicators.parquet"), mart(root))
    same(pd.read_parquet(out / "series.parquet"), mart(root, "marts.monthly_series"))


def sheet(book: Any, name: str) -> pd.DataFrame:
    rows = list(book[name].iter_rows(min_row=3, values_only=True))
    return pd.DataFrame(rows[1:], columns=rows[0])


def test_the_workbook_has_the_marts_a_table_a_sheet_and_no_formula(root: Path, out: Path) -> None:
    book = openpyxl.load_workbook(out / "figures.xlsx")
    assert book.sheetnames == ["Cover", "Contents", "Notes", "Figures", "Months", "Definitions", "Codes"]
    assert [list(page.tables) for page in book][1:4] == [["t_contents"], ["t_notes"], ["t_indicators"]]
    cells = [cell for page in book for row in page.iter_rows() for cell in row]
    assert [cell.coordinate for cell in cells if cell.data_type == "f" or cell.hyperlink] == []
    assert [page.title for page in book if page.merged_cells.ranges] == []
    found = sheet(book, "Figures")
    assert list(found.columns[:4]) == ["Figure name", "Service name", "Unit name", "Period name"]
    assert set(found["Figure name"]) == {"Answered, in time", "@waits"}
    assert set(found["Service name"]) == {COMMAND, SCRIPT, BROKEN}
    assert (found["value"] == "[x]").sum() == 1
    # A workbook has 16 digits of a number.
    found["value"] = [None if value == "[x]" else float(value) for value in found["value"]]
    same(found, mart(root), rtol=1e-15)
    # Shown as the figure is; 99.793 is not 100 and 0.2 is not 0.
    shown = {str(row[8].value)[:8]: row[8].number_format for row in book["Figures"].iter_rows(min_row=4)}
    assert (shown["99.793"], shown["0.2"], shown["12345.67"]) == ("#,##0.0", "#,##0.0", "#,##0")
    with zipfile.ZipFile(out / "figures.xlsx") as parts:
        assert not any("externalLink" in name for name in parts.namelist())


def test_json_stat_has_the_marts_a_family_a_dataset(root: Path, out: Path) -> None:
    collection = json.loads((out / "json-stat.json").read_text())
    files = [item["href"] for item in collection["link"]["item"]]
    assert files == ["json-stat-___calls.json", "json-stat-calls.json"]
    assert all(validate_jsonstat(json.loads((out / name).read_text())) for name in files)
    for item in collection["link"]["item"]:  # files lie beside each other; the validator takes whole addresses alone
        item["href"] = f"https://example.org/{item['href']}"
    assert validate_jsonstat(collection)
    frames = []
    for file in files:
        content = json.loads((out / file).read_text())
        assert content["role"] == {"time": ["year"], "metric": ["figure"], "geo": ["region"]}
        frames.append(pyjstat.Dataset.read((out / file).read_text()).write("dataframe", naming="id"))
    found = pd.concat(frames).dropna(subset="value").rename(columns={"figure": "figure_id", "year": "report_year"})
    assert set(found["region"]) == {"10"}
    found["report_year"] = found["report_year"].astype(int)
    same(found[[*KEY, "value"]], mart(root).dropna(subset="value")[[*KEY, "value"]])
    first = json.loads((out / files[0]).read_text())
    assert first["dimension"]["figure"]["category"]["unit"] == {"answered": {"label": "percent", "decimals": 0}}
    assert first["extension"]["unit_codes"] == {"answered": "PT"}


def test_sdmx_has_the_marts_and_a_structure_that_names_every_code(root: Path, out: Path) -> None:
    dataset: Any
    (dataset,) = read_sdmx((out / "sdmx.csv").read_text(), validate=False).data or ()
    decoder = msgspec.json.Decoder(JsonStructureMessage)
    structures = decoder.decode((out / "sdmx-structure.json").read_bytes()).to_model()
    (definition,) = structures.get_data_structure_definitions()
    frame = dataset.data
    assert dataset.structure == "Dataflow=COUNTY:FIGURES(1.0.0)"
    assert {component.id for component in definition.components} == set(frame.columns)
    for component in definition.components:
        if component.enumeration:
            assert set(frame[component.id].astype(str)) <= {code.id for code in component.enumeration}, component.id
    services = next(component for component in definition.components if component.id == "SERVICE").enumeration
    names = {code.id: code.name for code in services or ()}
    assert names == {code_of(name): name for name in (COMMAND, SCRIPT, BROKEN)}
    yearly = frame[frame["FREQ"] == "A"]
    found = pd.DataFrame(
        {
            "figure_id": yearly["FIGURE"],
            "service": yearly["SERVICE"].map(names),
            "report_year": yearly["TIME_PERIOD"].astype(int),
            "value": yearly["OBS_VALUE"].astype(float),
        }
    )
    same(found, mart(root)[["figure_id", "service", "report_year", "value"]])
    assert yearly[yearly["OBS_VALUE"].astype(float).isna()]["OBS_STATUS"].tolist() == ["O"]
    assert set(frame[frame["FREQ"] == "M"]["TIME_PERIOD"]) == {"2024-03", "2025-03"}


def test_the_data_package_is_valid_with_its_keys_and_checksums(out: Path) -> None:
    report = Package(str(out / "datapackage.json")).validate()
    assert report.valid, report.flatten(["message"])
    content = json.loads((out / "datapackage.json").read_text())
    assert content["licenses"] == [{"name": "CC-BY-4.0", "title": "CC BY"}]
    indicators = content["resources"][0]
    assert indicators["schema"]["primaryKey"] == KEY
    (out / "datapackage.json").with_name("indicators.csv").read_bytes()
    fields = {one["name"]: one["type"] for one in indicators["schema"]["fields"]}
    assert (fields["value"], fields["report_year"], fields["service"]) == ("number", "integer", "string")


def test_the_same_build_gives_the_same_bytes_and_takes_the_place_of_what_was_there(root: Path, tmp_path: Path) -> None:
    export_figures(root, tmp_path / "out", ExportOptions(lang="fi"))
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (tmp_path / "out/mine.txt").write_text("mine")
    export_figures(root, tmp_path / "out", ExportOptions(lang="fi"))
    again = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert again == first | {"mine.txt": b"mine"}
    export_figures(root, tmp_path / "out", ExportOptions(("parquet",)))
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert {name for name in left if name.endswith((".csv", ".xlsx", "package.json"))} == set()
    (tmp_path / "out/figures.xlsx").write_text("somebody's")
    with pytest.raises(ConfigError, match=r"figures.xlsx in .* is not of kpi's writing"):
        export_figures(root, tmp_path / "out", ExportOptions(("xlsx",)))
    assert (tmp_path / "out/figures.xlsx").read_text() == "somebody's"


def test_public_files_are_of_public_tables_alone(root: Path, tmp_path: Path) -> None:
    export_figures(root, tmp_path / "out", ExportOptions(is_public=True))
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert [name for name in files if name.startswith(("series", "definitions", "codes"))] == []
    with zipfile.ZipFile(io.BytesIO(files["figures.xlsx"])) as parts:
        files |= {name: parts.read(name) for name in parts.namelist()}
    # What is hidden stands in no file, be it as text or packed.
    assert [name for name, content in files.items() if b"12345.67" in content] == []
    found = sheet(openpyxl.load_workbook(tmp_path / "out/figures.xlsx"), "Figures")
    assert sorted(found[found["is_suppressed"]]["value"]) == ["[c]", "[c]"]
    status = pd.read_csv(tmp_path / "out/sdmx.csv").groupby("CONF_STATUS")["OBS_STATUS"].unique().map(list).to_dict()
    assert status == {"C": ["Q"], "F": ["A"]}
    content = json.loads((tmp_path / "out/json-stat-figures.json").read_text())
    assert set(content["status"].values()) == {"c"}


def run(*words: str) -> str:
    return CliRunner().invoke(cli, words, catch_exceptions=False).output


def test_names_are_text_on_the_screen_too(root: Path) -> None:
    for words in ((), ("--all",), ("--year", "2024", "--all", "--lang", "fi")):
        lines = run("show", *words, "--project-dir", str(root)).splitlines()
        assert max(map(len, lines)) <= 80
        assert "lines" not in lines
        assert any(BROKEN.replace("\n", "\\n") in line for line in lines)
    header, *rows = csv.reader(io.StringIO(run("show", "--csv", "--project-dir", str(root))))
    assert {row[header.index("service")] for row in rows} == {f"'{COMMAND}", SCRIPT, BROKEN}
    content = json.loads(run("show", "--json", "--project-dir", str(root)))
    assert {figure["service"] for figure in content["figures"]} == {COMMAND, SCRIPT, BROKEN}


def test_the_command_says_what_it_wrote(root: Path, tmp_path: Path) -> None:
    text = run("export", str(tmp_path / "out"), "--format", "csv", "--project-dir", str(root))
    assert [line.partition(":")[0] for line in text.splitlines()] == [
        "codes.csv",
        "definitions.csv",
        "indicators.csv",
        "series.csv",
    ]
    assert "is for --public" in run("export", str(tmp_path / "out"), "--include-unfinished-years")
    write(tmp_path / "other")
    with pytest.raises(ConfigError, match="nothing is published here yet"):
        export_figures(tmp_path / "other", tmp_path / "out2", ExportOptions())
    assert not (tmp_path / "out2").exists()


def test_an_empty_build_gives_empty_files_and_one_without_figures_says_so(tmp_path: Path) -> None:
    empty = INDICATORS.replace("select figure_id", "select * from (select figure_id", 1) + ") where false"
    root = write(tmp_path / "project", {"models/marts/indicators.sql": empty})
    for name in ("indicators", "nothing"):
        (root / "warehouse/raw/calls").mkdir(parents=True, exist_ok=True)
        if name == "nothing":
            (root / "models/marts/indicators.sql").unlink()
        build = refresh(root, Options(date(2026, 3, 5), validate=False), lambda _: None).build
        publish(Warehouse(root / "warehouse"), root / "warehouse/builds" / build)
        if name == "indicators":
            export_figures(root, tmp_path / "out", ExportOptions())
            assert Package(str(tmp_path / "out/datapackage.json")).validate().valid
            assert json.loads((tmp_path / "out/json-stat.json").read_text())["link"] == {"item": []}
            assert sheet(openpyxl.load_workbook(tmp_path / "out/figures.xlsx"), "Figures")["value"].tolist() == []
            assert (tmp_path / "out/sdmx.csv").read_text().count("\n") == 1
    with pytest.raises(ConfigError, match=r"no table marts.indicators, so there are no figures"):
        export_figures(root, tmp_path / "out", ExportOptions())
