"""The figures of a build with all that a reader is told beside them, in one language.

Whatever of the tables a project lacks is null here: only the indicators must be there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import TYPE_CHECKING

from kpi.lazy import duckdb
from kpi.presentation import LANGUAGES, presented
from kpi.settings import column_type
from kpi.sql import identifier

if TYPE_CHECKING:
    from kpi.settings import ReportTables


# Languages in which a name is looked for, one after the other.
SECOND = {"fi": ("fi", "en", "sv"), "sv": ("sv", "fi", "en"), "en": ("en", "fi", "sv")}


@dataclass(frozen=True, slots=True)
class FigureRow:
    """A figure for a service, of a report year and basis, as marts.indicators has it, with names in one language.

    `value` is unrounded, in `unit`, which is written as `unit_symbol` where a list says how; `shown` is it at
    the figure's precision. `change` is what is shown less what was shown of the year before, in the unit of the figure;
    `assessment` is better, worse or neutral, None where a break lies between (`is_comparable` is false). `status` says
    how `printed_value`, of a report, compares. `months` are the values of January to December, None where none is.
    """

    figure_id: str
    service: str
    report_year: int
    basis: str
    family: str
    name: str
    service_name: str
    family_name: str
    theme_name: str
    unit: str
    unit_symbol: str
    is_signed: bool
    decimals: str
    value: float | None
    shown: Decimal | None
    event_count: int | None
    last_full_month: int | None
    previous_value: float | None
    change: Decimal | None
    change_pct: float | None
    direction: str | None
    assessment: str | None
    is_comparable: bool | None
    target: Decimal | None
    target_comparison: str | None
    printed_value: Decimal | None
    printed_qualifier: str | None
    printed_decimals: str | None
    status: str | None
    months: tuple[float | None, ...]

    @property
    def target_is_met(self) -> bool | None:
        """Whether the value, as it is shown, is as good as its target; None without either."""
        if self.target is None or self.shown is None:
            return None
        return self.shown <= self.target if self.target_comparison == "at_most" else self.shown >= self.target


def columns(con: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """Return the type of each column of a table, as schema.name; of none, when the build has no such table."""
    schema, _, name = table.partition(".")
    rows = con.execute(
        "select column_name, data_type from duckdb_columns() where schema_name = ? and table_name = ?"
        " and not internal order by column_index",
        [schema, name],
    ).fetchall()
    return dict(rows)


def relation(con: duckdb.DuckDBPyConnection, table: str, wanted: Iterable[str]) -> str:
    """SQL of a table with these columns alone, each as its name is read: what it lacks is null, no table no rows."""
    there = columns(con, table)
    parts = [
        f"try_cast({identifier(name) if name in there else 'null'} as {column_type(name)}) as {identifier(name)}"
        for name in wanted
    ]
    return (
        f"(select {', '.join(parts)}, row_number() over () as seed_order {f'from {table}' if there else 'where false'})"
    )


def names_of(alias: str, column: str, lang: str, otherwise: str) -> str:
    """SQL of a name in a language; in another when it has none in that, and `otherwise` when in none."""
    named = ", ".join(f"nullif({alias}.{column}_{one}, '')" for one in SECOND[lang])
    return f"coalesce({named}, {otherwise})"


def in_languages(column: str) -> tuple[str, ...]:
    """The columns of a name in each language, for `relation`."""
    return tuple(f"{column}_{lang}" for lang in LANGUAGES)


# What is read of these tables, as far as they have it.
KEY = ("figure_id", "service", "report_year", "basis")
INDICATORS = (*KEY, "value", "event_count", "last_full_month", "is_suppressed", "is_unfinished")
FIGURES = (
    *("figure_id", "family", "theme", "unit", "decimals", "shown_sign", "sort_order"),
    *(*in_languages("name"), *in_languages("definition")),
)
SERVICES = ("figure_id", "service", "sort_order", *in_languages("service_name"))
CODES = ("list", "code", "sort_order", *in_languages("name"), *in_languages("symbol"), "sdmx_code")
MONTHS = (
    *("figure_id", "service", "report_year", "month", "value", "numerator", "denominator", "event_count"),
    *("is_break", "is_full_month", "is_suppressed"),
)
_CHANGES = (
    *(*KEY, "previous_value", "change", "shown_change", "change_pct", "direction", "assessment"),
    *("is_comparable", "has_break"),
)
_PRINTED = (*KEY, "published_value", "qualifier", "decimals", "status")
_TARGETS = ("figure_id", "service", "report_year", "target", "comparison")


def code_list(
    con: duckdb.DuckDBPyConnection, tables: ReportTables, name: str, lang: str
) -> dict[str, tuple[str, str, str]]:
    """Return name and symbol in a language, and SDMX's code, of each code of a list such as unit, basis or family."""
    rows = con.execute(
        f"select c.code, {names_of('c', 'name', lang, 'c.code')}, {names_of('c', 'symbol', lang, repr(''))},"
        f" coalesce(c.sdmx_code, '') from {relation(con, tables.code_lists, CODES)} as c where c.list = ?"
        " order by c.sort_order, c.seed_order",
        [name],
    ).fetchall()
    return {code: (named, symbol, sdmx) for code, named, symbol, sdmx in rows}


