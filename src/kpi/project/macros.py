"""Macros of the project, of its packages and of dbt's own name, and which of them a name means where."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.runtime import new_context

from kpi.errors import CompileError, ConfigError, nearest
from kpi.project.jinja import HEAD, Sandbox, TooMuch, bounded, one_by_one, parsed
from kpi.project.packages import asks_for

ADAPTER = ("duckdb", "default")
OWN = Path(__file__).with_name("dbt.sql")
# What dbt's own materializations call: a project's macro of such a name changes what dbt does. Here nothing calls it.
_INSIDE_DBT = re.compile(
    r"(duckdb__|default__)?(get_\w*(merge|incremental|insert|delete|create|rename|replace)\w*_sql|create_\w+_as|drop_\w+|"
    r"snapshot_\w+|alter_\w+|truncate_relation|rename_relation|list_\w+|run_hooks|persist_docs|apply_grants|get_catalog)"
    r"|materialization_\w+"
)


class Wrong(ConfigError):
    """A mistake in a template, on its way to becoming a CompileError with file and line."""


RUN_QUERY = "template.run_query"  # the code of a CompileError that comes of the next


class NothingRuns(Wrong):
    """A template asks for what a query yields, and nothing runs while it is rendered."""


class Returned(Exception):
    """What a macro gives back by return(), on its way out of it."""

    def __init__(self, value: object) -> None:
        self.value = value


class Macro:
    """One macro; compiled when it is first called. Calling it gives its text, or what it returned."""

    SEEN = frozenset({"name", "arguments"})

    def __init__(self, node: nodes.Macro, file: Path, scope: Scope) -> None:
        self.name, self.node, self.file, self.scope = node.name, node, file, scope
        self._made: Callable[..., Any] | None = None

    def __call__(self, *given: Any, **named: Any) -> Any:
        if self._made is None:
            self._made = self._compiled()
        try:
            return self._made(*given, **named)
        except Returned as returned:
            return returned.value

    @property
    def arguments(self) -> tuple[str, ...]:
        return tuple(argument.name for argument in self.node.args)

    @property
    def required(self) -> tuple[str, ...]:
        return self.arguments[: len(self.arguments) - len(self.node.defaults)]

    @property
    def takes_more(self) -> bool:
        """Whether it takes arguments by names of the caller's."""
        return any(name.name == "kwargs" for name in self.node.find_all(nodes.Name))

    @property
    def line(self) -> int:
        return int(self.node.lineno)

    def _compiled(self) -> Callable[..., Any]:
        # Jinja keeps names that begin with _ to the template, so the macro gets another one in its own.
        self.node.name = "macro_" + self.name
        tree = nodes.Template([self.node], lineno=1)
        tree.set_environment(self.scope.environment)
        template = compiled(self.scope.environment, tree, self.file)
        function: Callable[..., Any] = getattr(template.make_module(self.scope, shared=True), self.node.name)  # type: ignore[arg-type]
        return function


class Scope(Mapping[str, Any]):
    """What names mean in the files of one package: its macros, the project's, packages, dbt's, then what is shared."""

    SEEN = frozenset({"get", "keys", "values", "items"})

    def __init__(self, macros: Macros, package: str) -> None:
        # Packages lean on names without a value being nothing, as dbt has it; in the project that is a mistake.
        is_own = package in (macros.project, "dbt")
        self.package, self.environment = package, macros.environment if is_own else macros.lenient
        self._macros = macros
        self._found: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        macros = self._macros
        for one in (name, f"dbt.{name}") if macros.overrides else ():
            if one in macros.overrides:
                return macros.overrides[one]
        if name not in self._found:
            self._found[name] = macros.find(name, self.package)
        if self._found[name] is not None:
            return self._found[name]
        if name in macros.shared:
            return macros.shared[name]
        if name in macros.packages:
            return Package(macros, name)
        if name == "context":
            return self
        return macros.environment.globals[name]

    def __contains__(self, name: object) -> bool:
        try:
            self[str(name)]
        except KeyError:
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        return iter({*self._macros.shared, *self._macros.packages, *self._macros.known(self.package)})

    def __len__(self) -> int:
        return len(set(self))

    def copy(self) -> dict[str, Any]:
        """Return nothing: Jinja asks for the names of a frame when it tells of an error, and uses none of them."""
        return {}


