"""What a node is in itself and what it is made from, as hashes: two fingerprints that are equal need no building.

Every node has a *version* that names the content it holds. A table's is the build that last changed that content, so a
table that is rebuilt to equal rows keeps it; a view's is its own fingerprint, for what it yields follows from its SQL
and its parents' versions. A fingerprint covers what the node itself is and its parents' versions, not their
fingerprints: that is where a wave of rebuilding stops.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kpi.build_record import Ingredients
from kpi.engine.graph import Graph
from kpi.engine.node import Node
from kpi.environment import digest, environment_of, hashed_values, holds_value
from kpi.files import checksum
from kpi.ingest import feed_months, release_files
from kpi.ingest.file_order import TIME_OF_DELIVERY
from kpi.ingest.ledger import contract_fingerprint
from kpi.ingest.raw_files import RELATIONS, RawFolder
from kpi.project.packages import read_text
from kpi.project.project import Project

# Said of a node for people and for selecting it, or covered by where it stands or by its shape: rebuilds nothing.
NOT_COUNTED = frozenset(
    (
        *("tags", "meta", "docs", "description", "group", "access", "persist_docs", "enabled", "full_refresh"),
        *("location", "format", "options", "glue_register", "glue_database"),
        *("materialized", "schema", "alias", "column_types", "delimiter", "loaded_at_field", "freshness"),
    )
)
_WRITTEN = ("model", "snapshot", "test")
_MACRO = re.compile(r"\{%-?\s*(macro|test|data_test)\s+(\w+).*?\{%-?\s*end\1\s*[+-]?%\}", re.DOTALL)
_OF_A_TEST = ("kind", "column", "arguments", "severity", "where", "limit", "warn_if", "error_if", "store_failures")


@dataclass(frozen=True, slots=True)
class NodeChecksum:
    """What a node is in itself: a hash of its SQL or seed, and its settings that count, as text.

    `text` is a hash of its file as written, which rebuilds nothing but tells a changed file from a changed macro.
    """

    shape: str
    settings: Mapping[str, str]
    text: str = ""


def checksums_of(graph: Graph, folder: RawFolder) -> dict[str, NodeChecksum]:
    """Return what each node is in itself, by id. A feed's shape is its files' content, its contract a setting."""
    texts = {
        file: _text_of(graph, file) for file in {node.file for node in graph.nodes.values() if node.kind in _WRITTEN}
    }
    root = graph.project.root
    found = {
        node.id: NodeChecksum(_shape(node, root), _without_values(settings_of(node), root), texts.get(node.file, ""))
        for node in graph.nodes.values()
    }
    feeds = {f"raw.{feed.name}": feed for feed in graph.feeds}
    for node in graph.nodes.values():
        feed = feeds.get(str(node.relation))
        if node.kind == "source" and feed:
            is_timed = feed.newer_by == TIME_OF_DELIVERY
            files = [
                f"{file.name}\0{file.content_hash}" + (f"\0{file.modified}" if is_timed else "")
                for file in folder.files
                if file.feed == feed.name
            ]
            settings = {**found[node.id].settings, "contract": contract_fingerprint(feed)}
            found[node.id] = NodeChecksum(_hash(*files), settings)
        elif node.kind == "source" and str(node.relation) in RELATIONS:
            found[node.id] = NodeChecksum(
                _hash(*(f"{one.name}\0{one.content_hash}" for one in folder.kept)), settings_of(node)
            )
        elif node.kind == "source" and str(node.relation) in release_files.RELATIONS:
            found[node.id] = NodeChecksum(_hash(release_files.digest(graph.project.root)), settings_of(node))
        elif node.kind == "source" and str(node.relation) == f"raw.{feed_months.TABLE}":
            found[node.id] = NodeChecksum(_hash(*feed_months.definitions(graph.feeds).values()), settings_of(node))
    return found


def settings_of(node: Node) -> dict[str, str]:
    """Return the settings that decide what a node becomes, each as text in which the order of keys does not count."""
    found: dict[str, Any] = {"relation": str(node.relation), "materialized": node.materialized}
    found |= {name: value for name, value in node.config.items() if name not in NOT_COUNTED}
    contract = node.config.get("contract")
    if isinstance(contract, Mapping) and contract.get("enforced"):
        found["contract"] = [contract, [[column.name, column.data_type] for column in node.columns]]
    if node.hooks.before or node.hooks.after:
        found["hooks"] = [node.hooks.before, node.hooks.after]  # as rendered, with the macros they use
    if node.test:
        found |= {name: getattr(node.test, name) for name in _OF_A_TEST}
    return {name: _text(value) for name, value in sorted(found.items())}


def fingerprint(node: Node, own: NodeChecksum, parents: Mapping[str, str]) -> str:
    """Return the fingerprint of a node made from the given versions of its parents."""
    made_from = sorted(f"{parent}={version}" for parent, version in parents.items())
    return _hash(node.kind, own.shape, _text(own.settings), *made_from)


def definitions(graph: Graph) -> dict[str, str]:
    """Return a hash of what defines each node by id: as its fingerprint, but for the rows that are delivered or seeded.

    While it stays, new rows may be added to an incremental model's table; when it changes the table is rebuilt
    (decision 0006).
    """
    found: dict[str, str] = {}
    for node in graph.nodes.values():
        parents = sorted(found[parent] for parent in node.depends_on if parent in found)
        # Of files outside it is where they are and not what is in them.
        shape = _shape(node, graph.project.root)
        shape = {"seed": _hash(*map(str, node.column_types)), "source": node.sql}.get(node.kind, shape)
        found[node.id] = _hash(node.kind, str(node.relation), node.materialized, shape, *parents)
    return found


def _shape(node: Node, root: Path) -> str:
    """The shape of a node; where the environment gave a part of its SQL, one that cannot be found by trying values."""
    return node.shape if not holds_value(node.sql.encode()) else digest(node.shape, root)


def _without_values(settings: Mapping[str, str], root: Path) -> dict[str, str]:
    return {name: hashed_values(text, root) for name, text in settings.items()}


def _text_of(graph: Graph, file: Path) -> str:
    return _hash(read_text(graph.project.root, file))


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def _hash(*parts: str) -> str:
    return checksum("\n".join(parts))


def changed_ingredients(now: Ingredients, then: Ingredients, project: Project, file: Path) -> str:
    """Say which macro or variable that a file uses, or asks the environment for, changed; empty when none did."""
    texts = _macros(project)
    words = _words(_all_used(read_text(project.root, file), texts))
    changed = [
        f"the {what} {name} changed"
        for what, current, before in (
            ("macro", now.macros, then.macros),
            ("variable", now.variables, then.variables),
            ("environment variable", now.environment, then.environment),
        )
        for name in sorted({*current, *before})
        if current.get(name) != before.get(name) and name in words
    ]
    return "; ".join(changed)


def ingredients_of(project: Project, read: Iterable[str] = ()) -> Ingredients:
    """Return what files are rendered with now; `read` are the names of variables of the environment."""
    return Ingredients(
        macros={name: _hash(text) for name, text in _macros(project).items()},
        variables={name: _hash(hashed_values(repr(value), project.root)) for name, value in project.variables.items()},
        environment=environment_of(read, project.root),
    )


def _macros(project: Project) -> dict[str, str]:
    return {
        found[2]: found[0] for file in project.macro_files for found in _MACRO.finditer(read_text(project.root, file))
    }


def _all_used(text: str, macros: Mapping[str, str]) -> str:
    """The text with the texts of all macros that it names, and that those name."""
    used: set[str] = set()
    while found := (_words(text) & set(macros)) - used:
        used |= found
        text += "\n".join(macros[name] for name in sorted(found))
    return text


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))
