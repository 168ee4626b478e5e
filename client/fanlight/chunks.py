"""How a large batch is cut into requests, and how their answers become one again.

Laws: a chunk is a run of rows; no chunk nears the message limit of gRPC; what is put together
again is what one request would have given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import TypeVar

import numpy as np

from fanlight.hits import worse_coverage
from fanlight.ids import joined
from fanlight.inputs import refuse_row
from fanlight.items import join_blobs
from fanlight.model import Floats, Hits, Rows, SearchRequest
from fanlight.wire.channels import MESSAGE_BYTES

T = TypeVar("T")

# Large enough that a call's fixed cost vanishes; small enough that taking one apart holds up no
# search for long, that a shard can hold writes back, and that a repeated one is little work.
CHUNK_BYTES = 1 << 20
# A chunk is one group commit on a shard.
WRITE_ROWS = 8_192
# With the largest vectors and payloads that servers take by default (64 KiB each), so many
# items just fit one message.
READ_ROWS = 512
# Ids alone.
READ_ID_ROWS = 8_192
# A few hundred queries keep every core of a shard busy; with more, the deadline of a request
# would have to grow with the batch.
QUERIES = 256
# Lists are made of some hundred candidates of each query; rules read their payloads or vectors.
LIST_QUERIES = 32
# Half a message for the hits of one answer; ids, vectors and payloads share it.
_HITS_BYTES = MESSAGE_BYTES // 2
_ID_AND_SCORE_BYTES = 32
# A guess: nothing tells the size of payloads beforehand, nor the dimension when queries are ids.
_PAYLOAD_BYTES = 1_024
_VECTOR_BYTES = 4_096
# Room in a message for the names and lengths around the columns.
_ENVELOPE_BYTES = 64 << 10


def spans_of_rows(rows: int, most: int) -> list[slice]:
    """Cut `rows` rows into runs of at most `most`."""
    return [slice(start, min(start + most, rows)) for start in range(0, rows, most)]


def spans_of_bytes(
    sizes: Rows, most_bytes: int = CHUNK_BYTES, most: int = WRITE_ROWS
) -> list[slice]:
    """Cut rows into runs of at most `most_bytes`, or of a single row that is larger.

    Args:
        sizes: (n,) int64, bytes of each row on the wire.
        most_bytes: what a run may hold.
        most: rows of a run.
    """
    ends = np.cumsum(sizes)
    spans: list[slice] = []
    start, before = 0, 0
    while start < len(sizes):
        fitting = int(np.searchsorted(ends, before + most_bytes, side="right"))
        stop = min(max(fitting, start + 1), start + most, len(sizes))
        spans.append(slice(start, stop))
        start, before = stop, int(ends[stop - 1])
    return spans


def check_row_bytes(sizes: Rows) -> None:
    """Refuse a batch of which one row fits no message.

    Args:
        sizes: (n,) int64, bytes of each row on the wire.

    Raises:
        InvalidRequest: names the largest row.
    """
    limit = MESSAGE_BYTES - _ENVELOPE_BYTES
    row = int(np.argmax(sizes))
    if sizes[row] > limit:
        refuse_row(row, "payloads", f"an item of at most {limit} bytes", f"{sizes[row]} bytes")


def queries_of_chunk(request: SearchRequest) -> int:
    """Tell how many queries one request may hold so that its answer fits a message."""
    hit_bytes = _ID_AND_SCORE_BYTES + request.with_payloads * _PAYLOAD_BYTES
    if request.with_vectors:
        hit_bytes += _VECTOR_BYTES if request.vectors is None else 4 * request.vectors.shape[1]
    most = LIST_QUERIES if request.makes_lists else QUERIES
    return max(1, min(most, _HITS_BYTES // (hit_bytes * max(1, request.k))))


def part_of_search(request: SearchRequest, span: slice) -> SearchRequest:
    """Take some of the queries of a search."""
    return replace(
        request,
        vectors=None if request.vectors is None else request.vectors[span],
        ids=None if request.ids is None else request.ids[span],
        composed=None if request.composed is None else request.composed[span],
    )


def join_hits(parts: Sequence[Hits]) -> Hits:
    """Put the hits of runs of queries together; the coverage is the worst of all."""
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(len(part.counts) for part in parts)]).tolist()
    return Hits(
        ids=joined([part.ids for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        counts=np.concatenate([part.counts for part in parts]),
        coverage=reduce(worse_coverage, (part.coverage for part in parts)),
        errors=_by_row(starts, [part.errors for part in parts]),
        payload_blobs=join_blobs([part.payload_blobs for part in parts]),
        vectors=_join_hit_vectors([part.vectors for part in parts]),
        excluded=parts[0].excluded,
        missing_ids=_by_row(starts, [part.missing_ids for part in parts]),
        interests=_join_interests(parts),
        unmet=_by_row(starts, [part.unmet for part in parts]),
    )


def _by_row(starts: Sequence[int], parts: Sequence[Mapping[int, T]]) -> dict[int, T]:
    """Number what is said of rows of each part as rows of the whole."""
    return {
        start + row: value
        for start, part in zip(starts, parts, strict=False)
        for row, value in part.items()
    }


def _join_interests(parts: Sequence[Hits]) -> Rows | None:
    blocks = [part.interests for part in parts]
    if all(block is None for block in blocks):
        return None
    only = [np.where(np.isnan(part.scores), -1, 0) for part in parts]
    known = [o if block is None else block for o, block in zip(only, blocks, strict=True)]
    return np.concatenate(known).astype(np.int64)


def _join_hit_vectors(parts: Sequence[Floats | None]) -> Floats | None:
    blocks = [part for part in parts if part is not None]
    if not blocks:
        return None
    # A part without any hit does not know the dimension.
    dim = max(block.shape[2] for block in blocks)
    padding = [np.full((*b.shape[:2], dim), np.nan, dtype=np.float32) for b in blocks]
    return np.concatenate(
        [
            block if block.shape[2] == dim else pad
            for block, pad in zip(blocks, padding, strict=True)
        ]
    )
