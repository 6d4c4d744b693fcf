"""When synthetic events happen: the calendar, the hours of each kind of event, and local time in SQL.

Events are dealt out, not drawn: an hour of the year gets the share of the volume that its weight gives it, so the
number of events is exact and they come out in order of time.
"""

from __future__ import annotations

from demo.files import values

# Public holidays, Midsummer Eve and Christmas Eve that are not Saturdays or Sundays: offices are closed.
HOLIDAYS = (
    *("2022-12-06", "2022-12-26"),
    *("2023-01-06", "2023-04-07", "2023-04-10", "2023-05-01", "2023-05-18", "2023-06-23", "2023-12-06", "2023-12-25"),
    *("2023-12-26", "2024-01-01", "2024-03-29", "2024-04-01", "2024-05-01", "2024-05-09", "2024-06-21", "2024-12-06"),
    *("2024-12-24", "2024-12-25", "2024-12-26", "2025-01-01", "2025-01-06", "2025-04-18", "2025-04-21", "2025-05-01"),
    *("2025-05-29", "2025-06-20", "2025-12-24", "2025-12-25", "2025-12-26", "2026-01-01", "2026-01-06"),
)

_OFFICE = (0,) * 8 + (30, 24, 18, 14, 11, 12, 11, 8) + (0,) * 8
_MORNING = (0,) * 8 + (44, 26, 13, 9, 6, 7, 5) + (0,) * 9
_EVEN = (0,) * 8 + (17, 19, 18, 16, 13, 15, 14, 10) + (0,) * 8
_NIGHT_AND_DAY = (22, 17, 13, 11, 10, 11, 14, 22, 36, 44, 48, 47, 45, 44, 43, 46, 58, 66, 68, 64, 57, 48, 37, 29)
_ALARMS = (26, 22, 20, 18, 16, 17, 21, 30, 40, 46, 50, 51, 52, 52, 53, 54, 55, 54, 52, 49, 45, 41, 36, 31)
_NOON = (0,) * 12 + (9,) + (0,) * 11
_ANSWERS = (1, 0, 0, 0, 0, 1, 4, 12, 26, 38, 44, 42, 40, 38, 37, 36, 38, 41, 43, 40, 33, 24, 13, 4)
_WORKDAYS = (34, 27, 25, 24, 22, 0, 0)
_EVERY_DAY = (14, 13, 13, 13, 14, 17, 18)
_YEAR = (112, 108, 106, 101, 100, 88, 68, 96, 104, 106, 105, 88)
_SUMMER = (92, 86, 88, 92, 104, 116, 122, 112, 100, 96, 92, 98)

# profile, weight of each hour of the day, of Monday to Sunday (a holiday is a Sunday), of January to December
PROFILES = (
    ("health_station", _OFFICE, _WORKDAYS, _YEAR),
    ("maternity_and_child_clinic", _MORNING, _WORKDAYS, _YEAR),
    ("oral_health", _MORNING, _WORKDAYS, _YEAR),
    ("rehabilitation", _EVEN, _WORKDAYS, _YEAR),
    ("emergency_helpline", _NIGHT_AND_DAY, _EVERY_DAY, (110, 106, 102, 98, 98, 96, 98, 94, 97, 99, 101, 110)),
    ("mental_health_and_substance_abuse", _EVEN, _WORKDAYS, _YEAR),
    ("social_advice", _EVEN, _WORKDAYS, _YEAR),
    ("survey", _ANSWERS, (18, 19, 19, 18, 16, 6, 5), _YEAR),
    ("rescue", _ALARMS, (14, 14, 14, 14, 15, 15, 14), _SUMMER),
    ("ems", _ALARMS, _EVERY_DAY, (104, 102, 100, 97, 98, 99, 101, 98, 97, 99, 100, 105)),
    # Of these only the day counts.
    ("working_days", _NOON, _WORKDAYS, _YEAR),
    ("every_day", _NOON, (17, 16, 16, 15, 15, 11, 10), (101, 98, 99, 98, 101, 99, 96, 98, 101, 103, 103, 101)),
)

# UTC intervals of summer time; local standard time is UTC + 2 h.
_SUMMERS = (
    ("2023-03-26", "2023-10-29"),
    ("2024-03-31", "2024-10-27"),
    ("2025-03-30", "2025-10-26"),
)
_IS_SUMMER = " or ".join(
    f"(t >= timestamp '{start} 01:00:00' and t < timestamp '{end} 01:00:00')" for start, end in _SUMMERS
)
SPRING_NIGHTS = tuple(start for start, _ in _SUMMERS)
_CHANGE_NIGHTS = tuple(night for summer in _SUMMERS for night in summer)

