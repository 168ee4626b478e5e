"""ExportItems on a shard server: a start, rows, an end; few at once, each within its time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import numpy as np
import pytest
from tests.wire.fakes import ITEMS
from tests.wire.serving_shard import ServingShard, detail_of

from fanlight.errors import Corruption
from fanlight.exports import ExportEnd, ExportPart, ExportRows, ExportStart
from fanlight.limits import Limits
from fanlight.v1 import items_pb2 as items
from fanlight.v1 import types_pb2
from fanlight.wire import codec
from fanlight.wire.export_codec import from_export


def request_of(**fields: Any) -> items.ExportItemsRequest:
    return items.ExportItemsRequest(collection="movies", **fields)


async def read_start(call: Any) -> None:
    message: items.ExportItemsResponse = await call.read()
    assert message.HasField("start")


async def read_all(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def parts_of(shard: ServingShard, **fields: Any) -> list[ExportPart]:
    messages = [message async for message in shard.items.ExportItems(request_of(**fields))]
    assert {message.shard for message in messages} == {1}
    return [from_export(message)[1] for message in messages]


async def test_a_start_rows_and_an_end(shard: ServingShard) -> None:
    """The start says of which moment and how much; the export is closed at the end."""
    start, *rows, end = await parts_of(shard)
    assert start == ExportStart(3, seq=40, items=ITEMS, collection=shard.movies.info())
    assert [part.ids.tolist() for part in rows if isinstance(part, ExportRows)] == [
        [row] for row in range(ITEMS)
    ]
    assert [part.seqs.tolist() for part in rows if isinstance(part, ExportRows)] == [
        [row + 1] for row in range(ITEMS)
    ]
    assert end == ExportEnd()
    assert [export.is_closed for export in shard.movies.exports] == [True]


async def test_requests_for_other_shards_are_refused(shard: ServingShard) -> None:
    """A shard exports itself; an id to go on after needs the shard."""
    assert len(await parts_of(shard, shards=[1])) == ITEMS + 2
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await parts_of(shard, shards=[2])
    assert detail_of(caught.value).field == "shards"
    after = codec.to_ids(np.array([3]))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await parts_of(shard, after=after)
    assert detail_of(caught.value).code == types_pb2.CODE_INVALID_ARGUMENT


async def test_a_fault_on_the_way_ends_the_call(shard: ServingShard) -> None:
    """The error is the collection's, and the export is closed."""
    call = shard.items.ExportItems(request_of())
    await read_start(call)
    shard.movies.fault = Corruption("damaged")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await parts_of(shard)
    assert detail_of(caught.value).code == types_pb2.CODE_DATA_LOSS
    call.cancel()


async def test_too_many_at_once_are_refused(
    serve: Callable[..., Awaitable[ServingShard]], wait_until_async: Callable[..., Awaitable[None]]
) -> None:
    """Past the limit an export is refused by its name; one that is left makes room."""
    shard = await serve(Limits(exports=1))
    # A vector as large as no window of HTTP/2: the first export cannot end unread.
    shard.movies.row_bytes = 4 << 20
    held = shard.items.ExportItems(request_of())
    await read_start(held)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await parts_of(shard)
    assert "(exports)" in detail_of(caught.value).message
    held.cancel()
    await wait_until_async(lambda: all(export.is_closed for export in shard.movies.exports))
    shard.movies.row_bytes = 0
    assert len(await parts_of(shard)) == ITEMS + 2


async def test_one_that_is_not_taken_is_ended(
    serve: Callable[..., Awaitable[ServingShard]], wait_until_async: Callable[..., Awaitable[None]]
) -> None:
    """However patient its caller, it lets go of its moment in time."""
    shard = await serve(Limits(export_s=0.2))
    shard.movies.row_bytes = 4 << 20
    held = shard.items.ExportItems(request_of())
    await read_start(held)
    await wait_until_async(lambda: shard.movies.exports[0].is_closed)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read_all(held)
    assert detail_of(caught.value).code == types_pb2.CODE_DEADLINE_EXCEEDED
