"""Synthetic contacts beside the telephone: chats, triaged contacts to the helpline, and those to the ombudsmen."""

from __future__ import annotations

from demo.files import FINNISH, FINNISH_CLOCK, ISO_T, Column, Feed, File, Flaw, Style, values
from demo.times import EVENTS

# service line, short name in ids, year, first day of its chat when it began that year, chats
CHATS = (
    ("health_station", "ta", 2023, "", 4180),
    ("maternity_and_child_clinic", "ne", 2023, "", 1262),
    ("oral_health", "sh", 2023, "2023-03-01", 1395),
    ("emergency_helpline", "pa", 2023, "2023-09-04", 1318),
    ("mental_health_and_substance_abuse", "mp", 2023, "2023-04-17", 949),
    ("social_advice", "sn", 2023, "2023-02-01", 486),
    ("health_station", "ta", 2024, "", 5210),
    ("maternity_and_child_clinic", "ne", 2024, "", 1610),
    ("oral_health", "sh", 2024, "", 2080),
    ("emergency_helpline", "pa", 2024, "", 3040),
    ("mental_health_and_substance_abuse", "mp", 2024, "", 1402),
    ("social_advice", "sn", 2024, "", 918),
    ("health_station", "ta", 2025, "", 6020),
    ("maternity_and_child_clinic", "ne", 2025, "", 1870),
    ("oral_health", "sh", 2025, "", 2560),
    ("emergency_helpline", "pa", 2025, "", 3910),
    ("mental_health_and_substance_abuse", "mp", 2025, "", 1730),
    ("social_advice", "sn", 2025, "", 1309),
)

# year, of the chats with no word of how they ended, and of the others resolved without a visit, in percent
CHAT_ENDINGS = ((2023, 9.0, 47.6), (2024, 7.0, 51.9), (2025, 6.0, 56.3))

_CHATS_SQL = f"""
create table chats as
with given (line, short, year, began_on, chats) as (
    {values(CHATS)}
),
endings (year, unknown, resolved) as (
    {values(CHAT_ENDINGS)}
),
volumes as (
    select
        line as series, line as profile, given.year, scaled(chats) as n,
        coalesce(try_cast(began_on as date), make_date(given.year, 1, 1)) as starts_on, short, unknown, resolved
    from given
    join endings on endings.year = given.year
),
{EVENTS},
ranked as (
    select
        *,
        short || 'c' || year % 100 || '-' || lpad(cast(i as varchar), 5, '0') as chat_id,
        row_number() over (partition by series, year order by noise(short || year || i, 'chats.rank'), i) as rank,
        round(n * unknown / 100) as unsaid
    from events
)
select
    chat_id, series as service_line, moment as started_at,
    case when rank > unsaid then rank - unsaid <= round((n - unsaid) * resolved / 100) end as resolved_without_visit,
    'chatit_' || year || case when month < 7 then '-h1' else '-h2' end as delivery,
    -- Half a year's endings were entered afterwards.
    case
        when year = 2024 and month < 7 and rank > unsaid and noise(chat_id, 'chats.correction') < 0.05
            then 'chatit_2024-h1_korjaus'
    end as correction
from ranked
"""

CHATS_FEED = Feed(
    name="chats",
    columns=(
        Column("chat_id", "text", "keskustelun_tunniste"),
        Column("service_line", "text", "palvelulinja"),
        Column("started_at", "time", "alkamisaika"),
        Column("resolved_without_visit", "flag", "hoitui_ilman_käyntiä"),
    ),
    order="started_at, chat_id",
    sql=_CHATS_SQL,
    files=(
        File("chatit_2023-h1", Style(separator=";", times=FINNISH, finnish_headers=True, flags=("kyllä", "ei"))),
        File("chatit_2023-h2", Style(separator=";", flags=("1", "0")), (Flaw((31,)),)),
        File("chatit_2024-h1"),
        File("chatit_2024-h1_korjaus"),
        File(
            "chatit_2024-h2",
            Style(separator=";", encoding="cp1252", times=FINNISH_CLOCK, finnish_headers=True, flags=("Kyllä", "Ei")),
            (Flaw((18,), (("chat_id", "chat_id || 'x'"), ("resolved_without_visit", "'osittain'"))),),
            (("kanava", "case when hash(chat_id) % 9 = 0 then 'mobiili – sovellus' else 'selain' end"),),
        ),
        File("chatit_2025-h1", Style(compressed=True)),
        File(
            "chatit_2025-h2",
            Style(compressed=True),
            (Flaw((12,), (("chat_id", "chat_id || 'x'"), ("service_line", "'chat'"))),),
        ),
    ),
    before=(("resolved_without_visit", "cast(null as boolean)"),),
)

# year, contacts, resolved at the first, sent to the emergency department, asked whether advice sufficed, it did
HELPLINE = (
    (2023, 79120, 35210, 30450, 3105, 2713),
    (2024, 78050, 37230, 27790, 3480, 3087),
    (2025, 76840, 38650, 25660, 3912, 3529),
)

