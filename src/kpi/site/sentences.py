"""Sentences of the report: written by people in each language, with slots for numbers that are checked at compile.

`report/<language>/<section>.md` has what is said of every year, `report/<year>/<language>/<section>.md` what managers
say of one. A paragraph or list item is shown when each of its slots has a value in the year. `[2025]` or `[2024-]` at
its beginning says of which years it is. A slot is `{figure.service@basis|form|form}`; service and basis may be left out
where the figure has one.

How numbers, days and fixed words are written in each language is a file of `labels/`, by the names in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from kpi.cache import remembered
from kpi.errors import ConfigError, ConfigErrors, Place, nearest
from kpi.presentation import LANGUAGES, NO_VALUE, Form
from kpi.site.content import Content, Key, Value

if TYPE_CHECKING:
    from kpi.engine.graph import Graph

FOLDER = Path("report")
_SLOT = re.compile(r"\{([^{}]*)\}")
_YEARS = re.compile(r"\[(\d{4})?(-)?(\d{4})?\]\s*")
_NUMBER = re.compile(
    r"\d+[\u00a0 ](?:h|min|s)\b(?:[\u00a0 ]\d+[\u00a0 ](?:min|s)\b)*"
    r"|(?<![\w.,])[+\u2212-]?\d[\d\u00a0 ]*(?:[.,]\d+)?(?:[\u00a0 ]?%)?"
)
_WORDS = {"year", "previous_year"}


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a sentence where the number of a figure stands."""

    figure_id: str
    service: str
    basis: str
    forms: tuple[tuple[str, str], ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, list item (`is_item`) or quotation: texts and slots in turn, and the years it is about."""

    parts: tuple[str | Slot, ...]
    is_item: bool
    is_quote: bool
    first_year: int
    last_year: int
    place: Place

    def is_of(self, year: int) -> bool:
        """Tell whether it is said of a year."""
        return self.first_year <= year <= self.last_year


@dataclass(frozen=True, slots=True)
class Sentences:
    """All sentences of a project: by language and section, and managers' own by year too."""

    general: Mapping[tuple[str, str], tuple[Block, ...]]
    of_years: Mapping[tuple[int, str, str], tuple[Block, ...]]

    def of(self, section: str, year: int, language: str) -> list[Block]:
        """Return what is said of a section in a year: the general first, then the managers' own."""
        blocks = [*self.general.get((language, section), ()), *self.of_years.get((year, language, section), ())]
        return [block for block in blocks if block.is_of(year)]


def read_sentences(root: Path) -> Sentences:
    """Read the folder `report` of a project. Raises ConfigError with file and line for what is no slot."""
    general: dict[tuple[str, str], tuple[Block, ...]] = {}
    of_years: dict[tuple[int, str, str], tuple[Block, ...]] = {}
    for path in files(root):
        *above, language, name = path.relative_to(root / FOLDER).parts
        blocks = tuple(parse(path.read_text(encoding="utf-8"), path.relative_to(root)))
        if above:
            of_years[int(above[0]), language, name.removesuffix(".md")] = blocks
        else:
            general[language, name.removesuffix(".md")] = blocks
    return Sentences(general, of_years)


def files(root: Path) -> list[Path]:
    """Return the files with sentences. Raises ConfigError for one in a folder that nothing reads."""
    found = sorted((root / FOLDER).rglob("*.md")) if (root / FOLDER).is_dir() else []
    for path in found:
        parts = path.relative_to(root / FOLDER).parts[:-1]
        if not parts or parts[-1] not in LANGUAGES or len(parts) > 2 or (len(parts) == 2 and not _is_year(parts[0])):
            message = "sentences lie in report/<language>/ or report/<year>/<language>/"
            raise ConfigError(
                f"{message}, and a language is {', '.join(LANGUAGES)}.", Place(str(path.relative_to(root)))
            )
    return found


def _is_year(text: str) -> bool:
    return bool(re.fullmatch(r"(19|20)\d\d", text))


def parse(text: str, file: Path) -> Iterator[Block]:
    """Yield the blocks of a file. Lines that begin with `#` or `<!--` are remarks."""
    for number, lines in _paragraphs(text):
        place = Place(str(file), number)
        is_item, is_quote = lines.startswith("- "), lines.startswith("> ")
        body = lines[2:] if is_item or is_quote else lines
        first, last = 0, 9999
        if found := _YEARS.match(body):
            begin, dash, end = found.groups()
            first = int(begin or 0)
            last = int(end or (9999 if dash else begin or 0))
            body = body[found.end() :]
        yield Block(tuple(_parts(body, place)), is_item, is_quote, first, last, place)


def _paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Yield each paragraph or list item with the line it begins in, its lines joined."""
    begun, lines = 0, list[str]()
    for number, line in enumerate([*text.splitlines(), ""], 1):
        stripped = line.strip()
        starts = stripped.startswith(("- ", "> "))
        if lines and (not stripped or starts):
            yield begun, " ".join(lines)
            lines = []
        if stripped and not stripped.startswith(("#", "<!--")):
            begun = begun if lines else number
            lines.append(stripped)


def _parts(text: str, place: Place) -> Iterator[str | Slot]:
    at = 0
    if strays := re.search(r"[{}]", _SLOT.sub("", text)):
        message = f"a '{strays[0]}' that belongs to no slot: inside the braces of one there are no others"
        raise ConfigError(f"{message}.", place)
    for found in _SLOT.finditer(text):
        yield text[at : found.start()]
        yield found[0] if found[1] in _WORDS else _slot(found[1], place)
        at = found.end()
    yield text[at:]


def _slot(text: str, place: Place) -> Slot:
    reference, *forms = (part.strip() for part in text.split("|"))
    found = re.fullmatch(r"(\w+)(?:\.(\w+))?(?:@(\w+))?", reference)
    if not found:
        message = "a slot is {figure.service@basis|form}, or {year} or {previous_year}"
        raise ConfigError(f"'{{{text}}}' is not understood: {message}.", place)
    pairs = tuple((name.strip(), argument.strip()) for name, _, argument in (form.partition(":") for form in forms))
    return Slot(found[1], found[2] or "", found[3] or "", pairs, place)


def check_report(graph: Graph) -> None:
    """Raise ConfigError, with file and line, for each slot of a sentence that no figure, service or form answers to.

    Figures, services and sections are those of the seeds. Where a project has no seed of figures nothing is checked.
    """
    from kpi.validation.rule import seed_rows

    sentences = read_sentences(graph.project.root)
    if not sentences.general and not sentences.of_years:
        return
    tables = graph.project.report_tables
    figures = seed_rows(tables.figures, graph)
    units = {row["figure_id"]: row.get("unit") or "count" for row in figures}
    services: dict[str, list[str]] = {}
    for row in seed_rows(tables.figure_services, graph):
        services.setdefault(row["figure_id"], []).append(row["service"])
    sections = [row["section"] for row in seed_rows(tables.report_sections, graph)]
    mistakes = check_sentences(sentences, units, services, sections) if figures else []
    if mistakes:
        raise ConfigErrors(mistakes)


def check_sentences(
    sentences: Sentences, units: Mapping[str, str], services: Mapping[str, Iterable[str]], sections: Iterable[str]
) -> list[ConfigError]:
    """Return every slot that names no figure, service or form, and every file of no section, each with its line.

    `units` are by figure, `services` those it is told for.
    """
    mistakes: list[ConfigError] = []
    known_sections = set(sections)
    for (code, section), blocks in [*sentences.general.items(), *((k[1:], b) for k, b in sentences.of_years.items())]:
        language = read_language(code)
        if blocks and section not in known_sections:
            message = f"the report has no section '{section}'.{nearest(section, known_sections)}"
            mistakes.append(ConfigError(message, Place(blocks[0].place.file)))
        for slot in (part for block in blocks for part in block.parts if isinstance(part, Slot)):
            problem = _mistake(slot, units, services, language)
            mistakes += [ConfigError(problem, slot.place)] if problem else []
    return mistakes


def _mistake(slot: Slot, units: Mapping[str, str], services: Mapping[str, Iterable[str]], language: Language) -> str:
    if slot.figure_id not in units:
        return f"there is no figure '{slot.figure_id}'.{nearest(slot.figure_id, units)}"
    of_figure = list(services.get(slot.figure_id, ()))
    if slot.service and slot.service not in of_figure:
        return f"'{slot.figure_id}' has no service '{slot.service}'.{nearest(slot.service, of_figure)}"
    if not slot.service and len(of_figure) != 1:
        return (
            f"'{slot.figure_id}' has several services: write {{{slot.figure_id}.{of_figure[0] if of_figure else '…'}}}."
        )
    return next((problem for form in slot.forms if (problem := _form_mistake(slot, form, units, language))), "")


def _form_mistake(slot: Slot, form: tuple[str, str], units: Mapping[str, str], language: Language) -> str:
    (name, argument), unit = form, units[slot.figure_id]
    known = language.forms_of(unit)
    if name not in known:
        return f"there is no form '{name}' of {unit} in {language.code}.{nearest(name, known)}"
    if name == "choose" and argument.count("/") != 2:
        return "'choose' has three texts, for below, equal to and above zero: choose: fell / same / rose."
    if name == "met" and argument.count("/") != 1:
        return "'met' has two texts, for a target that is met and one that is not: met: reached / missed."
    return ""


Tag = Callable[[Key, str, str], Markup]


def render(block: Block, year: int, content: Content, language: Language, tag: Tag) -> Markup | None:
    """Return a block of a year, each number in a `tag` of its key, form and text; None when one is missing."""
    texts: list[str] = []
    for part in block.parts:
        if isinstance(part, str):
            texts.append(str(escape(part.replace("{year}", str(year)).replace("{previous_year}", str(year - 1)))))
            continue
        value = value_of(part, year, content)
        if value is None or value.shown is None:
            return None
        texts.append(str(_slot_text(part, value, content, language, tag)))
    return Markup("".join(texts))  # each part is escaped above


def value_of(slot: Slot, year: int, content: Content) -> Value | None:
    """Return the value that a slot stands for in a year; None when there is none, or several and no basis is named."""
    service = slot.service or next(iter(content.services.get(slot.figure_id, ())), "")
    bases = [slot.basis] if slot.basis else content.bases.get((slot.figure_id, service, year), [])
    found = [
        content.values[key] for basis in bases if (key := (slot.figure_id, service, year, basis)) in content.values
    ]
    return found[0] if len(found) == 1 else None


def _slot_text(slot: Slot, value: Value, content: Content, language: Language, tag: Tag) -> Markup:
    number, qualifier, decimals = content.stated(value)
    if number is None:
        return Markup(NO_VALUE)
    written = content.form(slot.figure_id, language.code, decimals)
    forms = dict(slot.forms)
    for name in ("choose", "met"):
        if name in forms:
            return Markup(escape(_chosen(name, forms[name], number, value, content)))
    text = _formed(forms, number, qualifier, written, language)
    return tag(value.key, "+".join(forms) or "stated", text[:1].upper() + text[1:] if "capital" in forms else text)


def _formed(forms: Mapping[str, str], number: Decimal, qualifier: str, written: Form, language: Language) -> str:
    """Return a number in the forms of a slot."""
    if inflected := next((name for name in forms if name in language.forms.get(written.unit, {})), ""):
        nearly = f"{written.qualifier(qualifier)} " if qualifier == "nearly" else ""
        return nearly + language.inflected(inflected, number, written)
    if "fraction" in forms and (word := language.fraction(number)):
        prefix = written.qualifier(qualifier if qualifier != "about" or "about" in forms else "exact")
        return f"{prefix} {word}" if prefix else word
    if "nearly" in forms and qualifier == "about":
        return written.write(number, "nearly")
    if "bare" in forms:
        return written.number(number)
    if "size" in forms:
        return replace(written, is_signed=False).write(abs(number), qualifier)
    return written.write(number, "exact" if "value" in forms else qualifier)


def _chosen(name: str, argument: str, number: Decimal, value: Value, content: Content) -> str:
    texts = [text.strip() for text in argument.split("/")]
    if name == "choose":
        return texts[0 if number < 0 else 1 if number == 0 else 2]
    figure, service, year, _ = value.key
    target = content.targets.get((figure, service, year))
    return texts[0 if target is not None and is_met(value, target["shown"], target["comparison"]) else 1]


def is_met(value: Value, target: Decimal, comparison: str) -> bool:
    """Tell whether a value as shown meets a target, the target itself included."""
    if value.shown is None:
        return False
    return value.shown >= target if comparison == "at_least" else value.shown <= target


def typed_numbers(
    sentences: Sentences, content: Content, year: int, language: Language
) -> Iterator[tuple[Place, str, Key]]:
    """Yield each number typed into managers' own text that is that of a figure of its section, with place and key."""
    for (of_year, code, section), blocks in sorted(sentences.of_years.items()):
        if of_year != year or code != language.code:
            continue
        written = _written_in(content, section, year, language)
        for block in blocks:
            for text in (part for part in block.parts if isinstance(part, str)):
                for found in _NUMBER.finditer(text):
                    if key := written.get(_bare(found[0])):
                        yield block.place, found[0].strip(), key


def _written_in(content: Content, section: str, year: int, language: Language) -> dict[str, Key]:
    """Return how the figures of a section are written, apart from one-digit numbers, which stand for much else."""
    found: dict[str, Key] = {}
    for line in content.lines.get(section, []):
        for basis in content.bases.get((line["figure_id"], line["service"], year), []):
            value = content.values[line["figure_id"], line["service"], year, basis]
            number, _, decimals = content.stated(value)
            if number is None:
                continue
            form = content.form(line["figure_id"], language.code, decimals)
            for text in (form.write(number), form.write(value.shown), form.number(abs(number))):
                if len(re.sub(r"\D", "", text)) > 1:
                    found.setdefault(_bare(text), value.key)
    return found


def _bare(text: str) -> str:
    return re.sub(r"[\s\u00a0+\u2212-]", "", text)


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
        return Markup(str.format(escape(self.labels[label]), **{name: escape(value) for name, value in marked.items()}))

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
