"""Synthetic first visits after an assessed need, around the limits of the care guarantee."""

from __future__ import annotations

from demo.files import FINNISH, Column, Feed, File, Flaw, Style, values
from demo.times import EVENTS

# service, age group, year, first visits, of them within each limit of its service in turn (the rest later)
VISITS = (
    ("primary_care", "under_23", 2023, 9140, (6890, 9080)),
    ("primary_care", "23_and_over", 2023, 39060, (27332, 38482)),
    ("primary_care", "under_23", 2024, 9470, (7480, 9445)),
    ("primary_care", "23_and_over", 2024, 40170, (29320, 39890)),
    ("primary_care", "under_23", 2025, 9820, (9030, 9816)),
    ("primary_care", "23_and_over", 2025, 41490, (33770, 41460)),
    ("oral_health", "under_23", 2023, 9480, (8350, 9070, 9420)),
    ("oral_health", "23_and_over", 2023, 22120, (16298, 19198, 21598)),
    ("oral_health", "under_23", 2024, 9700, (8780, 9380, 9640)),
    ("oral_health", "23_and_over", 2024, 22780, (17540, 20300, 22460)),
    ("oral_health", "under_23", 2025, 9930, (9540, 9790, 9910)),
    ("oral_health", "23_and_over", 2025, 23420, (18740, 21300, 23310)),
)

# service, age group, year, needs assessed that year without a visit by the end of 2025, first day of them
UNVISITED = (
    ("primary_care", "under_23", 2023, 41, "2023-01-01"),
    ("primary_care", "23_and_over", 2023, 183, "2023-01-01"),
    ("oral_health", "23_and_over", 2023, 97, "2023-01-01"),
    ("primary_care", "under_23", 2024, 38, "2024-01-01"),
    ("primary_care", "23_and_over", 2024, 171, "2024-01-01"),
    ("oral_health", "23_and_over", 2024, 104, "2024-01-01"),
    ("primary_care", "under_23", 2025, 290, "2025-12-12"),
    ("primary_care", "23_and_over", 2025, 1880, "2025-11-03"),
    ("oral_health", "under_23", 2025, 1120, "2025-10-06"),
    ("oral_health", "23_and_over", 2025, 3460, "2025-09-01"),
)

