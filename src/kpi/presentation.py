"""Values and text as people see them: rounded, 0 and 100 only when exact, and nothing that would command a terminal.

A share of 99.793 % that is rounded to 100 would say that all were in time, and 0.4 that nobody was. Such a value is
shown with one or two more decimals than its figure has, and at most as 99.99 or at least as 0.01. The models have the
same as a macro, `presented` in macros/rounding.sql. Comparing with a printed figure rounds as that one was.

`Form` writes a presented value as a Finnish, Swedish or English report does: 9 min 13 s, 1,6 %, +79, −8,5 %.

Names of files, headers and cells come from elsewhere. An escape sequence in one can set a window's title, fill the
clipboard or overwrite a line above it.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


def presented(value: str, decimals: str, unit: str) -> str:
    """Return SQL of the DECIMAL(38, 2) that a DOUBLE is shown as. The arguments are SQL expressions.

    `decimals` is '0', '1' or '2', or 'minute' for seconds to the minute. Null, and what is no number, is null.
    """
    exact = f"try_cast({value} as decimal(38, 9))"
    by_places = {places: f"cast(round({exact}, {places}) as decimal(38, 2))" for places in (0, 1, 2)}
    minutes = f"cast(60 * round(try_cast({value} / 60 as decimal(38, 9)), 0) as decimal(38, 2))"
    rounded = (
        f"case {decimals} when 'minute' then {minutes} when '1' then {by_places[1]} when '2' then {by_places[2]}"
        f" else {by_places[0]} end"
    )

    def is_not_exact(shown: str) -> str:
        hundred = f"({unit}) in ('percent', 'points') and abs({shown}) = 100 and abs({value}) <> 100"
        return f"coalesce(({shown}) = 0 and {value} <> 0 or ({hundred}), false)"

    nearest = f"case when abs({value}) < 1 then 0.01 when abs({value}) < 100 then 99.99 else 100.01 end"
    return (
        f"case when not {is_not_exact(rounded)} then {rounded}"
        f" when not {is_not_exact(by_places[1])} then {by_places[1]}"
        f" when not {is_not_exact(by_places[2])} then {by_places[2]}"
        f" else cast(sign({value}) * {nearest} as decimal(38, 2)) end"
    )


def with_decimals(shown: str, decimals: str | None) -> str:
    """Return a presented value, as SQL writes it (`99.80`), with its figure's decimals and those it has beyond."""
    whole, _, rest = shown.partition(".")
    places = int(decimals) if decimals and decimals.isdigit() else 0
    rest = rest.rstrip("0").ljust(places, "0")
    return f"{whole}.{rest}" if rest else whole


# What the loader looks for in keys (`ingest.cells`), whose regular expressions are DuckDB's.
_SEEN_AS_NOTHING = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f"
    "\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)


def unseen_letter(text: str) -> str:
    """Return the number, as U+200B, of the first letter of a text that nobody sees, or takes for a space; empty when it
    has none. Line ends and tabs are none."""
    match = None if text.isascii() and text.isprintable() else _SEEN_AS_NOTHING.search(text)
    return f"U+{ord(match.group()):04X}" if match else ""


def without_unseen(text: str) -> str:
    """Return a text without letters that nobody sees, and the blanks around it."""
    return _SEEN_AS_NOTHING.sub("", text).strip()


def significant(value: float, digits: int) -> str:
    """Return a number with so many significant digits; with all of them when 0, 100 or -100 would come out wrongly."""
    text = f"{value:.{digits}g}"
    return repr(value) if float(text) in (0, 100, -100) and float(text) != value else text


LANGUAGES = ("fi", "sv", "en")


@cache
def words(group: str) -> Mapping[str, Mapping[str, str]]:
    """Return what a kind of output calls things, by key and language. They stand side by side in `words.json`."""
    import json

    groups: dict[str, dict[str, dict[str, str]]] = json.loads(Path(__file__).with_name("words.json").read_bytes())
    return groups[group]


NO_BREAK = "\u00a0"
MINUS = "\u2212"
NO_VALUE = "\u2013"
_QUALIFIERS = {
    "fi": {"about": "noin", "nearly": "lähes", "more_than": "yli", "less_than": "alle"},
    "sv": {"about": "cirka", "nearly": "nästan", "more_than": "över", "less_than": "under"},
    "en": {"about": "about", "nearly": "almost", "more_than": "over", "less_than": "under"},
}
# What stands after a number where no code list of the project says more.
_SYMBOLS = {
    "fi": {"percent": "%", "seconds": "s", "days": "vrk", "count_per_day": "/ vrk"},
    "sv": {"percent": "%", "seconds": "s", "days": "dygn", "count_per_day": "/ dygn"},
    "en": {"percent": "%", "seconds": "s", "days": "days", "count_per_day": "a day"},
}
_PERCENTAGE_POINTS = {
    "fi": ("prosenttiyksikkö", "prosenttiyksikköä"),
    "sv": ("procentenhet", "procentenheter"),
    "en": ("percentage point", "percentage points"),
}


