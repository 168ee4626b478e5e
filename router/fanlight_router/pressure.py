"""Shards that said that their queues are full, and until when.

Law: what a shard is certain to refuse is not sent to the others either. A search that needs every
shard would otherwise be refused by one and cost the others their work: goodput falls just
when it is needed. A shard's queue holds far more work than it does until then, so it never idles.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from fanlight.admission import QUEUE, RETRY_MIN_S
from fanlight.errors import FanlightError, Overloaded
from fanlight_router.gather import named, needed_of


class Pressure:
    """See the module. For one event loop.

    Args:
        shards: how many there are.
        now: the monotonic clock, in seconds.
    """

    def __init__(self, shards: int, now: Callable[[], float] = time.monotonic) -> None:
        self._shards = shards
        self._now = now
        # By shard index: until when, and what it said.
        self._full: dict[int, tuple[float, FanlightError]] = {}

    def note(self, failures: Mapping[int, FanlightError]) -> None:
        """Remember which shards have full queues; too little time of one caller says nothing."""
        for shard, error in failures.items():
            if isinstance(error, Overloaded) and error.field == QUEUE:
                until = self._now() + (error.retry_after_s or RETRY_MIN_S)
                self._full[shard] = (until, error)

    def check(self, min_coverage: float) -> None:
        """Refuse a search for which too few shards have room.

        Raises:
            Overloaded: what the last of the full shards said, with the time that is left of it.
        """
        if not self._full:
            return
        now = self._now()
        self._full = {shard: said for shard, said in self._full.items() if said[0] > now}
        if self._shards - len(self._full) >= needed_of(self._shards, min_coverage):
            return
        shard, (until, error) = max(self._full.items(), key=lambda said: said[1][0])
        refusal = named(shard, error)
        refusal.retry_after_s = max(RETRY_MIN_S, until - now)
        raise refusal
