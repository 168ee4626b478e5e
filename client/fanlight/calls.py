"""What the SDK asks of the network, as values.

An operation is a generator. It yields steps, is sent what each step gave (or has the step's
error thrown into it), and returns its result. It knows no channel, no thread and no event loop,
so the same operation serves `Client` and `AsyncClient`; `fanlight.transport` holds the driver
of each.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from google.protobuf.message import Message

from fanlight.errors import FanlightError
from fanlight.model import Hits, SearchRequest
from fanlight.retry import Budget
from fanlight.v1 import cluster_pb2, collections_pb2, items_pb2, search_pb2, sets_pb2
from fanlight.wire.codec import from_hits, to_search

T = TypeVar("T")
ResponseT = TypeVar("ResponseT", bound=Message)


@dataclass(frozen=True, slots=True)
class Rpc(Generic[ResponseT]):
    """A method of the contract, as a client sees it.

    Attributes:
        path: its name on the wire.
        response: class of its answer.
        timeout_s: deadline of a call that names none.
        repeatable: whether sending it twice leaves what sending it once does.
        streams: whether its answer is a stream of messages.
    """

    path: str
    response: type[ResponseT]
    timeout_s: float
    repeatable: bool = True
    streams: bool = False


# Every call but two is safe to repeat. Reads change nothing; an upsert replaces an item whole
# and a delete by id names what shall be gone, so the second time changes nothing either;
# creating a collection that exists with the same parameters returns it. Deleting a collection
# is not: the first, unanswered try may have worked, and the second would then report NotFound,
# or delete what somebody else has created under that name in between.
#
# A search is interactive. A write waits for a group commit and may queue behind others. Creating
# and deleting a collection touches the disks of all shards.
CREATE_COLLECTION = Rpc(
    "/fanlight.v1.CollectionService/CreateCollection",
    collections_pb2.CreateCollectionResponse,
    timeout_s=30.0,
)
GET_COLLECTION = Rpc(
    "/fanlight.v1.CollectionService/GetCollection",
    collections_pb2.GetCollectionResponse,
    timeout_s=10.0,
)
LIST_COLLECTIONS = Rpc(
    "/fanlight.v1.CollectionService/ListCollections",
    collections_pb2.ListCollectionsResponse,
    timeout_s=10.0,
)
FINISH_RESTORE = Rpc(
    "/fanlight.v1.CollectionService/FinishRestore",
    collections_pb2.FinishRestoreResponse,
    timeout_s=30.0,
)
UPDATE_COLLECTION = Rpc(
    "/fanlight.v1.CollectionService/UpdateCollection",
    collections_pb2.UpdateCollectionResponse,
    timeout_s=30.0,
)
DELETE_COLLECTION = Rpc(
    "/fanlight.v1.CollectionService/DeleteCollection",
    collections_pb2.DeleteCollectionResponse,
    timeout_s=30.0,
    repeatable=False,
)
UPSERT_ITEMS = Rpc(
    "/fanlight.v1.ItemService/UpsertItems", items_pb2.UpsertItemsResponse, timeout_s=60.0
)
DELETE_ITEMS = Rpc(
    "/fanlight.v1.ItemService/DeleteItems", items_pb2.DeleteItemsResponse, timeout_s=60.0
)
# By filter it is not safe to repeat: the second time it could delete what was written in between.
DELETE_MATCHING = Rpc(
    "/fanlight.v1.ItemService/DeleteItems",
    items_pb2.DeleteItemsResponse,
    timeout_s=60.0,
    repeatable=False,
)
GET_ITEMS = Rpc("/fanlight.v1.ItemService/GetItems", items_pb2.GetItemsResponse, timeout_s=10.0)
SCROLL_ITEMS = Rpc(
    "/fanlight.v1.ItemService/ScrollItems", items_pb2.ScrollItemsResponse, timeout_s=10.0
)
EXPORT_ITEMS = Rpc(
    "/fanlight.v1.ItemService/ExportItems",
    items_pb2.ExportItemsResponse,
    timeout_s=3_600.0,
    streams=True,
)
COUNT_ITEMS = Rpc(
    "/fanlight.v1.ItemService/CountItems", items_pb2.CountItemsResponse, timeout_s=10.0
)
FACET_ITEMS = Rpc(
    "/fanlight.v1.ItemService/FacetItems", items_pb2.FacetItemsResponse, timeout_s=10.0
)
# Changes of sets leave what they are asked for, however often they are made.
APPEND_TO_SET = Rpc(
    "/fanlight.v1.SetService/AppendToSet", sets_pb2.AppendToSetResponse, timeout_s=60.0
)
REMOVE_FROM_SET = Rpc(
    "/fanlight.v1.SetService/RemoveFromSet", sets_pb2.RemoveFromSetResponse, timeout_s=60.0
)
EXPIRE_SET = Rpc("/fanlight.v1.SetService/ExpireSet", sets_pb2.ExpireSetResponse, timeout_s=60.0)
GET_SET = Rpc("/fanlight.v1.SetService/GetSet", sets_pb2.GetSetResponse, timeout_s=10.0)
DELETE_SET = Rpc("/fanlight.v1.SetService/DeleteSet", sets_pb2.DeleteSetResponse, timeout_s=60.0)
EXPLAIN = Rpc("/fanlight.v1.SearchService/Explain", search_pb2.ExplainResponse, timeout_s=10.0)
SEARCH = Rpc("/fanlight.v1.SearchService/Search", search_pb2.SearchResponse, timeout_s=5.0)
GET_STATUS = Rpc(
    "/fanlight.v1.ClusterService/GetStatus", cluster_pb2.GetStatusResponse, timeout_s=10.0
)
ACCEPT_DATA = Rpc(
    "/fanlight.v1.ClusterService/AcceptData", cluster_pb2.AcceptDataResponse, timeout_s=30.0
)


@dataclass(frozen=True, slots=True)
class Call:
    """Send one request once and wait for the answer; gives the response message."""

    rpc: Rpc[Any]
    request: Message
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Open:
    """Send one request whose answer is a stream, and wait for its first message.

    Gives the stream, first message included: an iterator (for threads) or an asynchronous one.
    Errors after the first message are raised where the stream is read.
    """

    call: Call


@dataclass(frozen=True, slots=True)
class Search:
    """Send one search once and wait for its answer; gives `Hits`."""

    request: SearchRequest
    timeout_s: float

    @property
    def call(self) -> Call:
        """Send it as a call of its own."""
        return Call(SEARCH, to_search(self.request), self.timeout_s)

    def hits(self, response: Message) -> Hits:
        """Read the answer of that call."""
        assert isinstance(response, search_pb2.SearchResponse)
        return from_hits(response, self.request.width)


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait; gives nothing."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Window:
    """Run operations side by side; gives the list of their results, in order.

    The first error ends the window: the operations that still run are cancelled.

    Attributes:
        operations: started in order, one by one as the window moves on, so a lazy iterable
            makes each request only when there is room for it.
        width: how many run at once.
    """

    operations: Iterable[Operation[Any]]
    width: int


Step: TypeAlias = Call | Open | Search | Pause | Window
# What comes back into the generator depends on the step, so its type is Any.
Operation: TypeAlias = Generator[Step, Any, T]


def send(rpc: Rpc[ResponseT], request: Message, budget: Budget) -> Operation[ResponseT]:
    """Send a request, and again while its error is transient and its budget lasts.

    Raises:
        FanlightError: the error of the last attempt.
    """
    return _attempts(lambda: Call(rpc, request, budget.remaining_s), budget, rpc.repeatable)


def open_stream(rpc: Rpc[Any], request: Message, budget: Budget) -> Operation[Any]:
    """Begin to read a stream; its beginning is repeated as `send` repeats a request."""
    make = lambda: Open(Call(rpc, request, budget.remaining_s))  # noqa: E731
    return _attempts(make, budget, rpc.repeatable)


def find(request: SearchRequest, budget: Budget) -> Operation[Hits]:
    """Send a search as `send` does a request."""
    return _attempts(lambda: Search(request, budget.remaining_s), budget, SEARCH.repeatable)


def _attempts(make: Callable[[], Step], budget: Budget, repeatable: bool) -> Operation[Any]:
    while True:
        try:
            answer = yield make()
            budget.succeeded()
            return answer
        except FanlightError as error:
            pause = budget.pause_after(error) if repeatable else None
            if pause is None:
                raise
        yield Pause(pause)
