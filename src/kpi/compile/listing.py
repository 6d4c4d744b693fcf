"""Nodes as lines, as `kpi ls` prints them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from kpi.models.model import Node


def lines(nodes: Iterable[Node], output: str) -> Iterator[str]:
    """Give a line for each node: as a table, or what dbt prints for `name`, `path`, `json` and `selector`."""
    for node in nodes:
        match output:
            case "name":
                yield node.name
            case "path":
                yield node.file.as_posix()
            case "selector":
                yield _selector(node)
            case "json":
                yield json.dumps(_as_json(node), ensure_ascii=False, default=str)
            case _:
                yield f"{node.kind:<9} {node.name:<44} {node.file}"


def _selector(node: Node) -> str:
    match node.kind:
        case "source" | "exposure":
            return f"{node.kind}:{node.id.split('.', 1)[1]}"
        case "unit_test":
            return f"{node.kind}:{node.fqn[0]}.{node.name}"
        case _:
            return ".".join(node.fqn)


def _as_json(node: Node) -> dict[str, object]:
    return {
        "unique_id": node.id,
        "resource_type": node.kind,
        "name": node.name,
        "package_name": node.id.split(".")[1],
        "original_file_path": node.file.as_posix(),
        "fqn": node.fqn,
        "tags": node.tags,
        "depends_on": {"nodes": node.depends_on},
        "config": {**node.config, "materialized": node.materialized},
    }
