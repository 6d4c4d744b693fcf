"""The pages of what a validation found, of a county that is broken and whose codes are hostile: whole and escaped."""

from __future__ import annotations

import re
import shutil
import socketserver
import subprocess
import threading
from datetime import date
from pathlib import Path

import pytest

from county_breaks import add, count, put, together
from demo.deliver import LABEL, LABEL_NAME
from kpi.build_record import BuildRecord
from kpi.ingest.raw_files import is_labelled_synthetic
from kpi.jobs.build_site import write_validated
from kpi.project.project import load_project
from kpi.site.sentences import read_language
from kpi.site.site import TEMPLATES
from kpi.validation.expectations import results_as_json, validate
from page import Page
from small_county import AFTER_THE_YEARS, FEEDS, ROOT, County, expectations, printed

pytestmark = pytest.mark.xdist_group("pages")  # they are written once

SCRIPT, IMAGE = "<script>alert(1)</script>", '"><img src=http://evil.test/x.png onerror=alert(1)>'


def broken_county() -> County:
    """A county with an error, a warning with a known break, a printed figure that differs, and hostile codes."""
    county = County()
    manual = {"basis": "calendar_year", "report_year": 2025, "event_count": 1}
    together(
        count("ems_missions", "rescue", 2025, 8_999),
        add("marts.indicators", **manual, figure_id="volunteer_encounters", service=SCRIPT, numerator=-3, value=-3),
        add("marts.indicators", **manual, figure_id=IMAGE, service="{{ 7 * 7 }} &amp;", numerator=5, value=5),
        put("nps", "health", 2023, event_count=8_999),
        lambda c: c.tables["marts.reconciliation"].append(
            printed(2025, "nps", "health", 79, unit="points", value=60, status="differs", reason=f"Why? {SCRIPT}")
        ),
        lambda c: c.tables["marts.reconciliation"].append(
            printed(2025, "digital_active_users", "oma_kymenlaakso", 17_000, unit="persons", qualifier="more_than",
                    basis="census_december")
        ),
    )(county)  # fmt: skip
    return county


def write(county: County, folder: Path, as_of: date = AFTER_THE_YEARS, is_synthetic: bool = True) -> dict[str, str]:
    """Validate a county and return its pages by language and file name."""
    record = BuildRecord("20260115T031500Z-ab12", as_of=str(as_of), synthetic=is_synthetic)
    with county.connect() as con:
        results = validate(con, expectations(), FEEDS, as_of, is_more_expected=not is_synthetic)
        write_validated(folder, con, load_project(ROOT), record, results_as_json(results))
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in folder.rglob("*.html")}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return write(broken_county(), tmp_path_factory.mktemp("pages"))


def text_of(pages: dict[str, str], name: str) -> str:
    return Page(pages[name]).text().replace("\u00a0", " ")


def test_no_page_refers_to_anything_outside_itself(pages: dict[str, str]) -> None:
    for name, html in pages.items():
        page = Page(html)
        tags = {tag for tag, _ in page.elements}
        assert not tags & {"img", "iframe", "object", "embed", "base", "form", "video", "audio", "source", "math"}
        assert ("script" in tags) == name.endswith("/figures.html")
        for tag, attributes in page.elements:
            for attribute, value in attributes.items():
                assert not attribute.startswith("on")
                assert attribute not in ("style", "src", "srcset", "srcdoc", "ping", "action", "formaction", "poster")
                if attribute == "href":
                    assert re.fullmatch(r"[\w.~/-]*(#[\w.~-]+)?|data:,", value or ""), (name, tag, value)
        styles = "".join(text for path, text in page.texts if "style" in path)
        assert not re.search(r"url\s*\(|@import|@font-face|image-set|expression", styles, re.IGNORECASE)


