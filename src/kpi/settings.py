"""Settings of the warehouse (`vars: kpi_warehouse:` of dbt_project.yml, a variable like others to dbt), and of a run.

How many builds are kept and for how long, what DuckDB may use, when a file that has grown is written from nothing, and
which engine computes the models.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi.errors import ConfigError, Place, nearest
from kpi.files import checksum
from kpi.presentation import LANGUAGES

if TYPE_CHECKING:
    from kpi.yaml_loader import Section


KEY = "kpi_warehouse"
ENGINE_KEY = "engine"
TABLES_KEY = "kpi_tables"
FIRST_YEAR, LAST_YEAR = 1990, 2099  # of the days that a delivery may speak of, and of a refresh
_SIZE = re.compile(r"\d+(\.\d+)?\s*([KMGT]i?B|%)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class WarehouseSettings:
    """The settings of docs/reference/settings.md. 0 days is no limit, 0 threads and an empty text are DuckDB's own.

    A build goes when as many newer ones of its kind as are kept are there, or when it is older than the days given;
    never the one readers see, and none within `grace_hours` of being written. But of one day only the newest
    `keep_of_a_day` of a kind stay, however new they are; 0 keeps all. `compact_above_percent` is the share of
    free blocks above which the next build starts from a fresh file. `stewards_schemas` are left out of the file that
    all readers open, and `stewards_group` is the group that may read the one with everything, besides its owner.
    `database_file` is a DuckDB file in which sources are looked for that nothing else loads. Files of other sources lie
    in the project or in `source_folders`.
    """

    keep_published: int = 7
    keep_published_days: float = 0
    keep_failed: int = 3
    keep_failed_days: float = 0
    grace_hours: float = 24
    keep_of_a_day: int = 5
    compact_above_percent: float = 30
    memory_limit: str = ""
    threads: int = 0
    temp_directory: str = ""
    stewards_schemas: tuple[str, ...] = ()
    stewards_group: str = ""
    database_file: str = ""
    source_folders: tuple[str, ...] = ()

    @property
    def grace(self) -> timedelta:
        """For so long no build is removed, whatever else holds."""
        return timedelta(hours=self.grace_hours)

    def engine_settings(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return memory_limit, threads and temp_directory where they are set; what is `given` for this run wins."""
        own = {name: str(getattr(self, name)) for name in ("memory_limit", "threads", "temp_directory")}
        return {**{name: value for name, value in own.items() if value not in ("", "0")}, **given}


def read_warehouse_settings(variables: Section, project: str) -> WarehouseSettings:
    """Read the settings from the variables of a project. Raises ConfigError with file and line."""
    section = _section(variables, project)
    return WarehouseSettings() if section is None else _read(section)


def _section(variables: Section, project: str, key: str = KEY) -> Section | None:
    own = variables.section(project) if isinstance(variables.get(project), dict) else variables
    return next((level.section(key) for level in (own, variables) if key in level), None)


