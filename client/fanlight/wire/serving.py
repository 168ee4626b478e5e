"""One gRPC server of a Fanlight program: options, guard, health and reflection.

Laws: a server listens on loopback unless it encrypts and knows its callers, or is told that the
network is trusted. An RPC of the contract without a row in the policy keeps it from starting. Its
health is NOT_SERVING, and calls are refused, until the program says that it has loaded.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pkgutil import iter_modules

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

import fanlight.v1
from fanlight.access.policy import check_complete
from fanlight.config import ListenConfig
from fanlight.errors import FanlightError
from fanlight.limits import Limits
from fanlight.ports import owner_of, owner_of_socket
from fanlight.wire.connections import server_options
from fanlight.wire.guard import Guard
from fanlight.wire.security import Security

# Every service of the contract, so that none is forgotten.
_DESCRIPTORS = tuple(
    service
    for module in iter_modules(fanlight.v1.__path__, "fanlight.v1.")
    if module.name.endswith("_pb2")
    for service in import_module(module.name).DESCRIPTOR.services_by_name.values()
)
SERVICES: tuple[str, ...] = tuple(service.full_name for service in _DESCRIPTORS)
METHODS: tuple[str, ...] = tuple(
    f"/{service.full_name}/{method.name}" for service in _DESCRIPTORS for method in service.methods
)
# Of a socket: nobody but this user.
_OTHERS = 0o177


class CannotListen(FanlightError):
    """The address cannot be bound; nothing was started."""


class Shell:
    """A gRPC server without its services: add them to `grpc`, then start it.

    Must be made inside a running event loop and used from it alone.

    Attributes:
        grpc: where the generated `add_XServicer_to_server` functions add servicers.
    """

    def __init__(self, limits: Limits, security: Security | None = None) -> None:
        """Take what it enforces; without security it is for loopback, or a trusted network.

        Raises:
            IncompletePolicy: nothing says who may call one of the RPCs.
        """
        check_complete(METHODS)
        self._limits = limits
        self._security = security or Security()
        self._limits = limits
        self._guard = Guard(limits, self._security.authorizer)
        self._refresher: asyncio.Task[None] | None = None
        self._probed: grpc.aio.Server | None = None
        # pyright does not see that the package gives `health` its attribute `aio`.
        self._health = health.aio.HealthServicer()  # pyright: ignore[reportAttributeAccessIssue]
        self.grpc = grpc.aio.server(interceptors=(self._guard,), options=server_options(limits))
        self._serving = False
        self._withdrawn: frozenset[str] = frozenset()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc)

    async def start(self, listen: ListenConfig) -> int:
        """Bind and start, not serving yet.

        Returns:
            The port, which differs from `listen.port` when that is 0.

        Raises:
            ConfigError: other hosts could call without encryption or credentials.
            CannotListen: the port or the socket is in use, or not this machine's to bind.
        """
        self._security.check(listen)
        if listen.reflection:
            names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self.grpc)
        await self._tell_health()
        port = self._bind(listen)
        if listen.socket:
            self._bind_socket(listen.socket)
        if listen.health_port is not None:
            await self._serve_health(listen.host, listen.health_port)
        await self.grpc.start()
        self._refresher = asyncio.create_task(self._security.keep_fresh())
        return port

    async def set_serving(self, serving: bool) -> None:
        """Admit calls, or refuse them with NotReady; the health service says the same."""
        self._guard.admit(None if serving else "the server is not serving")
        self._serving = serving
        await self._tell_health()

    async def withdraw(self, services: Iterable[str]) -> None:
        """Have the health service say NOT_SERVING of these services from now on.

        Of the server as a whole it says what it said before, and calls are admitted as before: a
        service that is withdrawn refuses by itself what it cannot do.
        """
        self._withdrawn |= frozenset(services)
        await self._tell_health()

    @property
    def calls_under_way(self) -> int:
        """How many calls of our services, streams included, are being answered."""
        return self._guard.calls_under_way

    @property
    def is_draining(self) -> bool:
        """Whether `drain` has begun."""
        return self._guard.is_draining

    async def drain(self, grace_s: float) -> None:
        """Refuse new calls, give those under way `grace_s` seconds to finish, and stop."""
        await self._health.enter_graceful_shutdown()
        self._guard.drain()
        await self.grpc.stop(grace_s)
        if self._probed is not None:
            await self._probed.stop(0)
        if self._refresher is not None:
            self._refresher.cancel()
            with suppress(asyncio.CancelledError):
                await self._refresher

    async def _tell_health(self) -> None:
        states = health_pb2.HealthCheckResponse
        for name in ("", *SERVICES):
            serving = self._serving and name not in self._withdrawn
            await self._health.set(name, states.SERVING if serving else states.NOT_SERVING)

    async def _serve_health(self, host: str, port: int) -> None:
        """Answer probes in plain text, and nothing else: no other service is there."""
        self._probed = grpc.aio.server(options=server_options(self._limits))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._probed)
        _bind(self._probed, host, port, None)
        await self._probed.start()

    def _bind(self, listen: ListenConfig) -> int:
        credentials = self._security.server_credentials()
        return _bind(self.grpc, listen.host, listen.port, credentials)

    def _bind_socket(self, path: str) -> None:
        """Bind a Unix socket for this user; one that a dead process left behind is replaced.

        gRPC would replace that of a living process as well, whose clients then never find it again.
        """
        if owner := owner_of_socket(path):
            raise CannotListen(f"cannot listen on the socket {path}: in use by {owner}")
        try:
            with _closed_to_others():
                self.grpc.add_insecure_port(f"unix:{path}")
        except RuntimeError:
            raise CannotListen(f"cannot listen on the socket {path}") from None


def _bind(
    server: grpc.aio.Server, host: str, port: int, credentials: grpc.ServerCredentials | None
) -> int:
    where = address(host, port)
    reason = _bind_error(host, port)
    if reason is None:
        try:
            if credentials is None:
                return server.add_insecure_port(where)
            return server.add_secure_port(where, credentials)
        except RuntimeError:
            reason = _in_use(port)
    raise CannotListen(f"cannot listen on {where}: {reason}")


@contextmanager
def _closed_to_others() -> Iterator[None]:
    """Make files that nobody else can open. For the start, when no other thread makes any."""
    before = os.umask(_OTHERS)
    try:
        yield
    finally:
        os.umask(before)


def address(host: str, port: int) -> str:
    """Write host and port as one address; IPv6 hosts in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _in_use(port: int) -> str:
    return f"address already in use by {owner_of(port)}"


def _bind_error(host: str, port: int) -> str | None:
    """Ask the system why an address cannot be bound, since gRPC does not pass it on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family):
            return None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return _in_use(port)
        return (error.strerror or "no such address").partition(" (")[0].lower()
