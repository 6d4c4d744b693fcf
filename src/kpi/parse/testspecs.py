"""Data tests as YAML asks for them, below a model, seed, snapshot, source table or column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from kpi.base.errors import ConfigError
from kpi.base.yamlfile import Section
from kpi.parse.properties import SEVERITIES, TEST_CONFIGS, TestSpec, nobody, settings_in, tags_of
from kpi.parse.strictness import Tell

_OWN = ("arguments", "config", "name", "description", "test_name", "column_name")
# What may stand beside the arguments, where dbt had it first. Other settings' names may be arguments of a test.
BESIDE = (
    "severity",
    "where",
    "limit",
    "error_if",
    "warn_if",
    "store_failures",
    "store_failures_as",
    "tags",
    "enabled",
    "fail_calc",
)


def tests_of(entry: Section, column: str, tell: Tell) -> Iterator[TestSpec]:
    """Read the data tests of one entry. `tell` hears of unknown settings. Raises ConfigError with file and line."""
    for key in ("data_tests", "tests"):
        items = entry.items_of(key)
        for item, line in zip(items, items.lines, strict=True):
            if isinstance(item, str):
                yield TestSpec(item, column, {}, "error", "", entry.file, line)
            elif isinstance(item, Section) and item:
                yield _with_settings(item, column, tell)
            else:
                raise ConfigError(f"{entry.file}:{line}: a data test is a name, or a name with its settings.")


def numbered(tests: Iterable[TestSpec]) -> tuple[TestSpec, ...]:
    """The tests of one resource, each with its number: more than one may stand in one line."""
    return tuple(replace(test, number=number) for number, test in enumerate(tests))


def configured(spec: TestSpec, settings: Mapping[str, Any]) -> TestSpec:
    """Return the test with settings that it gets from elsewhere and does not have itself."""
    merged = {**settings, **spec.config, "tags": (*tags_of(settings.get("tags")), *spec.tags)}
    return replace(spec, config=merged, **_fields(merged))


def _with_settings(item: Section, column: str, tell: Tell) -> TestSpec:
    kind = next(iter(item))
    settings = item
    if "test_name" in item:
        kind = item.required("test_name")
    else:
        item.allow((kind,), "a data test (indent its settings below its name)")
        settings = item.section(kind)
    config = settings.section("config")
    config.allow(TEST_CONFIGS, "the config of a data test", tell)
    beside = Section(settings.file, settings.line)
    arguments = dict(settings.section("arguments"))
    for name, value in settings.items():
        if name in BESIDE and name not in config:
            beside[name], beside.lines[name] = value, settings.lines[name]
        elif name not in _OWN and name not in BESIDE:
            arguments[name] = value
    given = settings_in(beside, TEST_CONFIGS) | settings_in(config, TEST_CONFIGS, nobody, is_tree=False)
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
        config=given,
        **_fields(given),
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
