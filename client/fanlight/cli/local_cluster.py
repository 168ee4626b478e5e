"""A cluster of real processes on this machine: N shard servers and a router.

Laws: nothing starts unless the data directory and all ports are free. It is started only when
every process is healthy, and stops in order: the router first, so that its calls under way
still find their shards, then the shards together.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace
from types import TracebackType
from typing import Any

from fanlight.cli.claims import check_ports, claimed
from fanlight.cli.local_config import LocalConfig, merged
from fanlight.cli.process import Process, Program
from fanlight.config import SOCKET_BYTES
from fanlight.placement import shard_name

ROUTER = "router"
_HOST = "127.0.0.1"
# A shard that rebuilds a damaged graph of some 100,000 items takes about a minute.
_START_S = 120.0
# Over the programs' own drain of 10 s, with room to write and close.
_STOP_S = 20.0
# How often running processes are looked at.
_LOOK_EVERY_S = 0.2


class LocalCluster:
    """N shard servers and a router on loopback; a context manager. Not thread-safe.

    Attributes:
        config: its configuration.
    """

    def __init__(self, config: LocalConfig) -> None:
        self.config = config
        self._folder = config.cluster.data.absolute()
        self._processes: dict[str, Process] = {}
        self._reported: set[int] = set()
        self._claims = contextlib.ExitStack()

    @property
    def address(self) -> str:
        """Tell the address to connect to: the router's."""
        return self._processes[ROUTER].address

    @property
    def processes(self) -> list[Process]:
        """List the processes: the shards by index, then the router."""
        return list(self._processes.values())

    def process(self, name: str) -> Process:
        """Give the process of a name, "shard-<index>" or "router"."""
        return self._processes[name]

    def __enter__(self) -> LocalCluster:
        """Start all processes and wait until each is healthy.

        Raises:
            InvalidRequest: the data directory or a port is in use; nothing was started.
            NotReady: a process ended or was not ready in time; all are stopped.
        """
        self._claims.enter_context(claimed(self._folder))
        try:
            self._start()
        except BaseException:
            self.kill_all()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop all processes in order."""
        self.stop()

    def _start(self) -> None:
        shape = self.config.cluster
        if shape.port:
            check_ports(_HOST, range(shape.port, shape.port + shape.shards + 1))
        deadline = time.monotonic() + _START_S
        shards = [self._launch(self._shard(index)) for index in range(shape.shards)]
        for shard in shards:
            shard.await_address(deadline)
        router = self._launch(self._router(shards))
        router.await_address(deadline)
        for process in self.processes:
            process.await_serving(deadline)

    def _launch(self, program: Program) -> Process:
        process = self._processes[program.name] = Process(program)
        return process

    def _shard(self, index: int) -> Program:
        shape, name = self.config.cluster, shard_name(index)
        data = self._folder / name
        keys: dict[str, Any] = {
            "cluster": shape.name,
            "shard": {"index": index, "count": shape.shards},
            "listen": self._listen(name, shape.port and shape.port + 1 + index),
            "data": str(data),
        }
        every = merged(self.config.server, keys)
        return Program(name, "fanlight_server", self._folder, every, data)

    def _router_listen(self) -> dict[str, Any]:
        """Give a router that encrypts a socket as well, where the launcher asks for its health."""
        port = self.config.cluster.port
        if "tls" in self.config.router:
            return self._listen(ROUTER, port)
        return {"host": _HOST, "port": port}

    def _listen(self, name: str, port: int) -> dict[str, Any]:
        socket = self._socket(name)
        return {"host": _HOST, "port": port} | ({"socket": socket} if socket else {})

    def _socket(self, name: str) -> str:
        """Name the socket of a process, for those of this user; "" where its path is too long."""
        path = str(self._folder / "run" / f"{name}.sock")
        return path if len(os.fsencode(path)) <= SOCKET_BYTES else ""

    def _router(self, shards: list[Process]) -> Program:
        shape = self.config.cluster
        sockets = [self._socket(shard.name) for shard in shards]
        keys = {
            "cluster": shape.name,
            "listen": self._router_listen(),
            "shards": [shard.address for shard in shards],
            "sockets": sockets if all(sockets) else [],
        }
        return Program(ROUTER, "fanlight_router", self._folder, merged(self.config.router, keys))

    def kill(self, name: str) -> None:
        """End a process at once, as a crash does, and wait for that."""
        self._processes[name].kill()
        self._processes[name].await_end()

    def restart(self, name: str) -> None:
        """Start a process that has ended again, on the same port, and wait until it is healthy.

        Raises:
            NotReady: it ended or was not ready in time.
        """
        ended = self._processes[name]
        assert ended.exit_status is not None, f"{name} still runs"
        port = int(ended.address.rpartition(":")[2])
        keys = merged(ended.program.keys, {"listen": {"port": port}})
        started = self._launch(replace(ended.program, keys=keys))
        deadline = time.monotonic() + _START_S
        started.await_address(deadline)
        started.await_serving(deadline)

    def wait_for_end(self) -> Process:
        """Wait until some process ends; each is given once."""
        while True:
            for process in self.processes:
                if process.exit_status is not None and process.pid not in self._reported:
                    self._reported.add(process.pid)
                    return process
            time.sleep(_LOOK_EVERY_S)

    def stop(self) -> None:
        """Stop the router, then the shards together; kill those that take too long.

        An interrupt meanwhile kills all of them.
        """
        shards = [process for process in self.processes if process.name != ROUTER]
        routers = [process for process in self.processes if process.name == ROUTER]
        try:
            _stop(routers)
            _stop(shards)
        except BaseException:
            self.kill_all()
            raise
        self._claims.close()

    def kill_all(self) -> None:
        """End all processes at once."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.await_end()
        self._claims.close()


def _stop(processes: list[Process]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.await_end(_STOP_S)
