"""What the parts of a query may hold. `fanlight.validation` calls it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Sized
from typing import TYPE_CHECKING

import numpy as np

from fanlight.errors import InvalidRequest
from fanlight.filter_rules import check_filter, check_filter_fields
from fanlight.filters import FieldType
from fanlight.ids import id_type_of
from fanlight.joined_ids import JoinedIds
from fanlight.model import CollectionSpec, Floats, IdColumn, IdType, SearchRequest
from fanlight.queries import Exclusions, Floor, Interest, Mmr, Query, Slate

if TYPE_CHECKING:  # the SDK, which reads no configuration, checks here too
    from fanlight.limits import Limits

_SET_NAME_BYTES_MAX = 256
_TTL_MAX_S = 3.2e10


def check_query_parts(request: SearchRequest, limits: Limits) -> None:
    """Refuse what needs no knowledge of the collection to be refused.

    Raises:
        InvalidRequest: names the part.
    """
    for query in request.composed or ():
        _check_query(query, limits)
    if request.exclude is not None:
        _check_exclusions(request.exclude, limits)
    if request.slate is not None:
        _check_slate(request.slate, limits)


def check_against_spec(request: SearchRequest, spec: CollectionSpec) -> None:
    """Refuse parts that do not fit the collection.

    Raises:
        InvalidRequest: names the part.
    """
    for interest in (i for query in request.composed or () for i in query.interests):
        if interest.vectors is not None and interest.vectors.shape[1] != spec.dim:
            got = str(interest.vectors.shape[1])
            raise InvalidRequest.of_field("vectors", f"dimension {spec.dim}", got)
        if interest.ids is not None:
            _check_id_type("ids", interest.ids, spec)
    exclude = request.exclude
    type_ = None if exclude is None else _id_type_of(exclude)
    if type_ not in (None, spec.id_type):
        raise InvalidRequest.of_field("exclude_ids", f"{spec.id_type} ids", f"{type_} ids")
    if request.slate is not None:
        check_floors(request.slate.floors, spec.filterable)


def _id_type_of(exclude: Exclusions) -> IdType | None:
    """Tell which type of ids is excluded; None where there are none."""
    if exclude.packed is not None:
        return IdType.STRING if isinstance(exclude.packed, JoinedIds) else IdType.INT64
    return None if exclude.ids is None else id_type_of(exclude.ids)


def check_floors(floors: Sequence[Floor], filterable: Mapping[str, FieldType]) -> None:
    """Refuse floors whose filters the collection cannot evaluate."""
    for floor in floors:
        check_filter_fields(floor.filter, filterable)


def check_set_name(name: str, field: str = "name") -> None:
    """Refuse a name that no set can have."""
    size = len(name.encode("utf-8", "surrogatepass"))
    if not 1 <= size <= _SET_NAME_BYTES_MAX:
        expected = f"1 to {_SET_NAME_BYTES_MAX} bytes of UTF-8"
        raise InvalidRequest.of_field(field, expected, f"{size} bytes")


def check_ttl(ttl_s: float | None) -> None:
    """Refuse a time to live that is none: not above 0, or more than a thousand years."""
    if ttl_s is not None and not 0 < ttl_s <= _TTL_MAX_S:
        raise InvalidRequest.of_field("ttl", f"above 0, up to {_TTL_MAX_S:.0e} s", str(ttl_s))


def _check_id_type(field: str, ids: IdColumn, spec: CollectionSpec) -> None:
    if id_type_of(ids) is not spec.id_type:
        raise InvalidRequest.of_field(field, f"{spec.id_type} ids", f"{id_type_of(ids)} ids")


def _check_query(query: Query, limits: Limits) -> None:
    interests = len(query.interests)
    if not 1 <= interests <= limits.interests:
        raise InvalidRequest.of_field("interests", f"1 to {limits.interests}", str(interests))
    terms = sum(interest.terms for interest in query.interests)
    if terms > limits.examples:
        raise InvalidRequest.of_field("examples", f"at most {limits.examples}", str(terms))
    for interest in query.interests:
        _check_interest(interest)
    least = sum(interest.min_share for interest in query.interests)
    if least > 1 + 1e-6:
        raise InvalidRequest.of_field("min_share", "at most 1 in all", f"{least:.3g}")


def _check_interest(interest: Interest) -> None:
    if not interest.terms:
        raise InvalidRequest.of_field("examples", "at least 1 of each interest", "0")
    _check_weights(interest.ids, interest.id_weights)
    _check_weights(interest.vectors, interest.vector_weights)
    if not (math.isfinite(interest.weight) and interest.weight > 0):
        raise InvalidRequest.of_field("weight", "a number above 0", str(interest.weight))
    if not 0 <= interest.min_share <= interest.max_share <= 1:
        got = f"{interest.min_share:.3g} and {interest.max_share:.3g}"
        raise InvalidRequest.of_field("min_share", "0 <= min_share <= max_share <= 1", got)


def _check_weights(terms: Sized | None, weights: Floats | None) -> None:
    n, w = (0 if column is None else len(column) for column in (terms, weights))
    if n != w:
        raise InvalidRequest.of_field("weights", f"{n}, one an example", str(w))
    if weights is not None and not np.isfinite(weights).all():
        raise InvalidRequest.of_field("weights", "finite numbers", "others")


def _check_exclusions(exclude: Exclusions, limits: Limits) -> None:
    if exclude.n_ids > limits.exclude_ids:
        got = str(exclude.n_ids)
        raise InvalidRequest.of_field("exclude_ids", f"at most {limits.exclude_ids}", got)
    if len(exclude.sets) > limits.exclude_sets:
        got = str(len(exclude.sets))
        raise InvalidRequest.of_field("exclude_sets", f"at most {limits.exclude_sets}", got)
    for name in exclude.sets:
        check_set_name(name, "exclude_sets")


def _check_slate(slate: Slate, limits: Limits) -> None:
    for what, rules in (("caps", slate.caps), ("floors", slate.floors)):
        if len(rules) > limits.slate_rules:
            expected = f"at most {limits.slate_rules}"
            raise InvalidRequest.of_field(f"slate.{what}", expected, str(len(rules)))
    for cap in slate.caps:
        if cap.most < 1:
            raise InvalidRequest.of_field("slate.caps", "at least 1 hit a value", str(cap.most))
    for floor in slate.floors:
        _check_floor(floor, limits)
    threshold = slate.near_duplicate
    if threshold is not None and not -1 <= threshold <= 1:
        raise InvalidRequest.of_field("slate.near_duplicate", "a cosine", str(threshold))
    if slate.mmr is not None:
        _check_mmr(slate.mmr, limits)


def _check_floor(floor: Floor, limits: Limits) -> None:
    check_filter(floor.filter, limits)
    if (floor.share is None) == (floor.count is None):
        raise InvalidRequest.of_field("slate.floors", "a share or a count", "not one of them")
    if floor.share is not None and not 0 <= floor.share <= 1:
        raise InvalidRequest.of_field("slate.floors", "a share in [0, 1]", str(floor.share))


def _check_mmr(mmr: Mmr, limits: Limits) -> None:
    if not 0 <= mmr.relevance <= 1:
        raise InvalidRequest.of_field("slate.mmr", "relevance in [0, 1]", str(mmr.relevance))
    if not 1 <= mmr.candidates <= limits.k:
        expected = f"1 to {limits.k} candidates"
        raise InvalidRequest.of_field("slate.mmr", expected, str(mmr.candidates))
