"""How a cluster stands, as a value and on the wire."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fanlight.cluster import ClusterStatus, ShardState, ShardStatus
from fanlight.errors import NotReady
from fanlight.model import CollectionInfo, CollectionSpec
from fanlight.placement import ShardIdentity
from fanlight.v1 import cluster_pb2 as pb
from fanlight.wire.cluster_codec import from_cluster_status, from_shard_status, to_cluster_status

MOVIES = CollectionInfo(CollectionSpec("movies", dim=3), version=2, items=5, segments=1)
GONE = CollectionInfo(CollectionSpec("gone", dim=3), version=7, items=9, deleted=True)
SERVING = ShardStatus(
    identity=ShardIdentity("local", 0, 2),
    address="localhost:7701",
    state=ShardState.SERVING,
    collections=(GONE, MOVIES),
    version="0.1.0",
    data_id="a" * 32,
    peers={1: "b" * 32},
)


@pytest.mark.parametrize("state", list(ShardState))
def test_a_status_comes_back_from_the_wire(state: ShardState) -> None:
    """Whatever a cluster says of itself, the reader has the same value."""
    status = ClusterStatus("local", (SERVING, replace(SERVING, state=state)), version="0.2.0")
    message = pb.GetStatusResponse.FromString(to_cluster_status(status).SerializeToString())
    assert from_cluster_status(message) == status


def test_the_reason_comes_with_it() -> None:
    """A shard that does not serve says why, by the class it would be raised with."""
    lost = replace(SERVING, state=ShardState.UNREACHABLE, error=NotReady("cannot be reached"))
    [shard] = from_cluster_status(to_cluster_status(ClusterStatus("local", (lost,), ""))).shards
    assert isinstance(shard.error, NotReady)
    assert str(shard.error) == "cannot be reached"


def test_an_unknown_state_is_no_service() -> None:
    """A state of a later version is not taken for serving."""
    assert from_shard_status(pb.ShardStatus()).state is ShardState.NOT_SERVING


def test_a_shard_counts_live_items() -> None:
    """Items of deleted collections do not count."""
    assert SERVING.items == 5


def test_a_cluster_is_complete_when_all_serve() -> None:
    """One shard that does not serve makes the cluster incomplete."""
    drains = replace(SERVING, state=ShardState.NOT_SERVING)
    assert ClusterStatus("local", (SERVING, SERVING), "").complete
    assert not ClusterStatus("local", (SERVING, drains), "").complete
