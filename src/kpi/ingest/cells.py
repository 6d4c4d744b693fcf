"""From the text of a cell to a typed value or a reason to reject it, as SQL; and from local time to instants.

Nothing here quotes a delivery: a hint names a code of the contract, a form, or the number of a letter.

Both ways of loading a file use the same expressions, so they cannot disagree on a value. Patterns come first because
TRY_CAST alone is too kind: it reads '1.5' as the integer 2, and '1_000', '0x1F' and two-digit years as numbers.
"""

from __future__ import annotations

import datetime
import re
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple

from kpi.errors import ContractError
from kpi.ingest.contract import MOST_DECIMALS, Feed, FeedColumn, pattern_of
from kpi.settings import FIRST_YEAR, LAST_YEAR
from kpi.sql import identifier, literal

# Most identifiers and codes are of these letters only, and one look is enough for them.
_PLAIN = "[0-9A-Za-z ._/:-]*"
# What cannot be seen: controls, formats, joiners, marks of direction and order, fillers, variation selectors.
_UNSEEN = (
    r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{9f}\p{Cf}\p{Zl}\p{Zp}\x{34f}\x{115f}\x{1160}\x{17b4}\x{17b5}\x{180b}-\x{180f}"
    r"\x{2800}\x{3164}\x{fe00}-\x{fe0f}\x{ffa0}\x{e0000}-\x{e0fff}"
)
_BLANKS = r"\x{a0}\x{1680}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}"  # what looks like a space and is none
# Cyrillic and Greek letters drawn as Latin ones, and the wide forms of ASCII.
_FOREIGN = "ЅІЈАВЕЗКМНОРСТУХаеорсухіјѕһԁԛԝΑΒΕΖΗΙΚΜΝΟΡΤΥΧοϲ" + r"\x{ff01}-\x{ff5e}"
_ERROR_VALUE = (
    r"#(?:N/A|REF!|VALUE!|DIV/0!|NAME\?|NUM!|NULL!|SPILL!|CALC!|PUUTTUU!?|VIITTAUS!|ARVO!|JAKO/0!|NIMI\?|LUKU!|TYHJÄ!"
    r"|SAKNAS!?|REFERENS!|VÄRDEFEL!|DIVISION/0!|NAMN\?|OGILTIGT!|SKÄRNING!|#+)"
)
_SCIENTIFIC = r"-?[0-9](?:[.,][0-9]+)?[eE]\+[0-9]{1,3}"
_FORMULA = r'(?s)=".*"'
_APOSTROPHE = "^['’`´][0-9A-Za-z]"
_US_DATE = r"(?:0?[1-9]|1[0-2])/(?:1[3-9]|2[0-9]|3[01])/[0-9]{2,4}\b.*"
_HINTED_FORMS = (
    (rf"(?s){_US_DATE}", "it looks like month/day/year, as in the United States; a contract may name its format"),
    (
        r"(?s)(?:1[3-9]|2[0-9]|3[01])/(?:0?[1-9]|1[0-2])/[0-9]{2,4}\b.*",
        "it looks like day/month/year; a contract may name its format",
    ),
    (
        r"(?s)[0-9]{1,2}/[0-9]{1,2}/[0-9]{2,4}\b.*",
        "with slashes, which is the day and which the month cannot be known; a contract may name its format",
    ),
    (r"(?s)[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{2}(?:[^0-9].*)?", "the year has two digits"),
    (r"[0-9]{5}(?:[.,][0-9]+)?", "it looks like the day number of a spreadsheet"),
    (r"(?s).*[0-9] ?[aApP]\.?[mM]\.?", "a clock of twelve hours"),
    # After a clock or a whole date: the last part of 2025-01-99 is no offset.
    (
        r"(?s).*(?::[0-9]{2}(?:[.,][0-9]+)?|[0-9]{4}-[0-9]{2}-[0-9]{2}|\.[0-9]{4})"
        r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?| ?[A-Z]{3,4})",
        "a time zone is not read",
    ),
)
_HINTED_TIMES = (
    (r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4}", "the time of day is missing"),
    (r"(?s).*:[0-9]{2}[.,][0-9]+", "fractions of a second are not read"),
)
_HINTED_DAYS = (
    (r"(?s)[0-9]{4}-[0-9]{2}-[0-9]{2}[ T].*|[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4} .*", "it has a time of day"),
    (r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4}", "there is no such day"),
)
_HINTED_NUMBERS = (
    (r"-?[0-9]{1,3}(?:[.,][0-9]{3})+(?:[.,][0-9]+)?", "thousands are written without a point or a comma"),
    (
        "-?[0-9]{1,3}(?:[ \u00a0\u2009\u202f'’][0-9]{3})+(?:[.,][0-9]+)?",
        "thousands are written without a blank or an apostrophe",
    ),
    ("[\u2010-\u2015\u2212\ufe63\uff0d] ?[0-9][0-9., ]*", "a dash stands where the minus sign '-' should"),
    (r"- [0-9][0-9., ]*|[0-9][0-9., ]*-", "the minus sign stands right before the number"),
    (r"\+ ?[0-9][0-9., ]*", "a number has no plus sign"),
    (_SCIENTIFIC, "in scientific notation its last digits are lost"),
)
_HINTED_FRACTIONS = ((r"-?[0-9]+,[0-9]+|-?[0-9]+\.[0-9]+", "it has a fraction"),)
_HINTED_PERCENT = ((r"(?s)-?[0-9., ]+%", "with a percent sign"),)
_HINTED_CELLS = (
    (_ERROR_VALUE, "an error value of a spreadsheet"),
    (r"(?s)'.*", "a spreadsheet's apostrophe before it"),
    (_FORMULA, "a spreadsheet's formula around it"),
)


