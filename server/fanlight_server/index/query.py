"""What every part of a view is asked, and how a block of rows answers.

Law: the kernel computes every score, in float64 from the vectors as they were put, and rounds it
to float32 once. It is therefore the same wherever an item lies and however it was found; equal
vectors get equal scores, and equal scores are ordered by id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

import fanlight_kernel as kernel
from fanlight.filters import Filter
from fanlight.ids import empty, id_type_of
from fanlight.model import Floats, Rows
from fanlight.topk import TopK
from fanlight_server.index.bits import Bits
from fanlight_server.index.block import Block
from fanlight_server.index.excluded import Excluded
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
        excluded: what is not to be found; None for nothing.
        walk: what a walk compares.
        threads: threads for a batch.
        time_left: tells how many seconds remain; None for any number.
    """

    vectors: Floats
    k: int
    ef: int | None
    filter: Filter | None = None
    excluded: Excluded | None = None
    walk: Walk = "codes"
    threads: int = 1
    time_left: Callable[[], float | None] = _for_ever

    def __len__(self) -> int:
        """Count the queries."""
        return len(self.vectors)


class Answer(NamedTuple):
    """What was found.

    Attributes:
        hits: of all queries; a count of -1 where the time ran out.
        whole: whether it never did.
    """

    hits: TopK
    whole: bool


def search_parts(
    queries: Queries, parts: kernel.Parts, allowed: Sequence[Bits | None] | None
) -> Answer:
    """Search several blocks with int64 ids, which are their order, and their graphs as one.

    Args:
        queries: n queries.
        parts: the blocks and graphs.
        allowed: rows that may be returned, for each of them; None for all.

    Returns:
        Hits of width k.
    """
    found = parts.search(
        queries.vectors,
        queries.k,
        queries.ef,
        allowed,
        walk=queries.walk,
        threads=queries.threads,
        timeout_s=queries.time_left(),
    )
    return Answer(TopK(found.rows, found.scores, found.counts), found.done == len(queries))


def scan(queries: Queries, block: Block, k: int, allowed: Bits | None, *, codes: bool) -> Answer:
    """Compare every allowed row.

    Args:
        queries: n queries.
        block: the rows.
        k: hits wanted, at least 1.
        allowed: rows that may be returned; None for all.
        codes: let the codes choose which rows are scored, which reads a quarter as much and
            misses few; otherwise every row is scored.

    Returns:
        Hits of width k.
    """
    found = block.scored.scan(
        queries.vectors,
        k,
        allowed,
        threads=queries.threads,
        timeout_s=queries.time_left(),
        codes=codes,
    )
    return _answer(block, found, int(found.counts.min()))


def walk(
    queries: Queries, graph: kernel.Graph, block: Block, k: int, allowed: Bits | None, ef: int
) -> Answer:
    """Walk a graph over a block.

    Where a walk ends with fewer hits than it should find, every row is compared: of a graph over
    many equal vectors parts cannot be reached.

    Args:
        queries: n queries.
        graph: the graph.
        block: its rows.
        k: hits wanted, from 1 to the number of allowed rows.
        allowed: rows that may be returned.
        ef: candidates kept.

    Returns:
        Hits of width k.
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
    least = int(found.counts.min())
    answer = _answer(block, found, least)
    if least < k:
        short = np.flatnonzero((found.counts >= 0) & (found.counts < k))
        rest = replace(queries, vectors=queries.vectors[short])
        if len(short):
            answer = _completed(answer, short, scan(rest, block, k, allowed, codes=True))
    return answer


def nothing(queries: Queries, block: Block) -> Answer:
    """Answer for a block of which no row may be returned: hits of width 0."""
    shape, n = (len(queries), 0), len(queries)
    ids = empty(id_type_of(block.ids), shape)
    return Answer(TopK(ids, np.empty(shape, np.float32), np.zeros(n, dtype=np.int64)), True)


def _answer(block: Block, found: kernel.Found, least: int) -> Answer:
    """Put ids in the place of rows; `least` is the least count."""
    ids = block.ids[found.rows]
    if least < found.rows.shape[1]:
        ids[found.rows < 0] = empty(id_type_of(ids), 1)[0]
    return Answer(TopK(ids, found.scores, found.counts), least >= 0)


def _completed(answer: Answer, rows: Rows, again: Answer) -> Answer:
    """Put answers in the place of those of some queries."""
    hits, other = answer.hits, again.hits
    hits.ids[rows], hits.scores[rows], hits.counts[rows] = other.ids, other.scores, other.counts
    return Answer(hits, answer.whole and again.whole)
