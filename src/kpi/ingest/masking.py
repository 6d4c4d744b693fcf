"""Personal data where none should be: Finnish identity codes, telephone numbers and e-mail addresses, masked.

An identity code is a date, a century sign (any in use since 2023), three digits and the check character that the rest
calls for. It counts only with the right check character, but then however it is written: with any dash, blanks, glued
to other letters; not as the end of a longer number. The SQL and the Python functions use the same patterns and give the
same text.
"""

from __future__ import annotations

import re
from functools import cache

from kpi.environment import hidden_secrets, hidden_values
from kpi.presentation import lines, one_line
from kpi.sql import literal

REMOVED = "poistettu"
IDENTITY_MARK, EMAIL_MARK, PHONE_MARK = (
    f"[{kind} {REMOVED}]" for kind in ("henkilötunnus", "sähköposti", "puhelinnumero")
)

# Patterns are read by RE2 and by Python alike, and only after other dashes, blanks and digits have become ASCII:
# classes of Unicode make RE2's programs so large that compiling them costs more than reading a file.
_BLANKS = "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_DASHES = "\u00ad\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\ufe58\ufe63"
_INVISIBLE = "\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff"
# The first of ten digits each: Arabic, Persian, Devanagari, Thai, and five alphabets of mathematics.
_ZEROS = (0x660, 0x6F0, 0x966, 0xE50, *range(0x1D7CE, 0x1D800, 10))
_WIDE = "".join(map(chr, range(0xFF01, 0xFF5F)))
_OTHER = _BLANKS + _DASHES + "".join(chr(zero + digit) for zero in _ZEROS for digit in range(10)) + _WIDE
_ASCII = " " * len(_BLANKS) + "-" * len(_DASHES) + "0123456789" * len(_ZEROS) + "".join(map(chr, range(0x21, 0x7F)))
_ODD = (
    "[\u00a0\u00ad\u1680\u2000-\u200a\u2010-\u2015\u202f\u2043\u205f\u2212\u3000\ufe58\ufe63\uff01-\uff5e"
    + "".join(f"{chr(zero)}-{chr(zero + 9)}" for zero in _ZEROS)
    + f"{_INVISIBLE}]"
)

_CHECKS = "0123456789ABCDEFHJKLMNPRSTUVWXY"
_CHECK_LETTERS = "A-FHJ-NPR-Ya-fhj-npr-y"
_GAP, _GAPS = "[ \t\r\n]?", "[ \t\r\n]{0,2}"
_DAY = f"(?:0{_GAP}[1-9]|[12]{_GAP}[0-9]|3{_GAP}[01])"
_BIRTH = f"{_DAY}[. ]?(?:0{_GAP}[1-9]|1{_GAP}[0-2])[. ]?[0-9]{_GAP}[0-9]"
_IDENTITY = (
    f"{_BIRTH}{_GAPS}[-+A-FU-Ya-fu-y]{_GAPS}[0-9]{_GAP}[0-9]{_GAP}[0-9]{_GAP}[0-9{_CHECK_LETTERS}]"
    # Without its sign, or with another: only as a word of its own, and only with a letter at its end.
    f"|\\b{_BIRTH}[._/*~ ]?[0-9]{{3}}{_GAP}[{_CHECK_LETTERS}]\\b"
)
# Several in a row are one hit at first: a digit before a code makes it a longer number, unless it ends another code.
_IDENTITIES = f"(?:^|[^0-9])((?:{_IDENTITY})+)"

_WORD = '[^@<>()\\[\\]{}",;:|\\\\ \t\r\n]'
_LABEL = "[^@<>()\\[\\]{}\",;:|\\\\./?#!=&%'* \t\r\n]"
_DOMAIN = f"{_LABEL}+(?:[.\u3002\uff61]{_LABEL}+)+"
_EMAIL = (
    f'(?:"[^"@\n]{{1,64}}"|{_WORD}+)@(?:{_DOMAIN}|\\[[^\\] ]+\\]|{_LABEL}*[A-Za-z\u00c0-\u024f]{_LABEL}*)'
    f"|@{_DOMAIN}"
    f"|{_WORD}+ {{1,2}}@ {{1,2}}{_LABEL}+(?:\\.{_LABEL}+)*\\.[A-Za-z]{{2,}}"
    f"|{_WORD}+ ?[(\\[] ?(?:[Aa][Tt]|[Ää][Tt]|@|miu|miukumauku) ?[)\\]] ?{_DOMAIN}"
)

