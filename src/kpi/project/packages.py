"""The files of a dbt project, of its packages and its profile, found as dbt finds them, and how strictly they are read.

A package is a dbt project itself. Its models, seeds, tests and macros are built with the project's, which has the last
word on its settings and variables.

kpi builds elsewhere, so nothing else of a profile has a meaning here but the name of its target, when one is asked for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kpi.errors import CompileError, ConfigError, KpiError, nearest
from kpi.files import is_release
from kpi.yaml_loader import Section, read_yaml

# Hears of something that is wrong, or only without use.
Emit = Callable[[KpiError], None]
# Settings of dbt_project.yml that dbt has given other names.
_OLD_KEYS = {"source-paths": "model-paths", "data-paths": "seed-paths", "modules-path": "packages-install-path"}


@dataclass(slots=True)
class Diagnostics:
    """Sorts what is found in the files of a project into `mistakes` and `notes`; strict in one with house rules.

    dbt passes over what it does not know, and so does a project of others here, with a note. In a project that asks
    for house rules it is a slip of the pen.
    """

    is_strict: bool
    mistakes: list[KpiError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def emit(self, error: KpiError, instead: str = "Nothing is done with it.") -> None:
        """Note something that dbt passes over; the note says what is done `instead`."""
        if self.is_strict:
            self.mistakes.append(error)
        else:
            self.notes.append(f"{error} {instead}")


def has_house_rules(settings: Section) -> bool:
    """Tell whether dbt_project.yml asks for `meta: {house_rules: true}` anywhere among its models or seeds."""
    return any(isinstance(settings.get(tree), Section) and _asks(settings[tree]) for tree in ("models", "seeds"))


def _asks(level: Section) -> bool:
    for key, value in level.items():
        if not isinstance(value, Section):
            continue
        if key.removeprefix("+") == "meta":
            if value.get("house_rules") is True:
                return True
        elif _asks(value):
            return True
    return False


def renamed_keys(settings: Section) -> Iterator[str]:
    """Give settings that dbt has renamed their new names, and tell of each. Raises ConfigError when both are there."""
    for old, new in _OLD_KEYS.items():
        if old not in settings:
            continue
        where = settings.where(old)
        if new in settings:
            raise ConfigError(f"'{old}' is the old name of '{new}', which is here too. Leave '{old}' out.", where)
        settings[new], settings.lines[new] = settings.pop(old), settings.lines.pop(old)
        yield f"{where}: '{old}' is the old name of '{new}'."


# More than any project has: what names a whole disk is refused, and not read for hours.
MOST_ENTRIES, MOST_BYTES = 200_000, 4_000_000
_HIDDEN = ".#~"
_BLANK = 4096  # bytes; a longer file is not only blanks


def files_in(root: Path, folders: Sequence[Path], suffix: str) -> list[tuple[Path, Path]]:
    """Every file with the suffix, relative to the project, with the folder it was looked for in; in path order.

    As dbt has it: whatever the case of the suffix, in folders that are links too, and not those that editors and
    people hide by a first character. Raises CompileError for a link that leads out of the project.
    """
    folder_by_path = {
        path.relative_to(root): folder
        for folder in folders
        for path in _below(root, root / folder)
        if path.suffix.lower() == suffix and path.name[0] not in _HIDDEN and path.is_file()
    }
    for path, folder in folder_by_path.items():
        if (root / path).is_symlink() and not _is_within(root / path, root, root / folder):
            raise _leads_out(path)
    return sorted(folder_by_path.items())


def folder_problem(base: Path, folder: Path) -> str:
    """Say why files may not be looked for in a folder that the project in `base` names; empty when they may.

    A project that names /etc, or a link to it, would have its files read and quoted.
    """
    if not _is_within(base / folder, base):
        return "lies outside the project. Copy what is needed into the project"
    entries = 0
    for _, folders, names in os.walk(base / folder):
        entries += len(folders) + len(names)
        if entries > MOST_ENTRIES:
            return f"holds more than {MOST_ENTRIES} files. Name the folder that has the project's alone"
    return ""


def _below(root: Path, folder: Path) -> Iterator[Path]:
    """Every file in a folder and in those below it; each folder once, should a link lead back to it."""
    visited = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        place = os.path.realpath(here)
        if place in visited:
            folders.clear()
            continue
        # A package beside the project may be a link itself, as dbt makes one of a local package.
        if not _is_within(Path(place), root, folder):
            raise _leads_out(Path(here).relative_to(root))
        visited.add(place)
        if is_release(Path(here), names):  # text in git, and neither a seed nor properties
            folders.clear()
            continue
        folders.sort()
        yield from (Path(here, name) for name in names)


def _is_within(path: Path, *folders: Path) -> bool:
    """Whether a path, wherever links lead, is one of the folders or within it."""
    try:
        real = path.resolve()
        return any(real.is_relative_to(folder.resolve()) for folder in folders)
    except (OSError, RuntimeError):  # a link to itself
        return False


def _leads_out(path: Path) -> CompileError:
    return CompileError(path, 0, "a link that leads out of the project. Copy what it leads to into the project.")


def read_text(root: Path, file: Path) -> str:
    """Read a text file of the project. Raises CompileError when it is not UTF-8."""
    try:
        if file.suffix.lower() != ".csv" and (root / file).stat().st_size > MOST_BYTES:
            raise CompileError(file, 1, f"a file of more than {MOST_BYTES} bytes. Split it.")
        return (root / file).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise CompileError(file, line, f"not UTF-8 ({error.reason} at byte {error.start}).") from None


def is_blank(root: Path, file: Path) -> bool:
    """Tell whether there is nothing in a file: then dbt passes over it."""
    return (root / file).stat().st_size < _BLANK and not read_text(root, file).strip()


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

    def notes_of(self, root: Path) -> Iterator[str]:
        """A line for each folder of models that is named and not there; dbt passes over it."""
        for folder in self._without_folder(root):
            where = self.settings.where("model-paths")
            yield f"{where}: 'model-paths' names {folder}, which is no folder. No models are read from it."

    def _without_folder(self, root: Path) -> list[Path]:
        model_paths = (
            self.settings.strings("model-paths") if self.folder == Path() and "model-paths" in self.settings else ()
        )
        return [Path(folder) for folder in model_paths if not (root / folder).is_dir()]

    def folders(self, root: Path, kind: str) -> tuple[Path, ...]:
        """The folders of one kind, relative to the project. Raises ConfigError for what is none."""
        key = f"{kind}-paths"
        folders = tuple(Path(folder) for folder in self.settings.strings(key) or (PATHS.get(kind, kind),))
        for folder in folders:
            if problem := folder_problem(root / self.folder, folder):
                raise ConfigError(f"'{key}' names {folder}, which {problem}.", self.settings.where(key))
            # dbt's own starter names folders that a project need not have; those that hold models it does.
            if kind == "model" and folder in self._without_folder(root) and has_house_rules(self.settings):
                raise ConfigError(f"'{key}' names {folder}, which is no folder.", self.settings.where(key))
        return tuple(self.folder / folder for folder in folders)

    def variables(self, packages: Mapping[str, Package]) -> dict[str, Any]:
        """The variables of its dbt_project.yml for its own files: those below its name win over those for all."""
        variables = self.settings.section("vars")
        own = variables.get(self.name)
        others = {name for name in (self.name, *packages) if isinstance(variables.get(name), Section)}
        everywhere = {key: value for key, value in variables.items() if key not in others}
        return {**everywhere, **(own if isinstance(own, Section) else {})}

    def variables_for(self, package: str) -> dict[str, Any]:
        """The variables it gives the files of one of its packages."""
        variables = self.settings.section("vars").get(package)
        return dict(variables) if isinstance(variables, Section) else {}


def packages_of(root: Path, settings: Section) -> dict[str, Package]:
    """Return the packages of a project by name, in that order. Raises ConfigError for one that cannot be read."""
    installed = settings.text("packages-install-path")
    if installed and (problem := folder_problem(root, Path(installed))):
        raise ConfigError(f"{installed} {problem}.", settings.where("packages-install-path"))
    packages: dict[str, Package] = {}
    for place in (installed,) if installed else _INSTALLED:
        for file in sorted((root / place).glob("*/dbt_project.yml")):
            _add(packages, root, file.parent)
    todo = [root, *(root / package.folder for package in packages.values())]
    while todo:
        for folder in list(_local(todo.pop())):
            if (folder / "dbt_project.yml").is_file() and folder.resolve() != root:
                package = _add(packages, root, folder)
                todo += [folder] if package else []
    return dict(sorted(packages.items()))


def asks_for(root: Path, package: str) -> bool:
    """Whether a list of packages has one of that name."""
    last = rf"[/\s\"']{package}(\.git)?[\"']?\s*$"
    files = [root / name for name in LISTS]
    return any(file.is_file() and re.search(last, file.read_text("utf-8"), re.M) is not None for file in files)


def _add(packages: dict[str, Package], root: Path, folder: Path) -> Package | None:
    here = Path(os.path.relpath(folder, root))
    settings = read_yaml(folder / "dbt_project.yml", here / "dbt_project.yml")
    list(renamed_keys(settings))
    name = settings.required("name")
    if name in packages:
        return None
    packages[name] = Package(name, here, settings)
    return packages[name]


def _local(folder: Path) -> Iterator[Path]:
    """The folders that a list of packages names."""
    for name in LISTS:
        if (folder / name).is_file():
            items = read_yaml(folder / name, Path(name)).get("packages")
            for item in items if isinstance(items, list) else ():
                local = item.get("local") if isinstance(item, Section) else None
                if isinstance(local, str) and "{" not in local:
                    yield Path(os.path.normpath(folder / local))


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
        message = f"--target: the profile '{name}' in {shown} has no target '{target}'.{nearest(target, outputs)}"
        raise ConfigError(message)
    output = outputs.get(target or usual)
    if not isinstance(output, Section) or output.get("type") != "duckdb":
        return Profile(file=str(shown))
    # What is not asked for needs no value of the environment.
    output = fill(output.only(("path", "database", "attach")))
    path = output.text("path")
    databases = {} if path in _IN_MEMORY else {_database(path): path}
    for item in output.get("attach") or ():
        if isinstance(item, Section) and str(item.get("type") or "duckdb") == "duckdb":
            databases[item.text("alias") or _database(item.required("path"))] = item.required("path")
    files = {database: file for database, file in databases.items() if "://" not in file and ":" not in file[:3]}
    return Profile(files.get(_database(path), ""), files, str(shown))


def _folders(root: Path) -> list[Path]:
    setting = os.environ.get("DBT_PROFILES_DIR")
    return [*([Path(setting).expanduser().absolute()] if setting else []), root, Path.home() / ".dbt"]


def _outputs(profiles: Section, name: str, fill: Callable[[Section], Section]) -> tuple[dict[str, Any], str]:
    profile = profiles.get(name)
    if not isinstance(profile, Section):
        return {}, ""
    usual = fill(profile.only(("target",))).get("target")
    return dict(profile.section("outputs")), str(usual or "default")


def _database(path: str) -> str:
    """The name that DuckDB gives a database by its file."""
    return Path(path).name.split(".")[0]


def profile_of(
    root: Path, settings: Section, target: str, is_needed: bool, fill: Callable[[Section], Section]
) -> Profile:
    """The project's profile where it is of use: for a target by name, or sources that nothing of kpi's loads."""
    name = settings.text("profile") or settings.required("name")
    if target:
        return read_profile(root, name, target, fill)
    if not is_needed:
        return Profile()
    try:
        return read_profile(root, name, "", fill)
    except ConfigError as error:  # what a profile lacks may not be needed; what needs it tells that
        return Profile(problem=str(error))


def read_selectors(root: Path, fill: Callable[[Section], Section]) -> dict[str, Section]:
    """The selectors of selectors.yml by name. Raises ConfigError for one without a definition."""
    if not (root / "selectors.yml").is_file():
        return {}
    document = fill(read_yaml(root / "selectors.yml", Path("selectors.yml")))
    document.allow(("selectors", "version"), "selectors.yml")
    selectors: dict[str, Section] = {}
    for selector in document.sections("selectors"):
        selector.allow(("name", "description", "definition", "default"), "a selector")
        name = selector.required("name")
        if "definition" not in selector or name in selectors:
            message = "is here twice" if name in selectors else "has no definition"
            raise ConfigError(f"the selector '{name}' {message}.", selector.where())
        selectors[name] = selector
    return selectors
