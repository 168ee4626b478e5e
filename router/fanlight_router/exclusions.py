"""What each shard has to exclude: only ids that it may hold, where there are many bytes of them.

100,000 ids are 800 KB; sent whole to each of three shards they took longer to travel, and to look
up, than most searches take. Packed they are an eighth or a quarter of that, and splitting them takes
longer.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

import fanlight_kernel as kernel
from fanlight.joined_ids import JoinedIds
from fanlight.model import SearchRequest
from fanlight.packed_ids import PackedIds
from fanlight.placement import shards_of
from fanlight.queries import Exclusions

# Fewer bytes, in all messages together, are sent to all shards as they came. To split 100,000 ids
# takes 0.6 ms of a router, or 2 to 3 if they are strings; three shards that were sent all took 3.7
# ms of CPU more, together.
_SPLIT_BYTES_MIN = 512 << 10
# The same where a router has to unpack the ids.
_PACKED_BYTES_MIN = 2 << 20


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
        if exclude is None or not _is_worth_splitting(exclude, self._shards):
            return [request] * self._shards
        if exclude is not self._last:
            self._parts = self._split(exclude)
            self._last = exclude
        return [replace(request, exclude=part) for part in self._parts]

    def _split(self, exclude: Exclusions) -> list[Exclusions]:
        packed, sets = exclude.packed, exclude.sets
        if isinstance(packed, JoinedIds):
            parts = kernel.split_strings_by_shard(packed.data, self._shards)
            return [Exclusions(None, sets, JoinedIds(*part)) for part in parts]
        ids = exclude.column()
        assert ids is not None, "nothing takes no bytes"
        if ids.dtype == object:  # a string among them holds a NUL
            owners = shards_of(ids, self._shards)
            return [Exclusions(ids[owners == shard], sets) for shard in range(self._shards)]
        # what came off the wire lies where it lay in its message
        whole = np.require(ids, np.int64, ["C", "A"])
        together, bounds = kernel.split_by_shard(whole, self._shards)
        # what was too far apart to be packed is farther apart now
        make = Exclusions if packed is None else Exclusions.of
        return [make(together[start:stop], sets) for start, stop in pairwise(bounds)]


def _is_worth_splitting(exclude: Exclusions, shards: int) -> bool:
    """Tell whether the ids take many bytes on the wire, to so many shards."""
    if shards == 1:
        return False
    if isinstance(exclude.packed, PackedIds):
        return exclude.packed.nbytes * shards >= _PACKED_BYTES_MIN
    if exclude.packed is not None:
        return exclude.packed.nbytes * shards >= _SPLIT_BYTES_MIN
    # of a column of strings the pointers count
    return exclude.ids is not None and exclude.ids.nbytes * shards >= _SPLIT_BYTES_MIN
