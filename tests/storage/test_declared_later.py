"""Fields that are declared and dropped later: no answer is ever wrong, and none is lost."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.pieces import floats, spec_of
from tests.storage.conftest import BUSY, LAZY, OpenCatalog, OpenCollection
from tests.storage.model import (
    DIM,
    FIELDS,
    Model,
    batch_of,
    check,
    check_filters,
    put,
    random_batch,
    search,
)

from fanlight.conditions import field
from fanlight.declarations import Declaration
from fanlight.errors import AlreadyExists, FanlightError, InvalidRequest, NotFound, NotReady
from fanlight.filters import FieldType
from fanlight.limits import Limits
from fanlight.model import IdType, ItemBatch, SearchRequest
from fanlight.queries import Cap, Slate
from fanlight_server.check.directory import check as check_directory
from fanlight_server.collection import Collection

WaitUntil = Callable[..., None]
SPEC = spec_of(DIM)
QUERIES = floats(7, 3, DIM)
WAIT_S = 60


def declare(collection: Collection, filterable: dict[str, FieldType]) -> None:
    """Declare fields as the catalog does."""
    collection.declare(collection.declaration.replaced(filterable, None))


def build_all(collection: Collection) -> None:
    """Bring everything into segments, and build what they lack."""
    collection._index.seal(1)
    while collection.keeper.build_next(1):
        pass


def is_refused(collection: Collection) -> bool:
    """Tell whether a filter is, as it must be for as long as a field is said to be built."""
    either = (field("n") < 300) | field("tags").exists()
    try:
        search(collection, QUERIES, 5, filter=either)
    except NotReady as error:
        return error.field in FIELDS and error.retry_after_s is not None
    return False


def written(
    collection: Collection, model: Model, choice: random.Random, rows: int, universe: int = 600
) -> None:
    """Write a random batch, and delete some ids."""
    batch = random_batch(choice, model, range(universe), rows)
    put(collection, batch)
    model.put(batch)
    gone = batch.ids[: rows // 10]
    collection.delete(gone).result(WAIT_S)
    model.drop(gone)


@pytest.mark.parametrize("id_type", list(IdType))
def test_a_field_is_searched_when_all_items_have_it(
    open_collection: OpenCollection, tmp_path: Path, id_type: IdType
) -> None:
    """Of segments, sealed heads and the head; writes between the steps make no difference."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201
    choice, model = random.Random(seed), Model(DIM, id_type)
    collection = open_collection(tmp_path, spec_of(DIM, id_type=id_type), LAZY, create=True)
    for _ in range(6):
        written(collection, model, choice, 130)
        collection.keeper.build_next(1)
    written(collection, model, choice, 300)
    assert collection.info().segments >= 1
    assert collection.info().unindexed_items > 64
    declare(collection, FIELDS)
    assert collection.info().building_fields == ("n", "tags")
    assert is_refused(collection)
    steps = 0
    while collection.info().building_fields:
        assert is_refused(collection)
        written(collection, model, choice, 40)
        assert collection.keeper.build_next(1)
        steps += 1
    assert steps >= 2
    assert not is_refused(collection)
    check(collection, model, QUERIES)
    for _ in range(5):
        written(collection, model, choice, 100)
        check_filters(collection, model, QUERIES)
        collection.keeper.build_next(1)
    check(collection, model, QUERIES)


def test_the_fields_of_nothing_are_built_at_once(
    open_collection: OpenCollection, tmp_path: Path
) -> None:
    """Of an empty collection, and of one whose items are all deleted."""
    collection = open_collection(tmp_path, SPEC, LAZY, create=True)
    declare(collection, {"n": FieldType.INT})
    assert collection.info().building_fields == ()
    assert collection.count(field("n") == 1) == 0
    put(collection, batch_of(range(100), payloads=[b'{"n": 1, "tags": "a"}'] * 100))
    assert collection.count(field("n") == 1) == 100
    collection.delete(np.arange(100)).result(WAIT_S)
    declare(collection, FIELDS)
    assert collection.info().building_fields == ()
    put(collection, batch_of(range(9), payloads=[b'{"n": 1, "tags": "a"}'] * 9))
    assert collection.count(field("tags") == "a") == 9


