"""A dbt project as written: `dbt_project.yml`, the YAML properties and the files they speak of, as frozen values.

No model is rendered here and no SQL read. What is not supported is an error that names file, line and construct.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kpi.base.errors import CompileError, CompileErrors, ConfigError, KpiError
from kpi.base.upkeep import KEY, Upkeep, read_upkeep
from kpi.base.yamlfile import Section, read_yaml
from kpi.parse.context import Values
from kpi.parse.described import read_properties
from kpi.parse.invocation import Invocation
from kpi.parse.jinjafile import blocks
from kpi.parse.properties import TEST_CONFIGS, Exposure, Source, settings_in
from kpi.parse.resources import (
    Found,
    Resource,
    as_told,
    files_in,
    is_blank,
    levels_of,
    merged,
    resources_of,
    snapshots_in_yaml,
    tell_strangers,
)
from kpi.parse.resources import text_of as read_text
from kpi.parse.strictness import Judge, has_house_rules, renamed_keys
from kpi.parse.yamljinja import LATER, YamlJinja, doc_in

__all__ = ["Project", "Resource", "load_project", "merged", "read_text", "together"]

_TREES = ("models", "seeds", "snapshots", "data_tests", "tests", "analyses", "sources", "unit_tests", "exposures")
PATHS = {
    **{"model": "models", "seed": "seeds", "macro": "macros", "test": "tests"},
    **{"snapshot": "snapshots", "analysis": "analyses"},
}
PROJECT_KEYS = (
    *("name", "version", "config-version", "profile", "require-dbt-version", "target-path", "clean-targets", "vars"),
    *("log-path", "packages-install-path", "asset-paths", "docs-paths", "function-paths", "quoting", "query-comment"),
    *("flags", "restrict-access", "dbt-cloud", "dispatch", "on-run-start", "on-run-end", "metrics", "semantic-models"),
    *("saved-queries", "functions", "packages", *(f"{kind}-paths" for kind in PATHS)),
    *(key for tree in _TREES for key in dict.fromkeys((tree, tree.replace("_", "-")))),
)
_SOURCE_TREE = ("enabled", "meta", "tags", "freshness", "event_time", "loaded_at_field", "quoting")


@dataclass(frozen=True, slots=True)
class Project:
    """The whole project as written; every tuple is in name order.

    `packages` are the macro files of the packages beside it, `dispatch` the order in which namespaces look for macros,
    `docs` the doc blocks, `notes` what has no effect or is not built here. `undeclared` are the variables given for
    this run that dbt_project.yml does not have, `asked` and `environment_read` what the YAML files asked for. In a
    project that asks for house rules anywhere (`is_strict`), what kpi has no use for is a mistake.
    """

    root: Path
    name: str
    variables: Mapping[str, Any]
    models: tuple[Resource, ...]
    seeds: tuple[Resource, ...]
    snapshots: tuple[Resource, ...]
    analyses: tuple[Resource, ...]
    sources: tuple[Source, ...]
    exposures: tuple[Exposure, ...]
    macro_files: tuple[Path, ...]
    test_files: tuple[Path, ...]
    fixture_files: tuple[Path, ...]
    packages: Mapping[str, tuple[Path, ...]]
    dispatch: Mapping[str, tuple[str, ...]]
    unit_tests: tuple[Section, ...]
    singular_tests: Mapping[str, Mapping[str, Any]]
    test_tree: Section
    on_run_start: tuple[str, ...]
    on_run_end: tuple[str, ...]
    docs: Mapping[str, str]
    notes: tuple[str, ...]
    undeclared: tuple[str, ...]
    asked: frozenset[str]
    environment_read: Mapping[str, str]
    upkeep: Upkeep
    is_strict: bool = False
    invocation: Invocation = Invocation()  # noqa: RUF009  a frozen value

    @property
    def warehouse(self) -> Path:
        """The folder that holds raw deliveries and builds."""
        return self.root / "warehouse"

    def test_settings(self, file: Path, name: str) -> dict[str, Any]:
        """Return the settings that dbt_project.yml gives a test of that name, asked for in that file."""
        place = (self.name, *file.parts[1:-1], name)
        return merged([settings_in(level, TEST_CONFIGS) for level in levels_of(self.test_tree, place)])


def load_project(
    root: Path, overrides: Mapping[str, Any] | None = None, invocation: Invocation | None = None
) -> Project:
    """Read the project in `root`; `overrides` are variables given for this run, `invocation` what it was asked.

    Raises ConfigError or CompileErrors that tell every mistake in the YAML files and every name that is there twice.
    """
    root = root.resolve()
    if not (root / "dbt_project.yml").is_file():
        raise ConfigError(
            f"{root}: no dbt_project.yml here. Go to the project's folder, or name it with --project-dir."
        )
    settings = read_yaml(root / "dbt_project.yml", Path("dbt_project.yml"))
    renamed = list(renamed_keys(settings))
    settings.allow(PROJECT_KEYS, "dbt_project.yml")
    name = settings.required("name")
    if not name.isidentifier():
        raise ConfigError(f"{settings.where('name')}: the project's name must be letters, digits and _, not '{name}'.")
    packages, package_variables, unbuilt = _packages(root, settings)
    variables = _variables(settings.section("vars"), name, (*packages, *package_variables))
    upkeep = read_upkeep(settings.section("vars"), name)
    if KEY in (overrides or {}):
        raise ConfigError(
            f"--vars: {KEY} is read from dbt_project.yml only. Set it there, or use the command's options."
        )
    values = Values({**package_variables, **variables, **(overrides or {})})
    docs: dict[str, str] = {}
    jinja = YamlJinja(values, name, doc_in(docs))
    jinja.fill(settings, (*LATER[3:], "vars"))
    paths = {kind: _folders(root, settings, kind) for kind in PATHS}
    found = Found(root, name, Judge(has_house_rules(settings)), packages)
    everywhere = tuple(dict.fromkeys(folder for folders in paths.values() for folder in folders))
    docs.update(_docs(root, tuple(Path(p) for p in settings.strings("docs-paths")) or everywhere, found.mistakes))
    documents = []
    for document in _documents(root, everywhere, found.mistakes):
        try:
            documents.append(jinja.fill(document))
        except ConfigError as error:
            found.mistakes.append(error)
    described = read_properties(documents, found.judge)
    resources: list[Resource] = []
    for kind, tree in (("model", "models"), ("seed", "seeds"), ("snapshot", "snapshots"), ("analysis", "analyses")):
        about = described.found.get(tree, {})
        of_kind = resources_of(found, settings.section(tree), kind, paths[kind], about)
        if kind == "snapshot":
            of_kind += snapshots_in_yaml(found, settings.section(tree), described.relations, about)
        resources += of_kind
    twice = list(_named_twice([resource for resource in resources if resource.kind != "analysis"]))
    found.mistakes.extend(twice)
    by_name = {resource.name: resource for resource in resources if resource.kind != "analysis"}
    for kind in ("model", "seed", "snapshot") if not twice else ():
        tell_strangers(found, kind, described.found[f"{kind}s"], by_name)
    resources = [as_told(one, by_name) for one in resources]
    for file, _ in files_in(root, paths["model"], ".py"):
        told = (
            "models in Python are not supported. Write a SELECT, or prepare the data outside and read it as a source."
        )
        found.mistakes.append(CompileError(file, 1, told))
    if found.mistakes:
        raise together(found.mistakes, root)
    tests, fixtures = ([file for file, _ in files_in(root, paths["test"], end)] for end in (".sql", ".csv"))
    generic = tuple(file for file in tests if "generic" in file.parts)
    seen = set(values.asked)
    return Project(
        root=root,
        name=name,
        variables=values.variables,
        models=tuple(resource for resource in resources if resource.kind == "model"),
        seeds=tuple(resource for resource in resources if resource.kind == "seed"),
        snapshots=tuple(resource for resource in resources if resource.kind == "snapshot"),
        analyses=tuple(resource for resource in resources if resource.kind == "analysis"),
        sources=_enabled(described.sources, settings.section("sources"), name),
        exposures=tuple(described.exposures[key] for key in sorted(described.exposures)),
        macro_files=(*(file for file, _ in files_in(root, paths["macro"], ".sql")), *generic),
        test_files=tuple(f for f in tests if not {"fixtures", "generic"} & set(f.parts) and not is_blank(root, f)),
        fixture_files=tuple(file for file in (*tests, *fixtures) if "fixtures" in file.parts),
        packages=packages,
        dispatch={
            item.required("macro_namespace"): item.strings("search_order") for item in settings.sections("dispatch")
        },
        unit_tests=tuple(described.unit_tests),
        singular_tests=described.singular,
        test_tree=_first(settings, "data_tests", "data-tests", "tests"),
        on_run_start=settings.strings("on-run-start"),
        on_run_end=settings.strings("on-run-end"),
        docs=docs,
        notes=(*renamed, *unbuilt, *found.notes),
        is_strict=found.judge.is_strict,
        invocation=invocation or Invocation(),
        undeclared=tuple(variable for variable in overrides or () if variable not in variables),
        asked=frozenset(seen),
        environment_read=values.environment_read,
        upkeep=upkeep,
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


def _variables(given: Section, name: str, packages: Sequence[str]) -> dict[str, Any]:
    """The variables of the project: those below its own name win, and those below a package's name count too."""
    variables = {key: value for key, value in given.items() if key not in (name, *packages)}
    for package in packages:
        if package != name and isinstance(given.get(package), Section):
            variables = {**given[package], **variables}
        elif package in given:
            variables[package] = given[package]
    own = given.get(name)
    return {**variables, **(own if isinstance(own, Section) else {})}


