"""How identifiers, codes, dates and numbers are misspelt, as SQL: by hand, by a spreadsheet, by letters nobody sees.

Nothing here quotes a delivery: a hint names a code of the contract, a form, or the number of a letter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kpi.base.names import literal
from kpi.deliveries.column_rules import MOST_DECIMALS

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
    (r"(?s).*[0-9](?:Z|[+-][0-9]{2}(?::?[0-9]{2})?| ?[A-Z]{3,4})", "a time zone is not read"),
)
_HINTED_TIMES = (
    (r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4}", "the time of day is missing"),
    (r"(?s).*:[0-9]{2}[.,][0-9]+", "fractions of a second are not read"),
)
_HINTED_DAYS = ((r"(?s)[0-9]{4}-[0-9]{2}-[0-9]{2}[ T].*|[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4} .*", "it has a time of day"),)
_HINTED_NUMBERS = (
    (r"-?[0-9]{1,3}(?:[.,][0-9]{3})+(?:[.,][0-9]+)?", "thousands are written without a point or a comma"),
    (_SCIENTIFIC, "in scientific notation its last digits are lost"),
    (r"-?[0-9]+,[0-9]+|-?[0-9]+\.[0-9]+", "it has a fraction"),
    (r"(?s)-?[0-9., ]+%", "with a percent sign"),
)
_HINTED_CELLS = (
    (_ERROR_VALUE, "an error value of a spreadsheet"),
    (r"(?s)'.*", "a spreadsheet's apostrophe before it"),
    (_FORMULA, "a spreadsheet's formula around it"),
)


def is_misspelt(text: str) -> str:
    """SQL condition, never null, that an identifier or an open code is one of what `misspelling` names."""
    found = " or ".join(condition for condition, _ in _misspellings(text))
    return f"case when {text} is null or regexp_full_match({text}, {literal(_PLAIN)}) then false else {found} end"


def misspelling(text: str) -> str:
    """SQL of the reason why an identifier or an open code is rejected, when `is_misspelt`."""
    return f"case {' '.join(f'when {condition} then {reason}' for condition, reason in _misspellings(text))} end"


def normalised(text: str) -> str:
    """SQL of a text without the letters that cannot be seen, odd blanks as spaces, composed (NFC) and trimmed."""
    blanks = f"regexp_replace({text}, {literal(f'[{_BLANKS}]')}, ' ', 'g')"
    seen = f"regexp_replace({blanks}, {literal(f'[{_UNSEEN}]')}, '', 'g')"
    composed = f"trim(nfc_normalize({seen}), ' ' || chr(9) || chr(10) || chr(13))"
    return f"case when regexp_full_match({text}, {literal(_PLAIN)}) then {text} else {composed} end"


def code_hint(text: str, codes: Sequence[str]) -> str:
    """SQL of `, did you mean X?` for the code that a text resembles most; empty when it resembles none."""
    plain = _words(normalised(f"left({text}, 100)"))
    near = ", ".join(
        f"{{'distance': damerau_levenshtein({plain}, {literal(_plain(code))}), 'most': {len(code) // 4},"
        f" 'code': {literal(code)}}}"
        for code in codes
    )
    found = f"list_min(list_filter([{near}], lambda one: one.distance <= one.most)).code"
    return f"coalesce(', did you mean ' || {found} || '?', '')"


def form_hint(kind: str, text: str) -> str:
    """SQL of what a cell that cannot be read looks like, after a colon; empty when it looks like nothing known."""
    hints = {
        "timestamp": (*_HINTED_TIMES, *_HINTED_FORMS),
        "date": (*_HINTED_DAYS, *_HINTED_FORMS),
        "integer": _HINTED_NUMBERS,
        "decimal": (*_HINTED_NUMBERS[:2], *_HINTED_NUMBERS[3:]),
    }
    whens = " ".join(
        f"when regexp_full_match(left({text}, 100), {literal(pattern)}) then {literal(': ' + told)}"
        for pattern, told in (*_HINTED_CELLS, *hints.get(kind, ()))
    )
    return f"case {whens} else '' end"


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
