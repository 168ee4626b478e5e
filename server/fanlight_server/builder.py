"""The thread that builds the segments of all collections of a shard."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence

from fanlight.errors import NotReady, Overloaded
from fanlight_server.index.settings import IndexConfig
from fanlight_server.keeper import SegmentKeeper
from fanlight_server.priority import BUILDS, give_way

_log = logging.getLogger(__name__)

# Between two looks for sealed heads; a build takes longer than this anyway.
_POLL_S = 0.05
# Between two releases of mapped vectors. A search maps 64 KiB for each row it reads (Linux maps
# what lies around from the page cache), so without them all vectors would soon be resident; a page
# that is read again costs less than a microsecond as long as the page cache has it.
_RELEASE_S = 10.0
# After a failure before the next try; a build that fails may have cost minutes.
_RETRY_S = 10.0


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
        # used by the thread alone: when to try the collections again whose last build failed
        self._retry_at: dict[SegmentKeeper, float] = {}
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
        give_way(BUILDS)
        idle_check_at = self._now() + self._config.idle_s
        release_at = self._now() + _RELEASE_S
        while not self._stopped.is_set():
            if self._now() >= idle_check_at:
                for keeper in self._keepers():
                    keeper.seal_if_idle()
                idle_check_at = self._now() + self._config.idle_s
            if self._now() >= release_at:
                for keeper in self._keepers():
                    keeper.release()
                release_at = self._now() + _RELEASE_S
            if not self._build_one():
                self._stopped.wait(_POLL_S)

    def _build_one(self) -> bool:
        now = self._now()
        due = [keeper for keeper in self._keepers() if self._retry_at.get(keeper, now) <= now]
        due.sort(key=lambda keeper: -keeper.unindexed_bytes)
        return any(self._try(keeper) for keeper in due)

    def _try(self, keeper: SegmentKeeper) -> bool:
        try:
            built = keeper.build_next(self._threads)
        except (Overloaded, NotReady):
            # the disk said so, to the log as well; it refuses writes by itself
            self._retry_at[keeper] = self._now() + _RETRY_S
            return False
        except Exception:
            _log.exception("a segment could not be built; writes are refused until one can")
            keeper.fail("the shard cannot build its index; its log says why")
            self._retry_at[keeper] = self._now() + _RETRY_S
            return False
        if self._retry_at.pop(keeper, None) is not None:
            keeper.mend()
        return built
