"""The ways dbt selects nodes: `path:`, `tag:`, `state:` and the rest, each as a question asked of one node."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from kpi.base.errors import ConfigError, nearest
from kpi.compile.graph import Graph
from kpi.models.model import Node

KINDS = ("model", "seed", "source", "test", "snapshot", "exposure", "analysis", "unit_test")
STATES = ("new", "old", "modified", "unmodified")
PARTS = ("body", "configs", "relation", "contract", "macros")
RESULTS = ("error", "fail", "warn", "success", "pass", "skipped")
VERSIONS = ("latest", "prerelease", "old", "none")
TEST_TYPES = ("generic", "singular", "data", "unit")
_WILDCARD = re.compile(r"[*?\[\]]")


@dataclass(frozen=True, slots=True)
class State:
    """What `state:` and `result:` compare with: the facts of the nodes of a build, and how each node of a run ended.

    `now` is what each node is (its `shape` and `settings`), `text` a hash of its file's text.
    """

    before: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    now: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, str] = field(default_factory=dict)

    def is_new(self, node: Node) -> bool:
        """Whether the build does not know the node. Builds keep nothing of unit tests: they go with their models."""
        return node.kind != "unit_test" and not self.before.get(node.id, {}).get("fingerprint")

    def is_modified(self, node: Node) -> bool:
        """Whether the node itself is another than in the build; new deliveries do not make a source another."""
        if node.kind == "unit_test":
            return False
        parts = ("configs",) if node.kind == "source" else ("body", "configs", "relation")
        return self.is_new(node) or any(self.differs(node, part) for part in parts)

    def differs(self, node: Node, part: str) -> bool:
        """Whether a part of the node is another than in the build."""
        before, now = self.before.get(node.id), self.now.get(node.id)
        if not before or now is None:
            return True
        old, new = dict(before["settings"]), dict(now.settings)
        match part:
            case "body":
                return bool(before["shape"] != now.shape)
            case "macros":
                return bool(before["shape"] != now.shape and before.get("text") == now.text)
            case "configs":
                return {**old, "relation": ""} != {**new, "relation": ""}
            case _:
                return old.get(part) != new.get(part)


def method_of(value: str) -> str:
    """Return what dbt takes a value without a method for."""
    if "/" in value:
        return "path"
    return "file" if value.endswith((".sql", ".csv", ".py")) else "fqn"


def matcher(graph: Graph, state: State, method: str, value: str) -> Callable[[Node], bool]:
    """Return what tells whether a node is selected by a method and its value. Raises ConfigError for a wrong one."""
    name, _, argument = method.partition(".")
    if name not in METHODS or (argument and name != "config"):
        raise ConfigError(f"'{method}:' is not a supported way to select.{nearest(name, METHODS)}")
    return METHODS[name](_Asked(graph, state, name, argument, value))


def selectable(graph: Graph, method: str) -> set[str]:
    """Return the values a method finds something with, for telling what was meant."""
    values = _VALUES.get(method)
    return {value for node in graph.nodes.values() for value in values(node)} - {"", "."} if values else set()


_VALUES: Mapping[str, Callable[[Node], Iterable[str]]] = {
    "fqn": lambda node: () if node.kind == "source" else (node.name,),
    "path": lambda node: (path.as_posix() for path in (node.file, *node.file.parents)),
    "file": lambda node: (node.file.name,),
    "tag": lambda node: node.tags,
    "source": lambda node: (node.name,) if node.kind == "source" else (),
    "exposure": lambda node: (node.name,) if _kind(node) == "exposure" else (),
    "package": lambda node: (_package(node),),
    "resource_type": lambda node: (node.kind,),
    "test_name": lambda node: (_test_name(node),),
}


@dataclass(frozen=True, slots=True)
class _Asked:
    """One method with its value; `argument` is what stands after a dot in the method's name."""

    graph: Graph
    state: State
    method: str
    argument: str
    value: str


_Matches = Callable[[Node], bool]


def _by_path(asked: _Asked) -> _Matches:
    project = asked.graph.project
    found = {path.relative_to(project.root) for path in project.root.glob(asked.value)}
    # Selecting a YAML file selects the models and seeds that it describes.
    described = {
        resource.id: (resource.properties.file,) for resource in project.seeds + project.models if resource.properties
    }
    return lambda node: not found.isdisjoint((node.file, *node.file.parents, *described.get(node.id, ())))


def _by_package(asked: _Asked) -> _Matches:
    package = asked.graph.project.name if asked.value == "this" else asked.value
    return lambda node: fnmatchcase(_package(node), package)


def _by_name(asked: _Asked) -> _Matches:
    return lambda node: node.kind == asked.method and _has_name(node, asked.value)


def _by_kind(asked: _Asked) -> _Matches:
    known(asked.value, KINDS, "resource_type:")
    return lambda node: node.kind == asked.value


def _by_test_type(asked: _Asked) -> _Matches:
    known(asked.value, TEST_TYPES, "test_type:")
    return lambda node: asked.value in _test_types(node)


def _by_state(asked: _Asked) -> _Matches:
    state = asked.state
    word, _, part = asked.value.partition(".")
    known(word, STATES, "state:")
    if part:
        known(asked.value, [f"modified.{name}" for name in PARTS], "state:")
        return lambda node: state.is_new(node) or state.differs(node, part)
    answers: Mapping[str, _Matches] = {
        "new": state.is_new,
        "old": lambda node: not state.is_new(node),
        "modified": state.is_modified,
        "unmodified": lambda node: not state.is_modified(node),
    }
    return answers[word]


