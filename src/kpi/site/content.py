"""What the pages show of one build, read once: figures, values as shown, changes, months, breaks, lists of codes.

Values are rounded in SQL (`kpi.presentation.presented`), never in Python. Every table may be missing: a project without
a list of codes shows codes, one without sections has no report of a year.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any

from kpi.database import fetch_dicts, table_columns
from kpi.lazy import duckdb
from kpi.presentation import LANGUAGES, Form, presented, visible
from kpi.settings import column_types
from kpi.site.figure_data import SECOND

if TYPE_CHECKING:
    from kpi.settings import ReportTables

Row = dict[str, Any]
Key = tuple[str, str, int, str]  # figure_id, service, report_year, basis


_FIGURE = {"figure_id": "varchar", "service": "varchar", "report_year": "integer", "basis": "varchar"}
# The tables that are read.
INPUTS = (
    *("indicators", "indicator_changes", "indicator_origins", "monthly_series", "reconciliation", "revisions"),
    *("comparability_breaks", "coverage", "figures", "figure_services", "targets", "national_comparisons"),
    *("code_lists", "report_sections", "report_lines", "publication"),
)
# What a public site reads of values: the tables that hide small counts and are rounded already.
_HIDDEN = {"is_suppressed": "boolean", "is_unfinished": "boolean"}
PUBLIC: Mapping[str, Mapping[str, str]] = {
    "public_indicators": {**_FIGURE, "value": "decimal(38, 2)", "last_full_month": "integer", **_HIDDEN},
    "public_changes": {**_FIGURE, "previous_year": "integer", "previous_basis": "varchar", "direction": "varchar",
                       "previous_value": "decimal(38, 2)", "change": "decimal(38, 2)", "assessment": "varchar",
                       "has_break": "boolean", **_HIDDEN},
    "public_monthly_series": {"figure_id": "varchar", "service": "varchar", "report_year": "integer",
                              "month": "integer", "value": "decimal(38, 2)", "is_break": "boolean", **_HIDDEN},
}  # fmt: skip
_WEIGHTS = ("definition", "scope", "data_quality", "service_start")
_ROUNDED = "cast({} as decimal(38, 2))"


@dataclass(frozen=True, slots=True)
class Value:
    """One figure of a service, year and basis: its value as shown, and what is known around it."""

    key: Key
    shown: Decimal | None
    numerator: float | None = None
    denominator: float | None = None
    event_count: int | None = None
    last_full_month: int | None = None
    is_suppressed: bool = False


@dataclass(slots=True)
class Names:
    """What figures, services, codes and the publication are called, in every language, in the order of their lists.

    A name that a language lacks is that of another, and of what nobody named the code.
    """

    figures: dict[str, Row] = field(default_factory=dict)
    services: dict[str, list[str]] = field(default_factory=dict)
    service_names: dict[tuple[str, str], Row] = field(default_factory=dict)
    codes: dict[str, dict[str, Row]] = field(default_factory=dict)
    publication: dict[str, Row] = field(default_factory=dict)

    def name(self, kind: str, code: str | None, language: str) -> str:
        """Return what a list calls a code."""
        return text_in(self.codes.get(kind, {}).get(code or ""), "name", language) or code or ""

    def figure_name(self, figure_id: str, language: str) -> str:
        """Return the name of a figure."""
        return text_in(self.figures.get(figure_id), "name", language) or figure_id

    def service_name(self, figure_id: str, service: str, language: str) -> str:
        """Return the name of a service of a figure."""
        return text_in(self.service_names.get((figure_id, service)), "service_name", language) or service

    def says(self, key: str, language: str) -> str:
        """Return what the publication says of itself; nothing when it does not."""
        return text_in(self.publication.get(key), "value", language)


# What is kept by figure, or by a key that begins with it.
# Not a tuple of words: one of them is a word of the county's too, which the engine must not have.
_OF_FIGURES = "values exact changes printed kept revisions series breaks targets national bases keys figure_keys"


def text_in(row: Mapping[str, Any] | None, column: str, language: str) -> str:
    """Return a text of a row in a language, in another where it has none in that; nothing without any."""
    if row:
        for one in SECOND[language]:
            if text := row.get(f"{column}_{one}"):
                return str(text)
    return ""


@dataclass(slots=True)
class Content(Names):
    """All that is shown, by the keys it is looked up by."""

    values: dict[Key, Value] = field(default_factory=dict)
    exact: dict[Key, float] = field(default_factory=dict)
    changes: dict[Key, Row] = field(default_factory=dict)
    printed: dict[Key, Row] = field(default_factory=dict)
    kept: dict[Key, str] = field(default_factory=dict)
    revisions: dict[str, list[Row]] = field(default_factory=dict)
    series: dict[tuple[str, str], list[Row]] = field(default_factory=dict)
    breaks: dict[tuple[str, str], list[Row]] = field(default_factory=dict)
    targets: dict[tuple[str, str, int], Row] = field(default_factory=dict)
    national: dict[tuple[str, str, int], Row] = field(default_factory=dict)
    coverage: dict[int, dict[str, dict[int, int]]] = field(default_factory=dict)
    sections: list[Row] = field(default_factory=list)
    lines: dict[str, list[Row]] = field(default_factory=dict)
    bases: dict[tuple[str, str, int], list[str]] = field(default_factory=dict)
    keys: dict[tuple[str, str], list[Key]] = field(default_factory=dict)
    figure_keys: dict[str, list[Key]] = field(default_factory=dict)
    forms: dict[tuple[str, str, str | None], Form] = field(default_factory=dict)

    def of_figures(self) -> defaultdict[str, Content]:
        """Return for each figure all names and what is known of it alone.

        Sections, lines of reports, forms and what was delivered are in none of them.
        """
        names = self.names()
        found: defaultdict[str, Content] = defaultdict(lambda: Content(**names))
        for name in _OF_FIGURES.split():
            for key, row in getattr(self, name).items():
                getattr(found[key if isinstance(key, str) else key[0]], name)[key] = row
        return found

    def names(self) -> dict[str, Any]:
        """Return what everything is called."""
        return {one.name: getattr(self, one.name) for one in fields(Names)}

    def known(self) -> list[Any]:
        """Return what is known of figures, without names."""
        return [getattr(self, name) for name in _OF_FIGURES.split()]

    def years(self) -> list[int]:
        """Return the report years that have a figure, the latest first."""
        return sorted({key[2] for key in self.values}, reverse=True)

    def form(self, figure_id: str, language: str, decimals: str | None = None) -> Form:
        """Return how values of a figure are written; with the decimals of a printed one when they are given."""
        known = self.forms.get((figure_id, language, decimals))
        if known is not None:
            return known
        figure = self.figures.get(figure_id, {})
        unit = self.form_of_unit(figure.get("unit") or "count", language)
        form = replace(unit, decimals=decimals or figure.get("decimals"), is_signed=bool(figure.get("shown_sign")))
        self.forms[figure_id, language, decimals] = form
        return form

    def form_of_unit(self, unit: str, language: str) -> Form:
        """Return how values in a unit are written."""
        symbols = {code: str(row[f"symbol_{language}"]) for code, row in self.codes.get("unit", {}).items()
                   if row[f"symbol_{language}"]}  # fmt: skip
        return Form(unit, None, language, False, symbols)

    def stated(self, value: Value) -> tuple[Decimal | None, str, str | None]:
        """Return how a report states a value: the number, how exactly (`about`), and its decimals, None as usual.

        As it is printed where it is and the value reproduces it, but 0 and 100 that it only nearly is as `nearly`; else
        by `shown_as` of its figure.
        """
        printed = self.printed.get(value.key)
        if printed and printed["status"] == "reproduced":
            number, qualifier = printed["published_shown"], printed["qualifier"]
            is_rounded = number in (0, 100) and qualifier == "exact" and number != value.shown
            if qualifier == "about" and self.figures.get(value.key[0], {}).get("unit") == "percent":
                number = number.quantize(Decimal(1), ROUND_HALF_UP)  # about a third: about 33 %, not about 33.3 %
            return number, "nearly" if is_rounded else qualifier, printed["decimals"]
        shown, rule = value.shown, self.figures.get(value.key[0], {}).get("shown_as")
        step = {"floor_1000": 1000, "about_100": 100, "about_1000": 1000}.get(rule or "")
        if shown is None or step is None or abs(shown) < step:
            return shown, "exact", None
        rounding = ROUND_FLOOR if rule == "floor_1000" else ROUND_HALF_UP
        rounded = (shown / step).quantize(Decimal(1), rounding) * step
        return rounded, "exact" if rounded == shown else "more_than" if rule == "floor_1000" else "about", None

    def written(self, value: Value, language: str) -> str:
        """Return a value as a report states it."""
        number, qualifier, decimals = self.stated(value)
        return self.form(value.key[0], language, decimals).write(number, qualifier)


def has_values(con: duckdb.DuckDBPyConnection, tables: ReportTables) -> bool:
    """Tell whether a build has any figure; where it has none, all that a site is made of need not be read."""
    if tables.indicators not in table_columns(con):
        return False
    return con.execute(f"select 1 from {tables.indicators} limit 1").fetchone() is not None


def read_content(
    con: duckdb.DuckDBPyConnection, tables: ReportTables, is_public: bool = False, only_around: bool = False
) -> Content:
    """Read what pages show of a build. With `is_public` values are those of the public table, and only they.

    With `only_around` it is what stands around every page: names, sections and values, with nothing of how they came.
    """
    from kpi.validation.datasets import ctes_of

    ctes = ctes_of(con, {name: column_types(name) for name in INPUTS}, tables.names())

    def rows(select: str) -> list[Row]:
        words = set(re.findall(r"\w+", select))
        read = ", ".join(cte for name, cte in ctes.items() if name in words)  # a CTE that nobody reads is planned too
        return _shown_rows(con, f"with {read} {select}")

    content = Content()
    _read_words(content, rows)
    if only_around and not is_public:
        _read_indicators(content, rows)
        return content
    _read_breaks(content, rows)
    if is_public:
        _read_public(content, con)
    else:
        _read_values(content, rows)
        _read_months(content, rows)
    for value in content.values.values():
        figure, service, year, basis = value.key
        content.bases.setdefault((figure, service, year), []).append(basis)
        content.keys.setdefault((figure, service), []).append(value.key)
        content.figure_keys.setdefault(figure, []).append(value.key)
    return content


def _shown_rows(con: duckdb.DuckDBPyConnection, sql: str) -> list[Row]:
    """Return the rows of a query; in texts, the signs that nobody sees, or that turn what follows, are written out."""
    return [
        {name: visible(value) if isinstance(value, str) else value for name, value in row.items()}
        for row in fetch_dicts(con, sql)
    ]


def _read_words(content: Content, rows: Any) -> None:
    content.figures = {row["figure_id"]: row for row in rows("select * from figures order by sort_order, figure_id")}
    for row in rows("select * from figure_services order by figure_id, sort_order, service"):
        content.services.setdefault(row["figure_id"], []).append(row["service"])
        content.service_names[row["figure_id"], row["service"]] = row
    for row in rows("select * from code_lists order by list, sort_order, code"):
        content.codes.setdefault(row["list"], {})[row["code"]] = row
    content.sections = rows("select * from report_sections order by sort_order, section")
    for row in rows("select * from report_lines order by sort_order, figure_id, service, basis"):
        content.lines.setdefault(row["section"], []).append(row)
    content.publication = {row["key"]: row for row in rows("select * from publication order by key")}


def _read_breaks(content: Content, rows: Any) -> None:
    for row in rows("select * from comparability_breaks order by figure_id, service, starts_on, kind, reason_en"):
        content.breaks.setdefault((row["figure_id"], row["service"]), []).append(row)


def _shown(column: str) -> str:
    return presented(column, "coalesce(f.decimals, '2')", "f.unit")


_BY_KEY = "figure_id, service, report_year, basis"
_JOINED = "left join figures as f using (figure_id)"


def _read_indicators(content: Content, rows: Any) -> None:
    for row in rows(f"select i.*, {_shown('i.value')} as shown from indicators as i {_JOINED} order by {_BY_KEY}"):
        key = _key(row)
        content.values[key] = Value(key, row["shown"], row["numerator"], row["denominator"], row["event_count"],
                                    row["last_full_month"])  # fmt: skip
        content.exact[key] = row["value"]


def _read_values(content: Content, rows: Any) -> None:
    _read_indicators(content, rows)
    by_key, joined = _BY_KEY, _JOINED
    previous = _shown("c.previous_value")
    for row in rows(f"select c.*, {previous} as previous_shown from indicator_changes as c {joined} order by {by_key}"):
        content.changes[_key(row)] = row
    rounded = _ROUNDED.format("published_value")
    for row in rows(f"select *, {rounded} as published_shown from reconciliation order by {by_key}"):
        content.printed[_key(row)] = row
    for row in rows(f"select * from indicator_origins where kept_from is not null order by {by_key}"):
        content.kept[_key(row)] = row["kept_from"]
    for name, column, into in (
        ("targets", "target", content.targets),
        ("national_comparisons", "national_value", content.national),
    ):
        for row in rows(
            f"select *, {_ROUNDED.format(column)} as shown from {name} order by figure_id, service, report_year"
        ):
            into[row["figure_id"], row["service"], row["report_year"]] = row
    for row in rows(
        f"select r.*, {_shown('r.released_value')} as released_shown, {_shown('r.value')} as shown"
        f" from revisions as r {joined} order by release, {by_key}"
    ):
        content.revisions.setdefault(row["figure_id"], []).append(row)
    for row in rows("select * from coverage order by report_year desc, feed, month"):
        year = content.coverage.setdefault(row["report_year"], defaultdict(dict))
        year[row["feed"]][row["month"]] = row["row_count"]


def _read_months(content: Content, rows: Any) -> None:
    for row in rows(
        f"select s.*, {_shown('s.value')} as shown from monthly_series as s left join figures as f using (figure_id)"
        " order by figure_id, service, report_year, month"
    ):
        content.series.setdefault((row["figure_id"], row["service"]), []).append(row)


def _read_public(content: Content, con: duckdb.DuckDBPyConnection) -> None:
    """Read the values of the public tables: rounded there, and without those they hide."""
    from kpi.validation.datasets import import_ctes

    ctes = import_ctes(con, PUBLIC, {name: f"marts.{name}" for name in PUBLIC})

    def rows(table: str) -> list[Row]:
        return _shown_rows(con, f"with {ctes} select * from {table} where is_unfinished is not true order by all")

    for row in rows("public_indicators"):
        key = _key(row)
        content.values[key] = Value(
            key, row["value"], last_full_month=row["last_full_month"], is_suppressed=row["is_suppressed"]
        )
    for row in (row for row in rows("public_changes") if not row["is_suppressed"]):
        kind, reasons = _break_between(content, row) if row["has_break"] else (None, {})
        is_comparable = not row["has_break"] and row["basis"] == row["previous_basis"]
        content.changes[_key(row)] = {
            **row, "shown_change": row["change"], "previous_shown": row["previous_value"],
            "is_comparable": is_comparable, "break_kind": kind,
            **{f"break_reason_{language}": reasons.get(f"reason_{language}") for language in LANGUAGES},
        }  # fmt: skip
    for row in (row for row in rows("public_monthly_series") if not row["is_suppressed"]):
        months = content.series.setdefault((row["figure_id"], row["service"]), [])
        months.append({**row, "shown": row["value"], "is_full_month": True})


def _break_between(content: Content, row: Row) -> tuple[str | None, Row]:
    """Return the weightiest break between the two years of a change, as int_breaks_between_years has it."""
    year = row["report_year"]
    found = [one for one in content.breaks.get((row["figure_id"], row["service"]), [])
             if date(year - 1, 1, 1) < one["starts_on"] <= date(year, 12, 31)]  # fmt: skip
    weights = {kind: place for place, kind in enumerate(_WEIGHTS)}
    found.sort(key=lambda one: (weights.get(one["kind"], 9), -one["starts_on"].toordinal(), one["reason_en"] or ""))
    return (found[0]["kind"], found[0]) if found else (None, {})


def _key(row: Mapping[str, Any]) -> Key:
    return row["figure_id"], row["service"], row["report_year"], row["basis"]


def sorted_services(content: Content, figure_id: str) -> list[str]:
    """Return the services that a figure has values of, in the order of its list; those of no list last."""
    listed = content.services.get(figure_id, [])
    services = {key[1] for key in content.figure_keys.get(figure_id, ())}
    return [service for service in listed if service in services] + sorted(services.difference(listed))


def by_theme(content: Content) -> list[tuple[str, list[str]]]:
    """Return the figures by theme, in the order of the list of themes; those of none last."""
    themes: Iterable[str] = [*content.codes.get("theme", {}), ""]
    found: dict[str, list[str]] = {theme: [] for theme in themes}
    for figure_id, row in content.figures.items():
        found.setdefault(row["theme"] or "", []).append(figure_id)
    return [(theme, ids) for theme, ids in found.items() if ids]
