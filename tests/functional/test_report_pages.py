"""The pages of the report years: whole, escaped, readable, and asking nobody for anything."""

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
from kpi.validation.expectations import validate
from kpi.validation.report import (
    STATUSES,
    TEMPLATES,
    About,
    amount,
    is_labelled_synthetic,
    number,
    write_pages,
)
from kpi.validation.rule import OWN_TOPICS
from page import Page
from small_county import AFTER_THE_YEARS, FEEDS, County, expectations, printed

pytestmark = pytest.mark.xdist_group("pages")  # they are written once

ABOUT = About("20260115T031500Z-ab12", date(2026, 1, 15), is_synthetic=True)
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


def write(county: County, folder: Path, about: About = ABOUT) -> dict[str, str]:
    """Judge a county and return its pages by file name."""
    with county.connect() as con:
        results = validate(con, expectations(), FEEDS, AFTER_THE_YEARS, is_more_expected=not about.is_synthetic)
        files = write_pages(folder, con, results, about, expectations())
    assert {path.parent for path in files} == {folder}
    return {path.name: path.read_text(encoding="utf-8") for path in files}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return write(broken_county(), tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="module")
def page(pages: dict[str, str]) -> Page:
    return Page(pages["2025.html"])


# --- nobody is asked for anything ------------------------------------------------------------------------------------


def test_no_page_refers_to_anything_outside_itself(pages: dict[str, str]) -> None:
    for html in pages.values():
        page = Page(html)
        tags = {tag for tag, _ in page.elements}
        assert not tags & {"script", "img", "iframe", "object", "embed", "base", "form", "video", "audio", "source"}
        assert not tags & {"svg", "math", "picture", "track", "applet", "frame", "portal", "template"}
        for tag, attributes in page.elements:
            for name, value in attributes.items():
                assert not name.startswith("on")
                assert name not in ("style", "srcset", "srcdoc", "ping", "action", "formaction", "background", "poster")
                if name in ("href", "src", "data", "cite", "longdesc", "manifest", "xmlns"):
                    assert re.fullmatch(r"(index|\d{4})\.html|#[\w-]+|data:,", value or ""), (tag, name, value)
                if name != "aria-label":
                    assert not re.search(r"(https?:|ftp:|javascript:|^\s*//)", value or "", re.IGNORECASE)
        assert page.all("link") == [{"rel": "icon", "href": "data:,"}]
        styles = "".join(text for path, text in page.texts if "style" in path)
        assert not re.search(r"url\s*\(|@import|@font-face|image-set|expression|\\", styles, re.IGNORECASE)


