"""A collection as a dict: what the real one is compared with."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from tests import oracle
from tests.matching import accepts
from tests.pieces import floats, ids_of, spec_of
from tests.storage.conftest import OpenCatalog

from fanlight.conditions import field as field_
from fanlight.filters import FieldType, Filter
from fanlight.ids import empty
from fanlight.model import (
    Floats,
    IdColumn,
    IdType,
    ItemBatch,
    Metric,
    SearchRequest,
    parse_payload,
)
from fanlight.topk import TopK
from fanlight_server.collection import Collection

FIELDS = {"n": FieldType.INT, "tags": FieldType.KEYWORD}
FILTERS = [
    field_("n") < 450,
    field_("tags").is_in(["a", "b"]) & ~(field_("n") < 300),
    ~field_("tags").exists(),
    field_("tags") == "no such tag",
]
DIM = 8
WAIT_S = 20


@dataclass
class Model:
    """Items by id: vector and payload."""

    dim: int
    id_type: IdType
    metric: Metric = Metric.COSINE
    items: dict[object, tuple[Floats, bytes]] = field(default_factory=dict)

    def put(self, batch: ItemBatch) -> None:
        blobs = batch.payload_blobs or [b""] * len(batch.ids)
        for value, vector, blob in zip(batch.ids.tolist(), batch.vectors, blobs, strict=True):
            self.items[value] = (vector, blob)

    def drop(self, ids: IdColumn) -> int:
        return sum(self.items.pop(value, None) is not None for value in set(ids.tolist()))

    def ids(self) -> IdColumn:
        column = empty(self.id_type, len(self.items))
        column[:] = sorted(self.items)  # type: ignore[type-var]  # all of one type
        return column

    def vectors(self) -> Floats:
        rows = [self.items[value][0] for value in self.ids().tolist()]
        return np.array(rows, dtype=np.float32).reshape(len(rows), self.dim)

    def best(self, queries: Floats, k: int) -> TopK:
        return oracle.best(self.metric, queries, self.ids(), self.vectors(), k)

    def accepted(self, filter: Filter) -> Model:
        """Keep the items that satisfy a filter."""
        items = {
            value: item
            for value, item in self.items.items()
            if accepts(filter, parse_payload(item[1]))
        }
        return replace(self, items=items)


def random_batch(
    choice: random.Random, model: Model, universe: Sequence[int], rows: int
) -> ItemBatch:
    """Make a batch over a small universe of ids, with repeated ids and many equal vectors."""
    numbers = np.array([choice.choice(universe) for _ in range(rows)])
    rng = np.random.default_rng(choice.randrange(2**32))
    vectors = rng.standard_normal((rows, model.dim)).astype(np.float32)
    vectors[rng.random(rows) < 0.2] = np.arange(1, model.dim + 1, dtype=np.float32)
    blobs = [payload_of(choice, int(n)) if choice.random() < 0.5 else b"" for n in numbers]
    payloads = blobs if choice.random() < 0.7 else None
    return ItemBatch(ids_of(numbers, model.id_type), vectors, payloads)


def payload_of(choice: random.Random, number: int) -> bytes:
    tags = [choice.choice("abcdefg") for _ in range(choice.randrange(3))]
    return json.dumps({"n": number, "tags": tags}).encode()


def search(
    collection: Collection,
    queries: Floats,
    k: int,
    *,
    exact: bool = True,
    ef: int | None = None,
    filter: Filter | None = None,
) -> TopK:
    hits = collection.search(
        SearchRequest(collection.spec.name, queries, k, exact=exact, ef_search=ef, filter=filter)
    )
    return TopK(hits.ids, hits.scores, hits.counts)


def check(collection: Collection, model: Model, queries: Floats) -> None:
    """Compare everything that can be read with the model."""
    assert collection.count() == len(model.items)
    assert collection.info().items == len(model.items)
    best = model.best(queries, len(model.items) + 10)
    for k in (1, 10, len(model.items) + 10):
        expected = TopK(best.ids[:, :k], best.scores[:, :k], np.minimum(best.counts, k))
        oracle.assert_equal(search(collection, queries, k), expected)
    if collection.spec.filterable:
        check_filters(collection, model, queries)
    if len(model.items):
        everything = model.ids()
        check_items(collection.get(everything).ids.tolist(), everything)
        found = collection.get(everything)
        np.testing.assert_array_equal(found.vectors, model.vectors())
        assert found.payload_blobs == [model.items[value][1] for value in everything.tolist()]
        assert not len(found.missing)
    check_items(scrolled(collection, 37), model.ids())


def check_filters(collection: Collection, model: Model, queries: Floats) -> None:
    """Compare filtered answers with the model: exactly, and as far as a walk promises."""
    for filter in FILTERS:
        accepted = model.accepted(filter)
        expected = accepted.best(queries, 10)
        oracle.assert_equal(search(collection, queries, 10, filter=filter), expected)
        walked = search(collection, queries, 10, exact=False, filter=filter)
        np.testing.assert_array_equal(walked.counts, expected.counts)
        assert set(walked.ids[walked.ids != empty(model.id_type, 1)[0]].tolist()) <= set(
            accepted.items
        )


def check_items(got: Sequence[object], expected: IdColumn) -> None:
    assert list(got) == expected.tolist()


def scrolled(collection: Collection, page_size: int) -> list[object]:
    """Scroll through all ids."""
    seen: list[object] = []
    token = b""
    while True:
        page = collection.scroll(page_size, token)
        seen += page.items.ids.tolist()
        token = page.next_page_token
        if not token:
            return seen


def made(
    open_catalog: OpenCatalog,
    metric: Metric = Metric.COSINE,
    id_type: IdType = IdType.INT64,
    **changes: object,
) -> Collection:
    """Create the collection "things" in a new catalog."""
    catalog = open_catalog(**changes)
    catalog.create(spec_of(DIM, metric, id_type))
    return catalog.get("things")


def batch_of(
    numbers: range | list[int],
    id_type: IdType = IdType.INT64,
    seed: int = 1,
    payloads: list[bytes] | None = None,
) -> ItemBatch:
    """Make items with these numbers as ids, the vectors from a seed."""
    return ItemBatch(ids_of(np.array(numbers), id_type), floats(seed, len(numbers), DIM), payloads)


def put(collection: Collection, batch: ItemBatch) -> None:
    """Write items and wait; all of them must be accepted."""
    result = collection.upsert(batch).result(WAIT_S)
    assert not result.errors


def at_rest(collection: Collection) -> bool:
    """Tell whether the builder has nothing left to do under the configuration BUSY."""
    info = collection.info()
    return info.unindexed_items < 20 and info.segments <= 2
