"""How a value is shown to people: rounded, and 0 and 100 only when it is exactly that.

A share of 99.793 % that is rounded to 100 would say that all were in time, and 0.4 that nobody was. Such a value is
shown with one or two more decimals than its figure has, and at most as 99.99 or at least as 0.01. The models have the
same as a macro, `presented` in macros/rounding.sql. Comparing with a printed figure rounds as that one was.
"""

from __future__ import annotations


def presented(value: str, decimals: str, unit: str) -> str:
    """Return SQL of the DECIMAL(38, 2) that a DOUBLE is shown as. The arguments are SQL expressions.

    `decimals` is '0', '1' or '2', or 'minute' for seconds to the minute. Null, and what is no number, is null.
    """
    exact = f"try_cast({value} as decimal(38, 9))"
    by_places = {places: f"cast(round({exact}, {places}) as decimal(38, 2))" for places in (0, 1, 2)}
    minutes = f"cast(60 * round(try_cast({value} / 60 as decimal(38, 9)), 0) as decimal(38, 2))"
    rounded = (
        f"case {decimals} when 'minute' then {minutes} when '1' then {by_places[1]} when '2' then {by_places[2]}"
        f" else {by_places[0]} end"
    )

    def is_not_exact(shown: str) -> str:
        hundred = f"({unit}) in ('percent', 'points') and abs({shown}) = 100 and abs({value}) <> 100"
        return f"coalesce(({shown}) = 0 and {value} <> 0 or ({hundred}), false)"

    nearest = f"case when abs({value}) < 1 then 0.01 when abs({value}) < 100 then 99.99 else 100.01 end"
    return (
        f"case when not {is_not_exact(rounded)} then {rounded}"
        f" when not {is_not_exact(by_places[1])} then {by_places[1]}"
        f" when not {is_not_exact(by_places[2])} then {by_places[2]}"
        f" else cast(sign({value}) * {nearest} as decimal(38, 2)) end"
    )


def with_decimals(shown: str, decimals: str | None) -> str:
    """Return a presented value, as SQL writes it (`99.80`), with its figure's decimals and those it has beyond."""
    whole, _, rest = shown.partition(".")
    places = int(decimals) if decimals and decimals.isdigit() else 0
    rest = rest.rstrip("0").ljust(places, "0")
    return f"{whole}.{rest}" if rest else whole


def significant(value: float, digits: int) -> str:
    """Return a number with so many significant digits; with all of them when 0, 100 or -100 would come out wrongly."""
    text = f"{value:.{digits}g}"
    return repr(value) if float(text) in (0, 100, -100) and float(text) != value else text
