"""Ways to break a small county in one place."""

from __future__ import annotations

from collections.abc import Callable

from small_county import County

Break = Callable[[County], object]


def ratio(figure_id: str, service: str, year: int, numerator: float, denominator: float, times: float = 1) -> Break:
    """Give a figure another numerator and denominator, and the value that goes with them."""

    def change(county: County) -> None:
        row = county.figure(figure_id, service, year)
        row.update(numerator=numerator, denominator=denominator, value=times * numerator / denominator)

    return change


def count(figure_id: str, service: str, year: int, value: float) -> Break:
    """Give a count another value, of as many events."""
    return lambda county: county.figure(figure_id, service, year).update(
        numerator=value, value=value, event_count=int(value) + 1
    )


def put(figure_id: str, service: str, year: int, of_basis: str = "", **values: object) -> Break:
    """Set columns of one figure."""
    return lambda county: county.figure(figure_id, service, year, of_basis).update(values)


def add(table: str, **values: object) -> Break:
    """Add a row."""
    return lambda county: county.tables[table].append(values)


def drop(table: str, **values: object) -> Break:
    """Drop the rows that have these values."""
    return lambda county: county.keep(table, lambda row: any(row.get(key) != value for key, value in values.items()))


def rows(feed: str, year: int, total: int) -> Break:
    """Give a feed another number of rows in a year, all but its missing months keeping some."""

    def change(county: County) -> None:
        of_year = [row for row in county.tables["marts.coverage"] if (row["feed"], row["report_year"]) == (feed, year)]
        for place, row in enumerate(of_year):
            row["row_count"] = total // len(of_year) + (place < total % len(of_year))

    return change


def together(*breaks: Break) -> Break:
    """Break several things that belong together."""

    def change(county: County) -> None:
        for break_it in breaks:
            break_it(county)

    return change
