"""An independent reading of deliveries, to test the loader against.

It follows the reference text of the feeds and nothing else, in plain Python and as literally as it can: one pass over
the characters of a file, one cell at a time. It shares no code, no contract and no idea with the package it judges.
"""

from __future__ import annotations

import gzip
import os
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

Value = str | int | bool | Decimal | date | datetime | None
Record = dict[str, Value]

HELSINKI = ZoneInfo("Europe/Helsinki")


# --- The contracts


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a feed: its name, its type and what narrows it."""

    name: str
    type: str
    required: bool = True
    codes: frozenset[str] | None = None  # None: an open list
    lowest: int | None = None
    highest: int | None = None
    is_grouped: bool = False  # a no-break space may stand between groups of three digits
    is_first_of_month: bool = False
    is_free_text: bool = False  # what people write; any other text is an identifier or a code


@dataclass(frozen=True, slots=True)
class Contract:
    """What a feed's files must look like; `order` names the times of a row from first to last."""

    feed: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    order: tuple[str, ...] = ()
    census: str | None = None  # the column that names the census when the feed comes a whole census at a time
    aliases: Mapping[str, str] = field(default_factory=dict)  # alias to column name

    def column(self, name: str) -> Column:
        """The column of that name."""
        return next(column for column in self.columns if column.name == name)

    def with_aliases(self, aliases: Mapping[str, str]) -> Contract:
        """The same contract with header aliases, given as alias to column name."""
        return replace(self, aliases=dict(aliases))


def _text(name: str, required: bool = True) -> Column:
    return Column(name, "text", required)


def _free_text(name: str) -> Column:
    return Column(name, "text", required=False, is_free_text=True)


def _code(name: str, *codes: str) -> Column:
    return Column(name, "code", True, frozenset(codes) if codes else None)


def _time(name: str, required: bool = True) -> Column:
    return Column(name, "timestamp", required)


def _day(name: str, required: bool = True) -> Column:
    return Column(name, "date", required)


def _month(name: str) -> Column:
    return Column(name, "date", is_first_of_month=True)


def _integer(name: str, lowest: int = 0, highest: int | None = None, required: bool = True) -> Column:
    return Column(name, "integer", required, None, lowest, highest)


def _count(name: str) -> Column:
    return Column(name, "integer", True, None, 0, None, is_grouped=True)


def _flag(name: str, required: bool = True) -> Column:
    return Column(name, "boolean", required)


HEALTH_LINES = (
    "health_station",
    "maternity_and_child_clinic",
    "oral_health",
    "rehabilitation",
    "emergency_helpline",
    "mental_health_and_substance_abuse",
)
LINES = (*HEALTH_LINES, "social_advice")
SURVEYS = ("health", "social_advice")
CHANNELS = ("sms", "qr", "web", "tablet", "paper")
STATEMENTS = (
    "got_help_when_needed",
    "cared_for_as_a_whole",
    "decisions_made_together",
    "felt_safe",
    "knows_what_happens_next",
    "information_was_understandable",
    "care_was_useful",
)
AREAS = ("health", "social", "rescue", "other")
CONTENTS = ("thanks", "suggestion", "criticism", "other")
PROCESSES = (
    "disability_service",
    "child_welfare_notification",
    "supplementary_income_support",
    "service_needs_assessment",
)
CLIENTS = ("social", "patient")

