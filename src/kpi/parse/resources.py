"""The files of models, seeds, snapshots and analyses, each with the settings that apply to it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kpi.base.errors import CompileError, ConfigError, KpiError, nearest
from kpi.base.yamlfile import Section
from kpi.parse.jinjafile import blocks
from kpi.parse.properties import (
    MODEL_CONFIGS,
    NO_EFFECT,
    SEED_CONFIGS,
    SNAPSHOT_CONFIGS,
    Properties,
    nobody,
    settings_in,
    tags_of,
)
from kpi.parse.strictness import Judge
from kpi.parse.testspecs import numbered

CONFIGS = {"model": MODEL_CONFIGS, "seed": SEED_CONFIGS, "snapshot": SNAPSHOT_CONFIGS, "analysis": MODEL_CONFIGS}
ENDINGS = {"model": ".sql", "seed": ".csv", "snapshot": ".sql", "analysis": ".sql"}


_HIDDEN = ".#~"
_BLANK = 4096  # bytes; a longer file is not only blanks


@dataclass(frozen=True, slots=True)
class Resource:
    """A model, seed, snapshot or analysis: its file, as it is and relative to the project, and its merged settings.

    `text` is a snapshot's template, which is a part of its file or stands in YAML; None for the whole file. `written`
    are the settings of the last place that gives each, not merged.
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


@dataclass(slots=True)
class Found:
    """What was found, and what is to be told of it."""

    root: Path
    project: str
    judge: Judge
    packages: Collection[str] = ()

    @property
    def mistakes(self) -> list[KpiError]:
        """What is wrong."""
        return self.judge.mistakes

    @property
    def notes(self) -> list[str]:
        """What is to be told, and no mistake."""
        return self.judge.notes


def files_in(root: Path, folders: Sequence[Path], suffix: str) -> list[tuple[Path, Path]]:
    """Every file with the suffix, relative to the project, with the folder it was looked for in; in path order.

    As dbt has it: whatever the case of the suffix, in folders that are links too, and not those that editors and
    people hide by a first character.
    """
    found = {
        path.relative_to(root): folder
        for folder in folders
        for path in _below(root / folder)
        if path.suffix.lower() == suffix and path.name[0] not in _HIDDEN and path.is_file()
    }
    return sorted(found.items())


def _below(folder: Path) -> Iterator[Path]:
    """Every file in a folder and in those below it; each folder once, should a link lead back to it."""
    seen = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        place = os.path.realpath(here)
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
        folders.sort()
        yield from (Path(here, name) for name in names)


def text_of(root: Path, file: Path) -> str:
    """Read a text file of the project. Raises CompileError when it is not UTF-8."""
    try:
        return (root / file).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise CompileError(file, line, f"not UTF-8 ({error.reason} at byte {error.start}).") from None


def is_blank(root: Path, file: Path) -> bool:
    """Tell whether there is nothing in a file: then dbt passes over it."""
    return (root / file).stat().st_size < _BLANK and not text_of(root, file).strip()


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
        found.mistakes.append(error)
        tree = Section(tree.file, tree.line)
    resources = []
    for file, folder in files:
        parts = (found.project, *file.relative_to(folder).with_suffix("").parts)
        try:
            for name, text, line in _pieces(root, file, kind):
                own = properties.get(name)
                place = parts if kind != "snapshot" else (*parts, name)
                levels = [settings_in(level, allowed, nobody) for level in levels_of(tree, place)]
                levels += [dict(own.config)] if own else []
                config, written = merged(levels), {key: value for level in levels for key, value in level.items()}
                resources.append(Resource(kind, name, root / file, file, config, own, text, line, written))
        except KpiError as error:
            found.mistakes.append(error)
    return sorted(resources, key=lambda resource: resource.name)


