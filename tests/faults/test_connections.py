"""Peers who are silent, slow or too large are turned away, and others notice nothing."""

from __future__ import annotations

import resource

import psutil
from tests.faults import connections
from tests.faults.under_load import COLLECTION, crashes, loaded_cluster

import fanlight


def test_bad_peers_are_closed_and_a_good_one_is_served() -> None:
    """All are closed or refused; the caller beside them gets every answer."""
    seed = 20_261_129
    outcome = connections.run(10, seed, connections=300)
    assert outcome.acknowledged > 0
    assert outcome.failures == 0, (seed, outcome.notes)


def test_without_the_limits_silent_peers_stay() -> None:
    """The positive control: where the limits are long, the same connections stay open."""
    assert connections.patient_server_keeps(20, seed=1) == 20


def test_out_of_descriptors_is_no_end() -> None:
    """A router without a descriptor left refuses connections, and serves again afterwards."""
    with loaded_cluster(10, connections.DIM, 1, shards=1) as cluster:
        router = psutil.Process(cluster.process("router").pid)
        few = router.num_fds() + 20
        router.rlimit(resource.RLIMIT_NOFILE, (few, few))
        opened = []
        for _ in range(60):
            opened += connections.silent(cluster.address, 1, preface=True)
        assert crashes(cluster) == 0
        for each in opened:
            each.close()
        with fanlight.Client(cluster.address, timeout=60) as client:
            assert client.collection(COLLECTION).count() == 10
