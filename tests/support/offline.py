"""Run in a kernel before a notebook: whatever leaves this machine fails."""

import socket

_connect = socket.socket.connect


def _only_here(self: socket.socket, address: object) -> None:
    if isinstance(address, tuple) and str(address[0]) not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"a notebook asks {address[0]}, and must run without a network")
    _connect(self, address)  # type: ignore[arg-type]


socket.socket.connect = _only_here  # type: ignore[method-assign,assignment]
