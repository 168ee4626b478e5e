"""A collection's home inside this process: the shard server's servicers, without the server.

Laws: the data directory, its lock and its formats are those of a shard server, so either may open
what the other wrote, one at a time. There is no second implementation: the SDK's operations yield
their calls, and the same servicers that answer gRPC answer them here, on an event loop in a
thread of its own. No port is opened.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import Message

from fanlight.calls import Call, Operation, Search
from fanlight.client import Client
from fanlight.driver import Driver, Flight
from fanlight.errors import DeadlineExceeded, FanlightError, InvalidRequest
from fanlight.limits import Limits
from fanlight.model import Hits
from fanlight.operations import Operations
from fanlight.wire.answers import AnswerRoom
from fanlight.wire.guard import for_caller
from fanlight_server.catalog import Catalog
from fanlight_server.config import ServerConfig
from fanlight_server.executor import SearchExecutor
from fanlight_server.index.settings import IndexConfig, SearchConfig
from fanlight_server.service import (
    ClusterServicer,
    CollectionServicer,
    ItemServicer,
    SearchServicer,
)
from fanlight_server.set_service import SetServicer
from fanlight_server.storage.disk import Disk
from fanlight_server.workers import Workers

T = TypeVar("T")

# Reads and writes wait for the disk, and few threads of one program call at once.
_WORKER_THREADS = 4
_ADDRESS = "in-process"


def open_local(
    path: str | os.PathLike[str],
    *,
    index: IndexConfig = IndexConfig(),
    search: SearchConfig = SearchConfig(),
    limits: Limits = Limits(),
    timeout: float | None = None,
) -> LocalClient:
    """Open a data directory in this process; the client is that of a cluster of one shard.

    Nothing listens, and no process is started: for notebooks, tests and small programs. Use it as
    a context manager, or call `close`; what is open when the program ends is closed then. A
    snapshot moves a collection to a cluster, and back.

    Args:
        path: the directory, made if absent; held by one process at a time.
        index: how indexes are built and kept.
        search: how searches run.
        limits: what is accepted at the most.
        timeout: seconds for each call that says nothing else; None for the SDK's defaults.

    Raises:
        DirectoryInUse: another process, or another client of this one, has it open.
        WrongData: it is a shard of a cluster that has several.
        Corruption: a database is damaged or of another format version.
    """
    operations = Operations(timeout, max_attempts=4)
    config = ServerConfig(data=Path(path), index=index, search=search, limits=limits)
    return LocalClient(operations, LocalTransport(config))


class LocalClient(Client):
    """A `fanlight.Client` whose data is in this process; see `open_local`. Thread-safe."""

    def __init__(self, operations: Operations, transport: LocalTransport) -> None:
        """Do not call; see `open_local`."""
        self._operations = operations
        self._transport = transport


@dataclass(frozen=True, slots=True)
class _Context:
    """As much of a call's context as servicers use.

    Attributes:
        ends: when the call must have ended, in the event loop's time.
        loop: the event loop.
        callbacks: to be called when it has ended.
    """

    ends: float
    loop: asyncio.AbstractEventLoop
    callbacks: list[Callable[[Any], None]] = field(default_factory=list)

    def time_remaining(self) -> float:
        return max(0.0, self.ends - self.loop.time())

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self.callbacks.append(callback)

    def end(self) -> None:
        for callback in self.callbacks:
            callback(self)


class LocalTransport(Driver):
    """Drives operations against servicers in this process. Thread-safe."""

    def __init__(self, config: ServerConfig) -> None:
        """Open the directory; raises as `open_local` does."""
        self._pid = os.getpid()
        self._closed = threading.Event()
        self._path = config.data
        self._catalog = Catalog(
            config.data,
            config.identity,
            config.limits,
            config.index,
            config.search,
            disk=Disk(config.data, config.storage),
        )
        self._workers = Workers(_WORKER_THREADS)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="local", daemon=True)
        self._thread.start()
        self._executor = self._submit(self._make_executor(config)).result()
        self._servicers = self._make_servicers(config)
        _close_at_exit(self)

    async def _make_executor(self, config: ServerConfig) -> SearchExecutor:
        return SearchExecutor(self._catalog.get, config.search.worker_threads, config.limits)

    def _make_servicers(self, config: ServerConfig) -> dict[str, Any]:
        def catalog() -> Catalog:
            return self._catalog

        answers = AnswerRoom(config.limits)
        return {
            "CollectionService": CollectionServicer(catalog, self._workers),
            "ItemService": ItemServicer(catalog, self._workers, answers),
            "SearchService": SearchServicer(self._executor, answers, catalog),
            "SetService": SetServicer(catalog, self._workers),
            "ClusterService": ClusterServicer(catalog, self._workers, lambda: _ADDRESS),
        }

    def __str__(self) -> str:
        """Name the directory."""
        return str(self._path)

    def check_open(self) -> None:
        """Refuse the use of a closed client, and of one that a fork has copied."""
        if self._closed.is_set():
            raise InvalidRequest("the client is closed")
        if self._pid != os.getpid():
            raise InvalidRequest("a local client cannot be used in a child of its process")

    def close(self) -> None:
        """Finish queued writes, and give the directory up; calls under way fail. Idempotent."""
        if self._closed.is_set() or self._pid != os.getpid():
            return
        self._closed.set()
        _open_transports.discard(self)
        self._submit(_end_tasks()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._executor.close()
        self._workers.close()
        self._catalog.close()

    # --- calls ----------------------------------------------------------------------------

    def _call(self, call: Call) -> Message:
        return self._result(self._start(call))

    def _search(self, step: Search) -> Hits:
        return step.hits(self._call(step.call))

    def _open(self, call: Call) -> Generator[Message, None, None]:
        context = _Context(self._loop.time() + call.timeout_s, self._loop)
        stream: AsyncGenerator[Message, None] = self._method(call)(call.request, context)
        return _sent(self._result(self._submit(self._next(call, stream))), call, stream, self)

    async def _next(self, call: Call, stream: AsyncGenerator[Message, None]) -> Message | None:
        return await self._answered(call, anext(stream, None))

    def _launch(self, operation: Operation[Any]) -> Flight:
        step = next(operation)
        if not isinstance(step, (Call, Search)):
            return Flight(operation, partial(self._give, step), lambda: None)
        future = self._start(step.call if isinstance(step, Search) else step)

        def land() -> Any:
            response = self._result(future)
            return step.hits(response) if isinstance(step, Search) else response

        return Flight(operation, land, future.cancel)

    def _start(self, call: Call) -> Future[Message]:
        async def answer() -> Message:
            context = _Context(self._loop.time() + call.timeout_s, self._loop)
            try:
                async with asyncio.timeout(call.timeout_s):
                    return await self._answered(call, self._method(call)(call.request, context))
            finally:
                context.end()

        return self._submit(answer())

    def _method(self, call: Call) -> Callable[..., Any]:
        service, _, method = call.rpc.path.rpartition("/")
        found: Callable[..., Any] = getattr(self._servicers[service.rpartition(".")[2]], method)
        return found

    async def _answered(self, call: Call, answer: Awaitable[T]) -> T:
        """Await an answer; what is no error of Fanlight becomes one, and goes to the log."""
        try:
            return await answer
        except Exception as error:
            raise for_caller(error, call.rpc.path) from error

    def _submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _result(self, future: Future[T]) -> T:
        try:
            return future.result()
        except FanlightError:
            raise
        except TimeoutError:
            raise DeadlineExceeded("no answer came before the deadline") from None
        except CancelledError:
            self.check_open()
            raise


def _sent(
    first: Message | None,
    call: Call,
    stream: AsyncGenerator[Message, None],
    transport: LocalTransport,
) -> Generator[Message, None, None]:
    """Give the messages of a stream, each when it is asked for."""
    message = first
    try:
        while message is not None:
            yield message
            transport.check_open()
            message = transport._result(transport._submit(transport._next(call, stream)))
    finally:
        with suppress(InvalidRequest):  # a closed client has ended its streams
            transport.check_open()
            transport._submit(_ended(stream)).result()


async def _ended(stream: AsyncGenerator[Any, None]) -> None:
    await stream.aclose()


async def _end_tasks() -> None:
    """Cancel what is under way on the running loop, and end its streams."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


# --- the end of the program -------------------------------------------------------------------

_open_transports: set[LocalTransport] = set()
_watching = threading.Lock()


def _close_at_exit(transport: LocalTransport) -> None:
    """Close it when the main thread has ended: threads of stores would keep the process alive.

    `atexit` is too late for that, since it comes after the threads.
    """
    _open_transports.add(transport)
    if _watching.acquire(blocking=False):
        threading.Thread(target=_close_all_at_exit, name="local-exit", daemon=True).start()


def _close_all_at_exit() -> None:
    threading.main_thread().join()
    for transport in list(_open_transports):
        transport.close()
