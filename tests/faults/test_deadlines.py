"""Deadlines hold over slow shards, and nothing is done for callers whose time is over."""

from __future__ import annotations

import asyncio

from tests.faults import deadlines
from tests.faults.under_load import crashes, loaded_cluster


def test_a_stopped_shard_delays_nobody_for_long() -> None:
    """Callers of 50 ms hear of it, whatever the shard does; bounds of time are for the long form."""
    with loaded_cluster(500, deadlines.DIM, 1) as cluster:
        message = deadlines.message_of(1, 5, False, 1)
        with deadlines.stopped(cluster.process("shard-0").pid):
            late, codes = asyncio.run(deadlines.ask(cluster.address, message, 60, 0.05))
        assert max(late) < 10, "nobody hangs"
        assert set(codes) <= {"DEADLINE_EXCEEDED", "UNAVAILABLE"}, codes
        _, codes = asyncio.run(deadlines.ask(cluster.address, message, 20, 60.0))
        assert codes == {"OK": 20}, "and it serves again"
        assert crashes(cluster) == 0


def test_what_is_over_is_not_begun() -> None:
    """Searches that expired in a shard's queue cost it next to nothing; wanted ones cost much."""
    with loaded_cluster(
        deadlines.ROWS, deadlines.DIM, 2, shards=1, server=deadlines.PATIENT
    ) as cluster:
        whole_s = deadlines.finished_work_s(cluster, 40)
        wasted_s, codes = deadlines.queued_work_s(cluster, 0.05, 40)
        assert codes == {"DEADLINE_EXCEEDED": 40}
        assert whole_s > 0.2, "the positive control: this is much work"
        assert wasted_s < 0.5 * whole_s, (wasted_s, whole_s)
