"""How steps of operations become gRPC calls: one driver for threads, one for an event loop.

Laws: channels are made on first use and belong to the process (and the loop) that made them:
after a fork the child makes its own and never touches its parent's. Every error that leaves
here is Fanlight's own.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from contextlib import aclosing, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from operator import methodcaller
from typing import Any, Generic, NoReturn, TypeAlias, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from fanlight.access.files import BadFile
from fanlight.calls import Call, Open, Operation, Rpc, Search, Step, Window
from fanlight.company import Company
from fanlight.driver import Driver, Flight
from fanlight.errors import (
    DeadlineExceeded,
    FanlightError,
    InvalidRequest,
    NotReady,
    Overloaded,
    PartialResult,
)
from fanlight.model import Hits, SearchRequest
from fanlight.searches import StreamBroke, StreamedSearches
from fanlight.stacking import STACK_QUERIES, ClientBounds, size_of
from fanlight.wire.channels import channel_options
from fanlight.wire.dialing import Identity, Seat
from fanlight.wire.status import from_rpc_error

T = TypeVar("T")
ChannelT = TypeVar("ChannelT", grpc.Channel, grpc.aio.Channel)
Loop: TypeAlias = asyncio.AbstractEventLoop | None

# What a child has inherited by fork. Closing or even collecting such a channel would speak on
# its parent's connections, so they are kept for as long as the process lives.
_inherited: list[object] = []


class Addresses:
    """The routers that a client may call; one of them is current.

    Clients start at a random one, so that they spread; a client stays with one that answers.
    Safe for threads: a race only picks another router.
    """

    def __init__(self, addresses: str | Sequence[str]) -> None:
        """Take "host:port", or several.

        Raises:
            InvalidRequest: none, or one that is no "host:port".
        """
        self._all = (addresses,) if isinstance(addresses, str) else tuple(addresses)
        for address in self._all or ("",):
            if ":" not in str(address):
                raise InvalidRequest.of_field("addresses", '"host:port"', repr(address))
        self._at = random.randrange(len(self._all))

    @property
    def current(self) -> str:
        """Tell the router to call now."""
        return self._all[self._at]

    @property
    def every(self) -> tuple[str, ...]:
        """List them all."""
        return self._all

    def leave(self, address: str) -> None:
        """Make the next router current, unless somebody has already left this one."""
        if address == self.current:
            self._at = (self._at + 1) % len(self._all)

    def __str__(self) -> str:
        """Name them all."""
        return ", ".join(self._all)


@dataclass(slots=True)
class _Connection(Generic[ChannelT]):
    """A channel, and what has been made to send each kind of request on it, by path.

    Attributes:
        searches: the stream of searches on it, once there is one.
    """

    channel: ChannelT
    methods: dict[str, Any] = field(default_factory=dict)
    searches: StreamedSearches | None = None

    def method(self, rpc: Rpc[Any]) -> Any:
        method = self.methods.get(rpc.path)
        if method is None:
            kind = self.channel.unary_stream if rpc.streams else self.channel.unary_unary
            method = self.methods[rpc.path] = kind(
                rpc.path,
                request_serializer=methodcaller("SerializeToString"),
                response_deserializer=rpc.response.FromString,
            )
        return method


class Connections(Generic[ChannelT]):
    """The connections of one client, by event loop (None for threads) and address."""

    def __init__(self, addresses: Addresses, make: Callable[[str], ChannelT]) -> None:
        self.addresses = addresses
        self._make: Callable[[str], ChannelT] = make
        self._pid = os.getpid()
        self._made: dict[tuple[Loop, str], _Connection[ChannelT]] = {}
        self._closed = False

    def method(self, rpc: Rpc[Any], address: str, loop: Loop = None) -> Any:
        """Give what sends a request of `rpc` to `address`."""
        return self.to(address, loop).method(rpc)

    def to(self, address: str, loop: Loop = None) -> _Connection[ChannelT]:
        """Give the connection to `address`."""
        self.check_open()
        self._disown_inherited()
        return self._made.get((loop, address)) or self._connect(address, loop)

    def _connect(self, address: str, loop: Loop) -> _Connection[ChannelT]:
        for key in list(self._made):
            if key[0] is not None and key[0].is_closed():
                del self._made[key]
        # No lock, which a fork could catch held: a channel connects when it is first used, so
        # one that loses a race of threads costs nothing.
        return self._made.setdefault((loop, address), _Connection(self._make(address)))

    def _disown_inherited(self) -> None:
        if self._pid != os.getpid():
            _inherited.append(self._made)
            self._made, self._pid = {}, os.getpid()

    def close(self, loop: Loop = None) -> list[_Connection[ChannelT]]:
        """Refuse all further calls, and hand over the connections to be closed."""
        self._closed = True
        self._disown_inherited()
        own = [self._made.pop(key, None) for key in list(self._made) if key[0] is loop]
        return [connection for connection in own if connection is not None]

    def check_open(self) -> None:
        """Refuse the use of a closed client."""
        if self._closed:
            raise InvalidRequest("the client is closed")

    @contextmanager
    def translating(self, address: str, loop: Loop = None) -> Iterator[None]:
        """Turn the errors of a call into Fanlight's, and turn away from a router of no use."""
        try:
            yield
        except grpc.RpcError as error:
            failure = from_rpc_error(error)
            self.note(failure, address, loop)
            raise failure from error
        except (ValueError, grpc.FutureCancelledError, grpc.aio.UsageError):
            # What gRPC raises when the channel is closed under a call.
            self.check_open()
            raise

    def note(self, failure: FanlightError, address: str, loop: Loop = None) -> None:
        """Turn away from a router of no use; a failure after `close` is the user's."""
        self.check_open()
        if _is_of_no_use(failure):
            self.addresses.leave(address)
        if isinstance(failure, NotReady):
            self._renew(address, loop)

    def _renew(self, address: str, loop: Loop) -> None:
        """Take new certificates, if there are any: the old ones may be why nobody answers."""
        connection = self._made.get((loop, address))
        if connection is not None and isinstance(connection.channel, Seat):
            with suppress(BadFile):  # the failure tells more than a file that is half written
                connection.channel.renew()