ENGINES = ("duckdb", "spark")


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Which engine computes models and tests, and where it is (`engine:` of `kpi_warehouse`).

    `master` is Spark's own word for a driver in this process (`local[*]`, `spark://host:7077`), `remote` the address of
    a server of Spark Connect (`sc://host:15002`); one of them, or neither, which is `local[*]`. `config` are settings
    of Spark's session. `lake` is where the loaded tables are put for Spark: empty for the warehouse's own folder, else
    one that all machines see, or the address of an object store. `lost_after` is for how many seconds a statement may
    have nobody to compute it before Spark counts as lost; 0 is for ever.

    Nothing of this is in a build's record: an address may hold a token.
    """

    type: str = "duckdb"
    master: str = ""
    remote: str = ""
    config: Mapping[str, str] = field(default_factory=dict)
    lake: str = ""
    lost_after: int = 300

    @property
    def is_spark(self) -> bool:
        """Whether models and tests run on Spark, and not in DuckDB."""
        return self.type == "spark"

    def with_options(self, given: Mapping[str, str]) -> EngineSettings:
        """Return what holds for a run with --engine, --master and --remote. Raises ConfigError for what does not fit.

        A master or a remote that is given for this run takes the place of either in the settings.
        """
        is_placed = bool(given.get("master") or given.get("remote"))
        chosen = replace(
            self,
            type=given.get("engine") or ("spark" if is_placed else self.type),
            master=given.get("master", "") if is_placed else self.master,
            remote=given.get("remote", "") if is_placed else self.remote,
        )
        if is_placed and not chosen.is_spark:
            raise ConfigError(
                "--master and --remote say where Spark is, and --engine is duckdb. Leave one of them out."
            )
        _check_address(chosen, {name: Place(f"--{name}") for name in ("master", "remote")})
        return chosen


def read_engine_settings(variables: Section, project: str) -> EngineSettings:
    """Read `engine:` of `kpi_warehouse`. Raises ConfigError with file and line."""
    section = _section(variables, project)
    if section is None or section.get(ENGINE_KEY) is None:
        return EngineSettings()
    engine = section.section(ENGINE_KEY)
    engine.allow([one.name for one in fields(EngineSettings)], f"{ENGINE_KEY} of {KEY}")
    texts = {name: engine.text(name) for name in ("type", "master", "remote", "lake")}
    kind = texts["type"] or ENGINES[0]
    if kind not in ENGINES:
        raise ConfigError(f"there is no engine '{kind}'.{nearest(kind, ENGINES)}", engine.where("type"))
    config = engine.section("config")
    for name, value in config.items():
        if not name.startswith("spark.") or not isinstance(value, str | int | float | bool):
            message = f"'{name}' is no setting of Spark's session: a name that begins with 'spark.', and one value."
            raise ConfigError(message, config.where(name))
    plain = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in config.items()}
    lost_after = engine.get("lost_after", EngineSettings().lost_after)
    if not isinstance(lost_after, int) or isinstance(lost_after, bool) or lost_after < 0:
        raise ConfigError("'lost_after' must be a whole number of seconds, 0 for ever.", engine.where("lost_after"))
    settings = EngineSettings(kind, texts["master"], texts["remote"], plain, texts["lake"], lost_after)
    if unused := [name for name in engine if name != "type" and engine.get(name) and not settings.is_spark]:
        raise ConfigError(f"'{unused[0]}' is of the engine spark, and 'type' is {kind}.", engine.where(unused[0]))
    _check_address(settings, {name: engine.where(name) for name in ("master", "remote")})
    return settings


_MASTER = re.compile(r"local(\[(\*|\d+)\])?|spark://\S+|yarn|k8s://\S+")
_REMOTE = re.compile(r"sc://[^\s/]+(/\S*)?")


def _check_address(settings: EngineSettings, places: Mapping[str, Place]) -> None:
    master, remote = settings.master, settings.remote
    if master and remote:
        raise ConfigError(
            "a master or a remote, not both: the one is a driver here, the other a server.", places["remote"]
        )
    if master and not _MASTER.fullmatch(master):
        message = f"a master is local[*], local[4], spark://host:7077, yarn or k8s://…, not '{master}'."
        raise ConfigError(
            message + (" Of an address sc://…: remote." if master.startswith("sc:") else ""), places["master"]
        )
    if remote and not _REMOTE.fullmatch(remote):
        raise ConfigError("a remote is the address of Spark Connect, as sc://host:15002.", places["remote"])


@dataclass(frozen=True, slots=True)
class ReportTables:
    """The tables that the engine knows, each as schema.name (`vars: kpi_tables:` of dbt_project.yml).

    Years are validated, figures shown, compared and kept by them. A project may lack any of them. `places` says where
    one is named that is not by its usual name, as file:line.
    """

    indicators: str = "marts.indicators"
    indicator_changes: str = "marts.indicator_changes"
    indicator_origins: str = "marts.indicator_origins"
    coverage: str = "marts.coverage"
    reconciliation: str = "marts.reconciliation"
    unfinished_years: str = "marts.unfinished_years"
    deleted_deliveries: str = "marts.deleted_deliveries"
    observation_status: str = "marts.observation_status"
    indicators_released: str = "marts.indicators_released"
    revisions: str = "marts.revisions"
    vintages: str = "marts.vintages"
    figures: str = "seeds.figures"
    figure_services: str = "seeds.figure_services"
    targets: str = "seeds.targets"
    national_comparisons: str = "seeds.national_comparisons"
    revision_reasons: str = "seeds.revision_reasons"
    monthly_series: str = "marts.monthly_series"
    figure_catalogue: str = "marts.figure_catalogue"
    comparability_breaks: str = "marts.comparability_breaks"
    figure_sums: str = "intermediate.int_figure_sums"
    code_lists: str = "seeds.code_lists"
    report_sections: str = "seeds.report_sections"
    report_lines: str = "seeds.report_lines"
    publication: str = "seeds.publication"
    places: Mapping[str, Place] = field(default_factory=dict, compare=False, repr=False)

    def names(self) -> dict[str, str]:
        """Return the name of each table by what the engine calls it."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "places"}

    @classmethod
    def from_names(cls, names: Mapping[str, str]) -> ReportTables:
        """Return the tables by the names that a build was made with (`BuildRecord.tables`), the usual ones of none."""
        values: dict[str, Any] = dict(names)
        return cls(**values)

    def with_report_years(self) -> tuple[str, ...]:
        """The tables that have report years: with none of them there are no years."""
        return self.indicators, self.coverage, self.reconciliation