_BETWEEN = "[- ./()]{0,3}"  # two digits of a telephone number
_PHONE = (
    "(?:^|[^0-9])("
    f"\\+{_BETWEEN}[1-9](?:{_BETWEEN}[0-9])*"
    f"|\\(?00[1-9](?:{_BETWEEN}[0-9])*"
    f"|358(?:{_BETWEEN}[0-9]){{7,}}"
    f"|\\(?0[1-9][0-9](?:{_BETWEEN}[0-9])*"
    # After an area code of two digits, a dot or slash before fewer than three is a day's or an hour's.
    "|\\(?0[1-9](?:[- ()]{0,3}[0-9]|[./][0-9]{3})*"
    f"|\\b[Oo](?:4[0-9]|50)(?:{_BETWEEN}[0-9]){{6,7}}"
    ")"
)
_MOMENT = (
    "\\b(?:[0-3]?[0-9][./-][01]?[0-9][./-](?:19|20)[0-9]{2}"
    "|(?:19|20)[0-9]{2}[./-][01]?[0-9][./-][0-3]?[0-9]"
    "|[0-2]?[0-9]:[0-5][0-9](?::[0-5][0-9](?:[.,][0-9]{1,9})?)?)\\b"
)
_LEAST_DIGITS, _MOST_DIGITS = 7, 15  # of a telephone number; fewer may be a count, more without a break are no number
_BUSINESS_ID = "[0-9]{7}-[0-9]"

# Most texts hold none of this; they are looked at only once.
_WORTH_A_LOOK = f"(?:[0-9][^0-9]*){{{_LEAST_DIGITS}}}|@|[(\\[] ?(?:[Aa]|[Ää])[Tt]|[(\\[] ?miu|{_ODD}"
# A hash or a UUID: nine digits and a letter of one may fit together by chance.
_HASH = re.compile(rb"[0-9A-Fa-f]{16,}|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_DASH_BYTES = b"(?:[-+A-FU-Ya-fu-y]|" + "|".join(_DASHES + "\uff0d").encode() + b")"
_BLANK_BYTES = rb"(?:[ \t]|\xc2\xa0|\xe2\x80\xaf)?"
# What stands before is looked at after its first digit: a pattern that begins with a digit takes half the time.
_IN_FILE = re.compile(
    rb"[0-3](?:(?<![0-9][0-3])|(?<=[-+A-FU-Ya-fu-y][0-9]{4}[0-3]))(?:(?<=0)[1-9]|(?<=[12])[0-9]|(?<=3)[01])"
    rb"(?:0[1-9]|1[0-2])[0-9]{2}"
    + (_BLANK_BYTES + _DASH_BYTES + _BLANK_BYTES)
    + rb"[0-9]{3}[0-9A-FHJ-NPR-Ya-fhj-npr-y]"
)


def masked(text: str) -> str:
    """SQL of a text with every hit replaced by what it was, as `[henkilötunnus poistettu]`. Null stays null.

    Where something is masked, other dashes, blanks and digits become ASCII and invisible characters go.
    """
    clean = (
        f"case when regexp_matches({text}, {literal(_ODD)})"
        f" then translate(regexp_replace({text}, {literal(f'[{_INVISIBLE}]')}, '', 'g'),"
        f" {literal(_OTHER)}, {literal(_ASCII)}) else {text} end"
    )
    codes = f"list_reduce({_identity_codes('clean')}, {_replace(IDENTITY_MARK)}, clean)"
    emails = f"regexp_replace({codes}, {literal(_EMAIL)}, {literal(EMAIL_MARK)}, 'g')"
    phones = f"list_reduce({_phone_numbers('rest')}, {_replace(PHONE_MARK)}, rest)"
    either = _let("hidden", _let("rest", emails, phones), f"case when hidden <> clean then hidden else {text} end")
    found = _let("clean", clean, either)
    return f"case when regexp_matches({text}, {literal(_WORTH_A_LOOK)}) then {found} else {text} end"


def is_found(text: str) -> str:
    """SQL condition, never null, that a text holds personal data."""
    return f"coalesce({masked(text)} <> {text}, false)"


def is_masked(text: str) -> str:
    """SQL condition, never null, that something was masked in a stored text."""
    return f"coalesce(contains({text}, {literal(f' {REMOVED}]')}), false)"


def hidden(text: str) -> str:
    """Return a text with every hit replaced by what it was, as SQL's `masked` does."""
    if not _compiled(_WORTH_A_LOOK).search(text):
        return text
    clean = _compiled(f"[{_INVISIBLE}]").sub("", text).translate(_to_ascii())
    rest = _compiled(_EMAIL).sub(EMAIL_MARK, hidden_codes(clean))
    for number in _compiled(_PHONE).findall(_compiled(_MOMENT).sub("|", rest)):
        if _is_phone(number):
            rest = rest.replace(number, PHONE_MARK)
    return rest if rest != clean else text


def hidden_codes(text: str) -> str:
    """Return a text without identity codes. For lines in which numbers of other kinds are kpi's own."""
    for found in _compiled(_IDENTITIES).findall(text):
        for code in _compiled(_IDENTITY).findall(found):
            text = text.replace(code, IDENTITY_MARK) if _is_right(code) else text
    return text


def message(text: str) -> str:
    """Return lines for people or a log: no identity code in them, nothing that commands a terminal, none too long."""
    return hidden_codes(lines(hidden_secrets(text)))


def of_error(error: Exception) -> str:
    """Return what DuckDB says of an error: it quotes values of rows, and the SQL."""
    return hidden(hidden_values(str(error).strip()))


def quoted(text: str, longest: int = 200) -> str:
    """Return what was delivered as a message may quote it: masked, in one line, and cut."""
    return one_line(hidden(text), longest)


def has_identity_code(body: bytes, start: int = 0) -> bool:
    """Tell whether a file, in UTF-8, holds an identity code from `start` on; within a hash or UUID it is chance."""
    return any(_is_right(hit[0].decode()) and not _is_in_hash(body, hit) for hit in _IN_FILE.finditer(body, start))


def _is_right(code: str) -> bool:
    number = re.sub("[^0-9]", "", code[:-1])
    return len(number) == 9 and _CHECKS[int(number) % 31] == code[-1].upper()


def _is_phone(number: str) -> bool:
    digits = re.sub("[^0-9]", "", number)
    has_break = len(digits) < len(number.lstrip("+(")) or len(digits) <= _MOST_DIGITS
    return len(digits) >= _LEAST_DIGITS and has_break and not re.fullmatch(_BUSINESS_ID, number)


def _is_in_hash(body: bytes, hit: re.Match[bytes]) -> bool:
    around = body[max(0, hit.start() - 128) : hit.end() + 128]
    at = hit.start() - max(0, hit.start() - 128)
    return any(found.start() <= at < found.end() for found in _HASH.finditer(around))


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)


