"""Synthetic missions and inspections of the rescue department, and reports of patient and client safety."""

from __future__ import annotations

from demo.files import FINNISH, ISO_T, Column, Feed, File, Flaw, Style, values
from demo.times import EVENTS

# mission type, year, urgency, missions, without a scene time, median s (rescue A, B and C share theirs)
MISSIONS = (
    ("rescue", 2023, "A", 721, 5, 442),
    ("rescue", 2023, "B", 985, 23, 442),
    ("rescue", 2023, "C", 912, 68, 442),
    ("rescue", 2023, "D", 487, 71, 802),
    ("rescue", 2024, "A", 745, 6, 438),
    ("rescue", 2024, "B", 1022, 25, 438),
    ("rescue", 2024, "C", 951, 71, 438),
    ("rescue", 2024, "D", 505, 74, 795),
    ("rescue", 2025, "A", 702, 4, 431),
    ("rescue", 2025, "B", 941, 21, 431),
    ("rescue", 2025, "C", 858, 62, 431),
    ("rescue", 2025, "D", 448, 66, 788),
    ("ems", 2023, "A", 1096, 11, 604),
    ("ems", 2023, "B", 3188, 96, 604),
    ("ems", 2023, "C", 3304, 182, 604),
    ("ems", 2023, "D", 1800, 240, 1264),
    ("ems", 2024, "A", 1071, 10, 611),
    ("ems", 2024, "B", 3120, 91, 611),
    ("ems", 2024, "C", 3251, 176, 611),
    ("ems", 2024, "D", 1772, 231, 1281),
    ("ems", 2025, "A", 1042, 9, 617),
    ("ems", 2025, "B", 3035, 88, 617),
    ("ems", 2025, "C", 3172, 171, 617),
    ("ems", 2025, "D", 1722, 226, 1290),
)

# The median is the mean of the middle two: with an even number of times, one second below and one above it.
_MISSIONS_SQL = f"""
create table rescue_missions as
with given (mission_type, year, urgency, missions, unseen, median) as (
    {values(MISSIONS)}
),
volumes as (
    select
        mission_type || urgency as series, mission_type as profile, year, scaled(missions) as n,
        make_date(year, 1, 1) as starts_on, mission_type, urgency, missions, unseen, median
    from given
),
{EVENTS},
numbered_missions as (
    select
        *,
        'P' || year || '-' || lpad(
            cast(row_number() over (partition by year order by moment, series, i) as varchar), 6, '0'
        ) as mission_id,
        row_number() over (partition by series, year order by noise(series || year || i, 'missions.unseen'), i)
        > n - round(unseen * n / missions) as is_unseen
    from events
),
ranked as (
    select
        *,
        row_number() over (
            partition by mission_type, year, urgency = 'D', is_unseen
            order by
                noise(mission_id, 'missions.rank')
                + case urgency when 'A' then -0.2 when 'C' then 0.2 else 0 end
                + case when hour < 6 then 0.15 else 0 end,
                mission_id
        ) as rank,
        count(*) over (partition by mission_type, year, urgency = 'D', is_unseen) // 2 as half
    from numbered_missions
),
timed as (
    select
        *,
        case
            when is_unseen then null
            when rank <= half then median - 1 - floor(median * (0.55 * low + 0.2 * pow(low, 3)))
            else median + 1 + floor(median * (0.6 * high + 3 * pow(high, 5)))
        end as seconds
    from (
        select *, (half - rank) / (half + 1) as low, (rank - half - 1) / (half + 1) as high
        from ranked
    )
),
settled as (
    select mission_id, mission_type, urgency, moment as alarmed_at, later(moment, seconds) as first_unit_at_scene_at
    from timed
)
select
    *,
    'tehtavat_' || year(alarmed_at) || case when year(alarmed_at) = 2025 then '-q' || quarter(alarmed_at) else '' end
    as delivery,
    case
        when year(alarmed_at) = 2024 and mission_type = 'rescue' and row_number() over (
            partition by year(alarmed_at), mission_type order by noise(mission_id, 'missions.correction')
        ) % 50 = 1
            then 'tehtavat_2024_tarkistetut'
    end as correction
from settled
"""

RESCUE_MISSIONS_FEED = Feed(
    name="rescue_missions",
    columns=(
        Column("mission_id", "text", "tehtävän_tunniste"),
        Column("mission_type", "text", "tehtävälaji"),
        Column("urgency", "text", "kiireellisyys"),
        Column("alarmed_at", "time", "hälytysaika"),
        Column("first_unit_at_scene_at", "time", "ensimmäinen_yksikkö_kohteessa"),
    ),
    order="alarmed_at, mission_id",
    sql=_MISSIONS_SQL,
    files=(
        File(
            "tehtavat_2023",
            Style(separator=";", encoding="iso-8859-15", times=FINNISH, finnish_headers=True, newline="\r\n"),
        ),
        File("tehtavat_2024", Style(missing="-"), (Flaw((40,)), Flaw((55,), fields=4))),
        File("tehtavat_2024_tarkistetut"),
        File("tehtavat_2025-q1", Style(times=ISO_T)),
        File(
            "tehtavat_2025-q2",
            Style(separator=";"),
            (Flaw((7,), (("mission_id", "mission_id || 'x'"), ("urgency", "'E'"))),),
        ),
        File("tehtavat_2025-q3", Style(compressed=True)),
        File("tehtavat_2025-q4", Style(separator="\t")),
    ),
    # The commander's times replace those of the emergency response centre.
    before=(("first_unit_at_scene_at", "later(alarmed_at, 2 * elapsed(alarmed_at, first_unit_at_scene_at))"),),
)

