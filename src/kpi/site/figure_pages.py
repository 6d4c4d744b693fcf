"""What the pages of figures and the report of a year show: cards, rows of tables, notes, charts and sentences."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, lru_cache
from itertools import groupby
from typing import Any

from markupsafe import Markup, escape

from kpi.presentation import NO_VALUE
from kpi.site import charts
from kpi.site.content import Content, Key, Row, Value, sorted_services
from kpi.site.sentences import Language, Sentences, is_met, render

_ARROWS = {"up": "▲", "down": "▼", "same": "="}
_USUAL_BASES = ("calendar_year",)
SHOWN_MONTHS = 60
LONGEST_NAME = 120


def tag(key: Key, form: str, text: str) -> Markup:
    """Return a number with what it is of, so that a reader's program and our tests can find it again."""
    figure, service, year, basis = (escape(part) for part in key)
    return Markup(
        f'<span class="v" data-figure="{figure}" data-service="{service}" data-year="{year}" data-basis="{basis}"'
        f' data-form="{escape(form)}">{escape(text)}</span>'
    )


@lru_cache(1 << 13, typed=True)  # a text is not the markup that reads the same
def cell(form: str, text: str) -> Markup:
    """Return a number in a row of a table, or a card, that says itself what it is of (`row_of`)."""
    return Markup(f'<span class="v" data-form="{form}">{escape(text)}</span>')


@lru_cache(1 << 13)
def row_of(key: Key, with_figure: bool = True) -> Markup:
    """Return the attributes of a row or card all of whose numbers are of one figure, service, year and basis."""
    figure, service, year, basis = (escape(part) for part in key)
    of_figure = f'data-figure="{figure}" ' if with_figure else ""
    return Markup(f'{of_figure}data-service="{service}" data-year="{year}" data-basis="{basis}"')


def page_of(figure_id: str) -> str:
    """Return the name of a figure's page: its id, of which only what a file name takes everywhere is kept as it is."""
    return f"figure-{file_name(figure_id)}.html"


