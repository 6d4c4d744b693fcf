"""The pages in a real browser: phones and desks, dark, forced colours, without script, by keyboard and on paper."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
if not CHROMIUM and not os.environ.get("CI"):
    pytest.skip("there is no Chromium on this machine; CI has one", allow_module_level=True)

TYPES = (
    *("index", "report-2025", "figure-call_mean_wait_seconds", "figures", "quality-2025", "quality", "data"),
    *("model-marts.indicators", "downloads", "about", "glossary", "accessibility"),
)
# Each text against what lies behind it: WCAG 1.4.3, 4.5 to 1, or 3 to 1 where letters are large.
CONTRASTS = """() => {
    const channel = c => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4 };
    const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
    const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
    const behind = node => {
        for (let at = node; at; at = at.parentElement) {
            const found = parse(getComputedStyle(at).backgroundColor);
            if (found.length === 3 || found[3] > 0) return found;
        }
        return matchMedia('(prefers-color-scheme: dark)').matches ? [0, 0, 0] : [255, 255, 255];
    };
    const bad = [];
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const node = walk.currentNode.parentElement;
        if (!walk.currentNode.textContent.trim() || !node.getClientRects().length) continue;
        if (node.closest('.sr, .skip')) continue;
        const style = getComputedStyle(node), size = parseFloat(style.fontSize);
        const color = node.closest('svg') ? style.fill : style.color;
        const pair = [light(parse(color)), light(behind(node))].sort((a, b) => b - a);
        const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
        const large = size >= 24 || (size >= 18.66 && parseInt(style.fontWeight) >= 700);
        if (ratio < (large ? 3 : 4.5)) bad.push([walk.currentNode.textContent.trim().slice(0, 40), ratio.toFixed(2)]);
    }
    return bad;
}"""
# Each type of page is looked at in light, in dark, in forced colours and without script, at a width each and in turn in
# the three languages: over the types every way is seen at every width and in every language.
WAYS: Mapping[str, Mapping[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "forced": {"forced_colors": "active"},
    "no script": {"java_script_enabled": False},
}
LOOKED_AT = [
    (name, way, (390, 320, 1280)[(place + turn) % 3], ("fi", "sv", "en")[(place + turn + place // 3) % 3])
    for place, name in enumerate(TYPES)
    for turn, way in enumerate(WAYS)
]
# What axe leaves to a person's eye: the contrast of single signs, and of text in SVG. CONTRASTS measures both.
LEFT_TO_US = {"color-contrast"}
PATIENCE = 180_000  # milliseconds, for what takes one of them as a rule


@pytest.fixture(scope="module")
def axe() -> str:
    import axe_playwright_python

    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def site(small_demo: Path) -> Path:
    return (small_demo / "warehouse/current/site").resolve()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    assert CHROMIUM, "CI must have a Chromium"
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments, timeout=PATIENCE)
        yield browser
        browser.close()


def opened(browser: Any, site: Path, name: str, width: int = 1280, code: str = "fi", **options: Any) -> Any:
    """Return a page that is open, whose requests for anything but itself fail the test."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((site / code / f"{name}.html").as_uri())
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert len(asked) == 1 or all(url.startswith("data:") for url in asked[1:])
    return page