def is_misspelt(text: str) -> str:
    """SQL condition, never null, that an identifier or an open code is spelt as none should be: `hint` says how."""
    found = " or ".join(condition for condition, _ in _misspellings(text))
    return f"case when {text} is null or regexp_full_match({text}, {literal(_PLAIN)}) then false else {found} end"


def normalised(text: str) -> str:
    """SQL of a text without the letters that cannot be seen, odd blanks as spaces, composed (NFC) and trimmed."""
    blanks = f"regexp_replace({text}, {literal(f'[{_BLANKS}]')}, ' ', 'g')"
    seen = f"regexp_replace({blanks}, {literal(f'[{_UNSEEN}]')}, '', 'g')"
    composed = f"trim(nfc_normalize({seen}), ' ' || chr(9) || chr(10) || chr(13))"
    return f"case when regexp_full_match({text}, {literal(_PLAIN)}) then {text} else {composed} end"


CODES, SPELLING = "codes", "spelling"  # hints beside those of the kinds of column


def code_list(codes: Sequence[str]) -> str:
    """SQL of what `hint` needs of the codes of a column: each, as plain letters, and how many of them may differ."""
    listed = ", ".join(
        f"{{'code': {literal(code)}, 'plain': {literal(_plain(code))}, 'most': {len(code) // 4}}}" for code in codes
    )
    return f"[{listed}]" if codes else "null"


def hint(hint: str, text: str, codes: str) -> str:
    """SQL of what more is told of a cell that is wrong, never null. All are SQL: `hint` is a kind of column, of a cell
    that cannot be read; CODES, of one that is none of the `codes`; SPELLING, of one that `is_misspelt`."""
    said = " ".join(f"when {condition} then {reason}" for condition, reason in _misspellings(text))
    kinds = (
        (f"{hint} in ({_list(KIND_NAMES)})", _HINTED_CELLS),
        (f"{hint} = 'timestamp'", _HINTED_TIMES),
        (f"{hint} = 'date'", _HINTED_DAYS),
        (f"{hint} in ('timestamp', 'date')", _HINTED_FORMS),
        (f"{hint} in ('integer', 'decimal')", _HINTED_NUMBERS),
        (f"{hint} = 'integer'", _HINTED_FRACTIONS),
        (f"{hint} in ('integer', 'decimal')", _HINTED_PERCENT),
    )
    forms = " ".join(
        f"when {of_kind} and regexp_full_match(left({text}, 100), {literal(pattern)}) then {literal(': ' + message)}"
        for of_kind, hinted in kinds
        for pattern, message in hinted
    )
    return (
        f"case when {hint} = '' then '' when {hint} = {literal(SPELLING)} then case {said} end"
        f" when {hint} = {literal(CODES)} then {_code_hint(text, codes)} {forms} else '' end"
    )


