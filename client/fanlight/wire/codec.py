"""The one codec: Fanlight's values to protobuf messages and back.

Every `from_x` undoes its `to_x` or `fill_x`. Columns stay buffers: a matrix, an id column and a score
column are one copy each, whatever their number of rows. Messages from outside are checked for
their form here; whether the values make sense is `fanlight.validation`'s matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlight.declarations import Declaration
from fanlight.errors import FanlightError, InvalidRequest
from fanlight.filters import FieldType, Filter
from fanlight.ids import empty, id_type_of
from fanlight.model import (
    DEFAULT_EF_CONSTRUCTION,
    DEFAULT_M,
    NO_ID,
    NO_SCORE,
    CollectionInfo,
    CollectionSpec,
    Hits,
    IdColumn,
    IdType,
    ItemBatch,
    Items,
    Metric,
    Rows,
    SearchRequest,
)
from fanlight.v1 import collections_pb2, items_pb2, search_pb2
from fanlight.v1 import types_pb2 as pb

# callers know one codec
from fanlight.wire.columns import (
    fill_blobs as fill_blobs,
)
from fanlight.wire.columns import (
    fill_ids as fill_ids,
)
from fanlight.wire.columns import (
    fill_matrix as fill_matrix,
)
from fanlight.wire.columns import (
    from_blobs as from_blobs,
)
from fanlight.wire.columns import (
    from_ids as from_ids,
)
from fanlight.wire.columns import (
    from_matrix as from_matrix,
)
from fanlight.wire.columns import (
    to_ids as to_ids,
)
from fanlight.wire.filter_codec import from_filter, to_filter
from fanlight.wire.query_codec import (
    fill_exclusions,
    fill_queries,
    from_exclusions,
    from_queries,
    from_slate,
    to_slate,
)
from fanlight.wire.status import from_coverage, from_error, to_coverage, to_error

_METRICS = {Metric.COSINE: pb.METRIC_COSINE, Metric.DOT: pb.METRIC_DOT, Metric.L2: pb.METRIC_L2}
_ID_TYPES = {IdType.INT64: pb.ID_TYPE_INT64, IdType.STRING: pb.ID_TYPE_STRING}
_FIELD_TYPES = {
    FieldType.KEYWORD: pb.FIELD_TYPE_KEYWORD,
    FieldType.INT: pb.FIELD_TYPE_INT,
    FieldType.FLOAT: pb.FIELD_TYPE_FLOAT,
    FieldType.BOOL: pb.FIELD_TYPE_BOOL,
    FieldType.TIME: pb.FIELD_TYPE_TIME,
}
_METRIC_OF = {code: metric for metric, code in _METRICS.items()}
_ID_TYPE_OF = {code: id_type for id_type, code in _ID_TYPES.items()}
_FIELD_TYPE_OF = {code: type_ for type_, code in _FIELD_TYPES.items()}
_COUNT, _SCORE = np.dtype("<u4"), np.dtype("<f4")


# --- collections ------------------------------------------------------------------------------


def to_spec(spec: CollectionSpec) -> collections_pb2.CollectionSpec:
    """Put a collection's parameters on the wire."""
    return collections_pb2.CollectionSpec(
        name=spec.name,
        dim=spec.dim,
        metric=_METRICS[spec.metric],
        id_type=_ID_TYPES[spec.id_type],
        m=spec.m,
        ef_construction=spec.ef_construction,
        filterable={name: _FIELD_TYPES[type_] for name, type_ in spec.filterable.items()},
        ef_search=spec.ef_search,
    )


def from_spec(message: collections_pb2.CollectionSpec) -> CollectionSpec:
    """Read a collection's parameters off the wire; absent ones get their defaults.

    Raises:
        InvalidRequest: an enum has a number that this version does not know.
    """
    metric = message.metric or pb.METRIC_COSINE
    id_type = message.id_type or pb.ID_TYPE_INT64
    if metric not in _METRIC_OF:
        raise InvalidRequest.of_field("metric", "cosine, dot or l2", str(metric))
    if id_type not in _ID_TYPE_OF:
        raise InvalidRequest.of_field("id_type", "int64 or string", str(id_type))
    return CollectionSpec(
        name=message.name,
        dim=message.dim,
        metric=_METRIC_OF[metric],
        id_type=_ID_TYPE_OF[id_type],
        m=message.m if message.HasField("m") else DEFAULT_M,
        ef_construction=message.ef_construction
        if message.HasField("ef_construction")
        else DEFAULT_EF_CONSTRUCTION,
        filterable=_from_fields(message.filterable, "filterable"),
        ef_search=message.ef_search if message.HasField("ef_search") else None,
    )


