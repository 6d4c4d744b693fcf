"""kpi demo writes over nothing, leaves nothing half written, and finishes what a killed run left."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import oracle
from demo import deliver as demo
from demo.deliver import write_demo
from demo.feeds import FEEDS as FEED_PIECES
from kpi.cli.main import cli
from kpi.errors import ConfigError, DeliveryError
from kpi.ingest.raw_files import scan

ROOT = Path(__file__).parents[2]
SCALE = 0.02
FEEDS = set(oracle.CONTRACTS)


def contents(raw: Path) -> dict[str, bytes]:
    return {str(path.relative_to(raw)): path.read_bytes() for path in sorted(raw.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("scale", [0, -1, 11, float("nan"), float("inf")])
def test_unusable_scale_is_refused(tmp_path: Path, scale: float) -> None:
    with pytest.raises(ConfigError, match="scale"):
        write_demo(tmp_path / "raw", scale=scale)
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("name", ["own.csv", "own.csv.gz", "OWN.CSV"])
def test_deliveries_are_never_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / "care_queue").mkdir()
    (tmp_path / "care_queue" / name).write_text("census_date\n")
    with pytest.raises(ConfigError, match="care_queue already holds deliveries"):
        write_demo(tmp_path, scale=SCALE)
    assert contents(tmp_path) == {f"care_queue/{name}": b"census_date\n"}


def test_foreign_readme_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README.txt").write_text("Deliveries of the laboratory.\n")
    with pytest.raises(ConfigError, match="not overwritten"):
        write_demo(tmp_path, scale=SCALE)
    assert contents(tmp_path) == {"README.txt": b"Deliveries of the laboratory.\n"}


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("")
    with pytest.raises(ConfigError, match="is no folder"):
        write_demo(tmp_path / "raw", scale=SCALE)
    (tmp_path / "calls").write_text("")
    with pytest.raises(ConfigError, match="is no folder"):
        write_demo(tmp_path, scale=SCALE)


def test_what_else_lies_in_a_feed_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "calls").mkdir()
    (tmp_path / "calls" / ".gitkeep").touch()
    (tmp_path / "callbacks").mkdir()
    write_demo(tmp_path, scale=0.0005)
    names = {path.name for path in (tmp_path / "calls").iterdir()}
    assert {".gitkeep", "calls_2023-01.csv.gz", "calls_2025-12.csv"} <= names
    assert (tmp_path / "callbacks" / "callbacks_2023-q1.csv").is_file()


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(demo, "render", fail)
    with pytest.raises(OSError, match="disk full"):
        write_demo(tmp_path, scale=0.0005)
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_at_once_is_refused(tmp_path: Path) -> None:
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another"):
            write_demo(tmp_path, scale=SCALE)
    finally:
        os.close(handle)


def test_a_killed_run_leaves_no_half_feed_and_is_cleaned_up(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from demo.deliver import write_demo\n"
        "real = Path.write_bytes\n"
        "def write_bytes(path, data):\n"
        "    real(path, data)\n"
        "    if path.parent.name == '.calls': os.kill(os.getpid(), signal.SIGKILL)\n"
        "Path.write_bytes = write_bytes\n"
        "write_demo(Path(sys.argv[1]), scale=0.0005)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.glob(".demo-partial/*/*") if ".calls" in path.parts] != []
    assert {path.name for path in tmp_path.iterdir()} == {".demo-partial"}
    write_demo(tmp_path, scale=0.0005)
    assert {path.name for path in tmp_path.iterdir()} == FEEDS | {"README.txt"}


@pytest.mark.parametrize("renames", [0, 1, 2, 3])
def test_what_a_killed_run_left_is_finished_and_never_read_by_half(tmp_path: Path, renames: int) -> None:
    root = tmp_path / "project"
    root.mkdir()
    (root / "dbt_project.yml").write_text("name: d\n")
    (root / "demo").symlink_to(ROOT / "demo")
    raw = root / "warehouse/raw"
    code = (
        "import os\n"
        "from pathlib import Path\n"
        "from demo import deliver\n"
        "real, left = os.replace, [SEEN]\n"
        "def replace(source, target):\n"
        "    if not str(target).endswith('ready.json'):\n"
        "        left[0] -= 1\n"
        "        if left[0] < 0: os._exit(9)\n"
        "    real(source, target)\n"
        "os.replace = replace\n"
        "feeds = [feed for feed in deliver.FEEDS if feed.name in ('chats', 'ombudsman_contacts')]\n"
        "deliver.write_demo(Path('RAW'), scale=0.01, feeds=feeds)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code.replace("SEEN", str(renames)).replace("RAW", str(raw))], check=False, cwd=ROOT
    )
    assert killed.returncode == (9 if renames < 3 else 0)
    if renames < 3:
        assert (raw / ".demo-partial/ready.json").is_file()
        with pytest.raises(DeliveryError, match="Run: kpi demo"):
            scan(raw)
        done = CliRunner().invoke(cli, ["demo", "--if-empty", "--project-dir", str(root)])
        assert done.exit_code == 0
        assert "Finished what an earlier kpi demo began" in done.output
    assert sorted(path.name for path in raw.iterdir()) == ["README.txt", "chats", "ombudsman_contacts"]
    whole = write_demo(
        tmp_path / "whole", scale=0.01, feeds=[f for f in FEED_PIECES if f.name in ("chats", "ombudsman_contacts")]
    )
    assert len(scan(raw).files) == whole.files
    assert CliRunner().invoke(cli, ["demo", "--if-empty", "--project-dir", str(root)]).output == ""
