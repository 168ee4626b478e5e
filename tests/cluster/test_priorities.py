"""Messages come before searches, in the processes as they run."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import fanlight
from fanlight.cli.local_cluster import LocalCluster
from fanlight_server.priority import SEARCHES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities on Linux alone"),
]
VECTORS = np.random.default_rng(seed=5).standard_normal((3_000, 32), dtype=np.float32)


def test_threads_that_search_give_way_to_those_that_speak(
    cluster: LocalCluster, client: fanlight.Client
) -> None:
    """Whichever kind of search came first: a single one, on the event loop, or many, in threads."""
    items = client.create_collection("things", dim=VECTORS.shape[1])
    items.upsert(np.arange(len(VECTORS)), VECTORS)
    items.search(VECTORS[0], k=1)
    items.search(VECTORS[:500], k=10, exact=True)
    for process in cluster.processes:
        if process.name.startswith("shard"):
            check(process.pid)


def check(pid: int) -> None:
    """Look at all threads of a shard server, whose event loop is its first."""
    priorities, names = dict[int, int](), dict[int, str]()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # a thread that has just ended
            names[int(task.name)] = (task / "comm").read_text().strip()
            priorities[int(task.name)] = os.getpriority(os.PRIO_PROCESS, int(task.name))
    own = os.getpriority(os.PRIO_PROCESS, os.getpid())
    assert priorities[pid] == own
    assert max(own, SEARCHES) in priorities.values()
    helpers = [thread for thread in priorities if names[thread] == "fanlight-kernel"]
    assert {priorities[thread] for thread in helpers} <= {max(own, SEARCHES)}