CONTRACTS: Mapping[str, Contract] = {
    contract.feed: contract
    for contract in (
        Contract(
            "calls",
            (
                _text("call_id"),
                _code("service_line", *LINES),
                _time("arrived_at"),
                _time("answered_at", required=False),
                _time("ended_at", required=False),
            ),
            key=("call_id",),
            order=("arrived_at", "answered_at", "ended_at"),
        ),
        Contract(
            "callbacks",
            (
                _text("callback_id"),
                _code("service_line", *LINES),
                _time("requested_at"),
                _time("reached_at", required=False),
            ),
            key=("callback_id",),
            order=("requested_at", "reached_at"),
        ),
        Contract(
            "chats",
            (
                _text("chat_id"),
                _code("service_line", *LINES),
                _time("started_at"),
                _flag("resolved_without_visit", required=False),
            ),
            key=("chat_id",),
        ),
        Contract(
            "helpline_contacts",
            (
                _text("contact_id"),
                _time("contacted_at"),
                _code("outcome", "resolved", "emergency_department", "other_care"),
                _flag("advice_sufficient", required=False),
            ),
            key=("contact_id",),
        ),
        Contract(
            "nps_responses",
            (
                _text("response_id"),
                _code("survey", *SURVEYS),
                _code("channel", *CHANNELS),
                _time("responded_at"),
                _integer("score", 0, 10),
                _free_text("comment"),
            ),
            key=("response_id",),
        ),
        Contract(
            "nps_invitations",
            (
                _code("survey", *SURVEYS),
                _code("channel", *CHANNELS),
                _month("month"),
                _count("invitations_sent"),
            ),
            key=("survey", "channel", "month"),
        ),
        Contract(
            "experience_answers",
            (
                _text("answer_id"),
                _code("statement", *STATEMENTS),
                _time("answered_at"),
                _integer("score", 1, 5),
            ),
            key=("answer_id",),
        ),
        Contract(
            "feedback",
            (_text("feedback_id"), _time("received_at"), _code("service_area", *AREAS)),
            key=("feedback_id",),
        ),
        Contract(
            "feedback_labels",
            (_text("feedback_id"), _code("content", *CONTENTS)),
            key=("feedback_id", "content"),
        ),
        Contract(
            "rescue_missions",
            (
                _text("mission_id"),
                _code("mission_type", "rescue", "ems"),
                _code("urgency", "A", "B", "C", "D"),
                _time("alarmed_at"),
                _time("first_unit_at_scene_at", required=False),
            ),
            key=("mission_id",),
            order=("alarmed_at", "first_unit_at_scene_at"),
        ),
        Contract(
            "safety_inspections",
            (_text("inspection_id"), _day("inspected_on"), _code("kind")),
            key=("inspection_id",),
        ),
        Contract(
            "care_queue",
            (_day("census_date"), _text("patient_key"), _code("specialty"), _day("need_confirmed_on")),
            key=("census_date", "patient_key", "specialty"),
            order=("need_confirmed_on", "census_date"),
            census="census_date",
        ),
        Contract(
            "care_visits",
            (
                _text("visit_id"),
                _code("service", "primary_care", "oral_health"),
                _day("need_assessed_on"),
                _day("visited_on", required=False),
                _integer("age_years"),
            ),
            key=("visit_id",),
            order=("need_assessed_on", "visited_on"),
        ),
        Contract(
            "housing_placements",
            (_text("application_id"), _day("initiated_on"), _day("placed_on", required=False)),
            key=("application_id",),
            order=("initiated_on", "placed_on"),
        ),
        Contract(
            "decisions",
            (
                _text("case_id"),
                _code("process", *PROCESSES),
                _day("initiated_on"),
                _day("decided_on", required=False),
                _flag("special_reason", required=False),
            ),
            key=("case_id",),
            order=("initiated_on", "decided_on"),
        ),
        Contract(
            "ombudsman_contacts",
            (
                _text("contact_id"),
                _day("contacted_on"),
                _code("client_type", *CLIENTS),
                _flag("resolved_in_one_call", required=False),
            ),
            key=("contact_id",),
        ),
        Contract(
            "safety_incidents",
            (
                _text("incident_id"),
                _day("reported_on"),
                _code("incident_type"),
                _code("harm", "none", "minor", "moderate", "severe", "unknown"),
            ),
            key=("incident_id",),
        ),
        Contract(
            "digital_users",
            (
                _day("census_date"),
                _integer("age_from"),
                _integer("age_to", required=False),
                _count("registered_users"),
                _count("active_users"),
            ),
            key=("census_date", "age_from"),
            census="census_date",
        ),
        Contract(
            "digital_care_paths",
            (_text("path_id"), _day("opened_on"), _day("closed_on", required=False), _flag("self_care")),
            key=("path_id",),
            order=("opened_on", "closed_on"),
        ),
        Contract(
            "chat_services",
            (_text("service_id"), _day("opened_on"), _day("closed_on", required=False)),
            key=("service_id",),
            order=("opened_on", "closed_on"),
        ),
        Contract(
            "care_contacts",
            (
                _month("month"),
                _code("sector", "health", "hospital", "social"),
                _code("mode", "in_person", "phone", "video", "chat", "letter"),
                _flag("replaces_visit"),
                _count("contacts"),
            ),
            key=("month", "sector", "mode", "replaces_visit"),
        ),
        Contract(
            "manual_figures",
            (
                _integer("report_year", 1990, 2099),
                _code("figure_id"),
                _code("service"),
                Column("value", "decimal", is_grouped=True),
                _day("entered_on"),
                _free_text("source_note"),
            ),
            key=("report_year", "figure_id", "service"),
        ),
    )
}
SIX_FEEDS = ("calls", "callbacks", "nps_responses", "nps_invitations", "rescue_missions", "care_queue")


