"""What a server's configuration says of security, ready for use.

Laws: what is configured and cannot be read keeps a server from starting. What can no longer be
read while it runs leaves it as it is: the last good files are used, the log says why, and they
are looked at again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
import structlog

from fanlight.access.files import BadFile, Reloaded
from fanlight.access.hosts import is_loopback
from fanlight.access.keys import Keyring, watch_keys
from fanlight.access.tls import Material, Tls, watch
from fanlight.config import AccessConfig, ConfigError, ListenConfig, TlsConfig
from fanlight.wire.authorizer import Authorizer

# How often files are looked at, which takes some microseconds. New ones are taken at the second
# look that sees them.
LOOK_EVERY_S = 1.0

_log = structlog.get_logger("fanlight.security")


@dataclass(frozen=True, slots=True)
class Security:
    """How a server encrypts and whom it lets in.

    Attributes:
        tls: its certificate; None for plain text.
        needs_client_cert: whether callers must show one.
        keys: its API keys, if it asks for any.
        authorizer: judges calls; None where anybody may call.
    """

    tls: Reloaded[Material] | None = None
    needs_client_cert: bool = False
    keys: Reloaded[Keyring] | None = None
    authorizer: Authorizer | None = None

    @classmethod
    def of(cls, tls: TlsConfig, access: AccessConfig) -> Security:
        """Read the files that a configuration names.

        Raises:
            ConfigError: one cannot be used.
        """
        if access.trusted_names and not tls.require_client_cert:
            raise ConfigError(
                "access.trusted_names: expected tls.require_client_cert: true, since the names "
                "are those of client certificates"
            )
        try:
            keys = watch_keys(access.keys) if access.keys else None
            served = watch(Tls(tls.ca, tls.cert, tls.key)) if tls.cert else None
        except BadFile as error:
            raise ConfigError(error.message) from None
        knows = keys is not None or access.trusted_names
        authorizer = Authorizer(keys, access.trusted_names) if knows else None
        return cls(served, tls.require_client_cert, keys, authorizer)

    def check(self, listen: ListenConfig) -> None:
        """Refuse to be reached by other hosts without encryption or without knowing callers.

        Raises:
            ConfigError: says what is missing, and which key allows it nevertheless.
        """
        if listen.insecure or is_loopback(listen.host):
            return
        missing = []
        if self.tls is None:
            missing.append("encryption (tls.cert, tls.key)")
        if self.authorizer is None and not self.needs_client_cert:
            missing.append("credentials (access.keys, or tls.require_client_cert)")
        if missing:
            raise ConfigError(
                f"listen.host: {listen.host} lets other hosts in without {' or '.join(missing)}; "
                "expected a loopback address, or these, or listen.insecure: true where the "
                "network is trusted"
            )

    def server_credentials(self) -> grpc.ServerCredentials | None:
        """Make credentials that follow the files; None for plain text."""
        if self.tls is None:
            return None
        certificates = _Certificates(self.tls)
        return grpc.dynamic_ssl_server_credentials(
            certificates.current(), certificates.newer, self.needs_client_cert
        )

    async def keep_fresh(self) -> None:
        """Look at the files until cancelled."""
        watched = [source for source in (self.tls, self.keys) if source is not None]
        if watched:
            await keep_fresh(watched)


class _Certificates:
    """What gRPC asks at every handshake, in threads of its own."""

    def __init__(self, source: Reloaded[Material]) -> None:
        self._source = source
        self._given = 0

    def current(self) -> Any:
        self._given, material = self._source.version, self._source.value
        pair = (material.key, material.cert)
        return grpc.ssl_server_certificate_configuration([pair], material.ca or None)

    def newer(self) -> Any:
        """Give the certificate if it is another one than last time, else None."""
        return None if self._source.version == self._given else self.current()


@dataclass(slots=True)
class Freshener:
    """Looks at files, and says once what is wrong with them.

    Attributes:
        watched: what is read from files.
    """

    watched: Iterable[Reloaded[Any]]
    _told: set[str] = field(default_factory=set)

    def look(self) -> None:
        """Read what has changed and can be read. For one thread at a time."""
        wrong = set[str]()
        for source in self.watched:
            try:
                if source.refresh():
                    _log.info("took new files", files=source.names)
            except BadFile as error:
                wrong.add(error.message)
        for message in wrong - self._told:
            _log.error("cannot use new files; the old ones stay in use", why=message)
        self._told = wrong


async def keep_fresh(watched: Iterable[Reloaded[Any]]) -> None:
    """Look at files every second, in a thread: a disk may hang."""
    freshener = Freshener(tuple(watched))
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        await asyncio.to_thread(freshener.look)
