"""What a server allows its connections, and how long it waits for the other side.

Laws: whoever is silent, sends slowly or does not read is closed within a stated time, and holds
little until then. A program that runs out of file descriptors refuses connections; it does not end.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any

import grpc

from fanlight.limits import Limits
from fanlight.wire.channels import Options

# Descriptors that a program needs for itself: files of the store, segments, channels, pipes.
_OWN_DESCRIPTORS = 512
# What is smaller is in the system's buffers before anybody could be slow to read it.
_LARGE_BYTES = 64 << 10


def raise_descriptor_limit() -> int:
    """Allow this process as many open files as it may have; tell how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def connections_max(limits: Limits) -> int:
    """Tell how many connections a server takes: the limit, or what descriptors are left for."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(1, min(limits.connections, descriptors - min(_OWN_DESCRIPTORS, descriptors // 2)))


def server_options(limits: Limits) -> Options:
    """Make the options of a server.

    Without so_reuseport=0 a second server on the same port starts without an error and the two
    share its calls. `message_bytes` bounds a compressed message by what it decompresses to.
    The handshake's time closes connections that say nothing at all, the idle time those that
    have no call, keepalive those whose host is gone or whose socket is never read.
    """
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_send_message_length", limits.message_bytes),
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_allowed_incoming_connections", connections_max(limits)),
        ("grpc.max_concurrent_streams", limits.streams),
        ("grpc.max_metadata_size", limits.metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.metadata_bytes),
        ("grpc.server_handshake_timeout_ms", int(limits.handshake_s * 1000)),
        ("grpc.max_connection_idle_ms", int(limits.idle_s * 1000)),
        ("grpc.http2.min_ping_interval_without_data_ms", 30_000),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 10_000),
    ]


class Patience:
    """Ends calls whose request does not arrive, or whose answer is not read. For one event loop.

    gRPC has no time limit for either but the caller's own deadline. It runs each call as one task,
    from its first bytes to its last; cancelling it resets the call.
    """

    def __init__(self, limits: Limits) -> None:
        self._receive_s = limits.receive_s
        self._send_s = limits.send_s
        self._receiving: dict[asyncio.Task[Any], asyncio.TimerHandle] = {}

    def call_begins(self) -> None:
        """Give the call of the running task its time to arrive."""
        task = asyncio.current_task()
        if task is not None:
            timer = task.get_loop().call_later(self._receive_s, self._end, task)
            self._receiving[task] = timer

    def request_arrived(self) -> None:
        """Stop that time."""
        timer = self._receiving.pop(_running(), None)
        if timer is not None:
            timer.cancel()

    def answer_leaves(self, size: int, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Give the caller of the running task time to read its one answer."""
        if size >= _LARGE_BYTES:
            task = _running()
            timer = task.get_loop().call_later(self._send_s, task.cancel)
            context.add_done_callback(lambda _: timer.cancel())

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._receiving.pop(task, None)
        task.cancel()


def _running() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None, "a call is a task"
    return task