def _from_fields(message: Mapping[str, pb.FieldType.ValueType], where: str) -> dict[str, FieldType]:
    for name, code in message.items():
        if code not in _FIELD_TYPE_OF:
            expected = "keyword, int, float, bool or time"
            raise InvalidRequest.of_field(f"{where}.{name}", expected, str(code))
    return {name: _FIELD_TYPE_OF[code] for name, code in message.items()}


def to_update(
    name: str, add: Mapping[str, FieldType], drop: Sequence[str], ef_search: int | None = None
) -> collections_pb2.UpdateCollectionRequest:
    """Put a change of the filterable fields and of `ef_search` on the wire."""
    types = {field: _FIELD_TYPES[type_] for field, type_ in add.items()}
    return collections_pb2.UpdateCollectionRequest(
        name=name, add_fields=types, drop_fields=drop, ef_search=ef_search
    )


def from_update(
    message: collections_pb2.UpdateCollectionRequest,
) -> tuple[dict[str, FieldType], list[str], int | None]:
    """Read a change off the wire: the fields to add, those to drop, and `ef_search`.

    Raises:
        InvalidRequest: a type is a number that this version does not know.
    """
    ef_search = message.ef_search if message.HasField("ef_search") else None
    return _from_fields(message.add_fields, "add_fields"), list(message.drop_fields), ef_search


def to_declaration(name: str, declaration: Declaration) -> collections_pb2.UpdateCollectionRequest:
    """Put all that can change on the wire, as routers do."""
    fields = collections_pb2.FieldDeclaration(
        filterable={field: _FIELD_TYPES[type_] for field, type_ in declaration.filterable.items()},
        version=declaration.version,
        fields_version=declaration.fields_version,
        ef_search=declaration.ef_search,
    )
    return collections_pb2.UpdateCollectionRequest(name=name, declaration=fields)


def from_declaration(message: collections_pb2.FieldDeclaration) -> Declaration:
    """Read all that can change off the wire.

    Raises:
        InvalidRequest: a type is a number that this version does not know.
    """
    fields = _from_fields(message.filterable, "declaration.filterable")
    ef_search = message.ef_search if message.HasField("ef_search") else None
    return Declaration(fields, message.version, message.fields_version, ef_search)


def to_info(info: CollectionInfo) -> collections_pb2.Collection:
    """Put a collection's state on the wire."""
    return collections_pb2.Collection(
        spec=to_spec(info.spec),
        version=info.version,
        items=info.items,
        unindexed_items=info.unindexed_items,
        segments=info.segments,
        deleted=info.deleted,
        restoring=info.restoring,
        fields_version=info.fields_version,
        building_fields=info.building_fields,
    )


def from_info(message: collections_pb2.Collection) -> CollectionInfo:
    """Read a collection's state off the wire."""
    return CollectionInfo(
        spec=from_spec(message.spec),
        version=message.version,
        items=message.items,
        unindexed_items=message.unindexed_items,
        segments=message.segments,
        deleted=message.deleted,
        restoring=message.restoring,
        fields_version=message.fields_version,
        building_fields=tuple(message.building_fields),
    )


# --- items ------------------------------------------------------------------------------------


def to_upsert(collection: str, batch: ItemBatch) -> items_pb2.UpsertItemsRequest:
    """Put a batch of items on the wire."""
    message = items_pb2.UpsertItemsRequest(collection=collection)
    fill_ids(message.ids, batch.ids)
    fill_matrix(message.vectors, batch.vectors)
    if batch.payload_blobs is not None:
        fill_blobs(message.payloads, batch.payload_blobs)
    return message


def from_upsert(message: items_pb2.UpsertItemsRequest) -> ItemBatch:
    """Read a batch of items off the wire.

    Raises:
        InvalidRequest: a column is malformed.
    """
    payloads = from_blobs(message.payloads, "payloads") if message.HasField("payloads") else None
    return ItemBatch(
        ids=from_ids(message.ids, "ids"),
        vectors=from_matrix(message.vectors, "vectors"),
        payload_blobs=payloads,
    )


def fill_items(
    message: items_pb2.GetItemsResponse | items_pb2.ScrollItemsResponse, items: Items
) -> None:
    """Put the columns of stored items on the wire, and the ids that were not found."""
    fill_ids(message.ids, items.ids)
    if items.vectors is not None:
        fill_matrix(message.vectors, items.vectors)
    if items.payload_blobs is not None:
        fill_blobs(message.payloads, items.payload_blobs)
    if isinstance(message, items_pb2.GetItemsResponse):
        fill_ids(message.missing, items.missing)


