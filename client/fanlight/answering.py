"""How a search by meaning is answered, wherever: by one shard alone or by a router over many.

Law: whatever is decided about a list of hits as a whole is decided here and in `fanlight.slate`,
and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fanlight.errors import FanlightError, InvalidRequest
from fanlight.filter_rules import check_built
from fanlight.filters import clauses_of
from fanlight.hits import first, without
from fanlight.limits import Limits
from fanlight.model import CollectionSpec, Hits, SearchRequest
from fanlight.plans import Describe, Described, Fetch, Fetched, Late, Nearest, Plan, never, plain
from fanlight.queries import Query
from fanlight.query_rules import check_against_spec
from fanlight.resolving import (
    Resolved,
    needed_ids,
    needs_metric,
    of_vectors,
    queries_of,
    resolve,
)
from fanlight.slate.making import slates
from fanlight.validation import check_range


def answer(request: SearchRequest, limits: Limits, late: Late = never) -> Plan[Hits]:
    """Answer a search that asks for more than the nearest of vectors.

    Args:
        request: the search; its columns and `take` are not this plan's matter.
        limits: of whoever answers.
        late: tells when no list is made on; its query fails with DeadlineExceeded.

    Returns:
        Hits of width k.

    Raises:
        InvalidRequest: a part of the request does not fit the collection or another part.
        NotReady: a floor is on a field that is being built.
    """
    resolved, described = yield from resolved_of(request)
    if described is None or not request.makes_lists:
        hits = yield from _nearest(request, resolved, limits)
    else:
        hits = yield from slates(request, resolved, described, limits, late)
    errors = {**hits.errors, **resolved.errors}
    return replace(hits, errors=errors, missing_ids=resolved.missing_ids)


def resolved_of(request: SearchRequest) -> Plan[tuple[Resolved, Described | None]]:
    """Turn the queries of a search into vectors.

    Returns:
        The vectors, and what the collection is, if that had to be known.
    """
    queries = None if request.vectors is not None else queries_of(request)
    described: Described | None = None
    if request.makes_lists or (queries is not None and needs_metric(queries)):
        known: Described = yield Describe()
        check_against_spec(request, known.spec)
        _check_built(request, known.building)
        described = known
    if queries is None:
        return of_vectors(request), described
    spec = None if described is None else described.spec
    return (yield from _resolved(queries, spec)), described


def _check_built(request: SearchRequest, building: frozenset[str]) -> None:
    """Refuse floors on fields that filters cannot use yet. Caps read payloads, and always can."""
    for floor in () if request.slate is None else request.slate.floors:
        check_built((clause.field for clause in clauses_of(floor.filter)), building)


def _resolved(queries: Sequence[Query], spec: CollectionSpec | None) -> Plan[Resolved]:
    """Look the vectors of examples up."""
    ids, found = needed_ids(queries), None
    failed: Mapping[object, FanlightError] = {}
    if ids is not None:
        fetched: Fetched = yield Fetch(ids, vectors=True)
        found, failed = fetched.items, fetched.failed
    dims = {i.vectors.shape[1] for q in queries for i in q.interests if i.vectors is not None}
    if found is not None and found.vectors is not None:
        dims.add(found.vectors.shape[1])
    if len(dims) != 1:
        raise InvalidRequest.of_field("vectors", "one dimension", str(sorted(dims)))
    return resolve(queries, found, failed, dims.pop(), None if spec is None else spec.metric)


def _nearest(request: SearchRequest, resolved: Resolved, limits: Limits) -> Plan[Hits]:
    """Find k hits of each query besides its examples.

    Raises:
        InvalidRequest: with the examples more would be asked for than the limits allow.
    """
    more = max(map(len, resolved.left_out), default=0)
    check_range("k", request.k, 1, limits.k - more)
    asked = plain(request, resolved.vectors, request.k + more)
    hits: Hits = yield Nearest(asked)
    return first(without(hits, resolved.left_out), request.k)
