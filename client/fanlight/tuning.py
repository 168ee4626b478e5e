"""Tuning of a collection: the body of a method that `fanlight.client` and `fanlight.aio` mix in."""

# ruff: noqa: ASYNC109  the timeout is the deadline that each request carries, as in `Client`

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fanlight.calls import Operation
from fanlight.driver import Driver
from fanlight.errors import InvalidRequest
from fanlight.evaluation.recall import BATCH, Curve, Point, Truth, point_of
from fanlight.evaluation.tuning import Tuning, hunt
from fanlight.ids import IdsLike, joined
from fanlight.inputs import as_ids, as_queries, as_share, as_uint32
from fanlight.model import Floats, Hits, IdColumn
from fanlight.operations import Operations, search_request
from fanlight.transport import AsyncTransport

# Exact search compares every item: a whole collection takes longer than the 5 s of a search.
TIMEOUT_S = 60.0
# A recall that needs more wants a graph with more links (`m`) instead.
MAX_EF_SEARCH = 4_096
# Stored items that are queries.
_SAMPLE = 500
# Ids that they are drawn from: a page or a few of a scroll, however large the collection is.
_POOL = 20_000


@dataclass(frozen=True, slots=True)
class TuneOperations:
    """Makes the operations that tuning takes, on one collection."""

    operations: Operations
    collection: str
    timeout: float

    def tune(
        self,
        queries: ArrayLike | IdsLike | None,
        k: int,
        target: float,
        most: int,
        *,
        keep: bool,
    ) -> Operation[Tuning]:
        """Measure until the cheapest `ef_search` is known, and keep it as the default."""
        as_share("recall", target)
        as_uint32("k", k, least=1)
        if as_uint32("max_ef_search", most) < k:
            raise InvalidRequest.of_field("max_ef_search", f"at least k, {k}", str(most))
        asked = (yield from self._sampled()) if queries is None else _as_queries(queries)
        answers, seconds = yield from self._asked(asked, k, None)
        truth, exact_speed = Truth.of(answers), len(asked) / seconds
        hunted, points = hunt(k, target, most), list[Point]()
        ef: int | None = next(hunted)
        while ef is not None:
            answers, seconds = yield from self._asked(asked, k, ef)
            points.append(point_of(ef, truth.recalls(answers), k, len(asked) / seconds))
            try:
                ef = hunted.send(points[-1].recall)
            except StopIteration:
                ef = None
        points.sort(key=lambda point: point.ef_search)
        tuning = Tuning(target, Curve(k, len(asked), tuple(points), exact_speed), queries is None)
        if keep and tuning.ef_search is not None:
            yield from self.operations.update_collection(
                self.collection,
                add_fields=None,
                drop_fields=(),
                ef_search=tuning.ef_search,
                timeout=self.timeout,
            )
        return tuning

    def _asked(
        self, queries: Floats | IdColumn, k: int, ef: int | None
    ) -> Operation[tuple[list[Hits], float]]:
        """Ask all queries, exactly when there is no ef, and tell the seconds that it took."""
        answers, begun = list[Hits](), time.perf_counter()
        for start in range(0, len(queries), BATCH):
            part = queries[start : start + BATCH]
            asked: dict[str, Any] = {"queries": part} if queries.ndim == 2 else {"ids": part}
            request = search_request(
                self.collection,
                **asked,
                k=k,
                ef_search=ef,
                exact=ef is None,
                score_threshold=None,
                with_payloads=False,
                with_vectors=False,
                min_coverage=1.0,
                filter=None,
            )
            answers.append((yield from self.operations.search(request, "raise", self.timeout)))
        return answers, time.perf_counter() - begun

    def _sampled(self) -> Operation[IdColumn]:
        """Draw stored items, the same ones each time."""
        columns, token = list[IdColumn](), b""
        while sum(map(len, columns)) < _POOL:
            page = yield from self.operations.scroll_page(
                self.collection,
                _POOL,
                token,
                with_vectors=False,
                with_payloads=False,
                timeout=self.timeout,
            )
            if len(page.items):
                columns.append(page.items.ids)
            token = page.next_page_token
            if not token:
                break
        if not columns:
            raise InvalidRequest.of_field("queries", "some, or a collection with items", "neither")
        ids = joined(columns)
        chosen = np.random.default_rng(0).choice(len(ids), min(_SAMPLE, len(ids)), replace=False)
        return ids[np.sort(chosen)]


