"""From the text of a cell to its value, or to the reason why it has none, as the oracle has it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Context, Decimal

from oracle_contracts import Column, Value

# --- From cells to values

MISSING = frozenset({"", "NULL", "-"})

# Why a record is not loaded.
WRONG_FIELD_COUNT = "field_count"  # of the whole record: column ""
IS_MISSING = "missing"
WRONG_FORM = "form"
OUT_OF_RANGE = "range"  # a value of the right form that its column does not take, of a year, a count, a score
UNKNOWN_CODE = "code"
WRONG_ORDER = "order"
MISSPELT = "spelling"  # an identifier or a code with letters that cannot be seen, or that a spreadsheet spoilt
DUPLICATE_KEY = "duplicate"  # of the whole record: column ""
NOT_DECODED = "illegible"  # of the whole record: column ""


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell says: a value, nothing (value None, no reason), or why it says nothing that can be loaded."""

    value: Value
    reason: str | None = None


_ISO = r"(?P<y>[0-9]{4})-(?P<m>[0-9]{2})-(?P<d>[0-9]{2})"
_FINNISH = r"(?P<d>[0-9]{1,2})\.(?P<m>[0-9]{1,2})\.(?P<y>[0-9]{4})"
_DATE_FORMS = tuple(re.compile(form) for form in (_ISO, _FINNISH))
_TIME_FORMS = tuple(
    re.compile(form)
    for form in (
        _ISO + r"[ T](?P<H>[0-9]{2}):(?P<M>[0-9]{2}):(?P<S>[0-9]{2})",
        _ISO + r" (?P<H>[0-9]{2}):(?P<M>[0-9]{2})",
        _FINNISH + r" (?P<H>[0-9]{1,2}):(?P<M>[0-9]{2})(?::(?P<S>[0-9]{2}))?",
        _FINNISH + r" (?:klo )?(?P<H>[0-9]{1,2})\.(?P<M>[0-9]{2})(?:\.(?P<S>[0-9]{2}))?",
    )
)
_WHOLE = re.compile("(-?)([0-9]+)")
_WHOLE_GROUPED = re.compile("(-?)([0-9]{1,3}(?:[\u00a0\u202f][0-9]{3})+)")
_FRACTION = re.compile("(.*)[.,]([0-9]+)", re.DOTALL)
_YES = ("true", "1", "kyllä", "k")
_NO = ("false", "0", "ei", "e")
_MANY_DIGITS = Context(prec=400)


def parse(column: Column, text: str) -> Cell:
    """What one cell says, given its text without layout."""
    if text in MISSING:
        return Cell(None, IS_MISSING if column.required else None)
    return _PARSERS[column.type](column, text)


def _parse_text(column: Column, text: str) -> Cell:
    return Cell(None, MISSPELT) if not column.is_free_text and is_misspelt(text) else Cell(text)


def _parse_code(column: Column, text: str) -> Cell:
    if column.codes is None:
        return _parse_text(column, text)
    return Cell(text) if text in column.codes else Cell(None, UNKNOWN_CODE)


# Letters without a shape that Unicode counts among letters, marks and symbols.
_SHAPELESS = {0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0x180B, 0x1810)}
_SHAPELESS |= {*range(0xFE00, 0xFE10), *range(0xE0000, 0xE1000)}
_DRAWN_ALIKE = {
    "CYRILLIC": "ЅІЈАВЕЗКМНОРСТУХаеорсухіјѕһԁԛԝ",
    "GREEK": "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧοϲ",
    "FULLWIDTH": "".join(map(chr, range(0xFF01, 0xFF5F))),
}
_ERRORS = re.findall(
    r"\S+",
    "N/A REF! VALUE! DIV/0! NAME? NUM! NULL! SPILL! CALC! PUUTTUU PUUTTUU! VIITTAUS! ARVO! JAKO/0! NIMI? LUKU! TYHJÄ!"
    " SAKNAS SAKNAS! REFERENS! VÄRDEFEL! DIVISION/0! NAMN? OGILTIGT! SKÄRNING!",
)


