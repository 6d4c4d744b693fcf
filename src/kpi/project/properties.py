"""What YAML says of models, seeds, snapshots, sources and exposures: settings, columns and tests, as frozen values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Template
from typing import Any

from kpi.errors import CompileError, ConfigError, KpiError, Place, nearest
from kpi.project.packages import Diagnostics, Emit
from kpi.sql import literal
from kpi.yaml_loader import Items, Section

# Known to dbt, and without effect here: there is one database, nobody is granted anything in a build, and so on.
NO_EFFECT = (
    *("access", "group", "grants", "quoting", "persist_docs", "event_time", "query_tag", "transient", "packages"),
    *("on_configuration_change", "cluster_by", "labels", "hours_to_expiration", "copy_grants", "secure", "dist"),
    *("snowflake_warehouse", "automatic_clustering", "bind", "file_format", "table_format", "static_analysis"),
    *("sort", "unlogged", "freshness", "database", "indexes"),
)
_ALL_CONFIGS = (
    *("schema", "alias", "tags", "enabled", "meta", "docs", "pre_hook", "post_hook", "full_refresh"),
    *NO_EFFECT,
)
MODEL_CONFIGS = (
    *_ALL_CONFIGS,
    *("materialized", "contract", "incremental_strategy", "unique_key", "partition_by", "on_schema_change"),
    *("incremental_predicates", "merge_update_columns", "merge_exclude_columns"),
    *("location", "format", "options", "delimiter", "glue_register", "glue_database"),
)
SEED_CONFIGS = (*_ALL_CONFIGS, "column_types", "delimiter", "quote_columns")
SNAPSHOT_CONFIGS = (
    *_ALL_CONFIGS,
    *("strategy", "unique_key", "updated_at", "check_cols", "invalidate_hard_deletes", "hard_deletes"),
    *("target_schema", "target_database", "dbt_valid_to_current", "snapshot_meta_column_names"),
)
# What may stand beside a test's arguments, where dbt had it first. Other settings' names may be arguments of a test.
BESIDE = (
    *("severity", "where", "limit", "error_if", "warn_if", "store_failures", "store_failures_as"),
    *("tags", "enabled", "fail_calc"),
)
TEST_CONFIGS = (*BESIDE, "meta", "schema", "alias", "database", "group")
SOURCE_CONFIGS = ("enabled", "meta", "tags", "event_time", "freshness", "loaded_at_field", "loaded_at_query")
MATERIALIZATIONS = ("view", "table", "ephemeral", "incremental", "external")
SEVERITIES = ("error", "warn")
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
_COMPARISON = re.compile(
    r"\s*(=|==|!=|<>|<=?|>=?|(not\s+)?between\s+\S+\s+and)\s*-?[0-9.]+(\s+and\s+-?[0-9.]+)?\s*", re.I
)


@dataclass(frozen=True, slots=True)
class TestSpec:
    """One data test of a relation, or of one of its columns when `column` is not empty.

    `number` counts those of one resource: more than one may stand in one line.
    """

    kind: str
    column: str
    arguments: Mapping[str, Any]
    severity: str
    where: str
    file: Path
    line: int
    name: str = ""
    limit: int | None = None
    warn_if: str = "!= 0"
    error_if: str = "!= 0"
    store_failures: bool = False
    fail_calc: str = "count(*)"
    tags: tuple[str, ...] = ()
    enabled: bool = True
    description: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0

    __test__ = False


@dataclass(frozen=True, slots=True)
class Column:
    """One documented column."""

    name: str
    data_type: str
    description: str
    meta: Section
    line: int
    constraints: tuple[Section, ...] = ()
    tags: tuple[str, ...] = ()
    quote: bool = False
    is_tested: bool = False


@dataclass(frozen=True, slots=True)
class Properties:
    """What YAML says of one model, seed, snapshot or source table.

    `name` is that of its file. Of a version of a model, `model` is the model's name and `version` the version as text.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    tests: tuple[TestSpec, ...]
    config: Mapping[str, Any]
    file: Path
    line: int
    constraints: tuple[Section, ...] = ()
    model: str = ""
    version: str = ""
    is_latest: bool = False

    @property
    def named(self) -> str:
        """The name of its node: a version of a model is `model.v2`."""
        return f"{self.model}.v{self.version}" if self.version else self.name


