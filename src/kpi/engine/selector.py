"""Node selection in dbt's syntax and with dbt's sets: methods, graph operators, selectors.yml, and `kpi ls`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Protocol

from kpi.build_record import NodeRecord
from kpi.engine.graph import Graph, Node
from kpi.errors import ConfigError, nearest
from kpi.yaml_loader import Section

KINDS = ("model", "seed", "source", "test", "snapshot", "exposure", "analysis", "unit_test")
STATES = ("new", "old", "modified", "unmodified")
PARTS = ("body", "configs", "relation", "contract", "macros")
RESULTS = ("error", "fail", "warn", "success", "pass", "skipped")
VERSIONS = ("latest", "prerelease", "old", "none")
TEST_TYPES = ("generic", "singular", "data", "unit")
_WILDCARD = re.compile(r"[*?\[\]]")
_UNKNOWN = NodeRecord()


class Checksum(Protocol):
    """What a node is now: its `shape` and `settings`, and `text`, a hash of its file's text."""

    @property
    def shape(self) -> str:
        """A hash of its SQL or seed."""

    @property
    def settings(self) -> Mapping[str, str]:
        """Those of its settings that count, as text."""

    @property
    def text(self) -> str:
        """A hash of its file as written."""


@dataclass(frozen=True, slots=True)
class State:
    """What `state:` and `result:` compare with: the records of a build's nodes, and how each node of a run ended.

    `now` is what each node is.
    """

    before: Mapping[str, NodeRecord] = field(default_factory=dict)
    now: Mapping[str, Checksum] = field(default_factory=dict)
    results: Mapping[str, str] = field(default_factory=dict)

    def is_new(self, node: Node) -> bool:
        """Whether the build does not know the node. Builds keep nothing of unit tests: they go with their models."""
        return node.kind != "unit_test" and not self.before.get(node.id, _UNKNOWN).fingerprint

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
        old, new = dict(before.settings), dict(now.settings)
        match part:
            case "body":
                return before.shape != now.shape
            case "macros":
                return before.shape != now.shape and before.text == now.text
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
    return METHODS[name](_Criterion(graph, state, name, argument, value))


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
class _Criterion:
    """One method with its value; `argument` is what stands after a dot in the method's name."""

    graph: Graph
    state: State
    method: str
    argument: str
    value: str


_Matches = Callable[[Node], bool]


def _by_path(criterion: _Criterion) -> _Matches:
    project = criterion.graph.project
    found = {path.relative_to(project.root) for path in project.root.glob(criterion.value)}
    # Selecting a YAML file selects the models and seeds that it describes.
    described = {
        resource.id: (resource.properties.file,) for resource in project.seeds + project.models if resource.properties
    }
    return lambda node: not found.isdisjoint((node.file, *node.file.parents, *described.get(node.id, ())))


def _by_package(criterion: _Criterion) -> _Matches:
    package = criterion.graph.project.name if criterion.value == "this" else criterion.value
    return lambda node: fnmatchcase(_package(node), package)


def _by_name(criterion: _Criterion) -> _Matches:
    return lambda node: node.kind == criterion.method and _has_name(node, criterion.value)


def _by_kind(criterion: _Criterion) -> _Matches:
    known(criterion.value, KINDS, "resource_type:")
    return lambda node: node.kind == criterion.value


def _by_test_type(criterion: _Criterion) -> _Matches:
    known(criterion.value, TEST_TYPES, "test_type:")
    return lambda node: criterion.value in _test_types(node)


def _by_state(criterion: _Criterion) -> _Matches:
    state = criterion.state
    word, _, part = criterion.value.partition(".")
    known(word, STATES, "state:")
    if part:
        known(criterion.value, [f"modified.{name}" for name in PARTS], "state:")
        return lambda node: state.is_new(node) or state.differs(node, part)
    answers: Mapping[str, _Matches] = {
        "new": state.is_new,
        "old": lambda node: not state.is_new(node),
        "modified": state.is_modified,
        "unmodified": lambda node: not state.is_modified(node),
    }
    return answers[word]


def _by_result(criterion: _Criterion) -> _Matches:
    known(criterion.value, RESULTS, "result:")
    return lambda node: criterion.state.results.get(node.id) == criterion.value


