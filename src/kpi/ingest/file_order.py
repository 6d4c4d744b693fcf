"""The order of a feed's files: which of two deliveries counts.

Names are compared by the bytes of what stands before `.csv`; a number of up to three digits counts as a number,
unless the name begins with it. A file that is called a copy, a correction or a version of another one in the folder
comes right after that one, whatever punctuation and whatever case the two are written in; one that is called old or a
draft comes right before it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

FILE_NAME, TIME_OF_DELIVERY = "file_name", "time_of_delivery"
_ENDING = re.compile(r"\.csv(?:\.gz)?$", re.IGNORECASE)
_NEWER = (
    "corr|corrected|correction|corrections|fix|fixed|fixes|update|updated|revised|revision|resend|resent|new|newer|"
    "newest|latest|final|copy|korj|korjattu|korjatut|korjaus|korjaukset|korjauksia|korjattuna|täydennetty|täydennys|"
    "päivitetty|päivitys|uusi|uudempi|uusin|uudelleen|uudestaan|uusittu|lopullinen|kopio|rättad|rättelse|korrigerad|"
    "uppdaterad|kompletterad|ny|nyare|slutlig|kopia"
)
_OLDER = (
    "old|older|original|previous|preliminary|draft|backup|bak|wrong|vanha|vanhat|vanhempi|vanhentunut|alkuperäinen|"
    "edellinen|alustava|luonnos|varmuuskopio|väärä|virheellinen|gammal|gamla|ursprunglig|preliminär|utkast"
)
# A word is not part of a longer one; a number of more than three digits is a year or a day, and no version.
_MARK = re.compile(
    rf"(?<![^\W\d_])(?:"
    rf"(?P<copied>copy(?: \((?P<copy>[0-9]{{1,3}})\))? of|kopio tiedostosta|kopia av)"
    rf"|(?P<version>v|ver|versio|version|rev)[\W_]?(?P<which>[0-9]{{1,3}})"
    rf"|(?P<older>{_OLDER})[0-9]{{0,3}}"
    rf"|(?P<newer>{_NEWER})(?P<number>[0-9]{{0,3}})"
    rf")(?![^\W_])|\((?P<place>[0-9]{{1,3}})\)"
)
_WORDS = re.compile(r"[^\W\d_]+|[0-9]+")
_SHORT_NUMBER = re.compile(r"(?<=[^0-9])[0-9]{1,2}(?![0-9])")


@dataclass(frozen=True)
class _Name:
    """A file's name: `base` is what it is of, `revision` which of the files of that base it is, in their order."""

    name: str

    @cached_property
    def stem(self) -> str:
        return _ENDING.sub("", self.name)

    @cached_property
    def place(self) -> bytes:
        return _SHORT_NUMBER.sub(lambda number: number[0].zfill(3), self.stem).encode("utf-8", "surrogateescape")

    @cached_property
    def base(self) -> tuple[str, ...]:
        words = _WORDS.findall(_MARK.sub("_", self._spelt))
        return tuple(word.lstrip("0") or "0" if word.isdecimal() else word for word in words)

    @cached_property
    def revision(self) -> tuple[int, tuple[tuple[str, int], ...]]:
        if not self.base:
            return 0, ()  # it is called a correction and nothing else
        marks = list(_MARK.finditer(self._spelt))
        number = [mark["copy"] or mark["which"] or mark["number"] or mark["place"] or "1" for mark in marks]
        words = [
            "v" if mark["version"] else "copy" if mark["copied"] else mark["newer"] or mark["older"] or ""
            for mark in marks
        ]
        sign = -1 if any(mark["older"] for mark in marks) else int(bool(marks))
        return sign, tuple((word, int(which)) for word, which in zip(words, number, strict=True))

    @cached_property
    def _spelt(self) -> str:
        return unicodedata.normalize("NFC", self.stem).lower()


def oldest_first(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of files in the order in which they count: a later one replaces what an earlier one says."""
    found = [_Name(name) for name in names]
    families: dict[tuple[str, ...], list[_Name]] = {}
    for one in found:
        families.setdefault(one.base or (one.stem,), []).append(one)
    places: dict[str, bytes] = {}
    for family in families.values():
        if any(one.revision[0] for one in family):
            # All of them stand where the file stands that the others are copies and corrections of.
            first = min(family, key=lambda one: (one.revision[0] != 0, one.place))
            places |= {one.name: first.place for one in family}
    ordered = sorted(
        found,
        key=lambda one: (
            places.get(one.name, one.place),
            one.revision if one.name in places else (0, ()),
            one.place,
            one.name.encode("utf-8", "surrogateescape"),
        ),
    )
    return tuple(one.name for one in ordered)


def in_order(times: Mapping[str, int], newer_by: str) -> tuple[str, ...]:
    """Return names of files, oldest first, by what the contract says tells the newer.

    `times` are their times of delivery, seconds since 1970; where these are equal the names decide.
    """
    names = oldest_first(times)
    return tuple(sorted(names, key=lambda name: times[name])) if newer_by == TIME_OF_DELIVERY else names
