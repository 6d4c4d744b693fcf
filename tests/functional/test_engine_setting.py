"""The engine that computes models: the setting and its mistakes, what is missing, and what it costs without Spark."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from conftest import TODAY
from kpi.cli.main import cli
from kpi.engine import spark
from kpi.engine.spark import address_of, refuse_unusable
from kpi.errors import ConfigError, EngineLost
from kpi.jobs.doctor import engine
from kpi.jobs.options import Options, is_by_spark
from kpi.jobs.refresh import refresh
from kpi.project.project import load_project
from kpi.settings import EngineSettings
from kpi.warehouse.builds import Warehouse
from small_project import FILES, recorded, write
from with_spark import free_port

SETTINGS = FILES["dbt_project.yml"]


def with_engine(text: str) -> dict[str, str]:
    """The settings of the small project with an engine."""
    return {"dbt_project.yml": SETTINGS.replace("vars:\n", f"vars:\n  kpi_warehouse:\n    engine: {text}\n")}


def installed(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let these packages be installed, as far as anybody asks."""

    def version(name: str) -> str:
        if name in names:
            return "4.0"
        raise PackageNotFoundError(name)

    monkeypatch.setattr(spark, "version", version)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{type: sparc}", r"dbt_project.yml:8: there is no engine 'sparc'. Did you mean 'spark'\?"),
        (
            "{typ: spark}",
            r"dbt_project.yml:8: 'typ' is not supported in engine of kpi_warehouse. Did you mean 'type'\?",
        ),
        ("spark", "dbt_project.yml:8: 'engine' must be a mapping"),
        (
            "{type: duckdb, master: 'local[*]'}",
            "dbt_project.yml:8: 'master' is of the engine spark, and 'type' is duckdb",
        ),
        ("{type: spark, master: 'local[*]', remote: 'sc://a'}", "dbt_project.yml:8: a master or a remote, not both"),
        ("{type: spark, master: 'sc://a:1'}", "dbt_project.yml:8: a master is local.*Of an address sc://…: remote"),
        ("{type: spark, remote: 'http://a'}", "dbt_project.yml:8: a remote is the address of Spark Connect"),
        ("{type: spark, lost_after: soon}", "dbt_project.yml:8: 'lost_after' must be a whole number of seconds"),
        ("{type: spark, config: {driver.memory: 2g}}", "dbt_project.yml:8: 'driver.memory' is no setting of Spark's"),
        (
            "\n      type: spark\n      config:\n        spark.x: [1]",
            "dbt_project.yml:11: 'spark.x' is no setting of Spark's",
        ),
    ],
)
def test_a_mistake_in_the_engine_is_told_with_its_line_and_the_nearest_name(
    tmp_path: Path, text: str, message: str
) -> None:
    # The line of a mapping in braces is that of its key.
    write(tmp_path, with_engine(text))
    with pytest.raises(ConfigError, match=message):
        load_project(tmp_path)


def test_what_is_said_for_a_run_goes_before_the_setting(tmp_path: Path) -> None:
    write(tmp_path, with_engine("{type: spark, remote: 'sc://spark:15002/;token=secret', config: {spark.a: true}}"))
    settings = load_project(tmp_path).engine_settings
    assert (settings.is_spark, dict(settings.config)) == (True, {"spark.a": "true"})
    assert address_of(settings) == "sc://spark:15002"
    assert not settings.with_options({"engine": "duckdb"}).is_spark
    local = settings.with_options({"master": "local[2]"})
    assert (local.master, local.remote) == ("local[2]", "")
    assert EngineSettings().with_options({"remote": "sc://b:1"}).is_spark
    with pytest.raises(ConfigError, match="--engine is duckdb"):
        settings.with_options({"engine": "duckdb", "master": "local"})
    with pytest.raises(ConfigError, match=r"--master: a master is local"):
        settings.with_options({"master": "lokal"})


def test_what_is_missing_for_spark_is_told_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = EngineSettings("spark")
    installed(monkeypatch)
    with pytest.raises(ConfigError, match=r"pyspark is not installed. pip install 'kpi\[spark\]'"):
        refuse_unusable(settings)
    installed(monkeypatch, "pyspark", "pyspark-client")
    with pytest.raises(ConfigError, match=r"both installed .* Keep one"):
        refuse_unusable(settings)
    installed(monkeypatch, "pyspark-client")
    with pytest.raises(ConfigError, match="needs pyspark and Java, and only pyspark-client is installed"):
        refuse_unusable(settings)
    installed(monkeypatch, "pyspark")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=r"needs Java 17 or later.*apt install openjdk"):
        refuse_unusable(settings)
    # A server needs no Java here; one that is not there is told with its port, and its token to nobody.
    port = free_port()
    deaf = EngineSettings("spark", remote=f"sc://127.0.0.1:{port}/;token=secret")
    with pytest.raises(EngineLost, match=f"no server of Spark Connect answers at 127.0.0.1:{port}") as told:
        refuse_unusable(deaf)
    assert "secret" not in str(told.value)


