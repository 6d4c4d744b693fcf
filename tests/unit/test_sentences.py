"""Sentences of the report: what is no slot is an error with its line, and each form is what a reader of it expects."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from markupsafe import Markup, escape

from kpi.errors import ConfigError
from kpi.site.content import Content, Value
from kpi.site.sentences import Sentences, check_sentences, parse, read_language, read_sentences, render, typed_numbers

FILE = Path("report/fi/safety.md")
UNITS = {"change_pct": "percent", "wait": "seconds", "nps": "points", "users": "persons", "share": "percent"}
SERVICES = {
    "change_pct": ["rescue"],
    "wait": ["health", "social"],
    "nps": ["health"],
    "users": ["app"],
    "share": ["all"],
}


def content(**values: str) -> Content:
    """A build of 2025 with these values as shown, of one service each."""
    found = Content(services=dict(SERVICES))
    for figure, unit in UNITS.items():
        decimals = "1" if figure == "change_pct" else "0"
        found.figures[figure] = {"figure_id": figure, "unit": unit, "decimals": decimals, "shown_sign": figure == "nps",
                                 "shown_as": "floor_1000" if figure == "users" else "exact"}  # fmt: skip
    for figure, shown in values.items():
        key = (figure, SERVICES[figure][0], 2025, "calendar_year")
        found.values[key] = Value(key, Decimal(shown))
        found.bases[key[:3]] = ["calendar_year"]
    return found


def said(text: str, build: Content, language: str = "fi", year: int = 2025) -> list[str | None]:
    blocks = [block for block in parse(text, FILE) if block.is_of(year)]
    texts = [
        render(block, year, build, read_language(language), lambda key, form, text: escape(text)) for block in blocks
    ]
    return [None if text is None else text.unescape().replace("\u00a0", " ") for text in texts]


@pytest.mark.parametrize(
    ("slot", "language", "expected"),
    [
        ("{change_pct|adessive}", "fi", "8,5 %:lla"),
        ("{change_pct}", "fi", "−8,5 %"),
        ("{change_pct|size}", "en", "8.5%"),
        ("{change_pct|choose: laski / pysyi / nousi}", "fi", "laski"),
        ("{wait.health|inessive}", "fi", "7 minuutissa ja 11 sekunnissa"),
        ("{wait.health|words}", "sv", "7 minuter och 11 sekunder"),
        ("{wait.health|words}", "en", "7 minutes and 11 seconds"),
        ("{wait.health}", "fi", "7 min 11 s"),
        ("{nps|words}", "fi", "yhden pisteen"),
        ("{nps}", "fi", "+1"),
        ("{users}", "fi", "yli 70 000"),
        ("{users|value}", "en", "70,000"),
        ("{share|fraction|capital}", "fi", "Puolet"),
        ("{share|fraction}", "en", "half"),
        ("{year} {previous_year}", "fi", "2025 2024"),
    ],
)
def test_a_slot_is_written_in_its_form(slot: str, language: str, expected: str) -> None:
    build = content(change_pct="-8.50", wait="431", nps="1", users="70412", share="49")
    assert said(slot, build, language) == [expected]


def test_a_sentence_is_of_its_years_and_left_out_without_its_numbers() -> None:
    build = content(nps="3")
    text = "- [2024] Vanha.\n- [2025-] Uusi {nps|words}.\n- [-2024] Ennen.\n- Ilman {share}.\n\n> Lainaus\njatkuu.\n"
    assert said(text, build) == ["Uusi kolme pistettä.", None, "Lainaus jatkuu."]


def test_what_a_sentence_says_shows_as_text() -> None:
    def tag(key: object, form: str, text: str) -> Markup:
        return Markup("<i>{}</i>").format(text)

    (block,) = parse("<b>& {nps}", FILE)
    assert render(block, 2025, content(nps="3"), read_language("fi"), tag) == "&lt;b&gt;&amp; <i>+3</i>"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{nsp}", "there is no figure 'nsp'. Did you mean 'nps'?"),
        ("{wait.helth}", "'wait' has no service 'helth'. Did you mean 'health'?"),
        ("{wait}", "'wait' has several services: write {wait.health}."),
        ("{nps|adesive}", "there is no form 'adesive' of points in fi."),
        ("{nps|adessive}", "there is no form 'adessive' of points in fi."),
        ("{nps|choose: a / b}", "'choose' has three texts"),
        ("{nps|met: a}", "'met' has two texts"),
    ],
)
def test_a_misspelt_slot_is_a_mistake_with_its_line(text: str, message: str) -> None:
    sentences = Sentences({("fi", "safety"): tuple(parse(f"# Otsikko\n\n- Ensin.\n- Sitten {text}.\n", FILE))}, {})
    (mistake,) = check_sentences(sentences, UNITS, SERVICES, ["safety"])
    assert str(mistake).startswith("report/fi/safety.md:4: ")
    assert message in str(mistake)


@pytest.mark.parametrize("text", ["{nps", "nps}", "{nps|choose: {year} / b / c}", "{a b}"])
def test_a_brace_that_is_no_slot_is_a_mistake_with_its_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"report/fi/safety\.md:2: "):
        list(parse(f"\n- {text}\n", FILE))


def test_a_file_of_no_section_or_language_is_a_mistake(tmp_path: Path) -> None:
    sentences = Sentences({("fi", "saftey"): tuple(parse("- Teksti.", FILE))}, {})
    (mistake,) = check_sentences(sentences, UNITS, SERVICES, ["safety"])
    assert "the report has no section 'saftey'. Did you mean 'safety'?" in str(mistake)
    (tmp_path / "report/se").mkdir(parents=True)
    (tmp_path / "report/se/safety.md").write_text("- Text.")
    with pytest.raises(ConfigError, match=r"report/se/safety\.md: sentences lie in"):
        read_sentences(tmp_path)


def test_managers_text_goes_after_the_general_and_a_typed_number_of_a_figure_is_told(tmp_path: Path) -> None:
    for path, text in (("fi", "- Arvo {nps}.\n"), ("2025/fi", "- Odotus oli 7 min 11 s ja pisteet 1.\n")):
        (tmp_path / "report" / path).mkdir(parents=True)
        (tmp_path / "report" / path / "safety.md").write_text(text, encoding="utf-8")
    sentences = read_sentences(tmp_path)
    assert [block.place.file for block in sentences.of("safety", 2025, "fi")] == [
        *("report/fi/safety.md", "report/2025/fi/safety.md")
    ]
    assert len(sentences.of("safety", 2024, "fi")) == 1
    build = content(nps="1", wait="431")
    build.lines["safety"] = [{"figure_id": figure, "service": SERVICES[figure][0]} for figure in ("nps", "wait")]
    found = list(typed_numbers(sentences, build, 2025, read_language("fi")))
    assert [(str(place), text) for place, text, _ in found] == [("report/2025/fi/safety.md:1", "7 min 11 s")]