# year, inspections
INSPECTIONS = ((2023, 6087), (2024, 6412), (2025, 6635))

_INSPECTIONS_SQL = f"""
create table safety_inspections as
with given (year, inspections) as (
    {values(INSPECTIONS)}
),
volumes as (
    select
        'inspections' as series, 'working_days' as profile, year, scaled(inspections) as n,
        make_date(year, 1, 1) as starts_on
    from given
),
{EVENTS},
named as (
    select
        'VT-' || year || '-' || lpad(cast(i as varchar), 5, '0') as inspection_id, day,
        noise(year || '/' || i, 'inspections.kind') as chance
    from events
)
select
    inspection_id, day as inspected_on,
    case
        when chance < 0.41 then 'residential_building'
        when chance < 0.62 then 'self_assessment'
        when chance < 0.76 then 'business_premises'
        when chance < 0.85 then 'care_facility'
        when chance < 0.93 then 'public_event'
        when chance < 0.97 then 'hazardous_substances'
        else 'follow_up'
    end as kind,
    'tarkastukset_' || year(day) as delivery, null as correction
from named
"""

SAFETY_INSPECTIONS_FEED = Feed(
    name="safety_inspections",
    columns=(
        Column("inspection_id", "text", "tarkastuksen_tunniste"),
        Column("inspected_on", "date", "tarkastuspäivä"),
        Column("kind", "text", "tarkastuslaji"),
    ),
    order="inspected_on, inspection_id",
    sql=_INSPECTIONS_SQL,
    files=(
        File("tarkastukset_2023", Style(separator=";", encoding="utf-8-sig", times=FINNISH, finnish_headers=True)),
        File("tarkastukset_2024", Style(separator="\t")),
        File(
            "tarkastukset_2025",
            Style(compressed=True),
            (
                Flaw((16,), (("inspection_id", "inspection_id || 'x'"), ("inspected_on", "'30.2.2025'"))),
                Flaw((50,), fields=2),
            ),
        ),
    ),
)

# year, reports, of them of severe, moderate, minor and unknown harm (the rest none)
INCIDENTS = (
    (2023, 9491, 57, 493, 3412, 418),
    (2024, 9874, 55, 488, 3590, 391),
    (2025, 10212, 52, 490, 3774, 356),
)

_INCIDENTS_SQL = f"""
create table safety_incidents as
with given (year, reports, severe, moderate, minor, unknown) as (
    {values(INCIDENTS)}
),
volumes as (
    select
        'incidents' as series, 'every_day' as profile, year, scaled(reports) as n, make_date(year, 1, 1) as starts_on,
        reports, severe, severe + moderate as moderate, severe + moderate + minor as minor, unknown
    from given
),
{EVENTS},
ranked as (
    select
        *,
        'HP-' || year || '-' || lpad(cast(i as varchar), 5, '0') as incident_id,
        row_number() over (partition by year order by noise(year || '/' || i, 'incidents.rank'), i) as rank,
        noise(year || '/' || i, 'incidents.type') as chance
    from events
)
select
    incident_id, day as reported_on,
    case
        when chance < 0.33 then 'accident_or_fall'
        when chance < 0.60 then 'medication'
        when chance < 0.71 then 'information_flow'
        when chance < 0.80 then 'violence'
        when chance < 0.88 then 'care_procedure'
        when chance < 0.93 then 'device'
        else 'other'
    end as incident_type,
    case
        when rank <= round(n * severe / reports) then 'severe'
        when rank <= round(n * moderate / reports) then 'moderate'
        when rank <= round(n * minor / reports) then 'minor'
        when rank <= round(n * (minor + unknown) / reports) then 'unknown'
        else 'none'
    end as harm,
    'vaaratapahtumat_' || year as delivery,
    -- The handler judges the harm of a report again.
    case
        when year = 2023 and noise(incident_id, 'incidents.correction') < 0.015 then 'vaaratapahtumat_2023_arvioidut'
    end as correction
from ranked
"""

SAFETY_INCIDENTS_FEED = Feed(
    name="safety_incidents",
    columns=(
        Column("incident_id", "text", "ilmoituksen_tunniste"),
        Column("reported_on", "date", "ilmoituspäivä"),
        Column("incident_type", "text", "tapahtumatyyppi"),
        Column("harm", "text", "haitta"),
    ),
    order="reported_on, incident_id",
    sql=_INCIDENTS_SQL,
    files=(
        File(
            "vaaratapahtumat_2023",
            Style(separator=";", encoding="iso-8859-15", times=FINNISH, finnish_headers=True, newline="\r\n"),
            (Flaw((11,), (("incident_id", "incident_id || 'x'"), ("harm", "'vähäinen'"))), Flaw((35,), fields=0)),
        ),
        File("vaaratapahtumat_2023_arvioidut", Style(separator=";")),
        File("vaaratapahtumat_2024", Style(compressed=True)),
        File("vaaratapahtumat_2025", Style(quoted=True, missing="NULL"), (Flaw((29,)),)),
    ),
    before=(("harm", "'unknown'"),),
)
