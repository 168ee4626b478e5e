"""Rows of a batch and the answers to them: what is left out, what came too late."""

from __future__ import annotations

import numpy as np

from fanlight.errors import DeadlineExceeded, FanlightError
from fanlight.ids import empty, id_type_of
from fanlight.model import NO_SCORE, IdType, Rows
from fanlight.topk import TopK


def all_but(left_out: list[int], n: int) -> Rows:
    """Number n rows, and leave some out."""
    kept = np.ones(n, dtype=np.bool_)
    kept[left_out] = False
    return np.flatnonzero(kept)


def without_late(top: TopK) -> tuple[TopK, dict[int, FanlightError]]:
    """Take the hits of unanswered queries away, and say why."""
    late = np.flatnonzero(top.counts < 0)
    top.ids[late] = empty(id_type_of(top.ids), 1)[0]
    top.scores[late] = NO_SCORE
    top.counts[late] = 0
    error = DeadlineExceeded("the deadline passed before the query could start")
    return top, dict.fromkeys(late.tolist(), error)


def spread(top: TopK, rows: Rows, n: int, id_type: IdType) -> TopK:
    """Put the answers of the good queries back among all n."""
    ids = empty(id_type, (n, top.ids.shape[1]))
    scores = np.full(ids.shape, NO_SCORE, dtype=np.float32)
    counts = np.zeros(n, dtype=np.int64)
    ids[rows], scores[rows], counts[rows] = top.ids, top.scores, top.counts
    return TopK(ids, scores, counts)
