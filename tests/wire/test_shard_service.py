"""What each method of a shard hands to the core, and what it makes of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import grpc
import numpy as np
import pytest
from tests.wire.fakes import ITEMS, PARTS, FakeCollection
from tests.wire.serving_shard import ServingShard, detail_of, search_message

from fanlight import field
from fanlight.cluster import ShardState
from fanlight.declarations import Declaration
from fanlight.errors import DeadlineExceeded, NotReady, Overloaded
from fanlight.filters import FieldType
from fanlight.limits import Limits
from fanlight.model import CollectionSpec, Coverage, DeleteResult, IdType, ItemBatch, Metric
from fanlight.v1 import cluster_pb2, sets_pb2_grpc
from fanlight.v1 import collections_pb2 as collections
from fanlight.v1 import items_pb2 as items
from fanlight.v1 import search_pb2 as search
from fanlight.v1 import sets_pb2 as sets
from fanlight.wire import codec
from fanlight.wire.answer_codec import from_explanation, from_facets
from fanlight.wire.cluster_codec import from_cluster_status, to_accept_data
from fanlight.wire.filter_codec import to_filter
from fanlight.wire.status import from_coverage
from fanlight_server.deleting import delete_matching
from fanlight_server.workers import Workers

OWN = Coverage(1, 1, ITEMS, ITEMS)
IDS = codec.to_ids(np.array([3, 1]))


async def test_create_passes_the_parameters_and_the_routers_version(shard: ServingShard) -> None:
    """A collection is made as asked, with the router's version if it gives one."""
    spec = CollectionSpec("films", 8, Metric.L2, IdType.STRING, m=8, ef_construction=50)
    request = collections.CreateCollectionRequest(spec=codec.to_spec(spec))
    response = await shard.collections.CreateCollection(request)
    request.version = 12
    await shard.collections.CreateCollection(request)
    assert shard.catalog.calls == [("create", spec, None), ("create", spec, 12)]
    assert codec.from_info(response.collection) == shard.movies.info()


async def test_a_collection_is_described_with_coverage(shard: ServingShard) -> None:
    """One collection and all of them are described as they stand on this shard alone."""
    one = await shard.collections.GetCollection(collections.GetCollectionRequest(name="movies"))
    assert codec.from_info(one.collection) == shard.movies.info()
    assert from_coverage(one.coverage) == OWN
    every = await shard.collections.ListCollections(collections.ListCollectionsRequest())
    assert [codec.from_info(info) for info in every.collections] == [shard.movies.info()]
    assert from_coverage(every.coverage) == OWN


async def test_delete_passes_the_routers_version(shard: ServingShard) -> None:
    """A collection is deleted, under the router's version if it gives one."""
    await shard.collections.DeleteCollection(collections.DeleteCollectionRequest(name="movies"))
    await shard.collections.DeleteCollection(
        collections.DeleteCollectionRequest(name="movies", version=5)
    )
    assert shard.catalog.calls == [("delete", "movies", None), ("delete", "movies", 5)]


async def test_fields_are_declared_by_users_and_by_routers(shard: ServingShard) -> None:
    """A user says what changes; a router says all that there is, and of which version."""
    types = {"year": FieldType.INT, "genre": FieldType.KEYWORD}
    response = await shard.collections.UpdateCollection(
        codec.to_update("movies", types, ["old"], 70)
    )
    assert codec.from_info(response.collection) == shard.movies.info()
    declaration = Declaration(types, 5, 2, 90)
    await shard.collections.UpdateCollection(codec.to_declaration("movies", declaration))
    await shard.collections.UpdateCollection(codec.to_declaration("movies", Declaration({}, 1, 0)))
    assert shard.catalog.calls == [
        ("update", "movies", types, ["old"], 70),
        ("declare", "movies", declaration),
        ("declare", "movies", Declaration({}, 1, 0)),
    ]


async def test_writes_are_answered_with_what_became_of_them(shard: ServingShard) -> None:
    """Upserts and deletes report their rows and this shard's coverage."""
    batch = ItemBatch(np.array([1, 2]), np.ones((2, 4), dtype=np.float32))
    upserted = await shard.items.UpsertItems(codec.to_upsert("movies", batch))
    assert (upserted.written, from_coverage(upserted.coverage)) == (2, OWN)
    deleted = await shard.items.DeleteItems(items.DeleteItemsRequest(collection="movies", ids=IDS))
    assert (deleted.deleted, from_coverage(deleted.coverage)) == (2, OWN)


