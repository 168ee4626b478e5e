"""How steps of operations become gRPC calls: one driver for threads, one for an event loop.

Laws: channels are made on first use and belong to the process (and the loop) that made them:
after a fork the child makes its own and never touches its parent's. Every error that leaves
here is Fanlight's own.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from operator import methodcaller
from typing import Any, Generic, NoReturn, TypeAlias, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from fanlight.access.files import BadFile
from fanlight.calls import Call, Operation, Rpc, Search, Step, Window
from fanlight.company import Company
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

    def __iter__(self) -> Iterator[str]:
        """Give them all."""
        return iter(self._all)

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
            method = self.methods[rpc.path] = self.channel.unary_unary(
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


@dataclass(frozen=True, slots=True)
class _Flight:
    """An operation that runs in a window, its first request sent.

    Attributes:
        operation: the operation.
        land: waits for what its first step gives.
        cancel: gives up on it.
    """

    operation: Operation[Any]
    land: Callable[[], Any]
    cancel: Callable[[], object]


def _fail(error: FanlightError) -> NoReturn:
    raise error


class Transport:
    """Drives operations for threads. Thread-safe."""

    def __init__(self, addresses: Addresses, identity: Identity | None = None) -> None:
        self.addresses = addresses
        dial = (identity or Identity()).channel
        self._connections = Connections(addresses, lambda address: dial(address, channel_options()))
        self._pid, self._company = os.getpid(), Company(self._search, ClientBounds())

    def run(self, operation: Operation[T]) -> T:
        """Drive an operation to its end.

        Raises:
            FanlightError: what the operation raises; InvalidRequest after `close`.
        """
        self._connections.check_open()
        result: T = self._finish(operation, lambda: None)
        return result

    def close(self) -> None:
        """Close the channels; calls under way fail."""
        for connection in self._connections.close():
            connection.channel.close()

    def _finish(self, operation: Operation[Any], land: Callable[[], Any]) -> Any:
        """Drive an operation on, once `land` has given what it waits for."""
        try:
            while True:
                try:
                    given = land()
                except FanlightError as error:
                    step = operation.throw(error)
                else:
                    step = operation.send(given)
                land = partial(self._give, step)
        except StopIteration as stop:
            return stop.value
        finally:
            operation.close()

    def _give(self, step: Step) -> Any:
        if isinstance(step, Call):
            return self._call(step)
        if isinstance(step, Search):
            return self._company_of_process().search(step.request, step.timeout_s)
        if isinstance(step, Window):
            return self._run_window(step)
        return time.sleep(step.seconds)

    def _company_of_process(self) -> Company:
        """Give what puts the searches of threads together; a child of a fork has its own."""
        if self._pid != os.getpid():
            self._pid, self._company = os.getpid(), Company(self._search, ClientBounds())
        return self._company

    def _search(self, request: SearchRequest, timeout_s: float) -> Hits:
        step = Search(request, timeout_s)
        return step.hits(self._call(step.call))

    def _call(self, call: Call) -> Message:
        address = self.addresses.current
        with self._connections.translating(address):
            method = self._connections.method(call.rpc, address)
            response: Message = method(call.request, timeout=call.timeout_s)
            return response

    def _run_window(self, window: Window) -> list[Any]:
        waiting, flights, results = iter(window.operations), deque[_Flight](), list[Any]()
        try:
            while True:
                flights.extend(map(self._launch, islice(waiting, window.width - len(flights))))
                if not flights:
                    return results
                results.append(self._finish(flights[0].operation, flights[0].land))
                flights.popleft()
        finally:
            for flight in flights:
                flight.cancel()
                flight.operation.close()

    def _launch(self, operation: Operation[Any]) -> _Flight:
        """Start an operation without waiting for the answer to its first request."""
        step = next(operation)
        if not isinstance(step, (Call, Search)):
            return _Flight(operation, partial(self._give, step), lambda: None)
        call = step.call if isinstance(step, Search) else step
        address = self.addresses.current
        try:
            with self._connections.translating(address):
                method = self._connections.method(call.rpc, address)
                future = method.future(call.request, timeout=call.timeout_s)
        except FanlightError as error:
            return _Flight(operation, partial(_fail, error), lambda: None)

        def land() -> Any:
            with self._connections.translating(address):
                response = future.result()
            return step.hits(response) if isinstance(step, Search) else response

        return _Flight(operation, land, future.cancel)


class AsyncTransport:
    """Drives operations on event loops, each with channels of its own."""

    def __init__(self, addresses: Addresses, identity: Identity | None = None) -> None:
        self.addresses = addresses
        dial = (identity or Identity()).async_channel
        self._connections = Connections(addresses, lambda address: dial(address, channel_options()))

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
