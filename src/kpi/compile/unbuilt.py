"""What of a package cannot be compiled here: noted and left out, for it is not the project's to mend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from kpi.base.errors import CompileError, KpiError
from kpi.base.relation import Relation
from kpi.models.model import Node, line_of
from kpi.parse.project import Project


def without_unbuilt(
    project: Project, nodes: Mapping[str, Node], mistakes: Iterable[KpiError], relations: Mapping[str, Relation]
) -> tuple[dict[str, Node], list[KpiError], list[str]]:
    """Return the nodes that are built, what is wrong with the project's own files, and notes of what is left out.

    A node of a package goes with those it reads. One of the project that reads what is left out is a mistake of the
    project: it is told with the reason. `relations` are all there are, by node id.
    """
    mistakes = list(mistakes)
    theirs = [
        one for one in mistakes if isinstance(one, CompileError) and project.package_of(Path(one.file)) != project.name
    ]
    if not theirs:
        return dict(nodes), mistakes, []
    own: list[KpiError] = [one for one in mistakes if one not in theirs]
    files = {Path(one.file): one for one in theirs}
    resources = (*project.models, *project.snapshots, *project.seeds)
    gone: dict[str, KpiError] = {
        one.id: files[one.file] for one in resources if one.file in files and one.id not in nodes
    }
    kept = dict(nodes)
    notes = [f"{one} The package's is not built." for one in theirs]
    while True:
        lost = {node.id: parent for node in kept.values() for parent in node.depends_on if parent in gone}
        if not lost:
            return kept, own, notes
        for node_id, parent in lost.items():
            node, reason = kept.pop(node_id), gone[parent]
            gone[node_id] = reason
            what = relations[parent].name if parent in relations else parent
            if project.package_of(node.file) == project.name and node.kind != "exposure":
                told = f"'{what}' of a package is not built: {getattr(reason, 'message', reason)}"
                own.append(CompileError(node.file, line_of(node, relations[parent]), told))
            else:
                notes.append(
                    f"{node.file}:{node.line}: '{node.name}' is not built, for it reads '{what}', which is not."
                )
