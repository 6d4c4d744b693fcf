"""The context that templates and values of YAML are rendered in, as dbt has it, with the objects macros are given."""

from __future__ import annotations

import ast
import datetime
import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kpi.environment import SECRET, Default, note_read
from kpi.errors import CompileError, ConfigError, Place, nearest
from kpi.lazy import duckdb, yaml
from kpi.project.jinja import Chain, environment, parsed, step_by_step
from kpi.project.macros import Macros, NothingRuns, Returned, Wrong, compiled, run
from kpi.project.properties import BESIDE, NO_EFFECT, config_problem
from kpi.project.relation import DATABASE, Relation, Rendered
from kpi.settings import Invocation
from kpi.sql import identifier
from kpi.yaml_loader import Items, Section

NOTHING_RUNS = "kpi compiles every model before anything runs, so a template cannot read tables"


@dataclass(frozen=True, slots=True)
class Column:
    """A column as dbt's macros see it."""

    name: str
    dtype: str

    @property
    def column(self) -> str:
        return self.name

    @property
    def data_type(self) -> str:
        return self.dtype

    @property
    def quoted(self) -> str:
        return identifier(self.name)

    def is_string(self) -> bool:
        return self.dtype.upper() in ("VARCHAR", "TEXT")

    def string_size(self) -> int:
        """The longest text it holds as dbt has it: DuckDB's texts have no limit of their own."""
        return 256

    def is_number(self) -> bool:
        return self.is_integer() or self.is_float() or self.is_numeric()

    def is_numeric(self) -> bool:
        return self.dtype.upper().startswith(("DECIMAL", "NUMERIC"))

    def is_integer(self) -> bool:
        return re.fullmatch(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?", self.dtype.upper()) is not None

    def is_float(self) -> bool:
        return self.dtype.upper() in ("FLOAT", "DOUBLE", "REAL")


class Unsupported:
    """An object of dbt of which some parts work; any other is an error that says what to write instead."""

    def __init__(self, name: str, instead: str, **parts: Any) -> None:
        self._name, self._instead, self._parts = name, instead, parts

    def __getattr__(self, part: str) -> Any:
        if part.startswith("__"):
            raise AttributeError(part)
        if part not in self._parts:
            raise Wrong(f"{self._name}.{part} is not supported: {self._instead}.{nearest(part, self._parts)}")
        return self._parts[part]


class Flags(dict[str, Any]):
    """What a run was asked, by dbt's names; what kpi has no flag for is nothing, as in dbt."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.get(name, "")


class Later(Mapping[str, Any]):
    """A mapping that is there when it is first looked at, and not before."""

    def __init__(self, make: Callable[[], Mapping[str, Any]]) -> None:
        self._make = make

    def __getitem__(self, key: str) -> Any:
        return self._make()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._make())

    def __len__(self) -> int:
        return len(self._make())


class Selected(Sequence[str]):
    """The ids of all that a run builds and tests, known when the graph is."""

    def __init__(self, graph: Callable[[], Mapping[str, Any]], is_partial: bool) -> None:
        self._graph, self._is_partial = graph, is_partial

    def _ids(self) -> list[str]:
        if self._is_partial:
            message = "selected_resources is not known while a run compiles that selects some of the nodes"
            raise Wrong(f"{message}. Run it without --select, --exclude and --resource-type.")
        nodes = (one for one in self._graph().get("nodes", {}).values() if one["resource_type"] != "analysis")
        return sorted(str(one["unique_id"]) for one in nodes)

    def __getitem__(self, place: Any) -> Any:
        return self._ids()[place]

    def __len__(self) -> int:
        return len(self._ids())


class Named:
    """Values that have names, as a row of a query's result: by name, by number, or one after the other."""

    def __init__(self, names: Sequence[str], values: Iterable[Any]) -> None:
        self._names, self._values = tuple(names), tuple(values)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in self._names:
                raise KeyError(key)
            return self._values[self._names.index(key)]
        return self._values[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, Named | tuple | list) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values)

    def __repr__(self) -> str:
        return repr(self._values)

    def keys(self) -> tuple[str, ...]:
        return self._names

    def values(self) -> tuple[Any, ...]:
        return self._values

    def items(self) -> list[tuple[str, Any]]:
        return list(zip(self._names, self._values, strict=False))

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self._names else default

    def dict(self) -> Mapping[str, Any]:
        return {name: self[name] for name in self._names}