@cache
def _to_ascii() -> dict[int, str]:
    return {ord(other): plain for other, plain in zip(_OTHER, _ASCII, strict=True)}


def _let(name: str, value: str, expression: str) -> str:
    """SQL of an expression in which `name` stands for a value, which is worked out once."""
    return f"list_transform([{value}], lambda {name}: {expression})[1]"


def _replace(mark: str) -> str:
    return f"lambda told, hit: replace(told, hit, {literal(mark)})"


def _identity_codes(text: str) -> str:
    number = "try_cast(regexp_replace(left(code, -1), '[^0-9]', '', 'g') as bigint)"
    right = f"coalesce(upper(right(code, 1)) = substr({literal(_CHECKS)}, ({number} % 31)::int + 1, 1), false)"
    each = f"lambda several: regexp_extract_all(several, {literal(_IDENTITY)})"
    found = f"flatten(list_transform(regexp_extract_all({text}, {literal(_IDENTITIES)}, 1), {each}))"
    return f"list_filter({found}, lambda code: {right})"


def _phone_numbers(text: str) -> str:
    digits = "length(regexp_replace(number, '[^0-9]', '', 'g'))"
    found = f"regexp_extract_all(regexp_replace({text}, {literal(_MOMENT)}, '|', 'g'), {literal(_PHONE)}, 1)"
    has_break = f"({digits} < length(ltrim(number, '+(')) or {digits} <= {_MOST_DIGITS})"
    is_number = f"{digits} >= {_LEAST_DIGITS} and {has_break}"
    is_number += f" and not regexp_full_match(number, {literal(_BUSINESS_ID)})"
    return f"list_filter({found}, lambda number: {is_number})"
