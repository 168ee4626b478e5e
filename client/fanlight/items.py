"""Putting columns of stored items together: runs of one request, or parts of several shards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fanlight.ids import joined
from fanlight.model import Items


def join_items(parts: Sequence[Items]) -> Items:
    """Put items one after the other, in the order given; all parts have the same columns."""
    if len(parts) == 1:
        return parts[0]
    # A part without any item does not know the dimension.
    known = [part.vectors for part in parts if part.vectors is not None and len(part)]
    return Items(
        ids=joined([part.ids for part in parts]),
        vectors=np.concatenate(known) if known else parts[0].vectors,
        payload_blobs=join_blobs([part.payload_blobs for part in parts]),
        missing=joined([part.missing for part in parts]),
    )


def join_blobs(parts: Sequence[Sequence[bytes] | None]) -> list[bytes] | None:
    """Put payload columns one after the other; None when a part has none."""
    blobs = [blob for part in parts if part is not None for blob in part]
    return None if any(part is None for part in parts) else blobs
