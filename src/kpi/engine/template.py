"""Templates rendered to SQL: ref, source, config, var, this and the project's macros, in dbt's order of names.

What a template refers to, and which of its lines each piece of the SQL comes from, is collected while it renders.
"""

from __future__ import annotations

import ast
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
from jinja2.runtime import new_context

from kpi.cache import key_of, remembered
from kpi.environment import is_as_read
from kpi.errors import CompileError, ConfigError, nearest
from kpi.project import context
from kpi.project.jinja import CHARACTERS, bounded, environment, is_fleeting, line_in, mark_places, parsed, traced
from kpi.project.macros import RUN_QUERY, Macro, Macros, NothingRuns, Wrong, compiled, run, undefined
from kpi.project.packages import read_text
from kpi.project.project import Project
from kpi.project.properties import Source
from kpi.project.relation import Lines, Relation, Rendered, as_seen, in_short

_KINDS = ("model", "seed", "snapshot")


class NoParentError(Wrong):
    """A template names by ref() or source() what is not there, on its way to becoming a MissingParentError."""


class MissingParentError(CompileError):
    """A model, seed or source that a file names by ref() or source() is not there."""


def find_ref(
    project: Project, relations: Mapping[str, Relation], package: str, names: Sequence[str], version: object = None
) -> Relation:
    """Return the model, seed or snapshot that ref(...) in a file of a package means; a model's latest version if none
    is named. Raises NoParentError when there is none, and Wrong when it may be one of several."""
    if len(names) not in (1, 2) or not all(isinstance(name, str) for name in names):
        raise Wrong("ref takes the name of a model or seed, and the project's name before it if you like.")
    name, latest = names[-1], project.latest_versions
    if len(names) == 2 and names[0] not in (project.name, *project.packages):
        raise NoParentError(f"ref('{names[0]}', '{name}'): there is no package '{names[0]}' here.")
    for one in names[:1] if len(names) == 2 else dict.fromkeys((project.name, package)):
        for kind in _KINDS:
            wanted = f"{name}.v{version}" if version is not None else latest.get((one, name), name)
            if found := relations.get(f"{kind}.{one}.{wanted}"):
                return found
    if len(names) == 1:
        wanted_anywhere = {f"{name}.v{version}"} if version is not None else {name}
        anywhere = [
            relations[node_id]
            for one in project.packages
            for kind in _KINDS
            for wanted in ({latest.get((one, name), name)} if version is None else wanted_anywhere)
            if (node_id := f"{kind}.{one}.{wanted}") in relations
        ]
        if len(anywhere) > 1:
            homes = " and ".join(relation.node.split(".")[1] for relation in anywhere)
            raise Wrong(f"ref('{name}'): the packages {homes} have it. Name the package: ref('…', '{name}').")
        if anywhere:
            return anywhere[0]
    versions = sorted(set(_versions(relations, name)))
    if version is not None and versions:
        raise NoParentError(f"ref('{name}', v={version}): there is no such version; there are {', '.join(versions)}.")
    if version is not None and any(node.split(".", 2)[2] == name for node in relations):
        raise Wrong(f"ref('{name}', v={version}): '{name}' has no versions.")
    known = [node.split(".", 2)[2].partition(".v")[0] for node in relations if not node.startswith("source.")]
    raise NoParentError(f"ref('{name}'): there is no such model or seed.{nearest(name, known)}")


def find_source(
    project: Project, relations: Mapping[str, Relation], package: str, source_name: str, table_name: str
) -> Relation:
    """Return the table that source(...) in a file of a package means. Raises NoParentError when there is none."""
    for one in dict.fromkeys((project.name, package, *project.packages)):
        if found := relations.get(f"source.{one}.{source_name}.{table_name}"):
            return found
    known = [node.split(".", 2)[2] for node in relations if node.startswith("source.")]
    hint = nearest(f"{source_name}.{table_name}", known)
    raise NoParentError(f"source('{source_name}', '{table_name}'): there is no such source table.{hint}")


def version_of(given: Mapping[str, object]) -> object:
    """The version that ref(..., v=2) or ref(..., version=2) names. Raises Wrong for anything else."""
    for name in given:
        if name not in ("v", "version"):
            raise Wrong(f"ref(..., {name}=...): ref takes no '{name}'. A version is ref('…', v=2).")
    return given.get("v", given.get("version"))


