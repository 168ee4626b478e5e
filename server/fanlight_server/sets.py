"""The sets of one collection on one shard: what searches exclude by name.

Laws: the store is the truth; what is used is held in memory as sorted columns, replaced whole. A
change is shown after it is on disk and before it is acknowledged. A member whose time is over is
none, from that moment on.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fanlight.errors import InvalidRequest
from fanlight.ids import among, ascending, empty, joined
from fanlight.limits import MIB, Limits
from fanlight.model import CollectionSpec, IdColumn, Rows
from fanlight.query_rules import check_set_name, check_ttl
from fanlight.validation import bad_id_rows, check_batch, check_id_type
from fanlight_server.storage.sets import Kind, SetChange
from fanlight_server.storage.store import Store

# Of sets held in memory, by collection: the last 16,000 users who have seen 1,000 items each. A set
# that is not there is read from the store, which takes a millisecond for 1,000 members.
_HELD_BYTES = 256 * MIB
# A string id with its object, roughly; int64 ids have a time beside them.
_STRING_BYTES, _INT64_BYTES = 100, 16
# Of a set beside its members, with its name: measured for one that has none. People ask for the sets
# of users who have seen nothing yet.
_SET_BYTES = 600
_NEVER = 0
# Of a member that waits to be written.
_CHANGE_BYTES = 64
# A set that changes this often while it is read is used as it was read last.
_READS = 8


@dataclass(frozen=True, eq=False)
class Members:
    """The members of a set.

    Attributes:
        ids: (n,) ascending.
        expires_ms: (n,) when each leaves; 0 for never.
    """

    ids: IdColumn
    expires_ms: Rows

    def at(self, now_ms: int) -> Members:
        """Leave out those whose time is over."""
        if now_ms < self._next_ms:
            return self
        over = (self.expires_ms != _NEVER) & (self.expires_ms <= now_ms)
        return Members(self.ids[~over], self.expires_ms[~over])

    def after(self, change: SetChange) -> Members:
        """Give the members after a change."""
        if change.kind == "delete":
            return Members(self.ids[:0], self.expires_ms[:0])
        if change.kind == "expire":
            return Members(self.ids, np.full(len(self.ids), change.expires_ms, dtype=np.int64))
        assert change.ids is not None
        others = ~among(self.ids, change.ids)
        ids, expires_ms = self.ids[others], self.expires_ms[others]
        if change.kind == "remove":
            return Members(ids, expires_ms)
        whole = joined([ids, change.ids])
        order = np.argsort(whole, kind="stable")
        new = np.full(len(change.ids), change.expires_ms, dtype=np.int64)
        return Members(whole[order], np.concatenate((expires_ms, new))[order])

    @cached_property
    def _next_ms(self) -> float:
        """Tell when the next member leaves."""
        leaving = self.expires_ms[self.expires_ms != _NEVER]
        return int(leaving.min()) if len(leaving) else math.inf

    @property
    def size_bytes(self) -> int:
        """Tell about how much memory they take, with what holds them."""
        one = _STRING_BYTES if self.ids.dtype == object else _INT64_BYTES
        return _SET_BYTES + len(self.ids) * one


@dataclass(slots=True)
class _Reading:
    """A set that is being read: by how many, and how often it has changed meanwhile."""

    readers: int = 0
    changes: int = 0


class Sets:
    """See the module. Safe for many threads."""

    def __init__(
        self,
        store: Store,
        spec: CollectionSpec,
        limits: Limits,
        submit: Callable[[SetChange, int], Future[int | None]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Hold nothing yet.

        Args:
            store: where the sets are.
            spec: of the collection.
            limits: of a batch, an id and a set.
            submit: queues a change of so many bytes; see `Collection.upsert`.
            clock: seconds since 1970.
        """
        # constant after construction
        self._store = store
        self._spec = spec
        self._limits = limits
        self._submit = submit
        self._clock = clock
        # guards what is held, the set used last at the end
        self._lock = threading.Lock()
        self._held: OrderedDict[str, Members] = OrderedDict()
        self._held_bytes = 0
        # the sets that are being read
        self._readings: dict[str, _Reading] = {}

    def append(self, name: str, ids: IdColumn, ttl_s: float | None = None) -> Future[int]:
        """Add ids to a set, for so many seconds or for ever.

        Returns:
            A future, of how many members there are, that completes when the change is on disk and
            the next search sees it.

        Raises:
            InvalidRequest: the name, an id or the time cannot be, or there would be too many.
            Overloaded: too much waits to be written.
            NotReady: the collection takes no writes any more.
        """
        return self._change(name, "append", ids, ttl_s)

    def remove(self, name: str, ids: IdColumn) -> Future[int]:
        """Take ids out of a set; else as `append`."""
        return self._change(name, "remove", ids, None)

    def expire(self, name: str, ttl_s: float) -> Future[int]:
        """Give all members of now so many seconds; else as `append`."""
        return self._change(name, "expire", None, ttl_s)

    def delete(self, name: str) -> Future[int]:
        """Take all members out of a set; else as `append`."""
        return self._change(name, "delete", None, None)

    def _change(
        self, name: str, kind: Kind, ids: IdColumn | None, ttl_s: float | None
    ) -> Future[int]:
        check_set_name(name)
        check_ttl(ttl_s)
        if ids is not None:
            ids = self._checked(ids)
        if kind == "append":
            self._check_room(name, ids)
        now_ms = self._now_ms()
        expires_ms = _NEVER if ttl_s is None else now_ms + max(1, round(ttl_s * 1_000))
        size = _CHANGE_BYTES * (1 if ids is None else len(ids))
        change = SetChange(name, kind, ids, expires_ms, now_ms)
        return self._counted(name, self._submit(change, size))

    def _counted(self, name: str, written: Future[int | None]) -> Future[int]:
        """Give the answer of a change: of a set that is not held, once it is read again.

        Not while it is shown: a set that cannot be read must not keep the writes after it hidden.
        """
        counted = Future[int]()

        def on_written(done: Future[int | None]) -> None:
            if not counted.set_running_or_notify_cancel():
                return
            try:
                members = done.result()
                counted.set_result(len(self.members(name)) if members is None else members)
            except BaseException as error:
                counted.set_exception(error)

        def on_cancelled(done: Future[int]) -> None:
            if done.cancelled():
                written.cancel()

        written.add_done_callback(on_written)
        counted.add_done_callback(on_cancelled)
        return counted

    def _checked(self, ids: IdColumn) -> IdColumn:
        check_batch(ids, self._limits)
        check_id_type(ids, self._spec)
        for error in bad_id_rows(ids, self._limits).values():
            raise error
        return ascending(ids)

    def _check_room(self, name: str, ids: IdColumn | None) -> None:
        members, most = self.members(name), self._limits.set_ids
        n = len(members) + (0 if ids is None else len(ids))
        if n > most and ids is not None and len(ascending(joined([members, ids]))) > most:
            raise InvalidRequest.of_field("ids", f"at most {most} members of a set", str(n))

    def members(self, name: str) -> IdColumn:
        """List the members of a set, ascending; none if there is no such set."""
        check_set_name(name)
        now_ms = self._now_ms()
        with self._lock:
            members = self._held.get(name)
            if members is not None:
                self._held.move_to_end(name)
        if members is None:
            members = self._read(name)
        live = members.at(now_ms)
        if live is not members:
            with self._lock:
                if self._held.get(name) is members:
                    self._hold(name, live)
        return live.ids

    def show(self, change: SetChange) -> int | None:
        """Show a change that is on disk. Reads nothing, so it cannot fail. The writer's thread.

        Returns:
            How many members there are; None if the set is not held.
        """
        with self._lock:
            if change.name in self._readings:
                self._readings[change.name].changes += 1
            held = self._held.get(change.name)
        if held is None:
            return None
        # Beside the lock, since a large set takes a while. Nobody else changes a set, and who has
        # read this one meanwhile has read the change.
        members = held.at(change.now_ms).after(change)
        with self._lock:
            self._hold(change.name, members)
        return len(members.ids)

    def _read(self, name: str) -> Members:
        """Read a set from the store, and hold it unless it changes all the time."""
        with self._lock:
            reading = self._readings.setdefault(name, _Reading())
            reading.readers += 1
        members = Members(empty(self._spec.id_type), np.empty(0, dtype=np.int64))
        try:
            for _ in range(_READS):
                before = reading.changes
                ids, expires_ms = self._store.members(name)
                members = Members(ids if len(ids) else empty(self._spec.id_type), expires_ms)
                with self._lock:
                    if reading.changes == before:
                        self._hold(name, members)
                        break
        finally:
            with self._lock:
                reading.readers -= 1
                if not reading.readers:
                    del self._readings[name]
        return members

    def _hold(self, name: str, members: Members) -> None:
        """Hold a set, and drop those not used for longest; the lock is held."""
        old = self._held.pop(name, None)
        self._held_bytes += members.size_bytes - (0 if old is None else old.size_bytes)
        self._held[name] = members
        while self._held_bytes > _HELD_BYTES and len(self._held) > 1:
            _, dropped = self._held.popitem(last=False)
            self._held_bytes -= dropped.size_bytes

    def _now_ms(self) -> int:
        return int(self._clock() * 1_000)
