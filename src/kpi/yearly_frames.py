"""The small tables that the yearly rules look at, one SQL query each over the marts of a candidate warehouse.

Every frame has `report_year` and `label`, which names the row where a rule breaks, and a column for each rule. A
column is null where its rule does not apply.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from kpi.yearly_rules import (
    ACCEPTED_CHANGES,
    HEALTH_LINES,
    MAIN_VOLUMES,
    PLAUSIBLE_MAXIMA,
    FeedExpectation,
    Frame,
)

if TYPE_CHECKING:
    import pandas as pd

# The tables read, with the columns used. A table that was not built counts as empty.
INPUTS: Mapping[str, Mapping[str, str]] = {
    "marts.indicators": {"figure_id": "varchar", "service": "varchar", "report_year": "integer", "basis": "varchar",
                         "denominator": "double", "value": "double"},
    "marts.coverage": {"feed": "varchar", "report_year": "integer", "month": "integer", "row_count": "bigint"},
    "marts.reconciliation": {"figure_id": "varchar", "service": "varchar", "report_year": "integer",
                             "published_value": "double", "value": "double", "status": "varchar"},
    "seeds.figures": {"figure_id": "varchar", "unit": "varchar"},
}  # fmt: skip


def _quoted(values: Iterable[str]) -> str:
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)


# Steps that follow the import CTEs. One row a figure; `kind` is what its unit makes of it, save for changes and rates.
FIGURES = """
, described as (
    select
        figure_id,
        min(unit) as unit,
    from seeds_figures
    group by figure_id
),

figures as (
    select
        i.report_year,
        i.figure_id,
        i.service,
        i.basis,
        i.denominator,
        d.figure_id is not null as is_known,
        case when isfinite(i.value) then i.value end as value,
        concat_ws(' ', i.figure_id, i.service, i.report_year) as name,
        case when i.basis <> 'calendar_year' then ' (' || i.basis || ')' else '' end as basis_text,
        case
            when right(i.figure_id, 7) = '_change' or right(i.figure_id, 11) = '_change_pct' then 'change'
            when right(i.figure_id, 14) = '_response_rate' then 'response_rate'
            when d.unit in ('count', 'count_per_day', 'persons') then 'count'
            when d.unit = 'percent' then 'share'
            when d.unit = 'points' then 'nps'
            when d.unit in ('seconds', 'days') then 'duration'
            when d.unit = 'score_1_to_5' then 'score'
        end as kind,
    from marts_indicators as i
    left join described as d on i.figure_id = d.figure_id
    where i.report_year <= $last_year
)
"""

JUDGED_FIGURES = f"""
select
    report_year,
    name || basis_text || ' = ' || coalesce(printf('%.10g', value), 'no value') as label,
    figure_id || ' ' || service || ' ' || basis as figure_key,
    case when is_known then 'known' else 'unknown' end as figure_id_is,
    case
        when value is not null then 'present'
        when kind = 'count' or denominator > 0 then 'missing'
    end as value_is,
    case when figure_id in ({_quoted(MAIN_VOLUMES)}) then value end as main_volume,
    case when kind = 'count' then value end as count_value,
    case when kind = 'share' then value end as share,
    case when kind = 'response_rate' then value end as response_rate,
    case when kind = 'nps' then value end as nps,
    case when kind = 'score' then value end as score,
    case when kind = 'duration' then value end as duration,
    {" ".join(f"case when figure_id = '{id_}' then value end as {id_}," for id_, _, _ in PLAUSIBLE_MAXIMA)}
from figures
order by report_year, figure_id, service, basis, value
"""

# One row a figure and the same figure of the year before. A main volume that is not told any more, though its feed
# was delivered, counts as 0: the records of one service are missing.
CHANGES = f"""
, delivered as (
    select distinct
        m.figure_id,
        c.report_year,
    from (values {", ".join(f"({_quoted(pair)})" for pair in MAIN_VOLUMES.items())}) as m (figure_id, feed)
    inner join marts_coverage as c on m.feed = c.feed
    where c.row_count > 0
),

