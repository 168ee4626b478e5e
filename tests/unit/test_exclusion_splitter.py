"""Exclusions split by shard: each id goes to the shard that may hold it, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from fanlight.model import SearchRequest
from fanlight.placement import shards_of
from fanlight.queries import Exclusions
from fanlight_router.exclusions import ExclusionSplitter

VECTORS = np.ones((1, 3), dtype=np.float32)


N = 400_000
COLUMNS = {
    "packed": np.arange(N, dtype=np.int64) * 1_000,
    "far apart": np.arange(N, dtype=np.int64) << 40,
    "strings": np.array([f"item {i}" for i in range(N)], dtype=object),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_many_ids_go_to_their_owners(kind: str) -> None:
    """Together the parts are the whole; sets go to all, whose members are the shards' own."""
    ids = COLUMNS[kind]
    whole = Exclusions.of(ids, ("seen",))
    assert (whole.packed is not None) is (kind == "packed")
    request = SearchRequest("c", VECTORS, 5, exclude=whole)
    splitter = ExclusionSplitter(3)
    for _ in range(2):
        parts = [each.exclude for each in splitter.requests(request)]
        for shard, part in enumerate(parts):
            assert part is not None
            assert part.sets == ("seen",)
            column = part.column()
            assert column is not None
            np.testing.assert_array_equal(column, ids[shards_of(ids, 3) == shard])
    other = SearchRequest("c", VECTORS, 5, exclude=Exclusions.of(ids[:-7]))
    sizes = [each.exclude.n_ids for each in splitter.requests(other) if each.exclude]
    assert sum(sizes) == N - 7


def test_a_few_ids_go_to_all() -> None:
    """They travel in one message, which is the request itself."""
    dense = Exclusions.of(np.arange(100_000))
    for exclude in (None, Exclusions(None, ("seen",)), Exclusions(np.arange(10)), dense):
        request = SearchRequest("c", VECTORS, 5, exclude=exclude)
        assert all(each is request for each in ExclusionSplitter(3).requests(request))