@dataclass(frozen=True, slots=True)
class Exposure:
    """Something outside that reads the project's tables; `depends_on` are calls of ref() and source() as written."""

    name: str
    kind: str
    owner: Mapping[str, Any]
    depends_on: tuple[str, ...]
    tags: tuple[str, ...]
    description: str
    file: Path
    line: int
    package: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """One table of a dbt source.

    `location` is SQL that can stand after `from` when the table is files outside the warehouse; empty otherwise.
    `database` is the database it is said to be in, and `database_file` a DuckDB file named for it alone. `problem`
    says why it cannot be loaded, for who reads it.
    """

    source_name: str
    name: str
    schema: str
    identifier: str
    tags: tuple[str, ...]
    properties: Properties
    meta: Section
    location: str = ""
    loaded_at_field: str = ""
    freshness: Mapping[str, Any] = field(default_factory=dict)
    database: str = ""
    database_file: str = ""
    package: str = ""
    problem: str = ""

    @property
    def id(self) -> str:
        return f"source.{self.package}.{self.source_name}.{self.name}"


def is_plain(name: object) -> bool:
    """Tell whether a name can stand in SQL as it is, whatever the case and the quoting."""
    return isinstance(name, str) and _PLAIN.fullmatch(name) is not None


def config_problem(name: str, value: object) -> str:
    """Say what is wrong with the value of a setting of a model or seed; empty when nothing is."""
    if name == "materialized" and value not in MATERIALIZATIONS:
        return f"materialized='{value}' is not supported.{nearest(str(value), MATERIALIZATIONS)}"
    expected, right = _KINDS_OF_VALUES.get(name, ("", lambda _: True))
    return "" if right(value) else f"{name} must be {expected}, not {value!r}."


def _all_texts(values: object) -> bool:
    return all(isinstance(value, str) for value in values) if isinstance(values, Iterable) else False


_KindOfValue = tuple[str, Callable[[Any], bool]]  # what it is called, and whether a value is of it
_TEXT: _KindOfValue = ("a text", lambda value: value is None or (isinstance(value, str) and value.strip() != ""))
_CONDITION: _KindOfValue = (
    "a comparison such as '>10'",
    lambda value: _COMPARISON.fullmatch(str(value)) is not None,
)
_KINDS_OF_VALUES: Mapping[str, _KindOfValue] = {
    "enabled": ("true or false", lambda value: isinstance(value, bool)),
    "severity": ("'error' or 'warn'", lambda value: str(value).lower() in SEVERITIES),
    "schema": _TEXT,
    "alias": _TEXT,
    "meta": ("a mapping", lambda value: isinstance(value, Mapping)),
    "limit": ("a whole number", lambda value: value is None or (isinstance(value, int) and value >= 0)),
    "store_failures": ("true or false", lambda value: value is None or isinstance(value, bool)),
    "error_if": _CONDITION,
    "warn_if": _CONDITION,
    "tags": ("a text or a list of texts", _all_texts),
    "delimiter": ("one character", lambda value: isinstance(value, str) and len(value) == 1),
    "column_types": (
        "a mapping of columns to types",
        lambda value: isinstance(value, dict) and _all_texts(value.values()),
    ),
}


def settings_in(
    level: Section, allowed: Sequence[str], emit: Callable[[ConfigError], None] | None = None, *, is_tree: bool = True
) -> dict[str, Any]:
    """Return the settings given at one level, without the + that may lead them.

    In a tree of settings (`is_tree`), mappings of other names are its folders and left out. Raises ConfigError for a
    value of the wrong kind, and for a setting that is not among `allowed`; with `emit` that is reported, and the
    setting is there for templates that ask for it.
    """
    settings: dict[str, Any] = {}
    for key, value in level.items():
        name = key.removeprefix("+").replace("-", "_")
        if name in allowed:
            problem = config_problem(name, value)
            if problem:
                raise ConfigError(f"{problem}", level.where(key))
            settings[name] = value
        elif key.startswith("+") or not (is_tree and (value is None or isinstance(value, Section))):
            error = ConfigError(f"the setting '{name}' is not supported.{nearest(name, allowed)}", level.where(key))
            if emit is None:
                raise error
            emit(error)
            settings[name] = value
    return settings


def nobody(error: ConfigError) -> None:
    """Hear what is reported elsewhere already."""


def tags_of(value: Any) -> tuple[str, ...]:
    """Return the setting `tags` as a tuple; one text is one tag."""
    return (value,) if isinstance(value, str) else tuple(value or ())


_OWN = ("arguments", "config", "name", "description", "test_name", "column_name")


