"""A dbt project as written: `dbt_project.yml`, its resources and the YAML that describes them, as frozen values.

No model is rendered here and no SQL read. What is not supported is an error that names file, line and construct.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi.errors import CompileError, CompileErrors, ConfigError, ConfigErrors, KpiError, nearest
from kpi.project.external import unreadable
from kpi.project.packages import (
    PATHS,
    Diagnostics,
    Package,
    Profile,
    files_in,
    has_house_rules,
    is_blank,
    packages_of,
    profile_of,
    read_selectors,
    read_text,
    renamed_keys,
)
from kpi.project.properties import (
    MODEL_CONFIGS,
    NO_EFFECT,
    SEED_CONFIGS,
    SNAPSHOT_CONFIGS,
    TEST_CONFIGS,
    Described,
    Exposure,
    Properties,
    Source,
    nobody,
    numbered,
    read_properties,
    settings_in,
    tags_of,
)
from kpi.settings import (
    KEY,
    EngineSettings,
    Invocation,
    ReportTables,
    WarehouseSettings,
    read_engine_settings,
    read_report_tables,
    read_warehouse_settings,
)
from kpi.yaml_loader import Section, read_yaml

if TYPE_CHECKING:
    from kpi.project.context import Values, YamlJinja


CONFIGS = {"model": MODEL_CONFIGS, "seed": SEED_CONFIGS, "snapshot": SNAPSHOT_CONFIGS, "analysis": MODEL_CONFIGS}
ENDINGS = {"model": ".sql", "seed": ".csv", "snapshot": ".sql", "analysis": ".sql"}


@dataclass(frozen=True, slots=True)
class Resource:
    """A model, seed, snapshot or analysis: its file, as it is and relative to the project, and its merged settings.

    `text` is a snapshot's template, which is a part of its file or stands in YAML; None for the whole file. `written`
    are the settings of the last place that gives each, not merged. `above` are those that the project has for what is
    a package's: they win over all others. `depth` is how many parts of the file's path lie before its folders' own.
    """

    kind: str
    name: str
    path: Path
    file: Path
    config: Mapping[str, Any]
    properties: Properties | None
    text: str | None = None
    line: int = 1
    written: Mapping[str, Any] = field(default_factory=dict)
    package: str = ""
    above: Mapping[str, Any] = field(default_factory=dict)
    depth: int = 1

    @property
    def id(self) -> str:
        return f"{self.kind}.{self.package}.{self.name}"


@dataclass(slots=True)
class Found:
    """What was found, and what is worth a note of it.

    `above` are the settings of the project by the name of a tree, when what is read is one of its packages.
    """

    root: Path
    project: str
    diagnostics: Diagnostics
    packages: frozenset[str] = frozenset()
    above: Section | None = None
    depth: int = 1


def resources_of(
    found: Found, tree: Section, kind: str, folders: Sequence[Path], properties: Mapping[str, Properties]
) -> list[Resource]:
    """Return the resources of one kind in name order; `tree` are the settings of dbt_project.yml for the kind."""
    root, allowed = found.root, CONFIGS[kind]
    files = files_in(root, folders, ENDINGS[kind])
    below = [path.relative_to(root / folder) for folder in folders for path in (root / folder).rglob("*")]
    places = {(found.project,), *((found.project, *path.with_suffix("").parts) for path in below)}
    places |= {(found.project, *path.parts) for path in below}
    try:
        _refuse_strangers(found, tree, (), places, f"{kind}s", allowed)
    except ConfigError as error:
        found.diagnostics.mistakes.append(error)
        tree = Section(tree.file, tree.line)
    resources = []
    above = _tree(found.above, f"{kind}s" if kind != "analysis" else "analyses")
    properties = _by_file(properties, {file.stem for file, _ in files})
    for file, folder in files:
        parts = (found.project, *file.relative_to(folder).with_suffix("").parts)
        try:
            if kind in ("model", "analysis") and is_blank(root, file):
                message = CompileError(file, 1, f"a{'n' * (kind == 'analysis')} {kind} is one SELECT, here is none.")
                found.diagnostics.emit(message, "The file is passed over.")
                continue
            for name, text, line in _pieces(root, file, kind):
                own = properties.get(name)
                place = parts if kind != "snapshot" else (*parts, name)
                levels = [settings_in(level, allowed, nobody) for level in levels_of(tree, place)]
                levels += [dict(own.config)] if own else []
                config, settings = merged(levels), {key: value for level in levels for key, value in level.items()}
                most = merged([settings_in(level, allowed) for level in levels_of(above, place)]) if above else {}
                named = own.named if own else name
                more = found.project, most, found.depth
                resources.append(Resource(kind, named, root / file, file, config, own, text, line, settings, *more))
        except KpiError as error:
            found.diagnostics.mistakes.append(error)
    return sorted(resources, key=lambda resource: resource.name)


def _tree(settings: Section | None, name: str) -> Section | None:
    return settings.section(name) if settings is not None and settings.get(name) else None


def _by_file(properties: Mapping[str, Properties], stems: set[str]) -> dict[str, Properties]:
    """Properties by the name of their file; the latest version of a model may be in a file named as the model."""
    by_name = dict(properties)
    for own in properties.values():
        if own.is_latest and own.name not in stems:
            by_name[own.model] = own
    return by_name


def snapshots_in_yaml(
    found: Found, tree: Section, relations: Mapping[str, str], properties: Mapping[str, Properties]
) -> list[Resource]:
    """Return the snapshots that stand in YAML alone, each a SELECT of what its `relation` names."""
    resources = []
    for name, relation in relations.items():
        own = properties[name]
        place = (found.project, *own.file.parts[found.depth : -1], name)
        levels = [settings_in(level, SNAPSHOT_CONFIGS, nobody) for level in levels_of(tree, place)]
        text = "\n" * (own.line - 1) + f"select * from {{{{ {relation} }}}}"
        config = merged([*levels, own.config])
        most = found.above and _tree(found.above, "snapshots")
        above = merged([settings_in(level, SNAPSHOT_CONFIGS) for level in levels_of(most, place)]) if most else {}
        resource = Resource("snapshot", name, found.root / own.file, own.file, config, own, text, own.line)
        resources.append(replace(resource, package=found.project, above=above, depth=found.depth))
    return resources


def orphaned_properties(
    found: Found, kind: str, properties: Mapping[str, Properties], names: set[str], resources: dict[str, Resource]
) -> None:
    """Tell what YAML describes as one kind and is not there: a slip when something of nearly that name is, else a note.

    `names` are there as the kind. Of what is there as another kind the tests run all the same, as dbt has it:
    `resources` are all there are by name, and get these tests.
    """
    for name, entry in properties.items():
        other = resources.get(name)
        if name in names or entry.named in names:
            continue
        hint = nearest(name, names)
        if other is not None and other.kind != "analysis":
            message = f"'{name}' is a {other.kind} and described as a {kind}. Describe it under {other.kind}s."
            error = CompileError(entry.file, entry.line, message)
            found.diagnostics.emit(error, "Its tests run, the rest of this is not used.")
            own = other.properties or Properties(name, "", (), (), {}, entry.file, entry.line)
            both = replace(own, tests=numbered((*own.tests, *entry.tests)))
            resources[name] = replace(other, properties=both)
        elif "Did you mean" in hint:
            error = CompileError(entry.file, entry.line, f"no {kind} is named '{name}'.{hint}")
            found.diagnostics.emit(error, "Nothing of this is used.")
        else:
            found.diagnostics.notes.append(
                f"{entry.file}:{entry.line}: no {kind} is named '{name}': nothing of this is used."
            )


def as_described(resource: Resource, described: Mapping[str, Resource]) -> Resource:
    """The resource as it is among those that YAML describes, by name; of two of one name each stays itself."""
    counterpart = described.get(resource.name, resource)
    return counterpart if (counterpart.kind, counterpart.file) == (resource.kind, resource.file) else resource


def levels_of(tree: Section, place: Sequence[str]) -> Iterator[Section]:
    """The levels of settings that lead to a place, outermost first."""
    yield tree
    for part in place:
        deeper = tree.get(part)
        if not isinstance(deeper, Section):
            return
        yield deeper
        tree = deeper


def merged(levels: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Settings of several levels: the last one wins, but tags and hooks add up, and mappings are merged."""
    merged: dict[str, Any] = {}
    for level in levels:
        for name, value in level.items():
            before = merged.get(name)
            if name in ("pre_hook", "post_hook"):
                merged[name] = (*(before or ()), *(value if isinstance(value, list | tuple) else (value,)))
            elif name in ("meta", "column_types") and before and isinstance(value, dict):
                are_read = isinstance(before, Section) and isinstance(value, Section)
                merged[name] = before.merged(value) if are_read else {**before, **value}
            else:
                merged[name] = value
    tags = [tag for level in levels for tag in tags_of(level.get("tags"))]
    return {**merged, "tags": tuple(dict.fromkeys(tags))}


