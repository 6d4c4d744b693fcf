"""Synthetic answers to the recommendation survey by channel, and the invitations sent to it."""

from __future__ import annotations

from demo.files import FINNISH, FINNISH_CLOCK, ISO_T, Column, Feed, File, Flaw, Style, constant, values
from demo.times import EVENTS

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

# What nobody should write into an open field, and some do. Such identity codes (900 to 999) are given to no one.
_PERSONAL = (
    "Soittakaa minulle: 040 000 0000.",
    "Vastatkaa osoitteeseen etunimi.sukunimi@example.com, kiitos.",
    "Henkilötunnukseni on 010190-931P.",
    "Kyse on lapsestani, 240205D9578.",
    "Puhelin +358 50 000 0000, hetu 130452Y946J.",
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
    trim(said || ' ' || case
        when channel = 'web' and noise(response_id, 'nps.personal') < 0.008
            then {constant(_PERSONAL)}[1 + cast(floor(added * {len(_PERSONAL)}) as integer)]
        else {constant(_ADDED)}[1 + cast(floor(added * {len(_ADDED)}) as integer)]
    end) as comment,
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


NPS_RESPONSES_FEED = Feed(
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
)

NPS_INVITATIONS_FEED = Feed(
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
)
