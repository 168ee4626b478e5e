"""Equal searches as one: the same parameters, their queries one after the other.

A call costs far more than a query in it, on every level: a shard's walk of a graph, a router's
fan-out, a client's message. What is put together here is taken apart again so that nobody
notices the company: each caller gets its own hits and its own errors.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate, pairwise
from operator import attrgetter
from typing import Protocol

import numpy as np

from fanlight.errors import InvalidRequest, Overloaded
from fanlight.ids import joined
from fanlight.model import Hits, SearchRequest

# Queries of one stack. More gain nothing by sharing a call, and everyone in a stack waits for
# its slowest query.
STACK_QUERIES = 256
# A search of so many queries gains nothing from company.
LARGE = 64
# Seconds for which a search waits for company while others are under way: long enough for a message and
# its answer while all cores are busy (ADR 23).
COLLECT_S = 0.015


# Whatever a search has besides its queries; much faster than `dataclasses.replace`.
_parameters_of = attrgetter(
    *(
        field.name
        for field in fields(SearchRequest)
        if field.name not in ("vectors", "ids", "composed", "exclude", "slate")
    )
)


class Alone:
    """The kind of a search that is like no other; equal to itself only."""


def size_of(request: SearchRequest) -> int:
    """Count the queries of a search."""
    if request.vectors is not None:
        return len(request.vectors)
    if request.ids is not None:
        return len(request.ids)
    return 0 if request.composed is None else len(request.composed)


def kind_of(request: SearchRequest) -> Hashable:
    """Tell which searches can be stacked: those that differ in their queries alone.

    What is asked besides is rarely the same twice, and costs more than company would save.
    """
    if request.exclude is not None or request.slate is not None or request.composed is not None:
        return Alone()
    return _plain_kind(request)


def effort_of(request: SearchRequest) -> Hashable:
    """Tell which searches take about as long, query by query.

    Those of a kind do, and those that exclude about as many ids besides. Of others, and of sets,
    which may have to be read, one tells nothing of the next.
    """
    if request.slate is not None or request.composed is not None:
        return Alone()
    exclude = request.exclude
    if exclude is None:
        return _plain_kind(request)
    if exclude.sets:
        return Alone()
    return _plain_kind(request), exclude.packed is not None, exclude.n_ids.bit_length()


def _plain_kind(request: SearchRequest) -> Hashable:
    queries: object = None
    if request.vectors is not None:
        queries = request.vectors.shape[1]
    elif request.ids is not None:
        queries = request.ids.dtype
    # No queries at all is an error, which a stack would hide.
    return _parameters_of(request), queries, size_of(request) > 0


class Bounds(Protocol):
    """What a stack may hold, and how many searches may be under way; `Limits` are such bounds."""

    @property
    def batch_rows(self) -> int:
        """Queries of one request."""
        ...

    @property
    def hits(self) -> int:
        """Hits of one request."""
        ...

    @property
    def in_flight(self) -> int:
        """Searches under way at once."""
        ...


@dataclass(frozen=True, slots=True)
class ClientBounds:
    """The defaults of `fanlight.limits.Limits`, which the SDK does not import."""

    batch_rows: int = 65_536
    hits: int = 2_000_000
    in_flight: int = 1_024


def room_for(request: SearchRequest, limits: Bounds) -> int:
    """Tell how many queries a stack of this kind may hold."""
    return min(STACK_QUERIES, limits.batch_rows, limits.hits // max(1, request.k))


def stacked(requests: Sequence[SearchRequest]) -> SearchRequest:
    """Put searches of one kind together."""
    first = requests[0]
    if len(requests) == 1:
        return first
    if first.vectors is not None:
        vectors = [request.vectors for request in requests if request.vectors is not None]
        return replace(first, vectors=np.concatenate(vectors))
    ids = [request.ids for request in requests if request.ids is not None]
    return replace(first, ids=joined(ids))


def may_be_of_one(error: BaseException) -> bool:
    """Tell whether one member of a stack may have brought an error upon the others.

    Too much at the moment is too much for each of them: asked again one by one, they would only
    be refused more often.
    """
    if isinstance(error, Overloaded):
        return error.retry_after_s is None
    return isinstance(error, InvalidRequest)


def taken_apart(hits: Hits, sizes: Sequence[int]) -> list[Hits]:
    """Cut the hits of a stack into those of its members, which have so many queries each."""
    if len(sizes) == 1:
        return [hits]
    bounds = [0, *accumulate(sizes)]
    blob_bounds = np.concatenate(([0], np.cumsum(hits.counts)))[bounds].tolist()
    blobs, vectors = hits.payload_blobs, hits.vectors
    return [
        Hits(
            ids=hits.ids[a:b],
            scores=hits.scores[a:b],
            counts=hits.counts[a:b],
            coverage=hits.coverage,
            errors={row - a: e for row, e in hits.errors.items() if a <= row < b},
            payload_blobs=None if blobs is None else blobs[first:last],
            vectors=None if vectors is None else vectors[a:b],
            missing_ids={row - a: ids for row, ids in hits.missing_ids.items() if a <= row < b},
        )
        for (a, b), (first, last) in zip(pairwise(bounds), pairwise(blob_bounds), strict=True)
    ]