# --- From bytes to records


# Stands for what cannot be decoded: no character, so no text has it.
ILLEGIBLE = "\ufdd0"
_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


def decode(data: bytes) -> tuple[str, str]:
    """The text of a file and the name of its encoding; what cannot be decoded is ILLEGIBLE.

    Line by line: those that are UTF-8 above ASCII outvote those that are not, or are outvoted.
    """
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            if encoding == "utf-8":
                return _legible(data[3:].decode("utf-8", "surrogateescape")), encoding
            whole = data[2 : len(data) - len(data) % 2]
            return _legible(whole.decode(encoding, "surrogatepass")) + ILLEGIBLE * (len(data) % 2), encoding
    lines = [line for line in re.split(rb"(?<=[\r\n])", data) if not line.isascii()]
    good = [line for line in lines if _is_utf8(line)]
    is_cut = _is_utf8(re.sub(rb"(?:[\xc2\xc3]|\xe2[\x80-\x82]?|\xf0(?:\x9f[\x80-\xbf]?)?)\Z", b"", data))
    if is_cut or len(good) >= len(lines) - len(good):
        return _legible(data.decode("utf-8", "surrogateescape")), "utf-8"
    encoding = _single_byte(data)
    codec = {"windows-1252": "cp1252"}.get(encoding, encoding)
    pieces = []
    for line in re.split(rb"(?<=[\r\n])", data):
        # Letters of UTF-8 in a file of another encoding.
        is_other = not line.isascii() and _is_utf8(line) and re.search(rb"[\xc2\xc3\xe2]|\xc5[^\xa0]", line)
        text = "".join(_letter(byte, codec) for byte in line)
        pieces.append(re.sub("[\x80-\U0010ffff]", ILLEGIBLE, text) if is_other else text)
    return "".join(pieces), encoding


def _is_utf16_without_mark(data: bytes) -> bool:
    """Whether most of either every first or every second byte of the beginning is zero, and of the other few are."""
    first, second = (Counter(data[at:400:2])[0] for at in (0, 1))
    is_marked = any(data.startswith(mark) for mark in _MARKS)
    return len(data) >= 8 and not is_marked and max(first, second) > 0.4 * len(data[:400]) > 10 * min(first, second)


def _letter(byte: int, codec: str) -> str:
    try:
        return bytes([byte]).decode(codec)
    except UnicodeDecodeError:
        return ILLEGIBLE


def _legible(text: str) -> str:
    return re.sub("[\ud800-\udfff]", ILLEGIBLE, text)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _single_byte(data: bytes) -> str:
    """Which encoding of one byte a letter: by the letters in words, then by whether a byte 0x80 to 0x9F occurs."""
    latin = len(re.findall(rb"(?<=[A-Za-z])[\xc4\xc5\xd6\xe4\xe5\xf6]|[\xc4\xc5\xd6\xe4\xe5\xf6](?=[A-Za-z])", data))
    dos = len(re.findall(rb"(?<=[A-Za-z\x84\x86\x94])(?:[\x84\x86]|\x94(?=[A-Za-z\x84\x86\x94]))", data))
    mac = len(re.findall(rb"(?<=[a-z\x8a\x8c\x9a])[\x8a\x8c]", data))
    capitals = len(re.findall(rb"(?<=[A-Z])[\x8e\x99](?![a-z])", data))
    if max(dos, mac) > 2 * latin or (capitals >= 3 and not latin):
        return "mac-roman" if mac > dos else "cp850"
    return "windows-1252" if re.search(rb"[\x80-\x9f]", data) else "iso-8859-15"


SEPARATORS = (",", ";", "\t")  # in the order that decides when they are equal


