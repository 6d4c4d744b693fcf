"""Synthetic answers to statements of experience, and unsolicited feedback with the labels of its content."""

from __future__ import annotations

from demo.files import FINNISH, FINNISH_CLOCK, ISO_T, Column, Feed, File, Flaw, Style, values
from demo.times import EVENTS

# statement, short name in ids, year, answers, mean. In 2023 everyone answered every statement.
STATEMENTS = (
    ("got_help_when_needed", "a", 2023, 6656, 4.66),
    ("cared_for_as_a_whole", "b", 2023, 6656, 4.65),
    ("decisions_made_together", "c", 2023, 6656, 4.69),
    ("felt_safe", "d", 2023, 6656, 4.78),
    ("knows_what_happens_next", "e", 2023, 6656, 4.65),
    ("information_was_understandable", "f", 2023, 6656, 4.73),
    ("care_was_useful", "g", 2023, 6656, 4.74),
    ("got_help_when_needed", "a", 2024, 7214, 4.67),
    ("cared_for_as_a_whole", "b", 2024, 7190, 4.66),
    ("decisions_made_together", "c", 2024, 7102, 4.69),
    ("felt_safe", "d", 2024, 7166, 4.79),
    ("knows_what_happens_next", "e", 2024, 7088, 4.66),
    ("information_was_understandable", "f", 2024, 7153, 4.74),
    ("care_was_useful", "g", 2024, 7181, 4.75),
    ("got_help_when_needed", "a", 2025, 8431, 4.69),
    ("cared_for_as_a_whole", "b", 2025, 8407, 4.67),
    ("decisions_made_together", "c", 2025, 8322, 4.70),
    ("felt_safe", "d", 2025, 8380, 4.79),
    ("knows_what_happens_next", "e", 2025, 8297, 4.67),
    ("information_was_understandable", "f", 2025, 8364, 4.75),
    ("care_was_useful", "g", 2025, 8402, 4.76),
)

# The points that a statement's answers lack of five each follow from its mean; they are shared out to the answers of
# the least content. Who is less content with one thing is with the others too.
_EXPERIENCE_SQL = f"""
create table experience_answers as
with given (statement, short, year, answers, mean) as (
    {values(STATEMENTS)}
),
statements as (
    select
        statement, short, year, scaled(answers) as answers,
        cast(round((5 - mean) * scaled(answers)) as bigint) as lacking
    from given
),
tempers as (
    select
        *, lacking // 64 as ones, lacking // 36 as twos, lacking // 12 as threes,
        lacking - 4 * (lacking // 64) - 3 * (lacking // 36) - 2 * (lacking // 12) as fours
    from statements
),
volumes as (
    select
        'experience' as series, 'survey' as profile, year, max(answers) as n, make_date(year, 1, 1) as starts_on
    from statements
    group by year
),
{EVENTS},
asked as (
    select
        tempers.*, i, moment, month,
        row_number() over (
            partition by tempers.year, statement order by noise(events.year || '/' || i || short, 'experience.said'), i
        ) as said_rank
    from events
    join tempers on tempers.year = events.year
),
ranked as (
    select
        *,
        row_number() over (
            partition by year, statement
            order by noise(year || '/' || i, 'experience.who') + 0.4 * noise(year || '/' || i || short, 'experience'), i
        ) as rank
    from asked
    where said_rank <= answers
)
select
    'K' || year || '-' || lpad(cast(i as varchar), 5, '0') || short as answer_id, statement, moment as answered_at,
    case
        when rank <= ones then 1
        when rank <= ones + twos then 2
        when rank <= ones + twos + threes then 3
        when rank <= ones + twos + threes + fours then 4
        else 5
    end as score,
    'kokemus_' || year || case when month < 7 then '-h1' else '-h2' end as delivery,
    case when cast(moment as date) = date '2025-03-12' then 'kokemus_2025-h1_korjaus' end as correction
from ranked
"""

EXPERIENCE_ANSWERS_FEED = Feed(
    name="experience_answers",
    columns=(
        Column("answer_id", "text", "vastauksen_tunniste"),
        Column("statement", "text", "väittämä"),
        Column("answered_at", "time", "vastausaika"),
        Column("score", "text", "arvosana"),
    ),
    order="answered_at, answer_id",
    sql=_EXPERIENCE_SQL,
    files=(
        File(
            "kokemus_2023-h1",
            Style(separator=";", encoding="iso-8859-15", times=FINNISH_CLOCK, finnish_headers=True, newline="\r\n"),
            (Flaw((61,), (("answer_id", "answer_id || 'x'"), ("score", "'0'"))), Flaw((80,))),
        ),
        File("kokemus_2023-h2", Style(compressed=True)),
        File("kokemus_2024-h1", Style(separator=";", compressed=True)),
        File(
            "kokemus_2024-h2",
            Style(separator="\t", times=ISO_T, compressed=True),
            (Flaw((33,), (("answer_id", "answer_id || 'x'"), ("statement", "'care_was_usefull'"))),),
        ),
        File("kokemus_2025-h1", columns=("answered_at", "answer_id", "score", "statement")),
        # A day's scores had been sent upside down.
        File("kokemus_2025-h1_korjaus"),
        File("kokemus_2025-h2", Style(encoding="utf-8-sig", separator=";", finnish_headers=True, compressed=True)),
    ),
    before=(("score", "6 - score"),),
)

# year, first day of the service when it began that year, items, of them about health, social, rescue (the rest other)
FEEDBACK = (
    (2023, "2023-06-01", 457, 236, 31, 4),
    (2024, "", 1502, 796, 74, 13),
    (2025, "", 2252, 1194, 90, 22),
)

