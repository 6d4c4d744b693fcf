"""Jinja as dbt has it: `ref`, `source`, `config`, `var`, `this`, `target` and the project's macros, rendered to SQL.

A template is rendered once. What it refers to, and which of its lines each piece of the SQL comes from, is collected
while it renders.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
from jinja2 import nodes

from kpi.compile_cache import key_of, remembered
from kpi.errors import CompileError, ConfigError, nearest
from kpi.lines import Lines, mark_places, traced
from kpi.names import relation_name
from kpi.project import Project, read_text
from kpi.properties import config_problem

_UNDEFINED = object()
_TAGS = ("if", "for", "set", "macro", "call", "filter", "do", "raw", "with")
_OF_A_FILE = ("ref", "source", "config", "this")


@dataclass(frozen=True, slots=True)
class Relation:
    """Where a model, seed or source table stands in the database."""

    node: str
    schema: str
    name: str

    def __str__(self) -> str:
        return relation_name(self.schema, self.name)


@dataclass(slots=True)
class Rendered:
    """What came of one template: its SQL and lines, the nodes it refers to in order, and its own settings.

    `this` is where the model itself stands; None for a test. `asked` are the variables it asked for.
    """

    this: Relation | None = None
    sql: str = ""
    lines: Lines = field(default_factory=Lines)
    depends_on: dict[str, Relation] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)


_FLEETING = re.compile(
    r"\b(env_var|run_query|log|print|warn) *\(|\b(run_started_at|invocation_id)\b|\bmodules *\.|\{%-? *call statement"
)


def is_fleeting(text: str) -> bool:
    """Tell whether what a template yields may be another thing in the next run though no file has changed."""
    return _FLEETING.search(text) is not None


class Templates:
    """The project's macros, and the rendering of files that use them. `relations` maps node ids to places.

    `asked` are the variables that templates asked for.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.relations: dict[str, Relation] = {}
        self.asked: set[str] = set()
        self._macros: dict[str, Path] = {}
        self._macro_texts: list[str] = []
        self._has_fleeting_macros = False
        self._known_world = (-1, "")
        self._schemas: dict[str | None, str] = {}
        self._environment = jinja2.Environment(
            undefined=jinja2.StrictUndefined, extensions=["jinja2.ext.do"], keep_trailing_newline=True, autoescape=False
        )
        self._namespace: dict[str, Any] = {**self._environment.globals, "var": self._var}
        self._namespace["target"] = SimpleNamespace(name="kpi", schema="main", database="kpi", type="duckdb")
        for file in project.macro_files:
            self._load_macros(file)

    def schema_of(self, custom: str | None) -> str:
        """Return the schema of a node with the given `schema` setting, as the project's macro or else dbt has it."""
        if "generate_schema_name" not in self._namespace:
            return f"main_{custom}" if custom else "main"
        if custom not in self._schemas:
            call = "{{ generate_schema_name(" + ("none" if custom is None else repr(custom)) + ", none) }}"
            self._schemas[custom] = traced(self._text(call, Path("generate_schema_name")))[0]
        return self._schemas[custom]

    def render(self, text: str, file: Path, settings: Sequence[str], this: Relation | None = None) -> Rendered:
        """Render one file whose config() may set `settings`.

        Raises CompileError with file and line for whatever Jinja or a reference gets wrong.
        """
        if self._has_fleeting_macros or is_fleeting(text):
            return self._render(text, file, settings, this)
        given = (self._world(), text, str(file), settings, str(this))
        rendered = remembered(lambda: self._render(text, file, settings, this), "render", *given)
        self.asked |= rendered.asked
        return rendered

    def _world(self) -> str:
        """The key of all that any file's rendering follows from, apart from the file."""
        if self._known_world[0] != len(self.relations):
            places = sorted(f"{node} {relation}" for node, relation in self.relations.items())
            self._known_world = (len(places), key_of(self._macro_texts, self.project.variables, places))
        return self._known_world[1]

    def _render(self, text: str, file: Path, settings: Sequence[str], this: Relation | None) -> Rendered:
        rendered = Rendered(this)

        def ref(*names: str) -> Relation:
            return self._refer(rendered, self.ref(names))

        def source(source_name: str, table_name: str) -> Relation:
            return self._refer(rendered, self.source(source_name, table_name))

        def config(**given: Any) -> str:
            for name, value in given.items():
                if name not in settings:
                    raise _Wrong(f"config({name}=...) is not supported here.{nearest(name, settings)}")
                problem = config_problem(name, value)
                if problem:
                    raise _Wrong(problem)
            rendered.config.update(given)
            return ""

        local = {"ref": ref, "source": source, "config": config} | ({"this": this} if this else {})
        # Macros see the namespace itself, so they find the ref of the file being rendered.
        self._namespace.update(local)
        asked, self.asked = self.asked, rendered.asked
        try:
            rendered.sql, rendered.lines = traced(self._text(text, file))
        finally:
            self.asked = asked | rendered.asked
            for name in local:
                del self._namespace[name]
        return rendered

    def ref(self, names: Sequence[str]) -> Relation:
        """Return the model or seed that ref(...) means."""
        if len(names) == 2 and names[0] != self.project.name:
            raise _Wrong(f"ref('{names[0]}', '{names[1]}'): there is no package '{names[0]}' here.")
        if len(names) not in (1, 2) or not all(isinstance(name, str) for name in names):
            raise _Wrong("ref takes the name of a model or seed, and the project's name before it if you like.")
        for kind in ("model", "seed"):
            relation = self.relations.get(f"{kind}.{self.project.name}.{names[-1]}")
            if relation:
                return relation
        known = [node.split(".")[-1] for node in self.relations if not node.startswith("source.")]
        raise _Wrong(f"ref('{names[-1]}'): there is no such model or seed.{nearest(names[-1], known)}")

    def source(self, source_name: str, table_name: str) -> Relation:
        """Return the table that source(...) means."""
        relation = self.relations.get(f"source.{self.project.name}.{source_name}.{table_name}")
        if relation is None:
            known = [node.split(".", 2)[2] for node in self.relations if node.startswith("source.")]
            hint = nearest(f"{source_name}.{table_name}", known)
            raise _Wrong(f"source('{source_name}', '{table_name}'): there is no such source table.{hint}")
        return relation

    def _refer(self, rendered: Rendered, relation: Relation) -> Relation:
        rendered.depends_on[relation.node] = relation
        return relation

    def _var(self, name: str, default: object = _UNDEFINED) -> object:
        self.asked.add(name)
        if name in self.project.variables:
            return self.project.variables[name]
        if default is _UNDEFINED:
            hint = nearest(name, self.project.variables)
            raise _Wrong(f"var('{name}') has no value in dbt_project.yml and no default.{hint}")
        return default

    def _load_macros(self, file: Path) -> None:
        text = read_text(self.project.root, file)
        self._macro_texts.append(f"{file}\n{text}")
        self._has_fleeting_macros |= is_fleeting(text)
        template = self._compiled(self._parsed(text, file), file)
        try:
            # Shared: macros see the namespace itself, so they find each other whatever the order of files.
            module = template.make_module(self._namespace, shared=True)
        except Exception as error:  # a template runs as Python, and may fail as Python does
            line = template.get_corresponding_lineno(_line_in(error, file))
            raise CompileError(file, line, f"outside of a macro: {error}.") from None
        for name, macro in vars(module).items():
            if isinstance(macro, jinja2.runtime.Macro):
                if name in self._namespace or name in _OF_A_FILE:
                    found = re.search(rf"\bmacro\s+{name}\b", text)
                    line = text.count("\n", 0, found.start()) + 1 if found else 1
                    other = self._macros.get(name, "Jinja or kpi itself")
                    raise CompileError(file, line, f"the macro '{name}' is in {other} too. Rename one of them.")
                self._namespace[name] = macro
                self._macros[name] = file

    def _text(self, text: str, file: Path) -> str:
        try:
            tree = self._parsed(text, file)
            mark_places(tree, text, self._environment)
            return self._compiled(tree, file).render()
        except jinja2.UndefinedError as error:
            raise self._told(error, file, self._undefined(error)) from None
        except _Wrong as error:
            raise self._told(error, file, str(error)) from None
        except CompileError:
            raise
        except Exception as error:  # a template runs as Python, and may fail as Python does
            reason = re.sub(r"[\w.]*<locals>\.", "", str(error)) or type(error).__name__
            raise self._told(error, file, f"the template fails: {reason}.") from None

    def _parsed(self, text: str, file: Path) -> nodes.Template:
        try:
            return self._environment.parse(text, str(file), str(file))
        except jinja2.TemplateSyntaxError as error:
            told = f"Jinja: {error.message}"
            unknown = re.match(r"Encountered unknown tag '(\w+)'", error.message or "")
            if unknown:
                told = f"{{% {unknown[1]} %}} is not supported.{nearest(unknown[1], _TAGS)}"
            raise CompileError(file, error.lineno, told) from None

    def _compiled(self, tree: nodes.Template, file: Path) -> jinja2.Template:
        code = self._environment.compile(tree, str(file), str(file))
        return jinja2.Template.from_code(self._environment, code, self._namespace)

    def _told(self, error: Exception, file: Path, message: str) -> CompileError:
        """The error at the line of the file, naming the macro that failed when it was one."""
        frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        macros = [f" (in {place}:{line})" for place, line in frames if place in self.project.macro_files]
        return CompileError(file, _line_in(error, file), message + (macros[-1] if macros else ""))

    def _undefined(self, error: jinja2.UndefinedError) -> str:
        text = error.message or "something is undefined"
        unknown = re.fullmatch(r"'(\w+)' is undefined", text)
        if not unknown:
            return f"Jinja: {text}."
        known = [name for name in self._namespace if name not in self._environment.globals]
        return f"there is no macro or variable '{unknown[1]}'.{nearest(unknown[1], known)}"


class _Wrong(ConfigError):
    """A mistake in a template, on its way to becoming a CompileError with file and line."""


def _line_in(error: BaseException, file: Path) -> int:
    """Return the line of the template in which an error was raised; Jinja rewrites its tracebacks to say so."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno or 0 for frame in reversed(frames) if frame.filename == str(file)), 0)