@dataclass(frozen=True, slots=True)
class Form:
    """How values of one unit are written in a language: for pages, the terminal, exports and notebooks alike.

    `decimals` is '0', '1', '2', 'minute' for seconds to the minute, or None for as many as a value has. `is_signed` is
    of values before which a plus stands. `symbols` name what stands after a number, by its unit.
    Values come rounded, as `presented` makes them; decimals beyond the form's are written too, for without them 99.8
    would be 100.
    """

    unit: str = "count"
    decimals: str | None = None
    language: str = "fi"
    is_signed: bool = False
    symbols: Mapping[str, str] = field(default_factory=dict, hash=False)

    def write(self, value: Decimal | float | str | None, qualifier: str = "exact") -> str:
        """Return a value in its unit, as 9 min 13 s or +79; an en dash when there is none. No line breaks inside it."""
        if value is None:
            return NO_VALUE
        exact = _exact(value)
        word = self.qualifier(qualifier)
        return (f"{word}{NO_BREAK}" if word else "") + self._sign(exact) + self._size(abs(exact))

    def qualifier(self, qualifier: str) -> str:
        """Return the word for how exactly a value is stated, as 'about'; nothing for an exact one."""
        return _QUALIFIERS[self.language].get(qualifier, "")

    def change(self, value: Decimal | float | str | None) -> str:
        """Return a change between two values: signed, and of shares in percentage points."""
        if value is None:
            return NO_VALUE
        exact = _exact(value)
        sign = MINUS if exact < 0 else "+" if exact > 0 else ""
        if self.unit != "percent":
            return sign + self._size(abs(exact))
        return f"{sign}{self.number(abs(exact))}{NO_BREAK}{_PERCENTAGE_POINTS[self.language][abs(exact) != 1]}"

    def number(self, value: Decimal | float | str) -> str:
        """Return a number with its decimals, without its unit."""
        return _digits(f"{_exact(value):f}", self.decimals, self.language == "en")

    def _sign(self, value: Decimal) -> str:
        return MINUS if value < 0 else "+" if self.is_signed and value > 0 else ""

    def _size(self, size: Decimal) -> str:
        if self.unit == "seconds" and (size == 0 or size >= 1):
            return self._duration(int(size), self.decimals == "minute" and not 0 < size < 60)
        symbol = self.symbols.get(self.unit) or _SYMBOLS[self.language].get(self.unit, "")
        gap = NO_BREAK if symbol and not (symbol == "%" and self.language == "en") else ""
        return self.number(size) + gap + symbol.replace(" ", NO_BREAK)

    @staticmethod
    def _duration(seconds: int, to_the_minute: bool) -> str:
        parts = [(seconds // 3600, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
        words = [f"{count}{NO_BREAK}{name}" for count, name in parts if count and not (to_the_minute and name == "s")]
        return NO_BREAK.join(words) or f"0{NO_BREAK}{'min' if to_the_minute else 's'}"


def _exact(value: Decimal | float | str) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(str(value))


@lru_cache(1 << 14)  # one value stands in three languages, on several pages
def _digits(exact: str, decimals: str | None, is_english: bool) -> str:
    """Return a number, as `f` writes it, with its signs and its decimals, or as few as it has."""
    size = exact.removeprefix("-")
    text = with_decimals(size, decimals) if decimals else _shortest(size)
    digits, point, rest = text.partition(".")
    comma, thousands = (".", ",") if is_english else (",", NO_BREAK)
    digits = f"{int(digits):,}".replace(",", thousands)
    # Minus zero is no number below zero.
    return (MINUS if size != exact and size.strip("0.") else "") + digits + (comma if point else "") + rest


def _shortest(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


LONGEST = 2_000  # characters of one message
# Control characters (C0, DEL, C1) but for tab and line end, separators of lines and paragraphs, what turns the
# direction of writing or takes no room, tags, and halves of characters, which no terminal can be sent at all.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    r"""Return a text with each such character written out, as `\u001b`, which JSON reads as the character itself."""
    return text if text.isascii() and text.isprintable() else _UNSEEN.sub(_written_out, text)


def one_line(text: str, longest: int = LONGEST) -> str:
    """Return a text as one line, at most so many characters long; line ends and tabs in it are written out too."""
    line = visible(text.replace("\n", "\\n").replace("\t", "\\t"))
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def listed(items: Sequence[object], most: int) -> str:
    """Return the first few of some items with commas between them, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(map(str, items[:most])) + more


def headline(text: str) -> str:
    """Return the first line of a text, for where one line has room."""
    return text.split("\n", maxsplit=1)[0]


def lines(text: str) -> str:
    """Return a text of lines, none of which is longer than a message may be."""
    return "\n".join(one_line(line) if len(line) > LONGEST else visible(line) for line in text.split("\n"))


def guard_streams() -> None:
    """Let nothing reach stdout or stderr any more but what is visible there, whoever writes it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or isinstance(stream, _Guarded):
            continue
        if (getattr(stream, "encoding", "") or "").lower() in ("ascii", "us-ascii", "ansi_x3.4-1968"):
            with suppress(AttributeError):  # a locale that nobody set: as click takes it
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")
        setattr(sys, name, _Guarded(stream))


def bare(stream: TextIO) -> TextIO:
    """Return the stream itself, for what draws on a terminal, and for data that goes to a file."""
    return stream._stream if isinstance(stream, _Guarded) else stream


class _Guarded:
    """A stream of text that writes out what is not visible; in all else the stream it was."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_broken = False  # for good: what could not be written is gone from the stream's buffer

    def write(self, text: str) -> int:
        self._try(self._stream.write, visible(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, action: Callable[..., object], *given: object) -> None:
        try:
            action(*given)
        except OSError:
            self.is_broken = True
            raise

    def writelines(self, parts: Iterable[str]) -> None:
        for part in parts:
            self.write(part)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":
            raise AttributeError("bytes go to the stream itself: kpi.presentation.bare")
        return getattr(self._stream, name)

    def __iter__(self) -> Any:
        return iter(self._stream)


def _written_out(match: re.Match[str]) -> str:
    number = ord(match[0])
    if number < 0x10000:
        return f"\\u{number:04x}"
    high, low = divmod(number - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
