"""What users write to search by meaning: examples, arithmetic and interests, which make queries.

    from fanlight import combine, examples, interest, interests

    movies.search(examples(positive=[42, (7, 2.0), vector], negative=[13]))
    movies.search(combine({"king": 1, "man": -1, "woman": 1}))
    movies.search(interests(interest(vector, max_share=0.6), interest([42, 7], min_share=0.2)))

An example is an id, a vector, or a pair of one of these and a weight; a tuple is always a pair.
Laws: what cannot travel as it was meant is refused here, by an `InvalidRequest`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from fanlight.errors import InvalidRequest
from fanlight.ids import IdsLike, ascending, to_column
from fanlight.inputs import as_number, as_text, id_sizes
from fanlight.joined_ids import JoinedIds
from fanlight.packed_ids import PackedIds, lie_close
from fanlight.queries import Exclusions, Interest, Query

Id: TypeAlias = int | str
# An id, or a vector.
Example: TypeAlias = Any
# One of these, or a pair of one and its weight.
Weighted: TypeAlias = Any


def examples(
    positive: Iterable[Weighted] = (), negative: Iterable[Weighted] = (), *, keep: bool = False
) -> Query:
    """Ask for items like some and unlike others.

    Args:
        positive: ids and vectors, which weigh 1, or pairs of one and its weight.
        negative: the same, whose weights count as negative.
        keep: let the ids be hits as well; by default they are left out.

    Raises:
        InvalidRequest: an example or a weight cannot be.
    """
    more, less = (_terms(part) for part in (positive, negative))
    return Query((_interest([*more, *((term, -weight) for term, weight in less)]),), keep)


def combine(terms: Mapping[Id, float] | Iterable[Weighted], *, keep: bool = False) -> Query:
    """Ask for items near a weighted sum: `combine({"king": 1, "man": -1, "woman": 1})`.

    Args:
        terms: weights by id, or pairs of an id or a vector and its weight.
        keep: let the ids be hits as well; by default they are left out.
    """
    pairs = terms.items() if isinstance(terms, Mapping) else terms
    return Query((_interest(_terms(pairs)),), keep)


def interest(
    of: Example | Query,
    *,
    weight: float = 1.0,
    min_share: float = 0.0,
    max_share: float = 1.0,
) -> Interest:
    """Make one of several interests; see `interests`.

    Args:
        of: a vector, an id, a list of ids, or what `examples` or `combine` gives.
        weight: how much its hits count beside those of the others; above 0.
        min_share: least share of the k hits, in [0, 1].
        max_share: greatest share of the k hits, in [0, 1].
    """
    if isinstance(of, Query):
        if len(of.interests) != 1:
            raise InvalidRequest.of_field("interest", "one interest", str(len(of.interests)))
        base = of.interests[0]
    else:
        listed = isinstance(of, list) and all(_is_id(value) for value in of)
        base = _interest(_terms(of if listed else [of]))
    return Interest(
        base.ids,
        base.id_weights,
        base.vectors,
        base.vector_weights,
        as_number("weight", weight),
        as_number("min_share", min_share),
        as_number("max_share", max_share),
    )


def interests(*several: Interest, keep: bool = False) -> Query:
    """Ask one query for several interests at once; `Hits.interests` says which found each hit.

    Args:
        several: see `interest`.
        keep: let the ids of examples be hits as well.
    """
    for one in several:
        if not isinstance(one, Interest):
            got = f"a {type(one).__name__}"
            raise InvalidRequest.of_field("interests", "what `interest` gives", got)
    return Query(several, keep)


def as_composed(queries: Query | Sequence[Query]) -> tuple[Query, ...]:
    """Take one query by meaning, or several."""
    several = (queries,) if isinstance(queries, Query) else tuple(queries)
    for query in several:
        if not isinstance(query, Query):
            raise InvalidRequest.of_field("queries", "queries of one kind", "others among them")
        for column in (one.ids for one in query.interests if one.ids is not None):
            id_sizes(column)
    return several


def is_composed(queries: object) -> bool:
    """Tell whether queries are by meaning, not vectors."""
    if isinstance(queries, (list, tuple)):
        return any(isinstance(query, Query) for query in queries)
    return isinstance(queries, Query)


def as_exclusions(ids: IdsLike | None, sets: Sequence[str]) -> Exclusions | None:
    """Take what a search may not find; None for nothing.

    Raises:
        InvalidRequest: the ids or names cannot be.
    """
    if isinstance(sets, str):
        raise InvalidRequest.of_field("exclude_sets", "a list of names", "one string")
    names = tuple(as_text("exclude_sets", name) for name in sets)
    if ids is None:
        return Exclusions(None, names) if names else None
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
        got = f"one {type(ids).__name__}"
        raise InvalidRequest.of_field("exclude_ids", "a sequence of ids", got)
    ids = ids if isinstance(ids, (list, tuple, np.ndarray)) else cast(IdsLike, list(ids))
    if (joined := _joined(ids)) is not None:
        return Exclusions(None, names, joined)
    column = to_column(ids, "exclude_ids", copy=False)
    if not len(column):
        # of either type, so it can exclude nothing of any collection
        return Exclusions(None, names)
    if column.dtype == object:
        id_sizes(column)  # refuses what cannot travel
        return Exclusions(column, names)
    if lie_close(column) and (packed := PackedIds.of(ascending(column))) is not None:
        return Exclusions(None, names, packed)
    # the caller's own may change before they are sent
    return Exclusions(column.copy() if column is ids else column, names)


def _joined(ids: IdsLike) -> JoinedIds | None:
    """Join strings; None where they are something else, or have to be looked at one by one."""
    if isinstance(ids, np.ndarray):
        if ids.dtype.kind not in "OUT" or ids.ndim != 1:
            return None
        ids = ids.tolist()
    return (
        JoinedIds.of(cast("Sequence[str]", ids)) if len(ids) and isinstance(ids[0], str) else None
    )


def _terms(values: Iterable[Weighted]) -> list[tuple[Example, float]]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        got = f"one {type(values).__name__}"
        raise InvalidRequest.of_field("examples", "a list of ids and vectors", got)
    return [_term(value) for value in values]


def _term(value: Weighted) -> tuple[Example, float]:
    if not isinstance(value, tuple):
        return value, 1.0
    if len(value) != 2:
        got = f"a tuple of {len(value)}"
        raise InvalidRequest.of_field("examples", "pairs of an example and its weight", got)
    weight = as_number("weights", value[1])
    if not math.isfinite(weight):
        raise InvalidRequest.of_field("weights", "finite numbers", str(weight))
    return value[0], weight


def _is_id(value: object) -> bool:
    return isinstance(value, (int, str, np.integer)) and not isinstance(value, (bool, np.bool_))


def _interest(terms: Sequence[tuple[Example, float]]) -> Interest:
    ids = [(term, weight) for term, weight in terms if _is_id(term)]
    others = [(_as_vector(term), weight) for term, weight in terms if not _is_id(term)]
    if not terms:
        raise InvalidRequest.of_field("examples", "at least 1", "0")
    if len({len(vector) for vector, _ in others}) > 1:
        raise InvalidRequest.of_field("examples", "vectors of one dimension", "several")
    return Interest(
        ids=to_column([term for term, _ in ids], "examples") if ids else None,
        id_weights=_column(ids) if ids else None,
        vectors=np.array([vector for vector, _ in others]) if others else None,
        vector_weights=_column(others) if others else None,
    )


def _column(terms: Sequence[tuple[Any, float]]) -> NDArray[np.float32]:
    return np.array([weight for _, weight in terms], dtype=np.float32)


def _as_vector(value: Example) -> NDArray[np.float32]:
    expected = "ids and vectors (dim,)"
    try:
        vector = np.asarray(value)
    except (TypeError, ValueError):
        raise InvalidRequest.of_field("examples", expected, "rows of other lengths") from None
    if vector.dtype.kind not in "fiu" or vector.ndim != 1:
        got = f"{vector.ndim} dimensions of {vector.dtype}"
        raise InvalidRequest.of_field("examples", expected, got)
    with np.errstate(over="ignore"):
        return vector.astype(np.float32)