def _as_queries(queries: ArrayLike | IdsLike) -> Floats | IdColumn:
    """Take a matrix as vectors, and anything else as ids."""
    given: Any = queries
    is_matrix = np.ndim(given) == 2 if isinstance(given, (np.ndarray, list, tuple)) else False
    return as_queries("queries", given) if is_matrix else as_ids(given)


class Tunable:
    """A collection that can be tuned; for programs with threads."""

    name: str
    _operations: Operations
    _transport: Driver

    def tune(
        self,
        queries: ArrayLike | IdsLike | None = None,
        *,
        recall: float = 0.99,
        k: int = 10,
        max_ef_search: int = MAX_EF_SEARCH,
        keep: bool = True,
        timeout: float = TIMEOUT_S,
    ) -> Tuning:
        """Find the cheapest `ef_search` that reaches a recall, and make it the collection's default.

        The queries are asked exactly, and then with one `ef_search` after the other. When it
        returns, the one that was found is on the disks of all shards, and every search that does
        not say another has it, whoever asks. If none reached the recall, nothing changes, and the
        answer's `ef_search` is None.

        Args:
            queries: (n, dim) vectors, or (n,) ids of stored items, each itself left out: a few
                hundred that are like the real ones. None for 500 stored items, drawn from the
                first 20,000 of a scroll; always the same ones.
            recall: wanted, in [0, 1]: mean share of the exact k nearest.
            k: hits that a search wants.
            max_ef_search: the most to try.
            keep: make it the default, for which a key must be an admin's; else only measure.
            timeout: seconds for each request (of 256 queries).

        Raises:
            NotReady: a shard is missing; the error names it, and the default may be set or not.
            NotFound: the collection, or one of the items, does not exist.
            InvalidRequest: there are no queries, or an argument cannot be.
            FanlightError: as `search` does.
        """
        make = TuneOperations(self._operations, self.name, timeout)
        return self._transport.run(make.tune(queries, k, recall, max_ef_search, keep=keep))


class AsyncTunable:
    """A collection that can be tuned; for programs with an event loop."""

    name: str
    _operations: Operations
    _transport: AsyncTransport

    async def tune(
        self,
        queries: ArrayLike | IdsLike | None = None,
        *,
        recall: float = 0.99,
        k: int = 10,
        max_ef_search: int = MAX_EF_SEARCH,
        keep: bool = True,
        timeout: float = TIMEOUT_S,
    ) -> Tuning:
        """Find the cheapest `ef_search` that reaches a recall, and make it the collection's default.

        The queries are asked exactly, and then with one `ef_search` after the other. When it
        returns, the one that was found is on the disks of all shards, and every search that does
        not say another has it, whoever asks. If none reached the recall, nothing changes, and the
        answer's `ef_search` is None.

        Args:
            queries: (n, dim) vectors, or (n,) ids of stored items, each itself left out: a few
                hundred that are like the real ones. None for 500 stored items, drawn from the
                first 20,000 of a scroll; always the same ones.
            recall: wanted, in [0, 1]: mean share of the exact k nearest.
            k: hits that a search wants.
            max_ef_search: the most to try.
            keep: make it the default, for which a key must be an admin's; else only measure.
            timeout: seconds for each request (of 256 queries).

        Raises:
            NotReady: a shard is missing; the error names it, and the default may be set or not.
            NotFound: the collection, or one of the items, does not exist.
            InvalidRequest: there are no queries, or an argument cannot be.
            FanlightError: as `search` does.
        """
        make = TuneOperations(self._operations, self.name, timeout)
        return await self._transport.run(make.tune(queries, k, recall, max_ef_search, keep=keep))
