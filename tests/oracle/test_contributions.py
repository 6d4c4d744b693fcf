"""The parts of a change against Das Gupta's method, written again here, in fractions, over thousands of random tables.

The oracle takes no formula from the module: it replaces one factor after the other in every order and averages what
each replacement did, group by group, which is Das Gupta's definition for any number of factors. Only the mean R of the
two totals, by which a group's mix is told apart from the average, is added to it as the docstring of the module says.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from itertools import permutations
from math import floor
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from kpi.database import reading
from kpi.provenance.decomposition import Contribution, Totals, decompose, largest_remainder, summed, year_change
from kpi.provenance.figure_values import FigureKey, read_rows
from kpi.reader.change_report import side_of
from kpi.warehouse.builds import Warehouse

Table = dict[tuple[str, str], tuple[int, int]]

TABLES_EACH = 50
SERVICES, MONTHS = ("health", "social", "rescue"), ("1", "2", "3", "4")
_KINDS = ("nobody", "few", "many", "absent")
SEEDS = st.integers(0, 2**32)  # of TABLES_EACH pairs of tables: thousands of them in a second


def table(rng: Random) -> Table:
    """A random table of the cross product, with something in its denominator.

    A net promoter score has fewer promoters than detractors at times; a group may be there with nobody in it, or not.
    """
    found: Table = {}
    groups = [(service, month) for service in SERVICES for month in MONTHS]
    for group in rng.sample(groups, rng.randint(1, len(groups))):
        kind = rng.choice(_KINDS)
        if kind == "nobody":
            found[group] = (0, 0)
        elif kind == "few":
            found[group] = (rng.randint(-20, 20), rng.randint(1, 20))
        elif kind == "many":
            found[group] = (rng.randint(0, 10**9), rng.randint(1, 10**6))
    return found if any(whole for _, whole in found.values()) else table(rng)


def pairs(seed: int) -> list[tuple[Table, Table]]:
    rng = Random(seed)
    return [(table(rng), table(rng)) for _ in range(TABLES_EACH)]


def totals(table: Table) -> dict[tuple[str, str], Totals]:
    return {group: Totals(Fraction(part), Fraction(whole)) for group, (part, whole) in table.items()}


def rate_of_all(table: Table) -> Fraction:
    return Fraction(sum(part for part, _ in table.values()), sum(whole for _, whole in table.values()))


def das_gupta(before: Table, after: Table) -> dict[tuple[str, str], tuple[Fraction, Fraction]]:
    """The effect of rate and of weight of each group: the mean, over all orders, of what its replacement changes."""
    size = {period: sum(whole for _, whole in table.values()) for period, table in enumerate((before, after))}
    effects = {}
    for group in {*before, *after}:
        factors: list[list[Fraction]] = [[], []]  # rates, weights; of both periods
        for period, table in enumerate((before, after)):
            part, whole = table.get(group, (0, 0))
            factors[1].append(Fraction(whole, size[period]))
            factors[0].append(Fraction(part, whole) if whole else Fraction(-1))
        for period, table in enumerate((before, after)):
            if not table.get(group, (0, 0))[1]:  # absent: it has the rate of the other period
                other = (after, before)[period].get(group, (0, 0))
                factors[0][period] = Fraction(*other) if other[1] else Fraction(0)
        effect = [Fraction(0), Fraction(0)]
        orders = list(permutations(range(2)))
        for order in orders:
            chosen = [0, 0]
            for factor in order:
                old = factors[0][chosen[0]] * factors[1][chosen[1]]
                chosen[factor] = 1
                effect[factor] += (factors[0][chosen[0]] * factors[1][chosen[1]] - old) / len(orders)
        effects[group] = (effect[0], effect[1])
    return effects


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_each_part_is_das_guptas_and_their_sum_the_change(seed: int) -> None:
    for before, after in pairs(seed):
        check(before, after)


def check(before: Table, after: Table) -> None:
    parts = decompose(totals(before), totals(after), scale=100)
    mean = (rate_of_all(before) + rate_of_all(after)) / 2
    expected = das_gupta(before, after)
    weight = {
        period: {group: Fraction(whole, sum(w for _, w in table.values())) for group, (_, whole) in table.items()}
        for period, table in enumerate((before, after))
    }
    assert parts.keys() == expected.keys()
    for group, part in parts.items():
        rate, mix = expected[group]
        moved = weight[1].get(group, Fraction(0)) - weight[0].get(group, Fraction(0))
        assert part == Contribution(100 * rate, 100 * (mix - moved * mean))
    change = 100 * (rate_of_all(after) - rate_of_all(before))
    assert sum((part.total for part in parts.values()), Fraction(0)) == change
    # Das Gupta's two effects of all groups together are ours: what R takes from one group it gives to the others.
    assert sum(part.mix for part in parts.values()) == 100 * sum(mix for _, mix in expected.values())


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_the_parts_of_either_dimension_sum_to_the_change(seed: int) -> None:
    for before, after in pairs(seed):
        parts = decompose(totals(before), totals(after))
        for dimension in (0, 1):
            by = summed(parts, dimension)
            assert by.keys() == {group[dimension] for group in (*before, *after)}
            assert sum((part.total for part in by.values()), Fraction(0)) == rate_of_all(after) - rate_of_all(before)


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_differences_of_counts_add_directly(seed: int) -> None:
    for tables in pairs(seed):
        before, after = ({group: part for group, (part, _) in one.items()} for one in tables)
        counts = [{group: Totals(Fraction(count)) for group, count in one.items()} for one in (before, after)]
        parts = decompose(counts[0], counts[1])
        assert {group: part.total for group, part in parts.items()} == {
            group: after.get(group, 0) - before.get(group, 0) for group in {*before, *after}
        }
        assert all(part.mix == 0 for part in parts.values())


def test_one_group_has_its_rate_alone() -> None:
    parts = decompose({"all": Totals(Fraction(-3), Fraction(10))}, {"all": Totals(Fraction(1), Fraction(10))}, 100)
    assert parts == {"all": Contribution(Fraction(40), Fraction(0))}


def test_a_group_that_is_new_has_its_mix_alone() -> None:
    old = {"a": Totals(Fraction(8), Fraction(10))}
    parts = decompose(old, {**old, "b": Totals(Fraction(2), Fraction(10))}, 100)
    # From 80 % to 50 %; the mean is 65, and b, of 20 %, took half of the weight from a.
    assert parts["a"] == Contribution(Fraction(0), Fraction(-15, 2))
    assert parts["b"] == Contribution(Fraction(0), Fraction(-45, 2))


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_printed_parts_add_up_to_what_is_printed(seed: int) -> None:
    rng = Random(seed)
    for _ in range(TABLES_EACH):
        unit = rng.choice((Decimal(1), Decimal("0.1"), Decimal("0.01"), Decimal(60)))
        amounts = [Fraction(rng.randint(-9_999, 9_999), rng.randint(1, 999)) for _ in range(rng.randint(1, 12))]
        # Both values are rounded for themselves, so the printed change may be off the change by a unit.
        off = rng.randint(-2, 2)
        total = (floor(sum(amounts) / Fraction(unit)) + off) * unit
        printed = largest_remainder(amounts, total, unit)
        assert sum(printed) == total
        for amount, shown in zip(amounts, printed, strict=True):
            assert shown % unit == 0
            assert abs(Fraction(shown) - amount) < (1 + abs(off)) * Fraction(unit)


def test_what_is_missing_goes_to_the_largest_remainders() -> None:
    thirds = [Fraction(1, 3)] * 3
    assert largest_remainder(thirds, Decimal("1.0"), Decimal("0.1")) == (Decimal("0.4"), Decimal("0.3"), Decimal("0.3"))
    assert largest_remainder([Fraction(-7, 2), Fraction(5)], Decimal(2), Decimal(1)) == (Decimal(-3), Decimal(5))
    assert largest_remainder([], Decimal(0), Decimal(1)) == ()


def test_parts_of_every_figure_and_service_sum_to_the_change(demo_project: Path) -> None:
    """On the whole demo: those that add up have parts, and all parts sum, exactly and as printed."""
    side = side_of(Warehouse(demo_project / "warehouse"), None, stewards=False)
    rng, with_parts, without = Random(2025), 0, set()
    with reading(side.database) as con:
        figures = [row[0] for row in con.execute("select distinct figure_id from marts.indicators").fetchall()]
        for name in sorted(figures):
            rows = read_rows(con, "marts.indicators", name)
            valued: dict[str, set[int]] = {}
            for (service, year, _), row in rows.items():
                valued.setdefault(service, set()).update((year,) if row.value is not None else ())
            for service, years in valued.items():
                if len(years) < 2:
                    continue
                first, last = rng.sample(sorted(years), 2)  # one pair of each, the later year first in half of them
                keys = FigureKey(name, service, first), FigureKey(name, service, last)
                change = year_change(con, side, tuple, keys)  # no contracts: no value without a month is asked for
                with_parts += bool(change.groups)
                without |= set() if change.groups else {name}
                for groups in change.groups.values():
                    assert sum((group.part.total for group in groups), Fraction(0)) == change.change
                    assert sum((group.printed for group in groups), Decimal(0)) == change.shown_change
                    assert all(group.printed == group.printed_rate + group.printed_mix for group in groups)
    assert with_parts > 80
    assert {"calls_received", "nps", "experience_mean", "rescue_unit_alarms_per_day"}.isdisjoint(without)
    # Medians, censuses, means of means, changes of other figures, and what is entered by hand.
    assert {
        "first_unit_response_seconds",
        "specialist_queue",
        "social_processes_on_time_share",
        "nps_change",
    } <= without


def test_parts_of_the_demo_are_those_of_its_raw_rows(demo_project: Path) -> None:
    """The share of callbacks of the same day, by line and month, counted anew on raw rows."""
    side = side_of(Warehouse(demo_project / "warehouse"), None, stewards=False)
    sql = (
        "select service_line, strftime(requested_at, '%m'), count(*) filter (where reached_at is not null),"
        " count(*) filter (where reached_at::date = requested_at::date) from raw.callbacks"
        " where not _is_superseded and year(requested_at) = ? and service_line <> 'social_advice' group by all"
    )
    with reading(side.database) as con:
        keys = [FigureKey("same_day_callback_share", "health_lines", year) for year in (2024, 2025)]
        change = year_change(con, side, tuple, (keys[0], keys[1]))
        tables: list[Table] = [
            {
                (line, month): (same, reached)
                for line, month, reached, same in con.execute(sql, [key.report_year]).fetchall()
            }
            for key in keys
        ]
    expected = decompose(totals(tables[0]), totals(tables[1]), 100)
    assert change.cells == expected
    assert change.change == 100 * (rate_of_all(tables[1]) - rate_of_all(tables[0]))
