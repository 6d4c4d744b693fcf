"""An explanation as people read it: one screen of text, and HTML for a notebook."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kpi.provenance.explanation import LeftOut, Names, Part, Step

if TYPE_CHECKING:
    from kpi.provenance.explanation import Explanation

WIDTH = 80
_FILES = 6
_UNITS = {"percent": " %", "seconds": " s", "count_per_day": " a day"}
_QUALIFIERS = {"about": "about ", "more_than": "over ", "less_than": "under "}
_COMPARISONS = {"at_least": "at least ", "at_most": "at most ", "under": "under "}
_FI = {
    "unrounded": "pyöristämättä",
    "numerator": "osoittaja",
    "denominator": "nimittäjä",
    "value": "arvo",
    "definition": "määritelmä",
    "valid since": "voimassa alkaen",
    "source": "lähde",
    "owner": "omistaja",
    "target": "tavoite",
    "limit": "määräaika",
    "year before": "edellisvuosi",
    "break": "katkos",
    "printed": "julkaistu",
    "made of": "koostuu luvuista",
    "entered": "syötetty käsin",
    "Path": "Polku",
    "Left out": "Pois jätetyt",
    "Deliveries": "Toimitukset",
    "Checks": "Tarkistukset",
    "rows": "riviä",
    "rejected": "hylätty",
    "corrected": "korjattu",
    "counted": "laskettu",
    "superseded by a later delivery": "korvautunut uudemmalla toimituksella",
    "rejected when it was loaded": "hylätty latauksessa",
    "joined to nothing": "ei löytänyt paria",
}


def as_text(found: Explanation) -> str:
    """Return the screen: at most 80 wide, no colour, no escape sequence."""
    return "\n".join(_lines(found))


def as_html(found: Explanation) -> str:
    """Return the screen as HTML, with the SQL of each step to unfold."""
    parts = [f"<pre>{html.escape(as_text(found))}</pre>"]
    for step in found.steps:
        if step.sql:
            head = f"{html.escape(step.model)}: {html.escape(', '.join(step.columns))}"
            parts.append(f"<details><summary>{head}</summary><pre>{html.escape(step.sql)}</pre></details>")
    return "\n".join(parts)


class _Words:
    """Headings and texts in the language that was asked for."""

    def __init__(self, lang: str) -> None:
        self.lang = lang

    def __call__(self, word: str) -> str:
        return _FI.get(word, word) if self.lang == "fi" else word

    def of(self, names: Names) -> str:
        """A text in the language, else in English, else in any."""
        return names.get(self.lang) or names.get("en") or next(iter(names.values()), "")


def _lines(found: Explanation) -> Iterator[str]:
    word, key, told = _Words(found.lang), found.key, found.definition
    unit = _UNITS.get(told.unit, "")
    yield _fit(f"{key.figure_id}  {key.service}  {key.report_year}  {key.basis}")
    title = ", ".join(part for part in (word.of(told.names), word.of(told.service_names)) if part)
    yield from _wrapped("", title)
    unrounded = "" if found.value is None else f"   ({_number(found.value)} {word('unrounded')})"
    yield f"  = {found.shown}{unit}{unrounded}"
    yield from _kept(found)
    yield from _part(word, found.numerator)
    yield from _part(word, found.denominator)
    if found.last_full_month:
        yield f"  months 1 to {found.last_full_month}: the year is not finished"
    yield from _wrapped(word("definition"), word.of(told.definitions))
    since = [told.unit and f"unit {told.unit}", told.valid_from and f"{word('valid since')} {told.valid_from}"]
    yield from _wrapped("", ", ".join(part for part in (*since, told.source) if part))
    yield from _wrapped(word("owner"), word.of(told.owner))
    yield from _beside(found, word, unit)
    for row in found.entered:
        cells = [f"{name} {value}" for name, value in row.items() if value and name != "counts_as"]
        yield from _wrapped(word("entered"), "; ".join(cells))
    for one in found.components:
        value = "-" if one.value is None else _number(one.value)
        name = f"{one.key.figure_id} {one.key.service} {one.key.report_year} {one.key.basis}"
        yield from _wrapped(word("made of"), f"{f'{one.role}: ' if one.role else ''}{name} = {value}")
    yield from _steps(found, word)
    yield from _left_out(found.left_out, word)
    yield from _deliveries(found, word)
    yield from _checks(found, word)
    if found.needs_stewards:
        names = ", ".join(found.needs_stewards)
        yield from _wrapped("", f"The rows are in {names}, which is left out of this file: --stewards opens the other.")
    if found.untraced:
        yield from _wrapped("", f"Not traced to its rows: {found.untraced}")


def _kept(found: Explanation) -> Iterator[str]:
    if found.origin == "kept":
        when = f" on {found.kept_on}" if found.kept_on else ""
        text = f"Its deliveries were deleted{when}. It stands as build {found.kept_from} had it; no row is left of it."
        yield from _wrapped("", text)


def _part(word: _Words, part: Part) -> Iterator[str]:
    if part.kind == "none":
        return
    label = word("value" if part.column == "value" else part.column)
    value = "-" if part.value is None else _number(part.value)
    text = value
    if part.row_count is not None:
        text += f"   {_number(part.row_count)} {word('rows')}: {part.expression}"
    elif part.expression:
        text += f"   {part.expression}"
    yield from _wrapped(label, text)
    if part.is_exact is False:
        yield from _wrapped("", f"its rows come to {part.total}, which is another number")


def _beside(found: Explanation, word: _Words, unit: str) -> Iterator[str]:
    """What the figure is held against: targets, limits, the year before, the printed value."""
    if found.target is not None:
        comparison = _COMPARISONS.get(found.target.comparison, "")
        yield from _wrapped(word("target"), f"{comparison}{_number(found.target.target)}{unit}  {found.target.source}")
    for limit in found.limits:
        text = word.of(limit.labels)
        plain = [f"{name} {value}" for name, value in limit.values.items() if not name.startswith("limit_") or not text]
        yield from _wrapped(word("limit"), f"{f'{text}: ' if text else ''}{', '.join(plain)}")
    before = found.year_before
    if before is not None:
        change = "" if before.change is None else f", change {before.change:+.4g}"
        yield from _wrapped(word("year before"), f"{before.report_year}: {before.shown}{unit}{change}")
        for day, reasons in before.breaks:
            yield from _wrapped(word("break"), f"{day}: {word.of(reasons)}")
    printed = found.printed
    if printed is not None:
        places = int(printed.decimals) if printed.decimals.isdigit() else 0
        value = f"{_QUALIFIERS.get(printed.qualifier, '')}{printed.value:.{places}f}{unit}"
        yield from _wrapped(word("printed"), f"{value}: {printed.status}. {printed.reason} ({printed.source})")


def _steps(found: Explanation, word: _Words) -> Iterator[str]:
    if not found.steps:
        return
    yield ""
    yield f"{word('Path')}{'rows in':>48}{'rows out':>12}"
    for step in found.steps:
        yield _fit(f"  {step.model:<40}{_count(step.rows_in):>10}{_count(step.rows_out):>12}")
        if step.columns and step.kind != "raw":
            yield from _wrapped("", _columns(step), indent="      ")


def _columns(step: Step) -> str:
    hidden = ("figure_id", "service", "report_year", "report_month", "basis", "is_comparison", "last_full_month")
    return ", ".join(name for name in step.columns if name not in hidden)


def _left_out(left_out: Sequence[LeftOut], word: _Words) -> Iterator[str]:
    if not left_out:
        return
    yield ""
    yield word("Left out")
    for one in left_out:
        text = clause_text(one, word.lang)
        first, *rest = textwrap.wrap(f"{text}  [{one.model.rpartition('.')[2]}]", WIDTH - 14) or [""]
        yield f"{_number(one.row_count):>12}  {first}"
        yield from (f"{'':>14}{line}" for line in rest[:2])


def clause_text(one: LeftOut, lang: str) -> str:
    """Return what left rows out: in the project's words, else in the engine's, else as SQL."""
    word = _Words(lang)
    if one.labels:
        return word.of(one.labels)
    own = {
        "not _is_superseded": "superseded by a later delivery",
        "rejected": "rejected when it was loaded",
        "not joined": "joined to nothing",
    }
    text = own.get(one.clause.lower())
    return word(text) if text else f"not: {one.clause}"


def _deliveries(found: Explanation, word: _Words) -> Iterator[str]:
    if not found.deliveries:
        return
    yield ""
    yield f"{word('Deliveries')}: {len(found.deliveries)}"
    for one in found.deliveries[:_FILES]:
        state = "deleted" if one.is_deleted else ""
        state = f"{word('corrected')}: {', '.join(one.superseded_by)}" if one.superseded_by else state
        counts = f"{_count(one.rows_counted):>9} of {_count(one.rows_loaded):>8}"
        rejected = f", {one.rows_rejected} {word('rejected')}" if one.rows_rejected else ""
        yield _fit(f"  {one.content_hash[:10]} {counts}  {one.feed}/{one.file}{rejected}  {state}")
    if len(found.deliveries) > _FILES:
        yield f"  and {len(found.deliveries) - _FILES} more; all are in --json"


def _checks(found: Explanation, word: _Words) -> Iterator[str]:
    if not found.checks:
        return
    bad = [one for one in found.checks if one.status != "pass"]
    tests = sum(one.kind == "test" for one in found.checks)
    good = f"{tests} tests of these models, {len(found.checks) - tests} expectations of {found.key.report_year}"
    yield ""
    yield _fit(f"{word('Checks')}: {good}: {len(bad) or 'none'} found fault")
    for one in bad[:3]:
        yield from _wrapped("", f"{one.status}: {one.name}{f' ({one.model})' if one.model else ''}")


def _wrapped(label: str, text: str, indent: str = "  ") -> Iterator[str]:
    """Lines of a text after its label, at most 80 wide and four of them."""
    text = " ".join(text.split())
    if not text:
        return
    head = f"{indent}{label:<14}" if label else indent
    rest = " " * len(head)
    lines = textwrap.wrap(text, WIDTH - len(head), break_on_hyphens=False)
    for number, line in enumerate(lines[:4]):
        cut = f"{line[: WIDTH - len(head) - 1]}…" if number == 3 and len(lines) > 4 else line
        yield f"{head if not number else rest}{cut}"


def _fit(line: str) -> str:
    line = line.rstrip()
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"


def _number(value: float) -> str:
    """A number with spaces between thousands, and all digits that it has."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", " ")
    return repr(float(value))


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}".replace(",", " ")