pairs as (
    select
        before.report_year + 1 as report_year,
        before.figure_id,
        before.kind,
        before.value as previous,
        before.figure_id in ({_quoted(MAIN_VOLUMES)}) and before.value >= 1000 as is_main,
        coalesce(this.value, case when this.figure_id is null then 0 end) as value,
        this.denominator >= 100 and before.denominator >= 100 as is_many,
        concat_ws(' ', before.figure_id, before.service, before.report_year + 1) as name,
    from figures as before
    left join figures as this
        on before.figure_id = this.figure_id
        and before.service = this.service
        and before.report_year + 1 = this.report_year
    left join delivered
        on before.figure_id = delivered.figure_id
        and before.report_year + 1 = delivered.report_year
    where before.basis <> 'partial_year'
        and (this.basis = before.basis or (this.figure_id is null and delivered.figure_id is not null))
)

select
    report_year,
    name || ' = ' || printf('%.10g', value) || ' (the year before ' || printf('%.10g', previous) || ')' as label,
    case when kind = 'count' and is_main then value / greatest(previous, 1) end as main_volume_ratio,
    case
        when kind = 'count' and not is_main and greatest(value, previous) >= 100 then value / greatest(previous, 1)
    end as count_ratio,
    case when kind = 'duration' and is_many then value / greatest(previous, 1) end as duration_ratio,
    case when kind in ('share', 'response_rate') and is_many then value - previous end as share_difference,
    case when kind = 'nps' and is_many then value - previous end as nps_difference,
    case when kind = 'score' and is_many then value - previous end as score_difference,
from pairs
where not list_contains($accepted_changes, name)
order by report_year, name
"""

# One row a whole that must be the sum of its parts.
PARTS = f"""
, sums as (
    select
        report_year,
        'rescue_department_missions' as whole,
        service,
        sum(case when figure_id = 'rescue_department_missions' then value else 0 end) as total,
        sum(case when figure_id in ('rescue_missions', 'ems_missions') then value else 0 end) as parts,
    from figures
    where figure_id in ('rescue_department_missions', 'rescue_missions', 'ems_missions')
    group by report_year, service

    union all

    select
        report_year,
        figure_id as whole,
        'health_lines' as service,
        sum(case when service = 'health_lines' then value else 0 end) as total,
        sum(case when service <> 'health_lines' then value else 0 end) as parts,
    from figures
    where figure_id in ('calls_received', 'callbacks_received', 'callbacks_never_reached', 'chats_received')
        and service in ('health_lines', {_quoted(HEALTH_LINES)})
    group by report_year, figure_id

    union all

    select
        report_year,
        'nps' as whole,
        service,
        sum(case when figure_id = 'nps' then value end) as total,
        sum(case when figure_id = 'nps_promoter_share' then value end)
            - sum(case when figure_id = 'nps_detractor_share' then value end) as parts,
    from figures
    where figure_id in ('nps', 'nps_promoter_share', 'nps_detractor_share')
    group by report_year, service
)

select
    report_year,
    concat_ws(' ', whole, service, report_year) || ' = ' || printf('%.10g', total)
        || ' but its parts make ' || printf('%.10g', parts) as label,
    case when whole = 'rescue_department_missions' then total - parts end as missions_gap,
    case when service = 'health_lines' then total - parts end as lines_gap,
    case when whole = 'nps' then total - parts end as nps_gap,
from sums
order by report_year, whole, service
"""

RECONCILIATION = """
select
    report_year,
    concat_ws(' ', figure_id, service, report_year) || ' = ' || coalesce(printf('%.10g', value), 'no value')
        || ' (published ' || coalesce(printf('%.10g', published_value), 'no value') || ')' as label,
    status,
from marts_reconciliation
order by report_year, figure_id, service, value
"""

YEARS = """
select
    report_year,
    report_year || coalesce(' (' || string_agg(distinct feed, ' and ' order by feed) || ')', '') as label,
from (
    select report_year, null as feed from marts_indicators
    union all
    select report_year, feed from marts_coverage where row_count > 0
)
where report_year is not null
group by report_year
order by report_year
"""

COVERAGE = """
select
    feed,
    report_year,
    month,
    sum(row_count) as row_count,