_FIGURE = {"figure_id": "text", "service": "text", "report_year": "number", "basis": "text"}
_SERVICE = {"figure_id": "text", "service": "text"}
# What is read of the tables above, each with the columns it must have and those it may lack: a number, a day, a truth
# value, or a text, which any type is read as. A name that ends in * is one in each language; one of them is enough.
REPORT_COLUMNS: Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]] = {
    "indicators": (
        {**_FIGURE, "numerator": "number", "denominator": "number", "value": "number", "event_count": "number"},
        {"last_full_month": "number"},
    ),
    "indicator_changes": (
        {**_FIGURE, "previous_year": "number", "previous_value": "number", "change": "number"},
        {"previous_basis": "text", "shown_change": "number", "change_pct": "number"}
        | {"direction": "text", "assessment": "text", "has_break": "truth value", "is_comparable": "truth value"}
        | {"break_kind": "text", "break_reason_*": "text"},
    ),
    "indicator_origins": ({**_FIGURE, "origin": "text", "kept_from": "text"}, {}),
    "coverage": ({"feed": "text", "report_year": "number", "month": "number", "row_count": "number"}, {}),
    "reconciliation": (
        {**_FIGURE, "published_value": "number", "status": "text", "source_report": "number"},
        {"qualifier": "text", "decimals": "text", "reason": "text", "reason_*": "text", "section": "text"},
    ),
    "unfinished_years": ({"feed": "text", "report_year": "number", "state": "text"}, {"last_full_month": "number"}),
    "deleted_deliveries": ({"feed": "text", "first_year": "number", "last_year": "number", "kept_from": "text"}, {}),
    "observation_status": (
        {**_FIGURE, "value": "number", "printed_value": "number", "decimals": "text"}
        | {"unit": "text", "obs_status": "text"},
        {},
    ),
    "revisions": (
        {"revision_id": "text", **_FIGURE, "release": "text", "unit": "text", "status": "text", "change": "number"}
        | {"released_value": "number", "value": "number", "released_printed_value": "number", "printed_value": "number"}
        | {"is_planned": "truth value", "reason": "text", "note": "text"}
        | {"acknowledged_by": "text", "acknowledged_at": "day"},
        {},
    ),
    "figures": (
        {"figure_id": "text"},
        {
            "name_*": "text",
            "unit": "text",
            "family": "text",
            "decimals": "text",
            "good_direction": "text",
            "since": "day",
            "theme": "text",
        }
        | {"sort_order": "number", "shown_as": "text", "shown_sign": "truth value", "source": "text"}
        | {"owner_role": "text", "definition_*": "text", "interpretation_*": "text", "limits_*": "text"}
        | {"legislation_*": "text", "keywords_*": "text"},
    ),
    "figure_services": (_SERVICE, {"service_name_*": "text", "since": "day", "sort_order": "number"}),
    "targets": (
        {**_SERVICE, "report_year": "number", "target": "number", "comparison": "text"},
        {"source": "text"},
    ),
    "national_comparisons": ({**_SERVICE, "report_year": "number", "national_value": "number"}, {"source": "text"}),
    "revision_reasons": ({"reason": "text"}, {}),
    "monthly_series": (
        {**_SERVICE, "report_year": "number", "month": "number", "value": "number"},
        {"is_break": "truth value", "is_full_month": "truth value"},
    ),
    "comparability_breaks": ({**_SERVICE, "starts_on": "day"}, {"kind": "text", "reason_*": "text"}),
    "figure_sums": ({"sum_id": "text", **_SERVICE, "is_whole": "truth value", "is_exhaustive": "truth value"}, {}),
    "code_lists": (
        {"list": "text", "code": "text"},
        {"sort_order": "number", "sdmx_code": "text", "name_*": "text", "symbol_*": "text"},
    ),
    "report_sections": ({"section": "text"}, {"theme": "text", "sort_order": "number", "title_*": "text"}),
    "report_lines": (
        {"section": "text", **_SERVICE, "role": "text"},
        {"basis": "text", "sort_order": "number"},
    ),
    "publication": ({"key": "text", "value_*": "text"}, {}),
}


