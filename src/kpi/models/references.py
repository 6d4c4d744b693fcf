"""What ref() and source() of a file mean: in the project first, then in the file's own package, then in any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kpi.base.errors import nearest
from kpi.base.relation import Relation
from kpi.parse.macros import Wrong
from kpi.parse.project import Project

_KINDS = ("model", "seed", "snapshot")


def find_ref(
    project: Project, relations: Mapping[str, Relation], package: str, names: Sequence[str], version: object = None
) -> Relation:
    """Return the model, seed or snapshot that ref(...) in a file of a package means; a model's latest version if none
    is named. Raises Wrong when there is none, or when it may be one of several."""
    if len(names) not in (1, 2) or not all(isinstance(name, str) for name in names):
        raise Wrong("ref takes the name of a model or seed, and the project's name before it if you like.")
    name, latest = names[-1], project.latest_versions
    if len(names) == 2 and names[0] not in (project.name, *project.packages):
        raise Wrong(f"ref('{names[0]}', '{name}'): there is no package '{names[0]}' here.")
    for one in names[:1] if len(names) == 2 else dict.fromkeys((project.name, package)):
        for kind in _KINDS:
            wanted = f"{name}.v{version}" if version is not None else latest.get((one, name), name)
            if found := relations.get(f"{kind}.{one}.{wanted}"):
                return found
    if len(names) == 1:
        wanted_anywhere = {f"{name}.v{version}"} if version is not None else {name}
        anywhere = [
            relations[node_id]
            for one in project.packages
            for kind in _KINDS
            for wanted in ({latest.get((one, name), name)} if version is None else wanted_anywhere)
            if (node_id := f"{kind}.{one}.{wanted}") in relations
        ]
        if len(anywhere) > 1:
            homes = " and ".join(relation.node.split(".")[1] for relation in anywhere)
            raise Wrong(f"ref('{name}'): the packages {homes} have it. Name the package: ref('…', '{name}').")
        if anywhere:
            return anywhere[0]
    versions = sorted(set(_versions(relations, name)))
    if version is not None and versions:
        raise Wrong(f"ref('{name}', v={version}): there is no such version; there are {', '.join(versions)}.")
    if version is not None and any(node.split(".", 2)[2] == name for node in relations):
        raise Wrong(f"ref('{name}', v={version}): '{name}' has no versions.")
    known = [node.split(".", 2)[2].partition(".v")[0] for node in relations if not node.startswith("source.")]
    raise Wrong(f"ref('{name}'): there is no such model or seed.{nearest(name, known)}")


def find_source(
    project: Project, relations: Mapping[str, Relation], package: str, source_name: str, table_name: str
) -> Relation:
    """Return the table that source(...) in a file of a package means. Raises Wrong when there is none."""
    for one in dict.fromkeys((project.name, package, *project.packages)):
        if found := relations.get(f"source.{one}.{source_name}.{table_name}"):
            return found
    known = [node.split(".", 2)[2] for node in relations if node.startswith("source.")]
    hint = nearest(f"{source_name}.{table_name}", known)
    raise Wrong(f"source('{source_name}', '{table_name}'): there is no such source table.{hint}")


def version_of(given: Mapping[str, object]) -> object:
    """The version that ref(..., v=2) or ref(..., version=2) names. Raises Wrong for anything else."""
    for name in given:
        if name not in ("v", "version"):
            raise Wrong(f"ref(..., {name}=...): ref takes no '{name}'. A version is ref('…', v=2).")
    return given.get("v", given.get("version"))


def _versions(relations: Mapping[str, Relation], name: str) -> Iterator[str]:
    for node in relations:
        kind, _, rest = node.split(".", 2)
        if kind == "model" and rest.startswith(f"{name}.v"):
            yield rest.removeprefix(f"{name}.v")
