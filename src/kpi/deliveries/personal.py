"""Personal data where none should be: Finnish identity codes, telephone numbers and e-mail addresses in delivered text.

An identity code is a date, a century sign (any in use since 2023), three digits and the check character that the rest
calls for, not inside a longer word. It counts only with the right check character; numbers that merely look alike stay.
"""

from __future__ import annotations

import re

from kpi.base.names import literal

REMOVED = "poistettu"
_CHECKS = "0123456789ABCDEFHJKLMNPRSTUVWXY"
_IDENTITY = (
    r"\b(?:0[1-9]|[12][0-9]|3[01])(?:0[1-9]|1[0-2])[0-9]{2}[-+A-FU-Ya-fu-y][0-9]{3}[0-9A-FHJ-NPR-Ya-fhj-npr-y]\b"
)
_EMAIL = r"[A-Za-z0-9._%+\-]+@[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)+"
_PHONE = (
    r"(?:\+|\b00)[1-9][0-9]{0,2}[ \-]?(?:\(0\)[ \-]?)?[0-9]{1,3}(?:[ \-]?[0-9]{2,4}){1,4}"
    r"|\b0[1-9][0-9]{0,2}(?:[ \-]?[0-9]{2,4}){1,3}[0-9]?\b"
)
_LEAST_DIGITS = 7  # of a telephone number; fewer may be a date or a count


def masked(text: str) -> str:
    """SQL of a text with every hit replaced by what it was, as `[henkilötunnus poistettu]`. Null stays null."""
    hits = (
        (_identity_codes(text), "henkilötunnus"),
        (f"regexp_extract_all({text}, {literal(_EMAIL)})", "sähköposti"),
        (_phone_numbers(text), "puhelinnumero"),
    )
    result = text
    for found, kind in hits:
        mark = literal(f"[{kind} {REMOVED}]")
        result = f"list_reduce({found}, lambda told, hit: replace(told, hit, {mark}), {result})"
    # Most texts hold no digit and no @; they are not looked at twice.
    return f"case when regexp_matches({text}, '[0-9@]') then {result} else {text} end"


def is_found(text: str) -> str:
    """SQL condition, never null, that a text holds personal data."""
    return f"coalesce({masked(text)} <> {text}, false)"


def is_masked(text: str) -> str:
    """SQL condition, never null, that something was masked in a stored text."""
    return f"coalesce(contains({text}, {literal(f' {REMOVED}]')}), false)"


def has_identity_code(body: bytes) -> bool:
    """Tell whether a file holds an identity code anywhere."""
    found = re.finditer(_IDENTITY.encode(), body)
    return any(_CHECKS[int(hit[0][:6] + hit[0][7:10]) % 31] == hit[0][10:].decode().upper() for hit in found)


def _identity_codes(text: str) -> str:
    number = "cast(left(code, 6) || substr(code, 8, 3) as bigint)"
    right = f"upper(code[11]) = substr({literal(_CHECKS)}, ({number} % 31)::int + 1, 1)"
    return f"list_filter(regexp_extract_all({text}, {literal(_IDENTITY)}), lambda code: {right})"


def _phone_numbers(text: str) -> str:
    digits = "length(regexp_replace(number, '[^0-9]', '', 'g'))"
    found = f"regexp_extract_all({text}, {literal(_PHONE)})"
    return f"list_filter({found}, lambda number: {digits} between {_LEAST_DIGITS} and 15)"
