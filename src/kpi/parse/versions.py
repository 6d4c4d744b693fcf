"""Versions of models: `versions:` in YAML, each the model's entry with what the version says otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kpi.base.errors import ConfigError
from kpi.base.yamlfile import Items, Section

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
            raise ConfigError(f"{version.where()}: a version of '{model}' needs its 'v'.")
    names = [str(version["v"]) for version in versions]
    for version, name in zip(versions, names, strict=True):
        if names.count(name) > 1:
            raise ConfigError(f"{version.where('v')}: the version {name} of '{model}' is here twice.")
    latest = str(entry.get("latest_version") or _newest([version["v"] for version in versions]))
    if latest not in names:
        where = entry.where("latest_version")
        raise ConfigError(f"{where}: '{model}' has no version {latest}; it has {', '.join(names)}.")
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
            own[key] = _merged(own[key], section[key]) if both else section[key]
            own.lines[key] = section.lines[key]
    columns = _columns(entry, version)
    if columns:
        own["columns"], own.lines["columns"] = columns, version.lines.get("columns", entry.lines.get("columns", 1))
    return own


def _merged(first: Section, second: Section) -> Section:
    both = Section(second.file, second.line)
    both.update({**first, **second})
    both.lines.update({**first.lines, **second.lines})
    return both


def _columns(entry: Section, version: Section) -> Items:
    """The model's columns, without those that the version leaves out and with those it has of its own."""
    own = [item for item in version.sections("columns") if "include" not in item]
    chosen = next((item for item in version.sections("columns") if "include" in item), Section(entry.file, entry.line))
    include, exclude = chosen.get("include", "all"), chosen.strings("exclude")
    said = {item.get("name") for item in own}
    base = [
        item
        for item in entry.sections("columns")
        if (include in ("all", "*") or item.get("name") in include) and item.get("name") not in {*exclude, *said}
    ]
    found = [*base, *own]
    return Items(found, [item.line for item in found])
