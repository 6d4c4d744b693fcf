"""What a feed's contract says of how its files are written, where the files themselves do not tell."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from kpi.base.errors import ContractError, nearest
from kpi.base.yamlfile import Section

# Every encoding that a file is read in, with Python's name of it.
CODECS = {
    "utf-8": "utf-8",
    "utf-16-le": "utf-16-le",
    "utf-16-be": "utf-16-be",
    "windows-1252": "cp1252",
    "iso-8859-1": "latin-1",
    "iso-8859-15": "iso-8859-15",
    "cp850": "cp850",
    "cp437": "cp437",
    "mac-roman": "mac-roman",
}
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
SETTINGS = ("encoding", "separator", "skip_lines")
_MOST_LINES = 100  # a header further down is no header


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the files of a feed are written. What is empty is found out for each file.

    `encoding` is one of CODECS, `separator` a letter of SEPARATORS, `skip_lines` how many lines stand above the header.
    """

    encoding: str = ""
    separator: str = ""
    skip_lines: int = 0


UNKNOWN = Dialect()


def _encoding(told: str) -> str:
    """The encoding of CODECS that Python knows by a name, as `latin-1` or `utf8`; empty when it is none of them."""
    # A byte order mark tells the order; this is that of files without one.
    other = {"utf-16": "utf-16-le", "utf-8-sig": "utf-8"}
    names = {codecs.lookup(codec).name: name for name, codec in CODECS.items()}
    try:
        known = codecs.lookup(told).name
    except (LookupError, ValueError):
        return ""
    return other.get(known) or names.get(known, "")


def read_dialect(meta: Section, default: Dialect) -> Dialect:
    """Read the settings of a contract, or of one of its mappings; `default` has what they leave out.

    Raises ContractError for an encoding or a separator that files are not read in.
    """
    told = meta.text("encoding", default.encoding)
    encoding = _encoding(told)
    if told and not encoding:
        hint = nearest(told, CODECS)
        raise ContractError(f"{meta.where('encoding')}: files are not read in the encoding '{told}'.{hint}")
    letters = {name: letter for letter, name in SEPARATORS.items()}
    separator = meta.text("separator", default.separator)
    separator = letters.get(separator, separator)
    if separator and separator not in SEPARATORS:
        raise ContractError(
            f"{meta.where('separator')}: 'separator' is one of {', '.join(letters)}, not '{separator}'."
        )
    lines = meta.get("skip_lines", default.skip_lines)
    if not isinstance(lines, int) or isinstance(lines, bool) or not 0 <= lines <= _MOST_LINES:
        raise ContractError(f"{meta.where('skip_lines')}: 'skip_lines' is a whole number, 0 to {_MOST_LINES}.")
    return Dialect(encoding, separator, lines)
