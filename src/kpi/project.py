"""A dbt project as written: `dbt_project.yml`, the YAML properties and the files they speak of, as frozen values.

Nothing here renders Jinja or reads SQL. What is not supported is an error that names file, line and construct.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kpi.errors import CompileError, CompileErrors, ConfigError, KpiError, nearest
from kpi.properties import (
    MODEL_CONFIGS,
    SEED_CONFIGS,
    Properties,
    Source,
    is_plain,
    read_properties,
    settings_in,
    tags_of,
)
from kpi.yamlfile import Section, read_yaml

PROJECT_KEYS = (
    "name",
    "version",
    "config-version",
    "profile",
    "require-dbt-version",
    "model-paths",
    "seed-paths",
    "macro-paths",
    "test-paths",
    "target-path",
    "clean-targets",
    "vars",
    "models",
    "seeds",
)


@dataclass(frozen=True, slots=True)
class Resource:
    """A model or seed: its file, as it is and relative to the project, and its merged settings."""

    kind: str
    name: str
    path: Path
    file: Path
    config: Mapping[str, Any]
    properties: Properties | None


@dataclass(frozen=True, slots=True)
class Project:
    """The whole project as written; every tuple is in name order.

    `undeclared` are the variables given for this run that dbt_project.yml does not have.
    """

    root: Path
    name: str
    variables: Mapping[str, Any]
    models: tuple[Resource, ...]
    seeds: tuple[Resource, ...]
    sources: tuple[Source, ...]
    macro_files: tuple[Path, ...]
    test_files: tuple[Path, ...]
    unit_tests: tuple[Section, ...]
    undeclared: tuple[str, ...]

    @property
    def warehouse(self) -> Path:
        """The folder that holds raw deliveries and builds."""
        return self.root / "warehouse"


def load_project(root: Path, overrides: Mapping[str, Any] | None = None) -> Project:
    """Read the project in `root`; `overrides` are variables given for this run.

    Raises ConfigError or CompileErrors that tell every mistake in the YAML files and every name that is there twice.
    """
    root = root.resolve()
    if not (root / "dbt_project.yml").is_file():
        raise ConfigError(
            f"{root}: no dbt_project.yml here. Go to the project's folder, or name it with --project-dir."
        )
    settings = read_yaml(root / "dbt_project.yml", Path("dbt_project.yml"))
    settings.allow(PROJECT_KEYS, "dbt_project.yml")
    name = settings.required("name")
    if not name.isidentifier():
        raise ConfigError(f"{settings.where('name')}: the project's name must be letters, digits and _, not '{name}'.")
    paths = {kind: _folders(root, settings, kind) for kind in ("model", "seed", "macro", "test")}
    mistakes: list[KpiError] = []
    documents = _documents(root, paths["model"] + paths["seed"], mistakes)
    for document in _documents(root, paths["macro"] + paths["test"], mistakes):
        mistakes.append(ConfigError(f"{document.file}:1: properties of macros and singular tests are not supported."))
    described = read_properties(documents, mistakes)
    resources: list[Resource] = []
    for kind, properties in (("model", described.models), ("seed", described.seeds)):
        resources += _resources(root, name, settings.section(f"{kind}s"), kind, paths[kind], properties, mistakes)
    mistakes += _named_twice(resources)
    if mistakes:
        raise together(mistakes, root)
    variables = dict(settings.section("vars"))
    own = variables.pop(name, None)
    variables.update(own if isinstance(own, Section) else {})
    return Project(
        root=root,
        name=name,
        variables={**variables, **(overrides or {})},
        models=tuple(resource for resource in resources if resource.kind == "model"),
        seeds=tuple(resource for resource in resources if resource.kind == "seed"),
        sources=described.sources,
        macro_files=tuple(file for file, _ in _files(root, paths["macro"], ".sql")),
        test_files=tuple(file for file, _ in _files(root, paths["test"], ".sql")),
        unit_tests=described.unit_tests,
        undeclared=tuple(variable for variable in overrides or () if variable not in variables),
    )


def together(mistakes: Sequence[KpiError], root: Path | None = None) -> KpiError:
    """Return one error that tells all mistakes of the project in `root`, in the order of file and place."""
    error = mistakes[0]
    found = [mistake for mistake in mistakes if isinstance(mistake, CompileError)]
    if len(mistakes) > 1 and len(found) == len(mistakes):
        error = CompileErrors(sorted(found, key=lambda mistake: (mistake.file, mistake.line, mistake.column)))
    elif len(mistakes) > 1:
        error = ConfigError("\n".join(str(mistake) for mistake in mistakes))
    error.root = root
    return error


def read_text(root: Path, file: Path) -> str:
    """Read a text file of the project. Raises CompileError when it is not UTF-8."""
    try:
        return (root / file).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise CompileError(file, line, f"not UTF-8 ({error.reason} at byte {error.start}).") from None


def _folders(root: Path, settings: Section, kind: str) -> tuple[Path, ...]:
    key = f"{kind}-paths"
    folders = tuple(Path(folder) for folder in settings.strings(key) or (f"{kind}s",))
    for folder in folders:
        if key in settings and not (root / folder).is_dir():
            raise ConfigError(f"{settings.where(key)}: '{key}' names {folder}, which is no folder.")
    return folders


def _files(root: Path, folders: Sequence[Path], suffix: str) -> list[tuple[Path, Path]]:
    """Every file with the suffix, relative to the project, with the folder it was looked for in; in path order."""
    found = {
        path.relative_to(root): folder
        for folder in folders
        for path in (root / folder).rglob(f"*{suffix}")
        if path.is_file()
    }
    return sorted(found.items())


def _documents(root: Path, folders: Sequence[Path], mistakes: list[KpiError]) -> list[Section]:
    documents = []
    for suffix in (".yml", ".yaml"):
        for file, _ in _files(root, folders, suffix):
            try:
                documents.append(read_yaml(root / file, file))
            except ConfigError as error:
                mistakes.append(error)
    return documents


def _resources(
    root: Path,
    project: str,
    tree: Section,
    kind: str,
    folders: Sequence[Path],
    properties: Mapping[str, Properties],
    mistakes: list[KpiError],
) -> list[Resource]:
    allowed = MODEL_CONFIGS if kind == "model" else SEED_CONFIGS
    files = _files(root, folders, ".sql" if kind == "model" else ".csv")
    below = [path.relative_to(root / folder) for folder in folders for path in (root / folder).rglob("*")]
    places = {(project,), *((project, *path.with_suffix("").parts) for path in below)}
    try:
        _refuse_strangers(tree, (), places, f"{kind}s", allowed)
    except ConfigError as error:
        mistakes.append(error)
        return []
    resources = []
    for file, folder in files:
        own = properties.get(file.stem)
        place = (project, *file.relative_to(folder).with_suffix("").parts)
        levels = [settings_in(level, allowed) for level in _levels(tree, place)] + ([own.config] if own else [])
        resources.append(Resource(kind, file.stem, root / file, file, merged(levels), own))
        if not is_plain(file.stem):
            told = f"the name of a {kind} must be lower-case letters, digits and _, not '{file.stem}'."
            mistakes.append(CompileError(file, 0, told))
    names = {file.stem for file, _ in files}
    for name, entry in properties.items():
        if name not in names:
            told = f"no {kind} is named '{name}'.{nearest(name, names)}"
            mistakes.append(CompileError(entry.file, entry.line, told))
    return sorted(resources, key=lambda resource: resource.name)


def _levels(tree: Section, place: tuple[str, ...]) -> Iterator[Section]:
    yield tree
    for part in place:
        deeper = tree.get(part)
        if not isinstance(deeper, Section):
            return
        yield deeper
        tree = deeper


def merged(levels: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Settings of several levels: the last one wins, but tags add up, and so does meta, name by name."""
    merged: dict[str, Any] = {}
    for level in levels:
        meta = {**(merged.get("meta") or {}), **(level.get("meta") or {})}
        merged.update(level, **({"meta": meta} if meta else {}))
    tags = [tag for level in levels for tag in tags_of(level.get("tags"))]
    return {**merged, "tags": tuple(dict.fromkeys(tags))}


def _refuse_strangers(
    level: Section, place: tuple[str, ...], places: set[tuple[str, ...]], kind: str, allowed: Sequence[str]
) -> None:
    """Raise ConfigError for a wrong setting, or for settings of a folder or file that is not there."""
    settings_in(level, allowed)
    for key, value in level.items():
        if key.removeprefix("+") in allowed:
            continue
        if (*place, key) not in places:
            known = [*(other[-1] for other in places if other[:-1] == place), *allowed]
            raise ConfigError(f"{level.where(key)}: there is nothing named '{key}' in {kind}.{nearest(key, known)}")
        _refuse_strangers(value, (*place, key), places, kind, allowed)


def _named_twice(resources: Sequence[Resource]) -> Iterator[CompileError]:
    seen: dict[str, Resource] = {}
    for resource in resources:
        first = seen.setdefault(resource.name, resource)
        if first is not resource:
            told = f"'{resource.name}' is also the name of {first.file}. Rename one of them."
            yield CompileError(resource.file, 1, told)