def _packages(root: Path, settings: Section) -> tuple[dict[str, tuple[Path, ...]], dict[str, Any], list[str]]:
    """The macro files of every package beside the project, the packages' own variables, and what is not built."""
    packages: dict[str, tuple[Path, ...]] = {}
    variables: dict[str, Any] = {}
    notes = []
    folder = Path(settings.text("packages-install-path") or "dbt_packages")
    for found in sorted((root / folder).glob("*/dbt_project.yml")):
        here = found.parent.relative_to(root)
        own = read_yaml(found, here / "dbt_project.yml")
        name = own.required("name")
        paths = [here / path for path in own.strings("macro-paths") or ("macros",)]
        tests = [here / path / "generic" for path in own.strings("test-paths") or ("tests",)]
        packages[name] = tuple(file for file, _ in files_in(root, [*paths, *tests], ".sql"))
        variables.update(_variables(own.section("vars"), name, ()))
        if files_in(root, [here / path for path in own.strings("model-paths") or ("models",)], ".sql"):
            notes.append(f"{here}/dbt_project.yml:1: models of the package '{name}' are not built.")
    return packages, variables, notes


def _folders(root: Path, settings: Section, kind: str) -> tuple[Path, ...]:
    key = f"{kind}-paths"
    folders = tuple(Path(folder) for folder in settings.strings(key) or (PATHS[kind],))
    for folder in folders:
        # dbt's own starter names folders that a project need not have; those that hold models it does.
        if kind == "model" and key in settings and not (root / folder).is_dir():
            raise ConfigError(f"{settings.where(key)}: '{key}' names {folder}, which is no folder.")
    return folders


