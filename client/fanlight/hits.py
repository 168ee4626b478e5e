"""What is done to hits around the search itself: what is left out, payloads and vectors.

A shard server asked directly and a router do the same: search, and fetch the columns of the
winners only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fanlight.ids import among, empty, id_type_of
from fanlight.model import NO_SCORE, Coverage, Hits, IdColumn, Items, Rows


def rows_by_id(ids: IdColumn) -> Mapping[object, int]:
    """Map each id to its row."""
    return {value: row for row, value in enumerate(ids.tolist())}


def without(hits: Hits, left_out: Sequence[IdColumn]) -> Hits:
    """Drop ids from the hits of each query; the others move up.

    Args:
        hits: (n, w) hits.
        left_out: for each query the ids to drop; empty for none at all.
    """
    if not any(map(len, left_out)):
        return hits
    dropped: NDArray[np.bool_] = np.zeros(hits.scores.shape, dtype=np.bool_)
    for row, ids in enumerate(left_out):
        if len(ids) == 1:
            dropped[row] = hits.ids[row] == ids[0]
        elif len(ids):
            dropped[row] = among(hits.ids[row], ids)
    dropped &= np.arange(dropped.shape[1]) < hits.counts[:, None]
    order = np.argsort(dropped, axis=1, kind="stable")
    ids_kept = np.where(dropped, empty(id_type_of(hits.ids), dropped.shape), hits.ids)
    scores = np.where(dropped, NO_SCORE, hits.scores)
    counts: Rows = hits.counts - np.count_nonzero(dropped, axis=1)
    return replace(
        hits,
        ids=np.take_along_axis(ids_kept, order, axis=1),
        scores=np.take_along_axis(scores, order, axis=1),
        counts=counts,
    )


def first(hits: Hits, width: int) -> Hits:
    """Keep the best `width` hits of each query."""
    if hits.ids.shape[1] <= width:
        return hits
    return replace(
        hits,
        ids=hits.ids[:, :width],
        scores=hits.scores[:, :width],
        counts=np.minimum(hits.counts, width),
        interests=None if hits.interests is None else hits.interests[:, :width],
    )


def real_ids(hits: Hits) -> IdColumn:
    """List the ids of all real hits, query after query."""
    ids: IdColumn = hits.ids[np.arange(hits.ids.shape[1]) < hits.counts[:, None]]
    return ids


def attach(hits: Hits, items: Items) -> Hits:
    """Add payloads and vectors to hits.

    An item that was deleted after it was found keeps its place, with no payload and a NaN
    vector.

    Args:
        hits: the merged hits.
        items: the items of `real_ids(hits)`, each at least once, with the columns asked for.
    """
    row_of = rows_by_id(items.ids)
    rows = [row_of.get(value, -1) for value in real_ids(hits).tolist()]
    if items.payload_blobs is not None:
        blobs = [*items.payload_blobs, b""]
        hits = replace(hits, payload_blobs=[blobs[row] for row in rows])
    if items.vectors is not None:
        dim = items.vectors.shape[1]
        padded = np.concatenate((items.vectors, np.full((1, dim), np.nan, dtype=np.float32)))
        vectors = np.full((*hits.ids.shape, dim), np.nan, dtype=np.float32)
        vectors[np.arange(hits.ids.shape[1]) < hits.counts[:, None]] = padded[rows]
        hits = replace(hits, vectors=vectors)
    return hits


def worse_coverage(one: Coverage, other: Coverage) -> Coverage:
    """Combine what two parts of an answer cover.

    Returns:
        Every failed shard once, the shards that answered both times, and the fewest items that
        either covers.
    """
    totals = (one.items_total, other.items_total)
    failures = {failure.shard: failure for failure in (*one.failures, *other.failures)}
    total = max(one.shards_total, other.shards_total)
    return Coverage(
        shards_total=total,
        shards_answered=min(one.shards_answered, other.shards_answered, total - len(failures)),
        items_total=None if None in totals else max(t for t in totals if t is not None),
        items_covered=min(one.items_covered, other.items_covered),
        failures=tuple(failures.values()),
    )
