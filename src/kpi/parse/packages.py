"""The packages of a project: what `dbt deps` left in dbt_packages/, and those that packages.yml has beside it.

A package is a dbt project itself. Its models, seeds, tests and macros are built with the project's, which has the last
word on its settings and variables.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kpi.base.errors import ConfigError
from kpi.base.yamlfile import Section, read_yaml
from kpi.parse.files import folder_problem
from kpi.parse.strictness import renamed_keys

PATHS = {
    **{"model": "models", "seed": "seeds", "macro": "macros", "test": "tests"},
    **{"snapshot": "snapshots", "analysis": "analyses"},
}
LISTS = ("packages.yml", "dependencies.yml")
_INSTALLED = ("dbt_packages", "dbt_modules")


@dataclass(frozen=True, slots=True)
class Package:
    """A dbt project: the one that is built, or one of its packages. `folder` is relative to the one that is built."""

    name: str
    folder: Path
    settings: Section

    @property
    def depth(self) -> int:
        """How many parts of the paths of its files lie before those below its own folder of models."""
        return len(self.folder.parts) + 1

    def folders(self, root: Path, kind: str) -> tuple[Path, ...]:
        """The folders of one kind, relative to the project. Raises ConfigError for folders of models not there."""
        key = f"{kind}-paths"
        folders = tuple(Path(folder) for folder in self.settings.strings(key) or (PATHS.get(kind, kind),))
        for folder in folders:
            if problem := folder_problem(root / self.folder, folder):
                raise ConfigError(f"{self.settings.where(key)}: '{key}' names {folder}, which {problem}.")
            # dbt's own starter names folders that a project need not have; those that hold models it does.
            is_own = self.folder == Path()
            if is_own and kind == "model" and key in self.settings and not (root / folder).is_dir():
                raise ConfigError(f"{self.settings.where(key)}: '{key}' names {folder}, which is no folder.")
        return tuple(self.folder / folder for folder in folders)

    def variables(self, packages: Mapping[str, Package]) -> dict[str, Any]:
        """The variables of its dbt_project.yml for its own files: those below its name win over those for all."""
        given = self.settings.section("vars")
        own = given.get(self.name)
        others = {name for name in (self.name, *packages) if isinstance(given.get(name), Section)}
        everywhere = {key: value for key, value in given.items() if key not in others}
        return {**everywhere, **(own if isinstance(own, Section) else {})}

    def variables_for(self, package: str) -> dict[str, Any]:
        """The variables it gives the files of one of its packages."""
        given = self.settings.section("vars").get(package)
        return dict(given) if isinstance(given, Section) else {}


def packages_of(root: Path, settings: Section) -> dict[str, Package]:
    """Return the packages of a project by name, in that order. Raises ConfigError for one that cannot be read."""
    installed = settings.text("packages-install-path")
    if installed and (problem := folder_problem(root, Path(installed))):
        raise ConfigError(f"{settings.where('packages-install-path')}: {installed} {problem}.")
    found: dict[str, Package] = {}
    for place in (installed,) if installed else _INSTALLED:
        for file in sorted((root / place).glob("*/dbt_project.yml")):
            _add(found, root, file.parent)
    todo = [root, *(root / package.folder for package in found.values())]
    while todo:
        for folder in list(_local(todo.pop())):
            if (folder / "dbt_project.yml").is_file() and folder.resolve() != root:
                package = _add(found, root, folder)
                todo += [folder] if package else []
    return dict(sorted(found.items()))


def asks_for(root: Path, package: str) -> bool:
    """Whether a list of packages has one of that name."""
    last = rf"[/\s\"']{package}(\.git)?[\"']?\s*$"
    files = [root / name for name in LISTS]
    return any(file.is_file() and re.search(last, file.read_text("utf-8"), re.M) is not None for file in files)


def _add(found: dict[str, Package], root: Path, folder: Path) -> Package | None:
    here = Path(os.path.relpath(folder, root))
    settings = read_yaml(folder / "dbt_project.yml", here / "dbt_project.yml")
    list(renamed_keys(settings))
    name = settings.required("name")
    if name in found:
        return None
    found[name] = Package(name, here, settings)
    return found[name]


def _local(folder: Path) -> Iterator[Path]:
    """The folders that a list of packages names."""
    for name in LISTS:
        if (folder / name).is_file():
            items = read_yaml(folder / name, Path(name)).get("packages")
            for item in items if isinstance(items, list) else ():
                local = item.get("local") if isinstance(item, Section) else None
                if isinstance(local, str) and "{" not in local:
                    yield Path(os.path.normpath(folder / local))
