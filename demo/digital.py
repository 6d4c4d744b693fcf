"""Synthetic users, care paths and chat services of the digital service."""

from __future__ import annotations

from demo.files import FINNISH, Column, Feed, File, Flaw, Style, values

# census date, registered users, active users
USER_CENSUSES = (
    ("2023-03-31", 14260, 3180),
    ("2023-06-30", 17930, 3940),
    ("2023-09-30", 21480, 4760),
    ("2023-12-31", 27610, 6120),
    ("2024-03-31", 33740, 7690),
    ("2024-06-30", 39180, 8820),
    ("2024-09-30", 45260, 10340),
    ("2024-12-31", 52340, 12160),
    ("2025-03-31", 57410, 13470),
    ("2025-06-30", 61930, 14520),
    ("2025-09-30", 66480, 15810),
    ("2025-12-31", 71864, 17238),
)

# ages from and to (null: no end), weight of the registered in 2023, 2024 and 2025, weight of the active
AGE_BANDS = (
    (0, 17, (900, 1580, 2210), 310),
    (18, 29, (4320, 6640, 8120), 1840),
    (30, 39, (4560, 7120, 9060), 2310),
    (40, 49, (4210, 7010, 9240), 2290),
    (50, 59, (4420, 7890, 10980), 2640),
    (60, 69, (4730, 9720, 14210), 3620),
    (70, 79, (3560, 9040, 13060), 3160),
    (80, 89, (830, 3020, 4480), 980),
    (90, "", (80, 320, 504), 88),
)

_USERS_SQL = f"""
create table digital_users as
with censuses (census, registered, active) as (
    {values(USER_CENSUSES)}
),
bands (age_from, age_to, weights, active_weight) as (
    {values(tuple((low, str(high), *rest) for low, high, *rest in AGE_BANDS))}
),
weighed as (
    select
        cast(census as date) as census_date, scaled(registered) as registered, scaled(active) as active,
        age_from, try_cast(age_to as integer) as age_to, weights[year(cast(census as date)) - 2022] as weight,
        active_weight
    from censuses, bands
),
summed as (
    select
        *,
        sum(weight) over (partition by census_date order by age_from) as so_far,
        sum(weight) over (partition by census_date) as whole,
        sum(active_weight) over (partition by census_date order by age_from) as active_so_far,
        sum(active_weight) over (partition by census_date) as active_whole
    from weighed
)
select
    census_date, age_from, age_to,
    cast(registered * so_far // whole - registered * (so_far - weight) // whole as bigint) as registered_users,
    cast(
        active * active_so_far // active_whole - active * (active_so_far - active_weight) // active_whole as bigint
    ) as active_users,
    'kayttajat_' || year(census_date) as delivery,
    case when census_date = date '2024-06-30' then 'kayttajat_2024_uusittu' end as correction
from summed
"""

DIGITAL_USERS_FEED = Feed(
    name="digital_users",
    columns=(
        Column("census_date", "date", "laskentapäivä"),
        Column("age_from", "text", "ikä_alkaen"),
        Column("age_to", "text", "ikä_enintään"),
        Column("registered_users", "count", "rekisteröityneet_käyttäjät"),
        Column("active_users", "count", "aktiiviset_käyttäjät"),
    ),
    order="census_date, age_from",
    sql=_USERS_SQL,
    files=(
        File("kayttajat_2023", Style(separator=";", times=FINNISH, thousands="\u00a0", finnish_headers=True)),
        # June came in with a band that does not exist and half the users: the whole census was replaced.
        File("kayttajat_2024", Style(separator=";"), (Flaw((18,), (("age_from", "'100'"),)),)),
        File("kayttajat_2024_uusittu", Style(separator=";")),
        File(
            "kayttajat_2025",
            Style(separator="\t", thousands="\u202f", missing="-"),
            (Flaw((9,), (("age_from", "'100+'"),)),),
        ),
    ),
    before=(("registered_users", "registered_users // 2"), ("active_users", "active_users // 2")),
)