def _pieces(root: Path, file: Path, kind: str) -> Iterator[tuple[str, str | None, int]]:
    """Name, template and line of what a file holds: itself, or the snapshots in it."""
    if kind != "snapshot":
        yield file.stem, None, 1
        return
    from kpi.project.jinja import blocks

    for block in blocks(read_text(root, file), "snapshot"):
        yield block.name, block.text, block.line


def _refuse_strangers(
    found: Found,
    level: Section,
    place: tuple[str, ...],
    places: set[tuple[str, ...]],
    kind: str,
    allowed: Sequence[str],
) -> None:
    """Raise ConfigError for a wrong setting, or for settings of something that is not there but nearly.

    What is near nothing that is there is noted: settings of a package, or of a folder that once was there.
    """
    for name in settings_in(level, allowed, found.diagnostics.emit):
        if name in NO_EFFECT:
            key = next(key for key in level if key.removeprefix("+").replace("-", "_") == name)
            found.diagnostics.notes.append(f"{level.where(key)}: the setting '{name}' has no effect here.")
    for key, value in level.items():
        if key.startswith("+") or key.replace("-", "_") in allowed or (not place and key in found.packages):
            continue
        if not (value is None or isinstance(value, Section)):
            continue
        if (*place, key) not in places:
            settings = ("meta", "docs", "contract", "column_types", "vars")
            names = [*(other[-1] for other in places if other[:-1] == place), *settings]
            hint = nearest(key, names)
            message = f"there is nothing named '{key}' in {kind}"
            if "Did you mean" in hint and not (place == () and key in found.packages):
                found.diagnostics.emit(ConfigError(f"{message}.{hint}", level.where(key)), "It has no effect.")
            else:
                found.diagnostics.notes.append(f"{level.where(key)}: {message}: no effect.")
            continue
        if value is None:
            continue
        _refuse_strangers(found, value, (*place, key), places, kind, allowed)


