"""An export is of one moment, holds nobody up, and lets go."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tests.storage.conftest import STILL, OpenCollection

from fanlight.errors import Corruption, DeadlineExceeded, InvalidRequest, NotReady
from fanlight.exports import ExportRequest, ExportRows
from fanlight.model import CollectionSpec, IdType, ItemBatch
from fanlight_server.exports import CollectionExport
from fanlight_server.storage.store import Store
from fanlight_server.storage.stored import Change

DIM = 4
SPEC = CollectionSpec("items", DIM)


def rows_of(export: CollectionExport) -> list[ExportRows]:
    taken = []
    while (rows := export.take()) is not None:
        taken.append(rows)
    export.close()
    return taken


def can_cut_log(folder: Path) -> bool:
    """Tell whether SQLite can empty the log, which no reader of an older moment lets it."""
    with closing(sqlite3.connect(folder / "items.db", timeout=0, isolation_level=None)) as db:
        busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    return not busy


def ids_in(rows: list[ExportRows]) -> list[object]:
    return [id_ for part in rows for id_ in part.ids.tolist()]


def batch(ids: range, value: float) -> ItemBatch:
    vectors = np.full((len(ids), DIM), value, dtype=np.float32)
    return ItemBatch(np.array(ids), vectors, [b'{"v":%d}' % value] * len(ids))


def test_it_is_of_the_moment_it_began(open_collection: OpenCollection, tmp_path: Path) -> None:
    """Writes that come later are not in it, change nothing of it, and do not wait for it."""
    collection = open_collection(tmp_path / "c", SPEC, STILL, create=True)
    collection.upsert(batch(range(100), 1)).result()
    collection.delete(np.arange(10)).result()
    export = collection.export(ExportRequest("items", batch_rows=7))
    first = export.take()
    assert first is not None
    collection.upsert(batch(range(50, 150), 2)).result(timeout=60)
    collection.delete(np.arange(20, 40)).result(timeout=60)
    rows = [first, *rows_of(export)]
    assert (export.seq, export.items) == (110, 90)
    assert ids_in(rows) == list(range(10, 100))
    assert all(np.all(part.vectors == 1) for part in rows)
    assert {blob for part in rows for blob in part.payload_blobs or ()} == {b'{"v":1}'}
    assert [s for part in rows for s in part.seqs.tolist()] == list(range(11, 101))
    assert max(map(len, rows)) == 7
    assert len(ids_in(rows_of(collection.export(ExportRequest("items"))))) == 120


@pytest.mark.parametrize("id_type", list(IdType))
def test_it_goes_on_after_an_id(
    id_type: IdType, open_collection: OpenCollection, tmp_path: Path
) -> None:
    """The rest is what comes after it, by ascending id."""
    spec = CollectionSpec("items", DIM, id_type=id_type)
    collection = open_collection(tmp_path / "c", spec, STILL, create=True)
    ids = np.arange(30)
    if id_type is IdType.STRING:
        ids = np.array([f"{row:02d}" for row in range(30)], dtype=object)
    collection.upsert(ItemBatch(ids, np.ones((30, DIM), dtype=np.float32))).result()
    request = ExportRequest("items", shards=(0,), after=ids.tolist()[11])
    export = collection.export(request)
    assert export.items == 18
    assert ids_in(rows_of(export)) == ids[12:].tolist()


def test_columns_that_are_not_wanted_are_left_out(
    open_collection: OpenCollection, tmp_path: Path
) -> None:
    collection = open_collection(tmp_path / "c", SPEC, STILL, create=True)
    collection.upsert(batch(range(5), 1)).result()
    request = ExportRequest("items", with_vectors=False, with_payloads=False)
    (rows,) = rows_of(collection.export(request))
    assert (rows.vectors, rows.payload_blobs, rows.payloads) == (None, None, None)


def test_wrong_requests_are_refused(open_collection: OpenCollection, tmp_path: Path) -> None:
    """Ids of the wrong kind, numbers out of range, and an id without its shard."""
    collection = open_collection(tmp_path / "c", SPEC, STILL, create=True)
    with pytest.raises(InvalidRequest, match="after: expected int64 ids"):
        collection.export(ExportRequest("items", shards=(0,), after="x"))
    with pytest.raises(InvalidRequest, match="batch_rows"):
        collection.export(ExportRequest("items", batch_rows=0))
    with pytest.raises(InvalidRequest, match="exactly one shard"):
        ExportRequest("items", after=3)


def test_one_that_was_closed_gives_no_more(open_collection: OpenCollection, tmp_path: Path) -> None:
    """It is ended by whoever closes it, also while rows are taken in another thread."""
    collection = open_collection(tmp_path / "c", SPEC, STILL, create=True)
    collection.upsert(batch(range(2_000), 1)).result()
    export = collection.export(ExportRequest("items", batch_rows=1))
    assert export.take() is not None
    collection.upsert(batch(range(10), 2)).result()
    assert not can_cut_log(tmp_path / "c")
    caught: list[BaseException] = []

    def take_all() -> None:
        try:
            rows_of(export)
        except DeadlineExceeded as error:
            caught.append(error)

    taker = threading.Thread(target=take_all)
    taker.start()
    export.close()
    taker.join(60)
    assert can_cut_log(tmp_path / "c")
    with pytest.raises(DeadlineExceeded):
        export.take()
    assert caught


def test_it_ends_with_its_collection(open_collection: OpenCollection, tmp_path: Path) -> None:
    """When the collection is closed or deleted, the next rows are refused."""
    collection = open_collection(tmp_path / "c", SPEC, STILL, create=True)
    collection.upsert(batch(range(50), 1)).result()
    export = collection.export(ExportRequest("items", batch_rows=10))
    assert export.take() is not None
    collection.close()
    with pytest.raises(NotReady):
        export.take()
    export.close()
    with pytest.raises(NotReady):
        collection.export(ExportRequest("items"))


def test_damaged_rows_do_not_leave(tmp_path: Path) -> None:
    """A row that fails its checksum ends the export."""
    store = Store(tmp_path / "items.db", DIM, IdType.INT64, create=True)
    store.write([Change(np.arange(5), 1, np.ones((5, DIM), dtype=np.float32))])
    store._writer.execute("UPDATE items SET seq = 40 WHERE id = 3")
    export = store.export()
    with pytest.raises(Corruption, match="item 3 fails its checksum"):
        export.take(10, 1 << 20)
    export.close()
    store.close()
