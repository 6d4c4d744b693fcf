"""What YAML may say of models, seeds, snapshots and sources: settings and their values, columns and tests, frozen."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kpi.base.errors import ConfigError, nearest
from kpi.base.yamlfile import Section

# Known to dbt, and without effect here: there is one database, nobody is granted anything in a build, and so on.
NO_EFFECT = (
    *("access", "group", "grants", "quoting", "persist_docs", "event_time", "query_tag", "transient", "packages"),
    *(
        "on_configuration_change",
        "cluster_by",
        "labels",
        "hours_to_expiration",
        "copy_grants",
        "secure",
        "dist",
        "sort",
    ),
    *("snowflake_warehouse", "automatic_clustering", "bind", "file_format", "table_format", "static_analysis"),
    *("unlogged", "freshness", "database", "indexes"),
)
_ALL_CONFIGS = (
    "schema",
    "alias",
    "tags",
    "enabled",
    "meta",
    "docs",
    "pre_hook",
    "post_hook",
    "full_refresh",
    *NO_EFFECT,
)
MODEL_CONFIGS = (
    *_ALL_CONFIGS,
    "materialized",
    "contract",
    "incremental_strategy",
    "unique_key",
    "partition_by",
    "on_schema_change",
    *("incremental_predicates", "merge_update_columns", "merge_exclude_columns"),
    *("location", "format", "options", "delimiter", "glue_register", "glue_database"),
)
SEED_CONFIGS = (*_ALL_CONFIGS, "column_types", "delimiter", "quote_columns")
SNAPSHOT_CONFIGS = (
    *_ALL_CONFIGS,
    *("strategy", "unique_key", "updated_at", "check_cols", "invalidate_hard_deletes", "hard_deletes"),
    *("target_schema", "target_database", "dbt_valid_to_current", "snapshot_meta_column_names"),
)
TEST_CONFIGS = (
    *("severity", "where", "limit", "error_if", "warn_if", "fail_calc", "tags", "enabled", "meta"),
    *("store_failures", "store_failures_as", "schema", "alias", "database", "group"),
)
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
    `database` is the database it is said to be in, and `database_file` a DuckDB file named for it alone.
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

    @property
    def id(self) -> str:
        """The id of its node."""
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


_KINDS_OF_VALUES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "enabled": ("true or false", lambda value: isinstance(value, bool)),
    "severity": ("'error' or 'warn'", lambda value: str(value).lower() in SEVERITIES),
    "schema": ("a text", lambda value: value is None or (isinstance(value, str) and value.strip() != "")),
    "alias": ("a text", lambda value: value is None or (isinstance(value, str) and value.strip() != "")),
    "meta": ("a mapping", lambda value: isinstance(value, Mapping)),
    "limit": ("a whole number", lambda value: value is None or (isinstance(value, int) and value >= 0)),
    "store_failures": ("true or false", lambda value: value is None or isinstance(value, bool)),
    "error_if": ("a comparison such as '>10'", lambda value: _COMPARISON.fullmatch(str(value)) is not None),
    "warn_if": ("a comparison such as '>10'", lambda value: _COMPARISON.fullmatch(str(value)) is not None),
    "tags": ("a text or a list of texts", _all_texts),
    "delimiter": ("one character", lambda value: isinstance(value, str) and len(value) == 1),
    "column_types": (
        "a mapping of columns to types",
        lambda value: isinstance(value, dict) and _all_texts(value.values()),
    ),
}


def settings_in(
    level: Section, allowed: Sequence[str], tell: Callable[[ConfigError], None] | None = None, *, is_tree: bool = True
) -> dict[str, Any]:
    """Return the settings given at one level, without the + that may lead them.

    In a tree of settings (`is_tree`), mappings of other names are its folders and left out. Raises ConfigError for a
    value of the wrong kind, and for a setting that is not among `allowed`; with `tell` that is told and the setting is
    there, for templates that ask for it.
    """
    found: dict[str, Any] = {}
    for key, value in level.items():
        name = key.removeprefix("+").replace("-", "_")
        if name in allowed:
            problem = config_problem(name, value)
            if problem:
                raise ConfigError(f"{level.where(key)}: {problem}")
            found[name] = value
        elif key.startswith("+") or not (is_tree and (value is None or isinstance(value, Section))):
            error = f"{level.where(key)}: the setting '{name}' is not supported.{nearest(name, allowed)}"
            if tell is None:
                raise ConfigError(error)
            tell(ConfigError(error))
            found[name] = value
    return found


def nobody(error: ConfigError) -> None:
    """Hear what is told elsewhere already."""


def tags_of(value: Any) -> tuple[str, ...]:
    """Return the setting `tags` as a tuple; one text is one tag."""
    return (value,) if isinstance(value, str) else tuple(value or ())
