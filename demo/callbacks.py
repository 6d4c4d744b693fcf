"""Synthetic callback requests: a given part reached on the same day, and a mean delay that is right to the second."""

from __future__ import annotations

from demo.files import FINNISH_CLOCK, Column, Feed, File, Flaw, Style, values
from demo.times import EVENTS

# service line, short name in ids, year, requests, never reached, of the reached the same day, mean s
CALLBACKS = (
    ("health_station", "ta", 2023, 155000, 0.058, 0.828, 25300),
    ("maternity_and_child_clinic", "ne", 2023, 15200, 0.041, 0.908, 17100),
    ("oral_health", "sh", 2023, 49800, 0.049, 0.842, 23200),
    ("rehabilitation", "ku", 2023, 8900, 0.044, 0.861, 20900),
    ("emergency_helpline", "pa", 2023, 9800, 0.034, 0.978, 5600),
    ("mental_health_and_substance_abuse", "mp", 2023, 10600, 0.066, 0.883, 19800),
    ("social_advice", "sn", 2023, 5480, 0.031, 0.968, 4610),
    ("health_station", "ta", 2024, 152400, 0.055, 0.841, 24150),
    ("maternity_and_child_clinic", "ne", 2024, 14700, 0.040, 0.915, 16300),
    ("oral_health", "sh", 2024, 49900, 0.047, 0.856, 21700),
    ("rehabilitation", "ku", 2024, 9300, 0.042, 0.874, 19500),
    ("emergency_helpline", "pa", 2024, 9400, 0.031, 0.981, 5400),
    ("mental_health_and_substance_abuse", "mp", 2024, 11200, 0.063, 0.892, 18700),
    ("social_advice", "sn", 2024, 5150, 0.026, 0.981, 3140),
    ("health_station", "ta", 2025, 138900, 0.052, 0.855, 22785),
    ("maternity_and_child_clinic", "ne", 2025, 13900, 0.038, 0.925, 15300),
    ("oral_health", "sh", 2025, 47600, 0.045, 0.868, 20400),
    ("rehabilitation", "ku", 2025, 9800, 0.041, 0.885, 18600),
    ("emergency_helpline", "pa", 2025, 9100, 0.030, 0.985, 5200),
    ("mental_health_and_substance_abuse", "mp", 2025, 11700, 0.060, 0.900, 17900),
    ("social_advice", "sn", 2025, 4620, 0.022, 0.990, 2378),
)

