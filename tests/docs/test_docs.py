"""The documentation is true: its links lead somewhere, what it names exists, and what there is it describes."""

from __future__ import annotations

import csv
import importlib.util
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from docs.generate import DESCRIPTIONS, DOCS, PAGES
from kpi.cli.main import cli
from once import ROOT

WRITTEN = tuple(sorted(path for path in DOCS.rglob("*.md") if "decisions" not in path.parts))
ALL = (ROOT / "README.md", ROOT / "warehouse/README.md", *sorted(DOCS.rglob("*.md")))
CODE = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "src/kpi").rglob("*.py")))
# What the words of house.md replaced; in names of expectations and columns they stay.
REPLACED = re.compile(r"\b(?:told|tell of|tells of|judged?|judges|judging|worth telling|tidings)\b", re.IGNORECASE)


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`|\]\([^)]*\)", "", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_what_would_be_generated_now(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run: make docs, and look at the difference"


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    found: dict[str, int] = {}
    for title in re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
        slug = "".join(letter for letter in plain.replace(" ", "-") if letter.isalnum() or letter in "-_")
        found[slug if slug not in found else f"{slug}-{found[slug]}"] = 1
    return set(found)


@pytest.mark.parametrize("page", ALL, ids=named)
def test_every_link_leads_to_a_file_and_a_heading_of_it(page: Path) -> None:
    dead = []
    for target in re.findall(
        r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    ):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            dead.append(target)
    assert dead == []


def test_every_page_is_in_the_index() -> None:
    index = DOCS / "README.md"
    linked = {(DOCS / name).resolve() for name in re.findall(r"\]\(([^)#\s]+)", index.read_text(encoding="utf-8"))}
    assert set(WRITTEN) - {index} <= linked


def modules(text: str) -> Iterator[str]:
    """The modules that a page names: `kpi.package.module`, and paths below src/kpi."""
    packages = "|".join(sorted(path.parent.name for path in (ROOT / "src/kpi").glob("*/__init__.py")))
    yield from re.findall(rf"(?<![\w.-])(kpi\.(?:{packages})(?:\.[a-z_]+)*)", text)
    for path in re.findall(r"\bsrc/(kpi/[\w/]+)(?:\.py)?\b", text):
        yield path.replace("/", ".")


@pytest.mark.parametrize("page", [ROOT / "README.md", *WRITTEN], ids=named)
def test_every_module_that_a_page_names_exists(page: Path) -> None:
    for module in modules(page.read_text(encoding="utf-8")):
        assert importlib.util.find_spec(module) is not None, module


def test_the_page_on_the_engine_names_a_module_for_every_step() -> None:
    assert len(set(modules((DOCS / "concepts/how-the-engine-works.md").read_text(encoding="utf-8")))) > 25


@pytest.mark.parametrize("page", [ROOT / "README.md", *WRITTEN], ids=named)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    names = re.findall(r"`((?:src|tests|seeds|models|macros|docs|demo|benchmarks)/[\w./]+\.\w+)`", text)
    # What a guide writes, step by step, is its example: tests/docs/test_add_a_figure.py follows it.
    written = set(re.findall(r"Write\s+`([^`]+)`", text))
    assert [name for name in names if name not in written and not (ROOT / name).exists()] == []


def test_messages_and_comments_name_pages_that_exist() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "macros").rglob("*.sql")]
    texts += [(ROOT / name).read_text(encoding="utf-8") for name in ("Makefile", "dbt_project.yml", "profiles.yml")]
    texts += [path.read_text(encoding="utf-8") for path in (ROOT / "models").rglob("*.yml")]
    for name in re.findall(r"\bdocs/[\w./-]+\.md", "\n".join([CODE, *texts])):
        assert (ROOT / name).exists(), name


def test_every_option_has_a_help_text() -> None:
    def walk(command: click.Command) -> Iterator[click.Parameter]:
        yield from command.params
        for inner in command.commands.values() if isinstance(command, click.Group) else ():
            yield from walk(inner)

    assert [option.opts for option in walk(cli) if isinstance(option, click.Option) and not option.help] == []


def test_every_key_of_meta_and_variable_of_the_environment_is_one_that_the_program_reads() -> None:
    words = yaml.safe_load(DESCRIPTIONS.read_text(encoding="utf-8"))
    assert [key for key in words["meta"] if f'"{key}"' not in CODE] == []
    assert set(re.findall(r'"(KPI_[A-Z_]+|DBT_[A-Z]+_DIR)"', CODE)) == set(words["environment"])


def test_every_figure_of_any_seed_is_described_and_every_described_one_is_in_the_seeds() -> None:
    text = (DOCS / "reference/figures.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^\| `([a-z0-9_]+)` \|", text.partition("## Marts")[0], re.MULTILINE))
    used: dict[str, set[str]] = {}
    for path in (ROOT / "seeds").glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        if rows and "figure_id" in rows[0]:
            used[path.stem] = {row["figure_id"] for row in rows}
    assert used["figures"] == described
    assert {name: found - described for name, found in used.items() if found - described} == {}


OF_THE_PROJECT = ("figures.md", "feeds.md")  # their words are those of the seeds and of the models' YAML


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *(page for page in WRITTEN if page.name not in OF_THE_PROJECT)], ids=named
)
def test_pages_speak_of_refreshes_validation_and_warnings(page: Path) -> None:
    assert REPLACED.findall(without_code(page.read_text(encoding="utf-8"))) == []


def test_the_list_of_commands_says_of_each_what_it_does_without_being_cut() -> None:
    assert "..." not in CliRunner().invoke(cli, ["--help"], terminal_width=80).output.partition("Commands:")[2]


def test_help_texts_speak_of_refreshes_validation_and_warnings() -> None:
    def walk(command: click.Command) -> Iterator[str]:
        yield inspect.cleandoc(command.help or "")
        yield from (option.help or "" for option in command.params if isinstance(option, click.Option))
        for inner in command.commands.values() if isinstance(command, click.Group) else ():
            yield from walk(inner)

    assert REPLACED.findall("\n".join(walk(cli))) == []


@pytest.mark.parametrize("page", [ROOT / "README.md", *WRITTEN], ids=named)
def test_every_target_of_make_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = page.read_text(encoding="utf-8")
    named_targets = set(re.findall(r"(?:`|^ {4}|&& )(?:[A-Z_]+=\S+ )?make ([a-z-]+)", text, re.MULTILINE))
    assert named_targets <= targets