def _versions(relations: Mapping[str, Relation], name: str) -> Iterator[str]:
    for node in relations:
        kind, _, rest = node.split(".", 2)
        if kind == "model" and rest.startswith(f"{name}.v"):
            yield rest.removeprefix(f"{name}.v")


class NeedsColumns(CompileError):
    """A template asked for the columns of a relation that are not known yet."""


class NeedsGraph(NeedsColumns):
    """A template asked for the graph of all nodes before there is one."""


class LaterError(Exception):
    """The columns of a relation are asked for, or with None the graph, on its way to one of the errors above."""

    def __init__(self, relation: Relation | None) -> None:
        self.relation = relation
        super().__init__(str(relation))


@contextmanager
def overridden(
    templates: Templates, variables: Mapping[str, Any], env_vars: Mapping[str, Any], macros: Mapping[str, Any]
) -> Iterator[None]:
    """Render with other values of variables and of the environment's, and with macros that yield a given value."""
    values = templates.values
    before = values.overrides, values.given
    values.overrides, values.given = variables, dict(env_vars)
    templates.macros.overrides = {name: _always(value) for name, value in macros.items()}
    try:
        yield
    finally:
        values.overrides, values.given = before
        templates.macros.overrides = {}


def _always(value: Any) -> Callable[..., Any]:
    return lambda *given, **named: value


