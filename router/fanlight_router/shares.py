"""How many of k hits to ask each shard for at first, and whether that was enough.

Law: the answer is the same as if every shard had sent all k. Items are spread over shards by a
hash of their ids, so of the k best a shard holds about k / shards, and most of what a shard sends
for a large k is dropped in the merge.
"""

from __future__ import annotations

import math

import numpy as np

from fanlight.ids import empty, id_type_of
from fanlight.model import NO_SCORE, Hits, Rows

# Below this many hits all of them travel: it saves nothing, and no second question is ever asked.
_K_MIN = 128
# Standard deviations above the mean. The hits of a shard are binomial; 4 are exceeded once in
# 30,000 (normal approximation), and a second question then costs as much as the first.
_DEVIATIONS = 4.0


def share_of(k: int, shards: int) -> int | None:
    """Tell how many of k hits to ask each of so many shards for; None for all of them."""
    if k < _K_MIN or shards < 2:
        return None
    mean = k / shards
    share = math.ceil(mean + _DEVIATIONS * math.sqrt(mean * (1 - 1 / shards)))
    return share if share < k else None


def short_queries(best: Hits, part: Hits, share: int) -> Rows:
    """Find the queries for which a shard may have more of the k best hits than it sent.

    Args:
        best: the merged hits, (n, k).
        part: what the shard sent, (n, share).
        share: how many hits it was asked for.
    """
    sent_all_asked = part.counts == share
    last_sent = part.scores[:, share - 1]
    kth_best = best.scores[:, -1]
    # A NaN says that there are fewer than k: whatever the shard has left is among the best.
    among_best = ~(last_sent < kth_best)
    return np.flatnonzero(sent_all_asked & among_best)


def with_rest(part: Hits, rows: Rows, whole: Hits, k: int) -> Hits:
    """Put the whole answer to some queries in the place of their shares.

    Args:
        part: (n, share) hits.
        rows: the queries that were asked again.
        whole: their (len(rows), k) hits.
        k: width of the result.
    """
    ids = empty(id_type_of(part.ids), (len(part.counts), k))
    scores = np.full(ids.shape, NO_SCORE, dtype=np.float32)
    counts = part.counts.copy()
    ids[:, : part.ids.shape[1]], scores[:, : part.ids.shape[1]] = part.ids, part.scores
    ids[rows], scores[rows], counts[rows] = whole.ids, whole.scores, whole.counts
    errors = {**part.errors, **{int(rows[row]): error for row, error in whole.errors.items()}}
    return Hits(ids, scores, counts, part.coverage, errors, excluded=part.excluded)
