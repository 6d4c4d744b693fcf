"""Every page of a site in one language: which template it is, what it is called, and what stands on it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from functools import partial
from statistics import median
from typing import Any

from markupsafe import Markup

from kpi.files import checksum
from kpi.lazy import duckdb
from kpi.presentation import LANGUAGES, MINUS, NO_VALUE, Form, significant
from kpi.site.content import Content, Row, by_theme
from kpi.site.figure_data import columns
from kpi.site.figure_pages import (
    Writer,
    figure_page,
    file_name,
    headline_values,
    latest_value,
    page_of,
    printed_rows,
    report_page,
    row_of,
)
from kpi.site.model_pages import Models, computed, groups, model_page, page_of_model
from kpi.site.sentences import Language, Sentences, read_language

ROWS_SHOWN = 10  # of a failed check on the page of its year; the rest is on a page of its own
_HYPHEN = re.compile(r"(?<=\s)-(?=\d)")  # before a limit, as SQL and Python write it
_FEED_TOPICS = ("months", "deliveries")
_SUMS = "parts"


@dataclass(frozen=True, slots=True)
class Rejects:
    """How many rows of a feed were loaded and rejected, and for which reasons, by their codes in `raw.rejects`."""

    feed: str
    loaded: int
    rejected: int
    reasons: tuple[tuple[str, int], ...] = ()


def read_rejects(con: duckdb.DuckDBPyConnection) -> list[Rejects]:
    """Return the rejects of each feed that has any; nothing where there are no deliveries, or they are not to be read.

    A build of a kpi without codes has no reasons.
    """
    if not {"feed", "rows_loaded", "rows_rejected"} <= columns(con, "raw.deliveries").keys():
        return []
    reasons: dict[str, list[tuple[str, int]]] = {}
    if "code VARCHAR" in columns(con, "raw.rejects").get("reasons", ""):
        for feed, code, count in con.execute(
            "select feed, one.code, count(*) from (select feed, unnest(reasons) as one from raw.rejects) group by all"
            " order by feed, count(*) desc, one.code"
        ).fetchall():
            reasons.setdefault(feed, []).append((code, count))
    return [
        Rejects(feed, loaded, rejected, tuple(reasons.get(feed, ())[:5]))
        for feed, loaded, rejected in con.execute(
            "select feed, sum(rows_loaded)::bigint, sum(rows_rejected)::bigint from raw.deliveries group by feed"
            " having sum(rows_rejected) > 0 order by feed"
        ).fetchall()
    ]


def kind_of(result: Mapping[str, Any]) -> str:
    """Return ok, warning or error."""
    return "ok" if result["success"] else "error" if result["severity"] == "error" else "warning"


def verdict(writer: Writer, results: Sequence[Row]) -> tuple[str, str]:
    """Return how a year stands, in one word and in one sentence."""
    kinds = [kind_of(result) for result in results]
    worst = next((kind for kind in ("error", "warning") if kind in kinds), "ok")
    counts = {"count": len(kinds), "warnings": kinds.count("warning"), "errors": kinds.count("error")}
    return worst, writer.language.say(f"verdict_{worst}", **counts)


def status(writer: Writer, year: int) -> str:
    """Say how many of the printed figures of a year are reproduced, and how many differ."""
    of_year = [row["status"] for key, row in writer.content.printed.items() if key[2] == year]
    if not of_year:
        return writer.language.say("status_none")
    text = writer.language.say("status_of", reproduced=of_year.count("reproduced"), total=len(of_year))
    differs = of_year.count("differs")
    return (
        f"{text} {writer.language.say('differs_count' if differs > 1 else 'differs_one', count=differs)}"
        if differs
        else text
    )


def reject_rows(writer: Writer, rejects: Iterable[Rejects]) -> list[tuple[str, str, str, list[tuple[str, str]]]]:
    """Return each feed that has rejects, with the numbers of its rows, and of them by reason in words."""
    content, language = writer.content, writer.language
    return [
        (
            content.name("feed", one.feed, language.code),
            language.number(one.loaded),
            language.number(one.rejected),
            [(language.reject_reasons.get(code, code), language.number(count)) for code, count in one.reasons],
        )
        for one in rejects
    ]


def quality_page(writer: Writer, year: int, results: Sequence[Row]) -> Row:
    """Return what the page of the quality of a year shows."""
    checks = [_check(writer, result, place, year) for place, result in enumerate(results, 1)]
    topics: dict[str, list[Row]] = {}
    for check in checks:
        topics.setdefault(check["topic"], []).append(check)
    worst, sentence = verdict(writer, results)
    code = writer.language.code
    return {
        "verdict_kind": worst,
        "verdict": sentence,
        "status": status(writer, year),
        "is_unfinished": any(result["is_provisional"] for result in results),
        "failed": [check for kind in ("error", "warning") for check in checks if check["kind"] == kind],
        "feeds": _coverage(writer, year),
        "short_months": writer.language.short_months,
        "printed": printed_rows(writer, year),
        "topics": [(writer.content.name("topic", topic, code), of_topic) for topic, of_topic in topics.items()],
        "checks": checks,
    }


def described(writer: Writer, result: Row) -> Markup | str:
    """Return what a check expects, in the language of the page or else in English, marked as such."""
    language = writer.language
    if result["topic"] in _FEED_TOPICS:
        name, _, feed = result["expectation"].partition(":")
        return language.say(f"check_{name}", feed=writer.content.name("feed", feed, language.code))
    if language.code == "en":
        return _HYPHEN.sub(MINUS, str(result["description"]))
    return str(result.get(f"description_{language.code}") or "") or _in_english(result["description"])


def _in_english(text: str) -> Markup:
    return Markup('<span lang="en">{}</span>').format(text)


def _check(writer: Writer, result: Row, place: int, year: int) -> Row:
    rows = [_row(writer, row, result["topic"]) for row in result["rows"]]
    is_long = len(rows) > ROWS_SHOWN
    href = f"quality-{year}-{place}.html" if is_long else ""
    return {
        "id": result["expectation"],
        "topic": result["topic"],
        "kind": kind_of(result),
        "text": described(writer, result),
        "seen": "" if rows else _seen(writer, result),
        "rows": rows[:ROWS_SHOWN],
        "all_rows": rows,
        "href": href,
        "more": writer.language.say("all_rows", count=writer.language.number(len(rows))) if is_long else "",
    }


def _seen(writer: Writer, result: Row) -> str:
    """Return the range of the values that a check looked at, in their unit; nothing where they are in several."""
    low, high, unit = result["lowest"], result["highest"], result.get("unit", "")
    if low is None or high is None or unit is None or result["topic"] in (_SUMS, *_FEED_TOPICS):
        return ""
    if unit == "year":
        texts = [f"{value:.0f}" for value in (low, high)]
    else:
        form = writer.content.form_of_unit(unit or "count", writer.language.code)
        texts = [_amount(form, value, 4) for value in (low, high)]
    return texts[0] if texts[0] == texts[1] else " … ".join(texts)


def _amount(form: Form, value: float | None, digits: int = 6) -> str:
    """Write what a check saw, which is not rounded: whole numbers and seconds whole, all else with some digits."""
    if value is None:
        return NO_VALUE
    if form.unit == "seconds" or value == int(value):
        return replace(form, decimals=None).write(Decimal(round(value)))
    return replace(form, decimals=None).write(Decimal(significant(value, digits)))


def _row(writer: Writer, row: Mapping[str, Any], topic: str) -> tuple[str, str, str, str]:
    """Return a row that breaks a check: what it is, its value and what that was compared with, in its own unit."""
    content, language = writer.content, writer.language
    figure, service, feed = row.get("figure_id"), row.get("service"), row.get("feed")
    names = [content.name("feed", feed, language.code)] if feed else []
    form = Form(language=language.code)
    if figure:
        names = [content.figure_name(figure, language.code)]
        form = content.form(figure, language.code)
        if service:
            names.append(content.service_name(figure, service, language.code))
    if row.get("basis") and row["basis"] != "calendar_year":
        names.append(content.name("basis", row["basis"], language.code))
    if row.get("month"):
        names.append(language.months[row["month"] - 1])
    note = str(row.get("note") or "") if language.code == "fi" or topic == _SUMS else ""  # of sums, a formula
    return ", ".join(names), _amount(form, row.get("value")), _amount(form, row.get("compared")), note


def _coverage(writer: Writer, year: int) -> list[tuple[str, list[tuple[str, str, str, str]]]]:
    """Return each feed with its months: usual, low (under half of its median month of the year) or none."""
    content, language = writer.content, writer.language
    months = content.coverage.get(year, {})
    found = []
    for feed in sorted(months, key=lambda name: _place(content, name)):
        counts = months[feed]
        middle = median(counts.values())
        cells = []
        for month, name in enumerate(language.months, 1):
            count = counts.get(month, 0)
            kind = "none" if not count else "low" if count < middle / 2 else "usual"
            cells.append((kind, name, language.number(count), language.say(f"month_{kind}")))
        found.append((content.name("feed", feed, language.code), cells))
    return found


def _place(content: Content, feed: str) -> tuple[int, str]:
    known: Iterable[str] = content.codes.get("feed", {})
    order = list(known)
    return (order.index(feed) if feed in order else len(order), feed)


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
