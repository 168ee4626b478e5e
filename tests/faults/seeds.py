"""A valid request of every method of the contract, for those who damage them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from google.protobuf.message import Message
from tests.faults.under_load import COLLECTION

from fanlight import Cap, Floor, Mmr, Slate, examples, field, interest, interests
from fanlight.conditions import as_filter
from fanlight.declarations import Declaration
from fanlight.examples import as_composed, as_exclusions
from fanlight.filters import FieldType
from fanlight.model import CollectionSpec, ItemBatch, SearchRequest
from fanlight.packed_ids import PackedIds
from fanlight.queries import Exclusions
from fanlight.v1 import cluster_pb2, collections_pb2, items_pb2, search_pb2, sets_pb2
from fanlight.wire import codec
from fanlight.wire.filter_codec import to_filter

DIM = 8
# All items satisfy it, since none has a genre.
_FILTER = as_filter(~(field("genre") == "crime"))


def _search() -> search_pb2.SearchRequest:
    vectors = np.ones((2, DIM), dtype=np.float32)
    return codec.to_search(SearchRequest(COLLECTION, vectors, 3, ef_search=16))


def _by_id() -> search_pb2.SearchRequest:
    return codec.to_search(SearchRequest(COLLECTION, None, 3, ids=np.arange(2)))


def _upsert() -> items_pb2.UpsertItemsRequest:
    payloads = [b'{"a": 1}', b""]
    batch = ItemBatch(np.arange(2), np.ones((2, DIM), dtype=np.float32), payloads)
    return codec.to_upsert(COLLECTION, batch)


def _without_many() -> search_pb2.SearchRequest:
    """Ids that travel by their steps."""
    packed = PackedIds(3, 2, bytes([1, 0, 2, 0, 3, 0]))
    vectors = np.ones((1, DIM), dtype=np.float32)
    exclude = Exclusions(None, ("seen",), packed)
    return codec.to_search(SearchRequest(COLLECTION, vectors, 3, exclude=exclude))


def _by_meaning() -> search_pb2.SearchRequest:
    """Everything that a search may ask for at once."""
    likes = interest(examples([0, 1], negative=[2]), weight=2.0)
    query = interests(likes, interest(np.ones(DIM), min_share=0.2))
    slate = Slate([Cap("genre", 2)], [Floor(_FILTER, count=1)], Mmr(0.5, 8), near_duplicate=0.99)
    request = SearchRequest(COLLECTION, None, 3, composed=as_composed(query), filter=_FILTER)
    exclude = as_exclusions([3], ["seen"])
    return codec.to_search(replace(request, exclude=exclude, slate=slate))


def _stream() -> search_pb2.SearchStreamRequest:
    tagged = search_pb2.TaggedSearch(tag=1, search=_search(), timeout_ms=9_000)
    return search_pb2.SearchStreamRequest(searches=[tagged], cancelled=[7])


# A valid request of every method; the test fails when one has none.
SEEDS: dict[str, list[Callable[[], Message]]] = {
    "CollectionService/CreateCollection": [
        lambda: collections_pb2.CreateCollectionRequest(
            spec=codec.to_spec(CollectionSpec("made", DIM)), version=3
        )
    ],
    "CollectionService/GetCollection": [
        lambda: collections_pb2.GetCollectionRequest(name=COLLECTION, min_coverage=0.5)
    ],
    "CollectionService/ListCollections": [
        lambda: collections_pb2.ListCollectionsRequest(min_coverage=0.5)
    ],
    "CollectionService/DeleteCollection": [
        lambda: collections_pb2.DeleteCollectionRequest(name="made", version=4)
    ],
    "CollectionService/UpdateCollection": [
        lambda: codec.to_update("made", {"n": FieldType.INT}, ["m"]),
        lambda: codec.to_declaration("made", Declaration({"n": FieldType.INT}, 3, 2)),
    ],
    "CollectionService/FinishRestore": [lambda: collections_pb2.FinishRestoreRequest(name="made")],
    "ItemService/UpsertItems": [_upsert],
    "ItemService/DeleteItems": [
        lambda: items_pb2.DeleteItemsRequest(
            collection=COLLECTION, ids=codec.to_ids(np.arange(900, 905))
        )
    ],
    "ItemService/GetItems": [
        lambda: items_pb2.GetItemsRequest(
            collection=COLLECTION, ids=codec.to_ids(np.arange(5)), with_vectors=True
        )
    ],
    "ItemService/ScrollItems": [
        lambda: items_pb2.ScrollItemsRequest(collection=COLLECTION, page_size=5, page_token=b"")
    ],
    "ItemService/CountItems": [
        lambda: items_pb2.CountItemsRequest(collection=COLLECTION, min_coverage=1.0)
    ],
    "ItemService/ExportItems": [
        lambda: items_pb2.ExportItemsRequest(
            collection=COLLECTION, shards=[0], after=codec.to_ids(np.arange(1)), batch_rows=3
        )
    ],
    "ItemService/FacetItems": [
        lambda: items_pb2.FacetItemsRequest(
            collection=COLLECTION, field="genre", filter=to_filter(_FILTER), limit=3
        )
    ],
    "SearchService/Search": [_search, _by_id, _by_meaning, _without_many],
    "SearchService/Explain": [
        lambda: search_pb2.ExplainRequest(search=_by_meaning(), id=codec.to_ids(np.arange(1)))
    ],
    "SearchService/SearchStream": [_stream],
    "SetService/AppendToSet": [
        lambda: sets_pb2.AppendToSetRequest(
            collection=COLLECTION, name="seen", ids=codec.to_ids(np.arange(3)), ttl_s=60.0
        )
    ],
    "SetService/RemoveFromSet": [
        lambda: sets_pb2.RemoveFromSetRequest(
            collection=COLLECTION, name="seen", ids=codec.to_ids(np.arange(3))
        )
    ],
    "SetService/ExpireSet": [
        lambda: sets_pb2.ExpireSetRequest(collection=COLLECTION, name="seen", ttl_s=60.0)
    ],
    "SetService/GetSet": [
        lambda: sets_pb2.GetSetRequest(collection=COLLECTION, name="seen", without_ids=True)
    ],
    "SetService/DeleteSet": [lambda: sets_pb2.DeleteSetRequest(collection=COLLECTION, name="seen")],
    # No shard has this index: however it is mutated, hardly any makes shards forget each other.
    "ClusterService/AcceptData": [
        lambda: cluster_pb2.AcceptDataRequest(
            shards=[cluster_pb2.ShardData(index=7, data_id="0" * 32)]
        )
    ],
    "ClusterService/GetStatus": [cluster_pb2.GetStatusRequest],
}


def methods() -> set[str]:
    """Name every method of the contract."""
    modules = (cluster_pb2, collections_pb2, items_pb2, search_pb2, sets_pb2)
    return {
        f"{service.name}/{method.name}"
        for module in modules
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
