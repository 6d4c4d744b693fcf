"""The selectors of selectors.yml, read to the sets they mean: as dbt has them, by --selector or by default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kpi.base.errors import ConfigError, nearest
from kpi.base.yamlfile import Section

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
        raise ConfigError(f"{selectors[found[1]].where('default')}: '{found[0]}' is the default selector already.")
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
                told = "a definition is a text, a method with a value, a union or an intersection"
                raise ConfigError(f"{section.where('definition')}: {told}.")

    def _set(self, definition: Section, how: str) -> Pair:
        kept: list[Pair] = []
        gone: list[Pair] = []
        items = definition.items_of(how)
        for item in items:
            is_exclusion = isinstance(item, Section) and set(item) == {"exclude"}
            found = self._excluded(item) if is_exclusion else self._read(item, definition)
            (gone if is_exclusion else kept).append(found)
        if not kept:
            raise ConfigError(f"{definition.where(how)}: '{how}' has nothing to select from.")
        both = self._union(kept) if how == "union" else self._intersection(kept)
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