# name, opened, closed, whether it is used without a professional
CARE_PATHS = (
    ("hip_and_knee_surgery", "2021-03-15", "", 0),
    ("type_2_diabetes", "2021-10-04", "2026-02-28", 0),
    ("coronary_disease", "2022-02-14", "", 0),
    ("pregnancy", "2022-09-01", "", 0),
    ("covid_at_home", "2022-11-21", "2023-12-31", 0),
    ("sleep", "2023-02-06", "", 1),
    ("cataract_surgery", "2023-04-03", "2025-06-30", 0),
    ("weight_management", "2023-09-11", "", 1),
    ("hypertension", "2023-12-31", "", 0),
    ("back_pain", "2024-01-15", "", 1),
    ("infant_care", "2024-02-12", "2024-02-12", 0),
    ("anxiety", "2024-03-04", "", 1),
    ("copd", "2024-05-20", "", 0),
    ("oral_self_care", "2024-08-19", "", 1),
    ("heart_failure", "2024-11-04", "", 0),
    ("stress", "2025-01-13", "", 1),
    ("shoulder_rehabilitation", "2025-03-10", "", 0),
    ("quitting_smoking", "2025-05-05", "", 1),
    ("incontinence", "2025-08-25", "", 1),
    ("palliative_care", "2025-10-13", "", 0),
    ("memory_health", "2025-12-31", "", 1),
)

_PATHS_SQL = f"""
create table digital_care_paths as
with given (path_id, opened_on, closed_on, self_care) as (
    {values(CARE_PATHS)}
),
dated as (
    select
        path_id, cast(opened_on as date) as opened_on, try_cast(closed_on as date) as closed_on,
        self_care = 1 as self_care
    from given
)
select
    *,
    case when opened_on < date '2024-01-01' then 'hoitopolut_2023' else 'hoitopolut_2025' end as delivery,
    case
        when opened_on < date '2024-01-01' and closed_on >= date '2024-01-01' then 'hoitopolut_2025'
    end as correction
from dated
"""

DIGITAL_CARE_PATHS_FEED = Feed(
    name="digital_care_paths",
    columns=(
        Column("path_id", "text", "polun_tunniste"),
        Column("opened_on", "date", "avauspäivä"),
        Column("closed_on", "date", "sulkemispäivä"),
        Column("self_care", "flag", "itsehoito"),
    ),
    order="opened_on, path_id",
    sql=_PATHS_SQL,
    files=(
        File("hoitopolut_2023", Style(separator=";", times=FINNISH, finnish_headers=True, flags=("Kyllä", "Ei"))),
        File(
            "hoitopolut_2025",
            Style(missing="NULL"),
            (Flaw((4,), (("path_id", "'asthma'"), ("opened_on", "'suunnitteilla'"))),),
        ),
    ),
    before=(("closed_on", "cast(null as date)"),),
)

# name, opened, closed
CHAT_SERVICES = (
    ("chat_vaccinations", "2021-02-08", "2023-05-31"),
    ("chat_health_station", "2021-11-01", ""),
    ("chat_maternity_and_child_clinic", "2022-09-05", ""),
    ("chat_social_advice", "2023-02-01", ""),
    ("chat_oral_health", "2023-03-01", ""),
    ("chat_mental_health_and_substance_abuse", "2023-04-17", ""),
    ("chat_emergency_helpline", "2023-09-04", ""),
    ("chat_housing_of_the_elderly", "2023-10-09", "2024-12-31"),
    ("chat_families", "2024-02-05", ""),
    ("chat_long_term_illness", "2025-03-03", ""),
)

_CHAT_SERVICES_SQL = f"""
create table chat_services as
with given (service_id, opened_on, closed_on) as (
    {values(CHAT_SERVICES)}
)
select
    service_id, cast(opened_on as date) as opened_on, try_cast(closed_on as date) as closed_on,
    'chat_palvelut' as delivery, null as correction
from given
"""

CHAT_SERVICES_FEED = Feed(
    name="chat_services",
    columns=(
        Column("service_id", "text", "palvelun_tunniste"),
        Column("opened_on", "date", "avauspäivä"),
        Column("closed_on", "date", "sulkemispäivä"),
    ),
    order="opened_on, service_id",
    sql=_CHAT_SERVICES_SQL,
    files=(File("chat_palvelut", Style(separator=";", times=FINNISH, finnish_headers=True), (Flaw((6,)),)),),
)
