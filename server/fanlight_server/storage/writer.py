"""Group commit: one thread applies the writes of a collection, several callers' at a time.

While one transaction is synced to disk the next writes gather, so the cost of a sync is shared
by all callers that wait for it, and none waits for a timer.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from fanlight.errors import DeadlineExceeded, NotReady, Overloaded

J = TypeVar("J")
R = TypeVar("R")

# Bytes taken into one transaction: past it the sync no longer dominates the cost.
_GROUP_BYTES = 8 << 20
# Bytes that may wait; at least one write is always accepted.
_QUEUE_BYTES = 128 << 20
# How much the time of the last group counts beside those before it.
_NEWEST_SHARE = 0.3
# Advice to come back is never sooner: about as long as a group takes.
_RETRY_MIN_S = 0.5


@dataclass(frozen=True, slots=True)
class Pending(Generic[J, R]):
    """A write that waits to be applied.

    Attributes:
        job: what to write.
        size_bytes: about how much memory it takes.
        ends: when its caller no longer waits, on the writer's clock; None for never.
        done: completes when the write is durable and visible, or has failed.
    """

    job: J
    size_bytes: int
    ends: float | None = None
    done: Future[R] = field(default_factory=Future)


class GroupWriter(Generic[J, R]):
    """A queue of writes and the thread that applies them in order."""

    def __init__(
        self,
        name: str,
        apply: Callable[[Sequence[J]], Sequence[R]],
        room: Callable[[], int],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the thread.

        Args:
            name: of the thread.
            apply: makes a group of jobs durable and visible and gives their results; when it
                raises, none of them was applied.
            room: called before each group; may wait until there is room, and tells for how many
                bytes. A group has one write at least.
            now: the monotonic clock, in seconds.
        """
        # constant after construction
        self._now = now
        self._apply = apply
        self._room = room
        # own synchronisation
        self._queue: queue.SimpleQueue[Pending[J, R] | None] = queue.SimpleQueue()
        # guarded by _lock
        self._lock = threading.Lock()
        self._queued_bytes = 0
        # written by the thread alone: seconds that a group takes
        self._group_s = 0.0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.start()

    def submit(self, job: J, size_bytes: int, timeout_s: float | None = None) -> Future[R]:
        """Queue a write; from any thread.

        Args:
            job: what to write.
            size_bytes: about how much memory it takes.
            timeout_s: seconds for which its caller waits. A write that has not begun by then is
                not done, and fails with DeadlineExceeded; one that has begun is finished.

        Raises:
            Overloaded: too many bytes wait already, or for too long; nothing was queued.
            NotReady: the writer is closed.
        """
        ends = None if timeout_s is None else self._now() + timeout_s
        pending: Pending[J, R] = Pending(job, size_bytes, ends)
        with self._lock:
            if self._closed:
                raise NotReady("the shard is shutting down", retry_after_s=1.0)
            if self._queued_bytes and self._queued_bytes + size_bytes > _QUEUE_BYTES:
                message = f"writes: {self._queued_bytes} bytes wait, the limit is {_QUEUE_BYTES}"
                raise Overloaded(message, field="writes", retry_after_s=0.5)
            self._check_wait(timeout_s)
            self._queued_bytes += size_bytes
            self._queue.put(pending)
        return pending.done

    def _check_wait(self, timeout_s: float | None) -> None:
        """Refuse at once what would only be refused when its time is over."""
        wait_s = self._group_s * (self._queued_bytes // _GROUP_BYTES)
        if timeout_s is not None and wait_s > timeout_s:
            raise Overloaded(
                f"writes: {self._queued_bytes} bytes wait, which takes about {wait_s:.1f} s; "
                f"the caller waits for {timeout_s:.1f} s",
                field="timeout",
                retry_after_s=max(_RETRY_MIN_S, wait_s - timeout_s),
            )

    def close(self) -> None:
        """Apply what is queued and stop; idempotent."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while group := self._next_group():
            begun = self._now()
            live = [pending for pending in group if self._is_wanted(pending, begun)]
            try:
                results = self._apply([pending.job for pending in live])
            except BaseException as error:
                for pending in live:
                    pending.done.set_exception(error)
            else:
                for pending, result in zip(live, results, strict=True):
                    pending.done.set_result(result)
            self._group_s += _NEWEST_SHARE * (self._now() - begun - self._group_s)

    def _is_wanted(self, pending: Pending[J, R], now: float) -> bool:
        """Tell whether a write is to be done; say so to who waits for one that is late."""
        if not pending.done.set_running_or_notify_cancel():
            return False
        if pending.ends is None or now < pending.ends:
            return True
        message = "the deadline passed before the write began; nothing was changed"
        pending.done.set_exception(DeadlineExceeded(message))
        return False

    def _next_group(self) -> list[Pending[J, R]]:
        """Wait for a write and take what has gathered behind it; empty at the end."""
        group: list[Pending[J, R]] = []
        size, most = 0, 1
        while size < most:
            try:
                pending = self._queue.get(block=not group)
            except queue.Empty:
                break
            if pending is None:
                # the last entry; left in place so that the next call ends the thread
                self._queue.put(None)
                break
            if not group:
                most = min(_GROUP_BYTES, self._room())
            group.append(pending)
            size += pending.size_bytes
        with self._lock:
            self._queued_bytes -= size
        return group
