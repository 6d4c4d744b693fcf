"""From the bytes of a file to UTF-8: which encoding they are in, what cannot be decoded, and what is in doubt.

Nothing is guessed in silence. A byte order mark decides, then the contract, then whether all of it is UTF-8. A file
that is UTF-8 in most lines that are not ASCII is UTF-8; its other lines cannot be decoded. `letters` guesses at the
rest.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kpi.deliveries.dialect import CODECS
from kpi.deliveries.letters import (
    NOTHING,
    Doubt,
    doubts_of_named,
    doubts_of_unicode,
    guess,
    high_places,
    is_one_of,
    lines_of,
    parts_of_utf8,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHUNK = 16 << 20  # bytes of a text that are decoded at a time: a whole file as str can be four times its size
LOST = "\ufffd".encode()
# UTF-32 comes first: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_UTF16 = ("utf-16-le", "utf-16-be")
_CUT_SHORT = re.compile(rb"(?:[\xc2\xc3]|\xe2[\x80-\x82]?|\xf0(?:\x9f[\x80-\xbf]?)?)\Z")  # a letter of UTF-8 at the end
_LONGEST_CUT = 3
_C1 = tuple(range(0x80, 0xA0))  # control characters, which no text has
_UNDEFINED = {"windows-1252": (0x81, 0x8D, 0x8F, 0x90, 0x9D), "iso-8859-1": _C1, "iso-8859-15": _C1}
_UTF8_LEADS = (0xC2, 0xC3, 0xC5, 0xE2)  # that the letters of Windows-1252 begin with in UTF-8


class Undecodable(Exception):
    """Why a file cannot be decoded at all, and what to do about it."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A file in UTF-8, its text from `begin` on, after a byte order mark.

    `illegible` are the places in `body`, in order, of what could not be decoded: what stands there is no text.
    """

    encoding: str
    body: bytes
    begin: int = 0
    illegible: tuple[int, ...] = ()
    doubts: tuple[Doubt, ...] = ()


def decode(content: bytes, named: str = "") -> Decoded:
    """Decode a file. `named` is the encoding of its contract, empty when it names none.

    Raises Undecodable for UTF-32, and for UTF-16 that neither a byte order mark nor the contract tells.
    """
    mark, encoding = next((one for one in _MARKS if content.startswith(one[0])), (b"", named))
    if encoding == "utf-32":
        raise Undecodable("is UTF-32: save it as UTF-8")
    if not mark and encoding not in _UTF16 and (order := _order_of_zeros(content)):
        raise Undecodable(f"is UTF-16 without a byte order mark: save it as UTF-8, or set 'encoding: {order}'")
    if encoding in _UTF16:
        found = _from_utf16(content[len(mark) :], encoding)
    elif encoding not in ("", "utf-8"):
        found = _from_single_bytes(content, encoding)
    elif _is_utf8(content):
        found = Decoded("utf-8", content, len(mark))
    else:
        found = _from_mixed(content, encoding, len(mark))
    doubts = list(found.doubts)
    if named and named != found.encoding and not {named, found.encoding} <= {*_UTF16}:
        doubts.append(Doubt(f"as its byte order mark says, though the contract says {named}", NOTHING))
    if found.encoding in ("utf-8", *_UTF16):
        doubts += doubts_of_unicode(found.body, len(found.illegible))
    return replace(found, doubts=tuple(doubts))


def _order_of_zeros(content: bytes) -> str:
    """The byte order of UTF-16 without a mark, by where its zeros are; empty when it is something else."""
    head = content[:400]
    even, odd, many = head[::2].count(0), head[1::2].count(0), len(head) * 0.4
    if len(head) < 8:
        return ""
    return "utf-16-le" if odd > many > 10 * even else "utf-16-be" if even > many > 10 * odd else ""


def _chunks(content: bytes) -> Iterator[tuple[bytes, bool]]:
    """Yield the pieces of a file, and whether each is the last."""
    for at in range(0, len(content), CHUNK):
        yield content[at : at + CHUNK], at + CHUNK >= len(content)


def _is_utf8(content: bytes) -> bool:
    if content.isascii():
        return True
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for piece, is_last in _chunks(content):
            decoder.decode(piece, is_last)
    except UnicodeDecodeError:
        return False
    return True


def _from_utf16(content: bytes, encoding: str) -> Decoded:
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    pieces: list[bytes] = []
    illegible: list[int] = []
    size, is_odd = 0, len(content) % 2
    for piece, is_last in _chunks(content[: len(content) - is_odd]):
        for number, part in enumerate(re.split("[\ud800-\udfff]", decoder.decode(piece, is_last))):
            if number:  # half of a surrogate pair
                illegible.append(size)
                pieces.append(LOST)
                size += len(LOST)
            pieces.append(part.encode())
            size += len(pieces[-1])
    if is_odd:
        illegible.append(size)
        pieces.append(LOST)
    return Decoded(encoding, b"".join(pieces), 0, tuple(illegible))


def _from_mixed(content: bytes, named: str, begin: int) -> Decoded:
    """Decode what is not UTF-8 throughout: most of its lines are, or a few, or none."""
    import numpy as np

    letters = np.frombuffer(content, np.uint8)
    high = high_places(letters)
    leads, illegible = parts_of_utf8(letters, high)
    cut = _CUT_SHORT.search(content[-_LONGEST_CUT:])
    is_only_cut = cut is not None and bool(illegible[0] >= len(content) - len(cut.group()))
    is_utf8 = bool(named or begin or is_only_cut)
    if not leads.size and not is_utf8:
        return _from_single_bytes(content, "")
    lead_lines, bad_lines = lines_of(letters, leads, illegible)
    good = np.setdiff1d(lead_lines, bad_lines)
    if is_utf8 or good.size >= np.unique(bad_lines).size:
        places = illegible + (len(LOST) - 1) * np.arange(illegible.size)
        return Decoded("utf-8", _replaced(content, illegible.tolist()), begin, tuple(places.tolist()))
    # The few lines that are UTF-8 would be other words. Å before a no-break space is none of it.
    is_word = is_one_of(_UTF8_LEADS)[letters[leads]] & ~((letters[leads] == 0xC5) & (letters[leads + 1] == 0xA0))
    return _from_single_bytes(content, "", leads[is_word & np.isin(lead_lines, good)])


def _from_single_bytes(content: bytes, named: str, strange: NDArray[np.int64] | None = None) -> Decoded:
    """Decode a file of one byte a letter. `strange` are places of letters that are UTF-8, unlike the rest."""
    import numpy as np

    letters = np.frombuffer(content, np.uint8)
    high = high_places(letters)
    encoding, doubts = (named, doubts_of_named(letters, high, named)) if named else guess(letters, high)
    codec = CODECS[encoding]
    body = b"".join(piece.decode(codec, "replace").encode() for piece, _ in _chunks(content))
    illegible = high[is_one_of(_UNDEFINED.get(encoding, ()))[letters[high]]]
    if strange is not None:
        illegible = np.union1d(illegible, strange)
    if not illegible.size:
        return Decoded(encoding, body, doubts=tuple(doubts))
    added = np.array([len(bytes([byte]).decode(codec, "replace").encode()) - 1 for byte in range(256)])
    before = np.concatenate(([0], np.cumsum(added[letters[high]])))
    places = illegible + before[np.searchsorted(high, illegible)]
    return Decoded(encoding, body, 0, tuple(places.tolist()), tuple(doubts))


def _replaced(content: bytes, places: list[int]) -> bytes:
    pieces, last = [], 0
    for place in places:
        pieces.append(content[last:place])
        last = place + 1
    return LOST.join([*pieces, content[last:]])
