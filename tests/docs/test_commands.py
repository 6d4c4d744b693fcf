"""The commands that README and docs show are those that there are, and the first one prints the indicators."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from kpi.cli.main import cli
from once import ROOT

# Not commands.md, which is generated from the commands themselves.
PAGES = (
    ROOT / "README.md",
    *sorted(
        page
        for folder in ("guides", "concepts", "reference")
        for page in (ROOT / "docs" / folder).glob("*.md")
        if page.name != "commands.md"
    ),
    ROOT / "Makefile",
)
SHOWN = re.compile(r"(?:^|[`/ ])kpi ((?:[a-z]|--)[^`\n]*)", re.MULTILINE)


def shown() -> set[tuple[str, ...]]:
    """Each command that a page shows in code, as its words: of its own line or between backquotes."""
    found = set()
    for page in PAGES:
        # A query may go on in the next line.
        text = re.sub(r'(kpi query "[^"\n]*)\n +', r"\1 ", page.read_text(encoding="utf-8"))
        code = re.findall(r"^(?: {4}|\t@?).*$", text, re.MULTILINE) + re.findall(r"`[^`\n]+`", text)
        for line in code:
            for words in SHOWN.findall(line):
                # Two blanks begin what is said of it.
                message = (
                    words.split("  ")[0].split(";")[0].split(" && ")[0].split(" || ")[0].split(" # ")[0].rstrip(",.)|")
                )
                try:
                    found.add(tuple(shlex.split(message)))
                except ValueError:
                    continue
    return found


@pytest.mark.parametrize("words", sorted(shown()), ids=" ".join)
def test_a_command_that_is_shown_exists_with_its_options(words: tuple[str, ...]) -> None:
    command: click.Command = cli
    rest = list(words)
    while isinstance(command, click.Group) and rest and rest[0] in command.commands:
        command = command.commands[rest.pop(0)]
    assert command is not cli or rest[:1] == ["--help"], f"there is no command {words[0]}"
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help", "-h"}
    options = {word.partition("=")[0] for word in rest if re.fullmatch(r"--[a-z][a-z-]*(=.*)?", word)}
    assert options <= known


def test_there_are_many_of_them() -> None:
    assert len(shown()) > 30


def test_no_command_hides_another() -> None:
    assert cli.commands["show"].help is not None
    assert "every figure" in cli.commands["show"].help
    assert all(command.name == name for name, command in cli.commands.items())


def test_show_prints_every_indicator_beside_its_printed_value(demo_project: Path) -> None:
    result = CliRunner().invoke(cli, ["show", "--project-dir", str(demo_project)])
    assert result.exit_code == 0
    assert "47 printed figures: 47 reproduced" in result.output
