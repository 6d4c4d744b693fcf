"""A language of the pages: what they call things, its months, and the forms that numbers take in sentences.

All of it stands in `labels/<language>.yml`; another language is another file and another column in the seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache, partial
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from kpi.cache import remembered
from kpi.presentation import Form

LABELS = Path(__file__).parent / "labels"
_NEAR = Decimal("0.05")  # of a fraction: so near to it a share is called by it


@dataclass(frozen=True, slots=True)
class Language:
    """The words of one language.

    `forms` are those of a unit: pairs of singular and plural, lengths of time by part. `reject_reasons` are by
    their code in `raw.rejects`.
    """

    code: str
    labels: Mapping[str, str]
    reject_reasons: Mapping[str, str]
    months: Sequence[str]
    short_months: Sequence[str]
    number_words: Sequence[str]
    fractions: Mapping[str, str]
    forms: Mapping[str, Mapping[str, Any]]

    def say(self, label: str, **values: object) -> str:
        """Return a label with its values."""
        return self.labels[label].format(**values) if values else self.labels[label]

    def around(self, label: str, **marked: object) -> Markup:
        """Return a label with values of which some are markup."""
        return escape(self.labels[label]).format(**marked)

    def day(self, value: date | str) -> str:
        """Write a day as 5.3.2026, or in English as 5 March 2026. A text that is no day stays as it is."""
        try:
            known = date.fromisoformat(value) if isinstance(value, str) else value
        except ValueError:
            return str(value)
        if self.code == "en":
            return f"{known.day}\u00a0{self.months[known.month - 1]}\u00a0{known.year}"
        return f"{known.day}.{known.month}.{known.year}"

    def number(self, value: Decimal | float) -> str:
        """Write a number with as many decimals as it has."""
        return Form(language=self.code).number(value)

    def count(self, value: int, one: str, many: str) -> str:
        """Write a count with its noun."""
        return f"{self.number(value)} {one if value == 1 else many}"

    def forms_of(self, unit: str) -> list[str]:
        """Return the names of the forms that a value of a unit can take in a sentence."""
        return sorted({*_FORMS_OF_ALL, *self.forms.get(unit, {})})

    def inflected(self, form: str, value: Decimal, written: Form) -> str:
        """Return the size of a value in one of the forms of its unit, as '7 minuutissa ja 11 sekunnissa'."""
        known = self.forms[written.unit][form]
        if isinstance(known, Mapping):
            return self._duration(known, int(abs(value)), written.decimals == "minute")
        one, many = known
        pattern = one if abs(value) == 1 else many
        return str(pattern.format(n=written.number(abs(value)), word=self._word(abs(value), written)))

    def _word(self, size: Decimal, written: Form) -> str:
        is_small = size == size.to_integral_value() and 1 <= size <= len(self.number_words)
        return self.number_words[int(size) - 1] if is_small else written.number(size)

    @staticmethod
    def _duration(words: Mapping[str, Any], seconds: int, to_the_minute: bool) -> str:
        parts = [("h", seconds // 3600), ("min", seconds // 60 % 60), ("s", seconds % 60)]
        shown_parts = [(name, count) for name, count in parts if count and not (to_the_minute and name == "s")]
        texts = [f"{count}\u00a0{words[name][count != 1]}" for name, count in shown_parts or [("s", 0)]]
        return " ".join(texts[:-1]) + words["join"] + texts[-1] if len(texts) > 1 else texts[0]

    def fraction(self, share: Decimal) -> str:
        """Return the word of a fraction that a share in percent is near to, as 'half'; nothing when it is near none."""
        for percent, word in self.fractions.items():
            exact = {"33": Decimal(100) / 3, "67": Decimal(200) / 3}.get(percent, Decimal(percent))
            if abs(share - exact) <= _NEAR * exact:
                return word
        return ""


# Forms that a value of any unit takes: without its qualifier, its sign or its unit, as a fraction ('about' keeps that
# qualifier), almost for about, with a capital, and one of several words by its sign or by whether its target is met.
_FORMS_OF_ALL = ("value", "size", "bare", "fraction", "about", "nearly", "capital", "choose", "met")


@cache
def read_language(code: str) -> Language:
    """Return a language. Its file is the package's own and read once."""
    text = (LABELS / f"{code}.yml").read_text(encoding="utf-8")
    return Language(code, **remembered(partial(_read, text), "language", text))


def _read(text: str) -> Any:
    import yaml

    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