def _code_hint(text: str, codes: str) -> str:
    """SQL of `, did you mean X?` for the code that a text resembles most; empty when it resembles none."""
    distance = "damerau_levenshtein(plain, one.plain)"
    each = f"lambda one: {{'distance': {distance}, 'most': one.most, 'code': one.code}}"
    near = f"list_filter(list_transform({codes}, {each}), lambda one: one.distance <= one.most)"
    plain = _words(normalised(f"left({text}, 100)"))
    found = f"list_transform([{plain}], lambda plain: list_min({near}).code)[1]"
    return f"coalesce(', did you mean ' || {found} || '?', '')"


def has_decimals(text: str, count: int) -> str:
    """SQL condition, never null, that a number has so many decimals or more; zeros at its end are none."""
    return f"coalesce(regexp_matches({text}, {literal(f'[.,][0-9]{{{count - 1}}}[0-9]*[1-9]')}), false)"


def is_odd_number(text: str) -> str:
    """SQL condition, never null, that a number may be meant as thousands or has more decimals than are kept."""
    pattern = rf"^-?[1-9][0-9]{{0,2}}[.,][0-9]{{3}}$|[.,][0-9]{{{MOST_DECIMALS}}}[0-9]*[1-9]"
    return f"coalesce(regexp_matches({text}, {literal(pattern)}), false)"


def may_be_thousands(text: str, value: str) -> str:
    """SQL aggregate, never null, of readable numbers: whether some of them may have been meant as thousands.

    `1.234` is a number with three decimals here and 1234 elsewhere. It is the former for certain when another number
    of the column has the same mark and can be nothing but a decimal one, as 12.5.
    """
    doubtful = []
    for mark in (".", ","):
        fits = f"regexp_full_match({text}, {literal(f'-?[1-9][0-9]{{0,2}}[{mark}][0-9]{{3}}')})"
        has_mark = f"{value} is not null and contains({text}, {literal(mark)})"
        doubtful.append(f"coalesce(bool_and({fits}) filter (where {has_mark}), false)")
    return f"({' or '.join(doubtful)})"


def _misspellings(text: str) -> list[tuple[str, str]]:
    """Pairs of SQL condition and SQL of the reason."""
    unseen, edge = f"[{_UNSEEN}{_BLANKS}]", r"^[\t\r\n]|[\t\r\n]$"
    foreign = f"[{_FOREIGN}]"

    def letter(pattern: str) -> str:
        return f"printf('U+%04X', unicode(regexp_extract({text}, {literal(pattern)})))"

    return [
        (f"regexp_matches({text}, {literal(unseen)})", f"'holds a letter that cannot be seen, ' || {letter(unseen)}"),
        (f"regexp_matches({text}, {literal(edge)})", "'begins or ends with a line end or a tab'"),
        (f"nfc_normalize({text}) <> {text}", "'holds a letter and its accent as two, which look like one'"),
        (
            f"regexp_matches({text}, {literal(foreign)}) and"
            f" (regexp_matches({text}, '[0-9A-Za-z]') or regexp_full_match({text}, {literal(foreign + '+')}))",
            f"'holds a letter of another alphabet that passes for a Latin one, ' || {letter(foreign)}",
        ),
        (f"regexp_full_match({text}, {literal(_ERROR_VALUE)})", "'an error value of a spreadsheet'"),
        (f"regexp_full_match({text}, {literal(_SCIENTIFIC)})", "'in scientific notation, its digits are lost'"),
        (f"regexp_matches({text}, {literal(_APOSTROPHE)})", "'begins with an apostrophe'"),
        (f"regexp_full_match({text}, {literal(_FORMULA)})", "'a spreadsheet''s formula around it'"),
    ]