def test_a_policy_in_the_page_forbids_every_request(pages: dict[str, str]) -> None:
    for html in pages.values():
        policies = [m["content"] for m in Page(html).all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
        assert policies == [
            "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
        ]


def test_every_link_leads_to_a_page_or_a_place_that_is_there(pages: dict[str, str]) -> None:
    for html in pages.values():
        page = Page(html)
        ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        for link in page.all("a"):
            target = link["href"] or ""
            assert target in pages or target.removeprefix("#") in ids


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
def test_a_browser_asks_nobody_and_runs_nothing(tmp_path: Path) -> None:
    canary = tmp_path / "canary.html"
    canary.write_text('<!doctype html><img src="http://canary.test/x.png">', encoding="utf-8")
    assert _open_in_browser(canary, tmp_path / "profile")[0] == {"canary.test"}
    for name in write(broken_county(), tmp_path / "report"):
        hosts, dom = _open_in_browser(tmp_path / "report" / name, tmp_path / "profile")
        assert hosts == set()
        assert "<h1>" in dom
        assert "<script" not in dom


# --- escaped ---------------------------------------------------------------------------------------------------------


def test_what_was_delivered_is_shown_and_never_live(pages: dict[str, str], page: Page) -> None:
    text = page.text()
    assert SCRIPT in text
    assert IMAGE in text
    assert "{{ 7 * 7 }} &amp;" in text
    assert f"Why? {SCRIPT}" in text
    assert not any("<script" in html or "<img" in html for html in pages.values())


def test_every_template_escapes() -> None:
    for template in TEMPLATES.glob("*.html"):
        assert not re.search(r"\|\s*safe|autoescape\s+false|Markup", template.read_text(encoding="utf-8"))


# --- what they tell --------------------------------------------------------------------------------------------------


def test_there_is_a_page_a_year_and_an_index(pages: dict[str, str]) -> None:
    assert list(pages) == ["index.html", "2023.html", "2024.html", "2025.html"]
    index = Page(pages["index.html"]).text()
    assert "2023 ✓ toteutuu" not in index  # it has an error: fewer events than cases
    assert "2024 ✓ toteutuu" in index
    assert "2025 ✗ virhe" in index


def test_a_page_names_what_failed_with_what_was_seen_and_the_rows_behind(page: Page) -> None:
    text = page.text()
    assert (
        "✗ virhe missions_are_rescue_and_ems Odotettiin: Pelastus- ja ensihoitotehtävät ovat yhteensä pelastuslaitoksen"
        in text
    )
    missions = text[text.index("✗ virhe missions_are_rescue_and_ems") :]
    assert "Nähtiin: 3 arvoa, joista ehdon rikkoo 1." in missions
    assert "Pelastuslaitoksen hälytystehtävät, Pelastuslaitos 12\u00a0000 11\u00a0999" in missions
    assert "! varoitus counts_not_negative" in text
    assert text.index("✗ virhe reconciliation_never_differs") < text.index("! varoitus counts_not_negative")


def test_a_page_tells_every_check_and_every_row_behind_it(page: Page, pages: dict[str, str]) -> None:
    text = page.text()
    checks = text[text.index("Kaikki tarkistukset") :]
    judged = {rule.name for rule in expectations().rules} - {"counts_not_all_zero"}
    assert {name for name in judged if name in checks} == judged
    assert "every_month_present:calls ✗" not in checks
    calls = checks[checks.index("every_month_present:calls") :]
    assert "12 kuukautta: tietueita 6\u00a0666 … 6\u00a0667" in calls
    assert "calls, tammikuu 6\u00a0667" in calls
    assert "calls, joulukuu 6\u00a0666" in calls
    assert pages["2024.html"].count("Kaikki tarkistukset toteutuvat.") == 1


def test_a_known_break_is_told_beside_its_row(tmp_path: Path) -> None:
    county = County()
    count("safety_incidents", "all_services", 2025, 100)(county)
    text = Page(write(county, tmp_path)["2025.html"]).text()
    row = text[text.index("! varoitus main_volumes_change_at_break") :]
    assert "Potilas- ja asiakasturvallisuusilmoitukset, Kaikki palvelut 100 9\u00a0000 1.1.2025: Alue laajeni." in row


def test_a_page_tells_the_figures_beside_the_printed_ones(page: Page) -> None:
    text = page.text()
    figures = text[text.index("Vuoden tunnusluvut") : text.index("Kaikki tarkistukset")]
    assert "Palotarkastukset safety_inspections" in figures
    assert "Pelastuslaitos 6\u00a0000 – 6\u00a0000 ✓ toistuu kertomus 2025" in figures
    assert "Terveyden- ja sairaanhoito 60 – 79 ✗ eroaa tavoite vähintään 70; kertomus 2025" in figures
    assert "15\u00a0000 – yli 17\u00a0000 ✓ toistuu joulukuun laskenta; kertomus 2025" in figures
    assert "Päivystysapu 116117 5\u00a0min" in figures
    assert "80,0\u00a0vrk – 80\u00a0vrk ✓ toistuu joulukuu" in figures
    assert f"{IMAGE} {IMAGE} {{{{ 7 * 7 }}}} &amp; 5 –" in figures


def test_a_printed_figure_without_a_value_stands_there_too(tmp_path: Path) -> None:
    county = County()
    county.tables["marts.reconciliation"].append(
        printed(2024, "partner_violence_experienced", "elderly_survey", 68, status="not_delivered", value=None,
                unit="persons", basis="survey")
    )  # fmt: skip
    text = Page(write(county, tmp_path)["2024.html"]).text()
    assert "Ikääntyneiden kysely – – 68 ! ei toimitettu kysely; kertomus 2024" in text


def test_synthetic_data_is_labelled_on_every_page_and_real_data_on_none(pages: dict[str, str], tmp_path: Path) -> None:
    assert all("SYNTEETTISTÄ AINEISTOA" in html for html in pages.values())
    real = write(County(), tmp_path, About("id", date(2026, 1, 15), is_synthetic=False))
    assert not any("SYNTEETTI" in html for html in real.values())
    assert all("Koonti <code>id</code>, arvioitu 15.1.2026." in html for html in real.values())


def test_the_label_that_the_demo_writes_is_recognised(tmp_path: Path) -> None:
    assert not is_labelled_synthetic(tmp_path)
    (tmp_path / LABEL_NAME).write_text("Read me.\n", encoding="utf-8")
    assert not is_labelled_synthetic(tmp_path)
    (tmp_path / LABEL_NAME).write_text(LABEL, encoding="utf-8")
    assert is_labelled_synthetic(tmp_path)


def test_the_running_year_is_told_to_be_unfinished(tmp_path: Path) -> None:
    county = County()
    with county.connect() as con:
        results = validate(con, expectations(), FEEDS, date(2025, 12, 1))
        write_pages(tmp_path, con, results, ABOUT, expectations())
    assert "Vuosi on kesken" in (tmp_path / "2025.html").read_text(encoding="utf-8")
    assert "Vuosi on kesken" not in (tmp_path / "2024.html").read_text(encoding="utf-8")
    assert "kesken" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_the_same_results_give_the_same_bytes(pages: dict[str, str], tmp_path: Path) -> None:
    assert write(broken_county(), tmp_path) == pages


def test_a_warehouse_without_any_table_has_an_index_alone(tmp_path: Path) -> None:
    county = County()
    county.tables.clear()
    assert list(write(county, tmp_path)) == ["index.html"]


# --- readable by everybody -------------------------------------------------------------------------------------------


def test_pages_are_marked_up_for_a_screen_reader(pages: dict[str, str]) -> None:
    for html in pages.values():
        page = Page(html)
        assert html.startswith("<!doctype html>")
        assert page.all("html") == [{"lang": "fi"}]
        assert len(page.all("h1")) == len(page.all("main")) == len(page.all("title")) == 1
        assert {"aria-current": "page"}.items() <= next(a for a in page.all("a") if "aria-current" in a).items()
        levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
        assert all(lower - upper <= 1 for upper, lower in zip([0, *levels], levels, strict=False))
        assert len(page.all("table")) == len(page.all("caption")) == len(page.all("thead"))
        assert all(cell.get("scope") in ("col", "row", "rowgroup") for cell in page.all("th"))
        assert all(region.get("aria-label") for region in page.all("div") if region.get("role") == "region")


def test_rows_have_as_many_cells_as_their_table_has_columns(pages: dict[str, str]) -> None:
    for html in pages.values():
        widths: list[int] = []
        cells: list[list[int]] = []
        for tag, attributes in Page(re.sub(r"<details>.*?</details>", "", html, flags=re.DOTALL)).elements:
            if tag == "table":
                cells = []
            elif tag == "tr":
                cells.append([])
                widths = [sum(row) for row in cells[:-1]]
                assert len(set(widths)) <= 1
            elif tag in ("th", "td"):
                cells[-1].append(int(attributes.get("colspan") or 1))


def test_a_status_is_a_word_and_not_a_colour_alone(pages: dict[str, str]) -> None:
    for html in pages.values():
        marks = re.findall(r'<span class="mark \w+"><span aria-hidden="true">(.)</span> ([\wäö ]+)</span>', html)
        assert len(marks) == html.count('class="mark ')
        assert {mark for mark, _ in marks} <= {"✓", "!", "✗"}
        assert {word for _, word in marks} <= {"toteutuu", "varoitus", "virhe", *STATUSES.values()}


def _luminance(colour: str) -> float:
    digits = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
    channels = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_text_has_enough_contrast() -> None:
    css = (TEMPLATES / "base.html").read_text(encoding="utf-8")
    schemes = re.findall(r":root \{([^}]*--fg[^}]*)\}", css)
    assert len(schemes) == 2  # light and dark
    assert not re.search(r"(?<![-\w])(color|background): #", css)
    for scheme in schemes:
        named = dict(re.findall(r"--(\w+): #([0-9a-f]{3,6});", scheme))
        texts = [named[name] for name in ("fg", "soft", "link", "ok", "warning", "error")]
        assert min(_contrast(text, named[ground]) for text in texts for ground in ("bg", "note")) >= 4.5


def test_every_kind_of_thing_has_a_finnish_name() -> None:
    labels = expectations().labels
    assert set(labels.topics) == {topic.name for topic in expectations().topics} | {*OWN_TOPICS}
    assert set(labels.families) == {row["family"] for row in County().tables["seeds.figures"]}
    assert {row["basis"] for row in County().tables["seeds.figures"]} <= set(labels.bases)


@pytest.mark.parametrize(("value", "unit", "decimals", "text"), [
    (20_700, "seconds", "0", "5 h 45 min"),
    (20_706, "seconds", "minute", "5 h 45 min"),
    (553, "seconds", "0", "9 min 13 s"),
    (0, "seconds", "0", "0 s"),
    (0, "seconds", "minute", "0 min"),
    (-61, "seconds", "0", "−1 min 1 s"),
    (-8.5, "percent", "1", "−8,5 %"),
    (87, "percent", "0", "87 %"),
    (4.7, "score_1_to_5", "2", "4,70"),
    (80.9, "days", "1", "80,9 vrk"),
    (33, "count_per_day", "0", "33 / vrk"),
    (536_831, "count", "0", "536 831"),
    (1e21, "persons", "0", "1 000 000 000 000 000 000 000"),
    (70, "points", None, "70"),
    (82.5, "percent", None, "82,5 %"),
    (5, None, "0", "5"),
    (None, "percent", "0", "–"),
])  # fmt: skip
def test_amounts_are_written_as_a_finnish_reader_expects(
    value: float | None, unit: str | None, decimals: str | None, text: str
) -> None:
    assert amount(value, unit, decimals).replace("\u00a0", " ") == text


@pytest.mark.parametrize(("value", "text"), [
    (None, "–"), (0.0, "0"), (-3.0, "−3"), (1234567.0, "1 234 567"), (0.9769094139, "0,9769094139"),
    (75.30165913, "75,30165913"), (1e-9, "1e-09"), (123456789012.5, "123 456 789 012"),
])  # fmt: skip
def test_numbers_are_written_as_a_finnish_reader_expects(value: float | None, text: str) -> None:
    assert number(value).replace("\u00a0", " ") == text


def test_long_lists_of_rows_are_cut_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kpi.validation.report.ROWS_SHOWN", 10)
    text = Page(write(County(), tmp_path)["2025.html"]).text()
    assert "Ja 2 muuta riviä." in text