# An item has one content first and may have another beside it, so the labels are more than the items.
# year, items that first are thanks, suggestion, criticism (the rest other), and labels beside: thanks, suggestion and
# other on items of criticism, criticism on items of thanks. 2023: 129, 73, 253 and 42 labels.
LABELS = (
    (2023, 117, 46, 252, 12, 27, 0, 1),
    (2024, 391, 158, 822, 38, 86, 9, 5),
    (2025, 618, 243, 1196, 57, 131, 14, 8),
)

# The items, for both feeds.
_ITEMS = f"""
given (year, began_on, items, health, social, rescue) as (
    {values(FEEDBACK)}
),
volumes as (
    select
        'feedback' as series, 'survey' as profile, year, scaled(items) as n,
        coalesce(try_cast(began_on as date), make_date(year, 1, 1)) as starts_on, items, health, social, rescue
    from given
),
{EVENTS},
items as (
    select
        *, 'P' || year % 100 || '-' || lpad(cast(i as varchar), 5, '0') as feedback_id,
        row_number() over (partition by year order by noise(year || '/' || i, 'feedback.area'), i) as area_rank,
        row_number() over (partition by year order by noise(year || '/' || i, 'feedback.content'), i) as rank
    from events
)"""

_FEEDBACK_SQL = f"""
create table feedback as
with {_ITEMS}
select
    feedback_id, moment as received_at,
    case
        when area_rank <= round(n * health / items) then 'health'
        when area_rank <= round(n * (health + social) / items) then 'social'
        when area_rank <= round(n * (health + social + rescue) / items) then 'rescue'
        else 'other'
    end as service_area,
    'palautteet_' || year as delivery,
    -- Feedback on other matters was at first filed under health now and then.
    case
        when year = 2025 and area_rank > round(n * (health + social + rescue) / items) and (n - area_rank) % 25 = 0
            then 'palautteet_2025_korjaus'
    end as correction
from items
"""

FEEDBACK_FEED = Feed(
    name="feedback",
    columns=(
        Column("feedback_id", "text", "palautteen_tunniste"),
        Column("received_at", "time", "saapumisaika"),
        Column("service_area", "text", "palvelualue"),
    ),
    order="received_at, feedback_id",
    sql=_FEEDBACK_SQL,
    files=(
        File("palautteet_2023", Style(separator=";", times=FINNISH, finnish_headers=True, newline="\r\n")),
        File(
            "palautteet_2024",
            Style(separator=";", encoding="cp1252", times=FINNISH_CLOCK, finnish_headers=True, newline="\r\n"),
            (
                Flaw((5,), (("feedback_id", "feedback_id || 'x'"), ("service_area", "'muu'"))),
                Flaw((9,), (("feedback_id", "feedback_id || 'x'"), ("received_at", "'9.1.24 klo 10.15'"))),
            ),
            (("lomake", "case when hash(feedback_id) % 7 = 0 then 'selkokieli – uusi' else 'verkko' end"),),
        ),
        File("palautteet_2025", Style(quoted=True), (Flaw((13,)),)),
        File("palautteet_2025_korjaus"),
    ),
    before=(("service_area", "'health'"),),
)

_LABELS_SQL = f"""
create table feedback_labels as
with {_ITEMS},
shares (year, thanks, suggestion, criticism, more_thanks, more_suggestion, more_other, more_criticism) as (
    {values(LABELS)}
),
-- Where the items of each first content begin and end by rank: thanks, criticism, suggestion, other.
counted as (
    select
        feedback_id, shares.year, month, rank, n / items as scale,
        round(n * thanks / items) as thanks, round(n * (thanks + criticism) / items) as criticism,
        round(n * (thanks + criticism + suggestion) / items) as suggestion,
        more_thanks, more_suggestion, more_other, more_criticism
    from items
    join shares on shares.year = items.year
),
labelled as (
    select
        *,
        case
            when rank <= thanks then 'thanks'
            when rank <= criticism then 'criticism'
            when rank <= suggestion then 'suggestion'
            else 'other'
        end as content
    from counted
    union all
    select *, 'criticism' from counted where rank <= round(more_criticism * scale)
    union all
    select *, 'thanks' from counted where rank > thanks and rank <= thanks + round(more_thanks * scale)
    union all
    -- A few of them are thanks, criticism and suggestion at once.
    select *, 'suggestion' from counted
    where rank > thanks + 10 * scale and rank <= thanks + 10 * scale + round(more_suggestion * scale)
    union all
    select *, 'other' from counted where rank > criticism - round(more_other * scale) and rank <= criticism
)
select
    feedback_id, content,
    'palautteiden_sisalto_' || year || case when year = 2024 and month = 12 then '_taydennys' else '' end as delivery,
    null as correction
from labelled
"""

FEEDBACK_LABELS_FEED = Feed(
    name="feedback_labels",
    columns=(
        Column("feedback_id", "text", "palautteen_tunniste"),
        Column("content", "text", "sisältö"),
    ),
    order="feedback_id, content",
    sql=_LABELS_SQL,
    files=(
        File(
            "palautteiden_sisalto_2023",
            Style(separator=";", encoding="iso-8859-15", finnish_headers=True, newline="\r\n"),
            (Flaw((20, 44)),),
        ),
        # The label of an item that was withdrawn counts nowhere.
        File(
            "palautteiden_sisalto_2024",
            Style(separator=";"),
            (Flaw((7,), (("content", "'kiitos'"),)), Flaw((60,), (("feedback_id", "'P24-90001'"),))),
        ),
        File("palautteiden_sisalto_2024_taydennys"),
        File("palautteiden_sisalto_2025", Style(separator="\t"), columns=("content", "feedback_id")),
    ),
)
