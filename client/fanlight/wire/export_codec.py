"""The codec of exports: what `fanlight.exports` holds to messages and back."""

from __future__ import annotations

import numpy as np

from fanlight.errors import InvalidRequest
from fanlight.exports import (
    BATCH_ROWS,
    ExportEnd,
    ExportPart,
    ExportRequest,
    ExportRows,
    ExportStart,
)
from fanlight.ids import column_of
from fanlight.v1 import items_pb2
from fanlight.wire import codec
from fanlight.wire.status import from_error, to_error


def to_export_request(request: ExportRequest) -> items_pb2.ExportItemsRequest:
    """Put a request on the wire."""
    after = request.after
    return items_pb2.ExportItemsRequest(
        collection=request.collection,
        shards=request.shards,
        after=None if after is None else codec.to_ids(column_of(after)),
        batch_rows=request.batch_rows,
        with_vectors=request.with_vectors,
        with_payloads=request.with_payloads,
    )


def from_export_request(message: items_pb2.ExportItemsRequest) -> ExportRequest:
    """Read a request off the wire.

    Raises:
        InvalidRequest: `after` is not one id, or not of one shard.
    """
    after = None
    if message.HasField("after"):
        ids = codec.from_ids(message.after, "after").tolist()
        if len(ids) != 1:
            raise InvalidRequest.of_field("after", "one id", f"{len(ids)}")
        after = ids[0]
    return ExportRequest(
        collection=message.collection,
        shards=tuple(message.shards),
        after=after,
        batch_rows=message.batch_rows if message.HasField("batch_rows") else BATCH_ROWS,
        with_vectors=message.with_vectors or not message.HasField("with_vectors"),
        with_payloads=message.with_payloads or not message.HasField("with_payloads"),
    )


def to_export(shard: int, part: ExportPart) -> items_pb2.ExportItemsResponse:
    """Put a part of a shard's export on the wire."""
    if isinstance(part, ExportRows):
        message = items_pb2.ExportItemsResponse(shard=shard)
        _fill_rows(message.rows, part)
        return message
    if isinstance(part, ExportStart):
        start = items_pb2.ExportStart(
            shards=part.shards,
            seq=part.seq,
            items=part.items,
            collection=codec.to_info(part.collection),
        )
        return items_pb2.ExportItemsResponse(shard=shard, start=start)
    error = None if part.error is None else to_error(part.error)
    return items_pb2.ExportItemsResponse(shard=shard, end=items_pb2.ExportEnd(error=error))


def _fill_rows(message: items_pb2.ExportRows, part: ExportRows) -> None:
    codec.fill_ids(message.ids, part.ids)
    message.seqs = part.seqs.astype("<i8", copy=False).tobytes()
    if part.vectors is not None:
        codec.fill_matrix(message.vectors, part.vectors)
    if part.payload_blobs is not None:
        codec.fill_blobs(message.payloads, part.payload_blobs)


def from_export(message: items_pb2.ExportItemsResponse) -> tuple[int, ExportPart]:
    """Read a part off the wire, and the index of its shard.

    Raises:
        InvalidRequest: the message is malformed, or of a kind that this version does not know.
    """
    kind = message.WhichOneof("part")
    if kind == "rows":
        return message.shard, _from_rows(message.rows, message.shard)
    if kind == "start":
        start = message.start
        info = codec.from_info(start.collection)
        return message.shard, ExportStart(start.shards, start.seq, start.items, info)
    if kind == "end":
        end = message.end
        return message.shard, ExportEnd(from_error(end.error) if end.HasField("error") else None)
    raise InvalidRequest.of_field("part", "start, rows or end", str(kind))


def _from_rows(message: items_pb2.ExportRows, shard: int) -> ExportRows:
    ids = codec.from_ids(message.ids, "ids")
    if len(message.seqs) != 8 * len(ids):
        raise InvalidRequest.of_field("seqs", f"{8 * len(ids)} bytes", f"{len(message.seqs)}")
    return ExportRows(
        ids=ids,
        seqs=np.frombuffer(message.seqs, dtype="<i8").astype(np.int64, copy=False),
        vectors=codec.from_matrix(message.vectors, "vectors")
        if message.HasField("vectors")
        else None,
        payload_blobs=codec.from_blobs(message.payloads, "payloads")
        if message.HasField("payloads")
        else None,
        shard=shard,
    )
