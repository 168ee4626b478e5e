"""Two of what may be only one; see `tests.faults.clashes`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults import clashes
from tests.faults.clashes import CLASHES, SHARDS, Clash
from tests.faults.clusters import running

from fanlight.cli.local_cluster import LocalCluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Run a cluster that must not notice, in a folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), shards=SHARDS) as started:
        clashes.fill(started)
        yield started


@pytest.mark.parametrize("clash", CLASHES, ids=lambda clash: clash.what)
def test_the_second_is_refused_and_names_the_first(cluster: LocalCluster, clash: Clash) -> None:
    """It ends, or sends nothing; its words name the other; the first goes on unharmed."""
    assert clashes.tried(clash, cluster) == ""


def test_what_is_not_refused_is_caught(cluster: LocalCluster) -> None:
    """A second that was let through, and a changed item, would be seen."""
    assert "is seen" in clashes.caught(cluster)
