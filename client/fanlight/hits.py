"""What is done to hits around the search itself: queries by id, payloads and vectors.

A shard server asked directly and a router do the same three steps: turn ids into query
vectors, search, and fetch the columns of the winners only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fanlight.errors import FanlightError, NotFound
from fanlight.ids import empty, id_type_of
from fanlight.model import NO_SCORE, Hits, IdColumn, Items, Rows, SearchRequest


def rows_by_id(ids: IdColumn) -> Mapping[object, int]:
    """Map each id to its row."""
    return {value: row for row, value in enumerate(ids.tolist())}


def by_vector(
    request: SearchRequest, found: Items
) -> tuple[SearchRequest, dict[int, FanlightError]]:
    """Turn queries by id into queries by vector, each for one hit more than asked.

    Args:
        request: a request with `ids`.
        found: those of the ids that exist, with vectors.

    Returns:
        The request to search with, and the queries whose id is not found, by row. Such a query
        has a NaN vector, so that the searchers refuse it as well.
    """
    assert request.ids is not None
    assert found.vectors is not None
    row_of = rows_by_id(found.ids)
    ids = request.ids.tolist()
    rows = [row_of.get(value) for value in ids]
    vectors = np.full((len(rows), found.vectors.shape[1]), np.nan, dtype=np.float32)
    errors: dict[int, FanlightError] = {}
    for query, row in enumerate(rows):
        if row is None:
            message = f"ids: no item has the id {ids[query]!r}"
            errors[query] = NotFound(message, field="ids")
        else:
            vectors[query] = found.vectors[row]
    searched = replace(
        request, vectors=vectors, ids=None, k=request.k + 1, with_payloads=False, with_vectors=False
    )
    return searched, errors


def without_own(hits: Hits, ids: IdColumn, errors: Mapping[int, FanlightError], k: int) -> Hits:
    """Drop each query's own item from its hits and cut them to k.

    Args:
        hits: (n, k + 1) hits of queries by id.
        ids: (n,) the queries' ids.
        errors: the queries that failed before the search; they replace the searchers' own.
        k: hits wanted.
    """
    own = hits.ids == ids[:, None]
    order = np.argsort(own, axis=1, kind="stable")[:, :k]
    kept_ids = np.where(own, empty(id_type_of(ids), own.shape), hits.ids)
    kept_scores = np.where(own, NO_SCORE, hits.scores)
    scores = np.take_along_axis(kept_scores, order, axis=1)
    counts: Rows = np.count_nonzero(~np.isnan(scores), axis=1).astype(np.int64)
    return replace(
        hits,
        ids=np.take_along_axis(kept_ids, order, axis=1),
        scores=scores,
        counts=counts,
        errors={**hits.errors, **errors},
    )


def first(hits: Hits, width: int) -> Hits:
    """Keep the best `width` hits of each query."""
    if hits.ids.shape[1] <= width:
        return hits
    counts = np.minimum(hits.counts, width)
    return replace(hits, ids=hits.ids[:, :width], scores=hits.scores[:, :width], counts=counts)


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
