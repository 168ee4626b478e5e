"""TLS: what does not fit is refused on every hop, and what changes interrupts nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.faults import tls
from tests.faults.secure_cluster import SecureCluster, secure_cluster

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureCluster]:
    """Start one cluster for all tests of this module."""
    with secure_cluster(tmp_path_factory.mktemp("secure")) as running:
        tls.prepare(running)
        yield running


async def test_what_does_not_fit_is_refused(cluster: SecureCluster, tmp_path: Path) -> None:
    """Every mismatch of every hop is refused, and what fits gets through."""
    made, wrong = await tls.run_matrix(cluster, tmp_path)
    assert made >= 20
    assert wrong == []


def test_rotation_fails_no_call(cluster: SecureCluster) -> None:
    """Broken files, new certificates and a new authority, under load: no call fails.

    A client from before the rotation finds a restarted router again, with its own new files.
    """
    with cluster.client("root") as before:
        before.collection(tls.COLLECTION).count()
        with tls.Load(cluster) as load:
            assert tls.break_files(cluster) == []
            tls.rotate(cluster)
        assert load.failures == []
        assert load.calls > 0
        cluster.restart_router()
        vector = np.ones((1, 4), dtype=np.float32)
        hits = before.collection(tls.COLLECTION).search(vector, k=1, timeout=tls.WAIT_S)
        assert hits.counts.tolist() == [1]
    assert all(process.exit_status is None for process in cluster.processes)