def tests_of(entry: Section, column: str, emit: Emit) -> Iterator[TestSpec]:
    """Read the data tests of one entry. `emit` hears of unknown settings. Raises ConfigError with file and line."""
    for key in ("data_tests", "tests"):
        items = entry.items_of(key)
        for item, line in zip(items, items.lines, strict=True):
            if isinstance(item, str):
                yield TestSpec(item, column, {}, "error", "", entry.file, line)
            elif isinstance(item, Section) and item:
                yield _with_settings(item, column, emit)
            else:
                raise ConfigError("a data test is a name, or a name with its settings.", Place(str(entry.file), line))


def numbered(tests: Iterable[TestSpec]) -> tuple[TestSpec, ...]:
    """The tests of one resource, each with its number: more than one may stand in one line."""
    return tuple(replace(test, number=number) for number, test in enumerate(tests))


def configured(spec: TestSpec, settings: Mapping[str, Any]) -> TestSpec:
    """Return the test with settings that it gets from elsewhere and does not have itself."""
    merged = {**settings, **spec.config, "tags": (*tags_of(settings.get("tags")), *spec.tags)}
    return replace(spec, config=merged, **_fields(merged))


def _with_settings(item: Section, column: str, emit: Emit) -> TestSpec:
    kind = next(iter(item))
    settings = item
    if "test_name" in item:
        kind = item.required("test_name")
    else:
        item.allow((kind,), "a data test (indent its settings below its name)")
        settings = item.section(kind)
    config = settings.section("config")
    config.allow(TEST_CONFIGS, "the config of a data test", emit)
    own = {name: value for name, value in settings.items() if name not in (*_OWN, *BESIDE)}
    arguments = {**settings.section("arguments"), **own}
    beside = settings.only({*BESIDE} - config.keys())
    test_settings = settings_in(beside, TEST_CONFIGS) | settings_in(config, TEST_CONFIGS, nobody, is_tree=False)
    if "column_name" in settings:
        arguments.setdefault("column_name", settings["column_name"])
    return TestSpec(
        kind=kind,
        column=column,
        arguments=arguments,
        file=item.file,
        line=item.line,
        name=settings.text("name"),
        description=settings.text("description"),
        config=test_settings,
        **_fields(test_settings),
    )


def _fields(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "severity": str(config.get("severity") or SEVERITIES[0]).lower(),
        "where": str(config.get("where") or ""),
        "limit": config.get("limit"),
        "warn_if": str(config.get("warn_if") or "!= 0"),
        "error_if": str(config.get("error_if") or "!= 0"),
        "store_failures": bool(config.get("store_failures") or config.get("store_failures_as") in ("table", "view")),
        "fail_calc": str(config.get("fail_calc") or "count(*)").strip(),
        "tags": tags_of(config.get("tags")),
        "enabled": config.get("enabled", True),
    }


_SHARED = (
    *("name", "description", "config", "meta", "tags", "quoting"),
    *("freshness", "loaded_at_field", "loaded_at_query"),
)
_OF_A_SOURCE = (
    *("schema", "database", "unrendered_database", "catalog", "tables", "loader", "overrides"),
    *("tests", "data_tests"),
)
OF_A_TABLE = (*_SHARED, "identifier", "external", "loader", "docs")


def source_tables(entry: Section, read: Any) -> Iterator[Source]:
    """Read one source. `read` reads a table's description, columns and tests. Raises ConfigError or CompileError."""
    entry.allow((*_SHARED, *_OF_A_SOURCE), "a source")
    name = entry.required("name")
    shared = entry.section("config")
    for table in entry.sections("tables"):
        config = table.section("config")
        properties: Properties = read(table)
        if not {"enabled": True, **shared, **config}["enabled"]:
            continue
        schema, identifier = entry.text("schema") or name, table.text("identifier") or properties.name
        meta = meta_of(table)
        if "feed" in meta:
            for part in (schema, identifier):
                if not is_plain(part):
                    message = f"'{part}' must be lower-case letters, digits and _."
                    raise CompileError(properties.file, properties.line, message)
        options = {**meta_of(entry), **_extra(shared), **meta, **_extra(config)}
        names = {"name": properties.name, "identifier": identifier, "schema": schema, "database": "kpi", **options}
        if "plugin" in options:
            message = (
                "dbt-duckdb's plugins are not supported. Write the data to a CSV or Parquet file: external_location."
            )
            raise CompileError(properties.file, properties.line, message)
        location, problem = _location(options.get("external_location"), names, table), ""
        if "://" in location and "file://" not in location:
            # Only who reads it needs the file: dbt does not look at it before.
            where = "external_location: kpi reaches for no network. Fetch the file, and name its path here"
            location, problem = "", f"{where}: {' '.join(location.split())}."
        yield Source(
            source_name=name,
            name=properties.name,
            schema=schema,
            identifier=identifier,
            tags=_tags(entry) + _tags(table),
            properties=properties,
            meta=meta,
            location=location,
            problem=problem,
            loaded_at_field=str(
                config.get("loaded_at_field") or table.get("loaded_at_field") or entry.get("loaded_at_field") or ""
            ),
            freshness=config.section("freshness") or table.section("freshness") or entry.section("freshness"),
            database=entry.text("database") or entry.text("catalog"),
            database_file=str(options.get("database_file") or ""),
        )