PRELUDE = f"""
create macro is_summer(t) as ({_IS_SUMMER});
create macro utc_of(t) as
    t - case when is_summer(t - interval 3 hour) then interval 3 hour else interval 2 hour end;
create macro local_of(t) as t + case when is_summer(t) then interval 3 hour else interval 2 hour end;
-- Local time some real seconds after a local time. Gaps under an hour read back unchanged on the nights of change.
create macro later(t, seconds) as local_of(utc_of(t) + to_seconds(seconds));
create macro elapsed(t, u) as epoch(utc_of(u) - utc_of(t));

-- Three sequences that fill 0..1 evenly in any stretch of ranks, and do not follow one another.
create macro golden(rank) as (rank * 0.6180339887498949) % 1;
create macro silver(rank) as (rank * 0.41421356237309515) % 1;
create macro bronze(rank) as (rank * 0.30277563773199456) % 1;

-- The first day from which a number of calendar months, clamped to the end of a month, reach a day or pass it.
create macro months_before(day, months) as
    cast(day - to_months(months) as date)
    + case when cast(day - to_months(months) as date) + to_months(months) >= day then 0 else 1 end;
-- A day of a span by its place in it, 0 up to but not 1, and some weekday near a day at a weekend within the span.
create macro day_within(first_on, last_on, place) as
    first_on + cast(floor((last_on - first_on + 1) * place) as integer);
create macro weekday_near(day, first_on, last_on, number) as
    case isodow(day)
        when 6 then greatest(first_on, day - 1 - cast(number % 3 as integer))
        when 7 then least(last_on, day + 1 + cast(number % 2 as integer))
        else day
    end;

create table days as
with every as (
    select cast(unnest(generate_series(date '2023-01-01', date '2026-01-15', interval 1 day)) as date) as day
),
named as (
    select
        day, cast(year(day) as integer) as year, month(day) as month,
        case when day in {HOLIDAYS} then 7 else isodow(day) end as weekday
    from every
)
select
    *,
    min(case when weekday < 6 then day end) over (order by day rows between 1 following and 14 following)
    as next_working
from named;

create table slots as
with profiles (profile, hours, weekdays, months) as (
    {values(PROFILES)}
),
hours as (
    select unnest(range(24)) as hour
),
weighed as (
    select
        profile, day, year, month, weekday, next_working, hour, hours[1] > 0 and weekdays[7] > 0 as round_the_clock,
        hours[hour + 1] * weekdays[weekday] * months[month] * (0.8 + 0.4 * noise(profile || day || hour, 'slots'))
        -- New Year's Eve and the nights of the clock changes are busier, so that no year lacks their cases.
        * case
            when hours[1] = 0 or profile = 'survey' then 1
            when month = 12 and day(day) = 31 and hour >= 22 then 5
            when month = 1 and day(day) = 1 and hour < 3 then 5
            when day in {_CHANGE_NIGHTS} and hour between 2 and 4 then 3
            else 1
        end
        -- The hour that the spring night skips.
        * case when day in {SPRING_NIGHTS} and hour = 3 then 0 else 1 end as weight
    from profiles, days, hours
    where year <= 2025
)
select * replace (cast(floor(weight) as bigint) as weight)
from weighed
where weight >= 1;
"""

# From a CTE `volumes` (series, profile, year, n, starts_on and any more columns) to `events`: one row an event, with
# its number i from 1 within series and year, its local time `moment`, and its day, hour, month and weekday.
EVENTS = """
weighed as (
    select
        volumes.*, day, hour, month, weekday, next_working, round_the_clock, weight,
        sum(weight) over (partition by series, volumes.year order by day, hour) as weight_so_far,
        sum(weight) over (partition by series, volumes.year) as all_weight
    from volumes
    join slots on slots.profile = volumes.profile and slots.year = volumes.year and day >= starts_on
),
shared as (
    select
        *,
        cast(n * weight_so_far // all_weight as bigint) as last_i,
        cast(n * (weight_so_far - weight) // all_weight as bigint) as before_i
    from weighed
),
numbered as (
    select *, unnest(range(before_i + 1, last_i + 1)) as i
    from shared
),
events as (
    select
        * exclude (weight, weight_so_far, all_weight, last_i, before_i),
        cast(day as timestamp) + to_hours(hour) + to_seconds(floor(
            3600 * (i - before_i - 1 + noise(series || year || '/' || i, 'events')) / (last_i - before_i)
        )) as moment
    from numbered
)"""