def split(text: str, separator: str) -> Iterator[list[str]]:
    """The records of a text, each a list of cells without their layout: quotes and blanks around.

    The first record is the header. A line of blanks only is no record; a tab is no blank where it separates.
    """
    blank = " " if separator == "\t" else "[ \t]"
    line_end = r"(?:\r\n|\r|\n|\Z)"
    blank_line = re.compile(f"{blank}*{line_end}")
    quoted = re.compile(f'{blank}*"((?:[^"]|"")*+)"{blank}*(?=[{separator}]|{line_end})')
    bare = re.compile(f"[^{separator}\r\n]*")
    ending = re.compile(line_end)

    position, length = 0, len(text)
    while position < length:
        if found := blank_line.match(text, position):
            position = found.end()
            continue
        cells: list[str] = []
        while True:
            if found := quoted.match(text, position):
                cells.append(found[1].replace('""', '"').strip(" \t"))
            elif found := bare.match(text, position):
                cells.append(found[0].strip(" \t"))
            else:  # cannot be: a bare cell may be empty
                raise ValueError(f"no cell at {position}")
            position = found.end()
            if text.startswith(separator, position):
                position += 1
                continue
            found = ending.match(text, position)
            if found is None:
                raise ValueError(f"no line end at {position}")
            position = found.end()
            break
        yield cells


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


# --- Local time

TWICE = "twice"
SKIPPED = "skipped"


def occurrences(wall: datetime) -> tuple[datetime, ...]:
    """The instants, in UTC and without a zone, that a wall-clock time may be: two when the clock shows it twice.

    A time that the clock skips is one instant: that of the time one hour later.
    """
    first = wall.replace(tzinfo=HELSINKI, fold=0).astimezone(UTC).replace(tzinfo=None)
    second = wall.replace(tzinfo=HELSINKI, fold=1).astimezone(UTC).replace(tzinfo=None)
    return (first, second) if second > first else (first,)


def is_skipped(wall: datetime) -> bool:
    """Whether the clock never shows this time."""
    first = wall.replace(tzinfo=HELSINKI, fold=0)
    return first.astimezone(UTC).astimezone(HELSINKI).replace(tzinfo=None) != wall


def instant(wall: datetime, preceding: datetime | None) -> datetime:
    """The instant of a time: its earliest occurrence that is not before the preceding instant of its row.

    When every occurrence is before it the row is in the wrong order, and the first is as good as any.
    """
    possible = occurrences(wall)
    return next((each for each in possible if preceding is None or each >= preceding), possible[0])


# --- From records to rows


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that was not loaded: its number, from 1 after the header, and every (column, reason) of it."""

    record: int
    reasons: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one file. Loaded counts the superseded rows too; a refused file has no rejects one by one."""

    name: str
    encoding: str | None = None
    separator: str | None = None
    header: tuple[str, ...] = ()
    records: int = 0
    loaded: int = 0
    rejected: int = 0
    superseded: int = 0
    refused: str | None = None  # or unreadable, no_header, named_twice, missing_column
    rejects: tuple[Reject, ...] = ()
    unknown_columns: tuple[str, ...] = ()
    missing_columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FeedResult:
    """What became of a feed: its files in order of delivery, its rows in force and those that were superseded.

    A row has the contract's columns, `<column>_utc` for each timestamp, `_file`, `_record`, and `_clock`: each
    `column:twice` and `column:skipped` in order of columns, with commas between.
    """

    feed: str
    files: tuple[FileResult, ...]
    rows: tuple[Record, ...]
    superseded: tuple[Record, ...] = ()

    def file(self, name: str) -> FileResult:
        """The result of the file of that name."""
        return next(each for each in self.files if each.name == name)


def read_row(contract: Contract, cells: Mapping[str, str]) -> tuple[Record, frozenset[tuple[str, str]]]:
    """One record's typed values, and why it cannot be loaded (empty when it can); a column not given is missing."""
    row: Record = {}
    reasons: set[tuple[str, str]] = set()
    for column in contract.columns:
        cell = parse(column, cells.get(column.name, ""))
        row[column.name] = cell.value
        if cell.reason:
            reasons.add((column.name, cell.reason))

    times = [column.name for column in contract.columns if column.type == "timestamp"]
    clock: list[str] = []
    for name in times:
        preceding = _nearest_earlier(contract, row, name)
        before = row[f"{preceding}_utc"] if preceding else None
        wall = row[name]
        row[f"{name}_utc"] = None
        if isinstance(wall, datetime):
            row[f"{name}_utc"] = instant(wall, before if isinstance(before, datetime) else None)
            if len(occurrences(wall)) == 2:
                clock.append(f"{name}:{TWICE}")
            if is_skipped(wall):
                clock.append(f"{name}:{SKIPPED}")
    row["_clock"] = ",".join(clock)

    for name in contract.order:
        preceding = _nearest_earlier(contract, row, name)
        if preceding and row[name] is not None:
            suffix = "_utc" if name in times else ""
            earlier, later = row[preceding + suffix], row[name + suffix]
            if isinstance(earlier, date) and isinstance(later, date) and later < earlier:
                reasons.add((name, WRONG_ORDER))
    return row, frozenset(reasons)


