"""A dbt project as written: `dbt_project.yml`, the YAML properties and the files they speak of, as frozen values.

Nothing here renders Jinja or reads SQL. What is not supported is an error that names file, line and construct.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kpi.errors import CompileError, ConfigError, nearest
from kpi.yamlfile import Section, read_yaml

PROJECT_KEYS = [
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
]
MODEL_CONFIGS = ("materialized", "schema", "tags", "enabled", "meta", "docs")
SEED_CONFIGS = ("schema", "tags", "enabled", "meta", "docs", "column_types", "delimiter")
MATERIALIZATIONS = ("view", "table")


@dataclass(frozen=True, slots=True)
class TestSpec:
    """One data test of a relation, or of one of its columns when `column` is not empty."""

    kind: str
    column: str
    arguments: Mapping[str, Any]
    severity: str
    where: str
    file: Path
    line: int

    __test__ = False


@dataclass(frozen=True, slots=True)
class Column:
    """One documented column."""

    name: str
    data_type: str
    description: str
    meta: Section
    line: int


@dataclass(frozen=True, slots=True)
class Properties:
    """What YAML says of one model, seed or source table."""

    name: str
    description: str
    columns: tuple[Column, ...]
    tests: tuple[TestSpec, ...]
    config: Mapping[str, Any]
    file: Path
    line: int


@dataclass(frozen=True, slots=True)
class Resource:
    """A model or seed: its file, shown relative to the project, and its merged settings."""

    name: str
    path: Path
    file: Path
    config: Mapping[str, Any]
    properties: Properties | None


@dataclass(frozen=True, slots=True)
class Source:
    """One table of a dbt source."""

    source_name: str
    name: str
    schema: str
    identifier: str
    properties: Properties
    meta: Section


@dataclass(frozen=True, slots=True)
class Project:
    """The whole project as written; every tuple is in name order."""

    root: Path
    name: str
    variables: Mapping[str, Any]
    models: tuple[Resource, ...]
    seeds: tuple[Resource, ...]
    sources: tuple[Source, ...]
    macro_files: tuple[Path, ...]
    test_files: tuple[Path, ...]
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def warehouse(self) -> Path:
        """The folder that holds raw deliveries and builds."""
        return self.root / "warehouse"


def load_project(root: Path, overrides: Mapping[str, Any] | None = None) -> Project:
    """Read the project in `root`.

    `overrides` are variables given for this run. Raises ConfigError for settings that cannot be used and
    CompileError for two resources of one name.
    """
    root = root.resolve()
    if not (root / "dbt_project.yml").is_file():
        raise ConfigError(
            f"{root}: no dbt_project.yml here. Go to the project's folder, or name it with --project-dir."
        )
    settings = read_yaml(root / "dbt_project.yml", Path("dbt_project.yml"))
    settings.allow(PROJECT_KEYS, "dbt_project.yml")
    name = settings.required("name")
    model_files = _files(root, settings, "model-paths", "models", ".sql")
    seed_files = _files(root, settings, "seed-paths", "seeds", ".csv")
    documents = [
        read_yaml(root / path, path)
        for key, default in (("model-paths", "models"), ("seed-paths", "seeds"))
        for suffix in (".yml", ".yaml")
        for path in _files(root, settings, key, default, suffix)
    ]
    model_properties, seed_properties, sources = _read_properties(documents)
    models = _resources(root, settings, "models", model_files, model_properties, MODEL_CONFIGS, name)
    seeds = _resources(root, settings, "seeds", seed_files, seed_properties, SEED_CONFIGS, name)
    _refuse_twice(models + seeds)
    variables = dict(settings.section("vars"))
    own = variables.pop(name, None)
    variables.update(own if isinstance(own, Section) else {})
    variables.update(overrides or {})
    return Project(
        root=root,
        name=name,
        variables=variables,
        models=models,
        seeds=seeds,
        sources=sources,
        macro_files=_files(root, settings, "macro-paths", "macros", ".sql"),
        test_files=_files(root, settings, "test-paths", "tests", ".sql"),
        overrides=dict(overrides or {}),
    )


def _files(root: Path, settings: Section, key: str, default: str, suffix: str) -> tuple[Path, ...]:
    found: set[Path] = set()
    for folder in settings.strings(key) or (default,):
        base = root / folder
        if key in settings and not base.is_dir():
            raise ConfigError(f"{settings.where(key)}: '{key}' names {folder}, which is no folder.")
        found.update(path.relative_to(root) for path in base.rglob(f"*{suffix}") if path.is_file())
    return tuple(sorted(found))


def _resources(
    root: Path,
    settings: Section,
    kind: str,
    files: tuple[Path, ...],
    properties: Mapping[str, Properties],
    allowed: tuple[str, ...],
    project_name: str,
) -> tuple[Resource, ...]:
    tree = settings.section(kind)
    resources = []
    for file in files:
        merged: dict[str, Any] = {}
        own = properties.get(file.stem)
        for level in _levels(tree, (project_name, *file.parts[1:-1], file.stem)):
            merged.update(_configs(level, allowed))
        merged.update(_configs(own.config, allowed) if own and isinstance(own.config, Section) else {})
        if merged.get("enabled", True) is not False:
            resources.append(Resource(file.stem, root / file, file, merged, own))
    names = {file.stem for file in files}
    for name, entry in properties.items():
        if name not in names:
            raise CompileError(entry.file, entry.line, f"no {kind[:-1]} is named '{name}'.{nearest(name, names)}")
    return tuple(sorted(resources, key=lambda resource: resource.name))


def _levels(tree: Section, parts: tuple[str, ...]) -> Iterator[Section]:
    yield tree
    for part in parts:
        deeper = tree.get(part)
        if not isinstance(deeper, Section):
            return
        yield deeper
        tree = deeper


def _configs(level: Section, allowed: tuple[str, ...]) -> dict[str, Any]:
    found = {}
    for key, value in level.items():
        name = key.removeprefix("+")
        if name in allowed:
            found[name] = value
        elif key.startswith("+") or not isinstance(value, Section):
            raise ConfigError(f"{level.where(key)}: the setting '{name}' is not supported.{nearest(name, allowed)}")
    return found


def _refuse_twice(resources: tuple[Resource, ...]) -> None:
    seen: dict[str, Resource] = {}
    for resource in resources:
        if resource.name in seen:
            raise CompileError(
                resource.file,
                1,
                f"'{resource.name}' is also the name of {seen[resource.name].file}. Rename one of them.",
            )
        seen[resource.name] = resource


def _read_properties(
    documents: list[Section],
) -> tuple[dict[str, Properties], dict[str, Properties], tuple[Source, ...]]:
    models: dict[str, Properties] = {}
    seeds: dict[str, Properties] = {}
    sources: dict[tuple[str, str], Source] = {}
    for document in documents:
        document.allow(("version", "models", "seeds", "sources"), "a properties file")
        for key, known in (("models", models), ("seeds", seeds)):
            for entry in document.sections(key):
                properties = _properties(entry, f"the properties of a {key[:-1]}")
                if properties.name in known:
                    other = known[properties.name]
                    raise CompileError(
                        entry.file, entry.line, f"'{properties.name}' is described at {other.file}:{other.line} too."
                    )
                known[properties.name] = properties
        for entry in document.sections("sources"):
            for source in _source_tables(entry):
                if (source.source_name, source.name) in sources:
                    raise CompileError(
                        entry.file, source.properties.line, f"source '{source.source_name}.{source.name}' stands twice."
                    )
                sources[source.source_name, source.name] = source
    return models, seeds, tuple(sources[key] for key in sorted(sources))


def _source_tables(entry: Section) -> Iterator[Source]:
    entry.allow(("name", "schema", "database", "description", "tables", "config", "meta", "tags"), "a source")
    name = entry.required("name")
    for table in entry.sections("tables"):
        properties = _properties(table, "a source table")
        config = table.section("config")
        config.allow(("meta", "enabled", "tags"), "the config of a source table")
        yield Source(
            source_name=name,
            name=properties.name,
            schema=entry.text("schema") or name,
            identifier=table.text("identifier") or properties.name,
            properties=properties,
            meta=config.section("meta") if "meta" in config else table.section("meta"),
        )


def _properties(entry: Section, what: str) -> Properties:
    keys = "name description columns data_tests tests config meta docs tags identifier"
    entry.allow(keys.split(), what)
    columns: list[Column] = []
    tests = list(_tests(entry, ""))
    for item in entry.sections("columns"):
        item.allow(
            ["name", "description", "data_type", "data_tests", "tests", "config", "meta", "quote", "tags"], "a column"
        )
        name = item.required("name")
        if name in {column.name for column in columns}:
            raise ConfigError(f"{item.where()}: the column '{name}' stands here twice.")
        config = item.section("config")
        meta = config.section("meta") if "meta" in config else item.section("meta")
        columns.append(Column(name, item.text("data_type"), item.text("description"), meta, item.line))
        tests.extend(_tests(item, name))
    return Properties(
        name=entry.required("name"),
        description=entry.text("description"),
        columns=tuple(columns),
        tests=tuple(tests),
        config=entry.section("config"),
        file=entry.file,
        line=entry.line,
    )


def _tests(entry: Section, column: str) -> Iterator[TestSpec]:
    for key in ("data_tests", "tests"):
        for item in entry.items_of(key):
            if isinstance(item, str):
                yield TestSpec(item, column, {}, "error", "", entry.file, entry.lines[key])
                continue
            if not isinstance(item, Section) or not item:
                raise ConfigError(f"{entry.where(key)}: a data test is a name, or a name with its settings.")
            kind = next(iter(item))
            settings = item.section(kind)
            item.allow((kind,), "a data test (indent its settings below its name)")
            arguments = dict(settings.section("arguments"))
            config = settings.section("config")
            config.allow(("severity", "where"), "the config of a data test")
            for name, value in settings.items():
                if name not in ("arguments", "config", "name", "description", "severity", "where"):
                    arguments[name] = value
            severity = (config.text("severity") or settings.text("severity") or "error").lower()
            if severity not in ("error", "warn"):
                raise ConfigError(f"{settings.where()}: severity is 'error' or 'warn', not '{severity}'.")
            where = config.text("where") or settings.text("where")
            yield TestSpec(kind, column, arguments, severity, where, entry.file, item.line)