async def test_reads_return_both_columns_unless_told_otherwise(shard: ServingShard) -> None:
    """Vectors and payloads come by default, and each can be left out."""
    both = await shard.items.GetItems(items.GetItemsRequest(collection="movies", ids=IDS))
    assert shard.movies.flags == {"with_vectors": True, "with_payloads": True}
    found = codec.from_items(both)
    assert found.ids.tolist() == [3, 1]
    assert found.vectors is not None
    assert found.payload_blobs == [b"{}", b"{}"]
    assert from_coverage(both.coverage) == OWN
    bare = await shard.items.GetItems(
        items.GetItemsRequest(collection="movies", ids=IDS, with_vectors=False, with_payloads=False)
    )
    assert shard.movies.flags == {"with_vectors": False, "with_payloads": False}
    assert not bare.HasField("vectors")
    assert not bare.HasField("payloads")


async def test_a_scroll_has_pages_of_a_thousand_unless_told_otherwise(
    shard: ServingShard,
) -> None:
    """The page size has a default, and the token goes to the core and comes from it."""
    request = items.ScrollItemsRequest(collection="movies", page_token=b"t")
    page = await shard.items.ScrollItems(request)
    assert len(codec.from_items(page)) == 1_000
    assert page.next_page_token == b"t+"
    request.page_size = 3
    assert len(codec.from_items(await shard.items.ScrollItems(request))) == 3


async def test_count_and_search_carry_this_shards_coverage(shard: ServingShard) -> None:
    """A shard covers itself: one of one."""
    count = await shard.items.CountItems(items.CountItemsRequest(collection="movies"))
    assert (count.count, from_coverage(count.coverage)) == (ITEMS, OWN)
    hits = codec.from_hits(await shard.searches.Search(search_message(2)), 3)
    assert hits.ids.tolist() == [[2, 4, 6]]
    assert hits.coverage == OWN


async def test_a_shard_reports_itself_with_its_deleted_collections(shard: ServingShard) -> None:
    """The status of a shard names its identity, its state and every name it remembers."""
    response = await shard.cluster.GetStatus(cluster_pb2.GetStatusRequest())
    status = from_cluster_status(response)
    (itself,) = status.shards
    assert itself.identity == shard.catalog.identity
    assert itself.state is ShardState.SERVING
    assert [(info.spec.name, info.deleted) for info in itself.collections] == [
        ("gone", True),
        ("movies", False),
    ]


async def test_a_shard_tells_its_data_and_that_of_others(shard: ServingShard) -> None:
    """A router can compare what shards know of each other, and have them remember."""
    shard.catalog.peers = {0: "a" * 32}
    response = await shard.cluster.GetStatus(cluster_pb2.GetStatusRequest())
    (itself,) = from_cluster_status(response).shards
    assert (itself.data_id, itself.peers) == (shard.catalog.data_id, shard.catalog.peers)
    for replace in (False, True):
        data = {2: "c" * 32, 0: "d" * 32}
        await shard.cluster.AcceptData(to_accept_data(data, replace=replace))
        assert shard.catalog.accepted[-1] == (data, replace)


async def test_a_shard_that_takes_no_writes_says_so_and_why(shard: ServingShard) -> None:
    """Its state is read-only, and it still tells what it holds."""
    shard.catalog.write_refusal = NotReady("the disk failed")
    response = await shard.cluster.GetStatus(cluster_pb2.GetStatusRequest())
    (itself,) = from_cluster_status(response).shards
    assert itself.state is ShardState.READ_ONLY
    assert str(itself.error) == "the disk failed"
    assert len(itself.collections) == 2


async def test_a_coverage_that_is_no_share_is_refused(shard: ServingShard) -> None:
    """Every call that takes a least coverage refuses one outside [0, 1], and takes 0."""
    for call in (
        lambda share: shard.items.CountItems(
            items.CountItemsRequest(collection="movies", min_coverage=share)
        ),
        lambda share: shard.collections.GetCollection(
            collections.GetCollectionRequest(name="movies", min_coverage=share)
        ),
        lambda share: shard.collections.ListCollections(
            collections.ListCollectionsRequest(min_coverage=share)
        ),
    ):
        await call(0.0)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(1.5)
        assert detail_of(refused.value).field == "min_coverage"