from marts_coverage
where row_count > 0 and report_year <= $last_year
group by feed, report_year, month
order by feed, report_year, month
"""

QUERIES: Mapping[Frame, str] = {
    "figures": FIGURES + JUDGED_FIGURES,
    "changes": FIGURES + CHANGES,
    "parts": FIGURES + PARTS,
    "reconciliation": RECONCILIATION,
    "years": YEARS,
}


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of all years up to `last_year`, and for each feed the rows of each year and month delivered."""

    last_year: int
    by_name: Mapping[Frame, pd.DataFrame]
    rows: Mapping[str, Mapping[int, Mapping[int | None, int]]]

    def of_year(self, name: Frame, year: int) -> pd.DataFrame:
        """Return the rows of one year, numbered from 0."""
        frame = self.by_name[name]
        return frame[frame["report_year"] == year].reset_index(drop=True)

    def years(self) -> tuple[int, ...]:
        """Return every year from the first to the last that has a figure or a record, the empty ones between too."""
        found = {int(year) for year in self.by_name["years"]["report_year"] if year <= self.last_year}
        return tuple(range(min(found), max(found) + 1)) if found else ()

    def months(self, feeds: Sequence[FeedExpectation], year: int, last_month: int) -> pd.DataFrame:
        """Return a row for each month up to `last_month`, with the rows of each feed; null before its service began."""
        import pandas as pd

        months = range(1, last_month + 1)
        frame = pd.DataFrame({"report_year": year, "label": [str(month) for month in months]})
        for feed in feeds:
            rows = self.rows[feed.feed].get(year, {})
            start = (feed.starts_on.year, feed.starts_on.month) if feed.starts_on else (0, 0)
            frame[feed.feed] = [rows.get(month, 0) if (year, month) >= start else None for month in months]
        return frame

    def deliveries(self, feeds: Sequence[FeedExpectation], year: int) -> pd.DataFrame:
        """Return one row with the number of rows of each feed in a year."""
        import pandas as pd

        counts = {feed.feed: [sum(self.rows[feed.feed].get(year, {}).values())] for feed in feeds}
        return pd.DataFrame({"report_year": [year], "label": [str(year)], **counts})

    def expected(self, feeds: Sequence[FeedExpectation], year: int) -> tuple[FeedExpectation, ...]:
        """Return the feeds expected in a year: each from its own first year to the latest year of any feed."""
        latest = max((max(years) for years in self.rows.values()), default=0)
        delivered = (feed for feed in feeds if feed.feed in self.rows)
        return tuple(feed for feed in delivered if min(self.rows[feed.feed]) <= year <= latest)


def read_frames(con: duckdb.DuckDBPyConnection, last_year: int) -> Frames:
    """Read what the rules look at. `last_year` is the last year that is judged."""
    inputs = _inputs(con)
    values = {"last_year": last_year, "accepted_changes": sorted(ACCEPTED_CHANGES)}
    frames: dict[Frame, pd.DataFrame] = {}
    for name, query in QUERIES.items():
        used = {key: value for key, value in values.items() if f"${key}" in query}
        frames[name] = con.execute(inputs + query, used).df()
    rows: dict[str, dict[int, dict[int | None, int]]] = {}
    for feed, year, month, count in con.execute(inputs + COVERAGE, {"last_year": last_year}).fetchall():
        rows.setdefault(feed, {}).setdefault(year, {})[month] = int(count)
    return Frames(last_year, frames, rows)


def _inputs(con: duckdb.DuckDBPyConnection) -> str:
    """Return the import CTEs: each input with the types the frames rely on, or empty when it was not built."""
    built = {
        f"{schema}.{name}"
        for schema, name in con.execute(
            "select table_schema, table_name from information_schema.tables where table_catalog = current_database()"
        ).fetchall()
    }
    ctes = []
    for table, columns in INPUTS.items():
        if table in built:
            select = ", ".join(f"cast({name} as {type_}) as {name}" for name, type_ in columns.items())
            select += f" from {table}"
        else:
            select = ", ".join(f"cast(null as {type_}) as {name}" for name, type_ in columns.items()) + " where false"
        ctes.append(f"{table.replace('.', '_')} as (select {select})")
    return "with " + ", ".join(ctes)
