"""What must be rebuilt: a node's fingerprint covers what it is, where it stands and everything it is made from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from kpi.graph import Graph
from kpi.load import contract_fingerprint
from kpi.rawfiles import RawFolder


def fingerprints(graph: Graph, folder: RawFolder) -> dict[str, str]:
    """Return the fingerprint of every node by id.

    A model's covers its compiled SQL's canonical tree (layout and comments do not count), its materialization and its
    parents' fingerprints; a feed's its contract and the content of its files; a seed's its content and types.
    """
    found: dict[str, str] = {}
    feeds = _feeds(graph, folder)
    for node in graph.nodes.values():
        parents = sorted(found[parent] for parent in node.depends_on)
        shape = feeds.get(str(node.relation), node.shape) if node.kind == "source" else node.shape
        found[node.id] = _hash(node.kind, str(node.relation), node.materialized, shape, *parents)
    return found


def definitions(graph: Graph) -> dict[str, str]:
    """Return a hash of what defines each node by id: as its fingerprint, but for the rows that are delivered or seeded.

    While it stays, new rows may be added to an incremental model's table; when it changes the table is built anew
    (decision 0006).
    """
    found: dict[str, str] = {}
    for node in graph.nodes.values():
        parents = sorted(found[parent] for parent in node.depends_on if parent in found)
        # Of files outside it is where they are and not what is in them.
        shape = {"seed": _hash(*map(str, node.column_types)), "source": node.sql}.get(node.kind, node.shape)
        found[node.id] = _hash(node.kind, str(node.relation), node.materialized, shape, *parents)
    return found


def _feeds(graph: Graph, folder: RawFolder) -> Mapping[str, str]:
    shapes = {}
    for feed in graph.feeds:
        files = [f"{file.name}\0{file.content_hash}" for file in folder.files if file.feed == feed.name]
        shapes[f"raw.{feed.name}"] = _hash(contract_fingerprint(feed), *files)
    shapes["raw.deliveries"] = shapes["raw.rejects"] = _hash(*(shapes[name] for name in sorted(shapes)))
    return shapes


def _hash(*parts: str) -> str:
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()