def _is_of_no_use(failure: FanlightError) -> bool:
    """Tell whether another router may do better; a partial result is a shard's fault."""
    if isinstance(failure, PartialResult):
        return False
    return isinstance(failure, (NotReady, Overloaded, DeadlineExceeded))


def _fail(error: FanlightError) -> NoReturn:
    raise error


class Transport(Driver):
    """Drives operations for threads, over gRPC. Thread-safe."""

    def __init__(self, addresses: Addresses, identity: Identity | None = None) -> None:
        self.addresses = addresses
        dial = (identity or Identity()).channel
        self._connections = Connections(addresses, lambda address: dial(address, channel_options()))
        self._pid, self._company = os.getpid(), Company(self._ask, ClientBounds())

    def check_open(self) -> None:
        """Refuse the use of a closed client."""
        self._connections.check_open()

    def close(self) -> None:
        """Close the channels; calls under way fail."""
        for connection in self._connections.close():
            connection.channel.close()

    def __str__(self) -> str:
        """Name the routers."""
        return str(self.addresses)

    def _search(self, step: Search) -> Hits:
        return self._company_of_process().search(step.request, step.timeout_s)

    def _company_of_process(self) -> Company:
        """Give what puts the searches of threads together; a child of a fork has its own."""
        if self._pid != os.getpid():
            self._pid, self._company = os.getpid(), Company(self._ask, ClientBounds())
        return self._company

    def _ask(self, request: SearchRequest, timeout_s: float) -> Hits:
        step = Search(request, timeout_s)
        return step.hits(self._call(step.call))

    def _call(self, call: Call) -> Message:
        address = self.addresses.current
        with self._connections.translating(address):
            method = self._connections.method(call.rpc, address)
            response: Message = method(call.request, timeout=call.timeout_s)
            return response

    def _open(self, call: Call) -> Generator[Message, None, None]:
        address = self.addresses.current
        stream = self._stream(call, address)
        return _chained(next(stream, None), stream)

    def _stream(self, call: Call, address: str) -> Generator[Message, None, None]:
        with self._connections.translating(address):
            method = self._connections.method(call.rpc, address)
            messages = method(call.request, timeout=call.timeout_s)
            try:
                yield from messages
            finally:
                messages.cancel()

    def _launch(self, operation: Operation[Any]) -> Flight:
        step = next(operation)
        if not isinstance(step, (Call, Search)):
            return Flight(operation, partial(self._give, step), lambda: None)
        call = step.call if isinstance(step, Search) else step
        address = self.addresses.current
        try:
            with self._connections.translating(address):
                method = self._connections.method(call.rpc, address)
                future = method.future(call.request, timeout=call.timeout_s)
        except FanlightError as error:
            return Flight(operation, partial(_fail, error), lambda: None)

        def land() -> Any:
            with self._connections.translating(address):
                response = future.result()
            return step.hits(response) if isinstance(step, Search) else response

        return Flight(operation, land, future.cancel)