def _documents(root: Path, folders: Sequence[Path], mistakes: list[KpiError]) -> list[Section]:
    documents = []
    for suffix in (".yml", ".yaml"):
        for file, _ in files_in(root, folders, suffix):
            try:
                documents.append(read_yaml(root / file, file))
            except ConfigError as error:
                mistakes.append(error)
    return documents


def _docs(root: Path, folders: Sequence[Path], mistakes: list[KpiError]) -> dict[str, str]:
    found: dict[str, str] = {}
    for file, _ in files_in(root, folders, ".md"):
        try:
            for block in blocks(read_text(root, file), "docs"):
                found[block.name] = block.text.strip()
        except CompileError as error:
            mistakes.append(error)
    return found


def _enabled(sources: Sequence[Source], tree: Section, project: str) -> tuple[Source, ...]:
    """The sources that dbt_project.yml does not switch off."""
    kept = []
    for source in sources:
        place = (project, *source.properties.file.parts[1:-1], source.source_name, source.name)
        levels = [settings_in(level, _SOURCE_TREE) for level in levels_of(tree, place)]
        if merged(levels).get("enabled", True):
            kept.append(source)
    return tuple(kept)


def _first(settings: Section, *keys: str) -> Section:
    return next((settings.section(key) for key in keys if settings.get(key)), settings.section(keys[0]))


def _named_twice(resources: Sequence[Resource]) -> Iterator[CompileError]:
    seen: dict[str, Resource] = {}
    for resource in resources:
        first = seen.setdefault(resource.name, resource)
        if first is not resource:
            told = f"'{resource.name}' is also the name of {first.file}. Rename one of them."
            yield CompileError(resource.file, 1, told)
