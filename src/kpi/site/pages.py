"""Every page of a site in one language: which template it is, what it is called, and what stands on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from typing import Any

from kpi.files import checksum
from kpi.presentation import LANGUAGES
from kpi.site.content import Content, Row, by_theme
from kpi.site.figure_pages import (
    Writer,
    figure_page,
    file_name,
    headline_values,
    latest_value,
    page_of,
    report_page,
    row_of,
)
from kpi.site.model_pages import Models, computed, groups, model_page, page_of_model
from kpi.site.quality_pages import Rejects, described, kind_of, quality_page, reject_rows, status, verdict
from kpi.site.sentences import Language, Sentences, read_language


@dataclass(frozen=True, slots=True)
class About:
    """Which build the pages are of, of which day, whether its deliveries are synthetic, and whether they are public."""

    build: str
    as_of: date
    is_synthetic: bool = False
    is_public: bool = False


@dataclass(frozen=True, slots=True)
class Download:
    """A file that the pages offer: its path from a page, what it holds as a label, of which figure, and its size."""

    path: str
    label: str
    size: int
    figure_id: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """All that the pages are made from."""

    content: Content
    about: About
    sentences: Sentences
    results: Sequence[Row] = ()
    rejects: Sequence[Rejects] = ()
    models: Models = field(default_factory=Models)
    downloads: Sequence[Download] = ()

    def of_figures(self) -> Mapping[str, tuple[Source, str]]:
        """Return for each figure what its page is made from, and a hash of that: nothing else is there to be shown.

        Of checks it is those that found something in the figure, as far as its page tells of them.
        """
        contents, results = self.content.of_figures(), dict[str, list[Row]]()
        for result in self.results:
            for figure_id in dict.fromkeys(row.get("figure_id") for row in result["rows"]):
                if figure_id:
                    known = {key: value for key, value in result.items() if key not in _NOT_ON_FIGURES}
                    results.setdefault(figure_id, []).append(known)
        downloads = {one.figure_id: (one,) for one in self.downloads if one.figure_id}
        names = repr((self.content.names(), self.about.is_public, list(self.models.nodes)))
        found = {}
        for figure_id, file in downloads.items():
            outlines = {key: one for key, one in self.models.outlines.items() if key == figure_id}
            models = replace(self.models, outlines=outlines)
            of_it, content = tuple(results.get(figure_id, ())), contents[figure_id]
            own = Source(content, self.about, Sentences({}, {}), of_it, (), models, file)
            found[figure_id] = own, checksum(f"{names}\0{(content.known(), of_it, outlines, file)!r}", 12)
        return found


_NOT_ON_FIGURES = ("rows", "observed", "judged", "lowest", "highest")  # of the result of a check


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its file, its template, its heading, what it stands under, and what its template shows."""

    path: str
    template: str
    heading: str
    values: Row = field(default_factory=dict)
    crumbs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """A page before it is worked out: its file, a hash of all that it is made from (empty where that is the page)."""

    path: str
    inputs: str
    make: Callable[[], Page]

    @classmethod
    def of(cls, page: Page) -> Draft:
        """Return a page that was worked out."""
        return cls(page.path, "", lambda: page)


