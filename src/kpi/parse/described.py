"""The YAML files beside models and seeds, read: what they say of these, of sources, snapshots and exposures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from kpi.base.errors import CompileError, ConfigError, KpiError
from kpi.base.yamlfile import Section
from kpi.parse.properties import (
    MODEL_CONFIGS,
    SEED_CONFIGS,
    SNAPSHOT_CONFIGS,
    TEST_CONFIGS,
    Column,
    Exposure,
    Properties,
    Source,
    nobody,
    settings_in,
    tags_of,
)
from kpi.parse.sourcetables import OF_A_TABLE, meta_of, source_tables
from kpi.parse.strictness import Judge, Tell
from kpi.parse.testspecs import numbered, tests_of
from kpi.parse.versions import versions_of

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
_OF_AN_EXPOSURE = (
    *("name", "label", "type", "owner", "depends_on", "url", "maturity", "description", "tags", "meta", "config"),
    "enabled",
)


@dataclass(slots=True)
class Described:
    """Everything the properties files describe, by kind and name; unit tests as read.

    `singular` are settings of singular tests by name, `relations` what a snapshot that stands in YAML is taken of.
    """

    judge: Judge
    found: dict[str, dict[str, Properties]] = field(default_factory=lambda: {kind: {} for kind in _SETTINGS})
    by_place: dict[tuple[str, str], Source] = field(default_factory=dict)
    unit_tests: list[Section] = field(default_factory=list)
    exposures: dict[str, Exposure] = field(default_factory=dict)
    singular: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    relations: dict[str, str] = field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """What is to be told, and no mistake."""
        return self.judge.notes

    @property
    def sources(self) -> tuple[Source, ...]:
        """Source tables in name order."""
        return tuple(self.by_place[key] for key in sorted(self.by_place))


def read_properties(documents: Sequence[Section], judge: Judge) -> Described:
    """Read all properties files. An entry with a mistake is left out, and the mistake is the judge's."""
    described, mistakes = Described(judge), judge.mistakes
    for document in documents:
        try:
            document.allow(("version", "anchors", *_KEYS), "a properties file", judge.tell)
            described.unit_tests += document.sections("unit_tests")
            entries = [(kind, entry) for kind in _KEYS if kind != "unit_tests" for entry in document.sections(kind)]
            for kind in _NOT_BUILT:
                if document.get(kind):
                    described.notes.append(f"{document.where(kind)}: {kind} are not built.")
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
                described.notes.append(f"{entry.where('overrides')}: sources of packages are not read.")
            for source in source_tables(entry, partial(_source_table, described)):
                _add_source(source, described.by_place)
        case "models" | "seeds" | "snapshots":
            for one, named in versions_of(entry) if kind == "models" else ((entry, {}),):
                _add(replace(_described(one, kind, described.judge.tell), **named), described.found[kind])
            if kind == "snapshots" and entry.text("relation"):
                described.relations[entry.required("name")] = entry.text("relation")
        case "exposures":
            exposure = _exposure(entry)
            if exposure:
                described.exposures[exposure.name] = exposure
        case "data_tests":
            tell, config = described.judge.tell, entry.section("config")
            entry.allow(("name", "description", "config", "meta", "docs"), "the properties of a singular test", tell)
            config.allow(TEST_CONFIGS, "the config of a data test", tell)
            described.singular[entry.required("name")] = settings_in(config, TEST_CONFIGS, nobody, is_tree=False)
        case "macros" | "analyses":
            entry.required("name")
        case _:
            pass


def _source_table(described: Described, table: Section) -> Properties:
    return _properties(table, "source table", OF_A_TABLE, {}, described.judge.tell)


def _described(entry: Section, kind: str, tell: Tell) -> Properties:
    allowed = _SETTINGS[kind]
    entry.section("config").allow(allowed, f"the config of a {kind[:-1]}", tell)
    settings = settings_in(entry.section("config"), allowed, nobody, is_tree=False)
    for name in ("tags", "meta", "docs", "access", "group"):
        if name in entry and name not in settings:
            beside = Section(entry.file, entry.line)
            beside[name], beside.lines[name] = entry[name], entry.lines[name]
            settings |= settings_in(beside, allowed)
    return _properties(entry, kind[:-1], _OF_A_MODEL, settings, tell)


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
    known[source.source_name, source.name] = source


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
    entry: Section, what: str, others: tuple[str, ...], settings: Mapping[str, Any], tell: Tell
) -> Properties:
    entry.allow(("name", "description", "columns", "data_tests", "tests", "config", *others), f"a {what}", tell)
    name = entry.required("name")
    columns: dict[str, Column] = {}
    tests = list(tests_of(entry, "", tell))
    for item in entry.sections("columns"):
        column = _column(item, tell)
        if column.name in columns:
            told = f"{item.where()}: the column '{column.name}' stands here twice."
            tell(ConfigError(f"{told} The later one says what it is; the tests of both run."))
        columns[column.name] = column
        tests.extend(tests_of(item, column.name, tell))
    return Properties(
        name=name,
        description=entry.text("description"),
        columns=tuple(columns.values()),
        tests=numbered(tests),
        config=settings,
        file=entry.file,
        line=entry.line,
        constraints=_constraints(entry, tell),
    )


def _column(item: Section, tell: Tell) -> Column:
    item.allow(_OF_A_COLUMN, "a column", tell)
    item.section("config").allow(("meta", "tags"), "the config of a column", tell)
    return Column(
        name=item.required("name"),
        data_type=item.text("data_type"),
        description=item.text("description"),
        meta=meta_of(item),
        line=item.line,
        constraints=_constraints(item, tell),
        tags=item.strings("tags") + tags_of(item.section("config").get("tags")),
        quote=bool(item.get("quote")),
        is_tested=bool(item.get("data_tests") or item.get("tests")),
    )


def _constraints(entry: Section, tell: Tell) -> tuple[Section, ...]:
    return tuple(_each_constraint(entry, tell))


def _each_constraint(entry: Section, tell: Tell) -> Iterator[Section]:
    for item in entry.sections("constraints"):
        item.allow(
            ("type", "name", "expression", "columns", "to", "to_columns", "warn_unenforced", "warn_unsupported"),
            "a constraint",
            tell,
        )
        yield item
