"""Synthetic surveys, missions and queues, and the list of all feeds that the demo delivers.

To add a feed: describe its volumes, write the SQL of its true rows with their `delivery` and `correction`, list its
files, and name the piece in FEEDS.
"""

from __future__ import annotations

from kpi.demo_calls import CALLBACKS_FEED, CALLS_FEED
from kpi.demo_files import FINNISH, FINNISH_CLOCK, ISO_T, Column, Feed, File, Flaw, Style, constant, values
from kpi.demo_time import EVENTS

# survey, channel, year, answers, promoters, detractors. The figures count sms only; the other channels are gloomier.
RESPONSES = (
    ("health", "sms", 2023, 23868, 19381, 1408),
    ("health", "sms", 2024, 25731, 21694, 1211),
    ("health", "sms", 2025, 29714, 24998, 1405),
    ("social_advice", "sms", 2023, 388, 283, 39),
    ("social_advice", "sms", 2024, 960, 727, 82),
    ("social_advice", "sms", 2025, 1919, 1475, 135),
    ("health", "qr", 2023, 2140, 1480, 290),
    ("health", "qr", 2024, 2790, 1880, 401),
    ("health", "qr", 2025, 3360, 2270, 492),
    ("health", "web", 2023, 3180, 1790, 760),
    ("health", "web", 2024, 3520, 2010, 815),
    ("health", "web", 2025, 3905, 2240, 893),
    ("health", "tablet", 2023, 1820, 1275, 214),
    ("health", "tablet", 2024, 1695, 1180, 205),
    ("health", "tablet", 2025, 1410, 990, 168),
    ("health", "paper", 2023, 760, 520, 71),
    ("health", "paper", 2024, 540, 376, 47),
    ("health", "paper", 2025, 415, 291, 39),
    ("social_advice", "web", 2023, 212, 96, 71),
    ("social_advice", "web", 2024, 305, 142, 94),
    ("social_advice", "web", 2025, 344, 165, 101),
)

# survey, channel, year, invitations of the year, first month
INVITATIONS = (
    ("health", "sms", 2023, 144310, 1),
    ("health", "sms", 2024, 151470, 1),
    ("health", "sms", 2025, 168790, 1),
    ("health", "web", 2024, 21480, 1),
    ("health", "web", 2025, 23650, 1),
    ("social_advice", "sms", 2023, 2130, 9),
    ("social_advice", "sms", 2024, 5110, 1),
    ("social_advice", "sms", 2025, 9480, 1),
)

_CHANNELS = (("sms", "ts"), ("qr", "qr"), ("web", "ve"), ("tablet", "ta"), ("paper", "pa"))
_THANKS = (
    "Kiitos hyvästä palvelusta.",
    "Sain ajan nopeasti; kaikki sujui hyvin.",
    "Ystävällinen ja asiantunteva kohtaaminen, kiitos!",
    "Minua kuunneltiin ja asia hoitui kerralla.",
    "Selkeät ohjeet, rauhallinen tunnelma, hyvä mieli.",
    "Puheluun vastattiin heti; neuvot olivat hyviä.",
)
_MIDDLING = (
    "Ihan hyvä käynti, odotusta oli jonkin verran.",
    "Asia hoitui, mutta ajan saaminen kesti.",
    "Palvelu oli asiallista; tilat kaipaavat kohennusta.",
    "Takaisinsoitto tuli vasta iltapäivällä.",
)
_COMPLAINTS = (
    "Jonotin puhelimessa liian kauan.",
    "En saanut vastausta kysymykseeni; jouduin soittamaan uudelleen.",
    "Aika peruttiin, eikä uutta tarjottu.",
    "Ohjeet olivat epäselvät ja ristiriitaiset.",
)
_ADDED = (
    "",
    "",
    "",
    "Odotusaika noin 20 min.",
    'Opasteet olivat "helpot"; löysin perille.',
    "Erityistä:\n- selkeät ohjeet\n- siistit tilat",
    "Pysäköinti maksoi 4,50 €.",
)

