"""The steps of a guide, as its page has them: files to write or to add to, and commands to run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from kpi.cli.main import cli

GUIDES = Path(__file__).parents[2] / "docs/guides"
_STEP = re.compile(
    r"(?P<verb>Write|Add to)\s+`(?P<file>[^`]+)`(?:, below `(?P<line>[^`]+)`)?:\n\n```\w+\n(?P<text>.*?)```\n"
    r"|```sh\n(?P<commands>.*?)```\n",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Step:
    """What a page asks for: a file to write or to add to, at its end or below a line; or commands to run."""

    file: str = ""
    text: str = ""
    is_new: bool = False
    below: str = ""
    commands: tuple[str, ...] = ()


def steps(page: str) -> Iterator[Step]:
    """The steps of a guide, in its order."""
    text = (GUIDES / page).read_text(encoding="utf-8")
    for found in _STEP.finditer(text):
        if found["commands"]:
            yield Step(commands=tuple(found["commands"].splitlines()))
        else:
            yield Step(found["file"], found["text"], found["verb"] == "Write", found["line"] or "")


def follow(root: Path, page: str) -> list[str]:
    """Do what a page says; return the files it touched."""
    touched = []
    for step in steps(page):
        for command in step.commands:
            program, *arguments = shlex.split(command)
            assert program == "kpi"
            result = CliRunner().invoke(cli, [*arguments, "--project-dir", str(root)], catch_exceptions=False)
            assert result.exit_code == 0, result.output
            assert "kpi test" not in command or " 0 failed" in result.output, result.output
        if not step.file:
            continue
        file = root / step.file
        touched.append(step.file)
        if step.is_new:
            assert not file.exists(), step.file
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(step.text, encoding="utf-8")
        elif step.below:
            text = file.read_text(encoding="utf-8")
            assert text.count(f"{step.below}\n") == 1, step
            file.write_text(text.replace(f"{step.below}\n", f"{step.below}\n{step.text}"), encoding="utf-8")
        else:
            with file.open("a", encoding="utf-8") as stream:
                stream.write(step.text)
    return touched