def test_a_graph_stays_as_it_was(open_collection: OpenCollection, tmp_path: Path) -> None:
    """Only columns are added: the walk finds what it found, and no item is read as dead."""
    model = Model(DIM, IdType.INT64)
    collection = open_collection(tmp_path, SPEC, LAZY, create=True)
    batch = batch_of(range(640), payloads=[b'{"n": %d}' % n for n in range(640)])
    put(collection, batch)
    model.put(batch)
    build_all(collection)
    before = search(collection, QUERIES, 50, exact=False, ef=60)
    declare(collection, FIELDS)
    assert collection.keeper.build_next(1)
    assert not collection.keeper.build_next(1)
    after = search(collection, QUERIES, 50, exact=False, ef=60)
    np.testing.assert_array_equal(before.ids, after.ids)
    np.testing.assert_array_equal(before.scores, after.scores)
    check(collection, model, QUERIES)


@pytest.mark.parametrize("kept", [1, 2, 5])
def test_a_restart_in_the_middle_goes_on(
    open_collection: OpenCollection, tmp_path: Path, kept: int
) -> None:
    """After some segments have their columns: the others get theirs, and no answer is wrong."""
    choice, model = random.Random(kept), Model(DIM, IdType.INT64)
    config = replace(LAZY, segments_max=20)
    collection = open_collection(tmp_path, SPEC, config, create=True)
    for rows in (2_000, 400, 70):  # of sizes that are not merged
        written(collection, model, choice, rows, universe=10_000)
        collection.keeper.seal_if_idle()
        collection.keeper.seal_if_idle()
        collection.keeper.build_next(1)
    declare(collection, FIELDS)
    for _ in range(kept - 1):
        collection.keeper.build_next(1)
    collection.close()
    again = open_collection(tmp_path, replace(SPEC, filterable=FIELDS), config)
    # the head is read from the store, so it has all columns already
    assert bool(again.info().building_fields) == is_refused(again) == (kept == 1)
    build_all(again)
    assert not is_refused(again)
    check(again, model, QUERIES)
    again.close()
    once_more = open_collection(tmp_path, replace(SPEC, filterable=FIELDS), config)
    assert once_more.info().building_fields == ()
    check(once_more, model, QUERIES)


def test_an_acknowledged_change_is_on_disk(open_catalog: OpenCatalog, tmp_path: Path) -> None:
    """A restart knows the fields and their version; the directory is sound at every step."""
    catalog = open_catalog(LAZY)
    catalog.create(SPEC)
    put(catalog.get("things"), batch_of(range(200), payloads=[b'{"n": 7}'] * 200))
    info = catalog.update("things", {"n": FieldType.INT, "t": FieldType.TIME}, [])
    assert (info.fields_version, info.spec.filterable) == (1, {"n": "int", "t": "time"})
    assert catalog.update("things", {"n": FieldType.INT}, ["nothing"]).fields_version == 1
    assert catalog.update("things", {}, ["t"]).fields_version == 2
    for _ in range(2):
        catalog.close()
        assert check_directory(tmp_path / "data").all_findings == []
        catalog = open_catalog(LAZY)
        info = catalog.get("things").info()
        assert (info.fields_version, info.spec.filterable) == (2, {"n": "int"})
    catalog.delete("things")
    assert catalog.create(SPEC).fields_version == 0