_RESPONSES_SQL = f"""
create table nps_responses as
with given (survey, channel, year, answers, promoters, detractors) as (
    {values(RESPONSES)}
),
volumes as (
    select
        survey || '/' || channel as series, 'survey' as profile, year, scaled(answers) as n,
        -- Social advice was asked about from September 2023.
        make_date(year, case when survey = 'social_advice' and year = 2023 then 9 else 1 end, 1) as starts_on,
        survey, channel, scaled(promoters) as promoters, scaled(detractors) as detractors
    from given
),
{EVENTS},
ranked as (
    select
        *,
        case survey when 'health' then 'T' else 'S' end || case channel
            {" ".join(f"when '{channel}' then '{short}'" for channel, short in _CHANNELS)}
        end || '-' || year || '-' || lpad(cast(i as varchar), 6, '0') as response_id,
        row_number() over (partition by series, year order by noise(series || year || i, 'nps.rank'), i) as rank
    from events
),
scored as (
    select
        *,
        case
            when rank <= promoters then case when golden(rank) < 0.72 then 10 else 9 end
            when rank <= promoters + detractors then 6 - cast(floor(7 * pow(golden(rank), 1.8)) as integer)
            else case when golden(rank) < 0.68 then 8 else 7 end
        end as score,
        noise(response_id, 'nps.comment') as chance,
        noise(response_id, 'nps.words') as words,
        noise(response_id, 'nps.added') as added
    from ranked
),
worded as (
    select
        *,
        case
            when chance > 0.34 then null
            when score >= 9 then {constant(_THANKS)}[1 + cast(floor(words * {len(_THANKS)}) as integer)]
            when score >= 7 then {constant(_MIDDLING)}[1 + cast(floor(words * {len(_MIDDLING)}) as integer)]
            else {constant(_COMPLAINTS)}[1 + cast(floor(words * {len(_COMPLAINTS)}) as integer)]
        end as said
    from scored
)
select
    response_id, survey, channel, moment as responded_at, score,
    trim(said || ' ' || {constant(_ADDED)}[1 + cast(floor(added * {len(_ADDED)}) as integer)]) as comment,
    case channel when 'sms' then 'nps_sms_' || year || '-q' || quarter(moment) else 'nps_muut_kanavat_' || year end
    as delivery,
    case
        when channel = 'sms' and year = 2024 and quarter(moment) = 1 and row_number() over (
            partition by channel, year, quarter(moment) order by noise(response_id, 'nps.correction')
        ) % 100 = 1
            then 'nps_sms_2024-q1_korjaus'
    end as correction
from worded
"""

_INVITATIONS_SQL = f"""
create table nps_invitations as
with given (survey, channel, year, invitations, first_month) as (
    {values(INVITATIONS)}
),
months as (
    select
        given.*, month,
        cast(floor((case when month in (6, 7, 12) then 75 else 100 end) * (0.95 + 0.1 * noise(
            survey || channel || year || '/' || month, 'invitations'))) as bigint) as weight
    from given, range(1, 13) as every (month)
    where month >= first_month
),
summed as (
    select
        *,
        sum(weight) over (partition by survey, channel, year order by month) as so_far,
        sum(weight) over (partition by survey, channel, year) as all_weight
    from months
)
select
    survey, channel, make_date(year, month, 1) as month,
    cast(
        scaled(invitations) * so_far // all_weight - scaled(invitations) * (so_far - weight) // all_weight as bigint
    ) as invitations_sent,
    'nps_kutsut_' || year as delivery,
    case when year = 2024 and month = 4 then 'nps_kutsut_2024_korjaus' end as correction
from summed
"""

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