def _by_result(asked: _Asked) -> _Matches:
    known(asked.value, RESULTS, "result:")
    return lambda node: asked.state.results.get(node.id) == asked.value


def _by_source_status(asked: _Asked) -> _Matches:
    known(asked.value, ("fresher",), "source_status:")
    return lambda node: node.kind == "source" and asked.state.differs(node, "body")


def _by_version(asked: _Asked) -> _Matches:
    known(asked.value, VERSIONS, "version:")
    latest = asked.graph.project.latest_versions

    def matches(node: Node) -> bool:
        if node.kind != "model" or not node.is_version:
            return node.kind == "model" and asked.value == "none"
        newest = latest[_package(node), node.fqn[-2]].rpartition(".v")[2]
        own = node.fqn[-1].removeprefix("v")
        if own == newest:
            return asked.value == "latest"
        return asked.value == ("old" if _in_order(own) < _in_order(newest) else "prerelease")

    return matches


def _in_order(version: str) -> tuple[float, str]:
    """Versions that are numbers come in their order and before those that are words."""
    try:
        return float(version), ""
    except ValueError:
        return float("inf"), version


METHODS: Mapping[str, Callable[[_Asked], _Matches]] = {
    "fqn": lambda asked: lambda node: node.kind != "source" and _is_named(node, asked.value),
    "path": _by_path,
    "file": lambda asked: lambda node: any(fnmatchcase(n, asked.value) for n in (node.file.name, node.file.stem)),
    "tag": lambda asked: lambda node: any(fnmatchcase(tag, asked.value) for tag in node.tags),
    "source": _by_name,
    "exposure": _by_name,
    "unit_test": _by_name,
    "package": _by_package,
    "resource_type": _by_kind,
    "config": lambda asked: lambda node: _is_set(_config_of(node), asked.argument.split("."), asked.value),
    "test_type": _by_test_type,
    "test_name": lambda asked: lambda node: fnmatchcase(_test_name(node), asked.value),
    "state": _by_state,
    "result": _by_result,
    "source_status": _by_source_status,
    "version": _by_version,
}


def _kind(node: Node) -> str:
    return node.kind


def _package(node: Node) -> str:
    return node.id.split(".")[1]


def known(value: str, values: Iterable[str], method: str) -> None:
    """Raise ConfigError for a value that a method does not know."""
    if value not in values:
        raise ConfigError(f"'{method}{value}' selects nothing.{nearest(value, values)}")


def _is_named(node: Node, value: str) -> bool:
    """Whether a node has this name, or stands in the folder of this name, with its project in front or not."""
    # A version of a model goes by its model's name too.
    if node.is_version and value in (node.fqn[-2], ".".join(node.fqn[-2:]), "_".join(node.fqn[-2:])):
        return True
    return any(_begins_with(fqn, value) for fqn in (node.fqn, node.fqn[1:]))


def _begins_with(fqn: tuple[str, ...], value: str) -> bool:
    if fqn and fqn[-1] == value:
        return True
    names, wanted = ".".join(fqn).split("."), value.split(".")
    if len(names) < len(wanted):
        return False
    for place, part in enumerate(wanted):
        if _WILDCARD.search(part):
            rest = fnmatchcase(".".join(names[place:]), ".".join(wanted[place:]))
            return rest or (len(wanted) == 1 and fnmatchcase(fqn[-1], value))
        if names[place] != part:
            return False
    return True


def _has_name(node: Node, value: str) -> bool:
    """Whether a source, exposure or unit test has this name; the source's table and the package may be left out."""
    names = [_package(node), node.name] if node.kind == "unit_test" else node.id.split(".")[1:]
    wanted = value.split(".")
    if node.kind == "source" and len(wanted) == 1:
        wanted = [*wanted, "*"]
    wanted = ["*"] * (len(names) - len(wanted)) + wanted
    return len(names) == len(wanted) and all(map(fnmatchcase, names, wanted))


def _config_of(node: Node) -> Mapping[str, Any]:
    """A node's settings as dbt has them, those that have a value without being set included."""
    found: dict[str, Any] = {"enabled": True, "tags": list(node.tags), **node.config}
    if node.kind in ("model", "seed", "snapshot", "test"):
        found["materialized"] = node.materialized
    if node.test:
        found |= {"severity": node.test.severity, "where": node.test.where or None}
    return found


def _is_set(config: Mapping[str, Any], path: list[str], wanted: str) -> bool:
    value: Any = config
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return False
        value = value[name]
    if path == ["severity"]:
        return str(value).lower() == wanted.lower()
    values = value if isinstance(value, list | tuple) else [value]
    truth = {"true": True, "false": False}.get(wanted.lower())
    return any(one == wanted or (truth is not None and one is truth) for one in values)


def _test_types(node: Node) -> tuple[str, ...]:
    if _kind(node) == "unit_test":
        return ("unit",)
    return ("singular" if node.test.kind == "singular" else "generic", "data") if node.test else ()


def _test_name(node: Node) -> str:
    if _kind(node) == "unit_test":
        return node.name
    return node.test.kind if node.test and node.test.kind != "singular" else ""