class Package:
    """The macros of one package, as `dbt_utils.star` names them."""

    def __init__(self, macros: Macros, name: str) -> None:
        self._macros, self._name = macros, name

    def __getattr__(self, name: str) -> Any:
        for one in (f"{self._name}.{name}", *([name] if self._name == "dbt" else [])):  # both names of dbt's own
            if one in self._macros.overrides:
                return self._macros.overrides[one]
        macro = self._macros.of(self._name, name)
        if macro is None:
            hint = nearest(name, self._macros.names_of(self._name))
            raise Wrong(f"there is no macro '{self._name}.{name}'.{hint}")
        return macro

    __getitem__ = __getattr__

    def get(self, name: str, default: Any = None) -> Any:
        return self._macros.of(self._name, name) or default


class Macros:
    """All macros, by package and name. `shared` is what every template sees, `overrides` what wins over macros."""

    def __init__(self, environment: jinja2.Environment, project: str) -> None:
        self.environment, self.project = environment, project
        self.lenient = Sandbox(extensions=list(environment.extensions), keep_trailing_newline=True, autoescape=False)
        self.lenient.filters.update(environment.filters)
        self.packages: dict[str, dict[str, Macro]] = {project: {}}
        self.shared: dict[str, Any] = {}
        self.overrides: Mapping[str, Any] = {}
        self.search: dict[str, Sequence[str]] = {}
        self._pending: dict[str, list[tuple[set[str], str, Path]]] = {}
        self._scopes: dict[str, Scope] = {}
        for text in one_by_one(OWN.read_text(encoding="utf-8")):
            self.later("dbt", text, OWN)

    def scope(self, package: str = "") -> Scope:
        """Return what names mean in a package; in the project when none is named."""
        return self._scopes.setdefault(package or self.project, Scope(self, package or self.project))

    def load(self, package: str, text: str, file: Path) -> None:
        """Read the macros of a file. Raises CompileError for a name that the package has already."""
        macros = self.packages.setdefault(package, {})
        for node in parsed(self.environment, text, file).body:
            if not isinstance(node, nodes.Macro):
                continue
            macro = Macro(node, file, self.scope(package))
            other = macros.setdefault(macro.name, macro)
            if other is not macro:
                message = f"the macro '{macro.name}' is in {other.file} too. Rename one of them."
                raise CompileError(file, macro.line, message)

    def later(self, package: str, text: str, file: Path) -> None:
        """Remember a file of a package; it is read when one of its macros is first asked for."""
        self.packages.setdefault(package, {})
        names = {("" if kind == "macro" else "test_") + name for kind, name in HEAD.findall(text)}
        self._pending.setdefault(package, []).append((names, text, file))

    def of(self, package: str, name: str) -> Any:
        """Return the macro of one package, or what dispatches to it; None when there is none."""
        self._read(package, name)
        macros = self.packages.get(package, {})
        if name in macros:
            return macros[name]
        for prefix in ADAPTER if package == "dbt" else ():
            self._read(package, f"{prefix}__{name}")
            if f"{prefix}__{name}" in macros:
                return self._dispatcher(name, package)
        return None

    def find(self, name: str, package: str) -> Any:
        """Return the macro that a plain name means in a package: its own, else the project's, else dbt's."""
        for one in dict.fromkeys((package, self.project, "dbt")):
            macro = self.of(one, name)
            if macro is not None:
                return macro
        return None

    def dispatch(self, name: str, namespace: str | None, packages: Sequence[str] = ()) -> Any:
        """Return the macro that adapter.dispatch means: the first of duckdb__name, default__name by search order."""
        order: Iterable[str | None] = packages or (namespace,)
        if namespace:
            order = self.search.get(namespace) or dict.fromkeys((self.project, namespace))
        for package in order:
            for prefix in ADAPTER:
                wanted = f"{prefix}__{name}"
                macro = self.of(package, wanted) if package else self.find(wanted, self.project)
                if macro is None and not package:
                    macro = next(filter(None, (self.of(one, wanted) for one in self.packages)), None)
                if macro is not None:
                    return macro
        raise Wrong(f"adapter.dispatch('{name}'): there is no macro duckdb__{name} or default__{name}.")

    def is_made_otherwise(self, test: str) -> bool:
        """Tell whether the project has a macro of its own for what dbt makes one of its tests with."""
        return self.of(self.project, "get_where_subquery") is not None or any(
            isinstance(macro := self.dispatch(name, "dbt"), Macro) and macro.file != OWN
            for name in (f"test_{test}", "get_where_subquery")
        )

    def names_of(self, package: str) -> set[str]:
        """The names of all macros of a package, whether they are read yet or not."""
        return set(self.packages.get(package, ())).union(*(names for names, *_ in self._pending.get(package, ())))

    def without_effect(self) -> list[str]:
        """A line for each macro of the project that dbt itself would call and nothing here does."""
        own = self.packages[self.project].values()
        return [
            f"{macro.file}:{macro.line}: the macro '{macro.name}' is one of dbt's own; nothing here calls it."
            for macro in own
            if _INSIDE_DBT.fullmatch(macro.name)
        ]

    def known(self, package: str) -> set[str]:
        """The names of macros that can be called plainly in a package."""
        return {name for one in (package, self.project) for name in self.names_of(one)}

    def _dispatcher(self, name: str, package: str) -> Callable[..., Any]:
        # Looked up at each call: a macro that is read later may take its place.
        def dispatched(*given: Any, **named: Any) -> Any:
            return self.dispatch(name, package)(*given, **named)

        return dispatched

    def _read(self, package: str, name: str) -> None:
        """Read the files of a package that has the name anywhere as a macro or test."""
        waiting = self._pending.get(package)
        if not waiting:
            return
        for item in [item for item in waiting if name in item[0]]:
            waiting.remove(item)
            self.load(package, *item[1:])


