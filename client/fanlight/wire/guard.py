"""The one interceptor: what happens around every call of a Fanlight service.

Laws: a call is authorized, admitted, decoded, answered and translated here, so servicers only
decode columns, call and encode. A malformed message is INVALID_ARGUMENT. What is not a
FanlightError is a bug: it is logged once under an id, and the caller learns the id alone. Of
other services, health passes untouched, and so does reflection where anybody may call.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractContextManager,
    aclosing,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import grpc
import structlog
from google.protobuf.message import DecodeError

from fanlight.admission import RETRY_MIN_S, Room
from fanlight.errors import (
    DeadlineExceeded,
    FanlightError,
    InternalError,
    InvalidRequest,
    NotReady,
    Overloaded,
)
from fanlight.limits import Limits
from fanlight.wire.authorizer import Authorizer
from fanlight.wire.status import ERROR_KEY, shortened, status_of, to_error

OUR_SERVICES = "/fanlight."
# With it gRPC clients in any language wait as long before their own retries (gRFC A6).
_PUSHBACK_KEY = "grpc-retry-pushback-ms"

_LOADING = "the server is loading"
_DRAINING = "the server is draining"

# Quoted, because these classes are generic in their type stubs only.
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]]"

# What every call is fenced with where anybody may call.
_NO_FENCE = nullcontext()

_log = structlog.get_logger("fanlight.wire")

_MAKE_HANDLER = {
    # by whether the response is a stream
    False: grpc.stream_unary_rpc_method_handler,
    True: grpc.stream_stream_rpc_method_handler,
}


def for_caller(error: BaseException, call: str) -> FanlightError:
    """Tell what a caller may see of an error; the text of a bug goes to the log instead."""
    if isinstance(error, FanlightError):
        return error
    error_id = secrets.token_hex(4)
    _log.error("internal error", id=error_id, call=call, exc_info=error)
    return InternalError(f"internal error {error_id}; the server's log says more under this id")


def answer_too_large(size: int, limit: int) -> Overloaded:
    """Make the error for an answer that does not fit a message."""
    return Overloaded(
        f"the answer has {size} bytes, more than the limit of {limit} (message_bytes); "
        "ask for less at once"
    )


class Guard(grpc.aio.ServerInterceptor):
    """Wraps the handlers of our services. Used from one event loop only.

    Attributes:
        calls_under_way: calls being answered, streams included.
    """

    def __init__(self, limits: Limits, authorizer: Authorizer | None = None) -> None:
        """Take what it enforces; without an authorizer anybody may call."""
        self._limits = limits
        self._authorizer = authorizer
        self._wrapped: dict[str, _Handler] = {}
        self._streams: set[_Requests] = set()
        self._requests_room = Room("request", limits.bytes_in_flight)
        self.calls_under_way = 0
        self._refusal: str | None = _LOADING

    def admit(self, refusal: str | None) -> None:
        """Refuse all calls from now on with NotReady and this reason, or admit them (None)."""
        self._refusal = refusal

    def drain(self) -> None:
        """Refuse new calls, and end the requests of streams so that they can finish."""
        self.admit(_DRAINING)
        for stream in self._streams:
            stream.cut()

    @property
    def is_draining(self) -> bool:
        """Whether `drain` has been called."""
        return self._refusal == _DRAINING

    async def intercept_service(
        self, continuation: _Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> _Handler | None:
        """Find the handler of a call and wrap it; gRPC asks once a call."""
        name = handler_call_details.method
        wrapped = self._wrapped.get(name)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            if not self._is_guarded(name):
                return handler
            method = self._fenced(_Method.of(name, handler))
            wrapped = self._wrapped[name] = self._wrap(method)
        return wrapped

    def _is_guarded(self, name: str) -> bool:
        """Tell whether a method is ours, or somebody else's that not everybody may call."""
        if name.startswith(OUR_SERVICES):
            return True
        return self._authorizer is not None and not self._authorizer.is_open(name)

    def _fenced(self, method: _Method) -> _Method:
        """Let the authorizer see what a method is asked and answers."""
        judge = self._authorizer
        if judge is None:
            return method
        return replace(
            method,
            decode=judge.reading(method.name, method.decode),
            encode=judge.writing(method.name, method.encode, streams=method.response_streaming),
        )

    def _fence(self, method: _Method, context: _Context) -> AbstractContextManager[None]:
        judge = self._authorizer
        return _NO_FENCE if judge is None else judge.call(method.name, context)

    def _wrap(self, method: _Method) -> _Handler:
        answer = self._answer_stream if method.response_streaming else self._answer_one

        async def of_one(received: AsyncIterable[bytes], context: _Context) -> bytes | None:
            async with _translating(method, context):
                with self._fence(method, context):
                    blob = await self._arrived(received)
                    with self._admitted(method), self._room_for(len(blob)):
                        return await answer(method, method.decoded(blob), context)

        async def of_many(received: AsyncIterable[bytes], context: _Context) -> bytes | None:
            async with _translating(method, context):
                with (
                    self._fence(method, context),
                    self._admitted(method),
                    self._requests(method, received) as requests,
                ):
                    return await answer(method, requests, context)

        # To gRPC each is a stream of requests, since for a single one it waits without a limit.
        make = _MAKE_HANDLER[method.response_streaming]
        return make(of_many if method.request_streaming else of_one)

    async def _arrived(self, received: AsyncIterable[bytes]) -> bytes:
        """Wait for the only request of a call, but not for ever."""
        try:
            async with asyncio.timeout(self._limits.receive_s):
                return await anext(aiter(received))
        except StopAsyncIteration:
            raise InvalidRequest("the call has no request") from None
        except TimeoutError:
            raise DeadlineExceeded(
                f"the request did not arrive within {self._limits.receive_s:g} s (receive_s)"
            ) from None

    @contextmanager
    def _requests(self, method: _Method, received: AsyncIterable[bytes]) -> Iterator[_Requests]:
        """Keep the requests of a stream where `drain` finds them."""
        requests = _Requests(method, received)
        self._streams.add(requests)
        try:
            yield requests
            if requests.is_cut:
                raise NotReady(_DRAINING)
        finally:
            self._streams.discard(requests)

    @contextmanager
    def _room_for(self, size: int) -> Iterator[None]:
        """Count the bytes of a request for as long as it is answered."""
        self._requests_room.take(size)
        try:
            yield
        finally:
            self._requests_room.give_back(size)

    async def _answer_one(self, method: _Method, request: Any, context: _Context) -> bytes:
        return self._encoded(method, await method.behaviour(request, context))

    async def _answer_stream(self, method: _Method, request: Any, context: _Context) -> None:
        async with aclosing(method.behaviour(request, context)) as responses:
            async for response in responses:
                await context.write(self._encoded(method, response))

    def _encoded(self, method: _Method, response: Any) -> bytes:
        # bytes: a message that a router passes on as it came
        blob = response if isinstance(response, bytes) else method.encode(response)
        if len(blob) > self._limits.message_bytes:
            raise answer_too_large(len(blob), self._limits.message_bytes)
        return blob

    @contextmanager
    def _admitted(self, method: _Method) -> Iterator[None]:
        """Let a call in, or refuse it, and count it for as long as it is answered."""
        self._check_admission(method)
        self.calls_under_way += 1
        try:
            yield
        finally:
            self.calls_under_way -= 1

    def _check_admission(self, method: _Method) -> None:
        """Refuse what is too much: open streams, mostly idle, are counted by themselves."""
        if self._refusal is not None:
            raise NotReady(self._refusal, retry_after_s=1.0)
        n, what = len(self._streams), "streams are open"
        if not method.request_streaming:
            n, what = self.calls_under_way - n, "calls are under way"
        if n >= self._limits.in_flight:
            raise Overloaded(
                f"{n} {what}, which is the limit (in_flight)", retry_after_s=RETRY_MIN_S
            )


