"""How a router shows itself to its shards, and how that changes while it runs.

Law: new certificates and keys are taken while searches and writes go on, and none of them fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

import structlog

from fanlight.access.files import BadFile, Reloaded
from fanlight.access.secret import watch_secret
from fanlight.access.tls import Tls
from fanlight.config import ConfigError
from fanlight.errors import InvalidRequest
from fanlight.wire.dialing import Identity
from fanlight.wire.security import LOOK_EVERY_S, keep_fresh
from fanlight_router.config import RouterConfig

# A shard that is up answers within milliseconds; the old connection is in use meanwhile.
_ANSWERS_S = 5.0

_log = structlog.get_logger("fanlight.router")


class RenewedShard(Protocol):
    """What is asked of a shard; see `fanlight_router.remote.RemoteShard`."""

    async def renew(self, timeout_s: float) -> None:
        """Go on with new certificates and a new key, if there are any."""
        ...


class Credentials:
    """What a router shows to its shards. For one event loop.

    Attributes:
        identity: to connect with.
    """

    def __init__(self, config: RouterConfig) -> None:
        """Read the files that the configuration names.

        Raises:
            ConfigError: one cannot be used, or the key would go to other hosts in plain text.
        """
        try:
            secret = watch_secret(config.shards_key) if config.shards_key else None
            tls = None if config.shards_tls == Tls() else config.shards_tls
            self.identity = Identity.of(tls, None if secret is None else lambda: secret.value)
        except BadFile as error:
            raise ConfigError(error.message) from None
        for target in config.targets:
            self._check(target, config.listen.insecure)
        found = (self.identity.tls, secret)
        self._watched: list[Reloaded[Any]] = [source for source in found if source is not None]
        self._tasks: list[asyncio.Task[None]] = []

    def _check(self, target: str, insecure: bool) -> None:
        try:
            self.identity.check(target, insecure=insecure)
        except InvalidRequest:
            raise ConfigError(
                "shards_key: the key would go to other hosts in plain text; expected shards_tls, "
                "or listen.insecure: true where the network is trusted"
            ) from None

    def for_target(self, target: str) -> Identity:
        """Give what to connect to a target with: nobody can read along on a Unix socket."""
        return self.identity.in_plain_text if target.startswith("unix:") else self.identity

    def start(self, shards: Sequence[RenewedShard]) -> None:
        """Look at the files from now on, and renew the connections when they change."""
        if self._watched:
            self._tasks = [asyncio.create_task(_keep_renewed(shard)) for shard in shards]
            self._tasks.append(asyncio.create_task(keep_fresh(self._watched)))

    async def close(self) -> None:
        """Stop looking."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _keep_renewed(shard: RenewedShard) -> None:
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        try:
            await shard.renew(_ANSWERS_S)
        except Exception:
            # A bug must not end this: the old certificate would be used until it expires.
            _log.exception("cannot renew")