_HELPLINE_SQL = f"""
create table helpline_contacts as
with given (year, contacts, resolved, emergency, asked, enough) as (
    {values(HELPLINE)}
),
volumes as (
    select
        'helpline' as series, 'emergency_helpline' as profile, year, scaled(contacts) as n,
        make_date(year, 1, 1) as starts_on, round(n * resolved / contacts) as resolved,
        round(n * emergency / contacts) as emergency, round(n * asked / contacts) as asked,
        round(n * enough / contacts) as enough
    from given
),
{EVENTS},
ranked as (
    -- At night more is urgent.
    select
        *,
        'Y' || year % 100 || '-' || lpad(cast(i as varchar), 6, '0') as contact_id,
        row_number() over (
            partition by year
            order by noise(year || '/' || i, 'helpline.rank') + case when hour < 7 or hour > 21 then 0.3 else 0 end, i
        ) as rank,
        row_number() over (partition by year order by noise(year || '/' || i, 'helpline.asked'), i) as asked_rank
    from events
)
select
    contact_id, moment as contacted_at,
    case
        when rank <= resolved then 'resolved'
        when rank > n - emergency then 'emergency_department'
        else 'other_care'
    end as outcome,
    case when asked_rank <= asked then asked_rank <= enough end as advice_sufficient,
    'paivystysapu_' || year || '-q' || quarter(moment) as delivery,
    -- A day of October 2024 came without what became of the contacts.
    case when day = date '2024-10-16' then 'paivystysapu_2024-q4_korjaus' end as correction
from ranked
"""

HELPLINE_CONTACTS_FEED = Feed(
    name="helpline_contacts",
    columns=(
        Column("contact_id", "text", "yhteydenoton_tunniste"),
        Column("contacted_at", "time", "yhteydenottoaika"),
        Column("outcome", "text", "lopputulos"),
        Column("advice_sufficient", "flag", "riittävä_ohjaus"),
    ),
    order="contacted_at, contact_id",
    sql=_HELPLINE_SQL,
    files=(
        File("paivystysapu_2023-q1", Style(separator=";", flags=("k", "e"))),
        File("paivystysapu_2023-q2", Style(separator=";", flags=("k", "e"), compressed=True)),
        File(
            "paivystysapu_2023-q3",
            Style(
                separator=";",
                encoding="iso-8859-15",
                times=FINNISH_CLOCK,
                finnish_headers=True,
                newline="\r\n",
                flags=("kyllä", "ei"),
            ),
            (Flaw((7, 70), fields=3), Flaw((90,), fields=0)),
        ),
        File("paivystysapu_2023-q4", Style(compressed=True)),
        *(File(f"paivystysapu_2024-q{quarter}", Style(compressed=True)) for quarter in (1, 2, 3)),
        File("paivystysapu_2024-q4", Style(separator="\t", missing="NULL")),
        File("paivystysapu_2024-q4_korjaus", Style(times=ISO_T)),
        *(File(f"paivystysapu_2025-q{quarter}", Style(compressed=True)) for quarter in (1, 2, 3)),
        File("paivystysapu_2025-q4", columns=("contact_id", "outcome", "advice_sufficient", "contacted_at")),
    ),
    before=(("outcome", "'other_care'"), ("advice_sufficient", "cast(null as boolean)")),
)

# client type, short name in ids, year, contacts, known whether one call was enough, it was
OMBUDSMAN = (
    ("social", "S", 2023, 216, 0, 0),
    ("patient", "P", 2023, 1120, 0, 0),
    ("social", "S", 2024, 209, 184, 86),
    ("patient", "P", 2024, 1076, 968, 466),
    ("social", "S", 2025, 248, 226, 108),
    ("patient", "P", 2025, 1214, 1131, 568),
)

_OMBUDSMAN_SQL = f"""
create table ombudsman_contacts as
with given (client_type, short, year, contacts, known, enough) as (
    {values(OMBUDSMAN)}
),
volumes as (
    select
        client_type as series, 'working_days' as profile, year, scaled(contacts) as n,
        make_date(year, 1, 1) as starts_on, short, round(n * known / contacts) as known,
        round(n * enough / contacts) as enough
    from given
),
{EVENTS},
ranked as (
    select
        *,
        row_number() over (partition by series, year order by noise(short || year || i, 'ombudsman.rank'), i) as rank
    from events
)
select
    short || 'A-' || year || '-' || lpad(cast(i as varchar), 4, '0') as contact_id,
    day as contacted_on, series as client_type,
    case when rank <= known then rank <= enough end as resolved_in_one_call,
    'asiavastaavat_' || year as delivery, null as correction
from ranked
"""

OMBUDSMAN_CONTACTS_FEED = Feed(
    name="ombudsman_contacts",
    columns=(
        Column("contact_id", "text", "yhteydenoton_tunniste"),
        Column("contacted_on", "date", "yhteydenottopäivä"),
        Column("client_type", "text", "asiakastyyppi"),
        Column("resolved_in_one_call", "flag", "hoitui_yhdellä_puhelulla"),
    ),
    order="contacted_on, contact_id",
    sql=_OMBUDSMAN_SQL,
    files=(
        # How a contact was settled is recorded from 2024.
        File(
            "asiavastaavat_2023",
            Style(separator=";", encoding="iso-8859-15", times=FINNISH, finnish_headers=True, newline="\r\n"),
            columns=("contacted_on", "contact_id", "client_type"),
        ),
        File("asiavastaavat_2024", Style(flags=("1", "0")), (Flaw((40,)),)),
        File(
            "asiavastaavat_2025",
            Style(separator=";", finnish_headers=True, times=FINNISH, flags=("kyllä", "ei"), missing="-"),
            (Flaw((22,), (("contact_id", "contact_id || 'x'"), ("client_type", "'omainen'"))),),
        ),
    ),
)