class AsyncTransport:
    """Drives operations on event loops, each with channels of its own."""

    def __init__(self, addresses: Addresses, identity: Identity | None = None) -> None:
        self.addresses = addresses
        self._identity = identity or Identity()
        dial = self._identity.async_channel
        self._connections = Connections(addresses, lambda address: dial(address, channel_options()))

    def for_threads(self) -> Transport:
        """Make a transport for threads to the same routers; whoever asks closes it."""
        return Transport(Addresses(self.addresses.every), self._identity)

    async def run(self, operation: Operation[T]) -> T:
        """Drive an operation to its end; see `Transport.run`."""
        self._connections.check_open()
        try:
            step = next(operation)
            while True:
                try:
                    given = await self._give(step)
                except FanlightError as error:
                    step = operation.throw(error)
                else:
                    step = operation.send(given)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            operation.close()

    async def close(self) -> None:
        """Close the channels of the running loop; calls under way fail."""
        for connection in self._connections.close(asyncio.get_running_loop()):
            if connection.searches is not None:
                await connection.searches.close()
            await connection.channel.close()

    async def _give(self, step: Step) -> Any:
        if isinstance(step, Search):
            return await self._search(step)
        if isinstance(step, Call):
            return await self._call(step)
        if isinstance(step, Open):
            return await self._open(step.call)
        if isinstance(step, Window):
            return await self._run_window(step)
        return await asyncio.sleep(step.seconds)

    async def _search(self, step: Search) -> Hits:
        """Send a small search on the stream, where it meets others; a large one by itself."""
        if size_of(step.request) >= STACK_QUERIES // 2:
            return step.hits(await self._call(step.call))
        address, loop = self.addresses.current, asyncio.get_running_loop()
        connection = self._connections.to(address, loop)
        if connection.searches is None:
            connection.searches = StreamedSearches(connection.channel)
        try:
            return await connection.searches.search(step.request, step.timeout_s)
        except StreamBroke:
            return step.hits(await self._call(step.call))
        except FanlightError as failure:
            self._connections.note(failure, address, loop)
            raise

    async def _call(self, call: Call) -> Message:
        address, loop = self.addresses.current, asyncio.get_running_loop()
        with self._connections.translating(address, loop):
            method = self._connections.method(call.rpc, address, loop)
            try:
                response: Message = await method(call.request, timeout=call.timeout_s)
            except asyncio.CancelledError:
                # Closing a channel cancels its calls; that is not this task's cancellation.
                task = asyncio.current_task()
                if task is not None and not task.cancelling():
                    self._connections.check_open()
                raise
            return response

    async def _open(self, call: Call) -> AsyncGenerator[Message, None]:
        stream = self._stream(call, self.addresses.current)
        return _chained_async(await anext(stream, None), stream)

    async def _stream(self, call: Call, address: str) -> AsyncGenerator[Message, None]:
        loop = asyncio.get_running_loop()
        with self._connections.translating(address):
            method = self._connections.method(call.rpc, address, loop)
            messages = method(call.request, timeout=call.timeout_s)
            try:
                async for message in messages:
                    yield message
            finally:
                messages.cancel()

    async def _run_window(self, window: Window) -> list[Any]:
        waiting, tasks, results = iter(window.operations), deque[asyncio.Task[Any]](), list[Any]()
        try:
            while True:
                for operation in islice(waiting, window.width - len(tasks)):
                    tasks.append(asyncio.create_task(self.run(operation)))
                if not tasks:
                    return results
                results.append(await tasks[0])
                tasks.popleft()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _chained(
    first: Message | None, rest: Generator[Message, None, None]
) -> Generator[Message, None, None]:
    with closing(rest):
        if first is not None:
            yield first
        yield from rest


async def _chained_async(
    first: Message | None, rest: AsyncGenerator[Message, None]
) -> AsyncGenerator[Message, None]:
    async with aclosing(rest):
        if first is not None:
            yield first
        async for message in rest:
            yield message
