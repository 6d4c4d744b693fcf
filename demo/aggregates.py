"""Synthetic sums that come without the events behind them: contacts by month, and figures entered by hand."""

from __future__ import annotations

from demo.files import FINNISH, Column, Feed, File, Flaw, Style, constant, values

# sector, mode, whether it replaces a visit, contacts in 2023, 2024 and 2025. A visit that replaces one is a slip.
CARE_CONTACTS = (
    ("health", "in_person", 0, (794358, 762410, 729860)),
    ("health", "phone", 0, (84310, 85120, 84460)),
    ("health", "phone", 1, (58120, 69840, 82930)),
    ("health", "video", 0, (1240, 1610, 2050)),
    ("health", "video", 1, (6480, 9720, 13860)),
    ("health", "chat", 0, (3960, 5180, 6040)),
    ("health", "chat", 1, (5144, 8162, 10050)),
    ("health", "letter", 0, (12870, 12140, 11310)),
    ("health", "letter", 1, (1930, 2020, 2110)),
    ("hospital", "in_person", 0, (323979, 320650, 316270)),
    ("hospital", "in_person", 1, (37, 21, 12)),
    ("hospital", "phone", 0, (38420, 39060, 39810)),
    ("hospital", "phone", 1, (21760, 24980, 28640)),
    ("hospital", "video", 0, (810, 990, 1130)),
    ("hospital", "video", 1, (4930, 7010, 9480)),
    ("hospital", "chat", 0, (420, 560, 710)),
    ("hospital", "chat", 1, (310, 640, 980)),
    ("hospital", "letter", 0, (19480, 18220, 16940)),
    ("hospital", "letter", 1, (2240, 2310, 2390)),
    ("social", "in_person", 0, (362600, 358240, 351070)),
    ("social", "phone", 0, (4980, 5260, 5590)),
    ("social", "phone", 1, (14480, 16020, 17860)),
    ("social", "video", 0, (240, 380, 520)),
    ("social", "video", 1, (2610, 3940, 5320)),
    ("social", "chat", 0, (296, 518, 731)),
    ("social", "chat", 1, (190, 400, 578)),
    ("social", "letter", 0, (894, 830, 790)),
    ("social", "letter", 1, (180, 190, 210)),
)
_MONTHS = (104, 98, 107, 99, 103, 90, 66, 95, 104, 106, 103, 88)

_CARE_CONTACTS_SQL = f"""
create table care_contacts as
with given (sector, mode, replaces, contacts) as (
    {values(CARE_CONTACTS)}
),
months as (
    select
        sector, mode, replaces = 1 as replaces_visit, year, month, scaled(contacts[year - 2022]) as n,
        cast(floor({constant(_MONTHS)}[month] * (9 + 2 * noise(
            sector || mode || replaces || year || '/' || month, 'care_contacts'))) as bigint) as weight
    from given, range(2023, 2026) as years (year), range(1, 13) as every (month)
),
summed as (
    select
        *,
        sum(weight) over (partition by sector, mode, replaces_visit, year order by month) as so_far,
        sum(weight) over (partition by sector, mode, replaces_visit, year) as whole
    from months
)
select
    make_date(year, month, 1) as month, sector, mode, replaces_visit,
    cast(n * so_far // whole - n * (so_far - weight) // whole as bigint) as contacts,
    'kontaktit_' || year as delivery,
    case when year = 2023 and month = 9 and sector = 'hospital' then 'kontaktit_2023_korjaus' end as correction
from summed
"""

CARE_CONTACTS_FEED = Feed(
    name="care_contacts",
    columns=(
        Column("month", "date", "kuukausi"),
        Column("sector", "text", "toimiala"),
        Column("mode", "text", "yhteystapa"),
        Column("replaces_visit", "flag", "korvaa_käynnin"),
        Column("contacts", "count", "kontaktit"),
    ),
    order="month, sector, mode, replaces_visit",
    sql=_CARE_CONTACTS_SQL,
    files=(
        File(
            "kontaktit_2023",
            Style(
                separator=";",
                encoding="iso-8859-15",
                times=FINNISH,
                finnish_headers=True,
                newline="\r\n",
                thousands="\u00a0",
                flags=("kyllä", "ei"),
            ),
        ),
        File("kontaktit_2023_korjaus"),
        File("kontaktit_2024", Style(flags=("1", "0")), (Flaw((100,)),)),
        File(
            "kontaktit_2025",
            Style(separator=";", thousands="\u202f"),
            (Flaw((5,), (("mode", "'fax'"),)), Flaw((40,), (("contacts", "'1 240'"), ("sector", "'health'")))),
        ),
    ),
    before=(("contacts", "contacts * 10"),),
)

# report year, figure, service, value, entered on, where it comes from
MANUAL = (
    (2023, "partner_violence_experienced", "elderly_survey", 68.0, "2024-01-24", "Ikääntyneiden kysely 2023"),
    # The register counts 9491: a figure that is derived is not entered, and this typing error is never shown.
    (2023, "safety_incidents", "all_services", 9941.0, "2024-01-24", "Haettu raportointijärjestelmästä"),
    (2024, "wellbeing_service_monthly_reach", "wellbeing_service", 1987.5, "2025-01-20", "Kävijämittari"),
    (2024, "volunteer_encounters", "olka", 23870.0, "2025-01-27", "OLKA-pisteiden tilasto"),
    (2025, "wellbeing_service_monthly_reach", "wellbeing_service", 2412.5, "2026-01-19", "Kävijämittari; 12 kk"),
    (2025, "volunteer_encounters", "olka", 26140.0, "2026-01-26", "OLKA-pisteiden tilasto; kysy: olka@example.com"),
)

_MANUAL_SQL = f"""
create table manual_figures as
with given (report_year, figure_id, service, value, entered_on, source_note) as (
    {values(MANUAL)}
)
select
    report_year, figure_id, service, value, cast(entered_on as date) as entered_on, source_note,
    'kasin_syotetyt_' || report_year as delivery,
    case
        when report_year = 2025 and figure_id = 'volunteer_encounters' then 'kasin_syotetyt_2025_korjaus'
    end as correction
from given
"""

MANUAL_FIGURES_FEED = Feed(
    name="manual_figures",
    columns=(
        Column("report_year", "text", "raportointivuosi"),
        Column("figure_id", "text", "tunnusluku"),
        Column("service", "text", "palvelu"),
        Column("value", "decimal", "arvo"),
        Column("entered_on", "date", "kirjauspäivä"),
        Column("source_note", "prose", "lähdehuomautus"),
    ),
    order="report_year, figure_id, service",
    sql=_MANUAL_SQL,
    files=(
        File(
            "kasin_syotetyt_2023",
            Style(separator=";", encoding="iso-8859-15", times=FINNISH, finnish_headers=True, point=","),
        ),
        File("kasin_syotetyt_2024", Style(quoted=True)),
        File(
            "kasin_syotetyt_2025",
            Style(separator=";", times=FINNISH, finnish_headers=True, thousands="\u00a0", point=","),
            (Flaw((2,), (("value", "'noin 2 400'"),)),),
        ),
        File("kasin_syotetyt_2025_korjaus", Style(separator=";", thousands="\u202f", point=",")),
    ),
    before=(("value", "value - 740"),),
)