async def test_a_write_outlives_its_caller(
    serve: Callable[..., Awaitable[ServingShard]],
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """Cancelling an upsert does not cancel the write that the core has taken."""
    shard = await serve(Limits())
    write = shard.movies.hold_writes()
    batch = ItemBatch(np.array([1]), np.ones((1, 4), dtype=np.float32))
    call = shard.items.UpsertItems(codec.to_upsert("movies", batch))
    await wait_until_async(lambda: shard.movies.upserted)
    call.cancel()
    await wait_until_async(lambda: shard.shell.calls_under_way == 0)
    assert not write.cancelled()


async def test_filters_reach_counts_and_deletions(shard: ServingShard) -> None:
    """A count and a deletion by filter are other questions than those without."""
    filter = to_filter(field("year") >= 1990)
    counted = await shard.items.CountItems(
        items.CountItemsRequest(collection="movies", filter=filter)
    )
    assert counted.count == 1
    assert from_coverage(counted.coverage) == OWN
    request = items.DeleteItemsRequest(collection="movies", filter=filter)
    assert (await shard.items.DeleteItems(request)).deleted == PARTS
    request.ids.CopyFrom(IDS)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await shard.items.DeleteItems(request)
    assert detail_of(caught.value).field == "filter"


BY_FILTER = items.DeleteItemsRequest(collection="movies", filter=to_filter(field("year") >= 1990))


async def test_deletions_by_filter_hold_no_thread(
    shard: ServingShard, wait_until_async: Callable[..., Awaitable[None]]
) -> None:
    """However many wait for the disk, others are served; each part waits for the one before."""
    shard.movies.deletions_are_held = True
    calls = [shard.items.DeleteItems(BY_FILTER) for _ in range(20)]
    await wait_until_async(lambda: len(shard.movies.deletions) == 20)
    read = await shard.items.GetItems(items.GetItemsRequest(collection="movies", ids=IDS))
    assert codec.from_ids(read.ids, "ids").tolist() == [3, 1]
    assert len(shard.movies.deletions) == 20
    shard.movies.deletions_are_held = False
    for write in shard.movies.deletions[:20]:
        write.set_result(DeleteResult(1))
    assert [(await call).deleted for call in calls] == [PARTS] * 20


async def test_a_deletion_by_filter_ends_with_its_caller(
    shard: ServingShard, wait_until_async: Callable[..., Awaitable[None]]
) -> None:
    """The part under way is finished, and no further one is begun."""
    shard.movies.deletions_are_held = True
    call = shard.items.DeleteItems(BY_FILTER)
    await wait_until_async(lambda: len(shard.movies.deletions) == 1)
    call.cancel()
    await wait_until_async(lambda: shard.shell.calls_under_way == 0)
    assert not shard.movies.deletions[0].cancelled()
    shard.movies.deletions[0].set_result(DeleteResult(1))
    await shard.items.GetItems(items.GetItemsRequest(collection="movies", ids=IDS))
    assert len(shard.movies.deletions) == 1


async def test_a_deletion_by_filter_ends_with_its_time(
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """No part is waited for past the deadline, and the error says what was deleted."""
    movies, workers, filter = FakeCollection(), Workers(1), field("year") >= 1990
    movies.deletions_are_held = True
    deletion = asyncio.create_task(delete_matching(movies, filter, workers, 1.0))
    await wait_until_async(lambda: movies.deletions)
    movies.deletions[0].set_result(DeleteResult(1))
    with pytest.raises(DeadlineExceeded, match="items deleted by then: 1"):
        await deletion
    assert len(movies.deletions) == 2
    with pytest.raises(DeadlineExceeded, match="items deleted by then: 0"):
        await delete_matching(movies, filter, workers, 0.0)
    workers.close()


async def test_a_deletion_by_filter_that_fails_says_what_it_did(
    shard: ServingShard, wait_until_async: Callable[..., Awaitable[None]]
) -> None:
    """What was deleted is gone, whatever became of the rest."""
    shard.movies.deletions_are_held = True
    call = shard.items.DeleteItems(BY_FILTER)
    await wait_until_async(lambda: len(shard.movies.deletions) == 1)
    shard.movies.deletions[0].set_result(DeleteResult(1))
    await wait_until_async(lambda: len(shard.movies.deletions) == 2)
    full = Overloaded("the disk is full", field="disk", retry_after_s=7.0)
    shard.movies.deletions[1].set_exception(full)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    detail = detail_of(caught.value)
    assert detail.message.endswith("the disk is full; items deleted by then: 1")
    assert (detail.field, detail.retry_after_s) == ("disk", 7.0)


async def test_facets_are_answered_with_coverage(shard: ServingShard) -> None:
    """The values of a field, their counts and how many items there are."""
    request = items.FacetItemsRequest(collection="movies", field="genre")
    facets, coverage = from_facets(await shard.items.FacetItems(request))
    assert (facets.values, facets.counts.tolist(), facets.items) == (("genre",), [ITEMS], ITEMS)
    assert coverage == OWN


async def test_an_explanation_names_the_shard(shard: ServingShard) -> None:
    """What the core says of an item comes with the name of the shard."""
    request = search.ExplainRequest(search=search_message(), id=codec.to_ids(np.array([3])))
    explanation = from_explanation(await shard.searches.Explain(request))
    assert (explanation.shard, explanation.segment, explanation.rank) == ("shard-1", "1.seg", 2)


def explain_message() -> search.ExplainRequest:
    return search.ExplainRequest(search=search_message(), id=codec.to_ids(np.array([3])))


async def test_explanations_hold_no_thread_of_reads(
    serve: Callable[..., Awaitable[ServingShard]],
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """They run where searches do: so many at once, and reads and writes go on beside them."""
    shard = await serve(Limits(), threads=2)
    shard.movies.gate.clear()
    calls = [shard.searches.Explain(explain_message()) for _ in range(20)]
    await wait_until_async(lambda: shard.executor.n_waiting == 18)
    read = await shard.items.GetItems(items.GetItemsRequest(collection="movies", ids=IDS))
    assert codec.from_ids(read.ids, "ids").tolist() == [3, 1]
    assert shard.movies.explained == 2
    shard.movies.gate.set()
    assert [(await call).rank for call in calls] == [2] * 20


async def test_an_explanation_is_not_begun_when_nobody_waits(
    serve: Callable[..., Awaitable[ServingShard]],
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """Who has gone by the time a thread is free is not worked for."""
    shard = await serve(Limits(), threads=1)
    shard.movies.gate.clear()
    running = shard.searches.Explain(explain_message())
    await wait_until_async(lambda: shard.movies.explained == 1)
    leaving = shard.searches.Explain(explain_message(), timeout=0.2)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await leaving
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await wait_until_async(lambda: shard.shell.calls_under_way == 1)
    shard.movies.gate.set()
    assert (await running).rank == (await shard.searches.Explain(explain_message())).rank == 2
    assert shard.movies.explained == 2


async def test_changes_of_sets_reach_the_core(shard: ServingShard) -> None:
    """Each change is passed on as it came, and answered with the number of members."""
    stub = cast("sets_pb2_grpc.SetServiceAsyncStub", sets_pb2_grpc.SetServiceStub(shard.channel))
    name: Any = {"collection": "movies", "name": "seen"}
    assert (await stub.AppendToSet(sets.AppendToSetRequest(**name, ids=IDS, ttl_s=5))).members == 2
    await stub.AppendToSet(sets.AppendToSetRequest(**name, ids=IDS))
    await stub.RemoveFromSet(sets.RemoveFromSetRequest(**name, ids=IDS))
    assert (await stub.ExpireSet(sets.ExpireSetRequest(**name, ttl_s=9))).members == 2
    await stub.DeleteSet(sets.DeleteSetRequest(**name))
    assert shard.movies.sets.changes == [
        ("append", "seen", [3, 1], 5.0),
        ("append", "seen", [3, 1], None),
        ("remove", "seen", [3, 1]),
        ("expire", "seen", 9.0),
        ("delete", "seen"),
    ]
    got = await stub.GetSet(sets.GetSetRequest(**name))
    assert codec.from_ids(got.ids, "ids").tolist() == [3, 5]
    counted = await stub.GetSet(sets.GetSetRequest(**name, without_ids=True))
    assert (counted.members, counted.HasField("ids")) == (2, False)
