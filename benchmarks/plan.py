"""What a run measures, and how long."""

from __future__ import annotations

from dataclasses import dataclass

from contenders.registry import ENGINES
from load.drivers import CallerKind

SECTIONS = ("kernel", "serving", "curve", "latency", "ingest", "growth")


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthPlan:
    """What is varied, one thing at a time, from a cluster over generated vectors.

    Attributes:
        rows: items, where they are not varied.
        dim: elements of a vector, where they are not varied.
        items: numbers of items.
        dims: elements of a vector.
        shards: numbers of shards.
        ks: hits of a query.
        callers: callers with single queries.
    """

    rows: int = 20_000
    dim: int = 128
    items: tuple[int, ...] = (12_500, 25_000, 50_000, 100_000)
    dims: tuple[int, ...] = (32, 128, 384, 768)
    shards: tuple[int, ...] = (1, 2, 4, 8, 16)
    ks: tuple[int, ...] = (1, 10, 100, 1_000)
    callers: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run measures.

    Attributes:
        sections: of `SECTIONS`.
        engines: names of `ENGINES`; those not installed are left out.
        shards: of the cluster, and partitions of the yardstick.
        search_threads: of hnswlib and the kernel in a batch; 0 for one a core.
        k: hits of a query.
        ef: of the yardstick; its recall is what every engine must reach.
        recall: what every engine must reach, the yardstick too; None for that of its `ef`.
        m: links of a graph node.
        ef_construction: candidates kept while a graph is built.
        seconds: of each measurement.
        rounds: measurements of each figure, the engines in turn; the median counts.
        callers: numbers of callers with single queries.
        batches: queries of a batch, with the number of callers that send such batches.
        efs: of the curve of recall against speed.
        fractions: of peak load, for latency.
        caller_kind: what callers of servers are.
        seed: of arrivals and generated vectors.
        settings: of the Fanlight cluster, as `fanlight up` takes them.
        growth: of the section of that name.
    """

    sections: tuple[str, ...] = SECTIONS
    engines: tuple[str, ...] = tuple(ENGINES)
    shards: int = 2
    search_threads: int = 0
    k: int = 10
    ef: int = 64
    recall: float | None = None
    m: int = 16
    ef_construction: int = 200
    seconds: float = 3.0
    rounds: int = 3
    callers: tuple[int, ...] = (1, 8, 32, 64, 128)
    batches: tuple[tuple[int, int], ...] = ((32, 1), (32, 8), (1_000, 1), (1_000, 2))
    efs: tuple[int, ...] = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
    fractions: tuple[float, ...] = (0.1, 0.25, 0.5, 0.7, 0.8, 0.9)
    caller_kind: CallerKind = "tasks"
    seed: int = 0
    settings: tuple[str, ...] = ()
    growth: GrowthPlan = GrowthPlan()


# Generated vectors: items and elements, of a full run and of a quick one.
ROWS = 100_000, 128
QUICK_ROWS, QUICK_DIM = 4_000, 64
QUICK_GROWTH = GrowthPlan(
    rows=2_000,
    dim=32,
    items=(1_000, 2_000),
    dims=(64,),
    shards=(1, 2),
    ks=(10, 100),
    callers=(1, 8),
)
QUICK = Plan(
    ef=24,
    seconds=0.3,
    rounds=1,
    callers=(1, 32),
    batches=((32, 1), (1_000, 1)),
    efs=(10, 32, 128),
    fractions=(0.25, 0.5),
    # So few rows lie in the head until the shard has been idle for a while.
    settings=("server.index.idle_s=0.2",),
    growth=QUICK_GROWTH,
)