def _nearest_earlier(contract: Contract, row: Record, name: str) -> str | None:
    """The column of the row's time that precedes the one named, those that are missing left out."""
    if name not in contract.order:
        return None
    earlier = [each for each in contract.order[: contract.order.index(name)] if row[each] is not None]
    return earlier[-1] if earlier else None


def read_bytes(contract: Contract, name: str, data: bytes) -> tuple[FileResult, list[Record]]:
    """One file by itself: what became of it and the rows it loads, before other files supersede any."""
    if name.endswith(".gz"):
        try:
            data = gzip.decompress(data) if data else _no_gzip()
        except (OSError, EOFError, zlib.error):
            return FileResult(name, refused="unreadable"), []
    if _is_utf16_without_mark(data):
        return FileResult(name, refused="unreadable"), []
    text, encoding = decode(data)
    known = {column.name: column.name for column in contract.columns} | dict(contract.aliases)
    separator, header = find_header(text, known)
    if not header:
        return FileResult(name, encoding, refused="no_header"), []

    columns = [known.get(each) for each in header]
    named = [each for each in columns if each is not None]
    absent = tuple(column.name for column in contract.columns if column.name not in named)
    unknown = tuple(each for each in header if each not in known)
    records = [*split(text, separator)][1:]
    count = len(records)
    refused = None
    if len(named) > len(set(named)):
        refused = "named_twice"
    elif any(contract.column(each).required for each in absent):
        refused = "missing_column"
    if refused:
        return FileResult(name, encoding, separator, header, count, 0, count, 0, refused, (), unknown, absent), []

    rows, rejects = _read_records(contract, columns, records)
    rows = [row | {"_file": name} for row in rows]
    return FileResult(
        name, encoding, separator, header, count, len(rows), len(rejects), 0, None, tuple(rejects), unknown, absent
    ), rows


