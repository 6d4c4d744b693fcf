"""Have the refresh run every night: a systemd service with its timer, or a line of a crontab."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kpi.errors import ConfigError
from kpi.files import read_regular, replace_text
from kpi.warehouse.permissions import user_of

WAIT_SECONDS = 3600  # for a build that someone makes by hand at that hour
SHARE_OF_DUCKDB = 0.6  # of the memory that a run may use; Python and Great Expectations need the rest
UNITS = Path("/etc/systemd/system")


@dataclass(frozen=True, slots=True)
class Job:
    """What is to run, and how. `at` is the local time, hour and minute; `memory_max` bytes, 0 for no limit.

    `has_network` is needed by a run that sends notifications. `user` owns the warehouse. `spill` is the temp_directory
    of the project's settings.
    """

    root: Path
    name: str
    at: tuple[int, int]
    command: tuple[str, ...]
    memory_max: int
    has_network: bool
    for_user: bool
    user: str = ""
    spill: Path | None = None

    @property
    def refresh(self) -> tuple[str, ...]:
        """The command line of the refresh."""
        limit = f"{self.memory_max * SHARE_OF_DUCKDB / 1e6:.0f}MB"
        memory = ("--memory-limit", limit) if self.memory_max else ()
        return (*self.command, "refresh", "--project-dir", str(self.root), "--wait", str(WAIT_SECONDS), *memory)

    @property
    def crashed(self) -> tuple[str, ...]:
        """The command line that tells of a refresh that could not do so itself."""
        return (*self.command, "notify", "--project-dir", str(self.root), "--crashed")


@dataclass(frozen=True, slots=True)
class JobOptions:
    """How a refresh is to run every night, as it was typed: its name, the time of day and how much memory it may take.

    `for_user` says that it runs as who asks, `temp_directory` where DuckDB may spill.
    """

    name: str
    at: str
    memory_max: str
    for_user: bool
    temp_directory: str = ""


def make_job(root: Path, options: JobOptions, has_network: bool) -> Job:
    """Return what to run every night. Raises ConfigError when a setting cannot be used."""
    name, at, memory_max = options.name, options.at, options.memory_max
    for_user, temp_directory = options.for_user, options.temp_directory
    hour = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", at)
    if not hour:
        raise ConfigError(f"--at takes a time of day such as 03:15, not '{at}'.")
    if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,60}", name):
        raise ConfigError(f"--name takes letters, digits, '.', '-' and '_', not '{name}'.")
    root = root.resolve()
    kpi = Path(sys.executable).with_name("kpi")
    command = (str(kpi),) if kpi.is_file() else (sys.executable, "-m", "kpi.cli")
    for part in (str(root), *command):
        if not part.isprintable():
            raise ConfigError(f"{part!r} has a sign in its name that no schedule can hold. Rename it.")
    return Job(
        root=root,
        name=name,
        at=(int(hour[1]), int(hour[2])),
        command=command,
        memory_max=_bytes(memory_max),
        has_network=has_network,
        for_user=for_user,
        user="" if for_user else _owner(root),
        spill=(root / Path(temp_directory).expanduser()).resolve() if temp_directory else None,
    )


def obstacles(job: Job) -> list[str]:
    """Return why the service could not run although its units are right: each a sentence."""
    if job.for_user:
        return []
    sentences = []
    for path in (job.root, Path(job.command[0])):
        private = [folder for folder in (Path("/tmp"), Path("/var/tmp")) if path.is_relative_to(folder)]
        sentences += [f"{path} is in {folder}, of which the service has one of its own. Move it." for folder in private]
    # The interpreter behind the virtual environment's links: often it is in the home of who made it.
    for path in (Path(sys.executable).resolve(), Path(job.command[0]), job.root / "warehouse"):
        shut = _shut_to(path, job.user)
        if shut:
            sentences.append(
                f"{job.user} cannot reach {path}: {shut} is closed to others. Move it, or open that folder."
            )
    return sentences


def _shut_to(path: Path, user: str) -> Path | None:
    """Return the first folder above a path that its mode closes to a user, if any. Access lists are not asked."""
    import pwd

    if not user or user.isdigit():
        return None
    entry = pwd.getpwnam(user)
    groups = set(os.getgrouplist(user, entry.pw_gid))
    for folder in reversed(path.parents):
        about = folder.stat()
        bit = 0o100 if about.st_uid == entry.pw_uid else 0o010 if about.st_gid in groups else 0o001
        if not about.st_mode & bit:
            return folder
    return None


def systemd_units(job: Job) -> Mapping[str, str]:
    """Return the units by file name: the service, its timer, and what runs when the service fails."""
    timer = f"""\
[Unit]
Description=Nightly refresh of the KPI warehouse in {_percents(str(job.root))}

[Timer]
OnCalendar=*-*-* {job.at[0]:02}:{job.at[1]:02}:00
# A night that was missed is made up for, and a run that a reboot cut short is done again.
Persistent=true
OnBootSec=10min
RandomizedDelaySec=10min

[Install]
WantedBy=timers.target
"""
    limits = "Nice=10\nIOSchedulingClass=best-effort\nIOSchedulingPriority=7\nTimeoutStartSec=12h\n"
    if job.memory_max:
        limits += f"MemoryMax={job.memory_max}\n"
    service = f"""\
[Unit]
Description=Refresh the KPI warehouse in {_percents(str(job.root))}
OnFailure={job.name}-failed.service

[Service]
Type=oneshot
ExecStart={_exec(job.refresh)}
{limits}{_hardening(job)}"""
    failed = f"""\
