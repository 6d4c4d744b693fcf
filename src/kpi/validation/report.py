"""The pages of the report years: what was expected, what was seen, and each figure beside the printed one.

Static HTML in Finnish, one file a year and an index. They hold everything they need, so that they open on a closed
network without asking for anything. Every value is escaped by the templates.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from kpi.files import read_regular
from kpi.presentation import NO_BREAK, Form, presented, significant
from kpi.validation.datasets import import_ctes, run
from kpi.validation.rule import FEED_TOPICS, Expectations, Labels

if TYPE_CHECKING:
    from kpi.validation.expectations import SeenRow, YearResult


UNNAMED_FAMILY = "Kuvaamattomat luvut"
STATUSES: Mapping[str, str] = {
    "reproduced": "toistuu",
    "documented_inconsistency": "tunnettu ristiriita",
    "differs": "eroaa",
    "not_delivered": "ei toimitettu",
}
QUALIFIERS: Mapping[str, str] = {"about": "noin ", "more_than": "yli ", "less_than": "alle "}
MONTHS = (
    "tammikuu", "helmikuu", "maaliskuu", "huhtikuu", "toukokuu", "kesäkuu", "heinäkuu", "elokuu", "syyskuu",
    "lokakuu", "marraskuu", "joulukuu",
)  # fmt: skip


def number(value: float | Decimal | None, digits: int = 10) -> str:
    """Write a number with so many significant digits, decimal comma and no-break spaces between thousands."""
    if value is None:
        return "–"
    known = float(value)
    return _finnish(f"{known:.0f}" if known.is_integer() or abs(known) >= 1e9 else significant(known, digits))


def amount(value: float | Decimal | None, unit: str | None, decimals: str | None) -> str:
    """Write a value that is rounded already, in its unit: lengths of time in hours, minutes and seconds.

    `decimals` is 0, 1 or 2, or minute for seconds that are shown to the minute; None shows as many as there are.
    Decimals that the value has beyond them are shown too: without them it would look like 0 or 100.
    """
    return Form(unit or "", decimals, "fi").write(value)


def _finnish(text: str) -> str:
    """Turn 1234.5, as Python writes it, into what a Finnish reader expects."""
    sign = "\u2212" if text.startswith("-") else ""
    whole, point, decimals = text.removeprefix("-").partition(".")
    if whole.isdigit():
        whole = f"{int(whole):,}".replace(",", NO_BREAK)
    return sign + whole + ("," if point else "") + decimals


TEMPLATES = Path(__file__).parent / "pages"
ROWS_SHOWN = 500
SYNTHETIC_LABEL = "SYNTEETTISTÄ AINEISTOA"
INPUTS: Mapping[str, Mapping[str, str]] = {
    "indicators": {"figure_id": "varchar", "service": "varchar", "report_year": "integer", "basis": "varchar",
                         "value": "double", "last_full_month": "integer"},
    "indicator_origins": {"figure_id": "varchar", "service": "varchar", "report_year": "integer",
                                "basis": "varchar", "kept_from": "varchar"},
    "indicator_changes": {"figure_id": "varchar", "service": "varchar", "report_year": "integer",
                                "basis": "varchar", "previous_value": "double", "has_break": "boolean"},
    "reconciliation": {"figure_id": "varchar", "service": "varchar", "report_year": "integer",
                             "basis": "varchar", "published_value": "double", "qualifier": "varchar",
                             "decimals": "varchar", "status": "varchar", "reason": "varchar", "reason_fi": "varchar",
                             "source_report": "varchar"},
    "figures": {"figure_id": "varchar", "family": "varchar", "name_fi": "varchar", "definition_fi": "varchar",
                      "unit": "varchar", "decimals": "varchar"},
    "figure_services": {"figure_id": "varchar", "service": "varchar", "service_name_fi": "varchar"},
    "targets": {"report_year": "integer", "figure_id": "varchar", "service": "varchar", "target": "double",
                      "comparison": "varchar"},
    "national_comparisons": {"report_year": "integer", "figure_id": "varchar", "service": "varchar",
                                   "national_value": "double"},
}  # fmt: skip


_SHOWN = {"value": "value", "previous": "previous_value"}


@dataclass(frozen=True, slots=True)
class About:
    """Which build was validated, on which day, and whether its deliveries are synthetic."""

    build: str
    as_of: datetime.date
    is_synthetic: bool


def is_labelled_synthetic(raw: Path) -> bool:
    """Tell whether the deliveries carry the label that `kpi demo` puts beside them."""
    try:
        label = read_regular(raw / "README.txt").decode("utf-8", "replace")
    except OSError:  # there is none, or not for whoever asks
        return False
    return label.startswith(SYNTHETIC_LABEL)


def write_pages(
    folder: Path,
    con: duckdb.DuckDBPyConnection,
    results: Sequence[YearResult],
    about: About,
    expectations: Expectations,
) -> tuple[Path, ...]:
    """Write `index.html` and `<year>.html` for each report year validated into a folder, made when missing.

    The same results of the same warehouse give the same bytes. Returns the files written.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": number}
    figures = _figures(con, expectations)
    names = _Names(figures, expectations)
    years = [_year(year, results, figures, names) for year in sorted({result.report_year for result in results})]
    pages = {"index.html": environment.get_template("index.html").render(about=about, years=years)}
    template = environment.get_template("year.html")
    for year in years:
        pages[f"{year['year']}.html"] = template.render(about=about, years=years, **year)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
    return tuple(folder / name for name in pages)


