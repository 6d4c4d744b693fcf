"""How much computing and memory what a project says may take before it is refused: projects are not trusted."""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kpi.base.errors import ConfigError

SECONDS = 10
MEGABYTES = 512
_PAGE = resource.getpagesize()
_active = threading.Lock()


class TooMuch(ConfigError):
    """Something the project says takes more time, memory or depth than it may."""


class _TimeUp(BaseException):
    """Not an Exception: what catches those to go on in another way must not go on after this."""


@contextmanager
def bounded(what: str) -> Iterator[None]:
    """Let what runs in here take SECONDS of computing and MEGABYTES more memory than there was, and no more.

    Raises TooMuch, which begins with `what`. Time is bounded in the main thread only: no other can be interrupted.
    Memory is bounded where the system counts it, as Linux does. Inside another such block it does nothing.
    """
    if threading.current_thread() is not threading.main_thread() or not _active.acquire(blocking=False):
        yield
        return
    stops: list[int] = []

    def stop(number: int, *_: object) -> None:
        stops.append(number)
        raise _TimeUp

    limits = _limit_memory()
    handler = signal.signal(signal.SIGVTALRM, stop)
    # Again each second: a callback of C code may swallow the first.
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS, 1)
    try:
        yield
    except RecursionError as error:
        told = f"{what} is nested too deeply, or calls itself without an end."
        raise TooMuch(told).with_traceback(error.__traceback__) from None
    except (_TimeUp, RuntimeError) as error:
        # DuckDB stops at a signal too, and says so in words of its own.
        if isinstance(error, RuntimeError) and not (stops and "interrupted" in str(error)):
            raise
        told = f"{what} takes more than {SECONDS} seconds of computing, so perhaps it never ends"
        raise TooMuch(f"{told}. Let it do less, or do it in SQL.").with_traceback(error.__traceback__) from None
    except MemoryError as error:
        told = f"{what} needs more than {MEGABYTES} MB of memory. Let it do less, or do it in SQL."
        raise TooMuch(told).with_traceback(error.__traceback__) from None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, handler)
        if limits:
            resource.setrlimit(resource.RLIMIT_DATA, limits)
        _active.release()


def _limit_memory() -> tuple[int, int] | None:
    """Set the limit; return the one there was, or None when nothing was set."""
    with suppress(OSError, ValueError, IndexError):
        with open("/proc/self/statm", "rb") as file:
            allowed = int(file.read().split()[5]) * _PAGE + MEGABYTES * 2**20
        before = resource.getrlimit(resource.RLIMIT_DATA)
        if before[0] == resource.RLIM_INFINITY or before[0] > allowed:
            resource.setrlimit(resource.RLIMIT_DATA, (allowed, before[1]))
            return before
    return None
