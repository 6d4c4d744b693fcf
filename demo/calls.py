"""Synthetic telephone calls.

Waits are no random draws but every quantile of a curve, dealt out by rank: the sum, and how many were answered in
time, follow from the volumes below alone, whatever the seed. Ranks follow the hour's load and a little chance.
"""

from __future__ import annotations

from demo.files import FINNISH, FINNISH_CLOCK, ISO_T, Column, Feed, File, Flaw, Style, values
from demo.times import EVENTS, SPRING_NIGHTS

# service line, short name in ids, year, calls, answered, answered in time, mean wait s, mean handling s
CALLS = (
    ("health_station", "ta", 2023, 268400, 209350, 104495, 640, 412),
    ("maternity_and_child_clinic", "ne", 2023, 34900, 30010, 21607, 330, 371),
    ("oral_health", "sh", 2023, 96700, 79290, 47574, 480, 286),
    ("rehabilitation", "ku", 2023, 17600, 15490, 11772, 280, 455),
    ("emergency_helpline", "pa", 2023, 91983, 82790, 65404, 221, 498),
    ("mental_health_and_substance_abuse", "mp", 2023, 27248, 22890, 15107, 390, 604),
    ("social_advice", "sn", 2023, 23039, 20965, 17097, 184, 963),
    ("health_station", "ta", 2024, 259870, 200100, 93640, 702, 405),
    ("maternity_and_child_clinic", "ne", 2024, 33620, 29080, 20420, 348, 366),
    ("oral_health", "sh", 2024, 95410, 77760, 44320, 531, 281),
    ("rehabilitation", "ku", 2024, 18130, 15960, 11810, 297, 449),
    ("emergency_helpline", "pa", 2024, 90214, 81640, 63680, 236, 487),
    ("mental_health_and_substance_abuse", "mp", 2024, 28466, 23910, 15300, 418, 612),
    ("social_advice", "sn", 2024, 20804, 19140, 17034, 141, 905),
    ("health_station", "ta", 2025, 232480, 179010, 80380, 751.8, 398),
    ("maternity_and_child_clinic", "ne", 2025, 31260, 27200, 18820, 362, 359),
    ("oral_health", "sh", 2025, 90320, 73160, 40680, 566, 277),
    ("rehabilitation", "ku", 2025, 18950, 16680, 12110, 318, 441),
    ("emergency_helpline", "pa", 2025, 88540, 80570, 62040, 247, 476),
    ("mental_health_and_substance_abuse", "mp", 2025, 29410, 24700, 15410, 441, 618),
    ("social_advice", "sn", 2025, 18466, 17240, 15947, 112, 872),
)


_CALLS_SQL = f"""
create table calls as
with given (line, short, year, calls, answered, quick, mean_wait, mean_handling) as (
    {values(CALLS)}
),
volumes as (
    select
        line as series, line as profile, year, scaled(calls) as n,
        make_date(year, case when line = 'social_advice' and year = 2023 then 2 else 1 end, 1) as starts_on,
        short, scaled(answered) as answered, scaled(quick) as quick, mean_handling,
        -- In time is under 300 s, on social advice at most 300 s: the last quick calls there take the full time.
        case when line = 'social_advice' then 297 else 296 end as reach,
        mean_wait, least(118, 0.5 * mean_wait) as quick_mean
    from given
),
{EVENTS},
ranked as (
    select
        *,
        short || year % 100 || '-' || lpad(cast(i as varchar), 7, '0') as call_id,
        row_number() over (
            partition by series, year
            order by
                noise(short || year || i, 'calls.rank')
                + case when hour in (8, 9) then 0.35 when hour in (10, 17, 18) then 0.15 else 0 end
                + case when weekday = 1 then 0.3 when weekday = 2 then 0.1 else 0 end
                + case when month in (1, 2, 10, 11) then 0.15 else 0 end,
                i
        ) as rank
    from events
),
waits as (
    select
        *,
        case
            when rank <= quick
                then floor(4 + reach * pow((rank - 0.5) / quick, reach / (quick_mean - 4) - 1))
            when rank <= answered
                then floor(300 + tail * (0.25 * far + 0.75 * pow(far, 4)))
        end as wait,
        case
            when rank <= answered then 20 + (mean_handling - 20) / 0.256 * (0.35 * part + 0.65 * pow(part, 7))
            else 15 + 700 * pow(part, 2.2)
        end as talk
    from (
        select
            *,
            (rank - quick - 0.5) / (answered - quick) as far,
            -- The mean of 0.25 x + 0.75 x^4 over 0..1 is 0.275; half a second is lost to whole seconds.
            ((((mean_wait + 0.5) * answered - quick_mean * quick) / (answered - quick)) - 300) / 0.275 as tail,
            golden(rank) as part
        from ranked
    )
),
timed as (
    select
        call_id, series as service_line, later(moment, wait) as answered_at,
        -- On the spring nights a part of the exchange turned its clock an hour late: times that do not exist.
        moment - to_hours(case when day in {SPRING_NIGHTS} and hour = 4 and i % 3 = 0 then 1 else 0 end)
        as arrived_at,
        -- The exchange loses the end of a few calls, and of many that nobody answered.
        case
            when rank <= answered and silver(rank) >= 0.004 then later(moment, floor(wait + talk))
            when rank > answered and silver(rank) >= 0.25 then later(moment, floor(talk))
        end as ended_at
    from waits
),
-- The exchange exports a call in the month it ended: one over New Year's Eve comes in January, and still counts
-- for the year it arrived in.
filed as (
    select
        *,
        'calls_' || strftime(least(coalesce(ended_at, answered_at, arrived_at), timestamp '2025-12-31'), '%Y-%m')
        as delivery
    from timed
)
select
    *,
    case
        when delivery in ('calls_2023-06', 'calls_2024-03', 'calls_2025-10')
            and noise(call_id, 'calls.correction') < 0.004
            then delivery || '_korjaus'
    end as correction
from filed
"""