def test_a_dropped_field_is_refused_at_once_and_may_come_back_otherwise(
    open_collection: OpenCollection, tmp_path: Path
) -> None:
    """The refusal says how to declare it. Values are read by the type that is declared now."""
    collection = open_collection(
        tmp_path, replace(SPEC, filterable={"n": FieldType.INT}), LAZY, create=True
    )
    put(collection, batch_of(range(200), payloads=[b'{"n": 1}'] * 200))
    build_all(collection)
    declare(collection, {})
    with pytest.raises(InvalidRequest, match=r"filter\.n: .*update_collection\(.*add_fields"):
        collection.count(field("n") == 1)
    with pytest.raises(InvalidRequest, match=r"field: .*update_collection"):
        collection.facets("n")
    # nobody judges the field now
    put(collection, batch_of(range(150, 300), payloads=[b'{"n": "one"}'] * 150))
    declare(collection, {"n": FieldType.KEYWORD})
    with pytest.raises(InvalidRequest, match="strings"):
        collection.count(field("n") == 1)
    with pytest.raises(NotReady, match="'n' is being built"):
        collection.count(field("n") == "one")
    with pytest.raises(NotReady, match="'n' is being built"):
        collection.facets("n")
    with pytest.raises(NotReady, match="'n' is being built"):
        collection.matching(field("n") == "one")
    build_all(collection)
    assert collection.count(field("n") == "one") == 150
    assert collection.count(~field("n").exists()) == 150
    assert collection.facets("n").values == ("one",)


def test_a_column_that_is_still_there_serves_again(
    open_collection: OpenCollection, tmp_path: Path
) -> None:
    """A field that comes back with the type it had: rows written meanwhile have it as well."""
    spec = replace(SPEC, filterable={"n": FieldType.INT})
    collection = open_collection(tmp_path, spec, LAZY, create=True)
    put(collection, batch_of(range(100), payloads=[b'{"n": 1}'] * 100))
    build_all(collection)
    declare(collection, {})
    declare(collection, {"n": FieldType.INT})
    assert collection.info().building_fields == ()
    declare(collection, {})
    put(collection, batch_of(range(90, 130), payloads=[b'{"n": 2}'] * 40))
    declare(collection, {"n": FieldType.INT})
    put(collection, batch_of(range(200, 210), payloads=[b'{"n": 2}'] * 10))
    assert collection.info().building_fields == ("n",)
    build_all(collection)
    assert collection.count(field("n") == 1) == 90
    assert collection.count(field("n") == 2) == 50


