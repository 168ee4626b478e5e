"""Deletions by filter on a shard server: one write after the other, for as long as anybody waits.

Laws: no thread waits for a commit. When the deadline has passed, or the caller has gone, no
further write is begun; the one under way is finished.
"""

from __future__ import annotations

import asyncio
from copy import copy
from functools import partial

from fanlight.errors import DeadlineExceeded, FanlightError
from fanlight.filters import Filter
from fanlight_server.core import CollectionCore
from fanlight_server.workers import Workers

# Kept back from the caller's time, as routers do, so that the word of what is gone still arrives.
_MARGIN_SHARE = 0.1
_MARGIN_MAX_S = 0.05


async def delete_matching(
    collection: CollectionCore, filter: Filter, workers: Workers, timeout_s: float | None
) -> int:
    """Delete the items that satisfy a filter now; one that is written meanwhile stays.

    Args:
        collection: of the items.
        filter: which of them.
        workers: in whose threads they are found and the writes submitted.
        timeout_s: seconds for which the caller waits; None for any time.

    Returns:
        Items that are gone, on disk and in the view.

    Raises:
        InvalidRequest: the filter cannot be; nothing was deleted.
        DeadlineExceeded, Overloaded, NotReady: the deletion ended early. The message says how
            many items are gone; those of a write under way may be gone as well.
    """
    loop, deleted = asyncio.get_running_loop(), 0
    ends = None if timeout_s is None else loop.time() + _without_margin(timeout_s)
    for items in await workers.run(lambda: collection.matching(filter)):
        left_s = None if ends is None else max(0.0, ends - loop.time())
        delete = partial(collection.delete_matched, items, timeout_s=left_s)
        try:
            async with asyncio.timeout(left_s):
                deleted += (await workers.write(delete)).deleted
        except TimeoutError:
            raise _ended_early(DeadlineExceeded("the deadline passed"), deleted) from None
        except FanlightError as error:
            raise _ended_early(error, deleted) from error
    return deleted


def _without_margin(timeout_s: float) -> float:
    return timeout_s - min(timeout_s * _MARGIN_SHARE, _MARGIN_MAX_S)


def _ended_early(error: FanlightError, deleted: int) -> FanlightError:
    """Say in an error how much was done before it."""
    same = copy(error)
    same.message = f"{error.message}; items deleted by then: {deleted}"
    same.args = (same.message,)
    return same
