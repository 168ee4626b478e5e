"""How cost grows with items, dimensions, shards, hits and callers, one varied at a time."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from typing import Any

from rich.console import Console

from contenders.contract import Setup
from contenders.fanlight_cluster import FanlightCluster, FanlightEndpoint
from contenders.processes import cpu_of, memory_mb
from lineup import setup_of
from load.drivers import CallerProcess
from load.figures import Load
from load.shape import poisson_arrivals
from measure.serving import Measured, cpu_per_query
from plan import Plan
from workload import Answers, Workload, clustered

_PEAK_CALLERS = 64


class Growth:
    """The section; a cluster is started for every number of items, dimensions and shards."""

    def __init__(self, plan: Plan, console: Console) -> None:
        """Prepare; nothing is started."""
        self._plan, self._console = plan, console
        self._callers = CallerProcess(plan.caller_kind)
        self._base = clustered(max(plan.growth.rows, 1), plan.growth.dim, plan.seed)

    def measure(self) -> dict[str, Any]:
        """Measure all.

        Returns:
            By what is varied, one record a value; "shard_alone": the latency of one shard that
            is asked directly at half of its peak.
        """
        sizes = self._plan.growth
        with self._callers:
            return {
                "items": [self._of(clustered(n, sizes.dim, self._plan.seed)) for n in sizes.items],
                "dims": [self._of(clustered(sizes.rows, d, self._plan.seed)) for d in sizes.dims],
                "shards": [self._of(self._base, shards) for shards in sizes.shards],
                **self._within_one_cluster(),
            }

    def _of(self, work: Workload, shards: int | None = None) -> dict[str, Any]:
        with contextlib.ExitStack() as opened:
            cluster = self._cluster(work, setup_of(self._plan, work, opened, shards), opened)
            record = self._point(cluster, work, self._plan.k, shards or self._plan.shards)
        self._console.print(f"growth: {record['shards']} shards, {work.base.shape}", style="dim")
        return record

    def _cluster(
        self, work: Workload, setup: Setup, opened: contextlib.ExitStack
    ) -> FanlightCluster:
        cluster = FanlightCluster(setup)
        opened.callback(cluster.close)
        cluster.load(work.base)
        return cluster

    def _point(
        self, cluster: FanlightCluster, work: Workload, k: int, shards: int
    ) -> dict[str, Any]:
        ef = max(self._plan.ef, k)
        endpoint = cluster.endpoint(k, ef)
        found = cluster.search(work.queries, k, ef)
        return {
            "rows": len(work.base),
            "dim": work.dim,
            "shards": shards,
            "k": k,
            "ef": ef,
            "recall": Answers.of(work, k).recall(found),
            "servers_memory_mb": memory_mb(cluster.processes().values()),
            "batch": self._closed(cluster, endpoint, work, 1, rows=256),
            "one_caller": self._closed(cluster, endpoint, work, 1),
            "peak": self._closed(cluster, endpoint, work, _PEAK_CALLERS),
        }

    def _closed(
        self,
        cluster: FanlightCluster,
        endpoint: FanlightEndpoint,
        work: Workload,
        callers: int,
        rows: int = 1,
    ) -> dict[str, Any]:
        with cpu_of(cluster.processes()) as spent:
            load = self._callers.ask(endpoint).closed(
                work.queries, callers, self._plan.seconds, rows=rows
            )
        cost = cpu_per_query(Measured(load, spent))
        return {**_without_percentiles(load), "cpu_ms_per_query": cost}

    def _within_one_cluster(self) -> dict[str, Any]:
        work, sizes = self._base, self._plan.growth
        with contextlib.ExitStack() as opened:
            cluster = self._cluster(work, setup_of(self._plan, work, opened), opened)
            by_k = [self._point(cluster, work, k, self._plan.shards) for k in sizes.ks]
            self._console.print("growth: k", style="dim")
            endpoint = cluster.endpoint(self._plan.k, self._plan.ef)
            by_callers = [
                {"callers": callers, **self._closed(cluster, endpoint, work, callers)}
                for callers in sizes.callers
            ]
            self._console.print("growth: callers", style="dim")
            return {"k": by_k, "callers": by_callers, "shard_alone": self._alone(cluster, work)}

    def _alone(self, cluster: FanlightCluster, work: Workload) -> dict[str, Any]:
        driver = self._callers.ask(cluster.shard_endpoint(self._plan.k, self._plan.ef))
        peak = driver.closed(work.queries, _PEAK_CALLERS, self._plan.seconds).per_second
        # Its tail is what a fan-out over many shards meets, so it is measured for longer.
        arrivals = poisson_arrivals(peak / 2, 5 * self._plan.seconds, self._plan.seed)
        load = driver.arriving(work.queries, arrivals)
        return {"peak_per_second": peak, "offered_per_second": peak / 2, **asdict(load)}


def _without_percentiles(load: Load) -> dict[str, Any]:
    return {name: value for name, value in asdict(load).items() if name != "percentiles"}