def compiled(environment: jinja2.Environment, tree: nodes.Template, file: Path) -> jinja2.Template:
    """Compile a parsed template. Raises CompileError for one that Python cannot take."""
    try:
        return bounded(
            "the template",
            lambda: jinja2.Template.from_code(environment, environment.compile(tree, str(file), str(file)), {}),
        )
    except (TooMuch, SyntaxError) as error:
        raise CompileError(file, 1, f"the template cannot be compiled: {error}".rstrip(".") + ".") from None


def run(template: jinja2.Template, scope: Scope) -> str:
    """Render a compiled template in a scope. What fails has Jinja's own traceback, that names the template's lines."""
    context = new_context(template.environment, template.name, template.blocks, scope, shared=True)  # type: ignore[arg-type]
    try:
        return bounded("the template", lambda: "".join(template.root_render_func(context)))
    except Exception:
        template.environment.handle_exception()


def undefined(error: jinja2.UndefinedError, macros: Macros, root: Path) -> str:
    """Say what a template named that is not there; a package that the project asks for may only lack its folder."""
    text = error.message or "something is undefined"
    unknown = re.fullmatch(r"'(\w+)' is undefined", text)
    if not unknown:
        return f"Jinja: {text}."
    if asks_for(root, unknown[1]):
        message = "is asked for, but is not in dbt_packages. Run `dbt deps`, or copy the package there."
        return f"the package '{unknown[1]}' {message}"
    return f"there is no macro or variable '{unknown[1]}'.{nearest(unknown[1], macros.scope())}"