def meta_of(entry: Section) -> Section:
    """Return what an entry has under `config.meta`, or else under `meta`."""
    config = entry.section("config")
    return config.section("meta") if "meta" in config else entry.section("meta")


def _extra(config: Section) -> dict[str, Any]:
    """Settings of dbt-duckdb that stand in the config itself."""
    return {name: value for name, value in config.items() if name not in SOURCE_CONFIGS}


def _tags(entry: Section) -> tuple[str, ...]:
    return entry.strings("tags") + tags_of(entry.section("config").get("tags"))


def _location(text: object, names: Mapping[str, Any], table: Section) -> str:
    """The files of a table as SQL that can stand after `from`, placeholders filled in; empty when there are none."""
    if text is None:
        return ""
    formatter = names.get("formatter", "newstyle")
    try:
        match formatter:
            case "newstyle":
                sql = str(text).format_map(dict(names))
            case "oldstyle":
                sql = str(text) % dict(names)
            case "template":
                sql = Template(str(text)).substitute(names)
            case _:
                raise ConfigError(f"formatter is newstyle, oldstyle or template, not '{formatter}'.", table.where())
    except (KeyError, ValueError, IndexError) as error:
        raise ConfigError(f"external_location: there is nothing to put in for {error}.", table.where()) from None
    return sql if "(" in sql or sql.startswith("'") else literal(sql)


_OF_A_VERSION = (
    *("v", "defined_in", "description", "access", "config", "constraints", "columns", "data_tests", "tests", "docs"),
    *("deprecation_date", "meta", "tags", "group"),
)
_TESTS = ("data_tests", "tests")


def versions_of(entry: Section) -> Iterator[tuple[Section, dict[str, Any]]]:
    """An entry of a model as it stands, or one for each of its versions, with what names them: see Properties.

    Raises ConfigError for a version that is there twice or has no `v`, and for a latest one that is not there.
    """
    versions = entry.sections("versions")
    if not versions:
        yield entry, {}
        return
    model = entry.required("name")
    for version in versions:
        version.allow(_OF_A_VERSION, "a version of a model")
        if version.get("v") is None:
            raise ConfigError(f"a version of '{model}' needs its 'v'.", version.where())
    names = [str(version["v"]) for version in versions]
    for version, name in zip(versions, names, strict=True):
        if names.count(name) > 1:
            raise ConfigError(f"the version {name} of '{model}' is here twice.", version.where("v"))
    latest = str(entry.get("latest_version") or _newest([version["v"] for version in versions]))
    if latest not in names:
        where = entry.where("latest_version")
        raise ConfigError(f"'{model}' has no version {latest}; it has {', '.join(names)}.", where)
    for version, name in zip(versions, names, strict=True):
        own = _with(entry, version)
        own["name"] = version.text("defined_in").removesuffix(".sql") or f"{model}_v{name}"
        yield own, {"model": model, "version": name, "is_latest": name == latest}


def _newest(versions: list[Any]) -> Any:
    """The highest of the numbers, or else the last of the texts by their order."""
    if all(isinstance(one, int | float) for one in versions):
        return max(versions)
    return max(map(str, versions))


def _with(entry: Section, version: Section) -> Section:
    """The entry of a model with what one of its versions says."""
    own = Section(version.file, version.line)
    for section in (entry, version):
        for key in (key for key in section if key not in ("versions", "latest_version", "v", "defined_in", "columns")):
            if key in _TESTS:
                for other in _TESTS:  # a version's tests are instead of the model's
                    own.pop(other, None)
            both = key == "config" and section.section(key) and own.get(key)
            own[key] = own[key].merged(section[key]) if both else section[key]
            own.lines[key] = section.lines[key]
    columns = _columns(entry, version)
    if columns:
        own["columns"], own.lines["columns"] = columns, version.lines.get("columns", entry.lines.get("columns", 1))
    return own


