"""Which nodes a selection means, in dbt's syntax."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from kpi.errors import ConfigError, nearest
from kpi.graph import Graph
from kpi.model import Node


def select(graph: Graph, wanted: Iterable[str], excluded: Iterable[str] = ()) -> frozenset[str]:
    """Return the ids that dbt's selection syntax means: `name`, `path:`, `tag:`, `source:`, `resource_type:`, `+x+`.

    Words are a union, commas an intersection, `*` and `?` wildcards. No words select all. A test comes along when all
    that it judges is selected, unless kinds of nodes were asked for, and goes with any of it that is excluded. Raises
    ConfigError when a word selects nothing.
    """
    words = [word for text in wanted for word in text.split()]
    left_out = [word for text in excluded for word in text.split()]
    chosen = set().union(*(_word(graph, word) for word in words)) if words else set(graph.nodes)
    tests = graph.tests()
    if not any("resource_type:" in word for word in words):
        chosen |= {test.id for test in tests if test.depends_on and chosen.issuperset(test.depends_on)}
    for word in left_out:
        gone = _word(graph, word)
        chosen -= gone | {test.id for test in tests if gone.intersection(test.depends_on)}
    return frozenset(chosen)


def _word(graph: Graph, word: str) -> set[str]:
    found = set.intersection(*(_one(graph, part) for part in word.split(",")))
    if not found:
        raise ConfigError(f"'{word}' selects nothing: no node is in all its parts.")
    return found


def _one(graph: Graph, part: str) -> set[str]:
    name = part.removeprefix("+").removesuffix("+")
    method, _, value = name.rpartition(":")
    chosen = {node.id for node in graph.nodes.values() if _matches(node, method, value)}
    if not chosen:
        raise ConfigError(f"'{part}' selects nothing.{nearest(value, _selectable(graph, method))}")
    found = set(chosen)
    if part.startswith("+"):
        found |= _reach(chosen, {node.id: node.depends_on for node in graph.nodes.values()})
    if part.endswith("+"):
        found |= _reach(chosen, _children(graph.nodes.values()))
    return found


def _selectable(graph: Graph, method: str) -> set[str]:
    nodes = graph.nodes.values()
    match method:
        case "path":
            return {path.as_posix() for node in nodes for path in (node.file, *node.file.parents)} - {"."}
        case "tag":
            return {tag for node in nodes for tag in node.tags}
        case "source":
            return {node.name for node in nodes if node.kind == "source"}
        case "resource_type":
            return {node.kind for node in nodes}
        case _:
            return {node.name for node in nodes}


def _matches(node: Node, method: str, value: str) -> bool:
    match method:
        case "":
            return fnmatchcase(node.name, value) or fnmatchcase(node.id, value)
        case "path":
            return fnmatchcase(node.file.as_posix(), value) or Path(value) in (node.file, *node.file.parents)
        case "tag":
            return any(fnmatchcase(tag, value) for tag in node.tags)
        case "source":
            return node.kind == "source" and (fnmatchcase(node.name, value) or fnmatchcase(node.name, f"{value}.*"))
        case "resource_type":
            return node.kind == value
        case _:
            known = ("path", "tag", "source", "resource_type")
            raise ConfigError(f"'{method}:' is not a supported way to select.{nearest(method, known)}")


def _reach(start: Iterable[str], edges: Mapping[str, Iterable[str]]) -> set[str]:
    found: set[str] = set()
    front = list(start)
    while front:
        for neighbour in edges.get(front.pop(), ()):
            if neighbour not in found:
                found.add(neighbour)
                front.append(neighbour)
    return found


def _children(nodes: Iterable[Node]) -> dict[str, list[str]]:
    children: dict[str, list[str]] = {}
    for node in nodes:
        for parent in node.depends_on:
            children.setdefault(parent, []).append(node.id)
    return children
