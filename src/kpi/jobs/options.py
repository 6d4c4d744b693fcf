"""The options of a run, the engine that computes it, and its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from kpi.errors import Problem
from kpi.lazy import duckdb
from kpi.settings import EngineSettings, Invocation

if TYPE_CHECKING:
    from kpi.engine.compile import Compiled
    from kpi.project.project import Project


@dataclass(frozen=True, slots=True)
class Options:
    """What one run was asked to do. `as_of` is the day of the refresh; `select` limits what is rebuilt.

    `unit_tests` asks for those of the models to be rebuilt, before they are; `store_failures` keeps failing rows.
    `indirect` says which tests come along, `kinds` which kinds of nodes are meant (all when empty), `state` the build
    that `state:` compares with (the published one when empty), `continued` the failed candidates this run goes on with,
    `wait_seconds` how long to wait for another writer. `selector` is one of selectors.yml; with `usual_selector` its
    default one counts where nothing is selected. `target` is the name that templates see of the target.
    `also_released` lets deliveries go that a release was made from. `engine` is what the command says of the engine,
    as `EngineSettings.with_options` takes it.
    """

    as_of: date
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    full_refresh: bool = False
    max_reject_share: float | None = None
    publish_despite_checks: str = ""
    variables: Mapping[str, Any] | None = None
    settings: Mapping[str, str] | None = None
    validate: bool = True
    unit_tests: bool = False
    store_failures: bool = False
    keep_going: bool = False
    indirect: str = "eager"
    kinds: tuple[str, ...] = ()
    state: str = ""
    continued: tuple[str, ...] = ()
    wait_seconds: float = 0
    selector: str = ""
    usual_selector: bool = False
    target: str = ""
    also_released: bool = False
    engine: Mapping[str, str] | None = None

    @property
    def is_partial(self) -> bool:
        """Whether only a part of the project is asked for."""
        return bool(self.select or self.exclude or self.kinds or self.selector)

    @property
    def invocation(self) -> Invocation:
        """What templates see of this."""
        return Invocation("build", self.full_refresh, self.store_failures, self.is_partial)


def selector_of(project: Project, options: Options) -> str:
    """Return the name of the selector of selectors.yml that a run goes by; empty when it goes by none."""
    if options.selector or not options.usual_selector or options.is_partial:
        return options.selector
    from kpi.engine.selector import default_of

    return default_of(project.selectors)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did. `build` is the build's id; `published` whether readers now see it."""

    build: str
    published: bool
    nothing_to_do: bool = False
    warnings: tuple[Problem, ...] = ()


def settings_of(project: Project, engine: EngineSettings | None = None) -> str:
    """What makes a build file useless as a start for the next: another storage version, or another engine."""
    computed = "spark " if engine and engine.is_spark else ""
    return f"{project.name} {computed}duckdb {duckdb.__version__}"


def is_by_spark(engine: str) -> bool:
    """Tell whether Spark computed a build, by what `settings_of` notes of it."""
    return engine.split()[1:2] == ["spark"]


def engine_of(project: Project, options: Options) -> EngineSettings:
    """Return what computes models and tests in a run with these options. Raises ConfigError."""
    return project.engine_settings.with_options(options.engine or {})


def refuse_engine(project: Compiled, engine: EngineSettings) -> None:
    """Look whether Spark is there and would count everything as DuckDB does, when it is to be used.

    Raises ConfigError or EngineLost when it cannot be used, CompileErrors for what would be another number there.
    """
    if engine.is_spark:
        from kpi.engine.spark import refuse_unusable
        from kpi.engine.spark_refusals import check_for_spark

        refuse_unusable(engine)
        check_for_spark(project.graph, project.columns)
