"""What a server lets in: bounds on the work that waits, and on the bytes of answers in flight.

Laws: what comes is judged when it comes, so that a refusal costs next to nothing and is told at
once; what was let in is done. Nothing here waits, and the clock is the caller's. Work is judged by
the seconds that it is likely to take, since a queue of a thousand quick searches is short and one
of ten heavy ones is long.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from fanlight.errors import Overloaded
from fanlight.model import SearchRequest

if TYPE_CHECKING:  # the SDK, which reads no configuration, counts here too
    from fanlight.limits import Limits

# Kinds of work whose pace is remembered.
_KINDS = 256
# What an unknown kind is taken for until the first work of any kind was done: a walk scores about
# 16 rows for each candidate that it keeps, and a core multiplies some 10 numbers a nanosecond.
_SECONDS_A_UNIT = 2e-9
# What an unknown kind is taken for at the most. Most of what a small search takes has nothing to do
# with its units, so a large one that is judged by small ones would seem to take minutes.
_SECONDS_A_UNIT_MAX = 20e-9
# How much the last work counts beside all before it.
_NEWEST_SHARE = 0.2
# Advice to come back is never sooner: it takes a message to the server and one back, and a queue
# that was full a moment ago has little room.
RETRY_MIN_S = 0.05
# The field of the error that says that a queue is full for everybody, whatever time they have.
QUEUE = "queue_s"
# Smaller answers are not counted: `limits.in_flight` of them are 64 MiB, and counting costs more
# than it saves.
_COUNTED_BYTES = 64 << 10
# An item with its vector, where its collection is not known yet.
_ITEM_BYTES = 4096
# An id and a score, with a string id's object; a hit that brings its payload is taken for one of
# half a kilobyte until it was read.
_HIT_BYTES = 20
_PAYLOAD_BYTES = 512


class Pace:
    """How long work takes, learned from the work that was done.

    Work has a kind and a size in units. A kind that was seen before takes what it took the last
    time, unit by unit; another one what units take in general, if that is little. For threads: a race loses
    a lesson.
    """

    def __init__(self) -> None:
        self._of_kind: dict[Hashable, float] = {}
        self._in_general = _SECONDS_A_UNIT

    def knows(self, kind: Hashable) -> bool:
        """Tell whether work of this kind was done before."""
        return kind in self._of_kind

    def seconds(self, kind: Hashable, units: float) -> float:
        """Tell how long work is likely to take."""
        pace = self._of_kind.get(kind)
        return units * (min(self._in_general, _SECONDS_A_UNIT_MAX) if pace is None else pace)

    def learn(self, kind: Hashable, units: float, seconds: float) -> None:
        """Take note of how long work took."""
        if units <= 0:
            return
        if len(self._of_kind) >= _KINDS:
            self._of_kind.clear()
        pace = seconds / units
        self._of_kind[kind] = pace
        self._in_general += _NEWEST_SHARE * (pace - self._in_general)


class Queue:
    """The seconds of work that wait, bounded.

    Args:
        longest_s: seconds that work may wait, for whoever has so much time.
        servers: how many do the work at the same time.

    Attributes:
        work_s: seconds of work in the queue, of one server.
    """

    def __init__(self, longest_s: float, servers: int) -> None:
        self._longest_s = longest_s
        self._servers = servers
        self.work_s = 0.0

    @property
    def wait_s(self) -> float:
        """Tell how long work that comes now waits."""
        return self.work_s / self._servers

    def enter(self, seconds: float, timeout_s: float | None) -> None:
        """Let work in.

        Args:
            seconds: how long it is likely to take.
            timeout_s: seconds for which its caller waits; None: any time.

        Raises:
            Overloaded: it would wait too long, or past its caller's time.
        """
        longest_s = self._longest_s if timeout_s is None else min(self._longest_s, timeout_s)
        wait_s = self.wait_s
        if wait_s > longest_s:
            what = QUEUE if longest_s == self._longest_s else "timeout"
            raise Overloaded(
                f"the request would wait {wait_s:.3f} s, the limit is {longest_s:.3f} s ({what})",
                field=what,
                retry_after_s=max(RETRY_MIN_S, wait_s - longest_s),
            )
        self.work_s += seconds

    def leave(self, seconds: float) -> None:
        """Take work out, done or given up; `seconds` as it was let in."""
        self.work_s = max(0.0, self.work_s - seconds)


class Room:
    """The bytes in flight of one sort (requests or answers), bounded. For one thread.

    Args:
        what: one of them, as an error calls it.
        most: bytes of all together.

    Attributes:
        taken: bytes in flight.
    """

    def __init__(self, what: str, most: int) -> None:
        self._what = what
        self._most = most
        self.taken = 0

    def take(self, size: int) -> None:
        """Reserve room for one.

        Raises:
            Overloaded: the room is taken (with `retry_after_s`), or never enough (without).
        """
        if size > self._most:
            raise Overloaded(
                f"the {self._what} takes about {size} bytes, more than the limit of {self._most} "
                "(bytes_in_flight); ask for less at once"
            )
        if self.taken + size > self._most:
            raise Overloaded(
                f"there is no room for the {self._what} of about {size} bytes: {self.taken} bytes "
                f"are in flight, the limit is {self._most} (bytes_in_flight)",
                retry_after_s=RETRY_MIN_S,
            )
        self.taken += size

    def give_back(self, size: int) -> None:
        """Free what `take` has reserved."""
        self.taken -= size


def work_of(request: SearchRequest, queries: int) -> float:
    """Measure a search in units: queries x candidates x elements of a vector."""
    dim = request.vectors.shape[1] if request.vectors is not None else 1
    return float(queries * max(request.k, request.ef_search or 1) * dim)


def answer_bytes(request: SearchRequest, queries: int, limits: Limits) -> int:
    """Tell about how many bytes the answer of a search takes; 0 when it is too small to count.

    What it brings of stored items is taken as one message at the most: more is refused.
    """
    hits = queries * request.width
    size = hits * _HIT_BYTES
    if request.with_vectors or request.with_payloads:
        dim = request.vectors.shape[1] if request.vectors is not None else 0
        one = dim * 4 * request.with_vectors + _PAYLOAD_BYTES * request.with_payloads
        size += min(hits * one, limits.message_bytes)
    return size if size >= _COUNTED_BYTES else 0


def items_bytes(rows: int, limits: Limits) -> int:
    """Tell about how many bytes an answer of so many items takes; see `answer_bytes`."""
    size = min(rows * _ITEM_BYTES, limits.message_bytes)
    return size if size >= _COUNTED_BYTES else 0
