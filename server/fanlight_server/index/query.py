"""What every part of a view is asked, and how a block of rows answers.

Law: the kernel computes every score, in float64 from the vectors as they were put, and rounds it
to float32 once. It is therefore the same wherever an item lies and however it was found; equal
vectors get equal scores, and equal scores are ordered by id.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

import fanlight_kernel as kernel
from fanlight.filters import Filter
from fanlight.ids import empty, id_type_of
from fanlight.model import Floats
from fanlight.topk import TopK
from fanlight_server.index.bits import Bits
from fanlight_server.index.block import Block
from fanlight_server.index.settings import Walk


def _for_ever() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Queries:
    """n queries that are searched in the same way.

    Attributes:
        vectors: (n, dim) float32, finite.
        k: hits wanted.
        ef: candidates kept by a walk; None to compare every row.
        filter: find only rows that satisfy it; None for all.
        walk: what a walk compares.
        threads: threads for a batch.
        time_left: tells how many seconds remain; None for any number.
    """

    vectors: Floats
    k: int
    ef: int | None
    filter: Filter | None = None
    walk: Walk = "codes"
    threads: int = 1
    time_left: Callable[[], float | None] = _for_ever

    def __len__(self) -> int:
        """Count the queries."""
        return len(self.vectors)


def scan(queries: Queries, block: Block, k: int, allowed: Bits | None, *, codes: bool) -> TopK:
    """Compare every allowed row.

    Args:
        queries: n queries.
        block: the rows.
        k: hits wanted, at least 1.
        allowed: rows that may be returned; None for all.
        codes: let the codes choose which rows are scored: four times as fast, and of 1,000
            true neighbours about one is missed.

    Returns:
        Hits of width k; a count of -1 where the time ran out.
    """
    found = block.scored.scan(
        queries.vectors,
        k,
        allowed,
        threads=queries.threads,
        timeout_s=queries.time_left(),
        codes=codes,
    )
    return _named(block, found)


def walk(
    queries: Queries, graph: kernel.Graph, block: Block, k: int, allowed: Bits | None, ef: int
) -> TopK:
    """Walk a graph over a block; see `scan`.

    Where a walk ends with fewer hits than it should find, every row is compared: of a graph over
    many equal vectors parts cannot be reached.

    Args:
        queries: n queries.
        graph: the graph.
        block: its rows.
        k: hits wanted, from 1 to the number of allowed rows.
        allowed: rows that may be returned.
        ef: candidates kept.
    """
    found = graph.search(
        queries.vectors,
        k,
        ef,
        allowed,
        walk=queries.walk,
        threads=queries.threads,
        timeout_s=queries.time_left(),
    )
    hits = _named(block, found)
    if found.counts.min() < k:
        short = np.flatnonzero((found.counts >= 0) & (found.counts < k))
        again = scan(
            replace(queries, vectors=queries.vectors[short]), block, k, allowed, codes=True
        )
        hits.ids[short], hits.scores[short], hits.counts[short] = (
            again.ids,
            again.scores,
            again.counts,
        )
    return hits


def nothing(queries: Queries, block: Block) -> TopK:
    """Answer for a block of which no row may be returned: hits of width 0."""
    shape, n = (len(queries), 0), len(queries)
    ids = empty(id_type_of(block.ids), shape)
    return TopK(ids, np.empty(shape, np.float32), np.zeros(n, dtype=np.int64))


def _named(block: Block, found: kernel.Found) -> TopK:
    """Put ids in the place of rows."""
    ids = block.ids[found.rows]
    if found.counts.min() < found.rows.shape[1]:
        ids[found.rows < 0] = empty(id_type_of(ids), 1)[0]
    return TopK(ids, found.scores, found.counts)
