"""Scores, and the exact scan.

Laws: the score of an item for a query is computed in float64 from the vectors as they were put
and rounded to float32 once. It is therefore the same wherever the item lies and however it was
found, and equal vectors get equal scores. Faster float32 products only choose candidates, with a
margin that covers their rounding error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fanlight.ids import empty, id_type_of, joined
from fanlight.model import Floats, IdColumn, Metric, Rows
from fanlight.topk import TopK, order_best_first
from fanlight.vectors import lengths_of
from fanlight_server.index.block import Bitmap, Block, Doubles

# Unit roundoff of float32, and the smallest product it holds with full precision.
_UNIT = 2.0**-24
_TINY = 2.0**-126
# Floats of one chunk of approximate scores: 16 MiB, so that they stay near the caches and a
# large batch over a large segment does not need gigabytes.
_CHUNK_FLOATS = 4 << 20
# Rows divided in float64 at a time, so that a large segment needs no float64 copy of itself.
_NORMALISED_ROWS = 8_192
# Candidates beyond k that are scored exactly before it is checked whether they were enough.
_SPARE = 16


@dataclass(frozen=True, slots=True)
class Queries:
    """n queries, prepared once for all parts of a view.

    Attributes:
        metric: how to score.
        vectors: (n, dim) float32, as they came.
        lengths: (n,) float64.
        walked: (n, dim) float32: what a graph compares, see `walked_form`.
    """

    metric: Metric
    vectors: Floats
    lengths: Doubles
    walked: Floats

    @classmethod
    def prepare(cls, metric: Metric, vectors: Floats) -> Queries:
        """Prepare valid query vectors, (n, dim) float32."""
        lengths = lengths_of(vectors)
        walked = vectors if metric is Metric.L2 else _divided(vectors, lengths)
        return cls(metric, vectors, lengths, walked)

    def __len__(self) -> int:
        """Count the queries."""
        return len(self.lengths)

    def slice(self, start: int, stop: int) -> Queries:
        """Take the queries from start to stop."""
        part = slice(start, stop)
        return Queries(self.metric, self.vectors[part], self.lengths[part], self.walked[part])


def walked_form(metric: Metric, vectors: Floats, lengths: Doubles) -> Floats:
    """Give the rows of a graph the form that it compares.

    Unit length for cosine. For dot the longest row gets unit length, and queries all do: the
    order stays, and hnswlib's distance, 1 - product in float32, keeps its digits however short
    the vectors are.
    """
    if metric is Metric.L2:
        return vectors
    if metric is Metric.COSINE:
        return _divided(vectors, lengths)
    return _divided(vectors, np.broadcast_to(lengths.max(initial=0.0), lengths.shape))


def _divided(vectors: Floats, lengths: Doubles) -> Floats:
    """Divide each vector by a length of its own; zero vectors stay."""
    divided = np.empty_like(vectors)
    for start in range(0, len(vectors), _NORMALISED_ROWS):
        part = slice(start, start + _NORMALISED_ROWS)
        divided[part] = vectors[part] / np.where(lengths[part] > 0, lengths[part], 1.0)[:, None]
    return divided


def score_rows(queries: Queries, block: Block, rows: Rows) -> Floats:
    """Score candidate rows, the one definition of a score.

    Args:
        queries: n queries.
        block: where the rows are.
        rows: (n, c) int64 candidates of each query; -1 for none.

    Returns:
        (n, c) float32; NaN where there is no candidate.
    """
    scores = np.empty(rows.shape, dtype=np.float64)
    step = max(1, _CHUNK_FLOATS // max(1, rows.shape[1] * block.dim))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        candidates = block.vectors[rows[part]].astype(np.float64)
        wanted = queries.vectors[part].astype(np.float64)
        if queries.metric is Metric.L2:
            difference = candidates - wanted[:, None, :]
            scores[part] = -np.einsum("ncd,ncd->nc", difference, difference)
        else:
            # Not matmul: its sums of one row depend on how many rows are beside it.
            scores[part] = np.einsum("ncd,nd->nc", candidates, wanted)
    if queries.metric is Metric.COSINE:
        scores /= queries.lengths[:, None] * block.lengths[rows]
        np.clip(scores, -1.0, 1.0, out=scores)
    scores[rows < 0] = np.nan
    return scores.astype(np.float32)


def best_of(queries: Queries, block: Block, rows: Rows, k: int) -> TopK:
    """Score candidates and keep the best k of each query, equal scores by ascending id.

    Args:
        queries: n queries.
        block: where the rows are.
        rows: (n, c) int64 candidates, each row number at most once a query; -1 for none.
        k: hits wanted.
    """
    scores = score_rows(queries, block, rows)
    order = order_best_first(_ids_at(block, rows), scores)[:, :k]
    best = np.take_along_axis(scores, order, axis=1)
    best_rows = np.take_along_axis(rows, order, axis=1)
    return TopK(
        _ids_at(block, best_rows), best, np.count_nonzero(best_rows >= 0, axis=1).astype(np.int64)
    )


def _ids_at(block: Block, rows: Rows) -> IdColumn:
    ids = empty(id_type_of(block.ids), rows.shape)
    present = rows >= 0
    ids[present] = block.ids[rows[present]]
    return ids


def scan(queries: Queries, block: Block, k: int, dead: Bitmap | None) -> TopK:
    """Compare every live row: exactly the k best, equal scores by ascending id.

    A float32 product picks k + 16 candidates, which are scored exactly. Where the best row left
    out might still reach the k-th of them, the query is done again with every row in doubt.

    Args:
        queries: n queries.
        block: the rows.
        k: hits wanted.
        dead: (rows,) True for rows to leave out; None for none.
    """
    if not len(block):
        return best_of(queries, block, np.full((len(queries), 0), -1, dtype=np.int64), k)
    step = max(1, _CHUNK_FLOATS // len(block))
    parts = [
        _scan_chunk(queries.slice(start, start + step), block, k, dead)
        for start in range(0, len(queries), step)
    ]
    if len(parts) == 1:
        return parts[0]
    return TopK(
        joined([part.ids for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.counts for part in parts]),
    )


def _scan_chunk(queries: Queries, block: Block, k: int, dead: Bitmap | None) -> TopK:
    approximate = _approximate(queries, block)
    if dead is not None:
        approximate[:, dead] = -np.inf
    width = min(k + _SPARE, len(block))
    rows, left_out = _largest(approximate, width)
    rows[np.take_along_axis(approximate, rows, axis=1) == -np.inf] = -1
    top = best_of(queries, block, rows, k)
    if width == len(block):
        return top
    kth = np.where(top.counts == min(k, width), top.scores[:, -1], -np.inf)
    margin = _error_bound(queries, block)
    doubtful = np.flatnonzero((left_out > -np.inf) & (left_out + margin >= kth))
    for query in doubtful.tolist():
        floor = kth[query] - margin[query]
        candidates = np.flatnonzero((approximate[query] >= floor) & (approximate[query] > -np.inf))
        again = best_of(queries.slice(query, query + 1), block, candidates[None, :], k)
        top.ids[query], top.scores[query] = again.ids[0], again.scores[0]
        top.counts[query] = again.counts[0]
    return top


def _largest(values: Floats, width: int) -> tuple[Rows, Floats]:
    """Pick the largest values of each row: their columns, and the largest value left out."""
    n, size = values.shape
    if width == size:
        return np.tile(np.arange(size, dtype=np.int64), (n, 1)), np.full(n, -np.inf, np.float32)
    order = np.argpartition(values, size - width - 1, axis=1)
    left_out = np.take_along_axis(values, order[:, size - width - 1, None], axis=1)[:, 0]
    return order[:, size - width :].astype(np.int64), left_out


def _approximate(queries: Queries, block: Block) -> Floats:
    """Score all rows with one float32 product: (n, rows)."""
    cosine = queries.metric is Metric.COSINE
    with np.errstate(over="ignore", invalid="ignore"):
        products: Floats = (queries.walked if cosine else queries.vectors) @ block.vectors.T
        if cosine:
            products /= block.lengths.astype(np.float32)
        elif queries.metric is Metric.L2:
            squares = np.square(block.lengths)
            products = (2.0 * products - squares - np.square(queries.lengths)[:, None]).astype(
                np.float32
            )
    return products


def _error_bound(queries: Queries, block: Block) -> NDArray[np.float64]:
    """Bound |approximate - exact| for each query, twice, for a comparison of two.

    A float32 dot product of d terms is off by at most about d * 2^-24 times the product of the
    lengths (Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1), and by what
    underflows in each term (section 2.1).
    """
    longest = float(block.lengths.max())
    if queries.metric is Metric.COSINE:
        scale = np.ones(len(queries))
    elif queries.metric is Metric.DOT:
        scale = queries.lengths * longest
    else:
        scale = np.square(queries.lengths + longest)
    return 2.0 * (block.dim + 16) * (_UNIT * scale + _TINY)
