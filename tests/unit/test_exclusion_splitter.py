"""Exclusions split by shard: each id goes to the shard that may hold it, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from fanlight.joined_ids import JoinedIds
from fanlight.model import IdColumn, SearchRequest
from fanlight.placement import shards_of
from fanlight.queries import Exclusions
from fanlight_router.exclusions import ExclusionSplitter

VECTORS = np.ones((1, 3), dtype=np.float32)


N = 400_000
COLUMNS: dict[str, IdColumn] = {
    "packed": np.arange(N, dtype=np.int64) * 1_000,
    "far apart": np.arange(N, dtype=np.int64) << 40,
    "joined": np.array([f"item {i}" for i in range(N)], dtype=object),
    "strings with NULs": np.array([f"item\0{i}" for i in range(N)], dtype=object),
}


def exclusions(kind: str, ids: IdColumn) -> Exclusions:
    if kind == "joined":
        return Exclusions(None, ("seen",), JoinedIds.of(ids.tolist()))
    return Exclusions.of(ids, ("seen",))


@pytest.mark.parametrize("kind", COLUMNS)
def test_many_ids_go_to_their_owners(kind: str) -> None:
    """Together the parts are the whole; sets go to all, whose members are the shards' own."""
    ids = COLUMNS[kind]
    whole = exclusions(kind, ids)
    assert (whole.packed is not None) is (kind in {"packed", "joined"})
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
    other = SearchRequest("c", VECTORS, 5, exclude=exclusions(kind, ids[:-7]))
    sizes = [each.exclude.n_ids for each in splitter.requests(other) if each.exclude]
    assert sum(sizes) == N - 7


@pytest.mark.parametrize("kind", COLUMNS)
def test_one_shard_is_sent_what_came(kind: str) -> None:
    """It owns all of them."""
    request = SearchRequest("c", VECTORS, 5, exclude=exclusions(kind, COLUMNS[kind]))
    assert ExclusionSplitter(1).requests(request) == [request]


def test_a_few_ids_go_to_all() -> None:
    """They travel in one message, which is the request itself."""
    dense = Exclusions.of(np.arange(100_000))
    for exclude in (None, Exclusions(None, ("seen",)), Exclusions(np.arange(10)), dense):
        request = SearchRequest("c", VECTORS, 5, exclude=exclude)
        assert all(each is request for each in ExclusionSplitter(3).requests(request))
