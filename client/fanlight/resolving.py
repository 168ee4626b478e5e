"""From queries by meaning to vectors: which items are needed, and what they make together.

Laws: pure functions of columns. A vector is computed in float64, term by term in a fixed order,
and rounded once, so it is the same wherever it is computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlight.errors import FanlightError, InvalidRequest, NotFound
from fanlight.hits import rows_by_id
from fanlight.ids import empty, id_type_of, joined
from fanlight.model import Floats, IdColumn, Items, Metric, Rows, SearchRequest
from fanlight.queries import Interest, Query
from fanlight.vectors import lengths_of


@dataclass(frozen=True, slots=True, eq=False)
class Resolved:
    """Queries as vectors: one row for each interest of each query, query after query.

    Attributes:
        vectors: (r, dim) float32; NaN where an interest has no vector.
        queries: (r,) int64: the query of each row.
        interests: (r,) int64: the place of the interest in its query.
        parts: the interests, r of them; None for plain queries.
        left_out: for each query the ids that are no hits of it.
        missing_ids: ids of examples that no item has, by query.
        errors: queries that have no vector at all, by row.
        absent: rows that have no vector while another row of their query has one.
    """

    vectors: Floats
    queries: Rows
    interests: Rows
    parts: tuple[Interest, ...] | None
    left_out: tuple[IdColumn, ...]
    missing_ids: Mapping[int, IdColumn]
    errors: Mapping[int, FanlightError]
    absent: frozenset[int] = frozenset()


def queries_of(request: SearchRequest) -> tuple[Query, ...]:
    """Give the queries of a search by ids or by examples."""
    if request.composed is not None:
        return request.composed
    assert request.ids is not None
    one = np.ones(1, dtype=np.float32)
    ids = request.ids
    return tuple(Query((Interest(ids[row : row + 1], one),)) for row in range(len(ids)))


def needed_ids(queries: Sequence[Query]) -> IdColumn | None:
    """List the ids whose vectors are needed, each once; None for none."""
    columns = [i.ids for query in queries for i in query.interests if i.ids is not None]
    if not columns:
        return None
    if len({id_type_of(column) for column in columns}) > 1:
        raise InvalidRequest.of_field("examples", "ids of one type", "integers and strings")
    values = dict.fromkeys(value for column in columns for value in column.tolist())
    ids = empty(id_type_of(columns[0]), len(values))
    ids[:] = list(values)
    return ids


def needs_metric(queries: Sequence[Query]) -> bool:
    """Tell whether some query is not just one vector as it is."""
    return any(
        interest.terms != 1 or _weights(interest) != (1.0,)
        for query in queries
        for interest in query.interests
    )


def _weights(interest: Interest) -> tuple[float, ...]:
    columns = (interest.vector_weights, interest.id_weights)
    return tuple(float(w) for column in columns if column is not None for w in column)


def of_vectors(request: SearchRequest) -> Resolved:
    """Take queries that are vectors already."""
    assert request.vectors is not None
    rows = np.arange(len(request.vectors), dtype=np.int64)
    return Resolved(request.vectors, rows, np.zeros_like(rows), None, (), {}, {})


def resolve(
    queries: Sequence[Query],
    found: Items | None,
    failed: Mapping[object, FanlightError],
    dim: int,
    metric: Metric | None,
) -> Resolved:
    """Make the vectors of queries.

    Args:
        queries: n queries.
        found: those of their ids that exist, with vectors; None when they have no ids.
        failed: ids that could not be looked up, and why.
        dim: of the vectors.
        metric: of the collection; None when `needs_metric` says no.
    """
    row_of = {} if found is None else rows_by_id(found.ids)
    stored = None if found is None else found.vectors
    rows = [(q, i) for q, query in enumerate(queries) for i in range(len(query.interests))]
    vectors = np.full((len(rows), dim), np.nan, dtype=np.float32)
    errors: dict[int, FanlightError] = {}
    faults: dict[int, list[FanlightError]] = {}
    absent: list[int] = []
    for row, (q, i) in enumerate(rows):
        try:
            terms, weights = _terms(queries[q].interests[i], row_of, stored)
            vectors[row] = _sum(terms, weights, metric)
        except FanlightError as error:
            faults.setdefault(q, []).append(error)
            absent.append(row)
    for q, query in enumerate(queries):
        unread = [failed[value] for value in _ids(query) if value in failed]
        if unread:
            errors[q] = unread[0]
        elif len(faults.get(q, ())) == len(query.interests):
            errors[q] = faults[q][0]
    numbers = np.array([q for q, _ in rows], dtype=np.int64)
    vectors[np.isin(numbers, list(errors))] = np.nan  # so that nobody searches for them
    return Resolved(
        vectors,
        numbers,
        np.array([i for _, i in rows], dtype=np.int64),
        tuple(interest for query in queries for interest in query.interests),
        tuple(_left_out(query, found) for query in queries),
        _missing(queries, row_of, failed, found),
        errors,
        frozenset(absent),
    )


def _ids(query: Query) -> Iterator[object]:
    for interest in query.interests:
        yield from () if interest.ids is None else interest.ids.tolist()


def _terms(
    interest: Interest, row_of: Mapping[object, int], stored: Floats | None
) -> tuple[Floats, NDArray[np.float32]]:
    """List the terms of an interest that have a vector: vectors first, then items."""
    vectors, weights = [], []
    if interest.vectors is not None and interest.vector_weights is not None:
        vectors, weights = [*interest.vectors], [*interest.vector_weights]
    if interest.ids is not None and interest.id_weights is not None and stored is not None:
        for value, weight in zip(interest.ids.tolist(), interest.id_weights, strict=True):
            if value in row_of:
                vectors.append(stored[row_of[value]])
                weights.append(weight)
    if not vectors:
        assert interest.ids is not None
        shown = ", ".join(map(repr, interest.ids[:3].tolist()))
        if len(interest.ids) == 1:
            raise NotFound(f"ids: no item has the id {shown}", field="ids")
        raise NotFound(f"examples: no item has any of the ids {shown}, ...", field="examples")
    return np.array(vectors, dtype=np.float32), np.array(weights, dtype=np.float32)


def _sum(vectors: Floats, weights: NDArray[np.float32], metric: Metric | None) -> Floats:
    """Add weighted vectors; see docs/queries.md for what each metric takes them as."""
    if len(vectors) == 1 and weights[0] == 1:
        only: Floats = vectors[0]
        return only
    terms, factors = vectors.astype(np.float64), weights.astype(np.float64)
    if metric is Metric.COSINE:
        lengths = lengths_of(vectors)
        if not lengths.all():
            raise InvalidRequest.of_field("examples", "vectors with a direction", "a zero vector")
        terms /= lengths[:, None]
    total = np.add.reduce(factors[:, None] * terms, axis=0)
    if metric is Metric.L2:
        if not factors.sum() > 0:
            got = f"{factors.sum():.3g}"
            raise InvalidRequest.of_field("weights", "a sum above 0 (l2)", got)
        total /= factors.sum()
    summed: Floats = total.astype(np.float32)
    return summed


def _left_out(query: Query, found: Items | None) -> IdColumn:
    """List the examples that are no hits of their query."""
    if found is None or query.keep_examples:
        return np.empty(0, dtype=np.int64)
    columns = [interest.ids for interest in query.interests if interest.ids is not None]
    return joined(columns) if columns else found.ids[:0]


def _missing(
    queries: Sequence[Query],
    row_of: Mapping[object, int],
    failed: Mapping[object, FanlightError],
    found: Items | None,
) -> dict[int, IdColumn]:
    if found is None:
        return {}
    missing: dict[int, IdColumn] = {}
    for q, query in enumerate(queries):
        absent: list[Any] = [
            v for v in dict.fromkeys(_ids(query)) if v not in row_of and v not in failed
        ]
        if absent:
            missing[q] = empty(id_type_of(found.ids), len(absent))
            missing[q][:] = absent
    return missing