def _words(text: str) -> str:
    return f"trim(regexp_replace(lower({text}), {literal(_NO_WORD)}, '_', 'g'), '_')"


_NO_WORD = r"[^\p{L}\p{N}]+"


def _plain(code: str) -> str:
    return re.sub(r"[\W_]+", "_", code.lower()).strip("_")


MISSING = ("", "NULL", "-")

_YEAR, _DAY, _MONTH = "(?:199[0-9]|20[0-9][0-9])", "(?:0?[1-9]|[12][0-9]|3[01])", "(?:0?[1-9]|1[0-2])"
_ISO_DATE, _FINNISH_DATE = rf"{_YEAR}-[0-9]{{2}}-[0-9]{{2}}", rf"{_DAY}\.{_MONTH}\.{_YEAR}"
_HH, _H, _MM = "(?:[01][0-9]|2[0-3])", "(?:[01]?[0-9]|2[0-3])", "[0-5][0-9]"
_ISO_TIME = rf"{_ISO_DATE}(?: {_HH}:{_MM}(?::{_MM})?|T{_HH}:{_MM}:{_MM})"
_FIRST, _LAST = f"timestamp '{FIRST_YEAR}-01-01 00:00:00'", f"timestamp '{LAST_YEAR}-12-31 23:59:59'"
# One pattern a format: a format that does not fit costs ten times one that does.
_COLON_TIMES = (
    (f"{_FINNISH_DATE} {_H}:{_MM}:{_MM}", "%d.%m.%Y %H:%M:%S"),
    (f"{_FINNISH_DATE} {_H}:{_MM}", "%d.%m.%Y %H:%M"),
)
_KLO_TIMES = (
    (rf"{_FINNISH_DATE} klo {_H}\.{_MM}\.{_MM}", "%d.%m.%Y klo %H.%M.%S"),
    (rf"{_FINNISH_DATE} klo {_H}\.{_MM}", "%d.%m.%Y klo %H.%M"),
)
# As a Finnish spreadsheet writes them.
_DOT_TIMES = (
    (rf"{_FINNISH_DATE} {_H}\.{_MM}\.{_MM}", "%d.%m.%Y %H.%M.%S"),
    (rf"{_FINNISH_DATE} {_H}\.{_MM}", "%d.%m.%Y %H.%M"),
)
_GROUP = "[\u00a0\u202f]"
# Not lower(): it makes an ASCII k of the Kelvin sign.
_TRUE, _FALSE = "[tT][rR][uU][eE]|1|[kK](?:[yY][lL][lL][äÄ])?", "[fF][aA][lL][sS][eE]|0|[eE][iI]?"

KIND_NAMES = {
    "timestamp": "not a date and time",
    "date": "not a date",
    "integer": "not a whole number",
    "decimal": "not a decimal number",
    "boolean": "not true or false",
}


def _list(values: Iterable[str]) -> str:
    return ", ".join(literal(value) for value in values)


def cast(text: str) -> str:
    """SQL of what TRY_CAST makes of a cell that looks like an ISO timestamp: a guess that `typed` makes sure of."""
    return f"case when {text} like '____-%' then try_cast({text} as timestamp) end"


