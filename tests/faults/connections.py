"""Peers who are silent, slow, or too large, beside a caller who is none of it.

Speaks HTTP/2 by hand where gRPC's own client is too polite. The server has short limits, so that the
trials see its connections closed; the limits' defaults are longer (docs/limits.md).
"""

from __future__ import annotations

import contextlib
import resource
import select
import socket
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import h2.config
import h2.connection
import h2.events
import h2.exceptions
import numpy as np
import psutil
from tests.faults.outcome import Outcome
from tests.faults.under_load import COLLECTION, crashes, loaded_cluster

import fanlight
from fanlight.model import SearchRequest
from fanlight.wire import codec

DIM = 16
ROWS = 2_000
MESSAGE_BYTES = 1 << 20
# Short ones for the trials; a connection is closed within the sum of those that apply.
LIMITS = {
    "handshake_s": 2.0,
    "idle_s": 2.0,
    "receive_s": 2.0,
    "age_s": 6.0,
    "age_grace_s": 2.0,
    "message_bytes": MESSAGE_BYTES,
}
CLOSED_WITHIN_S = 40.0
_PATH = "/fanlight.v1.SearchService/Search"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"


def _target(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


class Peer:
    """One connection that speaks HTTP/2 by hand."""

    def __init__(self, address: str) -> None:
        self._socket = socket.create_connection(_target(address), timeout=30)
        self._h2 = h2.connection.H2Connection(
            config=h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        )
        self._is_going = False
        self._h2.initiate_connection()
        self._flush()
        # The server holds who has acknowledged its settings to them.
        for _ in range(3):
            self._events(0.3)

    def _flush(self) -> None:
        self._socket.sendall(self._h2.data_to_send())

    def call(
        self, blob: bytes, *, whole: bool = True, more: list[tuple[str, str]] | None = None
    ) -> None:
        """Begin a search; without `whole` its message never ends."""
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", _PATH),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]
        self._h2.send_headers(1, [*headers, *(more or [])])
        rest = memoryview(blob)
        while rest:
            room = min(self._h2.local_flow_control_window(1), self._h2.max_outbound_frame_size)
            if room:
                self._h2.send_data(1, bytes(rest[:room]))
                rest = rest[room:]
            self._flush()
            if not room and self._events(10.0) is None:
                return
        if whole:
            self._h2.end_stream(1)
        self._flush()

    def _events(self, timeout_s: float) -> list[Any] | None:
        """Give what comes within so many seconds; None when the server closed the connection."""
        self._socket.settimeout(timeout_s)
        try:
            data = self._socket.recv(65_536)
        except TimeoutError:
            return []
        except OSError:
            return None
        if not data:
            return None
        if self._is_going:
            return []
        try:
            events: list[Any] = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError:
            # The library takes no frame after a GOAWAY, which does not end calls under way.
            self._is_going = True
            return []
        with contextlib.suppress(OSError):
            self._flush()
        return events

    def status(self, timeout_s: float = CLOSED_WITHIN_S) -> int | str | None:
        """Wait for the call's end: its code, "reset" or "closed"; None when it does not end."""
        ends = time.monotonic() + timeout_s
        while (left := ends - time.monotonic()) > 0:
            events = self._events(left)
            if events is None:
                return "closed"
            for event in events:
                headers = dict(getattr(event, "headers", None) or {})
                if "grpc-status" in headers:
                    return int(headers["grpc-status"])
                if isinstance(event, h2.events.StreamReset):
                    return "reset"
        return None

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def framed(blob: bytes, compressed: bool = False) -> bytes:
    """Put a message into gRPC's frame."""
    return struct.pack(">BI", compressed, len(blob)) + blob


def a_search(k: int = 5, queries: int = 1) -> bytes:
    """Make the message of a search."""
    vectors = np.ones((queries, DIM), dtype=np.float32)
    return codec.to_search(SearchRequest(COLLECTION, vectors, k)).SerializeToString()


def bomb(size: int) -> bytes:
    """Compress so many zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    chunk = bytes(1 << 20)
    return b"".join(packer.compress(chunk) for _ in range(size >> 20)) + packer.flush()


@dataclass
class Caller:
    """A caller who behaves, in a thread, and what befell it.

    Attributes:
        errors: failed calls by class.
        seconds: of each call that was answered.
    """

    address: str
    errors: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    @contextlib.contextmanager
    def calling(self) -> Iterator[None]:
        """Search over and over in the meantime."""
        stop = threading.Event()
        thread = threading.Thread(target=self._call, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _call(self, stop: threading.Event) -> None:
        query = np.ones((1, DIM), dtype=np.float32)
        with fanlight.Client(self.address, timeout=30) as client:
            items = client.collection(COLLECTION)
            while not stop.is_set():
                begun = time.monotonic()
                try:
                    items.search(query, k=5)
                except fanlight.FanlightError as error:
                    self.errors[type(error).__name__] += 1
                else:
                    self.seconds.append(time.monotonic() - begun)


def still_open(sockets: list[socket.socket], within_s: float) -> int:
    """Wait for the server to close connections; tell how many it has not closed."""
    poll, ends = select.poll(), time.monotonic() + within_s
    left = {each.fileno(): each for each in sockets}
    for number in left:
        poll.register(number, select.POLLIN | select.POLLHUP | select.POLLERR)
    while left and time.monotonic() < ends:
        for number, _ in poll.poll(200):
            if _is_closed(left[number]):
                poll.unregister(number)
                left.pop(number).close()
    for each in left.values():
        each.close()
    return len(left)


def _is_closed(connection: socket.socket) -> bool:
    try:
        return not connection.recv(4_096)
    except OSError:
        return True


def silent(address: str, n: int, preface: bool) -> list[socket.socket]:
    """Open n connections that say nothing, or no more than that they speak HTTP/2."""
    opened = []
    for _ in range(n):
        connection = socket.create_connection(_target(address), timeout=10)
        if preface:
            connection.sendall(_PREFACE)
        opened.append(connection)
    return opened


def slow_writer(address: str) -> int | str | None:
    """Begin a message and never end it; tell how the call ended."""
    peer = Peer(address)
    peer.call(framed(a_search())[:-4], whole=False)
    try:
        return peer.status()
    finally:
        peer.close()


def slow_reader(address: str) -> int | str | None:
    """Ask for much and never allow more than the first 64 KiB; tell how the call ended."""
    peer = Peer(address)
    peer.call(framed(a_search(k=1_000, queries=40)))
    try:
        return peer.status()
    finally:
        peer.close()


def too_large(address: str) -> dict[str, int | str | None]:
    """Send what is larger than the limits; tell how the calls ended."""
    ends: dict[str, int | str | None] = {}
    packed = framed(bomb(256 << 20), compressed=True)
    trials: dict[str, Callable[[Peer], None]] = {
        "message": lambda peer: peer.call(framed(bytes(MESSAGE_BYTES + 1))),
        "header of 2 GiB": lambda peer: peer.call(struct.pack(">BI", 0, (1 << 31) - 1)),
        "metadata": lambda peer: peer.call(framed(a_search()), more=[("x-much", "a" * 40_000)]),
        "bomb": lambda peer: peer.call(packed, more=[("grpc-encoding", "gzip")]),
    }
    for name, send in trials.items():
        peer = Peer(address)
        with contextlib.suppress(OSError):
            send(peer)
        ends[name] = peer.status()
        peer.close()
    return ends


RESOURCE_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


def judged(ends: dict[str, int | str | None]) -> list[str]:
    """Name what did not end as it should: refused with a code, or closed."""
    allowed = {
        "slow writer": (DEADLINE_EXCEEDED,),
        "slow reader": ("closed", "reset"),
        "header of 2 GiB": (RESOURCE_EXHAUSTED, "closed", "reset"),
    }
    return [
        f"{name}: {end}"
        for name, end in ends.items()
        if end not in allowed.get(name, (RESOURCE_EXHAUSTED, "reset"))
    ]


def crowd(n: int) -> int:
    """Tell how many connections of n this process can open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(n, hard - 500)


def patient_server_keeps(n: int, seed: int) -> int:
    """Count silent connections that outlive the short limits where the limits are long."""
    with loaded_cluster(10, DIM, seed, shards=1) as cluster:
        return still_open(silent(cluster.address, n, preface=True), 6.0)


def run(seconds: float, seed: int, connections: int = 10_000) -> Outcome:
    """Open so many silent connections, send slowly, do not read, send too much."""
    n = crowd(connections)
    limits = {"limits": {**LIMITS, "connections": 16_384}}
    with loaded_cluster(ROWS, DIM, seed, shards=1, router=limits) as cluster:
        router = psutil.Process(cluster.process("router").pid)
        before = router.memory_info().rss
        caller, begun = Caller(cluster.address), time.monotonic()
        with caller.calling():
            open_ = silent(cluster.address, n // 2, preface=False)
            open_ += silent(cluster.address, n - n // 2, preface=True)
            opened_s, grown = time.monotonic() - begun, router.memory_info().rss - before
            kept = still_open(open_, max(CLOSED_WITHIN_S, seconds / 2))
            closed_s = time.monotonic() - begun
            ends = too_large(cluster.address)
            ends["slow writer"] = slow_writer(cluster.address)
            ends["slow reader"] = slow_reader(cluster.address)
        peak = router.memory_info().rss - before
        died = crashes(cluster)
    bad = judged(ends)
    control = patient_server_keeps(min(n, 100), seed)
    p99 = float(np.percentile(caller.seconds, 99)) if caller.seconds else float("nan")
    return Outcome(
        "silent, slow and too large peers",
        trials=n + len(ends),
        acknowledged=len(caller.seconds),
        lost=sum(caller.errors.values()),
        wrong=kept + len(bad),
        crashes=died,
        control=f"with the long limits {control} of {min(n, 100)} silent connections stayed",
        notes=(
            f"{n} connections opened in {opened_s:.1f} s, {grown / max(1, n) / 1024:.0f} KiB each; "
            f"{kept} still open after {closed_s:.1f} s; caller's p99 {p99 * 1000:.0f} ms, errors "
            f"{dict(caller.errors)}; memory grew by {peak >> 20} MiB; ends {ends}; wrong {bad}"
        ),
    )
