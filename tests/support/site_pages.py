"""The pages of a site as tests read them: their numbers with what they are of, and a site of the printed figures."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import duckdb

from kpi.settings import ReportTables
from kpi.site.pages import About
from kpi.site.site import ProjectFiles, Written, read_results, write_site

VOID = {"meta", "link", "br", "img", "input", "hr"}
PARTS = ("figure", "service", "year", "basis", "form", "month")


class Numbers(HTMLParser):
    """The numbers of a page, each with its figure, service, year, basis and form, its own or those of what holds it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[dict[str, str], str]] = []
        self._open: list[tuple[str, dict[str, str]]] = []
        self._years: list[str] = []
        self._column = 0
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in VOID:
            return
        known = dict(attrs)
        own = {part: known[f"data-{part}"] or "" for part in PARTS if f"data-{part}" in known}
        if tag in ("th", "td"):
            self._column += 1
        if tag == "tr":
            self._column = 0
        if known.get("class") == "v":
            self.found.append(({**self._of(), **own}, ""))
            own["number"] = "yes"
        elif tag == "td" and "month" in self._of():
            self.found.append(({**self._of(), "year": self._years[self._column - 1]}, ""))
            own["number"] = "yes"
        elif tag == "table":
            self._years = []
        self._open.append((tag, own))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        tags = [tag for tag, _ in self._open]
        if "thead" in tags and tags[-1] == "th":
            self._years.append(data)
        if self._open and "number" in self._open[-1][1]:
            of, text = self.found[-1]
            self.found[-1] = (of, text + data)

    def _of(self) -> dict[str, str]:
        of: dict[str, str] = {}
        for _, own in self._open:
            of |= {part: value for part, value in own.items() if part != "number"}
        return of


def numbers_of(folder: Path) -> Iterator[tuple[Path, dict[str, str], str]]:
    """Yield each number of each page of a folder."""
    for path in sorted(folder.rglob("*.html")):
        for of, text in Numbers(path.read_text(encoding="utf-8")).found:
            if text:
                yield path, of, text


def database_of(root: Path) -> Path:
    """Return the database of the published build."""
    return (root / "warehouse/current/kpi.duckdb").resolve()


def write_again(root: Path, folder: Path, database: Path | None = None, is_public: bool = False) -> Written:
    """Write the site of the published build, or of another database, without models."""
    build = database_of(root).parent
    about = About(build.name, date(2026, 11, 21), True, is_public)
    with duckdb.connect(str(database or database_of(root)), read_only=True) as con:
        project = ProjectFiles(root, ReportTables())
        written = write_site(folder, con, project, about, read_results(build, "expectations.json"))
    assert written is not None
    return written


def as_printed(root: Path, folder: Path) -> Path:
    """Return a copy of the build in which every printed figure is what was printed, as in the full-size demo."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / "printed.duckdb"
    shutil.copyfile(database_of(root), copy)
    copy.chmod(0o644)
    with duckdb.connect(str(copy)) as con:
        key = "i.figure_id = p.figure_id and i.service = p.service and i.report_year = p.report_year"
        con.execute(
            f"delete from marts.indicators as i using seeds.published_figures as p where {key} and i.basis = p.basis"
        )
        con.execute(
            "insert into marts.indicators (figure_id, service, report_year, basis, value)"
            " select figure_id, service, report_year, basis, value::double from seeds.published_figures"
        )
        con.execute("update marts.reconciliation set value = published_value, status = 'reproduced'")
    return copy
