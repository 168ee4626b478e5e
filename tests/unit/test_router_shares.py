"""Many hits: shards are asked for their likely share, and the answer is as if for all."""

from __future__ import annotations

import numpy as np
import pytest
from tests import oracle
from tests.unit.fake_shards import COLLECTION, DIM, FakeCluster, coarse_vectors, filled, soon

from fanlight.errors import NotReady, PartialResult
from fanlight.model import Hits, IdType, Metric, SearchRequest
from fanlight.topk import TopK
from fanlight_router.shares import share_of

ROWS = 1_500


def search(k: int, seed: int = 3, n: int = 4) -> SearchRequest:
    return SearchRequest(COLLECTION, coarse_vectors(seed, n), k)


def check(cluster: FakeCluster, request: SearchRequest, hits: Hits) -> None:
    assert request.vectors is not None
    best = oracle.best(Metric.DOT, request.vectors, cluster.ids, cluster.vectors, request.k)
    oracle.assert_equal(TopK(hits.ids, hits.scores, hits.counts), best)


def crowd_into_one(
    cluster: FakeCluster, towards: np.ndarray[tuple[int], np.dtype[np.float32]]
) -> None:
    """Make the best items of a query all one shard's, against all odds."""
    for shard in cluster.shards[1:]:
        for name, (vector, payload) in shard.items.items():
            shard.items[name] = (vector - 9 * towards, payload)


@pytest.mark.parametrize("id_type", list(IdType))
@pytest.mark.parametrize("shards", [1, 2, 3, 8])
@pytest.mark.parametrize("k", [100, 128, 400, 1_400, 2_000])
async def test_the_answer_is_that_of_asking_for_all(id_type: IdType, shards: int, k: int) -> None:
    """Whatever k is, with scores that are equal in droves, hits and their order are the same."""
    cluster = await filled(shards, ROWS, id_type)
    request = search(k)
    check(cluster, request, await cluster.fanout.search(request, soon()))


async def test_shards_are_asked_for_their_share_once() -> None:
    """With items spread as ever, one question is enough, and most hits never travel."""
    cluster = await filled(8, 4_000)
    request = SearchRequest(
        COLLECTION, np.random.default_rng(5).standard_normal((4, DIM)).astype(np.float32), 1_000
    )
    check(cluster, request, await cluster.fanout.search(request, soon()))
    assert [shard.widths for shard in cluster.shards] == [[(4, share_of(1_000, 8))]] * 8


async def test_a_shard_that_has_more_is_asked_again() -> None:
    """The shard that holds all of the best is asked again, for the queries in doubt alone."""
    cluster = await filled(3, ROWS)
    lonely = np.zeros(DIM, dtype=np.float32)
    lonely[0] = 1.0
    crowd_into_one(cluster, lonely)
    request = SearchRequest(COLLECTION, np.stack([lonely, -lonely]), 300)
    check(cluster, request, await cluster.fanout.search(request, soon()))
    assert cluster.shards[0].widths == [(2, share_of(300, 3)), (1, 300)]


async def test_a_shard_that_fails_the_second_time_is_missing() -> None:
    """An answer without what the shard had left would be wrong, so the shard counts as failed."""
    cluster = await filled(3, ROWS)
    lonely = np.ones(DIM, dtype=np.float32)
    crowd_into_one(cluster, lonely)

    def fail_from_now_on(hits: Hits) -> Hits:
        cluster.shards[0].fault = NotReady("has gone")
        return hits

    cluster.shards[0].twist = fail_from_now_on
    request = SearchRequest(COLLECTION, lonely[None, :], 300)
    with pytest.raises(PartialResult, match=r"shard-0.*has gone"):
        await cluster.fanout.search(request, soon())


async def test_fewer_hits_than_asked_for() -> None:
    """A caller who takes a part of k gets the best of them."""
    cluster = await filled(3, ROWS)
    whole, part = search(400), SearchRequest(COLLECTION, coarse_vectors(3, 4), 400, take=7)
    everything = await cluster.fanout.search(whole, soon())
    hits = await cluster.fanout.search(part, soon())
    assert hits.ids.tolist() == everything.ids[:, :7].tolist()
    assert hits.counts.tolist() == [7] * 4


@pytest.mark.parametrize("shards", [2, 3, 8, 100, 1_000])
@pytest.mark.parametrize("k", [128, 1_000, 10_000])
def test_a_share_is_rarely_too_small(shards: int, k: int) -> None:
    """Of 2,000 random placements of the k best, hardly any gives a shard more than its share."""
    share = share_of(k, shards) or k
    held = np.random.default_rng(k + shards).binomial(k, 1 / shards, 2_000)
    assert np.mean(held > share) <= 0.002
