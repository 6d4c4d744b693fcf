"""dbt-spark's side of `make parity-dbt`, run by the Python of its own environment, which has neither kpi nor pytest.

    python tests/support/dbt_spark_side.py PROJECT RAW OUT

builds the project in a Spark session of this process, over the raw tables that are Parquet in RAW, a folder each; every
seed and model that was built is written to OUT as Parquet, and what dbt answered to OUT/answers.json.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

# As docs/guides/more-than-one-machine.md says of a session for dbt.
SETTINGS = {
    "spark.master": "local[2]",
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "2g",
    "spark.log.level": "ERROR",
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.legacy.createHiveTableByDefault": "false",
    "spark.sql.decimalOperations.allowPrecisionLoss": "false",
    "spark.sql.optimizer.excludedRules": "org.apache.spark.sql.catalyst.optimizer.PushProjectionThroughUnion",
}


def main(project: Path, raw: Path, out: Path) -> None:
    from dbt.cli.main import dbtRunner
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("kpi by dbt-spark").config("spark.sql.warehouse.dir", str(out / "warehouse"))
    for name, value in SETTINGS.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sql("create database if not exists raw")
    for folder in sorted(raw.iterdir()):
        spark.sql(f"create table raw.`{folder.name}` using parquet location '{folder}'")
    os.chdir(project)
    where = ["--target", "spark", "--target-path", str(out / "target"), "--log-path", str(out)]
    answers: dict[str, Any] = {}
    for command in ("seed", "run"):
        outcome = dbtRunner().invoke([command, *where, "--no-use-colors", "--no-partial-parse"])
        answers[command] = {
            "exception": str(outcome.exception or ""),
            "results": {
                result.node.unique_id: [str(result.status), result.message if str(result.status) != "success" else ""]
                for result in getattr(outcome.result, "results", ())
            },
        }
        for result in getattr(outcome.result, "results", ()):
            if str(result.status) == "success":
                place = f"{result.node.schema}.{result.node.alias}"
                spark.table(place).coalesce(1).write.parquet(str(out / "tables" / place))
    (out / "answers.json").write_text(json.dumps(answers), encoding="utf-8")
    spark.stop()


if __name__ == "__main__":
    main(*(Path(argument).resolve() for argument in sys.argv[1:]))