def from_items(message: items_pb2.GetItemsResponse | items_pb2.ScrollItemsResponse) -> Items:
    """Read the columns of stored items off the wire."""
    ids = from_ids(message.ids, "ids")
    missing = empty(id_type_of(ids))
    if isinstance(message, items_pb2.GetItemsResponse):
        missing = from_ids(message.missing, "missing")
    return Items(
        ids=ids,
        vectors=from_matrix(message.vectors, "vectors") if message.HasField("vectors") else None,
        payload_blobs=from_blobs(message.payloads, "payloads")
        if message.HasField("payloads")
        else None,
        missing=missing,
    )


# --- search -----------------------------------------------------------------------------------


def to_search(request: SearchRequest) -> search_pb2.SearchRequest:
    """Put a search on the wire."""
    message = search_pb2.SearchRequest(
        collection=request.collection,
        k=request.k,
        ef_search=request.ef_search,
        exact=request.exact or None,
        score_threshold=request.score_threshold,
        with_payloads=request.with_payloads or None,
        with_vectors=request.with_vectors or None,
        min_coverage=None if request.min_coverage == 1.0 else request.min_coverage,
        filter=None if request.filter is None else to_filter(request.filter),
        take=request.take,
        slate=None if request.slate is None else to_slate(request.slate),
    )
    if request.vectors is not None:
        fill_matrix(message.vectors, request.vectors)
    if request.ids is not None:
        fill_ids(message.ids, request.ids)
    if request.composed is not None:
        fill_queries(message.composed, request.composed)
    if request.exclude is not None:
        fill_exclusions(message.exclude, request.exclude)
    return message


def from_search(message: search_pb2.SearchRequest) -> SearchRequest:
    """Read a search off the wire.

    Raises:
        InvalidRequest: no queries, or a malformed column.
    """
    kind = message.WhichOneof("queries")
    if kind is None:
        raise InvalidRequest.of_field("queries", "vectors, ids or composed", "none of them")
    return SearchRequest(
        collection=message.collection,
        vectors=from_matrix(message.vectors, "vectors") if kind == "vectors" else None,
        ids=from_ids(message.ids, "ids") if kind == "ids" else None,
        k=message.k,
        ef_search=message.ef_search if message.HasField("ef_search") else None,
        exact=message.exact,
        score_threshold=message.score_threshold if message.HasField("score_threshold") else None,
        with_payloads=message.with_payloads,
        with_vectors=message.with_vectors,
        min_coverage=message.min_coverage if message.HasField("min_coverage") else 1.0,
        filter=from_filter(message.filter) if message.HasField("filter") else None,
        take=message.take if message.HasField("take") else None,
        composed=from_queries(message.composed) if kind == "composed" else None,
        exclude=from_exclusions(message.exclude) if message.HasField("exclude") else None,
        slate=from_slate(message.slate) if message.HasField("slate") else None,
    )


def filter_of(
    message: items_pb2.CountItemsRequest | items_pb2.FacetItemsRequest,
) -> Filter | None:
    """Read the filter of a count off the wire; None for none.

    Raises:
        InvalidRequest: it is malformed.
    """
    return from_filter(message.filter) if message.HasField("filter") else None


def filter_of_deletion(message: items_pb2.DeleteItemsRequest) -> Filter:
    """Read the filter of a deletion off the wire.

    Raises:
        InvalidRequest: it is malformed, or there are ids as well.
    """
    if message.HasField("ids"):
        raise InvalidRequest.of_field("filter", "ids or a filter", "both")
    return from_filter(message.filter)


def to_hits(hits: Hits) -> search_pb2.SearchResponse:
    """Put hits on the wire, without their padding."""
    message = search_pb2.SearchResponse()
    fill_hits(message, hits)
    return message


def fill_hits(message: search_pb2.SearchResponse, hits: Hits) -> None:
    """Put hits into an empty message, without their padding."""
    counts = hits.counts
    real = _real(counts, hits.ids.shape[1])
    message.counts = counts.astype(_COUNT).tobytes()
    fill_ids(message.ids, _without_padding(hits.ids, real))
    message.scores = _without_padding(hits.scores, real).astype(_SCORE, copy=False).tobytes()
    message.coverage.CopyFrom(to_coverage(hits.coverage))
    if hits.vectors is not None:
        fill_matrix(message.vectors, _without_padding(hits.vectors, real))
    if hits.payload_blobs is not None:
        fill_blobs(message.payloads, hits.payload_blobs)
    if hits.interests is not None:
        message.interests = _without_padding(hits.interests, real).astype(_COUNT).tobytes()
    if hits.excluded is not None:
        message.excluded = hits.excluded
    message.errors.extend(_to_errors(hits.errors))
    message.missing.extend(_to_missing(hits.missing_ids))
    message.unmet.extend(_to_unmet(hits.unmet))