def find_header(text: str, known: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """The separator that yields the most known names in the header, and the header; empty when there is none."""
    separator, header, most = SEPARATORS[0], tuple[str, ...](), -1
    for candidate in SEPARATORS:
        names = tuple(next(split(text, candidate), ()))
        count = sum(1 for name in names if name in known)
        if count > most:
            separator, header, most = candidate, names, count
    return separator, header


def _read_records(
    contract: Contract, columns: Sequence[str | None], records: Sequence[Sequence[str]]
) -> tuple[list[Record], list[Reject]]:
    rows: list[Record] = []
    rejects: list[Reject] = []
    taken: set[tuple[Value, ...]] = set()
    for number, cells in enumerate(records, start=1):
        if any(ILLEGIBLE in cell for cell in cells):
            rejects.append(Reject(number, frozenset({("", NOT_DECODED)})))
            continue
        if len(cells) != len(columns):
            rejects.append(Reject(number, frozenset({("", WRONG_FIELD_COUNT)})))
            continue
        named = {column: cell for column, cell in zip(columns, cells, strict=True) if column}
        row, reasons = read_row(contract, named)
        key = tuple(row[each] for each in contract.key)
        if not reasons and key in taken:
            reasons = frozenset({("", DUPLICATE_KEY)})
        if reasons:
            rejects.append(Reject(number, reasons))
            continue
        taken.add(key)
        rows.append(row | {"_record": number})
    return rows, rejects


def _no_gzip() -> bytes:
    raise EOFError("an empty file is no gzip file")


def read_feed(feed: str, folder: Path, contract: Contract) -> FeedResult:
    """Every delivery of a feed that lies directly in a folder; a folder that is not there holds none."""
    paths = [
        path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.is_file() and path.name.endswith((".csv", ".csv.gz"))
    ]
    files: list[FileResult] = []
    loaded: list[list[Record]] = []
    order = delivery_order([path.name for path in paths])
    for path in sorted(paths, key=lambda path: order.index(path.name)):
        result, rows = read_bytes(contract, path.name, path.read_bytes())
        files.append(result)
        loaded.append(rows)

    # Which file holds each key, or each census, in force: the last to name it.
    holder: dict[tuple[Value, ...], int] = {}
    claims = (contract.census,) if contract.census else contract.key
    for index, rows in enumerate(loaded):
        for row in rows:
            holder[tuple(row[name] for name in claims)] = index
    in_force: list[Record] = []
    superseded: list[Record] = []
    for index, rows in enumerate(loaded):
        lost = [row for row in rows if holder[tuple(row[name] for name in claims)] != index]
        in_force += [row for row in rows if holder[tuple(row[name] for name in claims)] == index]
        superseded += lost
        files[index] = replace(files[index], superseded=len(lost))
    return FeedResult(feed, tuple(files), tuple(in_force), tuple(superseded))


# Words that say of a file that it is a later form of another, or an earlier one.
_LATER = re.findall(
    r"\S+",
    """
    corr corrected correction corrections fix fixed fixes update updated revised revision resend resent new newer newest
    latest final copy korj korjattu korjatut korjaus korjaukset korjauksia korjattuna täydennetty täydennys päivitetty
    päivitys uusi uudempi uusin uudelleen uudestaan uusittu lopullinen kopio rättad rättelse korrigerad uppdaterad
    kompletterad ny nyare slutlig kopia
    """,
)
_EARLIER = re.findall(
    r"\S+",
    """
    old older original previous preliminary draft backup bak wrong vanha vanhat vanhempi vanhentunut alkuperäinen
    edellinen alustava luonnos varmuuskopio väärä virheellinen gammal gamla ursprunglig preliminär utkast
    """,
)


def delivery_order(names: Sequence[str]) -> list[str]:
    """Names of files from the oldest to the newest: in the order of their bytes without the ending, short numbers as
    numbers unless the name begins with them; but corrections, copies and versions of a file of the folder right after
    it, and old ones right before."""
    about = {name: _about(name) for name in names}

    def padded(name: str) -> bytes:
        stem = re.sub(r"\.csv(\.gz)?$", "", name, flags=re.IGNORECASE)
        first, *pieces = re.split("([0-9]+)", stem)
        short = ["" if first else pieces.pop(0)] if pieces else []
        return os.fsencode(first + "".join(short + [one.zfill(3) if one.isdigit() else one for one in pieces]))

    def place(name: str) -> tuple[object, ...]:
        base, sign, _ = about[name]
        family = [other for other in names if base and about[other][0] == base]
        if not any(about[other][1] for other in family):
            return padded(name), 0, [], padded(name), os.fsencode(name)
        plain = [other for other in family if not about[other][1]]
        return min(map(padded, plain or family)), sign, about[name][2], padded(name), os.fsencode(name)

    return sorted(names, key=place)


def _about(name: str) -> tuple[list[str], int, list[tuple[str, int]]]:
    """What a file is of, whether it is a later (1) or an earlier (-1) form of that, and which."""
    stem = unicodedata.normalize("NFC", re.sub(r"\.csv(\.gz)?$", "", name, flags=re.IGNORECASE)).lower()
    stem = re.sub(r"\bcopy \(([0-9]{1,3})\) of\b", r"copy\1", stem)
    stem = re.sub(r"\bcopy of\b", "copy", stem)
    stem = re.sub(r"\b(?:kopio tiedostosta|kopia av)\b", "copy", stem)
    stem = re.sub(r"(?<![^\W\d_])(?:version|versio|ver|rev|v)[\W_]?([0-9]{1,3})(?![^\W_])", r" v\1 ", stem)
    base, sign, which = [], 0, []
    for piece in re.findall(r"\([0-9]{1,3}\)|[^\W\d_]+[0-9]*|[0-9]+", stem):
        word, digits = re.sub("[^\\w]|[0-9]", "", piece), re.sub("[^0-9]", "", piece)
        is_mark = word in _LATER or word in _EARLIER or (word == "v" and digits != "") or piece[0] == "("
        if is_mark and len(digits) <= 3:
            sign = -1 if sign < 0 or word in _EARLIER else 1
            which.append((word, int(digits or "1")))
        else:
            base += [word] if word else []
            base += [str(int(digits))] if digits else []
    return base, sign if base else 0, which if base else []


def read_feeds(folder: Path, aliases: Mapping[str, Mapping[str, str]] | None = None) -> dict[str, FeedResult]:
    """Every feed under a raw folder, one subfolder each; `aliases` is by feed, alias to column name."""
    return {
        feed: read_feed(feed, folder / feed, contract.with_aliases((aliases or {}).get(feed, {})))
        for feed, contract in CONTRACTS.items()
    }
