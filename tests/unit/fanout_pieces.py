"""What tests of the fan-out ask, and what they hold its answers to."""

from __future__ import annotations

from tests import oracle
from tests.unit.fake_shards import COLLECTION, FakeCluster, coarse_vectors

from fanlight.errors import NotReady
from fanlight.model import Hits, Metric, SearchRequest
from fanlight.topk import TopK

UNREACHABLE = NotReady("cannot be reached")


def request(n: int = 5, k: int = 7, **parameters: object) -> SearchRequest:
    """Make a search for n coarse vectors."""
    parameters = {"vectors": coarse_vectors(2, n), **parameters}
    return SearchRequest(collection=COLLECTION, k=k, **parameters)  # type: ignore[arg-type]  # by name


def expected(cluster: FakeCluster, search: SearchRequest) -> TopK:
    """Search everything that the shards hold by brute force."""
    assert search.vectors is not None
    return oracle.best(Metric.DOT, search.vectors, cluster.ids, cluster.vectors, search.k)


def top(hits: Hits) -> TopK:
    return TopK(hits.ids, hits.scores, hits.counts)