def _to_errors(errors: Mapping[int, FanlightError]) -> list[pb.RowError]:
    return [pb.RowError(row=row, error=to_error(error)) for row, error in sorted(errors.items())]


def _to_missing(missing: Mapping[int, IdColumn]) -> list[search_pb2.MissingIds]:
    rows = sorted(missing.items())
    return [search_pb2.MissingIds(row=row, ids=to_ids(ids)) for row, ids in rows]


def _to_unmet(unmet: Mapping[int, tuple[str, ...]]) -> list[search_pb2.UnmetRules]:
    return [search_pb2.UnmetRules(row=row, rules=rules) for row, rules in sorted(unmet.items())]


def _real(counts: Rows, k: int) -> NDArray[np.bool_] | None:
    """Tell which places of a block of n x k are no padding; None for all, the usual case."""
    if min(counts.tolist(), default=k) == k:
        return None
    return np.arange(k) < counts[:, None]


def _without_padding(block: NDArray[Any], real: NDArray[np.bool_] | None) -> NDArray[Any]:
    """Take the real hits of a block, query after query; (n, k, ...) to (hits, ...)."""
    return block.reshape(-1, *block.shape[2:]) if real is None else block[real]


def _with_padding(
    flat: NDArray[Any],
    shape: tuple[int, int],
    real: NDArray[np.bool_] | None,
    missing: object,
) -> NDArray[Any]:
    """Undo `_without_padding`; the block can be written to."""
    whole = (*shape, *flat.shape[1:])
    if real is None:
        return flat.reshape(whole).copy()
    block = np.full(whole, missing, dtype=flat.dtype)
    block[real] = flat
    return block


def _numbers(data: bytes, dtype: np.dtype[Any], field: str) -> NDArray[Any]:
    """Read a column of numbers off the wire."""
    if len(data) % dtype.itemsize:
        raise InvalidRequest.of_field(field, f"{dtype.itemsize} bytes each", f"{len(data)} bytes")
    return np.frombuffer(data, dtype)


def _check_hits(counts: Rows, k: int, columns: Mapping[str, Sized | None]) -> None:
    """Make sure that there are at most k hits a query, and all columns have a row for each.

    Of a list: reducing an array of one number, the usual case, takes longer than all else here.
    """
    numbers = counts.tolist()
    if max(numbers, default=0) > k:
        raise InvalidRequest.of_field("counts", f"at most {k} a query", str(max(numbers)))
    total = sum(numbers)
    for field, column in columns.items():
        if column is not None and len(column) != total:
            raise InvalidRequest.of_field(field, f"{total} rows", f"{len(column)}")


def from_hits(message: search_pb2.SearchResponse, k: int) -> Hits:
    """Read hits off the wire and pad them to k a query.

    Raises:
        InvalidRequest: its columns do not fit each other.
    """
    counts = _numbers(message.counts, _COUNT, "counts").astype(np.int64)
    real, shape = _real(counts, k), (len(counts), k)
    ids = from_ids(message.ids, "ids")
    scores = _numbers(message.scores, _SCORE, "scores").astype(np.float32, copy=False)
    flat = from_matrix(message.vectors, "vectors") if message.HasField("vectors") else None
    payloads = from_blobs(message.payloads, "payloads") if message.HasField("payloads") else None
    found_by = _numbers(message.interests, _COUNT, "interests") if message.interests else None
    columns: dict[str, Sized | None] = {
        "ids": ids,
        "scores": scores,
        "vectors": flat,
        "payloads": payloads,
        "interests": found_by,
    }
    _check_hits(counts, k, columns)
    return Hits(
        ids=_with_padding(ids, shape, real, None if ids.dtype == object else NO_ID),
        scores=_with_padding(scores, shape, real, NO_SCORE),
        counts=counts,
        coverage=from_coverage(message.coverage),
        errors=_from_errors(message) if message.errors else {},
        payload_blobs=payloads,
        vectors=None if flat is None else _with_padding(flat, shape, real, np.nan),
        excluded=message.excluded if message.HasField("excluded") else None,
        missing_ids=_from_missing(message) if message.missing else {},
        interests=None
        if found_by is None
        else _with_padding(found_by.astype(np.int64), shape, real, -1),
        unmet={m.row: tuple(m.rules) for m in message.unmet} if message.unmet else {},
    )


def _from_errors(message: search_pb2.SearchResponse) -> dict[int, FanlightError]:
    return {failed.row: from_error(failed.error) for failed in message.errors}


def _from_missing(message: search_pb2.SearchResponse) -> dict[int, IdColumn]:
    return {missing.row: from_ids(missing.ids, "missing_ids") for missing in message.missing}