def snapshots_in_yaml(
    found: Found, tree: Section, relations: Mapping[str, str], properties: Mapping[str, Properties]
) -> list[Resource]:
    """Return the snapshots that stand in YAML alone, each a SELECT of what its `relation` names."""
    resources = []
    for name, relation in relations.items():
        own = properties[name]
        place = (found.project, *own.file.parts[1:-1], name)
        levels = [settings_in(level, SNAPSHOT_CONFIGS, nobody) for level in levels_of(tree, place)]
        text = "\n" * (own.line - 1) + f"select * from {{{{ {relation} }}}}"
        config = merged([*levels, own.config])
        resources.append(Resource("snapshot", name, found.root / own.file, own.file, config, own, text, own.line))
    return resources


def tell_strangers(
    found: Found, kind: str, properties: Mapping[str, Properties], resources: dict[str, Resource]
) -> None:
    """Tell what YAML describes as one kind and is not there: a slip when something of nearly that name is, else a note.

    Of what is there as another kind the tests run all the same, as dbt has it. `resources` are all there are by name,
    and get these tests.
    """
    names = {resource.name for resource in resources.values() if resource.kind == kind}
    for name, entry in properties.items():
        other = resources.get(name)
        if name in names:
            continue
        hint = nearest(name, names)
        if other is not None and other.kind != "analysis":
            told = f"'{name}' is a {other.kind} and described as a {kind}. Describe it under {other.kind}s."
            error = CompileError(entry.file, entry.line, told)
            found.judge.tell(error, "Its tests run, the rest of this is not used.")
            own = other.properties or Properties(name, "", (), (), {}, entry.file, entry.line)
            both = replace(own, tests=numbered((*own.tests, *entry.tests)))
            resources[name] = replace(other, properties=both)
        elif "Did you mean" in hint:
            error = CompileError(entry.file, entry.line, f"no {kind} is named '{name}'.{hint}")
            found.judge.tell(error, "Nothing of this is used.")
        else:
            found.notes.append(f"{entry.file}:{entry.line}: no {kind} is named '{name}': nothing of this is used.")


def as_told(resource: Resource, told: Mapping[str, Resource]) -> Resource:
    """The resource as it is among those that YAML was told of, by name; of two of one name each stays itself."""
    found = told.get(resource.name, resource)
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
                merged[name] = _both(before, value)
            else:
                merged[name] = value
    tags = [tag for level in levels for tag in tags_of(level.get("tags"))]
    return {**merged, "tags": tuple(dict.fromkeys(tags))}


def _both(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    if not (isinstance(first, Section) and isinstance(second, Section)):
        return {**first, **second}
    both = Section(second.file, second.line)
    both.update({**first, **second})
    both.lines.update({**first.lines, **second.lines})
    return both


def _pieces(root: Path, file: Path, kind: str) -> Iterator[tuple[str, str | None, int]]:
    """Name, template and line of what a file holds: itself, or the snapshots in it."""
    if kind != "snapshot":
        if kind == "seed" or not is_blank(root, file):
            yield file.stem, None, 1
        return
    for block in blocks(text_of(root, file), "snapshot"):
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
    for name in settings_in(level, allowed, found.judge.tell):
        if name in NO_EFFECT:
            key = next(key for key in level if key.removeprefix("+").replace("-", "_") == name)
            found.notes.append(f"{level.where(key)}: the setting '{name}' has no effect here.")
    for key, value in level.items():
        if key.startswith("+") or key.replace("-", "_") in allowed or not (value is None or isinstance(value, Section)):
            continue
        if (*place, key) not in places:
            settings = ("meta", "docs", "contract", "column_types", "vars")
            known = [*(other[-1] for other in places if other[:-1] == place), *settings]
            hint = nearest(key, known)
            told = f"{level.where(key)}: there is nothing named '{key}' in {kind}"
            if "Did you mean" in hint and not (place == () and key in found.packages):
                found.judge.tell(ConfigError(f"{told}.{hint}"), "It has no effect.")
            else:
                found.notes.append(f"{told}: no effect.")
            continue
        if value is None:
            continue
        _refuse_strangers(found, value, (*place, key), places, kind, allowed)