def _columns(entry: Section, version: Section) -> Items:
    """The model's columns, without those that the version leaves out and with those it has of its own."""
    own = [item for item in version.sections("columns") if "include" not in item]
    chosen = next((item for item in version.sections("columns") if "include" in item), Section(entry.file, entry.line))
    include, exclude = chosen.get("include", "all"), chosen.strings("exclude")
    own_names = {item.get("name") for item in own}
    base = [
        item
        for item in entry.sections("columns")
        if (include in ("all", "*") or item.get("name") in include) and item.get("name") not in {*exclude, *own_names}
    ]
    columns = [*base, *own]
    return Items(columns, [item.line for item in columns])


_SETTINGS = {"models": MODEL_CONFIGS, "seeds": SEED_CONFIGS, "snapshots": SNAPSHOT_CONFIGS}
_NOT_BUILT = ("groups", "metrics", "semantic_models", "saved_queries", "functions")
_KEYS = (*_SETTINGS, "sources", "exposures", "unit_tests", "data_tests", "macros", "analyses", *_NOT_BUILT)
_OF_A_MODEL = (
    *("meta", "docs", "tags", "access", "group", "latest_version", "constraints", "versions", "deprecation_date"),
    *("time_spine", "primary_key", "relation", "semantic_model", "metrics", "agg_time_dimension", "derived_semantics"),
)
_OF_A_COLUMN = (
    *("name", "description", "data_type", "data_tests", "tests", "config", "meta", "tags", "quote", "constraints"),
    *("policy_tags", "dimension", "entity", "granularity"),
)
_OF_A_CONSTRAINT = (
    *("type", "name", "expression", "columns", "to", "to_columns"),
    *("warn_unenforced", "warn_unsupported"),
)
_OF_AN_EXPOSURE = (
    *("name", "label", "type", "owner", "depends_on", "url", "maturity", "description", "tags", "meta", "config"),
    "enabled",
)


@dataclass(slots=True)
class Described:
    """Everything the properties files describe, by kind and name; unit tests as read.

    `singular` are settings of singular tests by name, `relations` what a snapshot that stands in YAML is taken of.
    """

    diagnostics: Diagnostics
    found: dict[str, dict[str, Properties]] = field(default_factory=lambda: {kind: {} for kind in _SETTINGS})
    by_place: dict[tuple[str, str], Source] = field(default_factory=dict)
    unit_tests: list[Section] = field(default_factory=list)
    exposures: dict[str, Exposure] = field(default_factory=dict)
    singular: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    relations: dict[str, str] = field(default_factory=dict)

    @property
    def sources(self) -> tuple[Source, ...]:
        """Source tables in name order."""
        return tuple(self.by_place[key] for key in sorted(self.by_place))


def read_properties(documents: Sequence[Section], diagnostics: Diagnostics) -> Described:
    """Read all properties files. An entry with a mistake is left out, and the mistake is noted."""
    described, mistakes = Described(diagnostics), diagnostics.mistakes
    for document in documents:
        try:
            document.allow(("version", "anchors", *_KEYS), "a properties file", diagnostics.emit)
            described.unit_tests += document.sections("unit_tests")
            entries = [(kind, entry) for kind in _KEYS if kind != "unit_tests" for entry in document.sections(kind)]
            for kind in _NOT_BUILT:
                if document.get(kind):
                    described.diagnostics.notes.append(f"{document.where(kind)}: {kind} are not built.")
        except ConfigError as error:
            mistakes.append(error)
            continue
        for kind, entry in entries:
            try:
                _read(described, kind, entry)
            except KpiError as error:
                mistakes.append(error)
    return described


