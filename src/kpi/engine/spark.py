"""A session of Spark: a driver in this process, or a server over Spark Connect.

Its tables are temporary views of the session over Parquet, so nothing is left in anybody's catalog. pyspark is imported
when a session is opened.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpi.errors import ConfigError, EngineLost, StatementError
from kpi.settings import EngineSettings

if TYPE_CHECKING:
    import pyarrow as pa

INSTALL = "pip install 'kpi[spark]', or without Java for a server of Spark Connect: pip install 'kpi[spark-remote]'"
LOCAL = "local[*]"
# What Spark says by itself is for whoever runs a cluster, and its errors quote rows.
_QUIET: Mapping[str, str] = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false"}
# With an appender: without one Spark takes it for no configuration at all.
_SILENT = """\
appender.none.type = Null
appender.none.name = none
rootLogger.level = off
rootLogger.appenderRef.none.ref = none
"""
_CONNECT_SECONDS = 5
_LONGER = "Where they take longer to come, set lost_after under engine: of kpi_warehouse."
_ALIVE = "kpi_alive"  # a view that this session alone has


def address_of(settings: EngineSettings) -> str:
    """Return where Spark is, without what may be a token; SPARK_REMOTE counts where the settings say nothing."""
    return _remote(settings).partition(";")[0].rstrip("/") or settings.master or LOCAL


def refuse_unusable(settings: EngineSettings) -> None:
    """Look at what can be looked at before anything runs: the package, Java or the server's port.

    Raises ConfigError for what is not installed, EngineLost when no server answers.
    """
    _silence_warnings()  # before anything that takes a copy of the filters
    packages = {name: found for name in ("pyspark", "pyspark-client") if (found := _installed(name))}
    remote = _remote(settings)
    if len(packages) > 1:
        raise ConfigError(
            f"pyspark and pyspark-client are both installed ({', '.join(packages.values())}): they are one folder, and"
            " the later one wrote over the other. Keep one: pip uninstall pyspark pyspark-client, then " + INSTALL
        )
    if not packages:
        raise ConfigError(f"the engine is spark, and pyspark is not installed. {INSTALL}")
    if remote:
        _refuse_deaf(remote)
    elif "pyspark" not in packages:
        message = f"{settings.master or LOCAL} needs pyspark and Java, and only pyspark-client is installed."
        raise ConfigError(
            f"{message} Name a server (--remote sc://host:15002), or: pip uninstall pyspark-client; {INSTALL}"
        )
    elif not _java():
        raise ConfigError(
            f"{settings.master or LOCAL} needs Java 17 or later, and there is no java in JAVA_HOME or PATH."
            " On Debian: apt install openjdk-17-jre-headless. Or name a server: --remote sc://host:15002"
        )


def _remote(settings: EngineSettings) -> str:
    return settings.remote or ("" if settings.master else os.environ.get("SPARK_REMOTE", ""))


def _installed(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return ""


def _java() -> str | None:
    home = os.environ.get("JAVA_HOME")
    return shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")


def _refuse_deaf(remote: str) -> None:
    import socket

    found = re.match(r"sc://(?P<host>\[[^\]]+\]|[^/:;]+)(:(?P<port>\d+))?", remote)
    host, port = (found["host"].strip("[]"), int(found["port"] or 15002)) if found else (remote, 15002)
    try:
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        why = error.strerror or str(error) or type(error).__name__
        message = f"no server of Spark Connect answers at {host}:{port} ({why})."
        raise EngineLost(f"{message} Start it, or mend --remote or engine: of kpi_warehouse.") from None


def open_spark(settings: EngineSettings, folder: Path, meaning: Mapping[str, str]) -> SparkDatabase:
    """Open a session. What it computes and keeps goes to the `folder`, which a server must see under the same path.

    `meaning` are settings of the session without which the same SQL means something else.

    Raises what `refuse_unusable` raises, EngineLost when no session comes up, and ConfigError when it does not take a
    setting: without some the same SQL is other numbers.
    """
    refuse_unusable(settings)
    try:
        session = _session(settings, folder, meaning)
        _set(session, {**settings.config, **meaning}, address_of(settings))
        spark = SparkDatabase(session, folder, address_of(settings), settings.lost_after)
        if not spark.address.startswith("local"):
            spark.refuse_another_disk()
        return spark
    except (KeyboardInterrupt, ConfigError, EngineLost):
        raise
    except Exception as error:
        raise EngineLost(f"no session of Spark at {address_of(settings)}: {_first_line(error)}") from None


def _set(session: Any, config: Mapping[str, str], address: str) -> None:
    """Set what can be set in a session, and raise ConfigError for what it has otherwise then."""
    for name, value in config.items():
        with suppress(Exception):  # one that is fixed when Spark starts: what it is counts
            session.conf.set(name, value)
        found = session.conf.get(name, None)
        if found != value:
            session.stop()
            raise ConfigError(
                f"Spark at {address} has {name} {found!r}, and {value!r} is asked for. It takes this setting only when"
                " it starts: set it there, or leave it out of config: where it is yours."
            )


def _session(settings: EngineSettings, folder: Path, meaning: Mapping[str, str]) -> Any:
    import logging

    from pyspark.sql import SparkSession

    logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL + 1)  # every failed query with its rows
    # That Java is gone, with tracebacks, in nobody's name; the error that follows says it.
    logging.getLogger().addFilter(lambda record: record.module != "java_gateway")

    builder: Any = SparkSession.builder
    if remote := _remote(settings):
        session = builder.remote(remote).create()
        _wait_less(session)
        return session
    master = settings.master or LOCAL
    log = folder / "log4j2.properties"
    log.write_text(_SILENT, encoding="utf-8")
    given = {
        **_QUIET,
        "spark.sql.warehouse.dir": str(folder / "spark-warehouse"),
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile=file:{log}",
        **_local(master),
    }
    os.environ.pop("SPARK_REMOTE", None)  # pyspark would rather go there than be a driver
    builder = builder.appName("kpi").master(master)
    for name, value in {**given, **settings.config, **meaning}.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def _local(master: str) -> dict[str, str]:
    """Return what a driver without a cluster is told: to listen on loopback alone, and to cut nothing into pieces."""
    if not master.startswith("local"):
        return {}
    cores = re.search(r"\d+", master)
    loopback = {f"spark.driver.{name}": "127.0.0.1" for name in ("bindAddress", "host")}
    return {**loopback, "spark.sql.shuffle.partitions": cores[0] if cores else str(os.cpu_count() or 2)}


def _wait_less(session: Any) -> None:
    """Give a server that is gone ten seconds: the client's own patience is ten minutes for every statement."""
    with suppress(ImportError, AttributeError):
        from pyspark.sql.connect.client.retries import DefaultPolicy

        session.client.set_retry_policies([DefaultPolicy(max_retries=5, max_backoff=5_000)])


