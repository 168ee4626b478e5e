"""Exclusions split by shard: each id goes to the shard that may hold it, and nowhere else."""

from __future__ import annotations

import numpy as np

from fanlight.model import SearchRequest
from fanlight.placement import shards_of
from fanlight.queries import Exclusions
from fanlight_router.exclusions import ExclusionSplitter

VECTORS = np.ones((1, 3), dtype=np.float32)


def test_many_ids_go_to_their_owners() -> None:
    """Together the parts are the whole; sets go to all, whose members are the shards' own."""
    ids = np.arange(5_000, dtype=np.int64)
    request = SearchRequest("c", VECTORS, 5, exclude=Exclusions(ids, ("seen",)))
    splitter = ExclusionSplitter(3)
    for _ in range(2):
        parts = [each.exclude for each in splitter.requests(request)]
        for shard, part in enumerate(parts):
            assert part is not None
            assert part.ids is not None
            assert part.sets == ("seen",)
            np.testing.assert_array_equal(part.ids, ids[shards_of(ids, 3) == shard])
    other = SearchRequest("c", VECTORS, 5, exclude=Exclusions(ids[:2_000]))
    sizes = [
        len(e.exclude.ids)
        for e in splitter.requests(other)
        if e.exclude and e.exclude.ids is not None
    ]
    assert sum(sizes) == 2_000


def test_a_few_ids_go_to_all() -> None:
    """They travel in one message, which is the request itself."""
    for exclude in (None, Exclusions(None, ("seen",)), Exclusions(np.arange(10))):
        request = SearchRequest("c", VECTORS, 5, exclude=exclude)
        assert all(each is request for each in ExclusionSplitter(3).requests(request))
