"""How a shard builds and keeps its index. Safe to change on restart."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from annotated_types import Interval

MIB = 1 << 20
# What one call of the kernel takes.
_THREADS_MAX = 256

# What a graph walk compares.
Walk: TypeAlias = Literal["codes", "vectors"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexConfig:
    """Sizes and shares that steer sealing, building and merging.

    Attributes:
        head_bytes: bytes of float32 vectors in the head before it is sealed. Every search
            scans the head; 4 MiB take about 0.2 ms of one core (0.18 ms at 784 dimensions, 0.23 ms
            at 128, measured).
        unindexed_bytes: bytes of vectors without a graph (sealed blocks) past which writes wait
            for the builder.
        unindexed_bytes_searched: the same while searches come, if that is less. Every search scans these rows, so
            it bounds how much slower searches get during ingest.
        build_threads: threads that build graphs, at low priority; 0 for half of the cores.
        segments_max: segments at rest; more are merged.
        dead_share_max: share of dead rows past which a segment is rebuilt without them.
        idle_s: seconds without a write after which the head is sealed and indexed, so that
            searches at rest scan little.
        idle_rows_min: rows below which an idle head is left as it is: scanning so few is
            faster than walking a graph.
        vectors: "ram": the vectors of segments are brought into memory when a segment is opened,
            like all of it. "mmap": they stay on disk, and searches read the rows that they
            score; memory then holds codes and links, about a third (see benchmarks/memory.py).
    """

    head_bytes: Annotated[int, Interval(ge=4096, le=1 << 30)] = MIB // 4
    unindexed_bytes: Annotated[int, Interval(ge=4096, le=1 << 36)] = 4 * MIB
    unindexed_bytes_searched: Annotated[int, Interval(ge=4096, le=1 << 36)] = MIB // 2
    build_threads: Annotated[int, Interval(ge=0, le=_THREADS_MAX)] = 0
    segments_max: Annotated[int, Interval(ge=1, le=64)] = 2
    dead_share_max: Annotated[float, Interval(gt=0, le=1)] = 0.2
    idle_s: Annotated[float, Interval(ge=0, le=86_400)] = 2.0
    idle_rows_min: Annotated[int, Interval(ge=1, le=1_000_000)] = 512
    vectors: Literal["ram", "mmap"] = "ram"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """How a shard searches.

    Attributes:
        threads: threads that search; 0 for one a core.
        ef_search_default: candidates of a graph walk when the request does not say. 100 gives
            recall@10 of 1.000 on the 8,000 embeddings in examples/, on 3 shards.
        walk: what a graph walk compares: "codes", 8 bits an element, after which the best
            candidates are scored exactly; or "vectors", which reads four times as much. With those no
            rows are chosen by codes, where there is no graph either.
    """

    threads: Annotated[int, Interval(ge=0, le=_THREADS_MAX)] = 0
    ef_search_default: Annotated[int, Interval(ge=1, le=100_000)] = 100
    walk: Walk = "codes"

    @property
    def worker_threads(self) -> int:
        """Tell the number of threads, resolved for this machine."""
        return min(self.threads or os.cpu_count() or 1, _THREADS_MAX)
