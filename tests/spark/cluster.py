"""A standalone cluster of Spark on loopback: a master and two workers, ended when nobody needs them."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from with_spark import SPARK, free_port, needed

WORKERS = 2


@contextmanager
def cluster() -> Iterator[str]:
    """Start a master and its workers on 127.0.0.1; yields the address of the master."""
    python = needed(SPARK)
    home = subprocess.run(
        [python, "-c", "import pyspark; print(pyspark.__path__[0])"], capture_output=True, text=True, check=True
    ).stdout.strip()
    port = free_port()
    master = f"spark://127.0.0.1:{port}"
    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_HOME": home, "SPARK_NO_DAEMONIZE": "1"}

        def start(*words: str) -> None:
            command = ["java", "-Xmx256m", "-cp", f"{home}/jars/*", *words]
            processes.append(
                subprocess.Popen(
                    command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            )

        try:
            start(
                "org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", "0"
            )
            _wait(port, processes[0])
            for number in range(WORKERS):
                place = ["--work-dir", f"{folder}/worker-{number}", "--webui-port", "0"]
                size = ["--cores", "1", "--memory", "1g", "--host", "127.0.0.1"]
                start("org.apache.spark.deploy.worker.Worker", *size, *place, master)
            yield master
        finally:
            for process in processes:
                process.kill()
                process.wait()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(1200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None, "the master ended before it answered"
            time.sleep(0.1)