def _read(described: Described, kind: str, entry: Section) -> None:
    match kind:
        case "sources":
            if "overrides" in entry:
                described.diagnostics.notes.append(f"{entry.where('overrides')}: sources of packages are not read.")
            emit = described.diagnostics.emit
            for source in source_tables(entry, lambda table: _properties(table, "source table", OF_A_TABLE, {}, emit)):
                _add_source(source, described.by_place)
        case "models" | "seeds" | "snapshots":
            for one, version_fields in versions_of(entry) if kind == "models" else ((entry, {}),):
                _add(
                    replace(_described(one, kind, described.diagnostics.emit), **version_fields), described.found[kind]
                )
                for place in (one, one.section("config")):
                    unused_keys = [key for key in place if key.replace("-", "_") in NO_EFFECT]
                    described.diagnostics.notes.extend(
                        f"{place.where(key)}: the setting '{key}' has no effect here." for key in unused_keys
                    )
            if kind == "snapshots" and entry.text("relation"):
                described.relations[entry.required("name")] = entry.text("relation")
        case "exposures":
            exposure = _exposure(entry)
            if exposure:
                described.exposures[exposure.name] = exposure
        case "data_tests":
            emit, config = described.diagnostics.emit, entry.section("config")
            entry.allow(("name", "description", "config", "meta", "docs"), "the properties of a singular test", emit)
            config.allow(TEST_CONFIGS, "the config of a data test", emit)
            described.singular[entry.required("name")] = settings_in(config, TEST_CONFIGS, nobody, is_tree=False)
        case "macros" | "analyses":
            entry.required("name")
        case _:
            pass


def _described(entry: Section, kind: str, emit: Emit) -> Properties:
    allowed = _SETTINGS[kind]
    entry.section("config").allow(allowed, f"the config of a {kind[:-1]}", emit)
    settings = settings_in(entry.section("config"), allowed, nobody, is_tree=False)
    settings |= settings_in(entry.only({"tags", "meta", "docs", "access", "group"} - settings.keys()), allowed)
    return _properties(entry, kind[:-1], _OF_A_MODEL, settings, emit)


def _add(properties: Properties, properties_by_name: dict[str, Properties]) -> None:
    other = properties_by_name.get(properties.name)
    if other:
        message = f"'{properties.name}' is described at {other.file}:{other.line} too."
        raise CompileError(properties.file, properties.line, message)
    properties_by_name[properties.name] = properties


def _add_source(source: Source, sources: dict[tuple[str, str], Source]) -> None:
    about, other = source.properties, sources.get((source.source_name, source.name))
    if other:
        message = f"the source '{source.source_name}.{source.name}' is described at"
        raise CompileError(about.file, about.line, f"{message} {other.properties.file}:{other.properties.line} too.")
    sources[source.source_name, source.name] = source


def _exposure(entry: Section) -> Exposure | None:
    entry.allow(_OF_AN_EXPOSURE, "an exposure")
    config = entry.section("config")
    if not {"enabled": True, **entry, **config}["enabled"]:
        return None
    return Exposure(
        name=entry.required("name"),
        kind=entry.text("type"),
        owner=entry.section("owner"),
        depends_on=entry.strings("depends_on"),
        tags=entry.strings("tags") + tags_of(config.get("tags")),
        description=entry.text("description"),
        file=entry.file,
        line=entry.line,
    )


def _properties(
    entry: Section, what: str, others: tuple[str, ...], settings: Mapping[str, Any], emit: Emit
) -> Properties:
    entry.allow(("name", "description", "columns", "data_tests", "tests", "config", *others), f"a {what}", emit)
    name = entry.required("name")
    columns: dict[str, Column] = {}
    tests = list(tests_of(entry, "", emit))
    for item in entry.sections("columns"):
        column = _column(item, emit)
        if column.name in columns:
            message = f"the column '{column.name}' stands here twice."
            emit(ConfigError(f"{message} The later one says what it is; the tests of both run.", item.where()))
        columns[column.name] = column
        tests.extend(tests_of(item, column.name, emit))
    return Properties(
        name=name,
        description=entry.text("description"),
        columns=tuple(columns.values()),
        tests=numbered(tests),
        config=settings,
        file=entry.file,
        line=entry.line,
        constraints=_constraints(entry, emit),
    )


def _column(item: Section, emit: Emit) -> Column:
    item.allow(_OF_A_COLUMN, "a column", emit)
    item.section("config").allow(("meta", "tags"), "the config of a column", emit)
    return Column(
        name=item.required("name"),
        data_type=item.text("data_type"),
        description=item.text("description"),
        meta=meta_of(item),
        line=item.line,
        constraints=_constraints(item, emit),
        tags=item.strings("tags") + tags_of(item.section("config").get("tags")),
        quote=bool(item.get("quote")),
        is_tested=bool(item.get("data_tests") or item.get("tests")),
    )


def _constraints(entry: Section, emit: Emit) -> tuple[Section, ...]:
    constraints = tuple(entry.sections("constraints"))
    for item in constraints:
        item.allow(_OF_A_CONSTRAINT, "a constraint", emit)
    return constraints
