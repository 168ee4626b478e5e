"""Writers, searchers and the builder at once, against a model. TORTURE=n makes it n times longer."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from tests.pieces import floats, ids_of, spec_of
from tests.storage.conftest import OpenCatalog
from tests.storage.model import FIELDS, Model, check, random_batch, search

from fanlight.model import DeleteResult, IdType, Metric, SearchRequest, UpsertResult
from fanlight_server.collection import Collection

DIM = 6
UNIVERSE = 900
LENGTH = int(os.environ.get("TORTURE", "1"))
WAIT_S = 60
Done = Future[UpsertResult] | Future[DeleteResult]


@dataclass
class Bystanders:
    """Searchers that look for what may never be seen."""

    collection: Collection
    # ids that exist at all times, and ids that never exist again
    lasting: set[object]
    buried: set[object]
    searches: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def search(self, seed: int) -> None:
        queries, choice = floats(seed, 4, DIM), random.Random(seed)
        while not self.stopped.is_set():
            exact, k = choice.random() < 0.5, choice.choice([1, 10, 300, 2_000])
            request = SearchRequest(
                "things", queries, k, exact=exact, ef_search=None if exact else 20
            )
            hits = self.collection.search(request)
            for row, count in enumerate(hits.counts.tolist()):
                found = hits.ids[row, :count].tolist()
                assert len(set(found)) == count, "an id twice in one answer"
                assert not self.buried & set(found), "a deleted item in an answer"
                assert count >= min(k, len(self.lasting)), "fewer hits than items"
                assert k < UNIVERSE or self.lasting <= set(found), "an item is missing"
                assert not np.isnan(hits.scores[row, :count]).any()
                assert (np.diff(hits.scores[row, :count]) <= 0).all()
            self.searches += 1

    @contextmanager
    def looking(self, threads: int) -> Iterator[None]:
        """Search in threads of their own; fails at the end if one saw what it must not."""
        with ThreadPoolExecutor(threads) as pool:
            looks = [pool.submit(self.search, seed) for seed in range(threads)]
            try:
                yield
            finally:
                self.stopped.set()
            for look in looks:
                look.result(timeout=WAIT_S)
        assert self.searches >= threads


def churn(
    collection: Collection, model: Model, choice: random.Random, numbers: list[int], steps: int
) -> None:
    """Change items of `numbers` at random, in the collection and in the model."""
    pending: list[Done] = []
    for _ in range(steps):
        rows = choice.choice([1, 5, 40, 150])
        if choice.random() < 0.65:
            batch = random_batch(choice, model, numbers, rows)
            pending.append(collection.upsert(batch))
            model.put(batch)
        else:
            ids = ids_of(np.array([choice.choice(numbers) for _ in range(rows)]), model.id_type)
            pending.append(collection.delete(ids))
            model.drop(ids)
        if choice.random() < 0.3:
            for future in pending:
                assert not future.result(WAIT_S).errors
            pending.clear()
    for future in pending:
        future.result(WAIT_S)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "id_type"),
    [
        (Metric.COSINE, IdType.INT64),
        (Metric.COSINE, IdType.STRING),
        (Metric.DOT, IdType.STRING),
        (Metric.L2, IdType.INT64),
    ],
)
def test_random_changes_against_a_model(
    open_catalog: OpenCatalog,
    metric: Metric,
    id_type: IdType,
    wait_until: Callable[..., None],
) -> None:
    """Whatever is written, deleted, sealed, built, merged and restarted: reads are the model's.

    Two writers change ids of their own at random. Some items stay all the time and some are
    deleted at the start; searches beside it all find all of the former and none of the latter.
    """
    seed = random.SystemRandom().randrange(2**32) if LENGTH > 1 else 20261120
    print(f"seed {seed}")  # noqa: T201  to repeat a failure
    choice = random.Random(seed)
    catalog = open_catalog()
    catalog.create(replace(spec_of(DIM, metric, id_type), filterable=FIELDS))
    lasting, buried = list(range(UNIVERSE, UNIVERSE + 120)), list(range(2_000, 2_100))
    model = Model(DIM, id_type, metric)
    for numbers in (lasting, buried):
        batch = random_batch(choice, model, numbers, 4 * len(numbers))
        catalog.get("things").upsert(batch).result(WAIT_S)
        model.put(batch)
    lasting_ids = {
        value for value in model.items if value in set(ids_of(np.array(lasting), id_type).tolist())
    }
    catalog.get("things").delete(ids_of(np.array(buried), id_type)).result(WAIT_S)
    model.drop(ids_of(np.array(buried), id_type))
    buried_ids = set(ids_of(np.array(buried), id_type).tolist())
    queries = floats(7, 3, DIM)

    for phase in range(3 * LENGTH):
        collection = catalog.get("things")
        halves = [list(range(0, UNIVERSE, 2)), list(range(1, UNIVERSE, 2))]
        parts = [Model(DIM, id_type, metric) for _ in halves]
        owned = [set(ids_of(np.array(half), id_type).tolist()) for half in halves]
        for part, own in zip(parts, owned, strict=True):
            part.items = {value: item for value, item in model.items.items() if value in own}
        with (
            Bystanders(collection, lasting_ids, buried_ids).looking(2),
            ThreadPoolExecutor(2) as pool,
        ):
            writers = [
                pool.submit(churn, collection, part, random.Random(choice.random()), half, 30)
                for part, half in zip(parts, halves, strict=True)
            ]
            for writer in writers:
                writer.result()
        untouched = {
            value: item
            for value, item in model.items.items()
            if not any(value in own for own in owned)
        }
        model.items = untouched | parts[0].items | parts[1].items
        check(collection, model, queries)
        if phase % 3 == 1:
            wait_until(lambda at=collection: at.info().unindexed_items < 20, 30)
            check(collection, model, queries)
        catalog.close()
        catalog = open_catalog()
        check(catalog.get("things"), model, queries)
        walked = search(catalog.get("things"), queries, 5, exact=False)
        assert walked.counts.tolist() == [min(5, len(model.items))] * 3