class ResultColumn(Named):
    """A column of a query's result: its name, and its values in the order of the rows."""

    def __init__(self, name: str, values: Iterable[Any]) -> None:
        super().__init__((), values)
        self.name = name

    def values_distinct(self) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(self._values))

    def values_without_nulls(self) -> tuple[Any, ...]:
        return tuple(value for value in self._values if value is not None)


class Table:
    """Rows of a query, as dbt's macros read them: of agate's tables what projects use."""

    def __init__(self, names: tuple[str, ...], rows: Iterable[Iterable[Any]]) -> None:
        self.column_names = names
        self.rows = [Named(names, row) for row in rows]
        columns = (ResultColumn(name, (row[place] for row in self.rows)) for place, name in enumerate(names))
        self.columns = Named(names, columns)

    def __len__(self) -> int:
        return len(self.rows)

    def __bool__(self) -> bool:
        return True  # even without rows, as agate's

    def __getattr__(self, part: str) -> Any:
        if part.startswith("__"):
            raise AttributeError(part)
        there = ("columns", "column_names", "rows", "select", "exclude", "limit", "print_table")
        raise Wrong(f"of a query's result '{part}' is not supported.{nearest(part, there)}")

    def select(self, names: Sequence[str] | str) -> Table:
        wanted = (names,) if isinstance(names, str) else tuple(names)
        return Table(wanted, ([row[name] for name in wanted] for row in self.rows))

    def exclude(self, names: Sequence[str] | str) -> Table:
        excluded_names = (names,) if isinstance(names, str) else tuple(names)
        return self.select([name for name in self.column_names if name not in excluded_names])

    def limit(self, start: int, stop: int | None = None) -> Table:
        return Table(self.column_names, self.rows[:start] if stop is None else self.rows[start:stop])

    def print_table(self, *given: Any, **named: Any) -> None:
        """Print nothing: the output of compiling is not looked at."""

    print_csv = print_json = print_structure = print_table


def run_query(sql: str) -> Table:
    """Run a query that reads no table, such as the number of days between two dates. Raises Wrong for any other."""
    from kpi.database import confined, first_line

    # One thread, which a signal stops: DuckDB waits for its other threads, and those may go on for hours.
    with confined({"threads": "1"}) as con:
        try:
            result = con.execute(sql)
            return Table(tuple(column[0] for column in result.description or ()), result.fetchall())
        except duckdb.CatalogException:
            message = f"run_query(): {NOTHING_RUNS}. Name the values in a variable (vars), a seed or the SQL itself."
            raise NothingRuns(message) from None
        except duckdb.Error as error:
            raise NothingRuns(f"run_query(): {first_line(error)}") from None


_MISSING = object()
_DATETIME = ("date", "datetime", "time", "timedelta", "timezone", "tzinfo", "UTC", "MINYEAR", "MAXYEAR")
_ITERTOOLS = (
    *("accumulate", "combinations", "combinations_with_replacement", "compress", "count", "cycle", "dropwhile"),
    *("filterfalse", "groupby", "islice", "pairwise", "permutations", "product", "repeat", "starmap", "takewhile"),
    "zip_longest",
)
_PYTZ = (
    *("timezone", "utc", "UTC", "FixedOffset", "all_timezones", "all_timezones_set", "common_timezones"),
    *("common_timezones_set", "AmbiguousTimeError", "InvalidTimeError", "NonExistentTimeError", "UnknownTimeZoneError"),
)
TARGET = {
    **{"name": "kpi", "target_name": "kpi", "profile_name": "kpi", "schema": "main", "database": DATABASE},
    **{"dbname": DATABASE, "type": "duckdb", "threads": 1, "user": "", "path": ""},
}