def test_a_refresh_without_its_engine_makes_no_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, with_engine("{type: spark}"))
    (tmp_path / "warehouse/raw/calls").mkdir(parents=True)
    installed(monkeypatch)
    done = CliRunner().invoke(cli, ["refresh", "--project-dir", str(tmp_path)])
    assert isinstance(done.exception, ConfigError)
    assert Warehouse(tmp_path / "warehouse").build_folders() == []
    (wrong,) = engine(Warehouse(tmp_path / "warehouse"))
    assert (wrong.level, "pip install" in wrong.remedy) == ("error", True)
    # DuckDB can be asked for all the same. What the other engine is told is part of what a build is made from.
    outcome = refresh(tmp_path, Options(TODAY, engine={"engine": "duckdb"}), lambda line: None)
    assert outcome.published
    assert not is_by_spark(recorded(Warehouse(tmp_path / "warehouse")).engine)
    again = refresh(tmp_path, Options(TODAY, engine={"engine": "duckdb"}), lambda line: None)
    assert again.nothing_to_do
    with pytest.raises(ConfigError, match="pyspark is not installed"):
        refresh(tmp_path, Options(TODAY), lambda line: None)


def test_duckdb_alone_imports_nothing_of_spark(tmp_path: Path) -> None:
    write(tmp_path)
    code = (
        "import sys; from kpi.cli.main import cli\n"
        f"cli(['refresh', '--project-dir', {str(tmp_path)!r}], standalone_mode=False)\n"
        "print(*sorted({'pyspark', 'py4j', 'grpc', 'kpi.engine.spark'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


class Conf(dict[str, str]):
    """Settings of a session, of which one is fixed when Spark starts."""

    def set(self, name: str, value: str) -> None:
        if name == "spark.executor.memory":
            raise ValueError("CANNOT_MODIFY_STATIC_CONFIG")
        self[name] = value


@pytest.mark.parametrize("config", [{"spark.executor.memory": "8g"}, {}])
def test_a_setting_that_spark_does_not_take_is_refused(
    config: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One of the project's, and one without which the same SQL means something else."""
    session = SimpleNamespace(conf=Conf({"spark.executor.memory": "1g"}), stop=lambda: None)
    if not config:
        monkeypatch.setattr(session.conf, "set", lambda name, value: None)
    monkeypatch.setattr(spark, "refuse_unusable", lambda settings: None)
    monkeypatch.setattr(spark, "_session", lambda *given: session)
    settings = EngineSettings("spark", "spark://a:7077", "", config)
    message = "has spark.executor.memory '1g', and '8g' is asked" if config else "has spark.sql.ansi.enabled None"
    with pytest.raises(ConfigError, match=message):
        spark.open_spark(settings, tmp_path, {"spark.sql.ansi.enabled": "true"})


class Server:
    """A session whose server says how far a statement is, and which ends its statements when it is told."""

    def __init__(self, *progress: tuple[int, bool]) -> None:
        self.progress, self.is_interrupted = progress, threading.Event()

    def registerProgressHandler(self, handler: Callable[..., None]) -> None:
        for inflight, done in self.progress:
            handler([SimpleNamespace(done=False, num_completed_tasks=1, num_tasks=2)], inflight, "a", done)

    def sql(self, text: str) -> SimpleNamespace:
        return SimpleNamespace(createOrReplaceTempView=lambda name: None, toArrow=self.collect)

    def collect(self) -> None:
        assert self.is_interrupted.wait(60)
        raise RuntimeError("interrupted")

    def interruptAll(self) -> None:
        self.is_interrupted.set()


def test_a_statement_that_nobody_computes_is_given_up() -> None:
    database = spark.SparkDatabase(Server((2, False), (0, False)), Path(), "sc://a:1", lost_after=1)
    with pytest.raises(EngineLost, match="for 1 s nobody has computed what is asked of it"):
        database.fetch("select 1")


@pytest.mark.parametrize("progress", [(2, False), (0, True)])
def test_a_statement_that_is_computed_or_done_waits_for_nobody(progress: tuple[int, bool]) -> None:
    assert not spark.idleness(Server((0, False), progress), "sc://a:1")()
