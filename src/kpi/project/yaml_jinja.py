"""Jinja in the values of YAML files, filled in while they are read."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection
from typing import Any

from kpi.errors import CompileError, ConfigError, Place
from kpi.project.context import Values, shared
from kpi.project.jinja import environment, parsed
from kpi.project.macros import Macros, Wrong, compiled, run
from kpi.project.properties import BESIDE
from kpi.yaml_loader import Items, Section

# Rendered later, when what they speak of is known: by data tests, by hooks, by the semantic layer.
LATER = (
    *("tests", "data_tests", "unit_tests", "loaded_at_query", "filter"),
    *("on-run-start", "on-run-end", "query-comment", "pre-hook", "post-hook", "pre_hook", "post_hook"),
)
_ONE = re.compile(r"\s*\{\{(?!.*\{\{)-?(.*?)-?\}\}\s*", re.DOTALL)
_DOC = re.compile(r"""\s*\{\{\s*doc\(\s*((?:(?:'\w+'|"\w+")\s*,\s*)?(?:'\w+'|"\w+"))\s*\)\s*\}\}\s*""")
_BOOLS = {"true": True, "false": False}


class YamlJinja:
    """Fills in the Jinja of YAML values. `doc` finds the text of a doc block."""

    def __init__(self, values: Values, project: str, doc: Callable[..., str]) -> None:
        self.values = values
        self._environment = environment()
        self._environment.filters.update(as_bool=_as_bool, as_number=_as_number, as_native=_as_native, as_text=str)
        self._macros = Macros(self._environment, project)
        self._macros.shared = shared(values, self._macros, _no_columns)
        self._macros.shared["doc"] = self._doc = doc

    def fill(self, section: Section, later: Collection[str] = LATER) -> Section:
        """Render all values of a section in place, and return it. Raises ConfigError with file and line."""
        for key, value in section.items():
            if key.removeprefix("+") not in later:
                section[key] = self._filled(value, section, section.lines.get(key, section.line), later)
            elif key in ("tests", "data_tests"):
                for item in value if isinstance(value, Items) else ():
                    self._test(item)
        return section

    def _test(self, item: Any) -> None:
        """Render the settings of a data test: they are needed before its arguments can be."""
        for part in (item, *item.values()) if isinstance(item, Section) else ():
            if not isinstance(part, Section):
                continue
            beside = [key for key in BESIDE if key != "where" and key in part]
            for level, keys in ((part, beside), (part.section("config"), [*part.section("config")])):
                for key in (key for key in keys if key != "where"):
                    value = self._filled(level[key], level, level.lines.get(key, level.line), ())
                    is_switch = key in ("enabled", "store_failures") and str(value).strip().lower() in _BOOLS
                    level[key] = _BOOLS[str(value).strip().lower()] if is_switch else value

    def fill_own(self, section: Section) -> Section:
        """Render a mapping of the project's own, of none of its packages."""
        self.values.package = ""
        return self.fill(section)

    def fill_secret(self, section: Section) -> Section:
        """Render a mapping that may ask for secrets of the environment."""
        self.values.may_be_secret = True
        try:
            return self.fill(section)
        finally:
            self.values.may_be_secret = False

    def _filled(self, value: Any, section: Section, line: int, later: Collection[str]) -> Any:
        match value:
            case str() if "{{" in value or "{%" in value:
                return self._value(value, section, line)
            case Section():
                return self.fill(value, later)
            case Items():
                pairs = zip(value, value.lines, strict=True)
                return Items([self._filled(item, section, at, later) for item, at in pairs], value.lines)
            case _:
                return value

    def _value(self, text: str, section: Section, line: int) -> Any:
        found, block = _ONE.fullmatch(text), _DOC.fullmatch(text)
        kept: list[Any] = []
        if found:
            text = f"{{% do kpi_keep({found[1]}) %}}"
        self._macros.shared["kpi_keep"] = kept.append
        try:
            if block:  # most of what there is, and compiling a template takes a millisecond
                return self._doc(*re.findall(r"\w+", block[1]))
            tree = parsed(self._environment, text, section.file)
            rendered = run(compiled(self._environment, tree, section.file), self._macros.scope())
        except CompileError as error:
            raise ConfigError(error.message, Place(str(section.file), line)) from None
        except Exception as error:  # a template runs as Python, and may fail as Python does
            raise ConfigError(f"{str(error).rstrip('.')}.", Place(str(section.file), line)) from None
        return kept[0] if kept else rendered


def _no_columns(relation: object) -> tuple[tuple[str, str], ...]:
    raise Wrong("YAML cannot ask for columns.")


def _as_bool(value: Any) -> Any:
    found = _BOOLS.get(str(value).lower())
    if found is None:
        raise Wrong(f"as_bool: '{value}' is neither true nor false")
    return found


def _as_number(value: Any) -> Any:
    found = _as_native(value)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise Wrong(f"as_number: '{value}' is no number")
    return found


def _as_native(value: Any) -> Any:
    try:
        return ast.literal_eval(str(value))
    except (ValueError, SyntaxError):
        return value