class _Proxy(socketserver.ThreadingTCPServer):
    """A proxy that answers nothing and writes down which hosts were asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Refuse)
        self.hosts: set[str] = set()


class _Refuse(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        request = self.rfile.readline().decode("latin-1").split()
        if len(request) > 1 and isinstance(self.server, _Proxy):
            self.server.hosts.add(request[1].removeprefix("http://").partition("/")[0].partition(":")[0])
        self.wfile.write(b"HTTP/1.1 502 no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def _open_in_browser(file: Path, profile: Path) -> tuple[set[str], str]:
    """Return the hosts a browser asked for when it opened a file, but for its maker's, and the page as it became."""
    with _Proxy() as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
                 "--disable-component-update", "--disable-sync", "--proxy-bypass-list=<-loopback>", "--dump-dom",
                 f"--proxy-server=http://127.0.0.1:{proxy.server_address[1]}", f"--user-data-dir={profile}",
                 "--virtual-time-budget=2000"]  # fmt: skip
        command = [str(CHROMIUM), *flags, file.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        proxy.shutdown()
    return {host for host in proxy.hosts if not host.endswith(("google.com", "googleapis.com"))}, done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; the pages are parsed all the same")
def test_a_browser_asks_nobody_and_runs_nothing(pages: dict[str, str], tmp_path: Path) -> None:
    canary = tmp_path / "canary.html"
    canary.write_text('<!doctype html><img src="http://canary.test/x.png">', encoding="utf-8")
    assert _open_in_browser(canary, tmp_path / "profile")[0] == {"canary.test"}
    page = tmp_path / "quality-2025.html"
    page.write_text(pages["fi/quality-2025.html"], encoding="utf-8")
    hosts, dom = _open_in_browser(page, tmp_path / "profile")
    assert hosts == set()
    assert "<h1>" in dom
    assert "<script" not in dom


def test_what_was_delivered_is_shown_and_never_live(pages: dict[str, str]) -> None:
    text = text_of(pages, "fi/figure-volunteer_encounters.html")
    assert SCRIPT in text
    text = text_of(pages, "fi/figures.html")
    assert IMAGE in text
    assert "{{ 7 * 7 }} &amp;" in text
    assert f"Why? {SCRIPT}" in text_of(pages, "en/figure-nps.html")
    assert not any("<script>alert" in html or "<img" in html for html in pages.values())


def test_every_template_escapes() -> None:
    for template in TEMPLATES.glob("*.html"):
        assert not re.search(r"\|\s*safe|autoescape\s+false|Markup", template.read_text(encoding="utf-8"))


def test_the_pages_of_quality_name_what_failed_first_with_the_rows_behind(pages: dict[str, str]) -> None:
    text = text_of(pages, "fi/quality-2025.html")
    assert re.search(r"✗ \d+ tarkistuksesta [1-9]\d* ei mennyt läpi", text)
    missions = text[text.index("✗ virhe Pelastus- ja ensihoitotehtävät ovat yhteensä") :]
    assert "Pelastuslaitoksen hälytystehtävät, Pelastuslaitos 12 000 11 999" in missions
    assert text.index("reconciliation_never_differs") < text.index("counts_not_negative")
    assert "Suositteluindeksi (NPS) Terveyden- ja sairaanhoito 79 60 differs" in text  # a county without code lists
    assert "Oma Kymenlaakson aktiiviset käyttäjät Oma Kymenlaakso, census_december yli 17 000 15 000" in text
    checks = text[text.index("Kaikki tarkistukset") :]
    validated = {rule.finnish for rule in expectations().rules if rule.name != "counts_not_all_zero"}
    assert sum(words in checks for words in validated if "{" not in words) > 30
    assert re.search(r"Kaikki \d+ tarkistusta menivät läpi\.", text_of(pages, "fi/quality-2024.html"))
    index = text_of(pages, "fi/quality.html")
    assert re.search(r"Laatu 2025 : ✗ .* Laatu 2024 : ✓ ", index)
    assert "Tietueita ei ole hylätty." in index


def test_a_known_break_is_told_beside_its_row(tmp_path: Path) -> None:
    county = County()
    count("safety_incidents", "all_services", 2025, 100)(county)
    text = text_of(write(county, tmp_path), "fi/quality-2025.html")
    assert "Potilas- ja asiakasturvallisuusilmoitukset, Kaikki palvelut 100 9 000 1.1.2025: Alue laajeni." in text


def test_synthetic_data_is_labelled_on_every_page_and_real_data_on_none(pages: dict[str, str], tmp_path: Path) -> None:
    labels = {code: read_language(code).say("synthetic") for code in ("fi", "sv", "en")}
    assert all(labels[name.partition("/")[0]] in html for name, html in pages.items())
    real = write(County(), tmp_path, is_synthetic=False)
    assert not any(labels[name.partition("/")[0]] in html for name, html in real.items())


def test_the_label_that_the_demo_writes_is_recognised(tmp_path: Path) -> None:
    assert not is_labelled_synthetic(tmp_path)
    (tmp_path / LABEL_NAME).write_text("Read me.\n", encoding="utf-8")
    assert not is_labelled_synthetic(tmp_path)
    (tmp_path / LABEL_NAME).write_text(LABEL, encoding="utf-8")
    assert is_labelled_synthetic(tmp_path)


def test_the_running_year_is_told_to_be_unfinished(tmp_path: Path) -> None:
    pages = write(County(), tmp_path, date(2025, 12, 1))
    assert "Vuosi on kesken" in pages["fi/quality-2025.html"]
    assert "Vuosi on kesken" not in pages["fi/quality-2024.html"]


def test_pages_are_marked_up_for_a_screen_reader(pages: dict[str, str]) -> None:
    for name, html in pages.items():
        page = Page(html)
        assert html.startswith("<!doctype html>")
        assert page.all("html") == [{"lang": name.partition("/")[0]}]
        assert len(page.all("h1")) == len(page.all("main")) == len(page.all("title")) == 1
        levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
        assert all(lower - upper <= 1 for upper, lower in zip([0, *levels], levels, strict=False)), name
        assert len(page.all("table")) == len(page.all("caption")) == len(page.all("thead"))
        assert all(cell.get("scope") in ("col", "row") for cell in page.all("th"))
        widths: list[int] = []
        for tag, _ in page.elements:  # rows have as many cells as their table has columns
            if tag == "table":
                widths = []
            elif tag == "tr":
                assert len(set(widths)) <= 1, name
                widths.append(0)
            elif tag in ("th", "td"):
                widths[-1] += 1
                assert len(widths) == 1 or widths[-1] <= widths[0], name


def test_a_status_is_a_word_and_not_a_colour_alone(pages: dict[str, str]) -> None:
    for name in ("fi/quality-2025.html", "fi/figure-nps.html"):
        marks = re.findall(r'<span class="mark (?:ok|warning|error)"><span aria-hidden="true">(.)</span> ([\wäö ]+)<',
                           pages[name])  # fmt: skip
        assert {mark for mark, _ in marks} <= {"✓", "!", "✗"}
        assert {word for _, word in marks} <= {"kunnossa", "varoitus", "virhe"}
