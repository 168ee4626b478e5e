"""The client for programs with threads.

A thin face over `fanlight.operations`; `fanlight.aio` is the other one, with the same methods.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType

from numpy.typing import ArrayLike

from fanlight.backups import ClientRestores, CollectionExports
from fanlight.cluster import ClusterStatus, ShardStatus
from fanlight.conditions import FilterLike
from fanlight.credentials import KeyLike, TlsLike, identity_of
from fanlight.driver import Driver
from fanlight.ids import IdsLike
from fanlight.inputs import OnError, Payload, as_name
from fanlight.model import (
    DEFAULT_EF_CONSTRUCTION,
    DEFAULT_M,
    CollectionInfo,
    DeleteResult,
    Hits,
    Items,
    UpsertResult,
)
from fanlight.operations import Operations, search_request
from fanlight.queries import Query, Slate
from fanlight.questions import Questions
from fanlight.transport import Addresses, Transport
from fanlight.tuning import Tunable
from fanlight.updates import ClientUpdates


class Client(ClientUpdates, ClientRestores):
    """A connection to a Fanlight cluster; a context manager.

    It connects when it is first used. It may be shared by threads, and used on both sides of a
    fork. Every call has a deadline and raises only subclasses of `FanlightError`: by default
    5 s for a search, 60 s for a write, 30 s to create or delete a collection, 10 s for the
    rest. A batch too large for one message goes as several requests, each with a deadline of
    its own. A request whose error says "not now" is sent again, after a pause, within its
    deadline; only `delete_collection`, and `delete` by filter, never are. A partial result is asked
    for twice at the most.
    """

    def __init__(
        self,
        addresses: str | Sequence[str] = "localhost:7700",
        *,
        timeout: float | None = None,
        max_attempts: int = 4,
        tls: TlsLike = None,
        api_key: KeyLike = None,
        insecure: bool = False,
    ) -> None:
        """Prepare a client; nothing is sent.

        Args:
            addresses: "host:port" of a router, or of several: the client begins with any of
                them, and goes on to the next when one is of no use.
            timeout: seconds for each request of a call that says nothing else; None for the
                defaults.
            max_attempts: times a request is sent at the most; 1 for no second try.
            tls: a `fanlight.Tls` with the files to encrypt with; True for the authorities that
                come with gRPC; False for plain text; None for what the environment says
                (FANLIGHT_TLS_CA and others), or plain text.
            api_key: shown with every call, or what gives it each time; None for what the
                environment says (FANLIGHT_API_KEY), "" for none.
            insecure: whether to send the key to other hosts in plain text.

        Raises:
            InvalidRequest: an argument or a file cannot be, or the key would go to another host
                in plain text.
        """
        self._operations = Operations(timeout, max_attempts)
        routers = Addresses(addresses)
        identity = identity_of(tls, api_key, routers.every, insecure=insecure)
        self._transport: Driver = Transport(routers, identity)

    def create_collection(
        self,
        name: str,
        *,
        dim: int,
        metric: str = "cosine",
        id_type: str = "int64",
        m: int = DEFAULT_M,
        ef_construction: int = DEFAULT_EF_CONSTRUCTION,
        filterable: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Collection:
        """Create a collection; one that exists with the same parameters is taken as it is.

        Args:
            name: 1 to 128 characters of [A-Za-z0-9_.-], the first a letter or a digit.
            dim: elements of every vector.
            metric: "cosine", "dot" or "l2" (whose score is the negated squared distance).
            id_type: "int64" or "string".
            m: links of a graph node on each upper level, twice as many on the lowest.
            ef_construction: candidates kept while a graph is built.
            filterable: the keys of payloads that searches may filter by, each with its type:
                "keyword", "int" or "time" (or lists of them), "float" or "bool".
            timeout: seconds; None for the client's default.

        Raises:
            AlreadyExists: it exists with other parameters.
            InvalidRequest: a parameter is out of its range.
        """
        self._transport.run(
            self._operations.create_collection(
                name,
                dim=dim,
                metric=metric,
                id_type=id_type,
                m=m,
                ef_construction=ef_construction,
                filterable=filterable,
                timeout=timeout,
            )
        )
        return self.collection(name)

    def collection(self, name: str) -> Collection:
        """Give the handle of a collection without a call; it need not exist yet."""
        return Collection(as_name(name), self._operations, self._transport)

    def get_collection(
        self, name: str, *, min_coverage: float = 1.0, timeout: float | None = None
    ) -> CollectionInfo:
        """Describe a collection.

        Args:
            name: its name.
            min_coverage: least share of the shards that must answer, in [0, 1]; the counts are
                those of the shards that do.
            timeout: seconds; None for the client's own, or 10.

        Raises:
            NotFound: there is none of that name.
            PartialResult: fewer shards answered than `min_coverage` demands.
        """
        operation = self._operations.get_collection(
            name, min_coverage=min_coverage, timeout=timeout
        )
        return self._transport.run(operation)

    def list_collections(
        self, *, min_coverage: float = 1.0, timeout: float | None = None
    ) -> list[CollectionInfo]:
        """Describe all collections, by name.

        Args:
            min_coverage: see `get_collection`.
            timeout: seconds; None for the client's own, or 10.

        Raises:
            PartialResult: fewer shards answered than `min_coverage` demands.
        """
        operation = self._operations.list_collections(min_coverage=min_coverage, timeout=timeout)
        return self._transport.run(operation)

    def delete_collection(self, name: str, *, timeout: float | None = None) -> None:
        """Delete a collection and all its items.

        It is sent once only: a first, unanswered try may have worked, and a second would then
        report NotFound, or delete what somebody else has created under that name since.

        Raises:
            NotFound: there is none of that name.
            NotReady: no answer came; the collection may or may not be gone.
        """
        self._transport.run(self._operations.delete_collection(name, timeout))

    def status(self, *, timeout: float | None = None) -> ClusterStatus:
        """Tell how every shard stands. Shards that cannot be reached are no error."""
        return self._transport.run(self._operations.status(timeout))

    def accept_data(self, shard: ShardStatus, *, timeout: float | None = None) -> None:
        """Take the data that a shard of `status()` stands on for its own; what it had is given up.

        For one that is `mismatched` since the others know it by other data. Safe to repeat.

        Raises:
            WrongShard: by now it stands on other data than `shard` says.
            NotReady: a shard is missing that has to remember it.
        """
        self._transport.run(self._operations.accept_data(shard, timeout))

    def close(self) -> None:
        """Close the connections; calls under way fail. May be called twice."""
        self._transport.close()

    def __enter__(self) -> Client:
        """Give the client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the client."""
        self.close()

    def __repr__(self) -> str:
        """Name the routers."""
        return f"{type(self).__name__}({self._transport})"


class Collection(Questions, CollectionExports, Tunable):
    """The handle of one collection; made by a client and usable as long as it is open."""

    def __init__(self, name: str, operations: Operations, transport: Driver) -> None:
        """Do not call; see `Client.collection`."""
        self.name = name
        self._operations = operations
        self._transport = transport

    def info(self, *, min_coverage: float = 1.0, timeout: float | None = None) -> CollectionInfo:
        """Describe the collection.

        Args:
            min_coverage: least share of the shards that must answer, in [0, 1]; the counts are
                those of the shards that do.
            timeout: seconds; None for the client's own, or 10.

        Raises:
            NotFound: it does not exist.
            PartialResult: fewer shards answered than `min_coverage` demands.
        """
        operation = self._operations.get_collection(
            self.name, min_coverage=min_coverage, timeout=timeout
        )
        return self._transport.run(operation)

    def upsert(
        self,
        ids: IdsLike,
        vectors: ArrayLike,
        payloads: Sequence[Payload] | None = None,
        *,
        progress: bool | None = None,
        errors: OnError = "raise",
        timeout: float | None = None,
    ) -> UpsertResult:
        """Write items; one that exists is replaced whole.

        When it returns, the items are on disk and the next search finds them. Of rows with the
        same id the last wins. A refused row changes nothing and does not stop the others. Rows
        that failed for a moment's reason are sent again, only they. An upsert that is sent
        again may overwrite what another client wrote to the same id in between.

        Args:
            ids: (n,) integers or strings, as the collection demands.
            vectors: (n, dim) numbers; float16 and int8 travel as they are, all else as float32.
            payloads: n dicts (or None) of JSON values.
            progress: show a progress bar; None: after 3 seconds, if stderr is a terminal.
            errors: "raise", or "return" to find refused rows in the result only.
            timeout: seconds for each request (of about 1 MiB); None for the client's default.

        Raises:
            InvalidRequest: the batch cannot be, and nothing was sent; or all refused rows are
                the caller's mistake, and the others were written.
            FanlightError: rows failed for another reason. The error's `rows` say which and
                why, counted as in `ids`, and its `result` what became of the others. Without
                `result` no row is known to be written.
        """
        return self._transport.run(
            self._operations.upsert(
                self.name,
                ids,
                vectors,
                payloads,
                progress=progress,
                errors=errors,
                timeout=timeout,
            )
        )

    def delete(
        self,
        ids: IdsLike | None = None,
        *,
        filter: FilterLike | None = None,
        errors: OnError = "raise",
        timeout: float | None = None,
    ) -> DeleteResult:
        """Delete items; unknown ids are no error.

        When it returns, the deletions are on disk and no search finds the items. When a
        request had to be sent again, `deleted` counts only what the last one found.

        Args:
            ids: (n,) integers or strings.
            filter: instead of ids: delete what satisfies it; see docs/queries.md.
            errors: "raise", or "return" to find refused rows in the result only.
            timeout: seconds for each request; None for the client's default.

        Raises:
            InvalidRequest: the ids cannot be, or all refused rows are the caller's mistake.
            FanlightError: as `upsert` does.
        """
        return self._transport.run(
            self._operations.delete(self.name, ids, filter=filter, errors=errors, timeout=timeout)
        )

    def get(
        self,
        ids: IdsLike,
        *,
        with_vectors: bool = True,
        with_payloads: bool = True,
        timeout: float | None = None,
    ) -> Items:
        """Read items by id, in the order asked; `missing` of the answer tells the unknown ids.

        Args:
            ids: (n,) integers or strings.
            with_vectors: read the vectors, as they were put, in float32.
            with_payloads: read the payloads.
            timeout: seconds for each request (of 512 items); None for the client's default.

        Raises:
            NotFound: the collection does not exist.
            InvalidRequest: the ids are of the wrong type.
        """
        return self._transport.run(
            self._operations.get(
                self.name,
                ids,
                with_vectors=with_vectors,
                with_payloads=with_payloads,
                timeout=timeout,
            )
        )

    def scroll(
        self,
        *,
        page_size: int = 1_000,
        with_vectors: bool = True,
        with_payloads: bool = True,
        timeout: float | None = None,
    ) -> Iterator[Items]:
        """Read all items, page by page, in no particular order.

        An item that stays untouched for the whole scroll comes exactly once.

        Args:
            page_size: items a page; each page is one request.
            with_vectors: read the vectors.
            with_payloads: read the payloads.
            timeout: seconds for each page; None for the client's default.

        Raises:
            NotFound: the collection does not exist.
        """
        token = b""
        while True:
            page = self._transport.run(
                self._operations.scroll_page(
                    self.name,
                    page_size,
                    token,
                    with_vectors=with_vectors,
                    with_payloads=with_payloads,
                    timeout=timeout,
                )
            )
            if len(page.items):
                yield page.items
            token = page.next_page_token
            if not token:
                return

    def search(
        self,
        queries: ArrayLike | Query | Sequence[Query],
        *,
        k: int = 10,
        ef_search: int | None = None,
        exact: bool = False,
        score_threshold: float | None = None,
        with_payloads: bool = False,
        with_vectors: bool = False,
        min_coverage: float = 1.0,
        filter: FilterLike | None = None,
        exclude_ids: IdsLike | None = None,
        exclude_sets: Sequence[str] = (),
        slate: Slate | None = None,
        errors: OnError = "raise",
        timeout: float | None = None,
    ) -> Hits:
        """Find the nearest items of each query vector.

        A large batch goes as several requests; its coverage is then the worst of theirs: the
        fewest shards and items that any of them reached, and every failed shard.

        Args:
            queries: (n, dim) numbers, or (dim,) for one query; float16 and int8 travel as they
                are, all else as float32. Or queries by meaning: `examples`, `combine`,
                `interests`, one or a list of them; see docs/queries.md.
            k: hits wanted for each query; there may be fewer, see `Hits.counts`.
            ef_search: candidates the graph walk keeps: more find better and take longer. None
                for the collection's default (see `tune`), or else the server's.
            exact: compare every item instead of walking the graph.
            score_threshold: leave out hits that score less.
            with_payloads: attach the payload of each hit.
            with_vectors: attach the vector of each hit.
            min_coverage: least share of the shards that must answer, in [0, 1].
            filter: find only items that satisfy it: conditions on filterable fields, as
                `field("year") >= 1990` or as a dict; see docs/filters.md.
            exclude_ids: ids that are not to be found.
            exclude_sets: names of sets whose members are not to be found; see `sets`.
            slate: rules for each list of hits as a whole.
            errors: "raise", or "return" to find failed queries in `Hits.errors` only.
            timeout: seconds for each request (of up to 256 queries); None for the default.

        Raises:
            NotFound: the collection does not exist.
            PartialResult: fewer shards answered than `min_coverage` demands.
            DeadlineExceeded: the answer did not come in time.
            FanlightError: queries failed. The error's `rows` say which and why, and its
                `result` holds the hits of the others.
        """
        request = search_request(
            self.name,
            queries=queries,
            k=k,
            ef_search=ef_search,
            exact=exact,
            score_threshold=score_threshold,
            with_payloads=with_payloads,
            with_vectors=with_vectors,
            min_coverage=min_coverage,
            filter=filter,
            exclude_ids=exclude_ids,
            exclude_sets=exclude_sets,
            slate=slate,
        )
        return self._transport.run(self._operations.search(request, errors, timeout))

    def search_by_id(
        self,
        ids: IdsLike,
        *,
        k: int = 10,
        ef_search: int | None = None,
        exact: bool = False,
        score_threshold: float | None = None,
        with_payloads: bool = False,
        with_vectors: bool = False,
        min_coverage: float = 1.0,
        filter: FilterLike | None = None,
        exclude_ids: IdsLike | None = None,
        exclude_sets: Sequence[str] = (),
        slate: Slate | None = None,
        errors: OnError = "raise",
        timeout: float | None = None,
    ) -> Hits:
        """Find the nearest items of each stored item, itself left out.

        Args:
            ids: (n,) ids of stored items, whose vectors are the queries; else as `search`.
            k: see `search`.
            ef_search, exact, score_threshold, with_payloads, with_vectors: see `search`.
            min_coverage, filter, exclude_ids, exclude_sets, slate: see `search`.
            errors: see `search`.
            timeout: see `search`.

        Raises:
            NotFound: the collection, or (as the error of its query) an item does not exist.
            FanlightError: as `search` does.
        """
        request = search_request(
            self.name,
            ids=ids,
            k=k,
            ef_search=ef_search,
            exact=exact,
            score_threshold=score_threshold,
            with_payloads=with_payloads,
            with_vectors=with_vectors,
            min_coverage=min_coverage,
            filter=filter,
            exclude_ids=exclude_ids,
            exclude_sets=exclude_sets,
            slate=slate,
        )
        return self._transport.run(self._operations.search(request, errors, timeout))

    def __repr__(self) -> str:
        """Name the collection."""
        return f"{type(self).__name__}({self.name!r})"
