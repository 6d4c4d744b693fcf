"""Synthetic housing of the elderly and statutory cases of social services.

The wait of each is dealt out by rank, so that means and shares follow from the volumes alone.
"""

from __future__ import annotations

from demo.files import FINNISH, Column, Feed, File, Flaw, Style, values
from demo.times import EVENTS, HOLIDAYS

# year, and for each month from January: placements, mean wait in days
PLACEMENTS = (
    (2023, (46, 41, 48, 43, 45, 40, 35, 43, 46, 47, 45, 44),
     (41.2, 40.8, 41.9, 42.3, 42.0, 43.1, 44.6, 44.0, 43.7, 44.9, 45.3, 46.0)),
    (2024, (47, 43, 45, 44, 46, 41, 36, 42, 45, 48, 46, 43),
     (46.8, 48.1, 49.9, 51.7, 53.8, 56.1, 59.0, 60.3, 61.2, 62.4, 64.6, 66.1)),
    (2025, (45, 42, 44, 43, 44, 40, 37, 41, 44, 46, 44, 43),
     (66.2, 67.4, 68.8, 69.9, 71.3, 73.0, 75.6, 76.4, 77.1, 78.6, 79.7, 80.9)),
)  # fmt: skip

# year, applications of that year without a placement by the end of 2025, first day of them
WAITING = ((2023, 31, "2023-01-01"), (2024, 36, "2024-01-01"), (2025, 171, "2025-09-01"))

_PLACEMENTS_SQL = f"""
create table housing_placements as
with given (year, placements, means) as (
    {values(PLACEMENTS)}
),
waiting (year, applications, starts_on) as (
    {values(WAITING)}
),
months as (
    select year, unnest(range(1, 13)) as month, unnest(placements) as placements, unnest(means) as mean
    from given
),
open_days as (
    select year, month, list(day order by day) as working_days
    from days
    where weekday < 6
    group by year, month
),
placed as (
    select months.*, scaled(placements) as n, unnest(range(1, scaled(placements) + 1)) as i, working_days
    from months
    join open_days on open_days.year = months.year and open_days.month = months.month
),
ranked as (
    select
        *, cast(round(mean * n) as bigint) as goal,
        row_number() over (
            partition by year, month order by noise(year || '/' || month || '/' || i, 'housing.rank'), i
        ) as rank
    from placed
),
-- The curve has the mean 1 over 0..1; the days lost to whole ones are given back evenly.
curved as (
    select *, cast(floor(mean * (0.15 + 2.55 * pow((rank - 0.5) / n, 2))) as bigint) as days_waited
    from ranked
),
slack as (
    select *, goal - cast(sum(days_waited) over (partition by year, month) as bigint) as missing
    from curved
),
volumes as (
    select
        'waiting' as series, 'working_days' as profile, year, scaled(applications) as n,
        cast(starts_on as date) as starts_on
    from waiting
),
{EVENTS},
settled as (
    select
        'IY-' || year || '-' || lpad(cast(month as varchar), 2, '0') || lpad(cast(i as varchar), 3, '0')
        as application_id,
        working_days[1 + cast(floor(len(working_days) * (i - 0.5) / n) as integer)] as placed_on,
        cast(days_waited + missing * rank // n - missing * (rank - 1) // n as integer) as days_waited
    from slack
),
applied as (
    select application_id, placed_on - days_waited as initiated_on, placed_on
    from settled
    union all
    select 'IY-' || year || '-J' || lpad(cast(i as varchar), 4, '0'), day, null
    from events
)
select
    application_id, initiated_on, placed_on,
    'asumishakemukset_' || greatest(2023, year(initiated_on)) as delivery,
    case
        when year(placed_on) > greatest(2023, year(initiated_on)) then 'asumishakemukset_' || year(placed_on)
    end as correction
from applied
"""

HOUSING_PLACEMENTS_FEED = Feed(
    name="housing_placements",
    columns=(
        Column("application_id", "text", "hakemuksen_tunniste"),
        Column("initiated_on", "date", "vireilletulopäivä"),
        Column("placed_on", "date", "sijoituspäivä"),
    ),
    order="initiated_on, application_id",
    sql=_PLACEMENTS_SQL,
    files=(
        File("asumishakemukset_2023", Style(separator=";", times=FINNISH, finnish_headers=True, missing="-")),
        File("asumishakemukset_2024", flaws=(Flaw((12,)),)),
        File(
            "asumishakemukset_2025",
            Style(separator="\t"),
            (Flaw((30,), (("application_id", "application_id || 'x'"), ("placed_on", "initiated_on - 1"))),),
        ),
    ),
    before=(("placed_on", "cast(null as date)"),),
)

# process, short name in ids, limit in calendar months or else working days, year, decided, within the limit, late for
# a special reason (the rest late)
DECISIONS = (
    ("disability_service", "va", 3, 0, 2023, 2140, 1701, 137),
    ("disability_service", "va", 3, 0, 2024, 2215, 1604, 148),
    ("disability_service", "va", 3, 0, 2025, 2308, 1452, 164),
    ("child_welfare_notification", "ls", 0, 7, 2023, 6480, 6409, 0),
    ("child_welfare_notification", "ls", 0, 7, 2024, 6735, 6641, 0),
    ("child_welfare_notification", "ls", 0, 7, 2025, 6902, 6826, 0),
    ("supplementary_income_support", "tt", 0, 7, 2023, 3960, 3944, 0),
    ("supplementary_income_support", "tt", 0, 7, 2024, 4080, 4056, 0),
    ("supplementary_income_support", "tt", 0, 7, 2025, 3870, 3843, 0),
    ("service_needs_assessment", "pt", 3, 0, 2023, 6120, 5590, 261),
    ("service_needs_assessment", "pt", 3, 0, 2024, 6240, 5640, 282),
    ("service_needs_assessment", "pt", 3, 0, 2025, 6410, 5850, 284),
)

