"""The profile of dbt that a project has: which DuckDB files it names, where sources that another tool loaded stand.

kpi builds elsewhere, so nothing else of a profile has a meaning here but the name of its target, when one is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kpi.base.errors import ConfigError, nearest
from kpi.base.yamlfile import Section, read_yaml

PROFILES = "profiles.yml"
_IN_MEMORY = (":memory:", "")


@dataclass(frozen=True, slots=True)
class Profile:
    """What a profile's target names: the file that dbt builds in, and the files by the names of their databases.

    Paths are as written, and relative to the project. `file` is the profile's own, empty when there is none; `problem`
    says why it could not be read.
    """

    path: str = ""
    databases: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    problem: str = ""


def read_profile(root: Path, name: str, target: str, fill: Callable[[Section], Section]) -> Profile:
    """Read the profile `name` of profiles.yml, from where dbt has it: DBT_PROFILES_DIR, the project's folder, ~/.dbt.

    `target` is the one asked for; without it the profile's own. `fill` renders the Jinja of a section's values. Raises
    ConfigError for a target that was asked for and is not there.
    """
    folder = next((one for one in _folders(root) if (one / PROFILES).is_file()), None)
    if folder is None:
        return Profile()
    shown = Path(PROFILES) if folder == root else folder / PROFILES
    outputs, usual = _outputs(read_yaml(folder / PROFILES, shown), name, fill)
    if target and outputs and target not in outputs:
        told = f"--target: the profile '{name}' in {shown} has no target '{target}'.{nearest(target, outputs)}"
        raise ConfigError(told)
    output = outputs.get(target or usual)
    if not isinstance(output, Section) or output.get("type") != "duckdb":
        return Profile(file=str(shown))
    output = fill(_only(output, ("path", "database", "attach")))
    path = output.text("path")
    found = {} if path in _IN_MEMORY else {_database(path): path}
    for item in output.get("attach") or ():
        if isinstance(item, Section) and str(item.get("type") or "duckdb") == "duckdb":
            found[item.text("alias") or _database(item.required("path"))] = item.required("path")
    files = {database: file for database, file in found.items() if "://" not in file and ":" not in file[:3]}
    return Profile(files.get(_database(path), ""), files, str(shown))


def _folders(root: Path) -> list[Path]:
    named = os.environ.get("DBT_PROFILES_DIR")
    return [*([Path(named).expanduser().absolute()] if named else []), root, Path.home() / ".dbt"]


def _outputs(profiles: Section, name: str, fill: Callable[[Section], Section]) -> tuple[dict[str, Any], str]:
    profile = profiles.get(name)
    if not isinstance(profile, Section):
        return {}, ""
    usual = fill(_only(profile, ("target",))).get("target")
    return dict(profile.section("outputs")), str(usual or "default")


def _only(section: Section, keys: tuple[str, ...]) -> Section:
    """A copy of a section with some of its keys: what is not asked for needs no value of the environment."""
    part = Section(section.file, section.line)
    for key in keys:
        if key in section:
            part[key], part.lines[key] = section[key], section.lines[key]
    return part


def _database(path: str) -> str:
    """The name that DuckDB gives a database by its file."""
    return Path(path).name.split(".")[0]
