"""The parts of a query to protobuf messages and back; see `fanlight.wire.codec`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fanlight.errors import InvalidRequest
from fanlight.joined_ids import JoinedIds
from fanlight.model import Floats
from fanlight.packed_ids import PackedIds
from fanlight.queries import (
    EXCLUDE_IDS_MOST,
    MMR_CANDIDATES,
    Cap,
    Exclusions,
    Floor,
    Interest,
    Mmr,
    Query,
    Slate,
)
from fanlight.v1 import queries_pb2 as pb
from fanlight.wire.columns import fill_ids, fill_matrix, from_ids, from_matrix
from fanlight.wire.filter_codec import from_filter, to_filter


def fill_queries(message: pb.Queries, queries: tuple[Query, ...]) -> None:
    """Put queries by meaning on the wire."""
    message.SetInParent()
    for query in queries:
        added = message.queries.add(keep_examples=query.keep_examples)
        for interest in query.interests:
            _fill_interest(added.interests.add(), interest)


def from_queries(message: pb.Queries) -> tuple[Query, ...]:
    """Read queries by meaning off the wire.

    Raises:
        InvalidRequest: a column is malformed.
    """
    return tuple(map(_from_query, message.queries))


def _from_query(message: pb.Query) -> Query:
    return Query(tuple(map(_from_interest, message.interests)), message.keep_examples)


def _fill_interest(message: pb.Interest, interest: Interest) -> None:
    if interest.ids is not None:
        fill_ids(message.ids, interest.ids)
    if interest.vectors is not None:
        fill_matrix(message.vectors, interest.vectors)
    message.id_weights = _to_floats(interest.id_weights)
    message.vector_weights = _to_floats(interest.vector_weights)
    message.min_share = interest.min_share
    if interest.weight != 1:
        message.weight = interest.weight
    if interest.max_share != 1:
        message.max_share = interest.max_share


def _from_interest(message: pb.Interest) -> Interest:
    has_ids, has_vectors = message.HasField("ids"), message.HasField("vectors")
    return Interest(
        ids=from_ids(message.ids, "examples") if has_ids else None,
        id_weights=_from_floats(message.id_weights) if has_ids else None,
        vectors=from_matrix(message.vectors, "examples") if has_vectors else None,
        vector_weights=_from_floats(message.vector_weights) if has_vectors else None,
        weight=message.weight if message.HasField("weight") else 1.0,
        min_share=message.min_share,
        max_share=message.max_share if message.HasField("max_share") else 1.0,
    )


def _to_floats(column: NDArray[np.float32] | None) -> bytes:
    return b"" if column is None else column.astype("<f4", copy=False).tobytes()


def _from_floats(data: bytes) -> Floats:
    if len(data) % 4:
        raise InvalidRequest.of_field("weights", "4 bytes a weight", f"{len(data)} bytes")
    return np.frombuffer(data, dtype="<f4").astype(np.float32, copy=False)


def fill_exclusions(message: pb.Exclusions, exclude: Exclusions) -> None:
    """Put exclusions on the wire; none are some that exclude nothing."""
    message.SetInParent()
    message.sets.extend(exclude.sets)
    if exclude.ids is not None:
        fill_ids(message.ids, exclude.ids)
    packed = exclude.packed
    if isinstance(packed, JoinedIds):
        message.joined = packed.data
    elif packed is not None:
        ascending = message.ascending
        ascending.first, ascending.width, ascending.steps = packed.first, packed.width, packed.steps


def from_exclusions(message: pb.Exclusions) -> Exclusions:
    """Read exclusions off the wire.

    Raises:
        InvalidRequest: a column of ids is malformed, or there are several.
    """
    forms = [form for form in ("ids", "ascending", "joined") if message.HasField(form)]
    if len(forms) > 1:
        raise InvalidRequest.of_field("exclude_ids", "one form of ids", " and ".join(forms))
    ids = from_ids(message.ids, "exclude_ids") if "ids" in forms else None
    packed: PackedIds | JoinedIds | None = None
    if "joined" in forms:
        packed = JoinedIds.read(message.joined, "exclude_ids", EXCLUDE_IDS_MOST)
    elif "ascending" in forms:
        steps = message.ascending
        packed = PackedIds(steps.first, steps.width, steps.steps)
        packed.check("exclude_ids", EXCLUDE_IDS_MOST)
    return Exclusions(ids, tuple(message.sets), packed)


def to_slate(slate: Slate) -> pb.Slate:
    """Put rules on the wire."""
    mmr = slate.mmr
    return pb.Slate(
        caps=[pb.Cap(field=cap.field, most=cap.most) for cap in slate.caps],
        floors=[_to_floor(floor) for floor in slate.floors],
        mmr=None if mmr is None else pb.Mmr(relevance=mmr.relevance, candidates=mmr.candidates),
        near_duplicate=slate.near_duplicate,
    )


def _to_floor(floor: Floor) -> pb.Floor:
    filter = to_filter(floor.filter)
    if floor.share is not None:
        return pb.Floor(filter=filter, share=floor.share)
    return (
        pb.Floor(filter=filter)
        if floor.count is None
        else pb.Floor(filter=filter, count=floor.count)
    )


def from_slate(message: pb.Slate) -> Slate:
    """Read rules off the wire.

    Raises:
        InvalidRequest: a filter is malformed.
    """
    return Slate(
        caps=tuple(Cap(cap.field, cap.most) for cap in message.caps),
        floors=tuple(map(_from_floor, message.floors)),
        mmr=_from_mmr(message.mmr) if message.HasField("mmr") else None,
        near_duplicate=message.near_duplicate if message.HasField("near_duplicate") else None,
    )


def _from_floor(message: pb.Floor) -> Floor:
    least = message.WhichOneof("least")
    return Floor(
        from_filter(message.filter),
        share=message.share if least == "share" else None,
        count=message.count if least == "count" else None,
    )


def _from_mmr(message: pb.Mmr) -> Mmr:
    given = message.HasField("candidates")
    return Mmr(message.relevance, message.candidates if given else MMR_CANDIDATES)