[Unit]
Description=Notify that the refresh of the KPI warehouse in {_percents(str(job.root))} was killed

[Service]
Type=oneshot
ExecStart={_exec(job.crashed)}
TimeoutStartSec=5min
{_hardening(job)}"""
    return {f"{job.name}.service": service, f"{job.name}.timer": timer, f"{job.name}-failed.service": failed}


def cron_line(job: Job) -> str:
    """Return the line of the crontab. Cron mails what it prints, which is nothing on a night that went well."""
    shown = " ".join(map(shlex.quote, ("nice", "-n", "10", *job.refresh)))
    crashed = " ".join(map(shlex.quote, job.crashed))
    # In a crontab a percent sign ends the command, unless there is a backslash before it.
    command = f"{shown} >/dev/null || {crashed}".replace("%", "\\%")
    return f"{job.at[1]} {job.at[0]} * * * {command} {_mark(job)}"


def add_cron_line(table: str, job: Job) -> str:
    """Return a crontab with the job's line in it once, at the place it had, and all other lines as they are."""
    lines = table.splitlines()
    places = [place for place, line in enumerate(lines) if line.endswith(f" {_mark(job)}")]
    others = [line for place, line in enumerate(lines) if place not in places]
    others.insert(places[0] if places else len(others), cron_line(job))
    return "\n".join(others) + "\n"


def unit_folder(job: Job) -> Path:
    """Return where systemd looks for units: the system's, or those of the user."""
    if not job.for_user:
        return UNITS
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def install_units(job: Job) -> list[Path]:
    """Write the units. Raises ConfigError when the folder cannot be written, or a unit of that name is another's."""
    folder = unit_folder(job)
    paths = []
    units = {folder / name: text for name, text in systemd_units(job).items()}
    for path, text in units.items():
        # What it is for stands in its description, and nothing else in it is of this project alone.
        if os.path.lexists(path) and _description(path) != text.split("\n")[1]:
            raise ConfigError(f"{path} is there already, for something else. Choose another --name.")
    for path, text in units.items():
        try:
            replace_text(path, text)
        except PermissionError:
            raise ConfigError(f"{path} cannot be written. Run it as root, or for yourself with --user.") from None
        paths.append(path)
    return paths


def _description(path: Path) -> str:
    try:
        lines = read_regular(path).decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line for line in lines if line.startswith("Description=")), "")


def next_steps(job: Job) -> list[str]:
    """Return the commands that set an installed timer going."""
    ctl = "systemctl --user" if job.for_user else "systemctl"
    steps = [f"{ctl} daemon-reload", f"{ctl} enable --now {job.name}.timer", f"{ctl} list-timers {job.name}.timer"]
    return (
        [*steps, "loginctl enable-linger   # so that it also runs while you are logged out"] if job.for_user else steps
    )


def _hardening(job: Job) -> str:
    """What the service may not do. A user's manager cannot take away parts of the file system."""
    lines = ["UMask=0027", "NoNewPrivileges=true", "LockPersonality=true", "RestrictRealtime=true"]
    lines += ["RestrictSUIDSGID=true", "SystemCallArchitectures=native"]
    families = "AF_UNIX AF_INET AF_INET6" if job.has_network else "AF_UNIX"
    lines.append(f"RestrictAddressFamilies={families}")
    if job.for_user:
        return "\n".join(lines) + "\n"
    writable = " ".join(_quoted(str(path)) for path in _writable(job))
    lines += ["ProtectSystem=strict", "ProtectHome=read-only", f"ReadWritePaths={writable}", "PrivateTmp=true"]
    lines += [
        "PrivateDevices=true",
        "ProtectKernelTunables=true",
        "ProtectKernelModules=true",
        "ProtectKernelLogs=true",
    ]
    lines += ["ProtectControlGroups=true", "ProtectClock=true", "ProtectHostname=true", "RestrictNamespaces=true"]
    if job.user:
        lines = [f"User={job.user}", *lines, "CapabilityBoundingSet="]
    if not job.has_network:
        lines += [
            "# No notification address was set: nothing is to be sent. With one, write the units again.",
            "PrivateNetwork=true",
        ]
    return "\n".join(lines) + "\n"


def _writable(job: Job) -> list[Path]:
    """The warehouse, where its folders are when they are links to another disk, and the folder to spill to."""
    warehouse = job.root / "warehouse"
    folders = [warehouse, *(warehouse / part for part in ("builds", "runs")), *([job.spill] if job.spill else [])]
    real = dict.fromkeys(folder.resolve() for folder in folders)
    return [path for path in real if not any(path != other and path.is_relative_to(other) for other in real)]


def _owner(root: Path) -> str:
    folder = root / "warehouse" if (root / "warehouse").is_dir() else root
    number = folder.stat().st_uid
    return user_of(number) if number else ""


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not text:
        return 0
    size = int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " ")) if match else 0
    if size < 1 << 29:
        raise ConfigError(f"--memory-max takes a size such as 4G, at least 512M, not '{text}'.")
    return size


def _exec(command: tuple[str, ...]) -> str:
    # The colon: no dollar sign in a path is taken for a variable.
    return ":" + " ".join(_quoted(part) for part in command)


def _quoted(text: str) -> str:
    escaped = _percents(text.replace("\\", "\\\\").replace('"', '\\"'))
    return f'"{escaped}"'


def _percents(text: str) -> str:
    return text.replace("%", "%%")


def _mark(job: Job) -> str:
    return f"# {job.name} of {shlex.quote(str(job.root))}".replace("%", "\\%")
