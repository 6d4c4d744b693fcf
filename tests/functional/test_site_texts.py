"""What stands on the pages: how figures are computed, in the language of the page alone, whatever names are like."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

import kpi
from kpi.presentation import LANGUAGES
from kpi.site.sentences import read_language
from page import Page
from site_pages import database_of, write_again

# Words that are English and neither Finnish nor Swedish.
ENGLISH = {"the", "of", "and", "with", "which", "that", "are", "from", "than", "every", "each", "was", "were",
           "without", "between", "their", "this", "not", "has", "have", "been"}  # fmt: skip


@pytest.fixture(scope="module")
def site(small_demo: Path) -> Path:
    return (small_demo / "warehouse/current/site").resolve()


def section(path: Path, name: str) -> str:
    """The part of a page below the heading with an id."""
    found = re.search(rf'<h2 id="{name}">.*?</h2>(.*?)(?=<h2|</main>)', path.read_text(encoding="utf-8"), re.DOTALL)
    return found[1] if found else ""


def test_every_figure_says_how_it_is_computed(site: Path) -> None:
    pages = sorted((site / "fi").glob("figure-*.html"))
    assert len(pages) == 65
    for path in pages:
        text = section(path, "computed")
        assert 1 <= len(re.findall(r'class="box', text)) <= 12, path
        assert "<dt>Osoittaja</dt>" in text or "<dt>Arvo</dt>" in text, path


@pytest.mark.parametrize(
    ("figure", "service"),
    [("call_mean_wait_seconds", "health_lines"), ("nps", "health"), ("specialist_queue", "specialist_care"),
     ("first_unit_response_seconds", "rescue"), ("volunteer_encounters", "olka")],
)  # fmt: skip
def test_how_a_figure_is_computed_is_what_explain_says_of_its_rows(
    site: Path, small_demo: Path, figure: str, service: str
) -> None:
    text = section(site / f"fi/figure-{figure}.html", "computed")
    found = kpi.explain(figure, service, 2025, project_dir=small_demo, lang="fi")
    tables = re.findall(r"<code>([\w.]+)</code></a>", text)
    assert tables == [step.model for step in reversed(found.steps)]
    left_out = {words for one in found.left_out if (words := one.labels.get("fi"))}
    said = {html.unescape(re.sub(r"<[^>]*>", "", item)) for item in re.findall(r"<li>(.*?)</li>", text)}
    assert left_out <= said
    if found.numerator.expression == "sum(wait_seconds)":
        assert "Summa kentästä <code>wait_seconds</code>: Puhelut." in text


def visible_texts(site: Path, code: str) -> Iterator[tuple[Path, str]]:
    for path in sorted((site / code).glob("*.html")):
        if path.name.startswith(
            ("model-", "data.", "glossary.")
        ):  # tables are described in English, terms in all three
            continue
        text = path.read_text(encoding="utf-8").partition("<main")[2]
        labels = " ".join(re.findall(r'(?:aria-label|data-label|alt|title)="([^"]*)"', text))
        plain = re.sub(r"<(code|pre|script|style)\b.*?</\1>", " ", text, flags=re.DOTALL)
        yield path, html.unescape(re.sub(r"<[^>]*>", " ", plain) + " " + labels)


@pytest.mark.parametrize("code", ["fi", "sv"])
def test_no_page_in_finnish_or_swedish_has_english_words(site: Path, code: str) -> None:
    for path, text in visible_texts(site, code):
        words = {word.lower() for word in re.findall(r"[^\W\d_]+", text)}
        assert not words & ENGLISH, (path, words & ENGLISH)
        assert 'lang="en"' not in path.read_text(encoding="utf-8").partition("<main")[2], path


@pytest.mark.parametrize("code", LANGUAGES)
def test_numbers_are_written_as_the_language_has_them(site: Path, code: str) -> None:
    wrong = re.compile(r"(?<![\w.,/-])\d+\.\d+(?![\w.])" if code != "en" else r"\d,\d{1,2}(?!\d)")
    for path, text in visible_texts(site, code):
        assert not re.findall(r"(?<![\d-])[12]\u00a0\d{3} … 2\u00a0\d{3}", text), path  # years are not grouped
        assert not re.findall(r"(?<=\s)-\d", text), path  # a hyphen is no minus
        others = re.sub(r"\d{1,2}\.\d{1,2}\.(\d{4})?|4\.0|WCAG 2\.1", " ", text)  # days, and names
        assert not wrong.findall(others), (path, wrong.findall(others)[:3])


def test_an_observed_year_is_written_as_a_year(site: Path) -> None:
    for code in LANGUAGES:
        text = Page((site / code / "quality-2025.html").read_text(encoding="utf-8")).text()
        assert "2021 … 2025" in text
        assert "2\u00a0021" not in text


def test_what_a_check_looked_at_stands_in_its_unit(site: Path) -> None:
    text = Page((site / "fi/quality-2024.html").read_text(encoding="utf-8")).text()
    waits = text.partition("Puhelun keskimääräinen odotusaika on enintään")[2].partition("✓")[0]
    assert waits.endswith("kahta tuntia. 2\u00a0min\u00a021\u00a0s … 11\u00a0min\u00a042\u00a0s ")
    lengths = text.partition("Mikään kesto ei ole alle 0")[2].partition("✓")[0]
    assert lengths.endswith("hylätään ladattaessa. ")  # seconds and days: no range of both


HOSTILE = {
    "javascript:alert(1)": "javascript",
    '" onmouseover="alert(1)': "attribute",
    "../../../etc/passwd": "path",
    "x" * 300: "length",
    "abc\u202egnp.exe\u2066\u200b": "direction",
}


def test_names_of_any_kind_are_text_and_no_path(small_demo: Path, tmp_path: Path) -> None:
    copy = tmp_path / "hostile.duckdb"
    shutil.copyfile(database_of(small_demo), copy)
    copy.chmod(0o644)
    figures = ["nps", "calls_received", "chats_received", "ems_missions", "safety_incidents"]
    with duckdb.connect(str(copy)) as con:
        for figure, name in zip(figures, HOSTILE, strict=True):
            for table in ("seeds.figures", "seeds.figure_services", "marts.indicators", "marts.monthly_series"):
                con.execute(f"update {table} set figure_id = $1 where figure_id = $2", [name, figure])
            con.execute("update seeds.figures set name_fi = $1, name_sv = $1 where figure_id = $1", [name])
            con.execute("update seeds.figure_services set service_name_fi = $1 where figure_id = $1", [name])
        con.execute("update marts.coverage set feed = $1 where feed = 'calls'", ['"><img src=x onerror=alert(1)>'])
    write_again(small_demo, tmp_path / "out/site", copy)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"site"}
    names = [path.name for path in (tmp_path / "out").rglob("figure-*.html")]
    assert len(names) == 3 * 65
    assert max(map(len, names)) < 160
    for path in (tmp_path / "out/site").rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        page = Page(text)
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b]", text), path
        assert not [link for link in page.all("a") if re.match(r"\w+:", link["href"] or "")], path
        assert all(not name.startswith("on") for _, attributes in page.elements for name in attributes), path
        assert not page.all("img")


def test_the_languages_say_the_same_reasons() -> None:
    assert len({tuple(read_language(code).reject_reasons) for code in LANGUAGES}) == 1
