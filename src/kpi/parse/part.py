"""What the files of one dbt project hold, be it the one that is built or a package of it: read, not rendered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kpi.base.errors import CompileError, ConfigError, KpiError
from kpi.base.yamlfile import Section, read_yaml
from kpi.parse.described import Described, read_properties
from kpi.parse.files import files_in, is_blank, text_of
from kpi.parse.jinjafile import blocks
from kpi.parse.packages import PATHS, Package
from kpi.parse.properties import Source, settings_in
from kpi.parse.resources import (
    Found,
    Resource,
    as_told,
    levels_of,
    merged,
    resources_of,
    snapshots_in_yaml,
    tell_strangers,
)
from kpi.parse.strictness import Judge, has_house_rules
from kpi.parse.yamljinja import LATER, YamlJinja

_SOURCE_TREE = ("enabled", "meta", "tags", "freshness", "event_time", "loaded_at_field", "quoting")


@dataclass(frozen=True, slots=True)
class Part:
    """What the files of the project, or of one of its packages, hold."""

    package: Package
    described: Described
    resources: tuple[Resource, ...]
    sources: tuple[Source, ...]
    macro_files: tuple[Path, ...]
    test_files: tuple[Path, ...]
    fixture_files: tuple[Path, ...]
    notes: tuple[str, ...]


def read_part(
    root: Path,
    package: Package,
    own: Package,
    packages: Mapping[str, Package],
    jinja: YamlJinja,
    docs: dict[str, dict[str, str]],
    mistakes: list[KpiError],
) -> Part:
    """Read the files of the project or a package. What is wrong goes to `mistakes`."""
    settings, is_own = package.settings, package is own
    jinja.values.package = "" if is_own else package.name
    jinja.fill(settings, (*LATER[3:], "vars"))
    paths = {kind: package.folders(root, kind) for kind in PATHS}
    above = None if is_own else own.settings
    judge = Judge(is_own and has_house_rules(settings), mistakes)
    found = Found(root, package.name, judge, frozenset(packages), above, package.depth)
    everywhere = tuple(dict.fromkeys(folder for folders in paths.values() for folder in folders))
    doc_folders = package.folders(root, "docs") if "docs-paths" in settings else ()
    docs[package.name] = _docs(root, doc_folders or everywhere, mistakes)
    documents = []
    for document in _documents(root, everywhere, mistakes):
        try:
            documents.append(jinja.fill(document))
        except ConfigError as error:
            mistakes.append(error)
    described = read_properties(documents, judge)
    resources: list[Resource] = []
    for kind, tree in (("model", "models"), ("seed", "seeds"), ("snapshot", "snapshots"), ("analysis", "analyses")):
        if kind == "analysis" and not is_own:
            continue  # compiled for people to copy, from their own project
        about = described.found.get(tree, {})
        of_kind = resources_of(found, settings.section(tree), kind, paths[kind], about)
        if kind == "snapshot":
            of_kind += snapshots_in_yaml(found, settings.section(tree), described.relations, about)
        resources += of_kind
    by_name = {resource.name: resource for resource in resources if resource.kind != "analysis"}
    for kind in ("model", "seed", "snapshot"):
        names = {resource.name for resource in resources if resource.kind == kind}
        tell_strangers(found, kind, described.found[f"{kind}s"], names, by_name)
    resources = [as_told(one, by_name) for one in resources]
    for file, _ in files_in(root, paths["model"], ".py"):
        told = (
            "models in Python are not supported. Write a SELECT, or prepare the data outside and read it as a source."
        )
        mistakes.append(CompileError(file, 1, told))
    tests, fixtures = ([file for file, _ in files_in(root, paths["test"], end)] for end in (".sql", ".csv"))
    trees = [settings.section("sources")] + ([] if is_own else [own.settings.section("sources")])
    return Part(
        package=package,
        described=described,
        resources=tuple(resources),
        sources=_enabled(described.sources, trees, package),
        macro_files=(
            *(file for file, _ in files_in(root, paths["macro"], ".sql")),
            *(file for file in tests if "generic" in file.parts),
        ),
        test_files=tuple(f for f in tests if not {"fixtures", "generic"} & set(f.parts) and not is_blank(root, f)),
        fixture_files=tuple(file for file in (*tests, *fixtures) if "fixtures" in file.parts),
        # What a package says that has no effect is its makers' business.
        notes=tuple(found.notes) if is_own else (),
    )


def _documents(root: Path, folders: Sequence[Path], mistakes: list[KpiError]) -> list[Section]:
    documents = []
    for suffix in (".yml", ".yaml"):
        for file, _ in files_in(root, folders, suffix):
            try:
                documents.append(read_yaml(root / file, file))
            except ConfigError as error:
                mistakes.append(error)
    return documents


def _docs(root: Path, folders: Sequence[Path], mistakes: list[KpiError]) -> dict[str, str]:
    found: dict[str, str] = {}
    for file, _ in files_in(root, folders, ".md"):
        try:
            for block in blocks(text_of(root, file), "docs"):
                found[block.name] = block.text.strip()
        except CompileError as error:
            mistakes.append(error)
    return found


def _enabled(sources: Sequence[Source], trees: Sequence[Section], package: Package) -> tuple[Source, ...]:
    """The sources that no dbt_project.yml switches off."""
    kept = []
    for source in sources:
        parts = source.properties.file.parts[package.depth : -1]
        place = (package.name, *parts, source.source_name, source.name)
        levels = [settings_in(level, _SOURCE_TREE) for tree in trees for level in levels_of(tree, place)]
        if merged(levels).get("enabled", True):
            kept.append(replace(source, package=package.name))
    return tuple(kept)
