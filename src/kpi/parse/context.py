"""What every template of a project may call, as dbt has it, beside ref, source, config, this and macros."""

from __future__ import annotations

import datetime
import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kpi.base.environment import SECRET, Default, note_read
from kpi.base.errors import nearest
from kpi.base.names import identifier
from kpi.base.relation import DATABASE, Relation
from kpi.parse.dbtobjects import NOTHING_RUNS, Column, Flags, Later, Selected, Unsupported, run_query
from kpi.parse.invocation import Invocation
from kpi.parse.jinjafile import parsed
from kpi.parse.macros import Macros, Returned, Wrong, compiled, run
from kpi.parse.sandbox import Chain, step_by_step

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
        self.asked: set[str] = set()
        self.environment_read: dict[str, str] = {}
        self.given: Mapping[str, Any] = {}  # by a unit test, instead of the environment's
        self.render: Callable[[str], str] = str  # the Jinja in a variable's text
        self.may_be_secret = False  # in profiles.yml alone

    def __call__(self, name: str, default: object = _MISSING) -> Any:
        """The var() of templates."""
        self.asked.add(name)
        known = self.known
        if name in known:
            value = known[name]
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
        """Tell whether a variable has a value."""
        self.asked.add(name)
        return name in self.known

    @property
    def known(self) -> Mapping[str, Any]:
        """The variables as the file has them that is rendered."""
        return {**self.of_packages.get(self.package, self.variables), **self.overrides}

    def env_var(self, name: str, default: object = _MISSING) -> Any:
        """The env_var() of templates. Raises Wrong when the variable is secret, or not set and there is no default."""
        if str(name).startswith(SECRET) and not self.may_be_secret:
            told = (
                f"variables that begin with {SECRET} are for profiles.yml alone, as in dbt: what is built holds none."
            )
            raise Wrong(f"env_var('{name}'): {told}")
        if name in self.given:
            return self.given[name]
        found = os.environ.get(name)
        if found is not None:
            self.environment_read[name] = found
            note_read(name, found)
            return found
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
    asked = invocation or Invocation()
    results: dict[str, dict[str, Any]] = {}
    now = datetime.datetime.now(datetime.UTC)

    def give_back(value: object = None) -> None:
        raise Returned(value)

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

    def type_of(name: str) -> str:
        return "TEXT" if name.lower() == "string" else name

    def in_variable(text: str) -> str:
        file = Path("dbt_project.yml")
        tree = parsed(macros.environment, text, file)
        return run(compiled(macros.environment, tree, file), macros.scope())

    values.render = in_variable
    exceptions = Unsupported(
        "exceptions",
        "raise_compiler_error and warn are",
        raise_compiler_error=raised,
        warn=lambda message: "",
        raise_not_implemented=raised,
        missing_var=raised,
    )
    adapter = Unsupported(
        "adapter",
        f"{NOTHING_RUNS} or change them",
        dispatch=dispatch,
        quote=identifier,
        quote_as_configured=lambda name, *_: name,
        type=lambda: "duckdb",
        get_columns_in_relation=columns_in,
        behavior=Unsupported("adapter.behavior", "kpi has no such switches"),
    )
    column_api = SimpleNamespace(
        translate_type=type_of,
        numeric_type=lambda kind, precision, scale: f"{kind}({precision},{scale})",
        string_type=lambda size=None: "TEXT",
        create=lambda name, kind: Column(name, type_of(kind)),
    )
    import yaml

    return {
        "var": values,
        "env_var": values.env_var,
        "target": {**TARGET, **dict.fromkeys(("name", "target_name"), values.target or TARGET["name"])},
        "schema": TARGET["schema"],
        "database": DATABASE,
        "project_name": macros.project,
        "execute": True,
        "flags": Flags(asked.flags()),
        "invocation_args_dict": {name.lower(): value for name, value in asked.flags().items()},
        "log": lambda *_, **__: "",
        "print": lambda *_, **__: "",
        "return": give_back,
        "exceptions": exceptions,
        "adapter": adapter,
        "api": Unsupported("api", "take the relation from ref() or source()", Column=column_api),
        "modules": _modules(),
        "run_started_at": now,
        "invocation_id": "00000000-0000-0000-0000-000000000000",
        "dbt_version": "1.11.0",
        "dbt_metadata_envs": {},
        "selected_resources": Selected(graph, asked.is_partial),
        "graph": Later(graph),
        "run_query": run_query,
        "statement": statement,
        "load_result": results.get,
        "load_relation": lambda relation: relation,
        "should_full_refresh": lambda: asked.full_refresh,
        "zip": _zip,
        "zip_strict": lambda *given: list(zip(*given, strict=False)),
        "set": _set,
        "set_strict": set,
        "fromjson": lambda text, default=None: _or(default, json.loads, text),
        "tojson": lambda value, default=None, sort_keys=False: _or(default, _json(sort_keys), value),
        "fromyaml": lambda text, default=None: _or(default, yaml.safe_load, text),
        "toyaml": lambda value, default=None, sort_keys=False: _or(default, _yaml(sort_keys), value),
        "local_md5": lambda text: hashlib.md5(str(text).encode()).hexdigest(),
    }


def _modules() -> dict[str, Any]:
    """What dbt gives of Python's modules: functions and classes by name, never a module, behind which is another."""

    class _Late(Unsupported):
        """pytz is not everywhere; whoever asks for it gets it, or is told."""

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


def _or(default: Any, make: Callable[[Any], Any], value: Any) -> Any:
    """What dbt gives when a value cannot be read or written: the default."""
    import yaml

    try:
        return make(value)
    except (TypeError, ValueError, yaml.YAMLError):
        return default


def _json(sort_keys: bool) -> Callable[[Any], str]:
    return lambda value: json.dumps(value, sort_keys=sort_keys)


def _yaml(sort_keys: bool) -> Callable[[Any], str]:
    import yaml

    return lambda value: str(yaml.safe_dump(data=value, sort_keys=sort_keys))


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
