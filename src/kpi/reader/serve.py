"""Serve a folder of static files, read-only: the site of the published build, and exports beside it.

A path is opened one part after the other, and no part may be a symbolic link, hidden, or `..`: what is served lies in
the folder. There is no route that writes, no listing of a folder, and no more than a few requests at a time.
"""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

from kpi.errors import ConfigError
from kpi.warehouse.builds import Warehouse

EXPORTS = "exports"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
MOST_AT_ONCE = 16
SECONDS = 10  # for a request to be read, and for each piece of an answer to be taken
_BLOCK = 1 << 16
_LONGEST = 1_024  # bytes of a path
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".parquet": "application/vnd.apache.parquet",
}
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "frame-ancestors 'none'; form-action 'none'; base-uri 'none'",
}


@dataclass(frozen=True, slots=True)
class Served:
    """What is served: the folder of each request's pages, and that of `exports/`, if any.

    `pages` is asked anew for each request, so that a publish is followed. `is_local` says that only this machine may
    ask, and by no other name.
    """

    pages: Callable[[], Path | None]
    exports: Path | None = None
    is_local: bool = True


def site_of(warehouse: Warehouse) -> Path | None:
    """Return the folder of the published build's site; of its report pages, when it has none; None without either."""
    current = warehouse.current()
    folders = [current / name for name in ("site", "report")] if current else []
    return next((folder for folder in folders if folder.is_dir()), None)


def serve(served: Served, address: str, port: int, started: Callable[[str], None]) -> None:
    """Serve until interrupted; `started` is told the address. Raises ConfigError when the port cannot be had."""
    with serving(served, address, port) as (server, url):
        started(url)
        server.serve_forever()


@contextmanager
def serving(served: Served, address: str, port: int) -> Iterator[tuple[ThreadingHTTPServer, str]]:
    """Give a server that listens, and its URL. Raises ConfigError when the port cannot be had."""
    handler = type("Handler", (_Handler,), {"served": served})
    try:
        server = _Server((address, port), handler)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no port"
        raise ConfigError(f"{address} port {port}: {reason or error}. Name another with --port.") from None
    with server:
        shown = f"[{address}]" if ":" in address else address
        yield server, f"http://{shown}:{server.server_address[1]}/"


class _Server(ThreadingHTTPServer):
    """A server that works on a few requests at a time and turns others away."""

    daemon_threads = True
    request_queue_size = MOST_AT_ONCE

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.slots = threading.BoundedSemaphore(MOST_AT_ONCE)
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # Not as HTTPServer does it, which asks the network for our name.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: object, client_address: object) -> None:
        if not self.slots.acquire(blocking=False):
            self.shutdown_request(request)  # type: ignore[arg-type]
            return
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self.slots.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away, or sent what is no HTTP, is no error of ours."""


class _Handler(BaseHTTPRequestHandler):
    served: Served
    server_version, sys_version = "kpi", ""
    timeout = SECONDS

    def do_GET(self) -> None:
        self._answer(with_content=True)

    def do_HEAD(self) -> None:
        self._answer(with_content=False)

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self._refuse
        raise AttributeError(name)

    def _refuse(self) -> None:
        self._say(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD"})

    def _answer(self, with_content: bool) -> None:
        if self.served.is_local and not _is_local(self.headers.get("Host", "")):
            self._say(HTTPStatus.MISDIRECTED_REQUEST)
            return
        parts = parts_of(self.path)
        if parts is None:
            self._say(HTTPStatus.NOT_FOUND)
            return
        folder = self.served.pages()
        if parts[:1] == [EXPORTS] and self.served.exports is not None:
            folder, parts = self.served.exports, parts[1:]
        if folder is None:
            self._say(HTTPStatus.NOT_FOUND)
            return
        if parts == [""] and (to := _first_page(folder, self.headers.get("Accept-Language", ""))):
            self._say(HTTPStatus.FOUND, {"Location": to})
            return
        opened = open_within(folder, [*parts[:-1], parts[-1] or "index.html"])
        if opened is None:
            self._say(HTTPStatus.NOT_FOUND)
            return
        with opened as stream:
            self._send(stream, Path(parts[-1] or "index.html").suffix, with_content)

    def _send(self, stream: BinaryIO, suffix: str, with_content: bool) -> None:
        size = os.fstat(stream.fileno()).st_size
        self.send_response(HTTPStatus.OK)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", _KINDS.get(suffix, "application/octet-stream"))
        self.send_header("Content-Length", str(size))
        self.end_headers()
        left = size if with_content else 0
        while left and (piece := stream.read(min(left, _BLOCK))):
            self.wfile.write(piece)
            left -= len(piece)

    def _say(self, status: HTTPStatus, more: Mapping[str, str] | None = None) -> None:
        text = f"{status.value} {status.phrase}\n".encode()
        self.send_response(status)
        for name, value in {**_HEADERS, **(more or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is noted of who reads what."""


def _is_local(host: str) -> bool:
    """Whether a request names this machine: a page of another site that has our address by its own name does not."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    return name.strip("[]").lower() in LOOPBACK


def parts_of(path: str) -> list[str] | None:
    """Return the parts of a path that is asked for, the last one empty for a folder; None of one that is not served."""
    if not path.startswith("/") or len(path) > _LONGEST:
        return None
    try:
        text = unquote_to_bytes(path.partition("?")[0].partition("#")[0]).decode("utf-8")
    except UnicodeDecodeError:
        return None
    parts = text[1:].split("/")
    if any(not part for part in parts[:-1]) or any(part.startswith(".") for part in parts):
        return None
    return None if any(sign in text for sign in "\0\\") else parts


def open_within(folder: Path, parts: list[str]) -> BinaryIO | None:
    """Open a regular file below a folder, following no link on the way; None when there is none."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        for part in parts[:-1]:
            inner = os.open(part, flags | os.O_DIRECTORY, dir_fd=place)
            os.close(place)
            place = inner
        descriptor = os.open(parts[-1], flags, dir_fd=place)
    except (OSError, ValueError):
        return None
    finally:
        os.close(place)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return os.fdopen(descriptor, "rb")


def _first_page(folder: Path, wanted: str) -> str:
    """Where the pages begin when the folder itself has none: in the first language that is wanted and that there is."""
    if (folder / "index.html").is_file():
        return ""
    with suppress(OSError):
        there = sorted(one.name for one in folder.iterdir() if (one / "index.html").is_file())
        languages = [part.strip()[:2].lower() for part in wanted.split(",")]
        for language in (*languages, "fi", *there):
            if language in there:
                return f"/{language}/index.html"
    return ""
