"""Facets and explanations to protobuf messages and back; see `fanlight.wire.codec`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fanlight.errors import InvalidRequest
from fanlight.filters import Value
from fanlight.model import Coverage, Explanation, Facets, IdColumn, Outcome, SearchRequest
from fanlight.v1 import items_pb2, search_pb2
from fanlight.wire.codec import from_ids, from_search
from fanlight.wire.status import from_coverage, to_coverage

_COLUMNS: dict[type, str] = {str: "keywords", bool: "bools", float: "floats", int: "ints"}


def to_facets(facets: Facets, coverage: Coverage) -> items_pb2.FacetItemsResponse:
    """Put facets on the wire."""
    message = items_pb2.FacetItemsResponse(
        counts=facets.counts.astype("<u8").tobytes(),
        distinct=facets.distinct,
        items=facets.items,
        coverage=to_coverage(coverage),
    )
    if facets.values:
        column = getattr(message, _COLUMNS[type(facets.values[0])])
        column.values.extend(facets.values)
    return message


def from_facets(message: items_pb2.FacetItemsResponse) -> tuple[Facets, Coverage]:
    """Read facets off the wire."""
    kind = message.WhichOneof("values")
    values: Sequence[Value] = () if kind is None else getattr(message, kind).values
    counts = np.frombuffer(message.counts, dtype="<u8").astype(np.int64)
    facets = Facets(tuple(values), counts, message.distinct, message.items)
    return facets, from_coverage(message.coverage)


def from_explain(
    message: search_pb2.ExplainRequest,
) -> tuple[SearchRequest, IdColumn, float | None]:
    """Read what is to be explained off the wire: a search, (1,) an item, and perhaps its score.

    Raises:
        InvalidRequest: the search is malformed, or there is not one id.
    """
    id_ = from_ids(message.id, "id")
    if len(id_) != 1:
        raise InvalidRequest.of_field("id", "1 id", str(len(id_)))
    score = message.score if message.HasField("score") else None
    return from_search(message.search), id_, score


def to_explanation(explanation: Explanation) -> search_pb2.ExplainResponse:
    """Put an explanation on the wire."""
    return search_pb2.ExplainResponse(
        exists=explanation.exists,
        score=explanation.score,
        rank=explanation.rank,
        rank_allowed=explanation.rank_allowed,
        place=explanation.place,
        last_score=explanation.last_score,
        shard=explanation.shard,
        segment=explanation.segment,
        seq=explanation.seq,
        outcomes=[search_pb2.Outcome(rule=o.rule, passes=o.passes) for o in explanation.outcomes],
        coverage=to_coverage(explanation.coverage),
        interest=explanation.interest,
    )


def from_explanation(message: search_pb2.ExplainResponse) -> Explanation:
    """Read an explanation off the wire."""
    return Explanation(
        exists=message.exists,
        score=message.score,
        rank=message.rank,
        rank_allowed=message.rank_allowed,
        place=message.place if message.HasField("place") else None,
        last_score=message.last_score if message.HasField("last_score") else None,
        interest=message.interest,
        shard=message.shard,
        segment=message.segment,
        seq=message.seq,
        outcomes=tuple(Outcome(o.rule, o.passes) for o in message.outcomes),
        coverage=from_coverage(message.coverage),
    )