@asynccontextmanager
async def _translating(method: _Method, context: _Context) -> AsyncIterator[None]:
    """Tell the caller what a call raises, in Fanlight's words."""
    try:
        yield
    except grpc.aio.AbortError:
        raise
    except Exception as error:
        await _abort(context, for_caller(error, method.name))


async def _abort(context: _Context, error: FanlightError) -> None:
    trailer: list[tuple[str, str | bytes]] = [(ERROR_KEY, to_error(error).SerializeToString())]
    if error.retry_after_s is not None:
        trailer.append((_PUSHBACK_KEY, str(math.ceil(error.retry_after_s * 1000))))
    await context.abort(status_of(error), shortened(error.message), tuple(trailer))


@dataclass(frozen=True, slots=True)
class _Method:
    """One RPC as its servicer was registered."""

    name: str
    behaviour: Callable[..., Any]
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]
    request_streaming: bool
    response_streaming: bool

    @classmethod
    def of(cls, name: str, handler: Any) -> _Method:
        """Take a handler of the generated code apart."""
        behaviours = (
            handler.unary_unary,
            handler.unary_stream,
            handler.stream_unary,
            handler.stream_stream,
        )
        return cls(
            name=name,
            behaviour=next(behaviour for behaviour in behaviours if behaviour is not None),
            decode=handler.request_deserializer,
            encode=handler.response_serializer,
            request_streaming=bool(handler.request_streaming),
            response_streaming=bool(handler.response_streaming),
        )

    def decoded(self, blob: bytes) -> Any:
        """Parse one request; InvalidRequest when it is no message of the method's type."""
        try:
            return self.decode(blob)
        except DecodeError:
            message = "the request is no valid protobuf message of its type"
            raise InvalidRequest(message) from None


class _Requests:
    """The decoded requests of one stream, until the client or a drain ends them."""

    def __init__(self, method: _Method, received: AsyncIterable[bytes]) -> None:
        self._method = method
        self._source = received
        self._received: AsyncIterator[bytes] | None = None
        self._reader: asyncio.Task[Any] | None = None
        self.is_cut = False

    def cut(self) -> None:
        """End the stream: the reader that waits for a request finds that there are no more."""
        self.is_cut = True
        if self._reader is not None:
            self._reader.cancel()

    def __aiter__(self) -> _Requests:
        return self

    async def __anext__(self) -> Any:
        if self.is_cut:
            raise StopAsyncIteration
        if self._received is None:
            # Not sooner: gRPC's iterator warns when it was made and never used.
            self._received = aiter(self._source)
        reader = self._reader = asyncio.current_task()
        try:
            return self._method.decoded(await anext(self._received))
        except asyncio.CancelledError:
            # A cancellation that the drain did not ask for, or not alone, goes on.
            if not self.is_cut or reader is None or reader.uncancel() > 0:
                raise
            raise StopAsyncIteration from None
        finally:
            self._reader = None
