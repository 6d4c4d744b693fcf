"""The pages of the report years open on a closed network, say what was seen, and run nothing that was delivered."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

OUTSIDE = re.compile(r"(?i)(?:https?:)?//|url\(|@import")


class Attributes(HTMLParser):
    """Collects tags and the attributes that make a browser fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.fetched: list[str] = []
        self.lang = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = dict(attrs)
        self.lang = self.lang or (values.get("lang") or "")
        self.fetched += [str(values[name]) for name in ("src", "href", "srcset", "action", "data") if name in values]


@pytest.fixture(scope="module")
def pages(demo_project: Path) -> dict[str, str]:
    folder = demo_project / "warehouse/current/report"
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.html"))}


def test_there_is_a_page_for_each_year_and_an_index(pages: dict[str, str]) -> None:
    assert list(pages) == ["2021.html", "2022.html", "2023.html", "2024.html", "2025.html", "index.html"]


def test_no_page_asks_anything_of_the_network(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        seen = Attributes()
        seen.feed(text)
        assert seen.lang == "fi"
        assert not {"script", "iframe", "img", "object", "embed", "form"} & seen.tags, name
        assert all(not OUTSIDE.search(target) for target in seen.fetched), name
        for style in re.findall(r"(?s)<style[^>]*>(.*?)</style>", text):
            assert not OUTSIDE.search(style), name


def test_the_pages_say_that_the_data_is_synthetic_and_what_was_seen(pages: dict[str, str]) -> None:
    for text in pages.values():
        assert "SYNTEETTISTÄ AINEISTOA" in text
    assert "call_mean_wait_seconds" in pages["2025.html"]
    assert "9 min 13 s" in pages["2025.html"].replace("\u00a0", " ")
