"""Send a text to the people who look after the warehouse, through apprise: mail, Teams, Slack and a hundred others.

The addresses hold passwords: they are read from the environment or from a file that is never in git, and no message,
log or error repeats more of one than its kind (`mailtos`).
"""

from __future__ import annotations

import logging
import os
import stat
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kpi.base.files import read_regular, why_unreadable

VARIABLE, FILE = "KPI_NOTIFY", "notify.txt"
PATIENCE_SECONDS = 60
Kind = Literal["failure", "success", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent. `kind` decides colour and icon where the receiver has them."""

    kind: Kind
    title: str
    body: str


def addresses(warehouse: Path) -> tuple[str, ...]:
    """Return the URLs of KPI_NOTIFY, separated by blanks, else those of warehouse/notify.txt, one a line."""
    given = os.environ.get(VARIABLE)
    if given is not None:
        return tuple(given.split())
    try:
        lines = read_regular(warehouse / FILE).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return ()
    return tuple(line.strip() for line in lines if line.strip() and line.strip()[0] != "#")


def unreadable(warehouse: Path) -> str:
    """Say why the file of addresses cannot be read, and so counts for nothing; empty when it can, or is not there."""
    if os.environ.get(VARIABLE) is not None:
        return ""
    if why := why_unreadable(warehouse / FILE):
        return why
    try:
        read_regular(warehouse / FILE).decode("utf-8-sig")
    except FileNotFoundError:
        return ""
    except OSError as error:
        return error.strerror or type(error).__name__
    except UnicodeDecodeError as error:
        return f"it is not UTF-8 (line {error.object[: error.start].count(10) + 1})"
    return ""


def is_exposed(warehouse: Path) -> bool:
    """Tell whether others than its owner can read the file of addresses."""
    try:
        return bool((warehouse / FILE).stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False


def send(urls: Sequence[str], message: Message) -> list[str]:
    """Send a message to every address. Returns what went wrong, a line each, and raises nothing.

    It takes at most a minute: a server that does not answer is given up on.
    """
    troubles: list[str] = []
    done = threading.Event()

    def work() -> None:
        try:
            troubles.extend(_send(urls, message))
        finally:
            done.set()

    threading.Thread(target=work, daemon=True).start()
    if not done.wait(PATIENCE_SECONDS):
        return [f"no notification was sent within {PATIENCE_SECONDS} s; it was given up."]
    return troubles


def _send(urls: Sequence[str], message: Message) -> list[str]:
    try:
        import apprise
    except ImportError:
        return ["apprise is not installed, so no notification was sent. Run: pip install apprise"]
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    troubles = []
    for number, url in enumerate(urls, start=1):
        what = f"notification address {number} ({_kind_of(url)})"
        try:
            plugin: Any = apprise.Apprise.instantiate(url, suppress_exceptions=True)
            if plugin is None:
                troubles.append(f"{what} is not one that apprise knows. See its list of services.")
            elif not plugin.notify(title=message.title, body=message.body, notify_type=message.kind):
                troubles.append(f"{what} did not take the message.")
        except Exception as error:
            # The text of the error may repeat the address.
            troubles.append(f"{what} failed: {type(error).__name__}.")
    return troubles


def _kind_of(url: str) -> str:
    kind = url.partition("://")[0]
    return kind if "://" in url and kind.isalnum() and len(kind) < 20 else "not a URL"