class Watchdog:
    """Ends what a session runs when for so many seconds nobody has computed it: Spark waits for workers for ever.

    `is_idle` says whether a statement waits and nobody computes it, `end` lets what runs fail. With 0 seconds it waits
    as Spark does.
    """

    def __init__(self, seconds: int, is_idle: Callable[[], bool], end: Callable[[], object]) -> None:
        self.seconds, self.has_ended = seconds, False
        self._is_idle, self._end = is_idle, end
        self._is_running, self._is_closed = threading.Event(), threading.Event()
        if seconds:
            threading.Thread(target=self._watch, name="kpi-spark-watchdog", daemon=True).start()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch over a statement."""
        self._is_running.set()
        try:
            yield
        finally:
            self._is_running.clear()

    def close(self) -> None:
        """Watch no more."""
        self._is_closed.set()

    def _watch(self) -> None:
        since: float | None = None
        while not self._is_closed.wait(min(2.0, self.seconds / 4)):
            if not self._waits():
                since = None
                continue
            since = time.monotonic() if since is None else since
            if time.monotonic() - since >= self.seconds:
                self.has_ended = True
                with suppress(Exception):
                    self._end()

    def _waits(self) -> bool:
        try:
            return self._is_running.is_set() and self._is_idle()
        except Exception:  # a session that does not answer: its statement fails by itself
            return False


def idleness(session: Any, address: str) -> Callable[[], bool]:
    """Return what tells whether nobody computes for a session: it has no executor, or its server says no task runs."""
    if address.startswith("local"):
        return lambda: False
    if not address.startswith("sc:"):
        # The driver counts among the executors.
        return lambda: len(session.sparkContext._jsc.sc().statusTracker().getExecutorInfos()) < 2
    waits = threading.Event()

    def progress(stages: Iterable[Any] | None, inflight_tasks: int, operation_id: str | None, done: bool) -> None:
        is_due = any(not one.done and one.num_completed_tasks < one.num_tasks for one in stages or ())
        if is_due and not inflight_tasks and not done:
            waits.set()
        else:
            waits.clear()

    session.registerProgressHandler(progress)
    return waits.is_set


def _end_of(session: Any, address: str) -> Callable[[], object]:
    end: Callable[[], object] = (
        session.interruptAll if address.startswith("sc:") else session.sparkContext.cancelAllJobs
    )
    return end


class SparkDatabase:
    """A session of Spark. Its tables are temporary views, so a name is one word.

    Every method raises StatementError, or EngineLost when it is gone; a statement that nobody computes for `lost_after`
    seconds is given up.
    """

    def __init__(self, session: Any, folder: Path, address: str, lost_after: int = 0) -> None:
        self.session, self.folder, self.address = session, folder, address
        self._tables = 0
        self._watchdog = Watchdog(lost_after, idleness(session, address), _end_of(session, address))
        self.session.sql("select 1 as alive").createOrReplaceTempView(_ALIVE)

    @property
    def version(self) -> str:
        """Its name and version."""
        return f"Spark {self.session.version}"

    def fetch(self, sql: str) -> pa.Table:
        """Return all rows of a query as Arrow."""
        with self._failures():
            table: pa.Table = self.session.sql(sql).toArrow()
            return table

    def create_view(self, name: str, sql: str) -> None:
        """Name a query, in place of whatever had the name."""
        with self._failures():
            self.session.sql(sql).createOrReplaceTempView(name)

    def create_table(self, name: str, sql: str) -> None:
        """Compute a query once and keep its rows under a name, in place of whatever had it."""
        self._tables += 1
        path = self.folder / f"{name}-{self._tables}"
        self.write_parquet(sql, path)
        self.read_parquet(name, str(path))

    def read_parquet(self, name: str, *places: str | Path) -> None:
        """Let a table be what Parquet files, or folders of them, hold; they are read when someone asks."""
        with self._failures():
            self.session.read.parquet(*map(str, places)).createOrReplaceTempView(name)

    def write_parquet(self, sql: str, path: Path) -> None:
        """Write the rows of a query as a folder of Parquet files, of which there is one when there are no rows."""
        with self._failures():
            rows = self.session.sql(sql)
            rows.write.parquet(str(path))
            if any(path.glob("*.parquet")):
                return
            import pyarrow.parquet as pq

            path.mkdir(exist_ok=True)
            pq.write_table(rows.limit(0).toArrow(), path / "no-rows.parquet")

    def refuse_another_disk(self) -> None:
        """Raise EngineLost when Spark writes files where nobody here sees them."""
        path = self.folder / "probe"
        with self._failures():
            self.session.sql("select 1 as probe").write.parquet(str(path))
        if not any(path.glob("*.parquet")):
            raise EngineLost(
                f"Spark at {self.address} wrote {path}, and it is not there: the server has another disk. It must see"
                " the folder of the warehouse under the same path, as on a shared file system."
            )

    def close(self) -> None:
        """End the session."""
        self._watchdog.close()
        with suppress(Exception):
            self.session.stop()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            with self._watchdog.watching():
                yield
        except KeyboardInterrupt:
            raise
        except Exception as error:
            if self._watchdog.has_ended:
                waited = f"for {self._watchdog.seconds} s nobody has computed what is asked of it"
                message = f"Spark at {self.address} is there, and {waited}: its workers are gone, or none are free."
                raise EngineLost(f"{message} Nothing of this build is published. {_LONGER}") from error
            if not self._is_alive():
                message = f"Spark at {self.address} was lost while it computed. Nothing of this build is published."
                raise EngineLost(message) from error
            raise StatementError(_kind(error), _reason(error)) from error

    def _is_alive(self) -> bool:
        """Whether the session is still there, and is the one that was opened: a new server does not have its views."""
        try:
            if self.address.startswith("sc:"):
                _refuse_deaf(self.address)
            return bool(self.session.sql(f"select alive from {_ALIVE}").collect())
        except Exception:
            return False


def _kind(error: Exception) -> str:
    condition: Callable[[], str | None] | None = getattr(error, "getCondition", None)
    java = getattr(error, "java_exception", None)
    name = str(java.getClass().getSimpleName()) if java is not None else type(error).__name__
    return (condition() if condition else None) or name


def _reason(error: Exception) -> str:
    """What went wrong, and first of all: what a task of an executor says comes as the cause of a cause."""
    java = getattr(error, "java_exception", None) or getattr(error, "_origin", None)
    line = _first_line(error)
    if java is None:
        return line
    first = str(java.toString()).partition("\n")[0]
    while java.getCause() is not None:
        java = java.getCause()
    last = str(java.toString()).partition("\n")[0]
    return " | ".join(dict.fromkeys((line if hasattr(error, "_origin") else first, last)))


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _silence_warnings() -> None:
    """Let pyspark say nothing of the version of pandas, which nothing here goes through."""
    import warnings

    warnings.filterwarnings("ignore", category=FutureWarning, module="pyspark")