def test_a_value_of_another_type_is_no_value_of_an_item_that_was_there(
    open_collection: OpenCollection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log counts them; a new item with one is refused, and a restart reads the same."""
    payloads = [json.dumps({"n": n if n % 2 else str(n)}).encode() for n in range(200)]
    collection = open_collection(tmp_path, SPEC, LAZY, create=True)
    put(collection, batch_of(range(200), payloads=payloads))
    declare(collection, {"n": FieldType.INT})
    build_all(collection)
    assert "100 items have a value that is no int in field 'n'" in caplog.text
    assert collection.count(field("n").exists()) == 100
    (error,) = collection.upsert(batch_of([3], payloads=[b'{"n": "x"}'])).result(WAIT_S).errors
    assert error.error.field == "payloads.n"
    put(collection, batch_of([5], payloads=[b'{"n": 5}']))
    collection.close()
    for path in tmp_path.rglob("*.seg"):
        path.unlink()
    again = open_collection(tmp_path, replace(SPEC, filterable={"n": FieldType.INT}), LAZY)
    assert again.count(field("n").exists()) == 100
    assert again.get(np.array([4])).payload_blobs == [payloads[4]]


def test_a_write_that_waited_gets_the_new_columns(
    open_collection: OpenCollection, tmp_path: Path
) -> None:
    """It was judged by the fields that were declared when it came."""
    collection = open_collection(tmp_path, SPEC, LAZY, create=True)
    payloads = [b'{"n": 1}', b'{"n": "one"}', b""]
    with collection._index.changing:
        future = collection.upsert(batch_of(range(3), payloads=payloads))
        collection._index.declare({"n": FieldType.INT}, 1)
    assert not future.result(WAIT_S).errors
    assert collection.info().building_fields == ()
    assert collection.count(field("n") == 1) == 1
    assert collection.count(~field("n").exists()) == 2
    with collection._index.changing:
        future = collection.upsert(batch_of(range(3, 6), payloads=payloads[:1] * 3))
        collection._index.declare({}, 2)
    future.result(WAIT_S)
    assert collection.count() == 6


def test_no_segment_is_shown_before_the_write_that_it_has_seen(
    open_collection: OpenCollection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wait_until: WaitUntil,
) -> None:
    """A payload that is in the store and not in the view yet: its old row has no value to show."""
    collection = open_collection(tmp_path, SPEC, LAZY, create=True)
    put(collection, batch_of(range(200), payloads=[b'{"n": 1}'] * 200))
    build_all(collection)
    real, is_stored, may_go_on = collection._index.upsert, threading.Event(), threading.Event()

    def late(*arguments: object) -> None:
        is_stored.set()
        assert may_go_on.wait(WAIT_S)
        real(*arguments)  # type: ignore[arg-type]

    (before,) = collection._store.segments()
    declare(collection, {"n": FieldType.INT})
    monkeypatch.setattr(collection._index, "upsert", late)
    with ThreadPoolExecutor() as pool:
        try:
            future = collection.upsert(batch_of(range(50), payloads=[b'{"n": 2}'] * 50))
            assert is_stored.wait(WAIT_S)
            build = pool.submit(collection.keeper.build_next, 1)
            wait_until(lambda: collection._store.segments()[0].name > before.name, WAIT_S)
            with pytest.raises(NotReady):
                collection.count(field("n") == 1)
        finally:
            may_go_on.set()
        assert build.result(WAIT_S)
        future.result(WAIT_S)
    assert collection.count(field("n") == 1) == 150
    assert collection.count(field("n") == 2) == 50


def test_caps_go_on_while_their_field_is_built(
    open_collection: OpenCollection, tmp_path: Path
) -> None:
    """They read payloads; only what would need the columns waits."""
    collection = open_collection(tmp_path, SPEC, LAZY, create=True)
    put(collection, batch_of(range(300), payloads=[b'{"n": %d}' % (n % 3) for n in range(300)]))
    request = SearchRequest("things", QUERIES, 20, slate=Slate(caps=(Cap("n", 2),)))
    before = collection.search(request)
    assert before.counts.tolist() == [6, 6, 6]
    declare(collection, {"n": FieldType.INT})
    assert collection.info().building_fields == ("n",)
    np.testing.assert_array_equal(collection.search(request).ids, before.ids)
    build_all(collection)
    np.testing.assert_array_equal(collection.search(request).ids, before.ids)


def test_a_declaration_of_a_router(open_catalog: OpenCatalog) -> None:
    """The higher version wins, the same one again is no change, and another one is refused."""
    catalog = open_catalog(LAZY)
    catalog.create(SPEC, 5)
    third = Declaration({"n": FieldType.INT}, 5, 3)
    for _ in range(2):
        assert catalog.declare("things", third).fields_version == 3
    for other in (Declaration({}, 5, 3), Declaration({"n": FieldType.INT}, 5, 2)):
        with pytest.raises(AlreadyExists, match="fields are now: n int"):
            catalog.declare("things", other)
    with pytest.raises(NotFound, match="version 4"):
        catalog.declare("things", Declaration({}, 4, 9))
    with pytest.raises(NotFound):
        catalog.declare("others", third)
    assert catalog.declare("things", Declaration({}, 5, 4)).spec.filterable == {}


def test_there_are_limits(open_catalog: OpenCatalog) -> None:
    """A change that cannot be changes nothing."""
    catalog = open_catalog(LAZY, limits=Limits(fields=2))
    catalog.create(replace(SPEC, filterable={"n": FieldType.INT}))
    with pytest.raises(InvalidRequest, match="at most 2 fields, got 3"):
        catalog.update("things", {"a": FieldType.INT, "b": FieldType.INT}, [])
    with pytest.raises(InvalidRequest, match=r"add_fields\.n: expected int, as it is declared"):
        catalog.update("things", {"n": FieldType.FLOAT}, [])
    info = catalog.update("things", {"n": FieldType.FLOAT, "b": FieldType.INT}, ["n"])
    assert info.spec.filterable == {"n": "float", "b": "int"}


# Of the ids from 600 on the values are written again and again.
EXPECTED = [
    (field("n") < 600, 600),
    (field("n").is_in([3, 5, 4_000_000]), 2),
    (field("n").exists(), 900),
    (field("n") >= 600, 300),
    (~field("n").exists(), 0),
]


class Traffic:
    """Writers and readers of a collection, until stopped; an answer may be refused, never wrong."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.stopped = threading.Event()
        self.right = self.refused = 0

    def write(self) -> None:
        choice = random.Random(1)
        while not self.stopped.is_set():
            ids = np.array(choice.sample(range(600, 900), 40))
            blobs = [b'{"n": %d}' % choice.randrange(600, 10**6) for _ in ids]
            batch = ItemBatch(ids, floats(choice.randrange(99), 40, DIM), blobs)
            # a row is refused for as long as the field is one of keywords
            errors = self.collection.upsert(batch).result(WAIT_S).errors
            assert {error.error.field for error in errors} <= {"payloads.n"}

    def count(self) -> None:
        while not self.stopped.is_set():
            for filter, right in EXPECTED:
                try:
                    got = self.collection.count(filter)
                except (NotReady, InvalidRequest):
                    self.refused += 1
                else:
                    self.right += 1
                    assert got == right, filter

    def search(self) -> None:
        request = SearchRequest("things", QUERIES, 700, filter=field("n") < 600)
        while not self.stopped.is_set():
            try:
                found = self.collection.search(request)
            except (NotReady, InvalidRequest):
                continue
            assert found.counts.tolist() == [600] * 3
            assert set(found.ids[0, :600].tolist()) == set(range(600))


def test_no_search_is_wrong_while_fields_come_and_go(
    open_catalog: OpenCatalog, wait_until: WaitUntil
) -> None:
    """Under writes and builds every answer is the right one, or refused."""
    catalog = open_catalog(BUSY)
    catalog.create(SPEC)
    traffic = Traffic(catalog.get("things"))
    put(
        traffic.collection,
        batch_of(range(900), payloads=[b'{"n": %d}' % n for n in range(900)]),
    )
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(w) for w in (traffic.write, traffic.count, traffic.search)]

        def is_built_and_asked(before: int) -> bool:
            return traffic.right > before + 10 or any(future.done() for future in running)

        try:
            for number in range(8):
                catalog.update("things", {"n": FieldType.INT}, [])
                if number % 2:
                    wait_until(partial(is_built_and_asked, traffic.right), WAIT_S)
                other = FieldType.KEYWORD if number % 4 else FieldType.FLOAT
                catalog.update("things", {"n": other} if number % 3 else {}, ["n"])
                catalog.update("things", {}, ["n"])
        finally:
            traffic.stopped.set()
        for future in running:
            future.result(WAIT_S)
    assert traffic.right > 40
    assert traffic.refused


@pytest.fixture
def damaged(open_collection: OpenCollection, tmp_path: Path) -> Collection:
    """Give a collection of which the store has lost an item that a segment holds."""
    collection = open_collection(tmp_path, SPEC, LAZY, create=True)
    put(collection, batch_of(range(200), payloads=[b'{"n": 1}'] * 200))
    build_all(collection)
    collection._store._writer.execute("DELETE FROM items WHERE id = 7")
    return collection


def test_an_item_that_the_store_has_lost_is_no_item_without_a_value(damaged: Collection) -> None:
    """The build fails, loudly, and the field is refused."""
    declare(damaged, {"n": FieldType.INT})
    with pytest.raises(FanlightError, match="item 7 is gone"):
        damaged.keeper.build_next(1)
    with pytest.raises(NotReady):
        damaged.count(field("n") == 1)
    declare(damaged, {})
    build_all(damaged)
    assert damaged.count() == 200
