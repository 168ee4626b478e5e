"""The thread that builds the segments of all collections of a shard."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence

from fanlight_server.index.graph import lower_priority
from fanlight_server.index.settings import IndexConfig
from fanlight_server.keeper import SegmentKeeper

_log = logging.getLogger(__name__)

# Between two looks for sealed heads; a build takes longer than this anyway.
_POLL_S = 0.05


class Builder:
    """Builds one segment at a time, for the collection with the most rows in waiting."""

    def __init__(
        self,
        keepers: Callable[[], Sequence[SegmentKeeper]],
        config: IndexConfig,
        now: Callable[[], float],
    ) -> None:
        """Start the thread.

        Args:
            keepers: gives the collections' keepers as of now.
            config: threads and idle time.
            now: a monotonic clock in seconds.
        """
        # constant after construction
        self._keepers = keepers
        self._config = config
        self._now = now
        self._threads = config.build_threads or max(1, (os.cpu_count() or 1) // 2)
        # own synchronisation
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="builder")
        self._thread.start()

    def close(self) -> None:
        """Stop after the step under way; idempotent."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        lower_priority()
        idle_check_at = self._now() + self._config.idle_s
        while not self._stopped.is_set():
            if self._now() >= idle_check_at:
                for keeper in self._keepers():
                    keeper.seal_if_idle()
                idle_check_at = self._now() + self._config.idle_s
            if not self._build_one():
                self._stopped.wait(_POLL_S)

    def _build_one(self) -> bool:
        waiting = sorted(self._keepers(), key=lambda keeper: -keeper.unindexed_bytes)
        return any(self._try(keeper) for keeper in waiting)

    def _try(self, keeper: SegmentKeeper) -> bool:
        try:
            return keeper.build_next(self._threads)
        except Exception:
            _log.exception("a segment could not be built; the collection takes no more writes")
            keeper.fail("the shard cannot build its index; its log says why")
            return False