# census date, patients, of them over 6 months, over 180 days but not 6 months
CENSUSES = (
    ("2023-03-31", 3905, 402, 14),
    ("2023-06-30", 3852, 361, 12),
    ("2023-09-30", 3811, 289, 13),
    ("2023-12-31", 3730, 238, 12),
    ("2024-03-31", 3702, 214, 11),
    ("2024-06-30", 3640, 186, 9),
    ("2024-09-30", 3588, 143, 10),
    ("2024-12-31", 3521, 104, 8),
    ("2025-01-31", 3516, 101, 8),
    ("2025-02-28", 3498, 97, 6),
    ("2025-03-31", 3487, 92, 7),
    ("2025-04-30", 3470, 88, 6),
    ("2025-05-31", 3451, 84, 6),
    ("2025-06-30", 3438, 80, 7),
    ("2025-07-31", 3462, 83, 5),
    ("2025-08-31", 3431, 76, 6),
    ("2025-09-30", 3402, 67, 5),
    ("2025-10-31", 3371, 59, 6),
    ("2025-11-30", 3347, 55, 5),
    ("2025-12-31", 3318, 48, 5),
)
_SPECIALTIES = (
    *("ophthalmology", "orthopaedics", "surgery", "gynaecology", "internal_medicine", "urology"),
    *("ear_nose_and_throat", "neurology", "dermatology", "psychiatry"),
)
_REPLACED = "jono_2025-12-31_uusittu"

# A pseudonym follows from the day and the place in its line, so most patients of a census are in the next one too.
_QUEUE_SQL = f"""
create table care_queue as
with given (census, patients, over_6_months, over_180_days) as (
    {values(CENSUSES)}
),
volumes as (
    select
        cast(census as date) as census_date, scaled(patients) as n, scaled(over_6_months) as long,
        scaled(over_180_days) as border
    from given
),
queued as (
    select *, unnest(range(1, n + 1)) as i
    from volumes
),
waits as (
    select
        *,
        case
            when i <= long then 186 + floor(190 * pow((i - 0.5) / long, 2.5))
            when i <= long + border then 181
            else floor(179 * pow((i - long - border - 0.5) / (n - long - border), 1.3))
        end as days_waited
    from queued
),
dated as (
    select
        *,
        census_date - cast(days_waited as integer) as raw_on
    from waits
),
confirmed as (
    select
        census_date, i,
        -- Needs are confirmed on working days; the wait on the border of the limit stays as it is.
        raw_on - case when days_waited = 181 then 0 else greatest(0, cast(isodow(raw_on) as integer) - 5) end
        as need_confirmed_on
    from dated
),
known as (
    select
        *,
        lower(to_hex(mixed(
            need_confirmed_on || '/' || row_number() over (partition by census_date, need_confirmed_on order by i),
            'queue.patient'
        ))) as patient_key
    from confirmed
),
first_lines as (
    select
        *,
        cast(floor({len(_SPECIALTIES)} * pow(noise(patient_key, 'queue.specialty'), 1.6)) as integer)
        as specialty_number
    from known
),
-- Some wait for a second specialty, where the need was found later.
second_lines as (
    select
        census_date, i, patient_key,
        need_confirmed_on + cast(floor(100 * noise(patient_key, 'queue.later')) as integer) as need_confirmed_on,
        (specialty_number + 1 + cast(floor({len(_SPECIALTIES) - 1} * noise(patient_key, 'queue.other')) as integer))
        % {len(_SPECIALTIES)} as specialty_number
    from first_lines
    where noise(patient_key, 'queue.second') < 0.05
),
lines as (
    select census_date, i, patient_key, need_confirmed_on, specialty_number
    from first_lines
    union all
    select census_date, i, patient_key, need_confirmed_on, specialty_number
    from second_lines
    where need_confirmed_on <= census_date
),
filed as (
    select
        *,
        {constant(_SPECIALTIES)}[specialty_number + 1] as specialty,
        case year(census_date) when 2023 then 'jono_2023' else 'jono_' || census_date end as file
    from lines
)
select
    census_date, patient_key, specialty, need_confirmed_on,
    -- The last census was first delivered without a part of the queue, then whole.
    case when file <> 'jono_2025-12-31' or noise(patient_key, 'queue.missed') >= 0.04 then file end as delivery,
    case when file = 'jono_2025-12-31' then '{_REPLACED}' end as correction
from filed
"""


