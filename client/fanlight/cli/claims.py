"""Claims on a data directory and on ports, before anything starts.

Laws: what is in use is refused with the owner's pid. The claim on a directory ends with the
process that made it, however that ends.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from fanlight.errors import InvalidRequest
from fanlight.ports import owner_of


@contextlib.contextmanager
def claimed(directory: Path) -> Iterator[None]:
    """Hold a directory (made if absent) for this process alone.

    Raises:
        InvalidRequest: another process holds it, or it cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "fanlight.lock").open("a+", encoding="ascii")
    except OSError as error:
        got = f"{directory}: {error.strerror}"
        raise InvalidRequest.of_field("data", "a directory to write to", got) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            got = f"{directory}, in use by pid {lock.read().strip()}"
            raise InvalidRequest.of_field("data", "a directory of its own", got) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def check_ports(host: str, ports: Sequence[int]) -> None:
    """Refuse ports that cannot be bound.

    Raises:
        InvalidRequest: names each port that is in use, and its owner.
    """
    taken = [port for port in ports if not _is_free(host, port)]
    if taken:
        got = "; ".join(f"{port}, in use by {owner_of(port)}" for port in taken)
        span = str(ports[0]) if len(ports) == 1 else f"{ports[0]} to {ports[-1]}"
        raise InvalidRequest.of_field("port", f"{span} free on {host}", got)


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        # As gRPC does: connections that a stopped server left behind do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise InvalidRequest.of_field(
                "port", f"a port to bind on {host}", f"{port}: {error.strerror}"
            ) from None
    return True