@pytest.mark.parametrize("name", TYPES)
def test_no_page_is_wider_than_its_screen(browser: Any, site: Path, name: str) -> None:
    page = opened(browser, site, name)
    for width in (320, 390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(f"innerWidth === {width}")  # the page is told in a later frame
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        found = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert found[0] <= width == found[1], (name, width, found)
    page.context.close()


@pytest.mark.parametrize(("name", "way", "width", "code"), LOOKED_AT)
def test_axe_finds_nothing_and_every_text_can_be_read(
    browser: Any, site: Path, axe: str, name: str, way: str, width: int, code: str
) -> None:
    page = opened(browser, site, name, width, code, bypass_csp=True, **WAYS[way])
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert way == "forced" or page.evaluate(CONTRASTS) == []  # forced colours are the reader's own
    if way not in ("light", "dark"):
        page.context.close()
        return  # axe looks at the document, which is the same
    page.evaluate(axe)
    found = page.evaluate("axe.run({resultTypes: ['violations', 'incomplete']})")
    shown = [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in found["violations"]]
    assert shown == []
    assert {one["id"] for one in found["incomplete"]} <= LEFT_TO_US
    assert (
        page.evaluate("[...document.querySelectorAll('table')].filter(one => !one.caption).length") == 0
    )  # axe takes a table without a caption
    page.context.close()


def test_values_of_the_report_lie_within_a_phone(browser: Any, site: Path) -> None:
    page = opened(browser, site, "report-2025", 390)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    outside = page.evaluate(
        "[...document.querySelectorAll('.v')].filter(one => { const box = one.getBoundingClientRect();"
        " return box.width && (box.left < 0 || box.right > innerWidth) }).map(one => one.textContent)"
    )
    assert outside == []
    page.context.close()


def test_without_script_all_but_the_search_is_there(browser: Any, site: Path) -> None:
    page = opened(browser, site, "figures", java_script_enabled=False)
    assert page.locator("li[data-search]").count() > 60
    assert not page.locator("#q").is_visible()
    page.context.close()


def test_the_search_finds_a_figure_by_its_keywords_in_any_accent(browser: Any, site: Path) -> None:
    page = opened(browser, site, "figures")
    for typed, least in (("odotusajat", 2), ("ODOTUSAIKA", 2), ("pelastuslaitos", 3), ("nainsanaaeiole", 0)):
        page.fill("#q", typed)
        found = page.locator("li[data-search]:visible").count()
        assert found >= least if least else found == 0
        assert (page.text_content("#q-none") == "Ei osumia.") == (not least)
    page.context.close()


def test_forced_colours_show_charts_and_coverage(browser: Any, site: Path) -> None:
    page = opened(browser, site, "figure-call_mean_wait_seconds", forced_colors="active")
    strokes = page.evaluate("getComputedStyle(document.querySelector('.plot polyline')).stroke")
    assert strokes != "none"
    page.goto((site / "fi/quality-2025.html").as_uri())
    colours = page.evaluate(
        "['usual', 'none'].map(kind => { const cell = document.querySelector(`.coverage td.${kind}`);"
        " return cell && getComputedStyle(cell).backgroundColor })"
    )
    assert colours[0] != colours[1]
    page.context.close()


@pytest.mark.parametrize("name", ["index", "report-2025", "figure-call_mean_wait_seconds", "quality", "figures"])
def test_the_keyboard_reaches_every_link_and_shows_where_it_is(browser: Any, site: Path, name: str) -> None:
    page = opened(browser, site, name)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    count = page.locator("a[href], summary, input").count()
    seen = set()
    for _ in range(count):
        page.keyboard.press("Tab")
        here = page.evaluate(
            "[document.activeElement.getAttribute('href'), document.activeElement.textContent,"
            " getComputedStyle(document.activeElement).outlineStyle]"
        )
        assert here[2] == "solid", here
        seen.add((here[0], here[1]))
    wanted = page.evaluate(
        "[...document.querySelectorAll('a[href]')].map(one => [one.getAttribute('href'), one.textContent])"
    )
    assert {tuple(one) for one in wanted} <= seen
    page.context.close()


@pytest.mark.parametrize("name", ["report-2025", "figure-call_mean_wait_seconds", "quality-2025"])
def test_paper_shows_every_table_whole(browser: Any, site: Path, name: str) -> None:
    """A sheet of A4 within its margins is 688 pixels wide: no column is cut, and closed details are there."""
    page = opened(browser, site, name, 688)
    page.emulate_media(media="print")
    assert page.evaluate("document.querySelectorAll('table').length")
    # What a closed element holds is laid out in a frame after the one that changes the medium.
    page.wait_for_function(
        "[...document.querySelectorAll('details table')].every(one =>"
        " one.checkVisibility({contentVisibilityAuto: true}) && one.getBoundingClientRect().height)"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 688
    cut = page.evaluate(
        "[...document.querySelectorAll('th, td')].filter(one => one.getBoundingClientRect().right > innerWidth + 1)"
        ".map(one => one.textContent)"
    )
    assert cut == []
    pdf = page.pdf(format="A4", tagged=True)
    assert pdf.startswith(b"%PDF")
    assert b"/StructTreeRoot" in pdf
    page.context.close()