def _response_file(name: str) -> File:
    new = ("response_id", "response_id || 'x'")
    known = {
        "nps_sms_2023-q2": File(
            name,
            Style(separator=";", encoding="iso-8859-15", times=FINNISH_CLOCK, finnish_headers=True, newline="\r\n"),
            (Flaw((9,), (new, ("score", "'11'"))), Flaw((30,))),
        ),
        "nps_sms_2024-q3": File(
            name,
            Style(separator=";", encoding="cp1252", times=FINNISH, finnish_headers=True, newline="\r\n"),
            (Flaw((14,), (new, ("score", "'-1'"))), Flaw((21,), fields=0)),
            (("lähde", "'tekstiviesti – kysely'"),),
        ),
        "nps_sms_2025-q1": File(name, Style(separator="\t", times=ISO_T)),
        "nps_sms_2025-q2": File(name, Style(quoted=True), (Flaw((5,), (new, ("channel", "'tekstiviesti'"))),)),
        "nps_sms_2025-q3": File(name, Style(separator=";", encoding="utf-8-sig", finnish_headers=True)),
    }
    return known.get(name, File(name, Style(compressed=name.endswith("q4"))))


FEEDS = (
    CALLS_FEED,
    CALLBACKS_FEED,
    Feed(
        name="nps_responses",
        columns=(
            Column("response_id", "text", "vastauksen_tunniste"),
            Column("survey", "text", "kysely"),
            Column("channel", "text", "kanava"),
            Column("responded_at", "time", "vastausaika"),
            Column("score", "text", "arvosana"),
            Column("comment", "prose", "kommentti"),
        ),
        order="responded_at, response_id",
        sql=_RESPONSES_SQL,
        files=(
            *(_response_file(f"nps_sms_{year}-q{quarter}") for year in (2023, 2024, 2025) for quarter in (1, 2, 3, 4)),
            File("nps_sms_2024-q1_korjaus"),
            *(File(f"nps_muut_kanavat_{year}", Style(separator=";")) for year in (2023, 2024, 2025)),
        ),
        before=(("score", "score // 2"),),
    ),
    Feed(
        name="nps_invitations",
        columns=(
            Column("survey", "text", "kysely"),
            Column("channel", "text", "kanava"),
            Column("month", "date", "kuukausi"),
            Column("invitations_sent", "count", "lähetetyt_kutsut"),
        ),
        order="month, survey, channel",
        sql=_INVITATIONS_SQL,
        files=(
            File("nps_kutsut_2023", Style(separator=";", thousands="\u00a0", times=FINNISH, finnish_headers=True)),
            File("nps_kutsut_2024"),
            File("nps_kutsut_2024_korjaus"),
            File(
                "nps_kutsut_2025",
                Style(separator=";", thousands="\u202f"),
                (
                    Flaw((3,), (("month", "'2025-01-15'"),)),
                    Flaw((8,), (("channel", "'qr'"), ("invitations_sent", "'-40'"))),
                ),
            ),
        ),
        before=(("invitations_sent", "invitations_sent * 2"),),
    ),
    Feed(
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
    ),
    Feed(
        name="care_queue",
        columns=(
            Column("census_date", "date", "laskentapäivä"),
            Column("patient_key", "text", "potilasavain"),
            Column("specialty", "text", "erikoisala"),
            Column("need_confirmed_on", "date", "hoidon_tarve_todettu"),
        ),
        order="census_date, need_confirmed_on, patient_key, specialty",
        sql=_QUEUE_SQL,
        files=(
            File("jono_2023", Style(separator=";", times=FINNISH, finnish_headers=True)),
            *(
                File(f"jono_{census}", Style(compressed=census.endswith("-30")))
                for census, *_ in CENSUSES
                if "2024" <= census < "2025-12"
            ),
            # It also held patients who had left the queue: a replaced census goes whole, not by key.
            File("jono_2025-12-31", flaws=(Flaw(tuple(range(1, 60)), (("patient_key", "patient_key || '0'"),)),)),
            File(
                _REPLACED,
                flaws=(Flaw((12,), (("specialty", "specialty || '_2'"), ("need_confirmed_on", "'2026-01-02'"))),),
            ),
        ),
        before=(),
    ),
)