def _by_source_status(criterion: _Criterion) -> _Matches:
    known(criterion.value, ("fresher",), "source_status:")
    return lambda node: node.kind == "source" and criterion.state.differs(node, "body")


def _by_version(criterion: _Criterion) -> _Matches:
    known(criterion.value, VERSIONS, "version:")
    latest = criterion.graph.project.latest_versions

    def matches(node: Node) -> bool:
        if node.kind != "model" or not node.is_version:
            return node.kind == "model" and criterion.value == "none"
        newest = latest[_package(node), node.fqn[-2]].rpartition(".v")[2]
        own = node.fqn[-1].removeprefix("v")
        if own == newest:
            return criterion.value == "latest"
        return criterion.value == ("old" if _in_order(own) < _in_order(newest) else "prerelease")

    return matches


def _in_order(version: str) -> tuple[float, str]:
    """Versions that are numbers come in their order and before those that are words."""
    try:
        return float(version), ""
    except ValueError:
        return float("inf"), version


METHODS: Mapping[str, Callable[[_Criterion], _Matches]] = {
    "fqn": lambda criterion: lambda node: node.kind != "source" and _is_named(node, criterion.value),
    "path": _by_path,
    "file": lambda criterion: (
        lambda node: any(fnmatchcase(n, criterion.value) for n in (node.file.name, node.file.stem))
    ),
    "tag": lambda criterion: lambda node: any(fnmatchcase(tag, criterion.value) for tag in node.tags),
    "source": _by_name,
    "exposure": _by_name,
    "unit_test": _by_name,
    "package": _by_package,
    "resource_type": _by_kind,
    "config": lambda criterion: lambda node: _is_set(_config_of(node), criterion.argument.split("."), criterion.value),
    "test_type": _by_test_type,
    "test_name": lambda criterion: lambda node: fnmatchcase(_test_name(node), criterion.value),
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


# What is selected, and tests that may yet come along: see selection.
Pair = tuple[set[str], set[str]]
Word = Callable[[str, str], Pair]
_OF_A_METHOD = (
    *("method", "value", "parents", "parents_depth", "children", "children_depth", "childrens_parents"),
    *("indirect_selection", "exclude"),
)


def default_of(selectors: Mapping[str, Section]) -> str:
    """Return the name of the selector that counts where none is named; empty when there is none.

    Raises ConfigError when there are two.
    """
    found = [name for name, selector in selectors.items() if selector.get("default") is True]
    if len(found) > 1:
        raise ConfigError(f"'{found[0]}' is the default selector already.", selectors[found[1]].where("default"))
    return found[0] if found else ""


class Selectors:
    """Reads definitions; `word` tells what a word of a selection means with a way of taking tests along."""

    def __init__(self, selectors: Mapping[str, Section], word: Word, indirect: str) -> None:
        self._selectors, self._word, self._indirect = selectors, word, indirect
        self._open: list[str] = []

    def named(self, name: str) -> Pair:
        """Return what the selector of that name means. Raises ConfigError when it is not there or leads to itself."""
        if name not in self._selectors:
            where = "selectors.yml" if self._selectors else "there is no selectors.yml here"
            raise ConfigError(f"--selector: there is no selector '{name}' ({where}).{nearest(name, self._selectors)}")
        if name in self._open:
            raise ConfigError(f"selectors.yml: the selector '{name}' leads to itself.")
        self._open.append(name)
        found = self._read(self._selectors[name].get("definition"), self._selectors[name])
        self._open.pop()
        return found

    def _read(self, definition: Any, section: Section) -> Pair:
        match definition:
            case str():
                return self._union([self._word(word, self._indirect) for word in definition.split()])
            case Section() if "union" in definition or "intersection" in definition:
                how = "union" if "union" in definition else "intersection"
                definition.allow((how,), "a definition")
                return self._set(definition, how)
            case Section() if "method" in definition:
                return self._method(definition)
            case Section() if len(definition) == 1:
                (method, value), *_ = definition.items()
                return self._word(f"{method}:{value}", self._indirect)
            case _:
                message = "a definition is a text, a method with a value, a union or an intersection"
                raise ConfigError(f"{message}.", section.where("definition"))

    def _set(self, definition: Section, how: str) -> Pair:
        parts: list[Pair] = []
        gone: list[Pair] = []
        items = definition.items_of(how)
        for item in items:
            is_exclusion = isinstance(item, Section) and set(item) == {"exclude"}
            found = self._excluded(item) if is_exclusion else self._read(item, definition)
            (gone if is_exclusion else parts).append(found)
        if not parts:
            raise ConfigError(f"'{how}' has nothing to select from.", definition.where(how))
        both = self._union(parts) if how == "union" else self._intersection(parts)
        return _less(both, self._union(gone))

    def _excluded(self, item: Section) -> Pair:
        return self._union([self._read(one, item) for one in item.items_of("exclude")])

    def _method(self, definition: Section) -> Pair:
        definition.allow(_OF_A_METHOD, "a selector's method")
        method, value = definition.required("method"), str(definition.get("value", ""))
        if method == "selector":
            found = self.named(value)
        else:
            up = _sign(definition, "parents")
            down = _sign(definition, "children")
            word = f"{up}+" if up is not None else ""
            word += f"{method}:{value}" + (f"+{down}" if down is not None else "")
            at = "@" if definition.get("childrens_parents") is True else ""
            found = self._word(at + word, definition.text("indirect_selection") or self._indirect)
        return _less(found, self._excluded(definition)) if "exclude" in definition else found

    def _union(self, found: list[Pair]) -> Pair:
        return set().union(*(one for one, _ in found)), set().union(*(one | maybe for one, maybe in found))

    def _intersection(self, found: list[Pair]) -> Pair:
        chosen = set.intersection(*(one for one, _ in found))
        return chosen, set.intersection(*(one | maybe for one, maybe in found))


def _less(found: Pair, gone: Pair) -> Pair:
    return found[0] - gone[0], found[1] - gone[0] - gone[1]


def _sign(definition: Section, which: str) -> str | None:
    """How far parents or children are asked for: to any depth, so many steps, or not at all."""
    if definition.get(which) is not True:
        return None
    return str(definition.get(f"{which}_depth") or "")


INDIRECT = ("eager", "cautious", "buildable", "empty")
JUDGES = ("test", "unit_test")
_SPEC = re.compile(
    r"(?P<at>@)?((?P<up>\d*)\+)?((?P<method>[\w.]+):)?(?P<value>.*?)(\+(?P<down>\d*))?", re.ASCII | re.DOTALL
)
_MAY_BE_NONE = re.compile(r"\b(state|result|source_status):")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which nodes are meant. Words are a union, commas in them an intersection; no words mean all.

    Data tests come along with what they test: `eager` with any of it, `cautious` with all of it, `buildable` with all
    of it or its parents, `empty` not at all. `kinds` keeps only nodes of these kinds. `selector` is one of
    selectors.yml, and stands instead of words.
    """

    wanted: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    indirect: str = "eager"
    kinds: tuple[str, ...] = ()
    selector: str = ""


def select(graph: Graph, selection: Selection, state: State | None = None) -> frozenset[str]:
    """Return the ids that a selection means. Raises ConfigError when a word selects nothing or cannot be read."""
    chooser, indirect = _Chooser(graph, state or State()), selection.indirect
    kinds, selector = selection.kinds, selection.selector
    words = [word for text in selection.wanted for word in text.split()]
    left_out = [word for text in selection.excluded for word in text.split()]
    if indirect not in INDIRECT:
        raise ConfigError(f"'{indirect}' is no way to select tests indirectly.{nearest(indirect, INDIRECT)}")
    for kind in kinds:
        if kind not in KINDS:
            raise ConfigError(f"'{kind}' is no kind of node.{nearest(kind, KINDS)}")
    chosen, maybe = set(graph.nodes), set[str]()
    if selector:
        if words or left_out:
            raise ConfigError("--selector stands instead of --select and --exclude: give it alone.")
        found = [Selectors(graph.project.selectors, chooser.word, indirect).named(selector)]
        maybe = _both(found[0])
        chosen = chooser.with_tests(found[0][0], maybe, indirect)
    elif words:
        found = [chooser.word(word, indirect) for word in words]
        chosen = chooser.with_tests(set().union(*(one for one, _ in found)), set().union(*map(_both, found)), indirect)
        maybe = set().union(*map(_both, found))
    if left_out:
        found = [chooser.word(word, indirect) for word in left_out]
        gone, gone_maybe = set().union(*(one for one, _ in found)), set().union(*map(_both, found))
        chosen = chooser.with_tests(chosen - gone, (maybe | chosen) - gone_maybe, indirect)
    return frozenset(node for node in chosen if not kinds or graph.nodes[node].kind in kinds)


def _both(found: tuple[set[str], set[str]]) -> set[str]:
    return found[0] | found[1]


class _Chooser:
    """Answers words of a selection. Every answer is a pair: what is selected, and tests that may yet come along."""

    def __init__(self, graph: Graph, state: State) -> None:
        self.graph, self.state = graph, state
        self.nodes = graph.nodes
        self.parents = {node.id: node.depends_on for node in graph.nodes.values()}

    @cached_property
    def children(self) -> dict[str, list[str]]:
        """The nodes that read each node."""
        found: dict[str, list[str]] = {node: [] for node in self.nodes}
        for node, parents in self.parents.items():
            for parent in parents:
                found.setdefault(parent, []).append(node)
        return found

    def word(self, word: str, indirect: str) -> tuple[set[str], set[str]]:
        """Return what one word means: the intersection of its parts."""
        found = [self.part(part, indirect) for part in word.split(",")]
        chosen, maybe = set.intersection(*(one for one, _ in found)), set.intersection(*map(_both, found))
        if not chosen and not _MAY_BE_NONE.search(word):
            raise ConfigError(f"'{word}' selects nothing: no node is in all its parts.")
        return self.with_tests(chosen, maybe, indirect), maybe

    def part(self, part: str, indirect: str) -> tuple[set[str], set[str]]:
        """Return what one part of a word means, with the nodes around it that its signs ask for, and their tests."""
        spec = _SPEC.fullmatch(part)
        if not spec or not spec["value"] or (spec["at"] and spec["up"] is not None):
            raise ConfigError(f"'{part}' is no selection; write a name, or method:value, with +, 2+ or @ around it.")
        method = spec["method"] or method_of(spec["value"])
        matches = matcher(self.graph, self.state, method, spec["value"])
        chosen = {node.id for node in self.nodes.values() if matches(node)}
        if not chosen and not _MAY_BE_NONE.search(part):
            raise ConfigError(f"'{part}' selects nothing.{nearest(spec['value'], selectable(self.graph, method))}")
        found = set(chosen)
        if spec["at"]:
            found |= _reach(found, self.children)
            found |= _reach(found, self.parents)
        if spec["up"] is not None:
            found |= _reach(chosen, self.parents, spec["up"])
        if spec["down"] is not None:
            found |= _reach(chosen, self.children, spec["down"])
        return self.tests_of(found, indirect)

    def tests_of(self, chosen: set[str], indirect: str) -> tuple[set[str], set[str]]:
        """Return what is chosen with the tests that come along, and the tests of other nodes too."""
        if indirect == "empty":
            return chosen, set()
        tests = {child for node in chosen for child in self.children[node] if self.nodes[child].kind in JUDGES}
        enough = self.enough(chosen, indirect)
        along = {test for test in tests if indirect == "eager" or enough.issuperset(self.parents[test])}
        return chosen | along, tests - along

    def with_tests(self, chosen: set[str], maybe: set[str], indirect: str) -> set[str]:
        """Add those of the tests that may come along of which now all is there that they test."""
        if indirect not in ("cautious", "buildable"):
            return chosen
        enough = self.enough(chosen, indirect)
        return chosen | {test for test in maybe - chosen if enough.issuperset(self.parents[test])}

    def enough(self, chosen: set[str], indirect: str) -> set[str]:
        """The nodes a test may look at to come along."""
        if indirect != "buildable":
            return chosen
        return (
            chosen | _reach(chosen, self.parents) | {node.id for node in self.nodes.values() if node.kind == "source"}
        )


def _reach(start: Iterable[str], edges: Mapping[str, Iterable[str]], depth: str = "") -> set[str]:
    """What is reached from `start` in at most `depth` steps, or any number."""
    found: set[str] = set()
    front, steps = set(start), int(depth) if depth else -1
    while front and steps:
        front = {neighbour for node in front for neighbour in edges.get(node, ())} - found
        found |= front
        steps -= 1
    return found


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