# process, year, cases begun that year and not decided by the end of 2025, first day of them
PENDING = (
    ("disability_service", 2024, 24, "2024-06-03"),
    ("disability_service", 2025, 612, "2025-07-01"),
    ("child_welfare_notification", 2025, 118, "2025-12-19"),
    ("supplementary_income_support", 2025, 74, "2025-12-18"),
    ("service_needs_assessment", 2023, 58, "2023-01-01"),
    ("service_needs_assessment", 2024, 63, "2024-01-01"),
    ("service_needs_assessment", 2025, 1040, "2025-10-15"),
)

# A decision's day is dealt out, and its rank says whether the case began on the first day that the limit allows, on
# some later one, or before it.
_DECISIONS_SQL = f"""
create table decisions as
with given (process, short, months, working_days, year, decided, in_time, special) as (
    {values(DECISIONS)}
),
pending (process, year, cases, starts_on) as (
    {values(PENDING)}
),
open_days as (
    select day, row_number() over (order by day) as number
    from (select cast(unnest(generate_series(date '2022-12-01', date '2025-12-31', interval 1 day)) as date) as day)
    where isodow(day) < 6 and day not in {HOLIDAYS}
),
allowed as (
    select decided.day as decided_on, begun.day as first_on
    from open_days as decided
    join open_days as begun on begun.number = decided.number - 7
),
volumes as (
    select
        process as series, 'working_days' as profile, year, scaled(decided) as n, make_date(year, 1, 1) as starts_on,
        process, short, months, decided, in_time, special
    from given
    union all
    select
        'pending/' || process, 'working_days', year, scaled(cases), cast(starts_on as date),
        process, 'o', null, null, null, null
    from pending
),
{EVENTS},
ranked as (
    select
        *,
        row_number() over (partition by series, year order by noise(series || year || i, 'decisions.rank'), i) as rank
    from events
),
limits as (
    select
        ranked.* exclude (in_time),
        case when months > 0 then months_before(day, 3) else allowed.first_on end as first_on,
        rank <= round(n * in_time / decided) as is_in_time,
        rank <= round(n * (in_time + special) / decided) as is_excused
    from ranked
    left join allowed on allowed.decided_on = day
    where decided is not null
),
begun as (
    select
        *,
        case
            when is_in_time and golden(rank) < 0.04 then first_on
            when is_in_time then day_within(first_on, day, pow(silver(rank), if(months > 0, 0.8, 0.5)))
            when golden(rank) < 0.08 then first_on - 1
            else first_on - 1 - cast(floor(if(months > 0, 110, 12) * pow(silver(rank), 2)) as integer)
        end as came_on
    from limits
),
cases as (
    select
        process, short, year, i, day as decided_on,
        -- Applications come by post; reports and some applications come on any day.
        case
            when months = 0 or i % 6 = 0 then came_on
            when is_in_time then weekday_near(came_on, first_on, day, i)
            else weekday_near(came_on, came_on - 7, first_on - 1, i)
        end as initiated_on,
        case
            when is_in_time then case when bronze(rank) < 0.02 then true when bronze(rank) < 0.7 then false end
            when is_excused then true
            when bronze(rank) < 0.6 then false
        end as special_reason
    from begun
    union all
    select process, left(process, 2) || short, year, i, null, day, null
    from ranked
    where decided is null
),
named as (
    select
        *, short || '-' || year || '-' || lpad(cast(i as varchar), 5, '0') as case_id,
        greatest(initiated_on, date '2023-01-01') as seen_on
    from cases
),
-- A half-year's file has the cases that began or were decided in it.
filed as (
    select
        *,
        'paatokset_' || year(seen_on) || case when month(seen_on) < 7 then '-h1' else '-h2' end as first_file,
        'paatokset_' || year(decided_on) || case when month(decided_on) < 7 then '-h1' else '-h2' end as last_file
    from named
)
select
    case_id, process, initiated_on, decided_on, special_reason, first_file as delivery,
    case when last_file <> first_file then last_file end as correction
from filed
"""

DECISIONS_FEED = Feed(
    name="decisions",
    columns=(
        Column("case_id", "text", "asian_tunniste"),
        Column("process", "text", "prosessi"),
        Column("initiated_on", "date", "vireilletulopäivä"),
        Column("decided_on", "date", "päätöspäivä"),
        Column("special_reason", "flag", "erityinen_syy"),
    ),
    order="initiated_on, case_id",
    sql=_DECISIONS_SQL,
    files=(
        File("paatokset_2023-h1", Style(separator=";", flags=("1", "0"))),
        File(
            "paatokset_2023-h2",
            Style(
                separator=";",
                encoding="iso-8859-15",
                times=FINNISH,
                finnish_headers=True,
                newline="\r\n",
                flags=("kyllä", "ei"),
            ),
            (Flaw((14,), (("case_id", "case_id || 'x'"), ("process", "'toimeentulotuki'"))), Flaw((80,), fields=4)),
        ),
        File("paatokset_2024-h1", Style(compressed=True)),
        File("paatokset_2024-h2", Style(separator="\t", missing="NULL")),
        File(
            "paatokset_2025-h1",
            flaws=(Flaw((21,), (("case_id", "case_id || 'x'"), ("special_reason", "'ehkä'"))), Flaw((55, 120))),
            columns=("process", "case_id", "initiated_on", "decided_on", "special_reason"),
        ),
        File("paatokset_2025-h2", Style(quoted=True, compressed=True)),
    ),
    before=(("decided_on", "cast(null as date)"), ("special_reason", "cast(null as boolean)")),
)