NO_TABLE = "kpi_tables"  # as the schema of one that a project lacks, for it has another of the usual name
# The SQL types of columns that are neither texts nor truth values: a name is of one type in all tables.
_OTHER_TYPES = {
    "bigint": "report_year previous_year first_year last_year month last_full_month row_count event_count sort_order"
    " service_order source_report",
    "double": "value previous_value released_value national_value printed_value released_printed_value numerator"
    " denominator change change_pct",
    "timestamp": "acknowledged_at",
    "decimal(38, 6)": "published_value target",
    "decimal(38, 2)": "shown_change",
    "date": "since starts_on",
    "boolean": "shown_sign",
}
_SQL_TYPES = {column: type_ for type_, columns in _OTHER_TYPES.items() for column in columns.split()}


def column_type(column: str) -> str:
    """Return the SQL type that a column of the engine's tables is read as."""
    return _SQL_TYPES.get(column) or ("boolean" if column.startswith(("is_", "has_")) else "varchar")


def column_types(table: str) -> dict[str, str]:
    """Return all columns that are read of one of the engine's tables, each with its SQL type."""
    required, optional = REPORT_COLUMNS[table]
    columns = [
        name.replace("*", language)
        for name in (*required, *optional)
        for language in (LANGUAGES if name.endswith("*") else ("",))
    ]
    return {column: column_type(column) for column in columns}


def read_report_tables(variables: Section, project: str) -> ReportTables:
    """Read the names of the engine's tables from the variables of a project. Raises ConfigError with file and line."""
    section = _section(variables, project, TABLES_KEY)
    if section is None:
        return ReportTables()
    section.allow(ReportTables().names(), TABLES_KEY)
    names = {key: section.required(key).lower() for key in section}
    for key, name in names.items():
        if not re.fullmatch(r"\w+\.\w+", name):
            raise ConfigError(f"a table is named schema.name, not '{name}'.", section.where(key))
    return ReportTables(**names, places={key: section.where(key) for key in names})