def typed(column: FeedColumn, text: str, cast: str) -> str:
    """SQL of the value of a cell. `text` is SQL of its trimmed text, null when missing; null also when unreadable.

    `cast` names the column that holds `cast` of a timestamp. It is the value when it writes back as the same text, the
    quick proof that an ISO timestamp is one; patterns are the slow one.
    """
    if column.rules.formats or column.kind == "text":
        return _by_formats(column, text) if column.rules.formats else text
    match column.kind:
        case "timestamp":
            with_klo, without, dotted = map(partial(_by_forms, text), (_KLO_TIMES, _COLON_TIMES, _DOT_TIMES))
            return (
                f"case when strlen({text}) = 19 and {cast}::varchar = {text} and {cast} between {_FIRST} and {_LAST}"
                f" then {cast} when {cast} is not null"
                f" then case when regexp_full_match({text}, {literal(_ISO_TIME)}) then {cast} end"
                f" when contains({text}, 'klo') then case {with_klo} end"
                f" when contains({text}, ':') then case {without} end {dotted} end"
            )
        case "date":
            return (
                f"case when regexp_full_match({text}, {literal(_ISO_DATE)}) then try_cast({text} as date)"
                f" when regexp_full_match({text}, {literal(_FINNISH_DATE)})"
                f" then try_cast(try_strptime({text}, '%d.%m.%Y') as date) end"
            )
        case "boolean":
            return (
                f"case when regexp_full_match({text}, {literal(_TRUE)}) then true"
                f" when regexp_full_match({text}, {literal(_FALSE)}) then false end"
            )
        case "integer" | "decimal":
            whole = f"(?:[0-9]+|[0-9]{{1,3}}(?:{_GROUP}[0-9]{{3}})+)" if column.grouped_digits else "[0-9]+"
            digits = f"regexp_replace({text}, {literal(_GROUP)}, '', 'g')" if column.grouped_digits else text
            if column.kind == "integer":
                is_whole = f"regexp_full_match({text}, {literal('-?' + whole)})"
                return f"case when {is_whole} then try_cast({digits} as bigint) end"
            return (
                f"case when regexp_full_match({text}, {literal(f'-?{whole}(?:[.,][0-9]+)?')})"
                f" then try_cast(replace({digits}, ',', '.') as decimal(24, 6)) end"
            )


def _by_forms(text: str, forms: Iterable[tuple[str, str]]) -> str:
    return " ".join(
        f"when regexp_full_match({text}, {literal(pattern)}) then try_strptime({text}, {literal(form)})"
        for pattern, form in forms
    )


def _by_formats(column: FeedColumn, text: str) -> str:
    """SQL of a date or time in one of the formats that the contract names, the first that fits."""
    found = f"case {_by_forms(text, ((pattern_of(form), form) for form in column.rules.formats))} end"
    if column.kind == "date":
        # A format may have a time of day, but no day has one.
        found = f"list_filter([{found}], lambda moment: moment = date_trunc('day', moment))[1]"
    return f"list_filter([{found}], lambda moment: moment between {_FIRST} and {_LAST})[1]{_AS[column.kind]}"


_AS = {"timestamp": "", "date": "::date"}


class Reason(NamedTuple):
    """Why a cell is a reject: its code in `raw.rejects`, SQL of its words, and the SQL condition, never null, under
    which it is; `hint` as `hint` takes it."""

    code: str
    text: str
    condition: str
    hint: str = ""


def reasons(column: FeedColumn, text: str, value: str) -> list[Reason]:
    """Every reason for which a cell of a column may be a reject."""
    found: list[Reason] = []
    if column.required:
        found.append(Reason("missing", literal("missing"), f"{text} is null"))
    if column.kind != "text":
        reason = literal(KIND_NAMES[column.kind])
        found.append(Reason(column.kind, reason, f"({text} is not null and {value} is null)", column.kind))
    elif column.codes:
        none = f"coalesce({value} not in ({_list(column.codes)}), false)"
        found.append(Reason("codes", literal("not one of its codes"), none, CODES))
    elif not column.free_text and column.rules.lookalikes != "keep":
        found.append(Reason("spelling", "''", is_misspelt(text), SPELLING))
    if column.rules.decimals is not None:
        message, excess = (
            literal(f"more than {column.rules.decimals} decimals"),
            has_decimals(text, column.rules.decimals + 1),
        )
        found.append(Reason("decimals", message, f"({value} is not null and {excess})"))
    if column.minimum is not None:
        message, below = literal(f"less than {column.minimum}"), f"coalesce({value} < {column.minimum}, false)"
        found.append(Reason("minimum", message, below))
    if column.maximum is not None:
        message, above = literal(f"more than {column.maximum}"), f"coalesce({value} > {column.maximum}, false)"
        found.append(Reason("maximum", message, above))
    if column.first_of_month:
        message = literal("not the first day of a month")
        found.append(Reason("first_of_month", message, f"coalesce(day({value}) <> 1, false)"))
    return found


