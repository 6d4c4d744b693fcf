"""Jinja as dbt has it: `ref`, `source`, `config`, `var`, `this`, `target` and the project's macros, rendered to SQL.

A template is rendered once; what it refers to is collected while it renders.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2

from kpi.errors import CompileError, ConfigError, nearest
from kpi.names import relation_name
from kpi.project import MATERIALIZATIONS, MODEL_CONFIGS, Project

_UNDEFINED = object()


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
    """What came of one template: its SQL, the nodes it refers to in order, and its own settings."""

    sql: str = ""
    depends_on: dict[str, Relation] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


class Templates:
    """The project's macros, and the rendering of files that use them. `relations` maps node ids to places."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.relations: dict[str, Relation] = {}
        self._namespace: dict[str, Any] = {"var": self._var, "return": lambda value: value, "execute": True}
        self._namespace["target"] = SimpleNamespace(name="kpi", schema="main", database="kpi", type="duckdb")
        self._environment = jinja2.Environment(
            undefined=jinja2.StrictUndefined, extensions=["jinja2.ext.do"], keep_trailing_newline=True, autoescape=False
        )
        for file in project.macro_files:
            self._load_macros(file)

    def schema_of(self, custom: object) -> str:
        """Return the schema of a node with the given `schema` setting, as the project's macro or else dbt has it."""
        macro = self._namespace.get("generate_schema_name")
        if macro is not None:
            return str(macro(custom, None)).strip()
        return f"main_{custom}" if custom else "main"

    def render(self, text: str, file: Path, this: Relation | None = None) -> Rendered:
        """Render one file. Raises CompileError with file and line for whatever Jinja or a reference gets wrong."""
        rendered = Rendered()
        self._namespace.update(
            ref=lambda *names: self._ref(rendered, names),
            source=lambda source, table: self._source(rendered, source, table),
            config=lambda **settings: self._config(rendered, settings),
            this=this,
        )
        try:
            rendered.sql = self._module_text(text, file)
        finally:
            for name in ("ref", "source", "config", "this"):
                self._namespace.pop(name)
        return rendered

    def _module_text(self, text: str, file: Path) -> str:
        try:
            return self._compiled(text, file).render()
        except _Wrong as error:
            raise CompileError(file, _line_in(error, file), str(error)) from None
        except jinja2.UndefinedError as error:
            raise CompileError(file, _line_in(error, file), self._undefined(error)) from None
        except CompileError:
            raise
        except (TypeError, ValueError, ArithmeticError, jinja2.TemplateError) as error:
            raise CompileError(file, _line_in(error, file), f"the template fails: {error}") from None

    def _compiled(self, text: str, file: Path) -> jinja2.Template:
        try:
            code = self._environment.compile(text, name=str(file), filename=str(file))
        except jinja2.TemplateSyntaxError as error:
            raise CompileError(file, error.lineno, f"Jinja: {error.message}") from None
        return jinja2.Template.from_code(self._environment, code, self._namespace)

    def _load_macros(self, file: Path) -> None:
        template = self._compiled((self.project.root / file).read_text(encoding="utf-8"), file)
        try:
            # Shared: macros see the namespace itself, so they find each other and the ref of the file being rendered.
            module = template.make_module(self._namespace, shared=True)
        except jinja2.TemplateError as error:
            raise CompileError(file, _line_in(error, file), f"the macro file fails: {error}") from None
        for name, macro in vars(module).items():
            if not name.startswith("_"):
                if name in self._namespace:
                    raise CompileError(file, 1, f"the macro '{name}' is defined twice, or has the name of a built-in.")
                self._namespace[name] = macro

    def _ref(self, rendered: Rendered, names: tuple[str, ...]) -> Relation:
        if len(names) == 2 and names[0] != self.project.name:
            raise _Wrong(f"ref('{names[0]}', ...): there is no package '{names[0]}' here.")
        if len(names) not in (1, 2):
            raise _Wrong("ref takes the name of a model or seed, and a project's name before it if you like.")
        for kind in ("model", "seed"):
            relation = self.relations.get(f"{kind}.{self.project.name}.{names[-1]}")
            if relation:
                rendered.depends_on[relation.node] = relation
                return relation
        known = [node.split(".")[-1] for node in self.relations if not node.startswith("source.")]
        raise _Wrong(f"ref('{names[-1]}'): there is no such model or seed.{nearest(names[-1], known)}")

    def _source(self, rendered: Rendered, source: str, table: str) -> Relation:
        relation = self.relations.get(f"source.{self.project.name}.{source}.{table}")
        if relation is None:
            known = [node.split(".", 2)[2] for node in self.relations if node.startswith("source.")]
            hint = nearest(f"{source}.{table}", known)
            raise _Wrong(f"source('{source}', '{table}'): there is no such source table.{hint}")
        rendered.depends_on[relation.node] = relation
        return relation

    def _config(self, rendered: Rendered, settings: Mapping[str, Any]) -> str:
        for name in settings:
            if name not in (*MODEL_CONFIGS, "severity"):
                raise _Wrong(f"config({name}=...) is not supported.{nearest(name, MODEL_CONFIGS)}")
        rendered.config.update(settings)
        return ""

    def _var(self, name: str, default: object = _UNDEFINED) -> object:
        if name in self.project.variables:
            return self.project.variables[name]
        if default is _UNDEFINED:
            hint = nearest(name, self.project.variables)
            raise _Wrong(f"var('{name}') has no value in dbt_project.yml and no default.{hint}")
        return default

    def _undefined(self, error: jinja2.UndefinedError) -> str:
        text = error.message or "something is undefined"
        name = text.split("'")[1] if text.count("'") >= 2 else ""
        return f"Jinja: {text}.{nearest(name, [n for n in self._namespace if n != 'return'])}"


class _Wrong(ConfigError):
    """A mistake in a template, on its way to becoming a CompileError with file and line."""


def check_materialized(value: object, file: Path) -> str:
    """Return the materialization, or raise CompileError when there is none of that name."""
    if value not in MATERIALIZATIONS:
        raise CompileError(file, 1, f"materialized='{value}' is not supported.{nearest(str(value), MATERIALIZATIONS)}")
    return str(value)


def _line_in(error: BaseException, file: Path) -> int:
    """Return the line of the template in which an error was raised; Jinja rewrites its tracebacks to say so."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno or 0 for frame in reversed(frames) if frame.filename == str(file)), 0)