def _relations(con: duckdb.DuckDBPyConnection, tables: ReportTables) -> str:
    """SQL that names what figures are read from, each with the columns that are read of it."""
    return f"""
    with i as {relation(con, tables.indicators, INDICATORS)},
    f as {relation(con, tables.figures, FIGURES)},
    s as {relation(con, tables.figure_services, SERVICES)},
    c as {relation(con, tables.indicator_changes, _CHANGES)},
    r as {relation(con, tables.reconciliation, _PRINTED)},
    t as {relation(con, tables.targets, _TARGETS)},
    codes as {relation(con, tables.code_lists, CODES)},
    months as (
        select figure_id, service, report_year, map_from_entries(list((month, value) order by month)) as months
        from {relation(con, tables.monthly_series, MONTHS)}
        where month between 1 and 12
        group by all
    ),
    family_orders as (select family, min(seed_order) as family_order from f group by family)
    """


def _selected(lang: str) -> str:
    """SQL of the columns of a FigureRow, in their order."""
    return f"""
    select
        i.figure_id, i.service, i.report_year, coalesce(i.basis, ''), coalesce(f.family, ''),
        {names_of("f", "name", lang, "i.figure_id")},
        {names_of("s", "service_name", lang, "i.service")},
        {names_of("families", "name", lang, "coalesce(f.family, '')")},
        {names_of("themes", "name", lang, "coalesce(f.theme, '')")},
        coalesce(f.unit, ''), {names_of("units", "symbol", lang, repr(""))}, coalesce(f.shown_sign, false),
        coalesce(f.decimals, ''),
        i.value, {presented("i.value", "f.decimals", "f.unit")}, i.event_count, i.last_full_month,
        c.previous_value,
        coalesce(
            c.shown_change,
            {presented("i.value", "f.decimals", "f.unit")} - {presented("c.previous_value", "f.decimals", "f.unit")}
        ),
        c.change_pct, c.direction,
        case when coalesce(c.is_comparable, not c.has_break) then c.assessment end,
        coalesce(c.is_comparable, not c.has_break),
        t.target, t.comparison, r.published_value, r.qualifier, r.decimals, r.status, months.months
    """


def figure_rows(
    con: duckdb.DuckDBPyConnection, tables: ReportTables, lang: str = "en", year: int | None = None
) -> list[FigureRow]:
    """Return the figures of a report year or of all, the newest year first, by family, figure and service as listed."""
    sql = _relations(con, tables) + _selected(lang) + _JOINED
    rows = con.execute(sql, {"year": year}).fetchall()
    names = [one.name for one in fields(FigureRow)]
    found = []
    for row in rows:
        months = row[-1] or {}
        values = dict(zip(names, row, strict=True)) | {"months": tuple(map(months.get, range(1, 13)))}
        found.append(FigureRow(**values))
    return found


_JOINED = """
    from i
    left join f on i.figure_id = f.figure_id
    left join family_orders on f.family = family_orders.family
    left join codes as families on families.list = 'family' and f.family = families.code
    left join codes as themes on themes.list = 'theme' and f.theme = themes.code
    left join codes as units on units.list = 'unit' and f.unit = units.code
    left join s on i.figure_id = s.figure_id and i.service = s.service
    left join c
        on i.figure_id = c.figure_id and i.service = c.service and i.report_year = c.report_year and i.basis = c.basis
    left join r
        on i.figure_id = r.figure_id and i.service = r.service and i.report_year = r.report_year and i.basis = r.basis
    left join t on i.figure_id = t.figure_id and i.service = t.service and i.report_year = t.report_year
    left join months
        on i.figure_id = months.figure_id and i.service = months.service and i.report_year = months.report_year
    where $year is null or i.report_year = $year
    order by
        i.report_year desc, themes.sort_order nulls last, f.sort_order nulls last,
        families.sort_order nulls last, family_orders.family_order nulls last, f.seed_order nulls last, i.figure_id,
        s.sort_order nulls last, s.seed_order nulls last, i.service, i.basis
"""
