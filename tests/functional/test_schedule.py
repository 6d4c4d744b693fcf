"""A schedule that systemd itself finds right, and a crontab in which nothing but our own line changes."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from kpi.cli.main import cli
from kpi.errors import ConfigError
from kpi.jobs.schedule import (
    Job,
    JobOptions,
    add_cron_line,
    cron_line,
    install_units,
    make_job,
    obstacles,
    systemd_units,
)
from small_project import write

JOB = Job(Path("/srv/kpi"), "kpi-refresh", (3, 15), ("/opt/kpi/bin/kpi",), 4 << 30, False, False, "kpi")
HOSTILE = Path('/srv/100 % "new" $HOME \'n\\ %t')


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("for_user", [False, True])
@pytest.mark.parametrize("root", [JOB.root, HOSTILE])
def test_systemd_finds_the_units_right(tmp_path: Path, root: Path, for_user: bool) -> None:
    job = replace(JOB, root=root, for_user=for_user, command=(sys.executable, "-m", "kpi.cli"), user="root")
    for name, text in systemd_units(job).items():
        (tmp_path / name).write_text(text)
    files = [str(tmp_path / name) for name in systemd_units(job)]
    manager = ["--user"] if for_user else []
    verify = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *manager, *files]
    done = subprocess.run(verify, capture_output=True, text=True, check=False, env={"XDG_RUNTIME_DIR": str(tmp_path)})
    assert str(tmp_path) not in done.stderr
    assert done.returncode == 0, done.stderr


def test_a_path_stands_in_a_unit_as_systemd_reads_it() -> None:
    service = systemd_units(replace(JOB, root=HOSTILE))["kpi-refresh.service"]
    assert '"--project-dir" "/srv/100 %% \\"new\\" $HOME \'n\\\\ %%t"' in service
    assert 'ExecStart=:"/opt/kpi/bin/kpi" "refresh"' in service


def test_the_service_may_write_its_warehouse_alone_and_has_a_network_only_to_send() -> None:
    service = systemd_units(JOB)["kpi-refresh.service"]
    for line in (
        "ProtectSystem=strict",
        'ReadWritePaths="/srv/kpi/warehouse"',
        "PrivateNetwork=true",
        "NoNewPrivileges=true",
        "User=kpi",
        "OnFailure=kpi-refresh-failed.service",
        "MemoryMax=4294967296",
    ):
        assert line in service.splitlines()
    assert '"--memory-limit" "2577MB"' in service
    assert "PrivateNetwork" not in systemd_units(replace(JOB, has_network=True))["kpi-refresh.service"]


def test_builds_on_another_disk_can_be_written_too(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "county/warehouse").mkdir(parents=True)
    (tmp_path / "county/warehouse/builds").symlink_to(tmp_path / "disk")
    service = systemd_units(replace(JOB, root=tmp_path / "county"))["kpi-refresh.service"]
    assert f'ReadWritePaths="{tmp_path}/county/warehouse" "{tmp_path}/disk"' in service


def test_the_service_may_write_where_the_project_spills_to(tmp_path: Path) -> None:
    spilling = "vars:\n  kpi_warehouse:\n    temp_directory: ../scratch\n"
    root = write(tmp_path / "county", {"dbt_project.yml": f"name: small\nversion: '1'\n{spilling}"})
    done = CliRunner().invoke(cli, ["schedule", "--project-dir", str(root)])
    assert done.exit_code == 0, done.output
    assert f'ReadWritePaths="{root}/warehouse" "{tmp_path}/scratch"' in done.output


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to somebody else")
def test_it_is_said_when_the_owner_of_the_warehouse_could_not_run_it() -> None:
    with tempfile.TemporaryDirectory(prefix="kpi-shut-", dir="/var/tmp") as above:
        root = write(Path(above, "county"))
        (root / "warehouse").mkdir()
        os.chown(root / "warehouse", pwd.getpwnam("nobody").pw_uid, -1)
        job = make_job(root, JobOptions("kpi", "03:15", "", False), False)
        message = f"nobody cannot reach {root}/warehouse: {above} is closed to others. Move it, or open that folder."
        assert message in obstacles(job)
        Path(above).chmod(0o755)
        assert message not in obstacles(job)


def test_a_warehouse_in_the_temporary_folder_is_hidden_from_the_service() -> None:
    (message, *_) = obstacles(replace(JOB, root=Path("/tmp/county"), user=""))
    assert message == "/tmp/county is in /tmp, of which the service has one of its own. Move it."


def test_the_timer_makes_up_for_a_missed_night() -> None:
    timer = systemd_units(JOB)["kpi-refresh.timer"].splitlines()
    assert {"OnCalendar=*-*-* 03:15:00", "Persistent=true", "RandomizedDelaySec=10min"} <= set(timer)


def test_a_crontab_line_is_run_by_the_shell_as_it_was_meant(tmp_path: Path) -> None:
    root = tmp_path / "100 % 'new' $HOME"
    root.mkdir()
    echo = (sys.executable, "-c", "import sys; print(sys.argv[3], file=sys.stderr)")
    line = cron_line(replace(JOB, root=root, command=echo, memory_max=0))
    command = line.split(" ", 5)[5].replace("\\%", "%")  # as cron does
    assert "%" not in line.replace("\\%", "")
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == f"{root}\n"


def test_the_crontab_of_others_stays_and_our_line_is_there_once() -> None:
    others = "# mine\n0 1 * * * backup\n\nMAILTO=me\n"
    once = add_cron_line(others, JOB)
    assert once == others + cron_line(JOB) + "\n"
    later = replace(JOB, at=(4, 0))
    assert add_cron_line(once, later) == others + cron_line(later) + "\n"
    assert add_cron_line(add_cron_line(once, replace(JOB, root=Path("/other"))), JOB).count("\n") == 6


def test_installing_writes_the_units_and_never_over_those_of_another_warehouse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    job = replace(JOB, for_user=True)
    assert {path.name for path in install_units(job)} == set(systemd_units(job))
    install_units(job)
    with pytest.raises(ConfigError, match=r"for something else\. Choose another --name"):
        install_units(replace(job, root=Path("/other")))


@pytest.mark.parametrize(
    ("at", "name", "memory", "message"),
    [
        ("25:00", "kpi", "", "--at takes a time of day"),
        ("3", "kpi", "", "--at takes a time of day"),
        ("03:15", "../kpi", "", "--name takes letters"),
        ("03:15", "kpi", "much", "--memory-max takes a size"),
        ("03:15", "kpi", "1M", "at least 512M"),
    ],
)
def test_what_cannot_be_scheduled_is_said(tmp_path: Path, at: str, name: str, memory: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_job(tmp_path, JobOptions(name, at, memory, False), False)


def test_a_path_with_a_line_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no schedule can hold"):
        make_job(tmp_path / "a\nb", JobOptions("kpi", "03:15", "", False), False)


def test_installing_into_a_crontab_that_is_there_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "table"
    fake = tmp_path / "bin/crontab"
    fake.parent.mkdir()
    fake.write_text(
        f'#!/bin/sh\nif [ "$1" = -l ]; then\n  [ -f {table} ] || {{ echo "no crontab for me" >&2; exit 1; }}\n'
        f"  cat {table}\nelse\n  cat >{table}\nfi\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    root = write(tmp_path / "county")
    arguments = ["schedule", "--cron", "--install", "--project-dir", str(root)]
    for at in ("03:15", "04:00"):
        done = CliRunner().invoke(cli, [*arguments, "--at", at])
        assert done.exit_code == 0, done.output
    (line,) = table.read_text().splitlines()
    assert line.startswith("0 4 * * * nice -n 10 ")
    assert f"Your crontab has the line: {line}" in done.output


def test_printed_units_name_their_files(tmp_path: Path) -> None:
    printed = CliRunner().invoke(cli, ["schedule", "--project-dir", str(write(tmp_path / "county"))]).output
    for name in ("kpi-refresh.service", "kpi-refresh.timer", "kpi-refresh-failed.service"):
        assert f"# /etc/systemd/system/{name}" in printed


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("/srv/county2", "/srv/county"),
        ("/srv/county", "/srv/county2"),
        ("/srv/a%b", "/srv/a%%b"),
        ("/srv/county was killed", "/srv/county"),
        ("/srv/x in /srv/county", "/srv/county"),
        ("/srv/County", "/srv/county"),
        ("/srv/county ", "/srv/county"),
    ],
)
def test_units_are_never_written_over_those_of_a_path_that_is_nearly_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, second: str
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    job = replace(JOB, root=Path(first), for_user=True)
    written = {path: path.read_text() for path in install_units(job)}
    assert install_units(replace(job, at=(4, 0)))  # its own it may change
    install_units(job)
    with pytest.raises(ConfigError, match="for something else"):
        install_units(replace(job, root=Path(second)))
    assert {path: path.read_text() for path in written} == written


def test_nothing_is_written_when_one_of_the_units_is_anothers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "systemd/user"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "kpi-refresh-failed.service")
    with pytest.raises(ConfigError, match="for something else"):
        install_units(replace(JOB, for_user=True))
    assert [path.name for path in folder.iterdir()] == ["kpi-refresh-failed.service"]


def test_the_line_of_another_project_in_a_crontab_stays() -> None:
    table = add_cron_line("", replace(JOB, root=Path("/srv/county2")))
    both = add_cron_line(table, replace(JOB, root=Path("/srv/county")))
    assert table in both
    assert len(both.splitlines()) == 2