_ONE_EXPRESSION = re.compile(r"\s*\{\{(?!.*\{\{)(.*)\}\}\s*", re.DOTALL)
_CALL = re.compile(r"\s*(env_var|ref|var|source|doc)\s*\(.+\)\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RenderInput:
    """What one rendering has beside its text: `this`, whether is_incremental() is true, and `base`, settings from
    elsewhere.

    `model` is what templates see as that; `names` are known to this rendering alone. With `parsing` only the config is
    of use: references stand for nothing, `execute` is false, and what fails ends the rendering quietly.
    """

    this: Relation | None = None
    is_incremental: bool = False
    base: Mapping[str, Any] | None = None
    model: Mapping[str, Any] | None = None
    parsing: bool = False
    names: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """What stands in `{{ … }}` of a plain template, at a line and column of it: a name, or a call by a name."""

    line: int
    column: int
    tree: ast.expr


# What Python reads otherwise than Jinja, or may: then Jinja reads the template.
_STRING = re.compile(r"""(?<![\w'"])('[^'\\]*'|"[^"\\]*")(?!['"])""")
# What Python reads otherwise than Jinja, or may, when the strings are left out: then Jinja reads the template.
_NOT_PLAIN = re.compile(r"""[#\\'"]|\b0[\dxXoObB_]|\d_|\w\s+\(|^[-+]|-$""")
_NO_NAMES = frozenset({"self", "super", "loop", "caller", "varargs", "kwargs", "context"})
_CONSTANTS = {"true": True, "false": False, "none": None}


def pieces_of(text: str) -> list[str | Call] | None:
    """Return the texts, each with its mark, and the calls of a plain template in order; None for any other.

    Plain is a template that has no tags and comments, and whose expressions are names and calls with constants, names
    and such calls. Most models are, and for Jinja to compile one takes as long as for DuckDB to bind it.
    """
    if "{%" in text or "{#" in text or "\r" in text or "\x01" in text:
        return None
    found: list[str | Call] = []
    line, line_start, end = 1, 0, 0
    while end < len(text):
        start = text.find("{{", end)
        data = text[end:] if start < 0 else text[end:start]
        if data:
            found.append(f"\x01{line}.{end - line_start + 1}\x01{data}")
            if breaks := data.count("\n"):
                line, line_start = line + breaks, end + data.rfind("\n") + 1
        if start < 0:
            return found
        end = text.find("}}", start + 2) + 2
        written = text[start + 2 : end - 2]
        tree = _plain_expression(written.strip()) if end > 1 else None
        if tree is None:
            return None
        lead = len(written) - len(written.lstrip())
        found.append(Call(line + written.count("\n", 0, lead), start - line_start + 1, tree))
        if breaks := written.count("\n"):
            line, line_start = line + breaks, start + 2 + written.rfind("\n") + 1
    return found


def _plain_expression(text: str) -> ast.expr | None:
    if _NOT_PLAIN.search(_STRING.sub(" ", text)):
        return None
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return tree if isinstance(tree, ast.Name | ast.Call) and _is_plain(tree) else None


def _is_plain(tree: ast.expr) -> bool:
    match tree:
        case ast.Constant(value=value):
            return value is None or type(value) in (str, int, float, bool)
        case ast.Name(id=name):
            return name.isascii() and not name.startswith("_") and name not in _NO_NAMES
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return all(map(_is_plain, parts))
        case ast.Dict(keys=keys, values=values):
            return all(key is not None and _is_plain(key) for key in keys) and all(map(_is_plain, values))
        case ast.Call(func=ast.Name() as name, args=given, keywords=named):
            names = [one.arg for one in named]
            is_named = all(one is not None and one.isascii() for one in names) and len(set(names)) == len(names)
            return is_named and all(map(_is_plain, (name, *given, *(one.value for one in named))))
        case _:
            return False


def _value_of(tree: ast.expr, context: jinja2.runtime.Context) -> Any:
    """What a plain expression means, by the same ways as in a compiled template."""
    value: Any = None
    match tree:
        case ast.Constant():
            value = tree.value
        case ast.Name():
            value = _CONSTANTS[tree.id] if tree.id in _CONSTANTS else context.resolve(tree.id)
        case ast.List():
            value = [_value_of(one, context) for one in tree.elts]
        case ast.Tuple():
            value = tuple(_value_of(one, context) for one in tree.elts)
        case ast.Dict():
            pairs = zip(tree.keys, tree.values, strict=True)
            value = {_value_of(key, context): _value_of(one, context) for key, one in pairs if key is not None}
        case ast.Call():
            called = _value_of(tree.func, context)
            given = [_value_of(one, context) for one in tree.args]
            named = {str(one.arg): _value_of(one.value, context) for one in tree.keywords}
            value = context.environment.call(context, called, *given, **named)  # type: ignore[attr-defined]
    return value


class Templates:
    """The project's macros, and the rendering of files that use them. `relations` maps node ids to places.

    `variables_read` are the variables that templates asked for, `environment_read` those of the environment with their
    values. `known_columns` are name and type of the columns of nodes by id, for macros that ask.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.relations: dict[str, Relation] = {}
        self.known_columns: Mapping[str, tuple[tuple[str, str], ...]] = {}
        self.known_graph: Mapping[str, Any] | None = None
        self.values = context.Values(project.variables, project.package_variables)
        self.values.target = project.target
        self.variables_read = self.values.variables_read
        self.environment_read = self.values.environment_read
        self.variables_read |= project.variables_read
        self.environment_read.update(project.environment_read)
        self._environment = environment()
        self.macros = Macros(self._environment, project.name)
        self.macros.search = dict(project.dispatch)
        self.macros.shared = context.shared(self.values, self.macros, self._columns_of, self._graph, project.invocation)
        self.notes: list[str] = []
        self.outside: dict[str, Source] = {}
        self._files = {file: file for file in project.macro_files}
        self._short: dict[tuple[str, str], jinja2.Template] = {}
        self._macro_texts: list[str] = []
        self._known_world = ((-1, ""), "")
        self._known_places = (-1, frozenset[tuple[str, ...]]())
        for package, files in project.packages.items():
            for file in files:
                self.macros.later(package, self._macro_text(file), file)
                self._files[file] = file
        for file in project.macro_files:
            self.macros.load(project.name, self._macro_text(file), file)

    def _macro_text(self, file: Path) -> str:
        text = read_text(self.project.root, file)
        self._macro_texts.append(f"{file}\n{text}")
        return text

    def schema_of(self, custom: str | None, node: Mapping[str, Any] | None = None) -> str:
        """Return the schema of a node with the given `schema` setting, as the project's macro or else dbt has it."""
        return self._named("generate_schema_name", custom, node)

    def alias_of(self, custom: str | None, node: Mapping[str, Any]) -> str:
        """Return the name in its schema of a node with the given `alias` setting."""
        return self._named("generate_alias_name", custom, node)

    def database_of(self, custom: str | None, node: Mapping[str, Any]) -> str:
        """Return the database of a node with that `database` setting, as the project's macro or else dbt has it."""
        return self._named("generate_database_name", custom, node)

    def _named(self, macro: str, custom: str | None, node: Mapping[str, Any] | None) -> str:
        given = dict(node) if node is not None else None
        # A package that has such a macro names its own models by it.
        own = given and self.macros.of(str(given.get("package_name", "")), macro)
        try:
            name = bounded("the macro", lambda: str((own or self.macros.scope()[macro])(custom, given)))
            return name.strip()
        except Exception:  # rendered once more as a template, so that what fails is reported with file and line
            names = {"kpi_custom": custom, "kpi_node": given}
            return self._rendered_with(names, f"{{{{ {macro}(kpi_custom, kpi_node) }}}}", Path(macro))[0]

    def render(
        self,
        text: str,
        file: Path,
        settings: Sequence[str],
        given: RenderInput = RenderInput(),
    ) -> Rendered:
        """Render one file whose config() may set `settings`.

        Raises CompileError with file and line for whatever Jinja or a reference gets wrong.
        """
        known = (
            ""
            if given.names or given.parsing or self.known_columns or self.known_graph or is_fleeting(text)
            else self._world()
        )
        make = partial(self._render, text, file, settings, given)
        parts = (text, str(file), settings, str(given.this), given.is_incremental, given.base, given.model)
        rendered = (
            remembered(make, "render", known, *parts, is_right=lambda found: is_as_read(found.environment_read))
            if known
            else make()
        )
        self.variables_read |= rendered.variables_read
        self.environment_read.update(rendered.environment_read)
        self.notes += [f"{file}:{note}" for note in rendered.notes]
        return rendered

    def _world(self) -> str:
        """The key of all that any file's rendering follows from, apart from the file; empty when that is not known."""
        variables = repr((self.values.variables, self.values.of_packages))
        if self.macros.overrides or self.values.given or self.values.overrides or is_fleeting(variables):
            return ""
        state = (len(self.relations), variables)
        if self._known_world[0] != state:
            places = sorted(f"{node} {relation}" for node, relation in self.relations.items())
            key = key_of(
                self.project.name, self.project.target, self._macro_texts, state, self.project.dispatch, places
            )
            self._known_world = (state, "" if any(map(is_fleeting, self._macro_texts)) else key)
        return self._known_world[1]

    def _render(
        self,
        text: str,
        file: Path,
        settings: Sequence[str],
        more: RenderInput,
    ) -> Rendered:
        pieces = None if more.names else pieces_of(text)
        if pieces is not None:
            with suppress(Exception):  # whatever it is, rendering by Jinja says where and in which words
                return self._render_by(text, file, settings, more, pieces)
        return self._render_by(text, file, settings, more, None)

    def _render_by(
        self, text: str, file: Path, settings: Sequence[str], more: RenderInput, pieces: list[str | Call] | None
    ) -> Rendered:
        this, is_incremental, parsing = more.this, more.is_incremental, more.parsing
        rendered = Rendered(this, is_incremental)
        package, before = self.project.package_of(file), self.values.package
        self.values.package = package

        def ref(*given: str, **version: Any) -> Relation:
            if parsing:
                return Relation("", "main", str(given[-1]))
            return self._refer(rendered, find_ref(self.project, self.relations, package, given, version_of(version)))

        def source(source_name: str, table_name: str) -> Relation:
            if parsing:
                return Relation("", source_name, table_name)
            return self._refer(rendered, find_source(self.project, self.relations, package, source_name, table_name))

        own = {
            **{
                "ref": ref,
                "source": source,
                "config": context.Config(rendered, settings, more.base or {}, self.project.is_strict),
            },
            **{"is_incremental": lambda: is_incremental, "execute": not parsing, "model": dict(more.model or {})},
        }
        if this:
            own["this"] = as_seen(this)
        own["builtins"] = dict(own)
        variables_read, environment_read = set(self.variables_read), dict(self.environment_read)
        self.variables_read.clear()
        self.environment_read.clear()
        try:
            names = {**own, **(more.names or {})}
            rendered.sql, rendered.lines = self._rendered_with(names, text, file, bool(more.names), pieces)
        except CompileError:
            if not parsing:
                raise
        finally:
            self.values.package = before
            rendered.variables_read, rendered.environment_read = (
                frozenset(self.variables_read),
                dict(self.environment_read),
            )
            self.variables_read |= variables_read
            self.environment_read.update(environment_read)
        return rendered

    def value(self, text: str, file: Path, depends_on: dict[str, Relation]) -> Any:
        """Return what a text of a data test's arguments means: of one expression its value, else the text rendered."""
        found = _ONE_EXPRESSION.fullmatch(text)
        expression = found[1] if found else text if _CALL.fullmatch(text) else ""
        values: list[Any] = []
        if expression:
            expression = expression.removeprefix("-").removesuffix("-")
            text = f"{{% do kpi_keep({expression}) %}}"
        elif "{" not in text:
            return text
        rendered = self.render(text, file, (), RenderInput(names={"kpi_keep": values.append}))
        depends_on.update(rendered.depends_on)
        return values[0] if values else rendered.sql

    def generic_test(self, kind: str) -> Macro | None:
        """Return the macro of a data test named as in YAML, `name` or `package.name`; None when there is none."""
        package, _, name = kind.rpartition(".")
        found = self.macros.of(package or self.project.name, f"test_{name}")
        return found if isinstance(found, Macro) else None

    def _refer(self, rendered: Rendered, relation: Relation) -> Relation:
        rendered.depends_on[relation.node] = relation
        return as_seen(relation)

    def _graph(self) -> Mapping[str, Any]:
        if self.known_graph is None:
            raise LaterError(None)
        return self.known_graph

    def _places(self) -> frozenset[tuple[str, ...]]:
        if self._known_places[0] != len(self.relations):
            self._known_places = (len(self.relations), frozenset(one.parts for one in self.relations.values()))
        return self._known_places[1]

    def _columns_of(self, relation: Relation) -> tuple[tuple[str, str], ...]:
        if relation.node not in self.known_columns:
            raise LaterError(relation)
        return self.known_columns[relation.node]

    def _rendered_with(
        self,
        names: Mapping[str, Any],
        text: str,
        file: Path,
        is_alike: bool = False,
        pieces: list[str | Call] | None = None,
    ) -> tuple[str, Lines]:
        # Macros see what is shared, so they find the ref of the file being rendered.
        shared = self.macros.shared
        before = {name: shared[name] for name in names if name in shared}
        shared.update(names)
        try:
            marked = self._text(text, file, is_alike) if pieces is None else self._joined(pieces, file)
            if len(marked) > CHARACTERS:
                message = f"this becomes more than {CHARACTERS} characters of SQL. Rows belong into a seed or a feed."
                raise CompileError(file, 1, message)
            return traced(in_short(marked, self._places))
        finally:
            for name in names:
                del shared[name]
            shared.update(before)

    def _joined(self, pieces: Iterable[str | Call], file: Path) -> str:
        """Render a plain template."""
        scope = self.macros.scope(self.project.package_of(file))
        context = new_context(scope.environment, None, {}, scope, shared=True)  # type: ignore[arg-type]
        texts = (
            piece
            if isinstance(piece, str)
            else f"\x01{piece.line}.{piece.column}=\x01{_value_of(piece.tree, context)!s}"
            for piece in pieces
        )
        return bounded("the template", lambda: "".join(texts))

    def _text(self, text: str, file: Path, is_alike: bool) -> str:
        """Render a text. One that `is_alike` for many, a data test's, names no line of its file: its YAML does."""
        try:
            package = self.project.package_of(file)
            scope = self.macros.scope(package)
            template = self._short.get((package, text))
            if template is None:
                tree = parsed(scope.environment, text, file)
                mark_places(tree, text, scope.environment)
                template = compiled(scope.environment, tree, file)
            if is_alike or file.name == str(file):  # not of a file: what is asked for every node, such as its schema
                self._short[package, text] = template
            return run(template, scope)
        except jinja2.UndefinedError as error:
            raise self._error(error, file, undefined(error, self.macros, self.project.root)) from None
        except LaterError as error:
            line = line_in(error, file)
            if error.relation is None:
                raise NeedsGraph(file, line, "the graph of all nodes is not known here.") from None
            message = f"the columns of {error.relation} are not known here. Name the columns in the SQL."
            raise NeedsColumns(file, line, message) from None
        except NothingRuns as error:
            raise self._error(error, file, str(error), RUN_QUERY) from None
        except ConfigError as error:
            raise self._error(error, file, str(error)) from None
        except CompileError:
            raise
        except Exception as error:  # a template runs as Python, and may fail as Python does
            reason = re.sub(r"[\w.]*<locals>\.|\bmacro_(?=\w+' takes)", "", str(error)) or type(error).__name__
            raise self._error(error, file, f"the template fails: {reason}.") from None

    def _error(self, error: Exception, file: Path, message: str, code: str = "") -> CompileError:
        """The error at the line of the file, naming the macro that failed when it was one."""
        frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        macros = [f" (in {place}:{line})" for place, line in frames if place in self._files]
        kind = MissingParentError if isinstance(error, NoParentError) else CompileError
        return kind(file, line_in(error, file), message + (macros[-1] if macros else ""), code=code)