def is_misspelt(text: str) -> bool:
    """Whether an identifier or a code looks like another, or is what a spreadsheet makes of one."""
    drawn = [letter in "".join(_DRAWN_ALIKE.values()) for letter in text]
    latin = [letter.isascii() and letter.isalnum() for letter in text]
    mantissa, _, exponent = text.lower().partition("e+")
    return (
        any(_is_unseen(letter) for letter in text)
        or text != text.strip("\t\r\n")
        or unicodedata.normalize("NFC", text) != text
        or (any(drawn) and (any(latin) or all(drawn)))
        or text in {f"#{error}" for error in _ERRORS}
        or (len(text) > 1 and set(text) == {"#"})
        or bool(re.fullmatch("-?[0-9]([.,][0-9]+)?", mantissa) and re.fullmatch("[0-9]{1,3}", exponent))
        or (text[0] in "'’`´" and len(text) > 1 and latin[1])
        or (text.startswith('="') and text.endswith('"') and len(text) > 2)
    )


def _is_unseen(letter: str) -> bool:
    category = unicodedata.category(letter)
    if category in ("Cc", "Zs"):
        return letter not in "\t\r\n "
    return category in ("Cf", "Zl", "Zp") or ord(letter) in _SHAPELESS


def _parse_time(column: Column, text: str) -> Cell:
    for form in _TIME_FORMS:
        if found := form.fullmatch(text):
            part = {name: int(digits) for name, digits in found.groupdict().items() if digits}
            try:
                value = datetime(part["y"], part["m"], part["d"], part["H"], part["M"], part.get("S", 0))
            except ValueError:
                return Cell(None, WRONG_FORM)
            return Cell(value) if 1990 <= value.year <= 2099 else Cell(None, OUT_OF_RANGE)
    return Cell(None, WRONG_FORM)


def _parse_date(column: Column, text: str) -> Cell:
    for form in _DATE_FORMS:
        if found := form.fullmatch(text):
            try:
                value = date(int(found["y"]), int(found["m"]), int(found["d"]))
            except ValueError:
                return Cell(None, WRONG_FORM)
            if not 1990 <= value.year <= 2099 or (column.is_first_of_month and value.day != 1):
                return Cell(None, OUT_OF_RANGE)
            return Cell(value)
    return Cell(None, WRONG_FORM)


def _whole(column: Column, text: str) -> str | None:
    """The sign and digits of a whole number without its grouping, or None when it is not one."""
    found = _WHOLE.fullmatch(text)
    if found is None and column.is_grouped:
        found = _WHOLE_GROUPED.fullmatch(text)
    if found is None:
        return None
    digits = found[2].replace("\u00a0", "").replace("\u202f", "")
    return found[1] + (digits.lstrip("0") or "0")


def _parse_integer(column: Column, text: str) -> Cell:
    digits = _whole(column, text)
    if digits is None:
        return Cell(None, WRONG_FORM)
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
        return Cell(None, OUT_OF_RANGE)
    value = int(digits)
    if column.lowest is not None and value < column.lowest:
        return Cell(None, OUT_OF_RANGE)
    if column.highest is not None and value > column.highest:
        return Cell(None, OUT_OF_RANGE)
    return Cell(value)


def _parse_decimal(column: Column, text: str) -> Cell:
    found = _FRACTION.fullmatch(text)
    digits = _whole(column, found[1] if found else text)
    if digits is None:
        return Cell(None, WRONG_FORM)
    if len(digits) > 30 or (found and len(found[2]) > 300):
        return Cell(None, OUT_OF_RANGE)
    exact = Decimal(f"{digits}.{found[2]}" if found else digits)
    value = exact.quantize(Decimal("0.000001"), ROUND_HALF_UP, _MANY_DIGITS)  # half up: away from zero
    return Cell(value) if abs(value) < 10**18 else Cell(None, OUT_OF_RANGE)


def _parse_boolean(column: Column, text: str) -> Cell:
    # Both foldings must agree, for there are letters (a Kelvin sign) that become ASCII in one of them only.
    for words, value in ((_YES, True), (_NO, False)):
        if any(text.lower() == word and text.upper() == word.upper() for word in words):
            return Cell(value)
    return Cell(None, WRONG_FORM)


_PARSERS: Mapping[str, Callable[[Column, str], Cell]] = {
    "text": _parse_text,
    "code": _parse_code,
    "timestamp": _parse_time,
    "date": _parse_date,
    "integer": _parse_integer,
    "decimal": _parse_decimal,
    "boolean": _parse_boolean,
}