# A visit's day is dealt out, and its rank says within which limit it is: 14 days and 3 months, or 3, 4 and 6 months.
# The need was assessed on some day between that limit's first day and the day after the limit before it.
_VISITS_SQL = f"""
create table care_visits as
with given (service, age_group, year, visits, within) as (
    {values(VISITS)}
),
waiting (service, age_group, year, visits, starts_on) as (
    {values(UNVISITED)}
),
volumes as (
    select
        service || '/' || age_group as series, 'working_days' as profile, year, scaled(visits) as n,
        make_date(year, 1, 1) as starts_on, service, age_group, visits, within
    from given
    union all
    select
        'waiting/' || service || '/' || age_group, 'working_days', year, scaled(visits), cast(starts_on as date),
        service, age_group, visits, null
    from waiting
),
{EVENTS},
ranked as (
    select
        *,
        -- From 2025 nobody of 23 and over waits beyond the new limit: who comes in early January has not waited long.
        row_number() over (
            partition by series, year
            order by
                age_group = '23_and_over' and service = 'primary_care' and day >= date '2025-01-20',
                noise(series || year || i, 'visits.rank'), i
        ) as rank
    from events
),
limits as (
    select
        *, day - 14 as after_14_days, months_before(day, 3) as after_3_months,
        months_before(day, 4) as after_4_months, months_before(day, 6) as after_6_months,
        case
            when rank <= round(n * within[1] / visits) then 1
            when rank <= round(n * within[2] / visits) then 2
            when rank <= round(n * coalesce(within[3], visits) / visits) then 3
            else 4
        end as step,
        year = 2025 and age_group = '23_and_over' and not (day < date '2025-03-01' and bronze(rank) < 0.05)
        as is_assessed_in_2025
    from ranked
    where within is not null
),
spans as (
    select
        *,
        case when service = 'primary_care'
            then [
                after_14_days,
                case when is_assessed_in_2025 then greatest(after_3_months, date '2025-01-02') else after_3_months end,
                after_3_months - 60
            ]
            else [after_3_months, after_4_months, after_6_months, after_6_months - 120]
        end[step] as first_on,
        case when service = 'primary_care'
            then [
                day,
                case when year = 2025 and age_group = '23_and_over' and not is_assessed_in_2025
                    then least(after_14_days - 1, date '2024-12-31') else after_14_days - 1
                end,
                after_3_months - 1
            ]
            else [day, after_3_months - 1, after_4_months - 1, after_6_months - 1]
        end[step] as last_on,
        case
            -- Some on the very last day within a limit and some on the first beyond it; most sooner than later.
            when golden(rank) < 0.03 then 0
            when golden(rank) < 0.06 and step > 1 then 0.999999
            else pow(silver(rank), 0.6)
        end as place
    from limits
),
dated as (
    select
        series, service, age_group, year, i, day as visited_on,
        weekday_near(day_within(first_on, last_on, place), first_on, last_on, i) as need_assessed_on
    from spans
    union all
    select series, service, age_group, year, i, null, day
    from ranked
    where within is null
),
named as (
    select
        *,
        case service when 'primary_care' then 'pth' else 'sth' end
        || case age_group when 'under_23' then 'n' else 'a' end
        || case when visited_on is null then 'o' else '' end
        || year % 100 || '-' || lpad(cast(i as varchar), 5, '0') as visit_id,
        'hoitoonpaasy_' || year(visited_on) || case when month(visited_on) < 7 then '-h1' else '-h2' end as visited_in
    from dated
)
select
    visit_id, service, need_assessed_on, visited_on,
    case age_group
        when 'under_23' then cast(floor(23 * noise(visit_id, 'visits.age')) as integer)
        else 23 + cast(floor(74 * pow(noise(visit_id, 'visits.age'), 0.8)) as integer)
    end as age_years,
    -- Those who waited at the end of 2024 were delivered then, and again with their visit.
    case
        when need_assessed_on <= date '2024-12-31' and coalesce(visited_on >= date '2025-01-01', true)
            then 'hoitoonpaasy_2024-h2_odottavat'
        when visited_on is null then 'hoitoonpaasy_2025-h2_odottavat'
        else visited_in
    end as delivery,
    case
        when need_assessed_on <= date '2024-12-31' and visited_on >= date '2025-01-01' then visited_in
    end as correction
from named
"""

CARE_VISITS_FEED = Feed(
    name="care_visits",
    columns=(
        Column("visit_id", "text", "käynnin_tunniste"),
        Column("service", "text", "palvelu"),
        Column("need_assessed_on", "date", "hoidon_tarve_arvioitu"),
        Column("visited_on", "date", "käyntipäivä"),
        Column("age_years", "text", "ikä"),
    ),
    order="coalesce(visited_on, need_assessed_on), visit_id",
    sql=_VISITS_SQL,
    files=(
        File("hoitoonpaasy_2023-h1", Style(separator=";", compressed=True)),
        File(
            "hoitoonpaasy_2023-h2",
            Style(separator=";", encoding="iso-8859-15", times=FINNISH, finnish_headers=True, newline="\r\n"),
            (
                Flaw((17,), (("visit_id", "visit_id || 'x'"), ("need_assessed_on", "visited_on + 3"))),
                Flaw((90, 400)),
            ),
        ),
        File("hoitoonpaasy_2024-h1", Style(compressed=True)),
        File("hoitoonpaasy_2024-h2", Style(compressed=True)),
        File("hoitoonpaasy_2024-h2_odottavat", Style(missing="-")),
        File(
            "hoitoonpaasy_2025-h1",
            Style(compressed=True),
            (Flaw((25,), (("visit_id", "visit_id || 'x'"), ("age_years", "'-1'"))),),
        ),
        File("hoitoonpaasy_2025-h2", Style(separator=";", finnish_headers=True, compressed=True)),
        File("hoitoonpaasy_2025-h2_odottavat"),
    ),
    before=(("visited_on", "cast(null as date)"),),
)
