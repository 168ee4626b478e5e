"""After an I/O error nothing is acknowledged; see `tests.faults.io_errors`."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults import io_errors
from tests.faults.faulty_disk import SYNC, WRITE, Control, environment
from tests.faults.one_shard import OneShard
from tests.pieces import floats

import fanlight
from fanlight.cluster import ShardState
from fanlight.errors import NotReady
from fanlight.wire.serving import SERVICES

SEED = 20261129


@pytest.mark.slow
def test_nothing_is_acknowledged_after_an_error() -> None:
    """Wherever a call fails: no write is acknowledged after it, and none before it is lost."""
    tally = io_errors.tried(4.0, SEED)
    outcome = io_errors.outcome_of(tally, SEED)
    assert outcome.failures == 0, outcome
    assert tally.told > 0
    assert tally.fired["write"] > 0
    assert tally.fired["sync"] > 0


@pytest.mark.slow
def test_a_disk_that_forgets_is_caught() -> None:
    """The trials see acknowledgements after an error where there are some."""
    assert io_errors.tried(1.0, SEED, careless=True).told_after


@pytest.mark.slow
@pytest.mark.parametrize("kind", [WRITE, SYNC])
def test_a_shard_whose_disk_failed_says_so(tmp_path: Path, kind: int) -> None:
    """Callers, status, health and log tell it; searches go on; a restart takes writes again."""
    data, control = tmp_path / "data", tmp_path / "control"
    data.mkdir()
    ids = list(range(50))
    with (
        Control(control) as faults,
        OneShard(data, env=environment(data, control=control)) as shard,
        fanlight.Client(shard.address, max_attempts=1) as client,
    ):
        things = client.create_collection("things", dim=8)
        things.upsert(ids, floats(1, 50, 8))
        assert client.status().complete
        faults.fail(kind, 1)
        for _ in range(3):
            with pytest.raises(
                NotReady, match="the shard's disk failed at writing its items"
            ) as caught:
                things.upsert([50], floats(2, 1, 8))
            assert str(data) not in str(caught.value)
        with pytest.raises(NotReady):
            client.create_collection("more", dim=8)
        assert faults.fired == 1
        assert things.search(floats(1, 1, 8), k=50).counts.tolist() == [50]
        assert len(things.get(ids).ids) == 50
        status = client.status().shards[0]
        assert status.state is ShardState.READ_ONLY
        assert "disk failed" in str(status.error)
        health = {name: shard.is_healthy(name) for name in ("", *SERVICES)}
        assert health == {
            "": True,
            "fanlight.v1.SearchService": True,
            "fanlight.v1.ClusterService": True,
            "fanlight.v1.ItemService": False,
            "fanlight.v1.CollectionService": False,
            "fanlight.v1.SetService": False,
        }
        assert shard.stop() == 0
        assert shard.log.read_text().count("the disk failed at writing the items") == 1
    with OneShard(data) as shard, fanlight.Client(shard.address) as client:
        things = client.collection("things")
        assert things.count() >= 50
        things.upsert([50], floats(2, 1, 8))
        assert things.count() == 51
