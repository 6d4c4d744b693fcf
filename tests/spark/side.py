"""Run statements of Spark SQL in an environment that has Spark: `python side.py FOLDER ENGINE`.

ENGINE is `sail`, or a master of Spark's (`local[2]`, `spark://…`). FOLDER has work.json: `settings` of the session,
`tables` (name and Parquet file), and `statements` (id, SQL, the tables to make before it, and the settings it is asked
with). The rows of each go to FOLDER/out/ID.parquet. Each that is done is a line of JSON on stdout: its id, seconds, and
the first line of why when it could not be run. Nothing of kpi is imported.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

LOCAL = {
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.default.parallelism": "2",
    "spark.driver.memory": "1g",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.adaptive.enabled": "false",
    "spark.cores.max": "2",
    "spark.executor.memory": "512m",
    "spark.executor.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
}


def session(engine: str, settings: dict[str, str], scratch: str) -> Any:
    """Open a session of the engine."""
    from pyspark.sql import SparkSession

    if engine == "sail":
        from pysail.spark import SparkConnectServer

        server = SparkConnectServer("127.0.0.1", 0)
        server.start(background=True)
        spark: Any = SparkSession.builder.remote(f"sc://127.0.0.1:{server.listening_address[1]}").getOrCreate()
        for name, value in settings.items():
            with suppress(Exception):  # Sail does not know all of them
                spark.conf.set(name, value)
        spark.kpi_server = server  # it ends with its last reference
        return spark
    builder: Any = SparkSession.builder.master(engine)
    for name, value in {**LOCAL, **settings, "spark.sql.warehouse.dir": scratch}.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    return spark


def read_tables(spark: Any, tables: dict[str, str], statements: list[dict[str, Any]]) -> None:
    """Name the Parquet files that statements read. Spark would run a job to learn the columns of each."""
    import pyarrow.parquet as pq
    from pyspark.sql.pandas.types import from_arrow_schema

    words = {word for one in statements for sql in (one["sql"], *dict(one["parts"]).values()) for word in _words(sql)}
    for name in sorted(words & tables.keys()):
        schema = from_arrow_schema(pq.read_schema(tables[name]), prefer_timestamp_ntz=True)
        spark.read.schema(schema).parquet(tables[name]).createOrReplaceTempView(name)


def _words(sql: str) -> set[str]:
    return set(re.findall(r"\w+", sql))


def main(folder: Path, engine: str) -> None:
    """Run what work.json says."""
    import pyarrow.parquet as pq

    warnings.filterwarnings("ignore")
    work = json.loads((folder / "work.json").read_text(encoding="utf-8"))
    out = folder / "out"
    out.mkdir()
    with tempfile.TemporaryDirectory() as scratch:
        spark = session(engine, work["settings"], scratch)
        read_tables(spark, dict(work["tables"]), work["statements"])

        def run(statement: dict[str, Any]) -> None:
            began, why = time.monotonic(), ""
            try:
                for name, sql in statement["parts"]:
                    rows = spark.sql(sql)
                    rows.write.parquet(str(out / name))
                    # With its schema: of no rows Sail writes no file.
                    spark.read.schema(rows.schema).parquet(str(out / name)).createOrReplaceTempView(name)
                pq.write_table(spark.sql(statement["sql"]).toArrow(), out / f"{statement['id']}.parquet")
            except Exception as error:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                why = lines[0][:300]
            done = {"id": statement["id"], "seconds": time.monotonic() - began, "refused": why}
            sys.stdout.write(json.dumps(done) + "\n")
            sys.stdout.flush()

        for setting in dict.fromkeys(tuple(one["settings"].items()) for one in work["statements"]):
            for name, value in setting:
                with suppress(Exception):  # Sail does not know all of them
                    spark.conf.set(name, value)
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(run, [one for one in work["statements"] if tuple(one["settings"].items()) == setting]))
        if engine != "sail":
            spark.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
