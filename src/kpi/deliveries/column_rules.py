"""What a contract says of the text of cells beside their type: date formats, words for missing, spelling; and how much
of a file may be rejected."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from kpi.base.errors import ContractError
from kpi.base.yamlfile import Section

Lookalikes = Literal["reject", "normalise", "keep"]
Precision = Literal["", "second", "minute"]

FEED_SETTINGS = ("newer_by", "null_words", "lookalikes")
SETTINGS = ("null_words", "lookalikes", "format", "decimals", "precision")
MOST_REJECTED = 0.5  # of the records of a file, whatever a contract says
MOST_DECIMALS = 6  # that a DECIMAL(24, 6) holds
_PARTS = {
    "Y": "(?:199[0-9]|20[0-9][0-9])",
    "y": "[0-9]{2}",
    "m": "(?:0?[1-9]|1[0-2])",
    "d": "(?:0?[1-9]|[12][0-9]|3[01])",
    "H": "(?:[01]?[0-9]|2[0-3])",
    "I": "(?:0?[1-9]|1[0-2])",
    "M": "[0-5][0-9]",
    "S": "[0-5][0-9]",
    "p": "(?:[aA][mM]|[pP][mM])",
    "%": "%",
}


@dataclass(frozen=True, slots=True)
class ColumnRules:
    """How the cells of a column are written. `formats` replace the forms that dates and times otherwise have.

    `lookalikes` is what happens to an identifier or a code with letters that cannot be seen or pass for others;
    `decimals` how many a number may have, None for any that are rounded to 6; `precision` whether times have seconds.
    """

    formats: tuple[str, ...] = ()
    null_words: tuple[str, ...] = ()
    lookalikes: Lookalikes = "reject"
    decimals: int | None = None
    precision: Precision = ""


NO_RULES = ColumnRules()


def read_rules(meta: Section, kind: str, feed: Section) -> ColumnRules:
    """Read the rules of a column from its own contract and its feed's. Raises ContractError for what cannot be."""
    for setting, kinds in (
        ("format", ("timestamp", "date")),
        ("decimals", ("decimal",)),
        ("precision", ("timestamp",)),
        ("lookalikes", ("text",)),
    ):
        if setting in meta and kind not in kinds:
            raise ContractError(f"{meta.where(setting)}: '{setting}' says nothing of a {kind} column.")
    formats = meta.strings("format")
    for form in formats:
        _refuse_format(form, kind, meta.where("format"))
    decimals = whole(meta, "decimals")
    if decimals is not None and not 0 <= decimals <= MOST_DECIMALS:
        raise ContractError(f"{meta.where('decimals')}: 'decimals' is a whole number from 0 to {MOST_DECIMALS}.")
    return ColumnRules(
        formats=formats,
        null_words=tuple(dict.fromkeys((*feed.strings("null_words"), *meta.strings("null_words")))),
        lookalikes=_lookalikes(meta if "lookalikes" in meta else feed),
        decimals=decimals,
        precision=_precision(meta),
    )


def flag(meta: Section, key: str) -> bool:
    """Return what is true or false, false when it is not there. Raises ContractError."""
    value = meta.get(key, False)
    if not isinstance(value, bool):
        raise ContractError(f"{meta.where(key)}: '{key}' is true or false.")
    return value


def whole(meta: Section, key: str) -> int | None:
    """Return a whole number, None when it is not there. Raises ContractError."""
    value: Any = meta.get(key)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise ContractError(f"{meta.where(key)}: '{key}' is a whole number.")
    return value


def free_text(meta: Section) -> Literal["", "mask", "reject"]:
    """Return what is done with personal data in a text. Raises ContractError."""
    value = meta.text("free_text")
    if value == "mask":
        return "mask"
    if value not in ("", "reject"):
        raise ContractError(f"{meta.where('free_text')}: 'free_text' is mask or reject, not '{value}'.")
    return "reject" if value else ""


def read_threshold(meta: Section) -> tuple[float, int]:
    """Read which share of a file's records, and how many, may be rejected; the larger counts. Raises ContractError."""
    threshold = meta.section("reject_threshold")
    threshold.allow(("share", "rows"), "a reject threshold")
    share = float(threshold.get("share", 0.01))
    if not 0 <= share <= MOST_REJECTED:
        raise ContractError(f"{threshold.where('share')}: 'share' is at most {MOST_REJECTED} of a file's records.")
    return share, int(threshold.get("rows", 10))


def pattern_of(form: str) -> str:
    """Return the regular expression of what a strptime format writes, as strictly as the forms that need no contract.

    DuckDB alone takes a year of two digits for `%Y`.
    """
    parts = re.findall(r"%-?(.)|([^%]+)", form)
    return "".join(_PARTS[letter] if letter else re.escape(text) for letter, text in parts)


def _refuse_format(form: str, kind: str, where: str) -> None:
    letters = [letter for letter, _ in re.findall(r"%-?(.?)|([^%]+)", form) if letter]
    if form.endswith("%") and not form.endswith("%%"):
        raise ContractError(f"{where}: the format '{form}' ends in the middle of a part.")
    unknown = [letter for letter in letters if letter not in _PARTS]
    if unknown:
        known = ", ".join(f"%{letter}" for letter in _PARTS)
        raise ContractError(f"{where}: '%{unknown[0]}' is not supported in a format; known are {known}.")
    has = set(letters)
    if not {"m", "d"} <= has or not has & {"Y", "y"}:
        raise ContractError(f"{where}: the format '{form}' names no whole date: it takes %Y (or %y), %m and %d.")
    if kind == "timestamp" and not ("M" in has and (has & {"H"} or {"I", "p"} <= has)):
        raise ContractError(f"{where}: the format '{form}' names no time of day: it takes %H (or %I with %p) and %M.")


def _lookalikes(meta: Section) -> Lookalikes:
    known: tuple[Lookalikes, ...] = ("reject", "normalise", "keep")
    given = meta.text("lookalikes", "reject")
    for rule in known:
        if rule == given:
            return rule
    raise ContractError(f"{meta.where('lookalikes')}: 'lookalikes' is reject, normalise or keep, not '{given}'.")


def _precision(meta: Section) -> Precision:
    known: tuple[Precision, ...] = ("", "second", "minute")
    given = meta.text("precision")
    for precision in known:
        if precision == given:
            return precision
    raise ContractError(f"{meta.where('precision')}: 'precision' is second or minute, not '{given}'.")
