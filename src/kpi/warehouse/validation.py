"""Judging the report years of a build: of a candidate as it is made, or of one that stands already, nothing rebuilt."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from kpi.base import engine
from kpi.deliveries.feed import Feed, is_feed, read_feed
from kpi.parse.project import load_project
from kpi.warehouse.builds import Warehouse
from kpi.warehouse.rights import DATABASE, database
from kpi.yearly import frames as yearly_frames
from kpi.yearly import pages as report_pages
from kpi.yearly.pages import About, is_labelled_synthetic, write_pages
from kpi.yearly.parts import FeedExpectation

if TYPE_CHECKING:
    from kpi.yearly.expectations import YearResult

__all__ = ["About", "carry_over", "feed_expectations", "is_labelled_synthetic", "judge", "judge_candidate"]

EXPECTATIONS = "expectations.json"
PAGES = "report"
LOOKED_AT = frozenset((*yearly_frames.INPUTS, *report_pages.INPUTS))  # the tables that results and pages are made from
WIDTH = 100


def feed_expectations(feeds: Iterable[Feed]) -> tuple[FeedExpectation, ...]:
    """Return how often each feed is expected, by its contract."""
    return tuple(
        FeedExpectation(feed.name, feed.expected_every, feed.expected_from, cadence=feed.cadence) for feed in feeds
    )


def judge_candidate(
    con: duckdb.DuckDBPyConnection, folder: Path, feeds: Sequence[FeedExpectation], about: About
) -> tuple[YearResult, ...]:
    """Judge a candidate: the results become a table in it, and JSON and pages in its folder."""
    from kpi.yearly.expectations import results_as_json, validate, write_results

    results = validate(con, feeds, about.as_of, is_more_expected=not about.is_synthetic)
    write_results(con, results)
    (folder / EXPECTATIONS).write_text(results_as_json(results), encoding="utf-8")
    write_pages(folder / PAGES, con, results, about)
    return results


def carry_over(source: Path, folder: Path) -> None:
    """Copy what was found when the report years were last judged. The pages name the build they were judged in."""
    if (source / EXPECTATIONS).is_file():
        shutil.copyfile(source / EXPECTATIONS, folder / EXPECTATIONS)
    if (source / PAGES).is_dir():
        shutil.copytree(source / PAGES, folder / PAGES)


def judge(
    root: Path, build: str | None, year: int | None, as_of: date | None, html: Path | None
) -> tuple[YearResult, ...]:
    """Judge the published build, or the one with the given id, by the rules and contracts of today.

    `as_of` is the day to judge on; None is the day of the refresh that made the build. Pages are written into `html`
    when it is given. A year that the build does not hold fails as empty. Raises ConfigError when there is no build.
    """
    from kpi.yearly.expectations import validate

    warehouse = Warehouse(root.resolve() / "warehouse")
    folder = warehouse.folder(build)
    facts = warehouse.facts(folder)
    day = as_of or date.fromisoformat(facts["as_of"])
    feeds = feed_expectations(read_feed(source) for source in load_project(root).sources if is_feed(source))
    # A year is judged by marts and seeds, which readers have too, where there is a file for them.
    with engine.reading(database(folder, stewards=not os.path.lexists(folder / DATABASE))) as con:
        results = validate(con, feeds, day, year, is_more_expected=not facts.get("synthetic"))
        if html is not None:
            write_pages(html, con, results, About(facts["id"], day, bool(facts.get("synthetic"))))
    return results


def result_lines(results: Sequence[YearResult], width: int = WIDTH) -> list[str]:
    """Return what does not hold as a table, year by year, and a line that sums up each year; at most `width` wide."""
    failed = [result for result in results if not result.success]
    lines: list[str] = []
    if failed:
        names = max(len("expectation"), *(min(len(result.expectation), 36) for result in failed))
        room = width - names - 18
        lines = [
            f"year  severity  {'expectation':<{names}}  seen",
            f"----  --------  {'-' * names}  {'-' * room}",
        ]
        for result in failed:
            seen = textwrap.wrap(_printable(result.observed), room) or [""]
            name = textwrap.wrap(result.expectation, names) or [""]
            for place in range(max(len(seen), len(name))):
                first = f"{result.report_year}  {_severity(result):<8}" if place == 0 else " " * 14
                cells = [column[place] if place < len(column) else "" for column in (name, seen)]
                lines.append(f"{first}  {cells[0]:<{names}}  {cells[1]}".rstrip())
        lines.append("")
    return [*lines, *(_summary(year, results) for year in sorted({result.report_year for result in results}))]


def errors(results: Iterable[YearResult]) -> list[YearResult]:
    """Return the results that keep a build from being published."""
    return [result for result in results if not result.success and result.severity == "error"]


def _severity(result: YearResult) -> str:
    return "error" if result.severity == "error" else "warning"


def _printable(text: str) -> str:
    """Return the text without what would steer a terminal: the codes in it were delivered."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _summary(year: int, results: Sequence[YearResult]) -> str:
    of_year = [result for result in results if result.report_year == year]
    failed = [_severity(result) for result in of_year if not result.success]
    counts = [(failed.count(kind), kind) for kind in ("error", "warning")]
    told = " and ".join(f"{count} {kind}{'s' * (count > 1)}" for count, kind in counts if count) or "all hold"
    running = ", not over yet" if any(result.is_provisional for result in of_year) else ""
    return f"{year}: {len(of_year)} expectation{'s' * (len(of_year) != 1)}, {told}{running}."
