"""Channels that encrypt and show who calls.

gRPC for Python has credentials of channels for good: a channel that has been made goes on with
the certificates it was made with. So a channel of ours is a seat for channels of gRPC's: when the
files have changed, a new one takes the seat, and calls under way end on the old one. Without TLS
and without a key there is nothing to change, and gRPC's own channel is used.

Law: a key never leaves in plain text for another host, unless the user says that he wants that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, cast

import grpc
import grpc.aio

from fanlight.access.files import Reloaded
from fanlight.access.hosts import is_loopback
from fanlight.access.tls import Material, Tls, watch
from fanlight.errors import InvalidRequest
from fanlight.wire.channels import Options

_NAME_OPTION = "grpc.ssl_target_name_override"


@dataclass(slots=True)
class Identity:
    """How one side of a hop encrypts, and which key it shows.

    Attributes:
        tls: its files; None for plain text.
        server_name: name that the other side's certificate must hold; "" for its host's.
        key: its API key; None for none.
    """

    tls: Reloaded[Material] | None = None
    server_name: str = ""
    key: Callable[[], str] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, tls: Tls | None, key: Callable[[], str] | None = None) -> Identity:
        """Read the files.

        Raises:
            BadFile: one cannot be used.
        """
        return cls(None if tls is None else watch(tls), "" if tls is None else tls.server_name, key)

    @property
    def is_nobody(self) -> bool:
        """Tell whether there is neither TLS nor a key."""
        return self.tls is None and self.key is None

    @property
    def in_plain_text(self) -> Identity:
        """Give the same without TLS, for a Unix socket."""
        return Identity(key=self.key)

    @property
    def version(self) -> tuple[int, str]:
        """Tell one state of the files from others."""
        return (self.tls.version if self.tls else 0, self.key() if self.key else "")

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Give the header that shows the key."""
        return (("authorization", f"Bearer {self.key()}"),) if self.key else ()

    def check(self, target: str, *, insecure: bool) -> None:
        """Refuse to send a key in plain text to another host.

        Raises:
            InvalidRequest: it would be; names what to give.
        """
        host = target.rpartition(":")[0].strip("[]")
        stays = target.startswith("unix:") or is_loopback(host)
        if self.key is None or self.tls is not None or insecure or stays:
            return
        raise InvalidRequest(
            "an API key would go to another host in plain text; expected tls=, "
            "or insecure=True where the network is trusted"
        )

    def channel(self, target: str, options: Options) -> grpc.Channel:
        """Make a channel for threads."""
        make = self._maker(target, options, grpc.insecure_channel, grpc.secure_channel)
        return make() if self.is_nobody else cast(grpc.Channel, Seat(self, make))

    def async_channel(self, target: str, options: Options) -> grpc.aio.Channel:
        """Make a channel for the running event loop."""
        make = self._maker(target, options, grpc.aio.insecure_channel, grpc.aio.secure_channel)
        return make() if self.is_nobody else cast(grpc.aio.Channel, AsyncSeat(self, make))

    def _maker(
        self, target: str, options: Options, insecure: Any, secure: Any
    ) -> Callable[[], Any]:
        def make() -> Any:
            if self.tls is None:
                return insecure(target, options=options)
            name = [(_NAME_OPTION, self.server_name)] if self.server_name else []
            return secure(target, _credentials(self.tls.value), options=[*options, *name])

        return make


def _credentials(material: Material) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        material.ca or None, material.key or None, material.cert or None
    )


class Seat:
    """A channel as generated stubs and the SDK use one.

    Attributes:
        taken_by: the channel of gRPC's that calls are sent on now.
    """

    def __init__(self, identity: Identity, make: Callable[[], Any]) -> None:
        self._identity = identity
        self._make = make
        self._version = identity.version
        self.taken_by = make()
        self._left: list[Any] = []

    @property
    def is_outdated(self) -> bool:
        """Tell whether its files have changed since its channel was made."""
        return self._version != self._identity.version

    def successor(self) -> Self:
        """Make a seat of the same kind whose channel uses the files as they are now."""
        return type(self)(self._identity, self._make)

    def give_way(self, successor: Seat) -> Any:
        """Send on the channel of a successor from now on; give the channel that left."""
        left, self.taken_by = self.taken_by, successor.taken_by
        self._version = successor._version
        return left

    def renew(self) -> bool:
        """Make a new channel if the files have changed; the old one is kept until the end.

        It is for a channel that failed: others may still be waiting on it.

        Raises:
            BadFile: the files cannot be used; nothing has changed.
        """
        if self._identity.tls is not None:
            self._identity.tls.refresh(settled=False)
        if not self.is_outdated:
            return False
        self._left.append(self.give_way(self.successor()))
        return True

    def unary_unary(self, *args: Any, **options: Any) -> _Callable:
        """As `grpc.Channel.unary_unary`."""
        return _Callable(self, "unary_unary", args, options)

    def unary_stream(self, *args: Any, **options: Any) -> _Callable:
        """As `grpc.Channel.unary_stream`."""
        return _Callable(self, "unary_stream", args, options)

    def stream_unary(self, *args: Any, **options: Any) -> _Callable:
        """As `grpc.Channel.stream_unary`."""
        return _Callable(self, "stream_unary", args, options)

    def stream_stream(self, *args: Any, **options: Any) -> _Callable:
        """As `grpc.Channel.stream_stream`."""
        return _Callable(self, "stream_stream", args, options)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Give the header that shows the key."""
        return self._identity.metadata()

    def close(self) -> Any:
        """Close all channels; calls under way fail."""
        for channel in (*self._left, self.taken_by):
            channel.close()


class AsyncSeat(Seat):
    """The same over channels of an event loop."""

    async def close(self, grace: float | None = None) -> None:
        """Close all channels; calls under way have `grace` seconds."""
        for channel in (*self._left, self.taken_by):
            await channel.close(grace)


class _Callable:
    """One method on whatever channel has the seat when it is called."""

    def __init__(self, seat: Seat, kind: str, args: Sequence[Any], options: dict[str, Any]) -> None:
        self._seat = seat
        self._make: Callable[[Any], Any] = lambda channel: getattr(channel, kind)(*args, **options)
        self._made: tuple[Any, Any] = (None, None)

    def _current(self) -> Any:
        channel, method = self._made
        if channel is not self._seat.taken_by:
            channel = self._seat.taken_by
            method = self._make(channel)
            self._made = (channel, method)
        return method

    def _metadata(self, given: Any) -> Any:
        return (*self._seat.metadata(), *(given or ())) or None

    def __call__(self, *args: Any, metadata: Any = None, **options: Any) -> Any:
        return self._current()(*args, metadata=self._metadata(metadata), **options)

    def future(self, *args: Any, metadata: Any = None, **options: Any) -> Any:
        """As that of `grpc.UnaryUnaryMultiCallable`."""
        return self._current().future(*args, metadata=self._metadata(metadata), **options)
