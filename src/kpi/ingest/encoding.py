"""From the bytes of a file to UTF-8: its encoding, what cannot be decoded, and what is in doubt.

The letters of a language do not stand alone. In CP850 and Mac Roman ä, ö and å are bytes that in Windows-1252 are signs
and rare letters, which hardly stand in the middle of a word.

Nothing is guessed in silence. A byte order mark decides, then the contract, then whether all of it is UTF-8. A file
that is UTF-8 in most lines that are not ASCII is UTF-8; its other lines cannot be decoded. `letters` guesses at the
rest.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kpi.ingest.contract import CODECS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_PIECE = 16 << 20  # bytes that are looked at at a time
_CR, _LF = 13, 10
_C1 = range(0x80, 0xA0)
_LATIN = (0xC4, 0xC5, 0xD6, 0xE4, 0xE5, 0xF6)  # åäö and their capitals in Windows-1252 and every ISO-8859 here
_DOS, _DOS_CAPITALS = (0x84, 0x86, 0x94), (0x8E, 0x99)  # in CP850
_MAC = (0x8A, 0x8C, 0x9A)  # in Mac Roman
_ON_THEIR_OWN = (0xC2, 0xC3, 0xF7, 0xFF)  # Â Ã ÷ ÿ in Windows-1252: no word here has them
_DIFFER = tuple("€ŠšŽžŒœŸ".encode("iso-8859-15"))  # what Windows-1252 has elsewhere
_LIKE = {"iso-8859-1": "windows-1252", "iso-8859-15": "windows-1252", "cp437": "cp850"}
_FEWEST_CAPITALS = 3  # Ž and ™ between capitals that make a file CP850; one may be a name


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a file may be in another encoding than it was read in.

    `letters` finds the letters concerned in the file's UTF-8. `other` is the encoding that they would be other letters
    in, empty when there is none.
    """

    why: str
    letters: re.Pattern[bytes]
    other: str = ""


