"""What files are rendered with besides themselves: macros, variables, the environment; to tell which of them changed.

Only for telling: what is rebuilt follows from the compiled SQL.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi.base.environment import environment_of, hashed_values

if TYPE_CHECKING:
    from kpi.parse.project import Project

_MACRO = re.compile(r"\{%-?\s*(macro|test|data_test)\s+(\w+).*?\{%-?\s*end\1\s*[+-]?%\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Ingredients:
    """Hashes of the project's macros and variables, and of the variables of the environment that were read, by name."""

    macros: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Ingredients:
        """Return what a build was made with, from its facts."""
        return cls(**{name: facts.get("ingredients", {}).get(name, {}) for name in cls.__slots__})

    def difference(self, then: Ingredients, project: Project, file: Path) -> str:
        """Say which macro or variable that a file uses, or asks the environment for, changed; empty when none did."""
        from kpi.parse.project import read_text

        texts = _macros(project)
        words = _words(_all_used(read_text(project.root, file), texts))
        changed = [
            f"the {what} {name} changed"
            for what, now, before in (
                ("macro", self.macros, then.macros),
                ("variable", self.variables, then.variables),
                ("environment variable", self.environment, then.environment),
            )
            for name in sorted({*now, *before})
            if now.get(name) != before.get(name) and name in words
        ]
        return "; ".join(changed)


def ingredients_of(project: Project, read: Iterable[str] = ()) -> Ingredients:
    """Return what files are rendered with now; `read` are the names of variables of the environment."""
    return Ingredients(
        macros={name: _hash(text) for name, text in _macros(project).items()},
        variables={name: _hash(hashed_values(repr(value), project.root)) for name, value in project.variables.items()},
        environment=environment_of(read, project.root),
    )


def _macros(project: Project) -> dict[str, str]:
    from kpi.parse.project import read_text  # not at the top: a refresh with nothing to do never gets here

    return {
        found[2]: found[0] for file in project.macro_files for found in _MACRO.finditer(read_text(project.root, file))
    }


def _all_used(text: str, macros: Mapping[str, str]) -> str:
    """The text with the texts of all macros that it names, and that those name."""
    used: set[str] = set()
    while found := (_words(text) & set(macros)) - used:
        used |= found
        text += "\n".join(macros[name] for name in sorted(found))
    return text


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