_NO_TIME = "cast(null as timestamp)"


def _calls_files() -> tuple[File, ...]:
    plain, packed = Style(), Style(compressed=True)
    styles = {
        "2023-02": Style(separator=";"),
        "2023-06": Style(separator=";", newline="\r\n"),
        "2023-09": Style(
            separator=";", encoding="iso-8859-15", times=FINNISH_CLOCK, finnish_headers=True, newline="\r\n"
        ),
        "2023-11": Style(separator="\t", times=ISO_T),
        "2024-02": Style(encoding="utf-8-sig", separator=";", newline="\r\n"),
        "2024-03": plain,
        "2024-05": Style(separator=";", encoding="cp1252", times=FINNISH_CLOCK, finnish_headers=True, newline="\r\n"),
        "2024-08": Style(separator="\t", compressed=True),
        "2024-11": Style(separator=";", times=FINNISH, finnish_headers=True, missing="-", compressed=True),
        "2025-03": Style(quoted=True, missing="NULL", compressed=True),
        "2025-05": Style(separator=";", encoding="utf-8-sig", finnish_headers=True, padding=" ", compressed=True),
        "2025-10": plain,
        "2025-12": plain,
    }
    new = ("call_id", "call_id || 'x'")
    flaws = {
        "2023-04": (Flaw((20, 300)),),
        "2023-09": (
            Flaw((12, 250), (new, ("service_line", "'terveysasema'"))),
            Flaw((40,), (new, ("arrived_at", "'31.9.2023 klo 10.15.00'"))),
        ),
        "2024-05": (
            Flaw((15,), (new, ("answered_at", "arrived_at - interval 1 minute"), ("ended_at", _NO_TIME))),
            Flaw((8, 90), fields=3),
            Flaw((30, 120), fields=0),
        ),
        "2024-08": (Flaw((60,)), Flaw((10,), fields=0)),
        "2025-03": (Flaw((25, 26), (new, ("arrived_at", "'2025-02-30 09:00:00'"))), Flaw((70,))),
        "2025-12": (Flaw((44,), (new, ("arrived_at", "'2025-12-01 09:00:00+02:00'"))),),
    }
    extra = {
        "2024-05": (("huomautus", "case when hash(call_id) % 40 = 0 then 'siirretty – uusi jono' end"),),
        "2025-05": (("jonon_pituus", "hash(call_id) % 12"),),
    }
    months = [f"{year}-{month:02}" for year in (2023, 2024, 2025) for month in range(1, 13)]
    files = [
        File(f"calls_{month}", styles.get(month, packed), flaws.get(month, ()), extra.get(month, ()))
        for month in months
    ]
    unreadable = Flaw((1,), (("service_line", "'unknown'"),), leads=True)
    return (
        *files,
        File("calls_2023-06_korjaus", Style(separator=";")),
        # A bad record neither takes nor replaces a key: the good one after it counts.
        File("calls_2024-03_korjaus", plain, (unreadable,)),
        File("calls_2025-10_korjaus", packed),
    )


CALLS_FEED = Feed(
    name="calls",
    columns=(
        Column("call_id", "text", "puhelun_tunniste"),
        Column("service_line", "text", "palvelulinja"),
        Column("arrived_at", "time", "saapumisaika"),
        Column("answered_at", "time", "vastausaika"),
        Column("ended_at", "time", "päättymisaika"),
    ),
    order="arrived_at, call_id",
    sql=_CALLS_SQL,
    files=_calls_files(),
    before=(
        # June 2023 named a line that does not exist, March 2024 a wrong one, October 2025 lost the answers.
        (
            "service_line",
            "case delivery when 'calls_2023-06' then 'health_centre' when 'calls_2024-03' then 'oral_health' "
            "else service_line end",
        ),
        ("answered_at", "case when delivery <> 'calls_2025-10' then answered_at end"),
        ("ended_at", "case when delivery <> 'calls_2025-10' then ended_at end"),
    ),
)