class _Names:
    """The Finnish names of figures, services, families, bases and topics; what has none is called by its id."""

    def __init__(self, figures: Iterable[Mapping[str, Any]], expectations: Expectations) -> None:
        self.labels: Labels = expectations.labels
        self.topics = self.labels.all_topics(expectations.topics)
        self.sums = {topic.name for topic in expectations.topics if topic.sums}
        self._figures: dict[str, str] = {}
        self._services: dict[tuple[str, str], str] = {}
        for figure in figures:
            if figure["name_fi"]:
                self._figures[figure["figure_id"]] = figure["name_fi"]
            if figure["service_name_fi"]:
                self._services[figure["figure_id"], figure["service"]] = figure["service_name_fi"]

    def figure(self, figure_id: str) -> str:
        return self._figures.get(figure_id, figure_id)

    def basis(self, basis: str) -> str:
        return self.labels.bases.get(basis, basis)

    def family(self, family: str | None) -> str:
        return self.labels.families.get(family, family) if family else UNNAMED_FAMILY

    def place(self, family: str | None) -> tuple[int, str]:
        """Where a family stands among the others; unknown ones come last."""
        order = list(self.labels.families)
        return (order.index(family) if family in order else len(order), family or "")

    def service(self, figure_id: str, service: str) -> str:
        return self._services.get((figure_id, service), service)

    def of(self, row: SeenRow) -> str:
        """Say in one line what a row is: a figure of a service, a feed, a month."""
        parts = [row.feed or ""]
        if row.figure_id:
            parts = [self.figure(row.figure_id)]
            if row.service:
                parts.append(self.service(row.figure_id, row.service))
        if row.basis and row.basis != "calendar_year":
            parts.append(self.basis(row.basis))
        if row.month:
            parts.append(MONTHS[row.month - 1])
        return ", ".join(part for part in parts if part)


def _figures(con: duckdb.DuckDBPyConnection, expectations: Expectations) -> list[dict[str, Any]]:
    shown = {f"{name}_shown": presented(column, "decimals", "unit") for name, column in _SHOWN.items()}
    found = run(con, import_ctes(con, INPUTS, expectations.tables.names()), "pages", {}, shown)
    columns = [column[0] for column in found.description or []]
    return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]


