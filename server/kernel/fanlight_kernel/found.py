"""What a search finds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Found(NamedTuple):
    """The hits of q queries, best first: score descending, equal scores by ascending order.

    Attributes:
        rows: (q, k) int64 row numbers; -1 where there is no hit.
        scores: (q, k) float32, larger is better; NaN where there is no hit.
        counts: (q,) int64 hits of each query; -1 for a query that the timeout left unanswered.
        done: queries answered before the timeout; they are the first ones.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    counts: NDArray[np.int64]
    done: int