def high_places(letters: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the places of all bytes above ASCII."""
    import numpy as np

    return _in_pieces(letters, lambda piece: np.flatnonzero(piece >= 0x80))


def line_ends(letters: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the places of all line feeds and carriage returns."""
    import numpy as np

    return _in_pieces(letters, lambda piece: np.flatnonzero((piece == _LF) | (piece == _CR)))


def lines_of(letters: NDArray[np.uint8], *places: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the number of the line that each of some places is on, for each array of them."""
    import numpy as np

    ends = line_ends(letters)
    return [np.searchsorted(ends, some) for some in places]


def parts_of_utf8(letters: NDArray[np.uint8], high: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places where letters of UTF-8 begin, and those of bytes above ASCII, `high`, that are in none."""
    import numpy as np

    padded = np.concatenate((letters, np.zeros(3, np.uint8)))
    byte, second = padded[high], padded[high + 1]
    one, two, three = ((padded[high + step] & 0xC0) == 0x80 for step in (1, 2, 3))
    width = np.zeros(high.size, np.int8)
    width[(byte >= 0xC2) & (byte <= 0xDF) & one] = 2
    # What is longer than it need be, a half of a surrogate pair, or beyond Unicode is no letter.
    is_wrong = ((byte == 0xE0) & (second < 0xA0)) | ((byte == 0xED) & (second > 0x9F))
    is_wrong |= ((byte == 0xF0) & (second < 0x90)) | ((byte == 0xF4) & (second > 0x8F))
    width[((byte & 0xF0) == 0xE0) & one & two & ~is_wrong] = 3
    width[(byte >= 0xF0) & (byte <= 0xF4) & one & two & three & ~is_wrong] = 4
    is_letter = width > 0
    for step in (1, 2, 3):
        is_letter[np.flatnonzero(width > step) + step] = True
    return high[width > 0], high[~is_letter]


def guess(letters: NDArray[np.uint8], high: NDArray[np.int64]) -> tuple[str, list[Doubt]]:
    """Tell which encoding of one byte a letter a file is in that is not UTF-8, and what is in doubt about that."""
    seen = _seen(letters[high])
    counts, capitals = _evidence(letters, high)
    old = "mac-roman" if counts["mac-roman"] > counts["cp850"] else "cp850"
    latin = counts["windows-1252"]
    if counts[old] > 2 * latin or (capitals >= _FEWEST_CAPITALS and not latin):
        why = "for what stands in the middle of its words: in windows-1252 it would be signs, not letters"
        return old, [Doubt(why, _any_of("åäöÅÄÖ"), "windows-1252")]
    has_c1 = any(byte in _C1 for byte in seen)
    doubts = []
    if counts[old] or capitals:
        doubts.append(Doubt(f"but some of its words look like {old}", _SIGNS_IN_WORDS, old))
    if differ := [byte for byte in _DIFFER if byte in seen and not has_c1]:
        which = _any_of(bytes(differ).decode("iso-8859-15"))
        doubts.append(Doubt("but it may as well be windows-1252", which, "windows-1252"))
    if odd := [byte for byte in _ON_THEIR_OWN if byte in seen]:
        doubts.append(Doubt("but it has letters that hardly any word has", _any_of(bytes(odd).decode("latin-1"))))
    return "windows-1252" if has_c1 else "iso-8859-15", doubts


def doubts_of_named(letters: NDArray[np.uint8], high: NDArray[np.int64], encoding: str) -> list[Doubt]:
    """Tell what speaks against the encoding, of one byte a letter, that a contract names."""
    leads, illegible = parts_of_utf8(letters, high)
    if leads.size and not illegible.size:
        return [Doubt("as the contract says, but all its letters are UTF-8", ABOVE_ASCII, "utf-8")]
    counts, _ = _evidence(letters, high)
    other = max(counts, key=lambda name: counts[name])
    if counts[other] <= 2 * counts[_LIKE.get(encoding, encoding)]:
        return []
    return [Doubt(f"as the contract says, but its words look like {other}", ABOVE_ASCII, other)]


def doubts_of_unicode(body: bytes, replaced: int) -> list[Doubt]:
    """Tell what a system that read or wrote a text before, in another encoding, left in it; it is UTF-8 by now.

    `replaced` is how many U+FFFD are none of the file's own.
    """
    import numpy as np

    doubts: list[Doubt] = []
    if body.isascii():
        return doubts
    letters = np.frombuffer(body, np.uint8)
    high = high_places(letters)
    # The first two bytes of each letter tell at once of most files that there is nothing to look for.
    pairs = _seen((letters[high].astype(np.int32) << 8) | letters[np.minimum(high + 1, letters.size - 1)])
    if 0xEFBF in pairs and body.count(_LOST) > replaced:
        doubts.append(Doubt("but letters were lost (U+FFFD) before it was delivered", re.compile(_LOST)))
    if pairs & {0xC382, 0xC383} and _UTF8_TWICE.search(body):
        doubts.append(Doubt("but was UTF-8 before and then taken for windows-1252", _UTF8_TWICE, "utf-8"))
    if pairs & {0xE280, 0xC5A0, 0xC592} and _NO_LETTERS.search(body):
        doubts.append(Doubt("but has signs in the middle of words, as if taken for windows-1252", _NO_LETTERS))
    if pairs & set(range(0xC280, 0xC2A0)):
        doubts.append(Doubt("but has control characters where letters should be", _CONTROLS))
    return doubts


# All of them in UTF-8. Of letters of CP850 and Mac Roman: what becomes of them when they are taken for Windows-1252.
NOTHING = re.compile(rb"(?!)")
ABOVE_ASCII = re.compile(rb"[\xc2-\xf4][\x80-\xbf]+")
_LOST = "\ufffd".encode()
_UTF8_TWICE = re.compile(rb"\xc3[\x82\x83](?=[\xc2\xc5\xe2])")
_SIGNS_IN_WORDS = re.compile(
    rb"(?<=[A-Za-z])(?:\xe2\x80[\x9e\xa0]|\xe2\x80\x9d(?=[A-Za-z]))"  # „ † ”
    rb"|(?<=[a-z])\xc5[\xa0\x92]|(?<=[A-Z])(?:\xc5\xbd|\xe2\x84\xa2)(?![a-z])"  # Š Œ Ž ™
)
_NO_LETTERS = re.compile(
    rb"(?<=[A-Za-z])\xe2\x80[\x9e\xa0](?=[A-Za-z])|(?<=[a-z])\xc5[\xa0\x92]"
)  # the surest of these
_CONTROLS = re.compile(rb"\xc2[\x80-\x9f]")


def _any_of(letters: str) -> re.Pattern[bytes]:
    return re.compile(b"|".join(letter.encode() for letter in letters))


def _evidence(letters: NDArray[np.uint8], high: NDArray[np.int64]) -> tuple[dict[str, int], int]:
    """Count what speaks for each encoding, and what speaks weakly for CP850: its capitals."""
    import numpy as np

    lower, upper = is_one_of(range(ord("a"), ord("z") + 1)), is_one_of(range(ord("A"), ord("Z") + 1))
    byte = letters[high]
    before, after = letters[np.maximum(high - 1, 0)], letters[np.minimum(high + 1, letters.size - 1)]
    any_case, dos_word = lower | upper, lower | upper | is_one_of(_DOS)
    latin = is_one_of(_LATIN)[byte] & (any_case[before] | any_case[after])
    # ä and å end a word, but ” does too.
    dos = is_one_of((0x84, 0x86))[byte] & dos_word[before]
    dos |= (byte == 0x94) & dos_word[before] & dos_word[after]
    # Š and Œ are no letters that follow a small one; š is.
    mac = is_one_of((0x8A, 0x8C))[byte] & (lower | is_one_of(_MAC))[before] & (high > 0)
    capitals = is_one_of(_DOS_CAPITALS)[byte] & upper[before] & ~lower[after] & (high > 0)
    counts = {"windows-1252": int(latin.sum()), "cp850": int(dos.sum()), "mac-roman": int(mac.sum())}
    return counts, int(capitals.sum())


def _seen(some: NDArray[np.uint8] | NDArray[np.int32]) -> set[int]:
    import numpy as np

    return set(np.flatnonzero(np.bincount(some)).tolist())


def is_one_of(wanted: Iterable[int]) -> NDArray[np.bool_]:
    """Return a table that tells of each byte whether it is wanted."""
    import numpy as np

    table = np.zeros(256, np.bool_)
    table[list(wanted)] = True
    return table


def _in_pieces(letters: NDArray[np.uint8], find: Callable[[NDArray[np.uint8]], NDArray[np.int64]]) -> NDArray[np.int64]:
    import numpy as np

    found = [find(letters[at : at + _PIECE]) + at for at in range(0, letters.size, _PIECE)]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


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
_C1_BYTES = tuple(range(0x80, 0xA0))  # control characters, which no text has
_UNDEFINED = {"windows-1252": (0x81, 0x8D, 0x8F, 0x90, 0x9D), "iso-8859-1": _C1_BYTES, "iso-8859-15": _C1_BYTES}
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
