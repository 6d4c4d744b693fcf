"""What the pages on the quality of a year show: the verdict, what failed, coverage, rejects and every check."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from statistics import median
from typing import Any

from markupsafe import Markup

from kpi.lazy import duckdb
from kpi.presentation import MINUS, NO_VALUE, Form, significant
from kpi.site.content import Content, Row
from kpi.site.figure_data import columns
from kpi.site.figure_pages import Writer, printed_rows

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
