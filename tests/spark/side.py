"""Run statements of Spark SQL in an environment that has Spark: `python side.py FOLDER ENGINE`.

ENGINE is `sail`, or a master of Spark's (`local[2]`, `spark://…`). FOLDER has work.json: `settings` of the session,
`tables` (name and Parquet file), and `statements` (id, SQL and the settings it is asked with). The rows of each go to
FOLDER/out/ID.parquet, and what could not be run, with the first line of why, to FOLDER/out/refused.json. Nothing of
kpi is imported.
"""

from __future__ import annotations

import json
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


def main(folder: Path, engine: str) -> None:
    """Run what work.json says."""
    import pyarrow.parquet as pq

    warnings.filterwarnings("ignore")
    work = json.loads((folder / "work.json").read_text(encoding="utf-8"))
    out = folder / "out"
    out.mkdir()
    refused: dict[str, str] = {}
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        spark = session(engine, work["settings"], scratch)
        for name, path in work["tables"]:
            spark.read.parquet(path).createOrReplaceTempView(name)

        def run(statement: dict[str, Any]) -> None:
            began = time.monotonic()
            try:
                pq.write_table(spark.sql(statement["sql"]).toArrow(), out / f"{statement['id']}.parquet")
            except Exception as error:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                refused[statement["id"]] = lines[0][:300]
            seconds[statement["id"]] = time.monotonic() - began

        for setting in dict.fromkeys(tuple(one["settings"].items()) for one in work["statements"]):
            for name, value in setting:
                with suppress(Exception):  # Sail does not know all of them
                    spark.conf.set(name, value)
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(run, [one for one in work["statements"] if tuple(one["settings"].items()) == setting]))
        (out / "refused.json").write_text(json.dumps(refused), encoding="utf-8")
        (out / "seconds.json").write_text(json.dumps(seconds), encoding="utf-8")
        if engine != "sail":
            spark.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
