"""Sources as YAML has them: tables that are delivered, that seeds or models fill, or that are files outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from string import Template
from typing import Any

from kpi.base.errors import CompileError, ConfigError
from kpi.base.names import literal
from kpi.base.yamlfile import Section
from kpi.parse.properties import SOURCE_CONFIGS, Properties, Source, is_plain, tags_of

_SHARED = (
    "name",
    "description",
    "config",
    "meta",
    "tags",
    "freshness",
    "loaded_at_field",
    "loaded_at_query",
    "quoting",
)
_OF_A_SOURCE = (
    "schema",
    "database",
    "catalog",
    "tables",
    "loader",
    "overrides",
    "tests",
    "data_tests",
    "unrendered_database",
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
                    told = f"'{part}' must be lower-case letters, digits and _."
                    raise CompileError(properties.file, properties.line, told)
        options = {**meta_of(entry), **_extra(shared), **meta, **_extra(config)}
        names = {"name": properties.name, "identifier": identifier, "schema": schema, "database": "kpi", **options}
        if "plugin" in options:
            told = "dbt-duckdb's plugins are not supported. Write the data to a CSV or Parquet file: external_location."
            raise CompileError(properties.file, properties.line, told)
        yield Source(
            source_name=name,
            name=properties.name,
            schema=schema,
            identifier=identifier,
            tags=_tags(entry) + _tags(table),
            properties=properties,
            meta=meta,
            location=_location(options.get("external_location"), names, table),
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
                found = str(text).format_map(dict(names))
            case "oldstyle":
                found = str(text) % dict(names)
            case "template":
                found = Template(str(text)).substitute(names)
            case _:
                raise ConfigError(f"{table.where()}: formatter is newstyle, oldstyle or template, not '{formatter}'.")
    except (KeyError, ValueError, IndexError) as error:
        raise ConfigError(f"{table.where()}: external_location: there is nothing to put in for {error}.") from None
    if "://" in found and not found.startswith("file://"):
        told = "external_location: kpi reaches for no network. Fetch the file, and name its path here"
        raise ConfigError(f"{table.where()}: {told}: {found}.")
    return found if "(" in found or found.startswith("'") else literal(found)
