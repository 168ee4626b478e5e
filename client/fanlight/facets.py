"""Facets: from counts of values to the most frequent ones. The one merge of counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from fanlight.filters import Value
from fanlight.model import Facets


def ranked(counts: Mapping[Value, int], items: int, limit: int | None) -> Facets:
    """Order values by descending count, then ascending value, and keep the first `limit`."""
    order = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    kept = order if limit is None else order[:limit]
    column = np.array([count for _, count in kept], dtype=np.int64)
    return Facets(tuple(value for value, _ in kept), column, len(order), items)


def merged(parts: Sequence[Facets], limit: int | None) -> Facets:
    """Add what shards counted; each counted all of its values."""
    counts: Counter[Value] = Counter()
    for part in parts:
        counts.update(dict(zip(part.values, part.counts.tolist(), strict=True)))
    return ranked(counts, sum(part.items for part in parts), limit)
