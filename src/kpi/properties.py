"""What the YAML files beside models and seeds say of them and of the sources, as frozen values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kpi.errors import CompileError, ConfigError, KpiError, nearest
from kpi.yamlfile import Section

_ALL_CONFIGS = ("schema", "alias", "tags", "enabled", "meta", "docs", "pre_hook", "post_hook", "full_refresh")
MODEL_CONFIGS = (
    *_ALL_CONFIGS,
    "materialized",
    "contract",
    "incremental_strategy",
    "unique_key",
    "partition_by",
    "on_schema_change",
)
SEED_CONFIGS = (*_ALL_CONFIGS, "column_types", "delimiter")
MATERIALIZATIONS = ("view", "table", "ephemeral", "incremental")
SEVERITIES = ("error", "warn")
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


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
    name: str = ""
    limit: int | None = None
    warn_if: str = "!= 0"
    error_if: str = "!= 0"
    store_failures: bool = False

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
class Source:
    """One table of a dbt source."""

    source_name: str
    name: str
    schema: str
    identifier: str
    tags: tuple[str, ...]
    properties: Properties
    meta: Section


@dataclass(frozen=True, slots=True)
class Described:
    """Everything the properties files describe; models and seeds by name, sources in name order, unit tests as read."""

    models: Mapping[str, Properties]
    seeds: Mapping[str, Properties]
    sources: tuple[Source, ...]
    unit_tests: tuple[Section, ...]


def read_properties(documents: Sequence[Section], mistakes: list[KpiError]) -> Described:
    """Read all properties files. What is wrong with an entry goes to `mistakes`, and the entry is left out."""
    found: dict[str, dict[str, Properties]] = {"models": {}, "seeds": {}}
    sources: dict[tuple[str, str], Source] = {}
    unit_tests: list[Section] = []
    for document in documents:
        try:
            document.allow(("version", "models", "seeds", "sources", "unit_tests"), "a properties file")
            unit_tests += document.sections("unit_tests")
            entries = [(kind, entry) for kind in ("models", "seeds", "sources") for entry in document.sections(kind)]
        except ConfigError as error:
            mistakes.append(error)
            continue
        for kind, entry in entries:
            try:
                if kind == "sources":
                    for source in _source_tables(entry):
                        _add_source(source, sources)
                else:
                    _add(_described(entry, kind), found[kind])
            except KpiError as error:
                mistakes.append(error)
    return Described(found["models"], found["seeds"], tuple(sources[key] for key in sorted(sources)), tuple(unit_tests))


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


_KINDS_OF_VALUES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "enabled": ("true or false", lambda value: isinstance(value, bool)),
    "severity": ("'error' or 'warn'", lambda value: str(value).lower() in SEVERITIES),
    "schema": ("lower-case letters, digits and _", lambda value: value is None or is_plain(value)),
    "tags": ("a text or a list of texts", _all_texts),
    "delimiter": ("one character", lambda value: isinstance(value, str) and len(value) == 1),
    "column_types": (
        "a mapping of columns to types",
        lambda value: isinstance(value, dict) and _all_texts(value.values()),
    ),
}


def settings_in(level: Section, allowed: Sequence[str]) -> dict[str, Any]:
    """Return the settings given at one level, without the + that may lead them; mappings of other names are left out.

    Raises ConfigError for a setting that is not among `allowed` or has a value of the wrong kind.
    """
    found: dict[str, Any] = {}
    for key, value in level.items():
        name = key.removeprefix("+").replace("-", "_")
        if name in allowed:
            problem = config_problem(name, value)
            if problem:
                raise ConfigError(f"{level.where(key)}: {problem}")
            found[name] = value
        elif key != name or not isinstance(value, Section):
            raise ConfigError(f"{level.where(key)}: the setting '{name}' is not supported.{nearest(name, allowed)}")
    return found


def tags_of(value: Any) -> tuple[str, ...]:
    """Return the setting `tags` as a tuple; one text is one tag."""
    return (value,) if isinstance(value, str) else tuple(value or ())


def _described(entry: Section, kind: str) -> Properties:
    allowed = MODEL_CONFIGS if kind == "models" else SEED_CONFIGS
    entry.section("config").allow(allowed, f"the config of a {kind[:-1]}")
    settings = settings_in(entry.section("config"), allowed)
    return _properties(entry, kind[:-1], ("meta", "docs"), settings)


def _add(properties: Properties, known: dict[str, Properties]) -> None:
    other = known.get(properties.name)
    if other:
        told = f"'{properties.name}' is described at {other.file}:{other.line} too."
        raise CompileError(properties.file, properties.line, told)
    known[properties.name] = properties


def _add_source(source: Source, known: dict[tuple[str, str], Source]) -> None:
    about, other = source.properties, known.get((source.source_name, source.name))
    if other:
        told = f"the source '{source.source_name}.{source.name}' is described at"
        raise CompileError(about.file, about.line, f"{told} {other.properties.file}:{other.properties.line} too.")
    for part in (source.schema, source.identifier):
        if not is_plain(part):
            raise CompileError(about.file, about.line, f"'{part}' must be lower-case letters, digits and _.")
    known[source.source_name, source.name] = source


def _source_tables(entry: Section) -> Iterator[Source]:
    entry.allow(("name", "schema", "description", "tables", "config", "meta", "tags"), "a source")
    name = entry.required("name")
    shared = _source_tags(entry)
    for table in entry.sections("tables"):
        properties = _properties(table, "source table", ("meta", "tags", "identifier"), {})
        yield Source(
            source_name=name,
            name=properties.name,
            schema=entry.text("schema") or name,
            identifier=table.text("identifier") or properties.name,
            tags=shared + _source_tags(table),
            properties=properties,
            meta=_meta(table),
        )


def _source_tags(entry: Section) -> tuple[str, ...]:
    config = entry.section("config")
    config.allow(("meta", "tags"), "the config of a source")
    return entry.strings("tags") + config.strings("tags")


def _meta(entry: Section) -> Section:
    config = entry.section("config")
    return config.section("meta") if "meta" in config else entry.section("meta")


def _properties(entry: Section, what: str, others: tuple[str, ...], settings: Mapping[str, Any]) -> Properties:
    entry.allow(("name", "description", "columns", "data_tests", "tests", "config", *others), f"a {what}")
    name = entry.required("name")
    columns: dict[str, Column] = {}
    tests = list(_tests(entry, ""))
    for item in entry.sections("columns"):
        item.allow(("name", "description", "data_type", "data_tests", "tests", "config", "meta"), "a column")
        column = item.required("name")
        if column in columns:
            raise ConfigError(f"{item.where()}: the column '{column}' stands here twice.")
        item.section("config").allow(("meta",), "the config of a column")
        columns[column] = Column(column, item.text("data_type"), item.text("description"), _meta(item), item.line)
        tests.extend(_tests(item, column))
    return Properties(
        name=name,
        description=entry.text("description"),
        columns=tuple(columns.values()),
        tests=tuple(tests),
        config=settings,
        file=entry.file,
        line=entry.line,
    )


def _tests(entry: Section, column: str) -> Iterator[TestSpec]:
    for key in ("data_tests", "tests"):
        items = entry.items_of(key)
        for item, line in zip(items, items.lines, strict=True):
            if isinstance(item, str):
                yield TestSpec(item, column, {}, "error", "", entry.file, line)
            elif isinstance(item, Section) and item:
                yield _test_with_settings(item, column)
            else:
                raise ConfigError(f"{entry.file}:{line}: a data test is a name, or a name with its settings.")


def _test_with_settings(item: Section, column: str) -> TestSpec:
    kind = next(iter(item))
    item.allow((kind,), "a data test (indent its settings below its name)")
    settings = item.section(kind)
    config = settings.section("config")
    config.allow(("severity", "where"), "the config of a data test")
    arguments = dict(settings.section("arguments"))
    for name, value in settings.items():
        if name not in ("arguments", "config", "name", "description", "severity", "where"):
            arguments[name] = value
    level = config if "severity" in config else settings
    severity = level.text("severity") or SEVERITIES[0]
    problem = config_problem("severity", severity)
    if problem:
        raise ConfigError(f"{level.where('severity')}: {problem}")
    return TestSpec(
        kind=kind,
        column=column,
        arguments=arguments,
        severity=severity.lower(),
        where=config.text("where") or settings.text("where"),
        file=item.file,
        line=item.line,
        name=settings.text("name"),
    )
