"""The change of a figure in parts that sum to it exactly: arithmetic over fractions, which reads nothing.

Between two periods a share or a mean changes because its groups' rates do and because the groups' weights do. With w a
group's share of the denominator, r its rate and R the mean of the two totals, its parts are those of Das Gupta,
"Standardization and Decomposition of Rates" (U.S. Bureau of the Census, P23-186, 1993), for two factors:

    rate  (w0 + w1) / 2 * (r1 - r0)          mix  (w1 - w0) * ((r0 + r1) / 2 - R)

Das Gupta's mix is without R, which takes nothing from the sum, for weights sum to 1 in both periods. It gives each
group's part a meaning of its own: a group that grows lowers a figure when its rate is below the average.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal, TypeVar

Cause = Literal[
    "late_delivery",
    "corrected_delivery",
    "removed_delivery",
    "kept_delivery",
    "calendar",
    "definition",
    "code",
    "engine",
    "several",
]
"""Why a figure differs between two builds.

`late_delivery` is a file that came, `corrected_delivery` one with other content, `removed_delivery` one that is gone,
`kept_delivery` a figure kept of deleted ones; `calendar` is the day of the refresh, by which a month or a year is
finished; `definition` a seed; `code` a model, a macro, a variable or a contract; `engine` DuckDB or kpi; `several` are
changes of which none can be made without another.
"""

_Group = TypeVar("_Group", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Part:
    """What one cause does to a figure. `amount` is in the figure's unit, `printed` with its decimals.

    `subjects` name what it is: files below the raw folder, seeds, models, macros. Both amounts are None where the
    figure is not there before or after, so that nothing can be subtracted.
    """

    cause: Cause
    subjects: tuple[str, ...]
    amount: Fraction | None
    printed: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Numerator and denominator of a group in one period; a count has no denominator."""

    numerator: Fraction
    denominator: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a group does to the change of a figure, in its unit: by its own rate, and by its weight among the groups.

    Of a count it is all `rate`.
    """

    rate: Fraction
    mix: Fraction = Fraction(0)

    @property
    def total(self) -> Fraction:
        return self.rate + self.mix

    def __add__(self, other: Contribution) -> Contribution:
        return Contribution(self.rate + other.rate, self.mix + other.mix)


def decompose(
    before: Mapping[_Group, Totals], after: Mapping[_Group, Totals], scale: int = 1
) -> dict[_Group, Contribution]:
    """Return the part of each group in the change of a figure, which sum to the change exactly.

    `scale` is 100 for a figure in percent. A group absent in one period, or with nothing in its denominator, takes the
    other period's rate. Raises ZeroDivisionError when the whole denominator of a period is zero: there is no figure.
    """
    groups = list(dict.fromkeys([*before, *after]))
    tables = {**before, **after}
    if all(one.denominator is None for one in tables.values()):
        nothing = Totals(Fraction(0))
        return {
            group: Contribution(scale * (after.get(group, nothing).numerator - before.get(group, nothing).numerator))
            for group in groups
        }
    wholes = [_whole(period) for period in (before, after)]
    mean = scale * (wholes[0].numerator / _of(wholes[0]) + wholes[1].numerator / _of(wholes[1])) / 2
    found = {}
    for group in groups:
        weights = [_of(period.get(group)) / _of(whole) for period, whole in zip((before, after), wholes, strict=True)]
        rates = _rates(before.get(group), after.get(group), scale)
        found[group] = Contribution(
            (weights[0] + weights[1]) / 2 * (rates[1] - rates[0]),
            (weights[1] - weights[0]) * ((rates[0] + rates[1]) / 2 - mean),
        )
    return found


def summed(parts: Mapping[tuple[str, str], Contribution], dimension: int) -> dict[str, Contribution]:
    """Sum the parts of a cross product over one of its two dimensions: what is left is by the other, `dimension`."""
    found: dict[str, Contribution] = {}
    for group, part in parts.items():
        name = group[dimension]
        found[name] = found.get(name, Contribution(Fraction(0))) + part
    return found


def largest_remainder(amounts: Sequence[Fraction], total: Decimal, unit: Decimal) -> tuple[Decimal, ...]:
    """Round amounts to multiples of a unit so that they add up to `total`, a multiple of it, each as little as it can.

    Each is rounded down; what is missing then goes to those with the largest remainder, of equal ones to the first.
    """
    if not amounts:
        return ()
    step = Fraction(unit)
    floors = [amount // step for amount in amounts]
    missing = int(Fraction(total) / step) - sum(floors)
    # A total that was rounded for itself may be more than one unit a part away from the sum of the floors.
    all_of_them, missing = divmod(missing, len(amounts))
    by_remainder = sorted(range(len(amounts)), key=lambda place: floors[place] * step - amounts[place])
    extra = set(by_remainder[:missing])
    return tuple((floor + all_of_them + (place in extra)) * unit for place, floor in enumerate(floors))


def _whole(period: Mapping[_Group, Totals]) -> Totals:
    return Totals(
        sum((one.numerator for one in period.values()), Fraction(0)),
        sum((_of(one) for one in period.values()), Fraction(0)),
    )


def _of(one: Totals | None) -> Fraction:
    return (one.denominator or Fraction(0)) if one else Fraction(0)


def _rates(before: Totals | None, after: Totals | None, scale: int) -> tuple[Fraction, Fraction]:
    found = [scale * one.numerator / _of(one) if one and _of(one) else None for one in (before, after)]
    either = next((rate for rate in found if rate is not None), Fraction(0))
    first, second = (either if rate is None else rate for rate in found)
    return first, second