_CALLBACKS_SQL = f"""
create table callbacks as
with given (line, short, year, requests, never, same_day, mean_seconds) as (
    {values(CALLBACKS)}
),
volumes as (
    select
        line as series, line as profile, year, scaled(requests) as n,
        make_date(year, case when line = 'social_advice' and year = 2023 then 2 else 1 end, 1) as starts_on,
        short, never, same_day, mean_seconds
    from given
),
{EVENTS},
ranked as (
    -- The later in the day it was asked, the likelier the call comes on another day.
    select
        *,
        short || 't' || year % 100 || '-' || lpad(cast(i as varchar), 7, '0') as callback_id,
        row_number() over (
            partition by series, year
            order by
                noise(short || year || i, 'callbacks.rank') + case when round_the_clock then 2 else 0.15 end * hour,
                i
        ) as rank
    from events
),
placed as (
    select
        *,
        golden(rank) >= never as is_reached,
        rank <= round(same_day * n) as is_same_day,
        -- Seconds left of the day for calling back; at night the helpline calls back within the hour.
        case
            when not round_the_clock then epoch(cast(day as timestamp) + interval 17 hour - moment)
            when hour < 6 then 3000
            else least(21600, epoch(cast(day as timestamp) + interval 24 hour - interval 1 second - moment))
        end as room,
        case
            when round_the_clock then cast(day + 1 as timestamp) + to_seconds(floor(9000 * silver(rank)))
            else cast(next_working as timestamp) + interval 8 hour + to_seconds(floor(25000 * pow(silver(rank), 3)))
        end as other_day_at
    from ranked
),
measured as (
    select
        *,
        case when is_same_day then cast(room as bigint) else 0 end as same_day_room,
        case when not is_same_day then cast(elapsed(moment, other_day_at) as bigint) else 0 end as other_day_seconds
    from placed
    where is_reached
),
-- What the calls of the same day must add up to for the mean to come out to the second.
wanted as (
    select
        series, year, mean_seconds * count(*) - cast(sum(other_day_seconds) as bigint) as goal,
        least(0.95, greatest(
            0.02, (mean_seconds * count(*) - sum(other_day_seconds)) / greatest(1, sum(same_day_room))
        )) as part
    from measured
    group by series, year, mean_seconds
),
shaped as (
    select
        measured.*, goal,
        -- Both curves have the mean `part` over 0..1 and stay within it; the first has the longer tail.
        cast(floor(same_day_room * case
            when part < 0.31 then part * (1.2 * bronze(rank) + 2 * pow(bronze(rank), 4))
            else pow(bronze(rank), 1 / part - 1)
        end) as bigint) as seconds
    from measured
    join wanted on wanted.series = measured.series and wanted.year = measured.year
),
-- The seconds still missing or too many go to the calls in proportion to what each can take or give.
slack as (
    select
        *,
        goal - sum(seconds) over (partition by series, year) as missing,
        case
            when goal >= sum(seconds) over (partition by series, year) then same_day_room - seconds else seconds
        end as give
    from shaped
),
summed as (
    select
        *,
        cast(sum(give) over (partition by series, year) as hugeint) as all_give,
        cast(sum(give) over (partition by series, year order by rank) as hugeint) as give_so_far
    from slack
),
settled as (
    select
        callback_id,
        later(moment, case
            when is_same_day
                then seconds + cast(sign(missing) as bigint) * cast(
                    least(abs(missing), all_give) * give_so_far // greatest(1, all_give)
                    - least(abs(missing), all_give) * (give_so_far - give) // greatest(1, all_give) as bigint
                )
            else other_day_seconds
        end) as reached_at
    from summed
),
filed as (
    select
        placed.callback_id, series as service_line, moment as requested_at, reached_at,
        'callbacks_' || year || '-q' || quarter(moment) as delivery
    from placed
    left join settled on settled.callback_id = placed.callback_id
)
select
    *,
    -- Calls made after the quarter's export come in a later file.
    case
        when delivery = 'callbacks_2025-q2' and reached_at is not null
            and noise(callback_id, 'callbacks.correction') < 0.01
            then 'callbacks_2025-q2_tavoitetut'
    end as correction
from filed
"""

CALLBACKS_FEED = Feed(
    name="callbacks",
    columns=(
        Column("callback_id", "text", "soittopyynnön_tunniste"),
        Column("service_line", "text", "palvelulinja"),
        Column("requested_at", "time", "pyyntöaika"),
        Column("reached_at", "time", "tavoitettu"),
    ),
    order="requested_at, callback_id",
    sql=_CALLBACKS_SQL,
    files=(
        File("callbacks_2023-q1", Style(separator=";")),
        File("callbacks_2023-q2", Style(separator=";", compressed=True)),
        File(
            "callbacks_2023-q3",
            Style(separator=";", encoding="iso-8859-15", times=FINNISH_CLOCK, finnish_headers=True, newline="\r\n"),
            (Flaw((9, 33), fields=2), Flaw((50,))),
        ),
        File("callbacks_2023-q4", Style(compressed=True)),
        *(File(f"callbacks_2024-q{quarter}", Style(compressed=True)) for quarter in (1, 2, 3)),
        File("callbacks_2024-q4", Style(separator="\t", missing="NULL", compressed=True)),
        File("callbacks_2025-q1", Style(compressed=True)),
        File("callbacks_2025-q2"),
        File(
            "callbacks_2025-q3",
            Style(compressed=True),
            (
                Flaw(
                    (5,),
                    (("callback_id", "callback_id || 'x'"), ("reached_at", "requested_at - interval 5 minute")),
                ),
                Flaw((6,), (("callback_id", "''"),)),
            ),
        ),
        File("callbacks_2025-q4", Style(encoding="utf-8-sig", separator=";", finnish_headers=True, compressed=True)),
        File("callbacks_2025-q2_tavoitetut"),
    ),
    before=(("reached_at", "cast(null as timestamp)"),),
)