class Values:
    """Variables and environment of a project and its packages, and which of them were asked for.

    `of_packages` are the variables as the files of each package have them, `package` the one whose file is rendered.
    """

    SEEN = frozenset({"has_var"})

    def __init__(
        self, variables: Mapping[str, Any], of_packages: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        self.variables = variables
        self.of_packages = of_packages or {}
        self.package = ""
        self.target = ""
        self.overrides: Mapping[str, Any] = {}  # by a unit test
        self.variables_read: set[str] = set()
        self.environment_read: dict[str, str] = {}
        self.given: Mapping[str, Any] = {}  # by a unit test, instead of the environment's
        self.render: Callable[[str], str] = str  # the Jinja in a variable's text
        self.may_be_secret = False  # in profiles.yml alone

    def __call__(self, name: str, default: object = _MISSING) -> Any:
        self.variables_read.add(name)
        values = self.known
        if name in values:
            value = values[name]
            return self.render(value) if isinstance(value, str) and ("{{" in value or "{%" in value) else value
        if default is _MISSING:
            # A package's macro leans on the package's own values, wherever it is called.
            for variables in self.of_packages.values():
                if name in variables:
                    return variables[name]
            hint = nearest(name, self.variables)
            raise Wrong(f"var('{name}') has no value in dbt_project.yml and no default.{hint}")
        return default

    def has_var(self, name: str) -> bool:
        self.variables_read.add(name)
        return name in self.known

    @property
    def known(self) -> Mapping[str, Any]:
        """The variables as the file has them that is rendered."""
        return {**self.of_packages.get(self.package, self.variables), **self.overrides}

    def env_var(self, name: str, default: object = _MISSING) -> Any:
        """The env_var() of templates. Raises Wrong when the variable is secret, or not set and there is no default."""
        if str(name).startswith(SECRET) and not self.may_be_secret:
            message = (
                f"variables that begin with {SECRET} are for profiles.yml alone, as in dbt: what is built holds none."
            )
            raise Wrong(f"env_var('{name}'): {message}")
        if name in self.given:
            return self.given[name]
        value = os.environ.get(name)
        if value is not None:
            self.environment_read[name] = value
            note_read(name, value)
            return value
        if default is _MISSING:
            raise Wrong(f"env_var('{name}'): this environment variable is not set. Set it, or give a default.")
        self.environment_read[name] = Default(default)
        return default


def shared(
    values: Values,
    macros: Macros,
    columns: Callable[[Relation], tuple[tuple[str, str], ...]],
    graph: Callable[[], Mapping[str, Any]] = dict,
    invocation: Invocation | None = None,
) -> dict[str, Any]:
    """Return the names of all templates.

    `columns` tells the columns of a relation, or that there is no telling; `graph` what there is in the project.
    """
    command = invocation or Invocation()

    def in_variable(text: str) -> str:
        file = Path("dbt_project.yml")
        tree = parsed(macros.environment, text, file)
        return run(compiled(macros.environment, tree, file), macros.scope())

    values.render = in_variable
    return {
        "var": values,
        "env_var": values.env_var,
        "target": {**TARGET, **dict.fromkeys(("name", "target_name"), values.target or TARGET["name"])},
        "schema": TARGET["schema"],
        "database": DATABASE,
        "project_name": macros.project,
        "execute": True,
        "flags": Flags(command.flags()),
        "invocation_args_dict": {name.lower(): value for name, value in command.flags().items()},
        "run_started_at": datetime.datetime.now(datetime.UTC),
        "invocation_id": "00000000-0000-0000-0000-000000000000",
        "dbt_version": "1.11.0",
        "dbt_metadata_envs": {},
        "selected_resources": Selected(graph, command.is_partial),
        "graph": Later(graph),
        "should_full_refresh": lambda: command.full_refresh,
        "modules": _modules(),
        **_of_the_database(macros, columns),
        **_functions(),
    }


def _of_the_database(macros: Macros, columns: Callable[[Relation], tuple[tuple[str, str], ...]]) -> dict[str, Any]:
    """The names by which templates ask for queries, relations and columns, and those by which they give up."""
    results: dict[str, dict[str, Any]] = {}

    def statement(name: str | None = None, caller: Any = None, **_: Any) -> str:
        table = run_query(caller())
        results[name or ""] = {"response": "OK", "table": table, "data": [row.values() for row in table.rows]}
        return ""

    def raised(message: str) -> None:
        raise Wrong(str(message))

    def dispatch(macro_name: str, macro_namespace: str | None = None, packages: Sequence[str] = ()) -> Any:
        return macros.dispatch(macro_name, macro_namespace, packages)

    def columns_in(relation: Relation) -> list[Column]:
        if not isinstance(relation, Relation):
            raise Wrong("adapter.get_columns_in_relation takes a ref() or source().")
        return [Column(name, kind) for name, kind in columns(relation)]

    return {
        "exceptions": Unsupported(
            "exceptions",
            "raise_compiler_error and warn are",
            raise_compiler_error=raised,
            warn=lambda message: "",
            raise_not_implemented=raised,
            missing_var=raised,
        ),
        "adapter": Unsupported(
            "adapter",
            f"{NOTHING_RUNS} or change them",
            dispatch=dispatch,
            quote=identifier,
            quote_as_configured=lambda name, *_: name,
            type=lambda: "duckdb",
            get_columns_in_relation=columns_in,
            behavior=Unsupported("adapter.behavior", "kpi has no such switches"),
        ),
        "api": Unsupported("api", "take the relation from ref() or source()", Column=_column_api()),
        "run_query": run_query,
        "statement": statement,
        "load_result": results.get,
        "load_relation": lambda relation: relation,
    }


def _column_api() -> SimpleNamespace:
    """What dbt calls api.Column."""

    def type_of(name: str) -> str:
        return "TEXT" if name.lower() == "string" else name

    return SimpleNamespace(
        translate_type=type_of,
        numeric_type=lambda kind, precision, scale: f"{kind}({precision},{scale})",
        string_type=lambda size=None: "TEXT",
        create=lambda name, kind: Column(name, type_of(kind)),
    )


def _functions() -> dict[str, Any]:
    """The functions of templates that ask nothing of the project."""

    def give_back(value: object = None) -> None:
        raise Returned(value)

    return {
        "log": lambda *_, **__: "",
        "print": lambda *_, **__: "",
        "return": give_back,
        "zip": _zip,
        "zip_strict": lambda *given: list(zip(*given, strict=False)),
        "set": _set,
        "set_strict": set,
        "fromjson": lambda text, default=None: _or(default, json.loads, text),
        "tojson": lambda value, default=None, sort_keys=False: _or(default, json.dumps, value, sort_keys=sort_keys),
        "fromyaml": lambda text, default=None: _or(default, yaml.safe_load, text),
        "toyaml": lambda value, default=None, sort_keys=False: _or(default, yaml.safe_dump, value, sort_keys=sort_keys),
        "local_md5": lambda text: hashlib.md5(str(text).encode()).hexdigest(),
    }


def _modules() -> dict[str, Any]:
    """What dbt gives of Python's modules: functions and classes by name, never a module, behind which is another."""

    class _Late(Unsupported):
        """pytz is not everywhere; whoever asks for it gets it, or an error."""

        def __getattr__(self, part: str) -> Any:
            try:
                import pytz  # type: ignore[import-untyped]
            except ImportError:
                raise Wrong("modules.pytz: the package pytz is not installed here. Use the SQL's time zones.") from None
            self._parts = {name: getattr(pytz, name) for name in _PYTZ}
            return super().__getattr__(part)

    only = "a template is given some of a module only"
    steps = {name: step_by_step(getattr(itertools, name)) for name in _ITERTOOLS}
    return {
        "datetime": Unsupported("modules.datetime", only, **{name: getattr(datetime, name) for name in _DATETIME}),
        "re": Unsupported("modules.re", only, **{name: getattr(re, name) for name in re.__all__ if name != "template"}),
        "itertools": Unsupported("modules.itertools", only, chain=Chain(), tee=_tee, **steps),
        "pytz": _Late("modules.pytz", only),
    }


def _tee(given: Iterable[Any], times: int = 2) -> tuple[Iterator[Any], ...]:
    return tuple(map(step_by_step(iter), itertools.tee(given, times)))


def _or(default: Any, make: Callable[..., Any], value: Any, **options: Any) -> Any:
    """What dbt gives when a value cannot be read or written: the default."""
    try:
        return make(value, **options)
    except (TypeError, ValueError, yaml.YAMLError):
        return default


def _zip(*given: Any, default: Any = None) -> Any:
    try:
        return list(zip(*given, strict=False))
    except TypeError:
        return default


def _set(value: Any, default: Any = None) -> Any:
    try:
        return set(value)
    except TypeError:
        return default


class Config:
    """The config of a template: called it sets, and `get` reads what is set, here or in YAML."""

    def __init__(self, rendered: Rendered, settings: Sequence[str], base: Mapping[str, Any], is_strict: bool) -> None:
        self._rendered, self._settings, self._base, self._is_strict = rendered, settings, base, is_strict

    def __call__(self, *given: Mapping[str, Any], **named: Any) -> str:
        for key, value in {**(given[0] if given else {}), **named}.items():
            name = key.replace("-", "_")
            if name not in self._settings:
                message = f"config({key}=...) is not supported here.{nearest(name, self._settings)}"
                if self._is_strict or not self._settings:
                    raise Wrong(message)
                self._rendered.notes.append(f" {message} Nothing is done with it.")
            problem = config_problem(name, value)
            if problem:
                raise Wrong(problem)
            self._rendered.config[name] = value
            if name in NO_EFFECT and name != "database":  # another database is refused
                self._rendered.notes.append(f" the setting '{name}' has no effect here.")
        return ""

    def get(self, name: str, default: Any = None, validator: Any = None) -> Any:
        value = {**self._base, **self._rendered.config}.get(name.replace("-", "_"))
        return default if value is None else value

    def require(self, name: str, validator: Any = None) -> Any:
        value = self.get(name)
        if value is None:
            raise Wrong(f"config.require('{name}'): this has no setting '{name}'.")
        return value

    def meta_get(self, name: str, default: Any = None) -> Any:
        return (self.get("meta") or {}).get(name, default)

    def persist_relation_docs(self) -> bool:
        """Descriptions are not written into the database."""
        return False

    persist_column_docs = persist_relation_docs


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
        expression, block = _ONE.fullmatch(text), _DOC.fullmatch(text)
        values: list[Any] = []
        if expression:
            text = f"{{% do kpi_keep({expression[1]}) %}}"
        self._macros.shared["kpi_keep"] = values.append
        try:
            if block:  # most of what there is, and compiling a template takes a millisecond
                return self._doc(*re.findall(r"\w+", block[1]))
            tree = parsed(self._environment, text, section.file)
            rendered = run(compiled(self._environment, tree, section.file), self._macros.scope())
        except CompileError as error:
            raise ConfigError(error.message, Place(str(section.file), line)) from None
        except Exception as error:  # a template runs as Python, and may fail as Python does
            raise ConfigError(f"{str(error).rstrip('.')}.", Place(str(section.file), line)) from None
        return values[0] if values else rendered


def _no_columns(relation: object) -> tuple[tuple[str, str], ...]:
    raise Wrong("YAML cannot ask for columns.")


def _as_bool(value: Any) -> Any:
    flag = _BOOLS.get(str(value).lower())
    if flag is None:
        raise Wrong(f"as_bool: '{value}' is neither true nor false")
    return flag


def _as_number(value: Any) -> Any:
    number = _as_native(value)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise Wrong(f"as_number: '{value}' is no number")
    return number


def _as_native(value: Any) -> Any:
    try:
        return ast.literal_eval(str(value))
    except (ValueError, SyntaxError):
        return value