def _year(
    year: int, results: Sequence[YearResult], figures: Sequence[Mapping[str, Any]], names: _Names
) -> dict[str, Any]:
    """Return all that the page of a year tells."""
    checks = [_check(result, names) for result in results if result.report_year == year]
    message = [_figure(figure, names) for figure in figures if figure["report_year"] == year]
    printed = [figure["status_id"] for figure in message if figure["status_id"]]
    families = {figure["family"] for figure in message}
    return {
        "year": year,
        "is_provisional": any(result.is_provisional for result in results if result.report_year == year),
        "failed": [check for kind in ("error", "warning") for check in checks if check["outcome"] == kind],
        "topics": [
            (heading, [check for check in checks if check["topic"] == topic])
            for topic, heading in names.topics.items()
            if any(check["topic"] == topic for check in checks)
        ],
        "counts": {kind: sum(check["outcome"] == kind for check in checks) for kind in ("ok", "warning", "error")},
        "families": [
            (names.family(family), [figure for figure in message if figure["family"] == family])
            for family in sorted(families, key=names.place)
        ],
        "figure_count": sum(figure["is_told"] for figure in message),
        "printed": {status: printed.count(status) for status in STATUSES},
        "printed_count": len(printed),
    }  # fmt: skip


def _check(result: YearResult, names: _Names) -> dict[str, Any]:
    rows = result.rows[:ROWS_SHOWN]
    return {
        "id": result.expectation,
        "topic": result.topic,
        "description": result.description_fi,
        "severity": "virhe" if result.severity == "error" else "varoitus",
        "outcome": "ok" if result.success else "error" if result.severity == "error" else "warning",
        "seen": _seen(result, names),
        "compared": names.labels.compared.get(result.topic, ""),
        "has_notes": any(row.note for row in rows),
        "row_count": len(result.rows),
        "rows": [(names.of(row), row.value, row.compared, row.note) for row in rows],
    }


def _seen(result: YearResult, names: _Names) -> str:
    """Say in Finnish what was looked at."""
    if result.topic in FEED_TOPICS:
        count = f"{number(result.judged)} {'kuukausi' if result.judged == 1 else 'kuukautta'}"
        count = "koko vuosi" if result.topic == "deliveries" else count
        values = "tietueita"
    else:
        count, values = f"{number(result.judged)} {'arvo' if result.judged == 1 else 'arvoa'}", ""
    if result.failure:
        return "tarkistus ei onnistunut"
    if result.lowest is None or result.highest is None or result.topic in names.sums:
        return count
    if result.unit == "year":
        low, high = f"{result.lowest:.0f}", f"{result.highest:.0f}"
    else:
        low, high = number(result.lowest, 4), number(result.highest, 4)
    return " ".join(part for part in (f"{count}:", values, low if low == high else f"{low} … {high}") if part)


def _figure(figure: Mapping[str, Any], names: _Names) -> dict[str, Any]:
    unit, basis = figure["unit"], figure["basis"]
    decimals = figure["decimals"] if unit else None
    notes = [names.basis(basis)] if basis and basis != "calendar_year" else []
    if figure["last_full_month"] is not None:
        notes[:] = [f"{names.basis('year_to_date')}, {MONTHS[figure['last_full_month'] - 1]} viimeisenä"]
    if figure["has_break"]:
        notes.append("katkos")
    if figure["kept_from"]:
        notes.append(f"aineisto poistettu, luku koonnista {figure['kept_from']}")
    if figure["target"] is not None:
        bound = "vähintään" if figure["comparison"] == "at_least" else "enintään"
        notes.append(f"tavoite {bound} {amount(figure['target'], unit, None)}")
    if figure["national_value"] is not None:
        notes.append(f"koko maa {amount(figure['national_value'], unit, None)}")
    if figure["source_report"]:
        notes.append(f"kertomus {figure['source_report']}")
    return {
        "id": figure["figure_id"] or "",
        "name": names.figure(figure["figure_id"] or ""),
        "definition": figure["definition_fi"] or "",
        "family": figure["family"],
        "service": names.service(figure["figure_id"], figure["service"] or ""),
        "is_told": figure["is_told"],
        "value": amount(figure["value_shown"], unit, decimals),
        "previous": amount(figure["previous_shown"], unit, decimals),
        "printed": _printed(figure["printed_shown"], figure),
        "status_id": figure["status"] or "",
        "status": STATUSES.get(figure["status"], figure["status"] or ""),
        "reason": figure["reason"] or "",
        "notes": notes,
    }


def _printed(value: Decimal | None, figure: Mapping[str, Any]) -> str:
    if value is None:
        return ""
    return QUALIFIERS.get(figure["qualifier"], "") + amount(value, figure["unit"], figure["printed_decimals"])
