"""Who listens on a port of this machine, for those who cannot."""

from __future__ import annotations

import contextlib
import socket
import struct
from pathlib import Path

import psutil

# Of a command line: "python -P -m fanlight_router".
_WORDS_SHOWN = 3
# What Linux tells of the process behind a Unix socket: its pid, user and group.
_CREDENTIALS = struct.Struct("3i")
_CONNECT_S = 1.0


def owner_of(port: int) -> str:
    """Name the process that listens on a TCP port, as far as this user may know."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.laddr:
                continue
            if connection.laddr.port == port and connection.pid:
                return named(connection.pid)
    return "a process of another user"


def owner_of_socket(path: str) -> str | None:
    """Name the process that listens on a Unix socket; None when nobody does."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_CONNECT_S)
        try:
            probe.connect(path)
        except TimeoutError:
            return "a process that does not answer"
        except OSError:
            return None
        if not hasattr(socket, "SO_PEERCRED"):
            return "another process"
        told = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return named(_CREDENTIALS.unpack(told)[0])


def named(pid: int) -> str:
    """Name a process by its pid and what it runs."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        first, *others = process.cmdline() or [process.name()]
        return f"pid {pid} ({' '.join([Path(first).name, *others[:_WORDS_SHOWN]])})"
    return f"pid {pid}"