@dataclass(frozen=True, slots=True)
class Site:
    """The pages of a source in one language; `of_figures` and the hashes `of_models` are the same in each."""

    source: Source
    language: Language
    of_figures: Mapping[str, tuple[Source, str]] = field(default_factory=dict)
    of_models: Mapping[str, str] = field(default_factory=dict)

    @property
    def writer(self) -> Writer:
        """What makes texts of values in this language."""
        return Writer(self.source.content, self.language)

    def menu(self) -> list[tuple[str, str]]:
        """Return the names and files of the pages that every page leads to."""
        say, years = self.language.say, self.report_years()
        links = [(say("front"), "index.html")]
        links += [(say("report_of", year=year), f"report-{year}.html") for year in years[:1]]
        links.append((say("all_figures"), "figures.html"))
        links += [(say("quality"), "quality.html")] if self.source.results else []
        links += [(say("data"), "data.html")] if self.source.models.nodes else []
        return [*links, (say("downloads"), "downloads.html"), (say("about"), "about.html")]

    def report_years(self) -> list[int]:
        """Return the years that have a report, the latest first: none where the project has no sections."""
        return self.source.content.years() if self.source.content.sections else []

    def drafts(self) -> Iterator[Draft]:
        """Yield every page; those of figures and tables are worked out only when somebody asks for them."""
        yield Draft.of(self._front())
        yield from (Draft.of(self._report(year)) for year in self.report_years())
        yield Draft.of(self._list())
        for figure_id in self._figure_ids():
            source, inputs = self.of_figures[figure_id]
            yield Draft(page_of(figure_id), inputs, partial(Site(source, self.language)._figure, figure_id))
        yield from map(Draft.of, self._quality())
        yield from self._data()
        yield Draft.of(self._downloads())
        yield from map(Draft.of, self._texts())

    def _front(self) -> Page:
        say, content = self.language.say, self.source.content
        finished = [year for year in content.years() if not self._is_unfinished(year)]
        year = next(iter(finished or content.years()), 0)
        years = [
            {
                "links": self._links(year),
                "state": status(self.writer, year) if self.source.content.printed else "",
            }
            for year in content.years()
        ]
        return Page(
            "index.html",
            "front.html",
            content.says("title", self.language.code) or say("front"),
            {
                "year": year,
                "headlines": [self.writer.card(value) for value in headline_values(self.writer, year)],
                "status": self._state(year),
                "years": years,
            },
        )

    def _is_unfinished(self, year: int) -> bool:
        values = self.source.content.values.values()
        return any(value.key[2] == year and value.last_full_month for value in values)

    def _links(self, year: int) -> list[tuple[str, str]]:
        say = self.language.say
        links = [(say("report_of", year=year), f"report-{year}.html")] if self.report_years() else []
        return links + ([(say("quality_of", year=year), f"quality-{year}.html")] if self._results(year) else [])

    def _state(self, year: int) -> str:
        results = self._results(year)
        texts = [verdict(self.writer, results)[1]] if results else []
        return " ".join([*texts, status(self.writer, year)] if not self.source.about.is_public else [])

    def _results(self, year: int) -> list[Row]:
        return [result for result in self.source.results if result["report_year"] == year]

    def _report(self, year: int) -> Page:
        title = self.source.content.says("report_title", self.language.code) or self.language.labels["report_of"]
        values = report_page(self.writer, self.source.sentences, year)
        values |= {"year": year, "quality": f"quality-{year}.html" if self._results(year) else ""}
        heading = title.replace("{year}", str(year))
        return Page(f"report-{year}.html", "report.html", heading, values, self._crumbs())

    def _crumbs(self, *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
        return ((self.language.say("front"), "index.html"), *more)

    def _figure_ids(self) -> list[str]:
        """Return the figures that are described or told of, in the order of their list."""
        listed = list(self.source.content.figures)
        return listed + sorted(self.source.content.figure_keys.keys() - set(listed))

    def _list(self) -> Page:
        content, code = self.source.content, self.language.code
        themes = [(content.name("theme", theme, code) or self.language.say("other_figures"), ids)
                  for theme, ids in by_theme(content)]  # fmt: skip
        listed = {figure_id for _, ids in themes for figure_id in ids}
        if unlisted := [figure_id for figure_id in self._figure_ids() if figure_id not in listed]:
            themes.append((self.language.say("other_figures"), unlisted))
        values = {"themes": [(theme, [self._entry(figure_id) for figure_id in ids]) for theme, ids in themes]}
        return Page("figures.html", "list.html", self.language.say("all_figures"), values, self._crumbs())

    def _entry(self, figure_id: str) -> Row:
        content, code = self.source.content, self.language.code
        row = content.figures.get(figure_id, {})
        services = content.services.get(figure_id, [])
        keys = content.figure_keys.get(figure_id, ())
        latest = max(keys, key=lambda key: (key[2], key[1] in services[:1], key), default=None)
        names = [content.service_name(figure_id, service, code) for service in services]
        words = [row.get(f"definition_{code}"), row.get(f"keywords_{code}"), figure_id, *names]
        return {
            "of": row_of(latest) if latest else "",
            "href": page_of(figure_id),
            "name": content.figure_name(figure_id, code),
            "words": " ".join(str(word) for word in words if word),
            "value": self.writer.value(content.values[latest]) if latest else "",
            "service": content.service_name(figure_id, latest[1], code) if latest else "",
            "year": latest[2] if latest else "",
        }

    def _figure(self, figure_id: str) -> Page:
        """Return the page of the figure that all of the source is of."""
        say, content, code = self.language.say, self.source.content, self.language.code
        name = content.figure_name(figure_id, code)
        values = figure_page(self.writer, figure_id)
        values["computed"] = computed(self.source.models, self.writer, figure_id, latest_value(content, figure_id))
        values["checks"] = self._checks()
        (file,) = self.source.downloads
        values["download"] = {"href": file.path, "text": say("download_csv", size=_size(file.size, self.language))}
        publisher = content.says("publisher", code) or content.says("title", code) or "kpi"
        values["cited"] = f"{publisher}: {name}."  # the template adds the build: that is not what a page is made from
        return Page(page_of(figure_id), "figure.html", name, values, self._crumbs((say("all_figures"), "figures.html")))

    def _checks(self) -> list[tuple[str, int, Any]]:
        """Return the checks that found something in the figure that all is of, the latest year first."""
        found = [(kind_of(one), one["report_year"], described(self.writer, one)) for one in self.source.results]
        return sorted(found, key=lambda one: -one[1])

    def _quality(self) -> Iterator[Page]:
        say = self.language.say
        years = sorted({result["report_year"] for result in self.source.results}, reverse=True)
        if not years:
            return
        entries = []
        for year in years:
            results = self._results(year)
            worst, sentence = verdict(self.writer, results)
            heading, path = say("quality_of", year=year), f"quality-{year}.html"
            entries.append({"href": path, "name": heading, "kind": worst, "verdict": sentence})
            values = quality_page(self.writer, year, results)
            values["year"] = year
            yield Page(path, "quality.html", heading, values, self._crumbs((say("quality"), "quality.html")))
            for check in values["checks"]:
                if check["href"]:
                    crumbs = self._crumbs((say("quality"), "quality.html"), (heading, path))
                    yield Page(check["href"], "rows.html", f"{check['id']} {year}", {"check": check}, crumbs)
        values = {"years": entries, "rejects": reject_rows(self.writer, self.source.rejects)}
        yield Page("quality.html", "quality_index.html", say("quality"), values, self._crumbs())

    def _data(self) -> Iterator[Draft]:
        models, say = self.source.models, self.language.say
        if not models.nodes:
            return
        yield Draft.of(Page("data.html", "data.html", say("data"), {"groups": groups(models)}, self._crumbs()))
        for name in models.nodes:
            yield Draft(page_of_model(name), self.of_models.get(name, ""), partial(self.model, name))

    def model(self, name: str) -> Page:
        """Return the page of one table of the project."""
        values = {"model": model_page(self.source.models, name, self.language)}
        crumbs = self._crumbs((self.language.say("data"), "data.html"))
        return Page(page_of_model(name), "model.html", name, values, crumbs)

    def _downloads(self) -> Page:
        say, content, code = self.language.say, self.source.content, self.language.code
        rows = [
            (one.path, content.figure_name(one.figure_id, code) if one.figure_id else say(one.label),
             _size(one.size, self.language))
            for one in self.source.downloads
        ]  # fmt: skip
        facts = [(say(key), content.says(key, code)) for key in ("publisher", "contact", "licence")]
        if update := content.says("next_update", code):
            facts.append((say("next_update"), self.language.day(update)))
        values = {"downloads": rows, "facts": [(term, text) for term, text in facts if text]}
        return Page("downloads.html", "downloads.html", say("downloads"), values, self._crumbs())

    def _texts(self) -> Iterator[Page]:
        say, content, code = self.language.say, self.source.content, self.language.code
        links = [(say("glossary"), "glossary.html"), (say("accessibility"), "accessibility.html")]
        about = [("p", say(label)) for label in ("about_text", "about_rule", "about_script")]
        yield Page("about.html", "text.html", say("about"), {"blocks": [*about, ("links", links)]}, self._crumbs())
        crumbs = self._crumbs((say("about"), "about.html"))
        yield Page("accessibility.html", "text.html", say("accessibility"), {"blocks": self._statement()}, crumbs)
        names = [(other, read_language(other).say("language")) for other in _turned(code)]
        terms = {tuple((other, str(row[f"name_{other}"])) for other in _turned(code))
                 for kind in ("unit", "basis", "status", "break_kind", "family", "service", "feed")
                 for row in content.codes.get(kind, {}).values()}  # fmt: skip
        ordered = sorted(terms, key=lambda words: (words[0][1].lower(), words))
        yield Page("glossary.html", "glossary.html", say("glossary"), {"names": names, "terms": ordered}, crumbs)

    def _statement(self) -> list[tuple[str, str]]:
        """Return the accessibility statement that the law asks for."""
        say, content, code = self.language.say, self.source.content, self.language.code
        contact = ", ".join(text for key in ("contact", "contact_url") if (text := content.says(key, code)))
        supervisor = ", ".join(text for key in ("supervisor", "supervisor_url") if (text := content.says(key, code)))
        blocks = [
            ("p", say("accessibility_scope")),
            ("h2", say("accessibility_status")),
            ("p", say("accessibility_partly")),
        ]
        blocks.append(("p", say("accessibility_how")))
        if day := content.says("statement_date", code):
            blocks.append(("p", say("accessibility_made", day=self.language.day(day))))
        if contact:
            blocks += [
                ("h2", say("accessibility_feedback")),
                ("p", say("accessibility_feedback_text", contact=contact)),
            ]
        if supervisor:
            text = say("accessibility_supervisor_text", supervisor=supervisor)
            blocks += [("h2", say("accessibility_supervisor")), ("p", text)]
        return blocks


def _turned(code: str) -> list[str]:
    """Return the languages with that of the page first."""
    return [code, *(other for other in LANGUAGES if other != code)]


def _size(size: int, language: Language) -> str:
    """Write the size of a file."""
    kilobytes = max(1, round(size / 1000))
    return f"{language.number(kilobytes)}\u00a0kB"


def figure_file(figure_id: str) -> str:
    """Return the path of the file of a figure, from a page."""
    return f"../data/{file_name(figure_id)}.csv"