@cache
def file_name(text: str) -> str:
    """Return a text as a part of a file's name: what is not a letter, digit or sign of its own becomes its number.

    A name that no file system has room for is cut, and its end becomes a hash of all of it.
    """
    name = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "_-.") else f"~{ord(sign):x}" for sign in text)
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[:LONGEST_NAME]}~{hashlib.blake2b(text.encode(errors='surrogatepass'), digest_size=8).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Writer:
    """Makes what a page shows of the values of a build in one language."""

    content: Content
    language: Language

    def value(self, value: Value, form: str = "stated") -> Markup:
        """Return a value as a report states it, or as it is shown in tables (`value`)."""
        if value.is_suppressed:
            return Markup(escape(self.language.say("hidden")))
        if form == "stated":
            return cell(form, self.content.written(value, self.language.code))
        return cell(form, self.content.form(value.key[0], self.language.code).write(value.shown))

    def basis(self, key: Key) -> str:
        """Return what a value is of when that is not simply its year."""
        value = self.content.values.get(key)
        if value and value.last_full_month:
            return self.language.say("to_date", month=self.language.months[value.last_full_month - 1])
        return "" if key[3] in _USUAL_BASES else self.content.name("basis", key[3], self.language.code)

    def service(self, key: Key) -> str:
        """Return the service of a value, with its basis where that is not its year and the name does not say it."""
        name, basis = self.content.service_name(key[0], key[1], self.language.code), self.basis(key)
        return name if not basis or basis.casefold() in name.casefold() else f"{name}, {basis}"

    def target(self, value: Value) -> Markup | str:
        """Return the target of a value and whether it is met; nothing where there is none."""
        target = self.content.targets.get(value.key[:3])
        if not target:
            return ""
        form = self.content.form(value.key[0], self.language.code)
        number = cell("target", form.write(_plain(target["shown"])))
        met = is_met(value, target["shown"], target["comparison"])
        text = self.language.around(f"target_{target['comparison']}", value=number)
        return text[:1].upper() + text[1:] + Markup(": ") + self.language.say("target_met" if met else "target_not_met")

    def national(self, value: Value) -> Markup | str:
        """Return the value of the whole country; nothing where it is not known."""
        row = self.content.national.get(value.key[:3])
        if not row:
            return ""
        text = self.content.form(value.key[0], self.language.code).write(_plain(row["shown"]))
        return self.language.around("national", value=cell("national", text))

    def change(self, value: Value) -> Row:
        """Return what became of a value since the year before; an empty change where there is nothing to compare."""
        row = self.content.changes.get(value.key)
        if not row or row["shown_change"] is None or value.shown is None:
            return {"change": "", "change_only": "", "previous": "", "arrow": "", "is_comparable": False}
        code, year = self.language.code, row["previous_year"]
        form = self.content.form(value.key[0], code)
        change = cell("change", form.change(row["shown_change"]))
        if row["shown_change"] == 0:
            text: Markup | str = self.language.say("no_change", year=year)
        else:
            text = self.language.around("change_from", change=change, year=year)
        return {
            "change": text,
            "change_only": change,
            "previous": cell("previous", form.write(row["previous_shown"])),
            "arrow": _ARROWS.get(row["direction"], ""),
            "is_comparable": row["is_comparable"],
            "assessment": row["assessment"],
            "assessment_name": self.content.name("assessment", row["assessment"], code),
        }

    def row(self, value: Value, notes: Mapping[Key, int] | None = None) -> Row:
        """Return a row of a table: name, service, value to its figure's precision, change, number of its note."""
        figure, note = value.key[0], (notes or {}).get(value.key)
        return {
            "of": row_of(value.key),
            "href": page_of(figure),
            "name": self.content.figure_name(figure, self.language.code),
            "service": self.service(value.key),
            "value": self.value(value, "value"),
            "note": note,
            "note_text": self.language.say("note_ref", number=note) if note else "",
            **self.change(value),
        }

    def card(self, value: Value, notes: Mapping[Key, int] | None = None) -> Row:
        """Return a card: a row with the value as stated, target, value of the country and a small line of its years."""
        row = self.row(value, notes)
        is_broken = bool(row["change"]) and not row["is_comparable"]
        spark, span = self.spark(*value.key)
        return {
            **row,
            "value": self.value(value),
            "target": self.target(value),
            "national": self.national(value),
            "spark": spark,
            "span": span,
            "caveat": self.language.say("not_comparable") if is_broken and not row["note"] else "",
        }

    def spark(self, figure: str, service: str, year: int, basis: str) -> tuple[Markup, str]:
        """Return a small line of the years up to one, broken where they cannot be compared, and which they are."""
        keys = sorted(key for key in self.content.keys.get((figure, service), ())
                      if key[2] <= year and self._is_alike(key[3], basis))  # fmt: skip
        years = list(range(keys[0][2], year + 1)) if keys else []
        by_year = {key[2]: self.content.values[key] for key in keys}
        changes = [self.content.changes.get(by_year[one].key) if one in by_year else None for one in years]
        broken = [place for place, row in enumerate(changes) if row and row["has_break"]]
        line = charts.sparkline([by_year[one].shown if one in by_year else None for one in years], broken)
        return line, f"{years[0]}–{year}" if line else ""

    @staticmethod
    def _is_alike(basis: str, other: str) -> bool:
        censuses = ("census", "census_december")
        return basis == other or (basis in censuses and other in censuses) or basis == "partial_year"

    def values_of(self, line: Row, year: int) -> list[Value]:
        """Return the values that a line of the report shows of a year: one a basis."""
        figure, service = line["figure_id"], line["service"]
        bases = self.content.bases.get((figure, service, year), [])
        chosen = [basis for basis in bases if not line["basis"] or basis == line["basis"]]
        if not line["basis"] and len(chosen) > 1:
            usual = self.content.figures.get(figure, {}).get("basis")
            chosen = [basis for basis in chosen if basis == usual] or chosen[:1]
        return [self.content.values[figure, service, year, basis] for basis in chosen]


def _plain(value: Decimal) -> Decimal:
    """Return a number without zeros at its end, as a target is set."""
    return value.quantize(Decimal(1)) if value == value.to_integral_value() else value


def report_page(writer: Writer, sentences: Sentences, year: int) -> Row:
    """Return what the report of a year shows, section by section in the project's order."""
    content, language = writer.content, writer.language
    notes, texts = notes_of(content, language, year)
    sections, shown, theme = [], set[Key](), ""
    for section in content.sections:
        lines = [(line["role"], value) for line in content.lines.get(section["section"], [])
                 for value in writer.values_of(line, year)]  # fmt: skip
        shown |= {value.key for _, value in lines}
        blocks = _blocks(writer, sentences, section["section"], year)
        if not lines and not blocks:
            continue
        name = content.name("theme", section["theme"], language.code)
        sections.append({
            "id": file_name(section["section"]),
            "title": section[f"title_{language.code}"] or section["section"],
            "theme": name if name != theme else "",
            "blocks": blocks,
            "cards": [writer.card(value, notes) for role, value in lines if role != "table"],
            "rows": [writer.row(value, notes) for _, value in lines],
            "sums": _sums(writer, [value for _, value in lines]),
        })  # fmt: skip
        theme = name
    others = [value for key, value in sorted(content.values.items(), key=lambda item: _order(content, item[0]))
              if key[2] == year and key not in shown]  # fmt: skip
    return {
        "sections": sections,
        "notes": texts,
        "others": [writer.row(value, notes) for value in others],
        "is_unfinished": any(key[2] == year and value.last_full_month for key, value in content.values.items()),
    }


def _order(content: Content, key: Key) -> tuple[Any, ...]:
    figure, service, _, basis = key
    place = content.figures.get(figure, {}).get("sort_order")
    services = content.services.get(figure, [])
    return (place is None, place or 0, figure, services.index(service) if service in services else 999, service, basis)


def _blocks(writer: Writer, sentences: Sentences, section: str, year: int) -> list[tuple[str, list[Markup]]]:
    """Return what is said of a section, list items together."""
    said = []
    for block in sentences.of(section, year, writer.language.code):
        text = render(block, year, writer.content, writer.language, tag)
        if text is not None:
            said.append(("list" if block.is_item else "quote" if block.is_quote else "text", text))
    return [(kind, [text for _, text in together]) for kind, together in groupby(said, key=lambda one: one[0])]


def _sums(writer: Writer, values: Iterable[Value]) -> list[str]:
    """Say what shares of one figure add up to as shown, when that is near 100 and is not 100."""
    found: dict[str, Decimal] = {}
    counts: Counter[str] = Counter()
    for value in values:
        form = writer.content.form(value.key[0], writer.language.code)
        if form.unit == "percent" and value.shown is not None and not value.is_suppressed:
            found[value.key[0]] = found.get(value.key[0], Decimal(0)) + value.shown
            counts[value.key[0]] += 1
    return [
        f"{writer.content.figure_name(figure, writer.language.code)}. "
        + writer.language.say("decimal_note", sum=writer.language.number(_plain(total)))
        for figure, total in found.items()
        if counts[figure] > 2 and total != 100 and 97 <= total <= 103
    ]


def notes_of(content: Content, language: Language, year: int) -> tuple[dict[Key, int], list[str]]:
    """Return the notes of a year: what cannot be compared with the year before, by reason, and the number of each."""
    by_reason: dict[str, list[Key]] = {}
    for key, row in content.changes.items():
        if key[2] == year and not row["is_comparable"] and row["shown_change"] is not None:
            reason = row[f"break_reason_{language.code}"] or language.say("other_basis") + "."
            by_reason.setdefault(reason, []).append(key)
    ordered = sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
    numbers = {key: place for place, (_, keys) in enumerate(ordered, 1) for key in keys}
    texts = [
        language.say("comparability_text" if len(keys) > 1 else "comparability_one", count=language.number(len(keys)),
                     reason=reason)
        for reason, keys in ordered
    ]  # fmt: skip
    return numbers, texts


def headline_values(writer: Writer, year: int) -> list[Value]:
    """Return the values of a year that the project calls its headlines."""
    lines = [line for section in writer.content.sections for line in writer.content.lines.get(section["section"], [])]
    return [value for line in lines if line["role"] == "headline" for value in writer.values_of(line, year)]


def figure_page(writer: Writer, figure_id: str) -> Row:
    """Return what the page of a figure shows, of all its services and years."""
    content, language = writer.content, writer.language
    code, services = language.code, sorted_services(content, figure_id)
    numbers, breaks = _numbered_breaks(content, language, figure_id, services)
    keys = _keys_of(content, figure_id)
    latest = content.values[keys[0]] if keys else None
    same_year = [content.values[key] for key in keys if key[2] == keys[0][2]]
    figure = content.figures.get(figure_id, {})
    printed = [_printed_row(writer, key) for key in _printed_keys(content, figure_id)]
    return {
        "figure_id": figure_id,
        "definition": figure.get(f"definition_{code}") or "",
        "facts": _facts(content, language, figure),
        "latest": {**writer.card(latest), "year": latest.key[2], "note": None} if latest else None,
        "charts": [chart for service in services[:1] if (chart := _chart(writer, figure_id, service, numbers))],
        "breaks": breaks,
        "years": [_year_row(writer, content.values[key]) for key in keys],
        "by_service": _bars(writer, same_year) if len(same_year) > 1 else [],
        "by_service_title": language.say("by_service", year=keys[0][2]) if keys else "",
        "months": [table for service in services if (table := _months(writer, figure_id, service))],
        "printed": printed,
        "has_reasons": any(row["reason"] for row in printed),
        "revisions": [_revision_row(writer, row) for row in content.revisions.get(figure_id, [])],
    }  # fmt: skip


def _keys_of(content: Content, figure_id: str) -> list[Key]:
    """Return the keys of a figure's values, the latest year first, services in their order."""
    return sorted(content.figure_keys.get(figure_id, ()), key=lambda key: (-key[2], _order(content, key)))


def latest_value(content: Content, figure_id: str) -> Value | None:
    """Return the value that stands at the top of a figure's page."""
    return next((content.values[key] for key in _keys_of(content, figure_id)), None)


def _facts(content: Content, language: Language, figure: Row) -> list[tuple[str, str]]:
    code = language.code
    texts = [(language.say(name), figure.get(f"{name}_{code}")) for name in ("interpretation", "limits", "legislation")]
    texts.append((language.say("unit"), content.name("unit", figure.get("unit"), code)))
    texts.append((language.say("basis"), content.name("basis", figure.get("basis"), code)))
    if figure.get("since"):
        texts.append((language.say("since"), language.day(figure["since"])))
    texts.append((language.say("source"), content.name("source", figure.get("source"), code)))
    return [(term, str(text)) for term, text in texts if text]


def _numbered_breaks(
    content: Content, language: Language, figure_id: str, services: Sequence[str]
) -> tuple[dict[tuple[int, int, str], int], list[str]]:
    """Return the number of each break by year, month and reason, and what is said of it, in the order of days."""
    found: dict[tuple[Any, str, str], None] = {}
    for service in services:
        for row in content.breaks.get((figure_id, service), []):
            found[row["starts_on"], row["kind"], row[f"reason_{language.code}"] or ""] = None
    ordered = sorted(found)
    numbers = {(day.year, day.month, reason): place for place, (day, _, reason) in enumerate(ordered, 1)}
    return numbers, [
        f"{language.day(day)} ({content.name('break_kind', kind, language.code)}): {reason}"
        for day, kind, reason in ordered
    ]


def _chart(writer: Writer, figure_id: str, service: str, numbers: Mapping[tuple[int, int, str], int]) -> Row | None:
    """Return the chart of the months of a service: of full months, breaks numbered, the target of the last year."""
    content, language = writer.content, writer.language
    rows = content.series.get((figure_id, service), [])
    full = [row for row in rows if row["is_full_month"] is not False and row["shown"] is not None]
    if len(full) < 3:
        return None
    first = full[0]["report_year"]
    last = full[-1]["report_year"]
    by_month = {(row["report_year"], row["month"]): row["shown"] for row in full}
    months = [(year, month) for year in range(first, last + 1) for month in range(1, 13)][-SHOWN_MONTHS:]
    begun = {(row["starts_on"].year, row["starts_on"].month, row[f"reason_{language.code}"] or "")
             for row in content.breaks.get((figure_id, service), [])}  # fmt: skip
    marks = sorted((months.index(of[:2]), numbers[of]) for of in begun if of[:2] in months and of in numbers)
    target = content.targets.get((figure_id, service, last))
    form = content.form(figure_id, language.code)
    known = [by_month[month] for month in months if month in by_month]
    name, of = content.figure_name(figure_id, language.code), content.service_name(figure_id, service, language.code)
    title = language.say("chart_of", figure=name, service=of, first=months[0][0], last=last)
    text = language.say(
        "chart_text", low=form.write(min(known)), high=form.write(max(known)), last=form.write(known[-1])
    )
    svg = charts.line_chart(
        [by_month.get(month) for month in months],
        [(place, str(year)) for place, (year, month) in enumerate(months) if month == 6],
        form,
        f"{title}. {text}",
        [charts.Mark(place, number) for place, number in marks],
        target["shown"] if target else None,
    )
    shown = form.write(_plain(target["shown"])) if target else ""
    return {
        "title": title,
        "svg": svg,
        "target": language.say(f"target_{target['comparison']}", value=shown) if target else "",
    }


def _year_row(writer: Writer, value: Value) -> Row:
    figure, service, year, _ = value.key
    language, notes = writer.language, [writer.basis(value.key)]
    if row := writer.content.changes.get(value.key):
        notes.append(language.say("not_comparable") if not row["is_comparable"] and row["has_break"] else "")
    if kept := writer.content.kept.get(value.key):
        notes.append(language.say("kept_from", build=kept))
    number = language.number
    return {
        "of_row": row_of(value.key, with_figure=False),
        "year": year,
        "service": writer.content.service_name(figure, service, language.code),
        "value": writer.value(value, "value"),
        "numerator": _amount("numerator", value.numerator, number),
        "denominator": _amount("denominator", value.denominator, number),
        "events": _amount("events", value.event_count, number),
        "note": "; ".join(note for note in notes if note),
    }


def _amount(form: str, amount: float | None, number: Any) -> Markup | str:
    if amount is None:
        return ""
    return cell(form, number(Decimal(f"{amount:.4f}").normalize() if amount % 1 else Decimal(int(amount))))


def _bars(writer: Writer, values: Sequence[Value]) -> list[Row]:
    highest = max((value.shown for value in values if value.shown is not None), default=Decimal(0))
    return [
        {
            "of": row_of(value.key),
            "service": writer.service(value.key),
            "value": writer.value(value, "value"),
            "bar": charts.bar(value.shown, highest) if value.shown is not None else "",
        }
        for value in values
    ]


def _months(writer: Writer, figure_id: str, service: str) -> Row | None:
    """Return the months of a service as a table, a year a column."""
    rows = [row for row in writer.content.series.get((figure_id, service), []) if row["is_full_month"] is not False]
    if not rows:
        return None
    form, by_month = (
        writer.content.form(figure_id, writer.language.code),
        {(r["report_year"], r["month"]): r for r in rows},
    )
    years = sorted({row["report_year"] for row in rows})
    cells = [
        (
            name,
            month,
            [
                (
                    year,
                    form.write(row["shown"]) if row and row["shown"] is not None else "",
                    bool(row and row["is_break"]),
                )
                for year in years
                for row in [by_month.get((year, month))]
            ],
        )
        for month, name in enumerate(writer.language.months, 1)
    ]
    name = writer.content.service_name(figure_id, service, writer.language.code)
    return {"service": name, "code": service, "years": years, "rows": cells}


def _printed_keys(content: Content, figure_id: str) -> list[Key]:
    return sorted(
        (key for key in content.printed if key[0] == figure_id), key=lambda key: (-key[2], _order(content, key))
    )


def printed_text(writer: Writer, key: Key) -> Markup:
    """Return a value as it is printed, with how exactly."""
    row = writer.content.printed[key]
    form = writer.content.form(key[0], writer.language.code, row["decimals"])
    return cell("printed", form.write(_plain_if(row["published_shown"], row["decimals"]), row["qualifier"]))


def _plain_if(value: Decimal | None, decimals: str | None) -> Decimal | None:
    return _plain(value) if value is not None and decimals in ("0", "minute") else value


def _printed_row(writer: Writer, key: Key) -> Row:
    row, code = writer.content.printed[key], writer.language.code
    value = writer.content.values.get(key)
    reason = row["reason"] if code == "en" else row[f"reason_{code}"] or ""
    return {
        "of": row_of(key),
        "href": page_of(key[0]),
        "name": writer.content.figure_name(key[0], code),
        "year": key[2],
        "service": writer.service(key),
        "printed": printed_text(writer, key),
        "value": writer.value(value, "value") if value else NO_VALUE,
        "status": writer.content.name("status", row["status"], code),
        "reason": reason or "",
    }


def _revision_row(writer: Writer, row: Row) -> Row:
    """Return what was released of a figure and has come to differ."""
    key: Key = (row["figure_id"], row["service"], row["report_year"], row["basis"])
    form = writer.content.form(key[0], writer.language.code)
    return {
        "of": row_of(key),
        "release": row["release"],
        "service": writer.content.service_name(key[0], key[1], writer.language.code),
        "released": cell("released", form.write(row["released_shown"])),
        "value": cell("value", form.write(row["shown"])),
        "reason": row["note"] or row["reason"] or "",
    }


def printed_rows(writer: Writer, year: int) -> list[Row]:
    """Return the printed figures of a year beside the derived ones, in the order of the figures."""
    keys = sorted(
        (key for key in writer.content.printed if key[2] == year), key=lambda key: _order(writer.content, key)
    )
    return [_printed_row(writer, key) for key in keys]
