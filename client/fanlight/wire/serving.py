"""One gRPC server of a Fanlight program: options, guard, health and reflection.

Laws: a server listens on loopback unless it is told that the network is trusted. Its health is
NOT_SERVING, and calls are refused, until the program says that it has loaded.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from ipaddress import ip_address

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from fanlight.config import ConfigError, ListenConfig
from fanlight.errors import FanlightError
from fanlight.limits import Limits
from fanlight.ports import owner_of, owner_of_socket
from fanlight.v1 import cluster_pb2, collections_pb2, items_pb2, search_pb2
from fanlight.wire.connections import server_options
from fanlight.wire.guard import Guard

SERVICES: tuple[str, ...] = tuple(
    service.full_name
    for module in (cluster_pb2, collections_pb2, items_pb2, search_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
)


class CannotListen(FanlightError):
    """The address cannot be bound; nothing was started."""


class Shell:
    """A gRPC server without its services: add them to `grpc`, then start it.

    Must be made inside a running event loop and used from it alone.

    Attributes:
        grpc: where the generated `add_XServicer_to_server` functions add servicers.
    """

    def __init__(self, limits: Limits) -> None:
        self._guard = Guard(limits)
        # pyright does not see that the package gives `health` its attribute `aio`.
        self._health = health.aio.HealthServicer()  # pyright: ignore[reportAttributeAccessIssue]
        self.grpc = grpc.aio.server(interceptors=(self._guard,), options=server_options(limits))
        self._serving = False
        self._withdrawn: frozenset[str] = frozenset()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc)
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self.grpc)

    async def start(self, listen: ListenConfig) -> int:
        """Bind and start, not serving yet.

        Returns:
            The port, which differs from `listen.port` when that is 0.

        Raises:
            ConfigError: the host is not loopback and `listen.insecure` is not set.
            CannotListen: the port or the socket is in use, or not this machine's to bind.
        """
        if not listen.insecure and not _is_loopback(listen.host):
            raise ConfigError(
                f"listen.host: {listen.host} lets other hosts in without encryption or "
                "credentials; expected a loopback address, or listen.insecure: true where the "
                "network is trusted"
            )
        await self._tell_health()
        port = self._bind(listen)
        if listen.socket:
            self._bind_socket(listen.socket)
        await self.grpc.start()
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

    async def _tell_health(self) -> None:
        states = health_pb2.HealthCheckResponse
        for name in ("", *SERVICES):
            serving = self._serving and name not in self._withdrawn
            await self._health.set(name, states.SERVING if serving else states.NOT_SERVING)

    def _bind(self, listen: ListenConfig) -> int:
        where = address(listen.host, listen.port)
        reason = _bind_error(listen)
        if reason is None:
            try:
                return self.grpc.add_insecure_port(where)
            except RuntimeError:
                reason = _in_use(listen.port)
        raise CannotListen(f"cannot listen on {where}: {reason}")

    def _bind_socket(self, path: str) -> None:
        """Bind a Unix socket; one that a dead process left behind is replaced.

        gRPC would replace that of a living process as well, whose clients then never find it again.
        """
        if owner := owner_of_socket(path):
            raise CannotListen(f"cannot listen on the socket {path}: in use by {owner}")
        try:
            self.grpc.add_insecure_port(f"unix:{path}")
        except RuntimeError:
            raise CannotListen(f"cannot listen on the socket {path}") from None


def address(host: str, port: int) -> str:
    """Write host and port as one address; IPv6 hosts in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _in_use(port: int) -> str:
    return f"address already in use by {owner_of(port)}"


def _bind_error(listen: ListenConfig) -> str | None:
    """Ask the system why an address cannot be bound, since gRPC does not pass it on."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    try:
        with socket.create_server((listen.host, listen.port), family=family):
            return None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return _in_use(listen.port)
        return (error.strerror or "no such address").partition(" (")[0].lower()
