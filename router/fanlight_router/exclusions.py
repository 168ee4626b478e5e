"""What each shard has to exclude: only ids that it may hold.

100,000 ids are 800 KB; sent whole to each of three shards they took longer to travel, and to look
up, than most searches take.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fanlight.model import SearchRequest
from fanlight.placement import shards_of
from fanlight.queries import Exclusions

# Fewer ids are sent to all shards, in one message that is encoded once.
_SPLIT_IDS_MIN = 1_024


class ExclusionSplitter:
    """Splits the exclusions of searches by shard; remembers the last, since lists ask again.

    Args:
        shards: how many there are.
    """

    def __init__(self, shards: int) -> None:
        self._shards = shards
        self._last: Exclusions | None = None
        self._parts: list[Exclusions] = []

    def requests(self, request: SearchRequest) -> list[SearchRequest]:
        """Give the search to ask each shard for."""
        exclude = request.exclude
        if exclude is None or exclude.ids is None or len(exclude.ids) < _SPLIT_IDS_MIN:
            return [request] * self._shards
        if exclude is not self._last:
            owners = shards_of(exclude.ids, self._shards)
            # A third of the time that masks take, whose branches nobody can predict.
            rows = (np.flatnonzero(owners == shard) for shard in range(self._shards))
            parts = (exclude.ids[of_shard] for of_shard in rows)
            self._parts = [Exclusions(ids, exclude.sets) for ids in parts]
            self._last = exclude
        return [replace(request, exclude=part) for part in self._parts]