def check_size(text: str, where: Place) -> str:
    """Return a size such as 2GB or 80%. Raises ConfigError when it is none."""
    if not _SIZE.fullmatch(text.strip()):
        raise ConfigError(f"a size is a number and KB, MB, GB, TB or %, as 2GB, not '{text}'.", where)
    return text.strip()


def spill_folder(warehouse: Path, root: Path, given: str) -> Path:
    """Return the folder for what does not fit into memory, empty and for its owner alone.

    It is among the builds, or in the temp_directory that was `given`, where every warehouse has one of its own. What a
    killed run left there is removed: the caller holds the writer's lock.
    """
    import shutil

    if not given:
        return warehouse / "builds" / ".tmp-spill"
    base = (root / Path(given).expanduser()).resolve()
    if not base.is_dir():
        raise ConfigError(f"temp_directory: {base} is no folder. Make it, or name another.")
    own = base / f"kpi-spill-{checksum(str(warehouse), 6)}"
    try:
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir(mode=0o700)
    except OSError as error:
        raise ConfigError(f"temp_directory: {own} cannot be made: {error.strerror}.") from None
    return own


def _read(section: Section) -> WarehouseSettings:
    defaults = {one.name: one.default for one in fields(WarehouseSettings)}
    section.allow([*defaults, ENGINE_KEY], KEY)
    values: dict[str, Any] = {}
    for key, value in section.items():
        if key == ENGINE_KEY:
            continue
        where, usual = section.where(key), defaults[key]
        if key == "source_folders":
            values[key] = section.strings(key)
        elif isinstance(usual, tuple):
            # In DuckDB the names of schemas are the same in capitals.
            values[key] = tuple(sorted({name.strip().lower() for name in section.strings(key)}))
            if needed := [name for name in READERS_SCHEMAS if name in values[key]]:
                message = "its tables are what readers are shown. Give those with rows of persons another schema."
                raise ConfigError(f"{needed[0]} cannot be left out: {message}", where)
        elif isinstance(usual, str):
            if not isinstance(value, str) or not value.strip():
                raise ConfigError(f"'{key}' must be a text.", where)
            values[key] = check_size(value, where) if key == "memory_limit" else value
        elif isinstance(value, bool) or not isinstance(value, int if key not in _NUMBERS else int | float):
            raise ConfigError(f"'{key}' must be a {'number' if key in _NUMBERS else 'whole number'}.", where)
        elif not _LEAST.get(key, 0) <= value <= _MOST.get(key, 1_000_000):
            message = f"from {_LEAST.get(key, 0)} to {_MOST.get(key, 1_000_000)}"
            raise ConfigError(f"'{key}' must be {message}, not {value}.", where)
        else:
            values[key] = value
    return WarehouseSettings(**values)


# What readers are shown, and by what it is named: without these their file would be none.
READERS_SCHEMAS = ("main", "marts", "seeds")
_NUMBERS = ("keep_published_days", "keep_failed_days", "grace_hours", "compact_above_percent")
_LEAST = {"keep_published": 1, "threads": 1}
_MOST = {"compact_above_percent": 100, "threads": 1024}


@dataclass(frozen=True, slots=True)
class Invocation:
    """The command, in dbt's word for it, and those of its options that templates see.

    `is_partial` says that only some of the nodes are selected: which, is not known before everything is compiled.
    """

    which: str = "build"
    full_refresh: bool = False
    store_failures: bool = False
    is_partial: bool = False

    def flags(self) -> dict[str, object]:
        """The `flags` of templates, for the settings that mean something here."""
        return {
            "FULL_REFRESH": self.full_refresh,
            "STORE_FAILURES": self.store_failures,
            "WHICH": self.which,
            "INVOCATION_COMMAND": f"kpi {self.which}",
            **{"EMPTY": False, "FAIL_FAST": False, "DEBUG": False, "QUIET": False, "CACHE_SELECTED_ONLY": False},
        }
