"""kpi site: pages whose every number is the build's, in the report's own wording, the same from the same build."""

from __future__ import annotations

import csv
import filecmp
import html
import os
import re
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

from kpi.cli.main import cli
from kpi.presentation import LANGUAGES, Form, presented
from kpi.site.sentences import LABELS, read_language
from once import ROOT
from page import Page
from site_pages import Numbers, as_printed, database_of, numbers_of, write_again
from small_project import write

Key = tuple[str, str, int, str]


@pytest.fixture(scope="module")
def site(small_demo: Path) -> Path:
    return (small_demo / "warehouse/current/site").resolve()


@pytest.fixture(scope="module")
def printed(small_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of a build that has every printed figure as printed."""
    folder = tmp_path_factory.mktemp("printed")
    write_again(small_demo, folder / "site", as_printed(small_demo, folder))
    return folder / "site"


def read(path: Path) -> str:
    return Page(path.read_text(encoding="utf-8")).text().replace("\u00a0", " ")


def test_a_refresh_writes_the_site_beside_the_build(site: Path, small_demo: Path) -> None:
    for code in LANGUAGES:
        names = {path.name for path in (site / code).iterdir()}
        assert {"index.html", "report-2025.html", "report-2023.html", "figures.html", "quality.html"} <= names
        assert {"quality-2025.html", "data.html", "downloads.html", "about.html", "glossary.html"} <= names
        assert {"accessibility.html", "figure-nps.html", "model-marts.indicators.html"} <= names
    result = CliRunner().invoke(cli, ["site", "--project-dir", str(small_demo)])
    assert (result.exit_code, result.output.strip()) == (0, str(small_demo / "warehouse/current/site/fi/index.html"))


def test_no_page_asks_for_anything_and_every_link_leads_somewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        page = Page(text := path.read_text(encoding="utf-8"))
        assert not re.search(r"""(src|href)=["']?(https?:)?//""", text), path
        assert " style=" not in text, path
        assert page.all("html") == [{"lang": path.parent.name}]
        ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
        assert len(ids) == len(set(ids)), path
        for link in (*page.all("a"), *page.all("link")):
            target, _, fragment = (link["href"] or "").partition("#")
            if target == "data:,":
                continue
            assert not target or (path.parent / target).is_file(), (path, target)
            assert not fragment or target or fragment in ids, (path, fragment)
        assert {link["hreflang"] for link in page.all("a") if "hreflang" in link} == set(LANGUAGES)
        assert len(page.all("h1")) == 1


def test_each_page_allows_its_own_style_and_script_and_nothing_else(site: Path) -> None:
    import base64
    import hashlib

    for path in (site / "fi/report-2025.html", site / "sv/figures.html", site / "en/model-marts.indicators.html"):
        text = path.read_text(encoding="utf-8")
        policy = next(meta["content"] or "" for meta in Page(text).all("meta") if "http-equiv" in meta)
        parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
        for kind, name in (("style", "style-src"), ("script", "script-src")):
            found = re.findall(rf"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
            digests = [f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in found]
            assert digests == ([parts[name]] if name in parts else [])
        assert parts["default-src"] == "'none'"


def expected(con: duckdb.DuckDBPyConnection) -> dict[str, dict[Key, tuple[Decimal | None, str, str, bool]]]:
    """Of each form of a table: what SQL over the marts says of a key."""
    shown = presented("{column}", "f.decimals", "f.unit")
    found: dict[str, dict[Key, tuple[Decimal | None, str, str, bool]]] = {}
    for form, table, column in (
        ("value", "marts.indicators", "value"),
        ("previous", "marts.indicator_changes", "previous_value"),
        ("change", "marts.indicator_changes", "shown_change"),
    ):
        sql = "x.shown_change::decimal(38, 2)" if form == "change" else shown.replace("{column}", f"x.{column}")
        rows = con.execute(
            f"select x.figure_id, x.service, x.report_year, x.basis, {sql}, f.unit, f.decimals, f.shown_sign"
            f" from {table} as x join seeds.figures as f using (figure_id)"
        ).fetchall()
        found[form] = {(row[0], row[1], row[2], row[3]): (row[4], row[5], row[6], row[7]) for row in rows}
    return found


def stated_texts(con: duckdb.DuckDBPyConnection) -> dict[str, dict[tuple[Any, ...], tuple[Any, ...]]]:
    """Of the forms that seeds and the reports give: value, decimals, qualifier, unit and sign by their key."""
    key = "x.figure_id, x.service, x.report_year"
    described = "f.unit, f.shown_sign from {table} as x join seeds.figures as f using (figure_id)"
    found: dict[str, dict[tuple[Any, ...], tuple[Any, ...]]] = {}
    for form, table, columns in (
        ("printed", "marts.reconciliation", "x.published_value::decimal(38, 2), x.decimals, x.qualifier"),
        ("target", "seeds.targets", "x.target::decimal(38, 2), null, 'exact'"),
        ("national", "seeds.national_comparisons", "x.national_value::decimal(38, 2), f.decimals, 'exact'"),
    ):
        keys, size = (f"{key}, x.basis", 4) if form == "printed" else (key, 3)
        rows = con.execute(f"select {keys}, {columns}, {described.format(table=table)}").fetchall()
        found[form] = {row[:size]: row[size:] for row in rows}
    return found


def test_every_number_of_every_page_is_that_of_the_marts(site: Path, small_demo: Path) -> None:
    with duckdb.connect(str(database_of(small_demo)), read_only=True) as con:
        known = expected(con)
        months = {
            (row[0], row[1], str(row[2]), str(row[3])): row[4:]
            for row in con.execute(
                "select s.figure_id, s.service, s.report_year, s.month,"
                f" {presented('s.value', 'f.decimals', 'f.unit')}, f.unit, f.decimals, f.shown_sign"
                " from marts.monthly_series as s join seeds.figures as f using (figure_id)"
            ).fetchall()
        }
        counts = {
            tuple(row[:4]): row[4:]
            for row in con.execute(
                "select figure_id, service, report_year, basis, numerator, denominator, event_count"
                " from marts.indicators"
            ).fetchall()
        }
        known_texts = stated_texts(con)
    symbols = code_symbols()
    seen: dict[str, int] = {}
    for path, of, text in numbers_of(site):
        form, language = of["form"], path.parent.name
        seen[form] = seen.get(form, 0) + 1
        if form == "month":
            value, unit, decimals, sign = months[of["figure"], of["service"], of["year"], of["month"]]
            assert text == Form(unit, decimals, language, sign, symbols[language]).write(value), (path, of)
            continue
        key = (of["figure"], of["service"], int(of["year"]), of["basis"])
        if form in known:
            value, unit, decimals, sign = known[form][key]
            written = Form(unit, decimals, language, sign, symbols[language])
            assert text == (written.change(value) if form == "change" else written.write(value)), (path, of)
        elif form in ("numerator", "denominator", "events"):
            amount = counts[key][("numerator", "denominator", "events").index(form)]
            shown = text.replace("\u00a0", "").replace("\u2212", "-").replace(",", "" if language == "en" else ".")
            assert float(shown) == pytest.approx(float(amount), abs=1e-4)
        elif form in known_texts:
            value, decimals, qualifier, unit, sign = known_texts[form][key if form == "printed" else key[:3]]
            written = Form(unit, decimals, language, sign, symbols[language])
            assert text == written.write(value, qualifier), (path, of)
    assert {"value", "change", "previous", "month", "numerator", "stated", "printed", "target"} <= set(seen)
    assert sum(seen.values()) > 20_000


def code_symbols() -> dict[str, dict[str, str]]:
    with (ROOT / "seeds/code_lists.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["list"] == "unit"]
    return {code: {row["code"]: row[f"symbol_{code}"] for row in rows if row[f"symbol_{code}"]} for code in LANGUAGES}


# What the county's reports say of the figures that they print, in their own words.
WORDINGS = {
    2025: """11 920 hälytystehtävään|2 949 oli pelastustehtäviä|8 971 ensihoitotehtäviä|8,5 %:lla edellisvuoteen|−8,5 %
        33 kertaa vuorokaudessa|7 minuutissa ja 11 sekunnissa|6 635 tarkastusta|Noin puolet yhteydenotoista
        100 %:sti|1,6 %|53 henkilöä|9 min 13 s|5 h 45 min|87 %|1 min 52 s|39 min 38 s|99 %|18 466 kpl|1 309 kpl
        80,9 vuorokautta|70 %|puolet hoidettiin ensikontaktissa|kolmasosa ohjattiin päivystykseen|90 %
        Yli puolet chateissa asioineista|yli 70 000|reilut 17 000 henkilöä|Noin neljännes|18 hoitopolkua|9 on vapaasti
        +79|17,6|29 714|laski vuoteen 2024 verrattuna yhden pisteen|noin 4 000 enemmän|+70|1 919 kappaletta
        parani kolme pistettä|2 252 palautetta|750 palautetta enemmän kuin vuonna 2024|53 % kohdistui
        4 % sosiaalipalveluihin
        1 % pelastuslaitoksen|42 % muuhun|noin 2 400 kymenlaaksolaista|yli 26 000 kohtaamista""",
    2024: "56,6 vrk",
    2023: """216 (sosiaali)|1 120 (potilas)|9 491 kpl|5,8 %|68 henkilöä|71 %:sti|78 %:sti|3 730 asiakasta|6 %
        95 %:sti|46 vuorokautta|99 %:sti|lähes 100 %|23 039 kpl|3 minuuttia|82 %:iin|16 minuuttia|536 831 kpl|91 983
        8 minuuttia|alle 4 min|60 %:iin|9 104|16,2 %|6,7 %|8 hoitopolkua|5 kpl|+75|noin 24 000|81 %|6 %
        4,66|4,65|4,69|4,78|4,65|4,73|4,74|46 592|4,70|457 palautetta|kiitos 129|kehitysehdotus 73
        kritiikki 253|muu 42""",
}


@pytest.mark.parametrize("year", WORDINGS)
def test_the_printed_figures_stand_in_the_reports_own_wording(printed: Path, year: int) -> None:
    text = read(printed / f"fi/report-{year}.html")
    for wording in re.split(r"\||\n", WORDINGS[year]):
        assert wording.strip() in text, wording


def test_every_printed_figure_stands_as_it_was_printed(printed: Path) -> None:
    with (ROOT / "seeds/published_figures.csv").open(encoding="utf-8", newline="") as stream:
        wanted = {
            (row["figure_id"], row["service"], row["report_year"], row["basis"]) for row in csv.DictReader(stream)
        }
    assert len(wanted) == 47 + 45
    stated = set()
    for path in (printed / "fi").glob("report-*.html"):
        for of, _ in Numbers(path.read_text(encoding="utf-8")).found:
            stated.add((of["figure"], of["service"], of["year"], of["basis"]))
    assert wanted <= stated


def test_0_and_100_percent_stand_only_where_a_value_is_exactly_that(site: Path, small_demo: Path) -> None:
    with duckdb.connect(str(database_of(small_demo)), read_only=True) as con:
        exact = {
            tuple(row)
            for row in con.execute(
                "select figure_id, service, report_year, basis from marts.indicators where value in (0, 100)"
            ).fetchall()
        }
    for path, of, text in numbers_of(site / "fi"):
        if re.fullmatch(r"(0|100)\u00a0%", text) and of["form"] == "value":
            assert (of["figure"], of["service"], int(of["year"]), of["basis"]) in exact, (path, of)


def test_nothing_across_a_break_is_better_or_worse(site: Path) -> None:
    text = read(site / "fi/report-2025.html")
    assert re.search(r"\d+ lukua ei voi verrata edelliseen vuoteen: Pyhtään palvelut palasivat", text)
    html_ = (site / "fi/report-2025.html").read_text(encoding="utf-8")
    cards = re.findall(r'<li class="card".*?</li>', html_, re.DOTALL)
    assert cards
    assert not any("#note-" in card and ("mark better" in card or "mark worse" in card) for card in cards)


def test_the_same_build_gives_the_same_bytes(small_demo: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_again(small_demo, tmp_path / name)
    names = sorted(str(path.relative_to(tmp_path / "one")) for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert names == sorted(
        str(path.relative_to(tmp_path / "two")) for path in (tmp_path / "two").rglob("*") if path.is_file()
    )
    assert filecmp.cmpfiles(tmp_path / "one", tmp_path / "two", names, shallow=False) == (names, [], [])


def test_the_public_site_has_the_numbers_of_the_public_table_alone(small_demo: Path, tmp_path: Path) -> None:
    asked = ["site", "--public", str(tmp_path / "out"), "--project-dir", str(small_demo)]
    result = CliRunner().invoke(cli, asked)
    assert result.exit_code == 0, result.output
    with duckdb.connect(str(database_of(small_demo)), read_only=True) as con:
        allowed = {
            tuple(row)
            for row in con.execute(
                "select figure_id, service, report_year, basis from marts.public_indicators"
                " where not is_suppressed and not is_unfinished"
            ).fetchall()
        }
        allowed_months = {
            tuple(map(str, row))
            for row in con.execute(
                "select figure_id, service, report_year, month from marts.public_monthly_series"
                " where not is_suppressed and not is_unfinished"
            ).fetchall()
        }
        allowed_changes = {
            tuple(row)
            for row in con.execute(
                "select figure_id, service, report_year, basis from marts.public_changes"
                " where not is_suppressed and not is_unfinished"
            ).fetchall()
        }
    forms = set()
    for path, of, _ in numbers_of(tmp_path / "out"):
        forms.add(of["form"])
        if of["form"] == "month":
            assert (of["figure"], of["service"], of["year"], of["month"]) in allowed_months, (path, of)
            continue
        key = (of["figure"], of["service"], int(of["year"]), of["basis"])
        assert key in (allowed_changes if of["form"] in ("change", "previous") else allowed), (path, of)
    assert not forms & {"numerator", "denominator", "events", "printed"}
    assert not list((tmp_path / "out").rglob("quality*"))
    assert not list((tmp_path / "out").rglob("model-*"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").touch()
    refused = CliRunner().invoke(cli, ["site", str(tmp_path / "mine"), "--project-dir", str(small_demo)])
    assert refused.exit_code != 0
    assert (tmp_path / "mine/file").exists()


def test_names_of_markup_show_as_text(small_demo: Path, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"'&"
    copy = tmp_path / "evil.duckdb"
    shutil.copyfile(database_of(small_demo), copy)
    copy.chmod(0o644)
    with duckdb.connect(str(copy)) as con:
        for table, columns in (
            ("seeds.figures", ("name_fi", "definition_fi", "keywords_fi", "source")),
            ("seeds.figure_services", ("service_name_fi",)),
            ("seeds.code_lists", ("name_fi", "symbol_fi")),
            ("seeds.report_sections", ("title_fi",)),
            ("seeds.publication", ("value_fi",)),
            ("marts.comparability_breaks", ("reason_fi",)),
            ("marts.reconciliation", ("reason_fi",)),
        ):
            con.execute(f"update {table} set " + ", ".join(f"{column} = $1" for column in columns), [evil])
        con.execute("update marts.indicators set service = $1 where service = 'rescue'", [evil])
        con.execute("update marts.coverage set feed = $1 where feed = 'calls'", [evil])
    write_again(small_demo, tmp_path / "site", copy)
    for path in (tmp_path / "site").rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "<script>alert" not in text, path
        assert len(Page(text).all("script")) == (path.name == "figures.html")
    assert html.escape(evil, quote=False).replace('"', "&#34;").replace("'", "&#39;") in (
        tmp_path / "site/fi/figure-nps.html"
    ).read_text(encoding="utf-8")


def test_the_site_keeps_its_budget(small_demo: Path, tmp_path: Path) -> None:
    site = (small_demo / "warehouse/current/site").resolve()
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    assert size <= 12_000_000
    for pattern, most in (("report-*", 150_000), ("figure-*", 100_000), ("quality-*", 200_000)):
        assert max(path.stat().st_size for path in site.rglob(f"{pattern}.html")) <= most
    before = os.times()
    write_again(small_demo, tmp_path / "site")
    after = os.times()
    assert after.user + after.system - before.user - before.system < 6  # 2 on a machine of its own; see benchmarks


def test_the_languages_have_the_same_labels_and_every_code_a_name_in_each() -> None:
    finnish = read_language("fi")
    for code in LANGUAGES:
        language = read_language(code)
        assert set(language.labels) == set(finnish.labels)
        assert (len(language.months), len(language.short_months)) == (12, 12)
    used = set(re.findall(r"\bt\.(\w+)", "".join(path.read_text(encoding="utf-8") for path in
                                                 (LABELS.parent / "templates").glob("*.html"))))  # fmt: skip
    assert used <= set(finnish.labels)


PAGE_TYPES = ("index", "report-2025", "figure-nps", "figures", "quality", "quality-2024", "quality-*-*", "data",
              "model-marts.unfinished_years", "downloads", "about", "glossary", "accessibility")  # fmt: skip


@pytest.mark.parametrize("code", LANGUAGES)
@pytest.mark.parametrize("name", PAGE_TYPES)
def test_golden_pages(site: Path, golden: Callable[[str, str], None], name: str, code: str) -> None:
    """What a reader reads, a line an element; of the catalogue and of lists that only grow, how they begin."""
    path = min((site / code).glob(f"{name}.html"))
    name, text = "quality-rows" if "*" in name else name, path.read_text(encoding="utf-8")
    # Without drawings, SQL, and what models say of themselves.
    apart = r'<svg.*?</svg>|<pre.*?</pre>|<(\w+)[^>]* lang="en">.*?</\1>'
    body = re.sub(apart, "", text[text.index("<main") : text.index("</main>")], flags=re.DOTALL)
    body = re.sub(r"\d{5}-\d{8}T\d{6}Z", "BUILD", body)
    body = re.sub(r"</(p|li|h1|h2|h3|tr|caption|summary|dt|dd)>", "\n", body)
    lines = (" ".join(html.unescape(re.sub(r"<[^>]*>", " ", line)).split()) for line in body.splitlines())
    shown = [line for line in lines if line]
    golden(
        f"site/{code}/{name}.txt", "\n".join(shown[:20] if name in ("data", "downloads", "glossary") else shown) + "\n"
    )


def test_compile_names_a_misspelt_slot_with_its_line(tmp_path: Path) -> None:
    seeds = {
        "seeds/figures.csv": "figure_id,unit,name_fi\ncalls_received,count,Puhelut\n",
        "seeds/figure_services.csv": "figure_id,service\ncalls_received,health\n",
        "seeds/report_sections.csv": "section,title_fi\nphones,Puhelimet\n",
        "report/fi/phones.md": "- Puheluita tuli {calls_received}.\n- Puheluita tuli {calls_recieved}.\n",
        "report/2025/fi/phones.md": "- Puheluita tuli {calls_received|adessive}.\n",
    }
    root = write(tmp_path, seeds)
    result = CliRunner().invoke(cli, ["compile", "--project-dir", str(root)])
    text = f"{result.output}{result.exception}"
    assert "report/fi/phones.md:2: there is no figure 'calls_recieved'. Did you mean 'calls_received'?" in text
    assert "report/2025/fi/phones.md:1: there is no form 'adessive' of count in fi." in text
