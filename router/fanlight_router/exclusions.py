"""What each shard has to exclude: only ids that it may hold, where there are many bytes of them.

100,000 ids are 800 KB; sent whole to each of three shards they took longer to travel, and to look
up, than most searches take. Packed they are an eighth to five eighths of that, and splitting them
takes longer.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fanlight.model import SearchRequest
from fanlight.placement import shards_of
from fanlight.queries import Exclusions

# Fewer bytes, in all messages together, are sent to all shards as they came. A router unpacks,
# splits and packs 100,000 ids in 2.4 ms; a shard that looks up all of them, not a third, takes 0.15
# ms longer.
_SPLIT_BYTES_MIN = 2 << 20
# Of a string id, about.
_STRING_BYTES = 16


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
        if exclude is None or _bytes_of(exclude) * self._shards < _SPLIT_BYTES_MIN:
            return [request] * self._shards
        if exclude is not self._last:
            self._parts = self._split(exclude)
            self._last = exclude
        return [replace(request, exclude=part) for part in self._parts]

    def _split(self, exclude: Exclusions) -> list[Exclusions]:
        ids = exclude.column()
        assert ids is not None, "nothing takes no bytes"
        # There are fewer slots; a quarter of the bytes are compared.
        owners = shards_of(ids, self._shards).astype(np.uint16)
        # A third of the time that masks take, whose branches nobody can predict.
        parts = (ids[np.flatnonzero(owners == shard)] for shard in range(self._shards))
        # What was too far apart to be packed is farther apart now.
        make = Exclusions if exclude.packed is None else Exclusions.of
        return [make(part, exclude.sets) for part in parts]


def _bytes_of(exclude: Exclusions) -> int:
    """Tell about how many bytes the ids take on the wire."""
    if exclude.packed is not None:
        return exclude.packed.nbytes
    if exclude.ids is None:
        return 0
    return exclude.n_ids * (_STRING_BYTES if exclude.ids.dtype == object else 8)
