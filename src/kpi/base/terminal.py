"""Text on its way to a terminal or a log: what would command a terminal, or hide or turn text round, is written out.

Names of files, headers and cells come from elsewhere. An escape sequence in one can set a window's title, fill the
clipboard or overwrite a line above it.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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
            raise AttributeError("bytes go to the stream itself: kpi.base.terminal.bare")
        return getattr(self._stream, name)

    def __iter__(self) -> Any:
        return iter(self._stream)


def _written_out(found: re.Match[str]) -> str:
    number = ord(found[0])
    if number < 0x10000:
        return f"\\u{number:04x}"
    high, low = divmod(number - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