_TOO_MANY_FULL_MINUTES = 5  # by chance in one of 800 million files


def without_seconds(column: FeedColumn) -> str:
    """SQL aggregate of the column's name when none of its times has seconds and that is no chance, or null."""
    time, name = identifier(column.name), literal(column.name)
    least = 1 if column.rules.precision == "second" else _TOO_MANY_FULL_MINUTES
    return f"case when count({time}) >= {least} and max(second({time})) = 0 then {name} end"


@dataclass(frozen=True, slots=True)
class Clock:
    """The clock of a time zone: its offset from UTC without summer time, and when summer time begins and ends.

    `changes` are wall-clock times, in order and in turn: summer time begins, ends, begins. In the hour before it begins
    no time exists, in the hour before it ends each occurs twice. A zone without summer time has no changes.
    """

    winter_hours: int
    changes: tuple[datetime.datetime, ...]


@cache
def clock_of(zone: str) -> Clock:
    """Work out the clock changes of a zone for every year a delivery may speak of. Raises ContractError."""
    try:
        rules = zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        raise ContractError(f"there is no time zone '{zone}'.") from None
    hour, steps = datetime.timedelta(hours=1), []
    changes = []
    moment = datetime.datetime(FIRST_YEAR, 1, 1, tzinfo=datetime.UTC)
    winter = offset = _offset(moment, rules)
    while moment.year <= LAST_YEAR:
        later = moment + datetime.timedelta(days=8)
        if _offset(later, rules) != offset:
            while later - moment > hour:
                between = moment + (later - moment) // hour // 2 * hour
                if _offset(between, rules) == offset:
                    moment = between
                else:
                    later = between
            steps.append(_offset(later, rules) - offset)
            changes.append((later + max(offset, _offset(later, rules))).replace(tzinfo=None))
            offset = _offset(later, rules)
        moment = later
    years = [year for year in range(FIRST_YEAR, LAST_YEAR + 1) for _ in ("begins", "ends")]
    is_regular = steps == [hour, -hour] * (len(years) // 2) and [change.year for change in changes] == years
    if winter % hour or not (is_regular or not changes):
        raise ContractError(f"the clock of '{zone}' is not supported: summer time must begin and end in every year.")
    return Clock(winter // hour, tuple(changes))


def _offset(moment: datetime.datetime, rules: zoneinfo.ZoneInfo) -> datetime.timedelta:
    return moment.astimezone(rules).utcoffset() or datetime.timedelta()


def clock_changes(feed: Feed, clock: Clock) -> dict[str, str]:
    """For each timestamp column two columns that `instants` needs, by name: microseconds of wall-clock time to the next
    clock change or from the last (0 or less), and whether it is summer time before that change."""
    if not clock.changes:
        return {}
    found = {}
    for column in feed.instants:
        since_epoch = f"epoch_us({identifier(column)})"
        place = f"[({since_epoch} >> {_SPAN}) - {_FIRST_SPAN - 1}]"
        found[_to_change(column)] = f"($clock_changes){place} - {since_epoch}"
        found[_is_summer(column)] = f"($summer_before){place}"
    return found


def instants(feed: Feed, clock: Clock) -> dict[str, str]:
    """Name and SQL of the instant of each timestamp column, in an order that works, and of `_clock_flags`.

    Needs the columns of `clock_changes`. The instant of a time refers to those of the times before it.
    """
    ordered = [column for column in feed.time_order if column in feed.instants]
    found, flags, odd = {}, [], []
    for column in ordered + [column for column in feed.instants if column not in ordered]:
        time, to_change, is_summer = identifier(column), _to_change(column), _is_summer(column)
        winter, summer = (f"{time} - interval '{clock.winter_hours + shift}' hour" for shift in (0, 1))
        if not clock.changes:
            found[identifier(column + "_utc")] = winter
            continue
        before = ordered[: ordered.index(column)] if column in ordered else []
        earlier = ", ".join(identifier(name + "_utc") for name in reversed(before))
        is_odd = f"{to_change} between 1 and {_HOUR}"
        fits = f"{summer} < coalesce({earlier}) and {winter} >= coalesce({earlier})"
        is_second = f" when {is_odd} and {is_summer} and {fits} then {winter}" if earlier else ""
        found[identifier(column + "_utc")] = (
            f"case{is_second} when ({to_change} > 0) = {is_summer} then {summer} else {winter} end"
        )
        odd.append(is_odd)
        flags.append(
            f"case when {is_odd} then"
            f" if({is_summer}, {literal(column + ' occurs twice')}, {literal(column + ' does not exist')}) end"
        )
    flagged = f"case when {' or '.join(odd)} then concat_ws(', ', {', '.join(flags)}) end" if odd else "null::varchar"
    return found | {"_clock_flags": flagged}


def _to_change(column: str) -> str:
    return identifier(f"microseconds from {column} to the clock change")


def _is_summer(column: str) -> str:
    return identifier(f"whether it is summer before the clock change at {column}")


_HOUR = 3_600_000_000  # in microseconds, as is:
_SPAN = 43  # the binary logarithm of 102 days: short enough to hold no two clock changes, quick to divide by
_FIRST_SPAN = 631_152_000_000_000 >> _SPAN  # that of 1 January 1990


def clock_parameters(feed: Feed, zone: str) -> Mapping[str, Sequence[int]]:
    """The parameters of statements with `clock_changes`; parsing them as SQL would cost more than reading a file.

    Each has an item for every span of time: its clock change, or the next one, and whether it is summer before that.
    """
    clock = clock_of(zone)
    return _changes_by_span(clock) if feed.instants and clock.changes else {}


@cache
def _changes_by_span(clock: Clock) -> Mapping[str, Sequence[int]]:
    epoch, microsecond = datetime.datetime(1970, 1, 1), datetime.timedelta(microseconds=1)
    changes = [((change - epoch) // microsecond, place % 2 == 1) for place, change in enumerate(clock.changes)]
    changes.append((changes[-1][0] + (1 << _SPAN + 1), False))  # the next century's
    spans = range(_FIRST_SPAN << _SPAN, changes[-1][0], 1 << _SPAN)
    found = [next(change for change in changes if change[0] >= start) for start in spans]
    return {"clock_changes": [moment for moment, _ in found], "summer_before": [is_summer for _, is_summer in found]}


def disorder(feed: Feed) -> list[tuple[str, str, str]]:
    """Triples of column, reason and SQL condition for a time before the nearest earlier one of its row."""
    found = []
    timestamps = set(feed.instants)
    read = {column: identifier(column + "_utc" if column in timestamps else column) for column in feed.time_order}
    for place, column in enumerate(feed.time_order):
        for other in range(place):
            between = "".join(f" and {read[name]} is null" for name in feed.time_order[other + 1 : place])
            before = feed.time_order[other]
            found.append((column, f"before {before}", f"coalesce({read[column]} < {read[before]}{between}, false)"))
    return found


def header_names(feed: Feed) -> Mapping[str, str]:
    """Map every header the contract accepts to its column."""
    return {header: column.name for column in feed.columns for header in (column.name, *column.aliases)}