_SOURCE_TREE = ("enabled", "meta", "tags", "freshness", "event_time", "loaded_at_field", "quoting")


@dataclass(frozen=True, slots=True)
class Part:
    """What the files of the project, or of one of its packages, hold."""

    package: Package
    described: Described
    resources: tuple[Resource, ...]
    sources: tuple[Source, ...]
    macro_files: tuple[Path, ...]
    test_files: tuple[Path, ...]
    fixture_files: tuple[Path, ...]
    doc_files: tuple[Path, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading the parts of a project shares; `docs` and `mistakes` grow as they are read."""

    root: Path
    own: Package
    packages: Mapping[str, Package]
    jinja: YamlJinja
    docs: dict[str, dict[str, str]]
    mistakes: list[KpiError]


def read_part(reading: Reading, package: Package) -> Part:
    """Read the files of the project or a package. What is wrong goes to the mistakes."""
    from kpi.project.context import LATER

    root, own, packages, jinja = reading.root, reading.own, reading.packages, reading.jinja
    docs, mistakes = reading.docs, reading.mistakes
    settings, is_own = package.settings, package is own
    jinja.values.package = "" if is_own else package.name
    jinja.fill(settings, (*LATER[3:], "vars"))
    paths = {kind: package.folders(root, kind) for kind in PATHS}
    above = None if is_own else own.settings
    diagnostics = Diagnostics(is_own and has_house_rules(settings), mistakes)
    found = Found(root, package.name, diagnostics, frozenset(packages), above, package.depth)
    everywhere = tuple(dict.fromkeys(folder for folders in paths.values() for folder in folders))
    doc_folders = package.folders(root, "docs") if "docs-paths" in settings else ()
    docs[package.name], doc_files = _docs(root, doc_folders or everywhere, mistakes)
    documents = []
    for document in _documents(root, everywhere, mistakes):
        try:
            documents.append(jinja.fill(document))
        except ConfigError as error:
            mistakes.append(error)
    described = read_properties(documents, diagnostics)
    resources = _resources_of_part(found, described, settings, paths, is_own)
    for file, _ in files_in(root, paths["model"], ".py"):
        message = (
            "models in Python are not supported. Write a SELECT, or prepare the data outside and read it as a source."
        )
        mistakes.append(CompileError(file, 1, message))
    tests, fixtures = ([file for file, _ in files_in(root, paths["test"], end)] for end in (".sql", ".csv"))
    trees = [settings.section("sources")] + ([] if is_own else [own.settings.section("sources")])
    return Part(
        package=package,
        described=described,
        resources=tuple(resources),
        sources=_enabled(described.sources, trees, package),
        macro_files=(
            *(file for file, _ in files_in(root, paths["macro"], ".sql")),
            *(file for file in tests if "generic" in file.parts),
        ),
        test_files=tuple(f for f in tests if not {"fixtures", "generic"} & set(f.parts) and not is_blank(root, f)),
        fixture_files=tuple(file for file in (*tests, *fixtures) if "fixtures" in file.parts),
        doc_files=doc_files,
        # What a package says that has no effect is its makers' business.
        notes=tuple(diagnostics.notes) if is_own else (),
    )


def _resources_of_part(
    found: Found, described: Described, settings: Section, paths: Mapping[str, Sequence[Path]], is_own: bool
) -> list[Resource]:
    """The models, seeds, snapshots and analyses of a part, with what its YAML says of them."""
    resources: list[Resource] = []
    for kind, tree in (("model", "models"), ("seed", "seeds"), ("snapshot", "snapshots"), ("analysis", "analyses")):
        if kind == "analysis" and not is_own:
            continue  # compiled for people to copy, from their own project
        about = described.found.get(tree, {})
        of_kind = resources_of(found, settings.section(tree), kind, paths[kind], about)
        if kind == "snapshot":
            of_kind += snapshots_in_yaml(found, settings.section(tree), described.relations, about)
        resources += of_kind
    by_name = {resource.name: resource for resource in resources if resource.kind != "analysis"}
    for kind in ("model", "seed", "snapshot"):
        names = {resource.name for resource in resources if resource.kind == kind}
        orphaned_properties(found, kind, described.found[f"{kind}s"], names, by_name)
    return [as_described(one, by_name) for one in resources]


def _documents(root: Path, folders: Sequence[Path], mistakes: list[KpiError]) -> list[Section]:
    documents = []
    for suffix in (".yml", ".yaml"):
        for file, _ in files_in(root, folders, suffix):
            try:
                documents.append(read_yaml(root / file, file))
            except ConfigError as error:
                mistakes.append(error)
    return documents


def _docs(root: Path, folders: Sequence[Path], mistakes: list[KpiError]) -> tuple[dict[str, str], tuple[Path, ...]]:
    """Return the doc blocks in folders by name, and the files that have any."""
    from kpi.project.jinja import blocks

    doc_blocks: dict[str, str] = {}
    files = []
    for file, _ in files_in(root, folders, ".md"):
        try:
            for block in blocks(read_text(root, file), "docs"):
                doc_blocks[block.name] = block.text.strip()
                files.append(file)
        except CompileError as error:
            mistakes.append(error)
    return doc_blocks, tuple(dict.fromkeys(files))


def _enabled(sources: Sequence[Source], trees: Sequence[Section], package: Package) -> tuple[Source, ...]:
    """The sources that no dbt_project.yml switches off."""
    enabled = []
    for source in sources:
        parts = source.properties.file.parts[package.depth : -1]
        place = (package.name, *parts, source.source_name, source.name)
        levels = [settings_in(level, _SOURCE_TREE) for tree in trees for level in levels_of(tree, place)]
        if merged(levels).get("enabled", True):
            enabled.append(replace(source, package=package.name))
    return tuple(enabled)


_TREES = ("models", "seeds", "snapshots", "data_tests", "tests", "analyses", "sources", "unit_tests", "exposures")
PROJECT_KEYS = (
    *("name", "version", "config-version", "profile", "require-dbt-version", "target-path", "clean-targets", "vars"),
    *("log-path", "packages-install-path", "asset-paths", "docs-paths", "function-paths", "quoting", "query-comment"),
    *("flags", "restrict-access", "dbt-cloud", "dispatch", "on-run-start", "on-run-end", "metrics", "semantic-models"),
    *("saved-queries", "functions", "packages", *(f"{kind}-paths" for kind in PATHS)),
    *(key for tree in _TREES for key in dict.fromkeys((tree, tree.replace("_", "-")))),
)


@dataclass(frozen=True, slots=True)
class Project:
    """The whole project as written; every tuple is in name order.

    `latest_versions` are the names of the latest versions of models, by package and name of the model.
    `packages` are the macro files of the packages beside it, `folders` where each is and `package_variables` what its
    files have; what else they hold is among the project's own. `dispatch` is the order in which namespaces look for
    macros, `docs` the doc blocks, `notes` what has no effect or is not built here. `undeclared` are the
    variables given for this run that dbt_project.yml does not have, `variables_read` and `environment_read` what the
    YAML files asked for. In a project that asks for house rules anywhere (`is_strict`), what kpi has no use for is a
    mistake.
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
    doc_files: tuple[Path, ...]
    packages: Mapping[str, tuple[Path, ...]]
    folders: Mapping[str, Path]
    package_variables: Mapping[str, Mapping[str, Any]]
    dispatch: Mapping[str, tuple[str, ...]]
    unit_tests: tuple[Section, ...]
    singular_tests: Mapping[tuple[str, str], Mapping[str, Any]]
    test_trees: Mapping[str, Section]
    on_run_start: tuple[tuple[Path, str], ...]
    on_run_end: tuple[tuple[Path, str], ...]
    docs: Mapping[str, str]
    notes: tuple[str, ...]
    undeclared: tuple[str, ...]
    variables_read: frozenset[str]
    environment_read: Mapping[str, str]
    warehouse_settings: WarehouseSettings
    engine_settings: EngineSettings
    report_tables: ReportTables
    profile: Profile
    target: str = ""
    selectors: Mapping[str, Section] = field(default_factory=dict)
    is_strict: bool = False
    latest_versions: Mapping[tuple[str, str], str] = field(default_factory=dict)
    invocation: Invocation = Invocation()  # noqa: RUF009  a frozen value

    @property
    def warehouse(self) -> Path:
        """The folder that holds raw deliveries and builds."""
        return self.root / "warehouse"

    @property
    def resources(self) -> tuple[Resource, ...]:
        return (*self.seeds, *self.models, *self.snapshots, *self.analyses)

    def database_file(self, source: Source) -> tuple[str, str]:
        """Return the DuckDB file in which a source is that nothing else loads, and what names it; empty for none."""
        if source.database_file:
            return source.database_file, source.properties.file.as_posix()
        if source.database in self.profile.databases:
            return self.profile.databases[source.database], self.profile.file
        if self.warehouse_settings.database_file:
            return self.warehouse_settings.database_file, "dbt_project.yml"
        return self.profile.path, self.profile.file

    def package_of(self, file: Path) -> str:
        """Return the package that a file is of; the project's own name when it is of none."""
        names = [name for name, folder in self.folders.items() if file.is_relative_to(folder)]
        return max(names, key=lambda name: len(self.folders[name].parts), default=self.name)

    def folders_of(self, file: Path) -> tuple[str, ...]:
        """Return the folders of a file below the folder of its kind, in its package."""
        return file.parts[len(self.folders.get(self.package_of(file), Path()).parts) + 1 : -1]

    def test_settings(self, file: Path, name: str) -> dict[str, Any]:
        """Return the settings that dbt_project.yml gives a test of that name, asked for in that file."""
        package = self.package_of(file)
        place = (package, *self.folders_of(file), name)
        trees = [self.test_trees[one] for one in dict.fromkeys((package, self.name))]
        return merged([settings_in(level, TEST_CONFIGS) for tree in trees for level in levels_of(tree, place)])


def load_project(
    root: Path,
    overrides: Mapping[str, Any] | None = None,
    target: str = "",
    invocation: Invocation | None = None,
) -> Project:
    """Read the project in `root`; `overrides` are variables, `target` the name of the target and `invocation` the rest
    that a run was asked.

    Raises ConfigError or CompileErrors that tell every mistake in the YAML files and every name that is there twice.
    """
    from kpi.project.context import YamlJinja

    root = root.resolve()
    settings, renamed = _settings_of(root)
    name = settings.required("name")
    own, packages = Package(name, Path(), settings), packages_of(root, settings)
    warehouse_settings = read_warehouse_settings(settings.section("vars"), name)
    engine_settings = read_engine_settings(settings.section("vars"), name)
    report_tables = read_report_tables(settings.section("vars"), name)
    values, declared = _values_of(own, packages, overrides or {})
    values.target = target
    docs: dict[str, dict[str, str]] = {}
    jinja = YamlJinja(values, name, _doc_in(docs, values))
    mistakes: list[KpiError] = []
    reading = Reading(root, own, packages, jinja, docs, mistakes)
    parts = [read_part(reading, package) for package in (own, *packages.values())]
    resources = [resource for part in parts for resource in part.resources]
    mistakes += _named_twice([resource for resource in resources if resource.kind != "analysis"])
    sources = tuple(source for part in parts for source in part.sources)
    mistakes += unreadable(root, warehouse_settings.source_folders, sources)
    if mistakes:
        raise together(mistakes, root)
    return Project(
        root=root,
        name=name,
        variables=values.variables,
        **_content_of(parts),
        sources=sources,
        package_variables=values.of_packages,
        dispatch={
            item.required("macro_namespace"): item.strings("search_order") for item in settings.sections("dispatch")
        },
        docs={name: text for part in reversed(parts) for name, text in docs[part.package.name].items()},
        notes=(*renamed, *own.notes_of(root), *parts[0].notes),
        is_strict=has_house_rules(settings),
        invocation=invocation or Invocation(),
        undeclared=tuple(variable for variable in overrides or () if variable not in declared),
        variables_read=frozenset(values.variables_read),
        environment_read=values.environment_read,
        warehouse_settings=warehouse_settings,
        engine_settings=engine_settings,
        report_tables=report_tables,
        profile=profile_of(root, settings, target, not all(map(_is_loaded, sources)), jinja.fill_secret),
        target=target,
        selectors=read_selectors(root, jinja.fill_own),
    )


def _settings_of(root: Path) -> tuple[Section, list[str]]:
    """Read dbt_project.yml. Returns it, and notes of what stands there under an old name."""
    if not (root / "dbt_project.yml").is_file():
        raise ConfigError(
            f"{root}: no dbt_project.yml here. Go to the project's folder, or name it with --project-dir."
        )
    settings = read_yaml(root / "dbt_project.yml", Path("dbt_project.yml"))
    renamed = list(renamed_keys(settings))
    settings.allow(PROJECT_KEYS, "dbt_project.yml")
    name = settings.required("name")
    if not name.isidentifier():
        raise ConfigError(f"the project's name must be letters, digits and _, not '{name}'.", settings.where("name"))
    return settings, renamed


def _values_of(
    own: Package, packages: Mapping[str, Package], overrides: Mapping[str, Any]
) -> tuple[Values, frozenset[str]]:
    """Return the variables of the project and its packages, and the names of those that some file declares."""
    from kpi.project.context import Values

    if KEY in overrides:
        raise ConfigError(
            f"--vars: {KEY} is read from dbt_project.yml only. Set it there, or use the command's options."
        )
    variables = own.variables(packages)
    of_packages = {
        one: {**package.variables(packages), **variables, **own.variables_for(one), **overrides}
        for one, package in packages.items()
    }
    declared = {*variables, *(name for package in packages.values() for name in package.variables(packages))}
    declared |= {name for values in of_packages.values() for name in values} - {*overrides}
    return Values({**variables, **overrides}, of_packages), frozenset(declared)


def _content_of(parts: Sequence[Part]) -> dict[str, Any]:
    """The fields of a project that are what its own part and its packages hold together."""
    resources = [resource for part in parts for resource in part.resources]
    described = [part.described for part in parts]
    return {
        "models": tuple(resource for resource in resources if resource.kind == "model"),
        "latest_versions": {
            (resource.package, about.model): about.named
            for resource in resources
            if resource.kind == "model" and (about := resource.properties) and about.is_latest
        },
        "seeds": tuple(resource for resource in resources if resource.kind == "seed"),
        "snapshots": tuple(resource for resource in resources if resource.kind == "snapshot"),
        "analyses": tuple(resource for resource in resources if resource.kind == "analysis"),
        "exposures": tuple(
            replace(one.exposures[key], package=part.package.name)
            for part, one in zip(parts, described, strict=True)
            for key in sorted(one.exposures)
        ),
        "macro_files": parts[0].macro_files,
        "packages": {part.package.name: part.macro_files for part in parts[1:]},
        "folders": {part.package.name: part.package.folder for part in parts[1:]},
        "test_files": tuple(file for part in parts for file in part.test_files),
        "fixture_files": tuple(file for part in parts for file in part.fixture_files),
        "doc_files": tuple(file for part in parts for file in part.doc_files),
        "unit_tests": tuple(test for one in described for test in one.unit_tests),
        "singular_tests": {
            (part.package.name, test): config
            for part, one in zip(parts, described, strict=True)
            for test, config in one.singular.items()
        },
        "test_trees": {part.package.name: _test_tree(part.package.settings) for part in parts},
        "on_run_start": _hooks(parts, "on-run-start"),
        "on_run_end": _hooks(parts, "on-run-end"),
    }


def _hooks(parts: Sequence[Part], setting: str) -> tuple[tuple[Path, str], ...]:
    """The hooks of a run with the file of each: those of packages in the order of their names, then the project's."""
    packages = [part.package for part in (*parts[1:], parts[0])]
    return tuple((one.folder / "dbt_project.yml", text) for one in packages for text in one.settings.strings(setting))


def together(mistakes: Sequence[KpiError], root: Path | None = None) -> KpiError:
    """Return one error that tells all mistakes of the project in `root`, in the order of file and place."""
    error = mistakes[0]
    compile_errors = [mistake for mistake in mistakes if isinstance(mistake, CompileError)]
    if len(mistakes) > 1 and len(compile_errors) == len(mistakes):
        error = CompileErrors(sorted(compile_errors, key=lambda mistake: (mistake.file, mistake.line, mistake.column)))
    elif len(mistakes) > 1:
        error = ConfigErrors(mistakes)
    error.root = root
    return error


def _doc_in(docs: Mapping[str, Mapping[str, str]], values: Values) -> Callable[..., str]:
    """The doc() of YAML files: of the package named, else of the file's own and then of any."""

    def doc(*names: str) -> str:
        wanted = names[-1] if names else ""
        first = names[0] if len(names) > 1 else values.package
        for texts in (docs.get(first, {}), *docs.values()):
            if wanted in texts:
                return texts[wanted]
        message = f"doc('{wanted}'): there is no such doc block"
        raise ConfigError(f"{message}.{nearest(wanted, [name for texts in docs.values() for name in texts])}")

    return doc


def _is_loaded(source: Source) -> bool:
    return bool(source.location) or "feed" in source.meta


def _test_tree(settings: Section) -> Section:
    key = next((key for key in ("data_tests", "data-tests", "tests") if settings.get(key)), "data_tests")
    return settings.section(key)


def _named_twice(resources: Sequence[Resource]) -> Iterator[CompileError]:
    resource_by_name: dict[tuple[str, str], Resource] = {}
    for resource in resources:
        first = resource_by_name.setdefault((resource.package, resource.name), resource)
        if first is not resource:
            message = f"'{resource.name}' is also the name of {first.file}. Rename one of them."
            yield CompileError(resource.file, 1, message)
