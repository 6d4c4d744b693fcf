"""Which nodes a selection means, in dbt's syntax and with dbt's sets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property

from kpi.base.errors import ConfigError, nearest
from kpi.compile.graph import Graph
from kpi.compile.methods import KINDS, State, matcher, method_of, selectable
from kpi.compile.selectors import Selectors

__all__ = ["State", "select"]

INDIRECT = ("eager", "cautious", "buildable", "empty")
JUDGES = ("test", "unit_test")
_SPEC = re.compile(
    r"(?P<at>@)?((?P<up>\d*)\+)?((?P<method>[\w.]+):)?(?P<value>.*?)(\+(?P<down>\d*))?", re.ASCII | re.DOTALL
)
_MAY_BE_NONE = re.compile(r"\b(state|result|source_status):")


def select(
    graph: Graph,
    wanted: Iterable[str],
    excluded: Iterable[str] = (),
    indirect: str = "eager",
    kinds: Iterable[str] = (),
    state: State | None = None,
    selector: str = "",
) -> frozenset[str]:
    """Return the ids that a selection means. Words are a union, commas an intersection; no words select all.

    Data tests come along with what they judge: `eager` with any of it, `cautious` with all of it, `buildable` with all
    of it or its parents, `empty` not at all. `kinds` keeps only nodes of these kinds. `selector` is one of
    selectors.yml, and stands instead of words. Raises ConfigError when a word selects nothing or cannot be read.
    """
    chooser = _Chooser(graph, state or State())
    words = [word for text in wanted for word in text.split()]
    left_out = [word for text in excluded for word in text.split()]
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
        """Return what is chosen with the tests that come along, and the tests that judge other nodes too."""
        if indirect == "empty":
            return chosen, set()
        tests = {child for node in chosen for child in self.children[node] if self.nodes[child].kind in JUDGES}
        enough = self.enough(chosen, indirect)
        along = {test for test in tests if indirect == "eager" or enough.issuperset(self.parents[test])}
        return chosen | along, tests - along

    def with_tests(self, chosen: set[str], maybe: set[str], indirect: str) -> set[str]:
        """Add those of the tests that may come along of which now all is there that they judge."""
        if indirect not in ("cautious", "buildable"):
            return chosen
        enough = self.enough(chosen, indirect)
        return chosen | {test for test in maybe - chosen if enough.issuperset(self.parents[test])}

    def enough(self, chosen: set[str], indirect: str) -> set[str]:
        """The nodes a test may judge to come along."""
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
