"""Models, seeds, snapshots and analyses, each with the settings that apply to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kpi.errors import CompileError, ConfigError, KpiError, nearest
from kpi.project.packages import Diagnostics, files_in, is_blank, read_text
from kpi.project.properties import (
    MODEL_CONFIGS,
    NO_EFFECT,
    SEED_CONFIGS,
    SNAPSHOT_CONFIGS,
    Properties,
    nobody,
    numbered,
    settings_in,
    tags_of,
)
from kpi.yaml_loader import Section

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
                config, written = merged(levels), {key: value for level in levels for key, value in level.items()}
                most = merged([settings_in(level, allowed) for level in levels_of(above, place)]) if above else {}
                named = own.named if own else name
                more = found.project, most, found.depth
                resources.append(Resource(kind, named, root / file, file, config, own, text, line, written, *more))
        except KpiError as error:
            found.diagnostics.mistakes.append(error)
    return sorted(resources, key=lambda resource: resource.name)


def _tree(settings: Section | None, name: str) -> Section | None:
    return settings.section(name) if settings is not None and settings.get(name) else None


def _by_file(properties: Mapping[str, Properties], stems: set[str]) -> dict[str, Properties]:
    """Properties by the name of their file; the latest version of a model may be in a file named as the model."""
    found = dict(properties)
    for own in properties.values():
        if own.is_latest and own.name not in stems:
            found[own.model] = own
    return found


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
    found = described.get(resource.name, resource)
    return found if (found.kind, found.file) == (resource.kind, resource.file) else resource


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
            known = [*(other[-1] for other in places if other[:-1] == place), *settings]
            hint = nearest(key, known)
            message = f"there is nothing named '{key}' in {kind}"
            if "Did you mean" in hint and not (place == () and key in found.packages):
                found.diagnostics.emit(ConfigError(f"{message}.{hint}", level.where(key)), "It has no effect.")
            else:
                found.diagnostics.notes.append(f"{level.where(key)}: {message}: no effect.")
            continue
        if value is None:
            continue
        _refuse_strangers(found, value, (*place, key), places, kind, allowed)
