"""Synthetic queue for specialist care on census days."""

from __future__ import annotations

from demo.files import FINNISH, Column, Feed, File, Flaw, Style, constant, values

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


CARE_QUEUE_FEED = Feed(
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
)
