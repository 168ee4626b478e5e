"""The items of a collection in SQLite: whole, checked, and never half-written."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tests.pieces import floats, ids_of

from fanlight.errors import Corruption, NotReady, Overloaded
from fanlight.model import IdType
from fanlight_server.storage.store import Store
from fanlight_server.storage.stored import Change, SegmentEntry, StoredItem

ID_TYPES = list(IdType)
DIM = 6


@pytest.fixture(params=ID_TYPES)
def id_type(request: pytest.FixtureRequest) -> IdType:
    """Give either type of ids."""
    kind: IdType = request.param
    return kind


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the place of a database."""
    (tmp_path / "things@1").mkdir()
    return tmp_path / "things@1" / "items.db"


@pytest.fixture
def store(path: Path, id_type: IdType) -> Iterator[Store]:
    """Give an empty store."""
    store = Store(path, DIM, id_type, create=True)
    yield store
    store.close()


def reopened(path: Path, id_type: IdType, dim: int = DIM) -> Store:
    return Store(path, dim, id_type, create=False)


def put(
    store: Store, id_type: IdType, numbers: range, first_seq: int, payload: bytes = b""
) -> None:
    vectors = floats(first_seq, len(numbers), DIM)
    blobs = [payload] * len(numbers) if payload else None
    store.write([Change(ids_of(numbers, id_type), first_seq, vectors, blobs)])


def read_all(path: Path, id_type: IdType) -> list[StoredItem]:
    store = reopened(path, id_type)
    try:
        return everything(store)
    finally:
        store.close()


def everything(store: Store) -> list[StoredItem]:
    return store.page(None, 1_000_000)


def test_rows_come_back_as_they_were_put(store: Store, path: Path, id_type: IdType) -> None:
    """Vectors and payloads come back byte by byte, also after the store was opened again."""
    ids, vectors = ids_of(np.array([3, -(2**63), 2**63 - 1, -1]), id_type), floats(1, 4, DIM)
    vectors[0] = [0.0, -0.0, 1e-45, 3.4e38, -1.0, 1.0]
    blobs = [b'{"a": 1}', b"", '{"ü": "\\u0000"}'.encode(), b"{}"]
    store.write([Change(ids, 1, vectors, blobs)])
    store.close()
    again = reopened(path, id_type)
    got = {item.id: item for item in again.get(ids)}
    for row, value in enumerate(ids.tolist()):
        assert got[value] == StoredItem(value, row + 1, vectors[row].tobytes(), blobs[row])
    assert again.last_seq() == 4
    again.close()


@pytest.mark.parametrize(
    "value", ["a\0b", "a\0c", "\0", "ü", "🜚", "x" * 512, " ", "1", "1.0", "NULL"]
)
def test_any_text_is_an_id(tmp_path: Path, value: str) -> None:
    """Text that looks like a number, or holds a NUL, stays the text it is."""
    store = Store(tmp_path / "items.db", 1, IdType.STRING, create=True)
    ids = ids_of(range(2), IdType.STRING)
    ids[0] = value
    store.write([Change(ids, 1, floats(1, 2, 1))])
    assert [item.id for item in store.get(ids[:1])] == [value]
    assert {item.id for item in everything(store)} == set(ids.tolist())
    store.close()


def test_a_change_replaces_the_whole_item(store: Store, id_type: IdType) -> None:
    """A later change of an id leaves nothing of the earlier one, the payload least of all."""
    put(store, id_type, range(3), 1, b'{"old": true}')
    put(store, id_type, range(1, 2), 4)
    by_seq = {item.seq: item for item in everything(store)}
    assert set(by_seq) == {1, 3, 4}
    assert by_seq[4].payload == b""
    assert by_seq[4].vector == floats(4, 1, DIM).tobytes()


def test_deletions_are_kept_as_changes(store: Store, id_type: IdType) -> None:
    """A deleted id is not found any more, and the log of changes has its deletion."""
    put(store, id_type, range(4), 1)
    gone = ids_of(np.array([2, 77]), id_type)
    store.write([Change(gone, 5)])
    assert store.get(gone) == []
    assert len(everything(store)) == 3
    log = store.log_after(2)
    assert log.seqs.tolist() == [4, 5, 6]
    assert log.deleted.tolist() == [False, True, True]
    assert log.ids.tolist() == ids_of(np.array([3, 2, 77]), id_type).tolist()
    assert store.last_seq() == 6
    put(store, id_type, range(2, 3), 7)
    assert len(store.get(gone)) == 1


def test_pages_go_by_ascending_id(store: Store, id_type: IdType) -> None:
    """Pages of any size, one after the other, show every live item once, by id."""
    numbers = np.random.default_rng(1).permutation(60) - 30
    store.write([Change(ids_of(numbers, id_type), 1, floats(1, 60, DIM))])
    store.write([Change(ids_of(numbers[::4], id_type), 61)])
    expected = sorted(
        set(ids_of(numbers, id_type).tolist()) - set(ids_of(numbers[::4], id_type).tolist())
    )
    for size in (1, 7, 45, 100):
        seen: list[object] = []
        after = None
        while page := store.page(after, size):
            assert len(page) <= size
            seen += [item.id for item in page]
            after = page[-1].id
        assert seen == expected


def test_more_ids_than_a_statement_takes(store: Store, id_type: IdType) -> None:
    """Any number of ids can be asked for at once, unknown and repeated ones too."""
    put(store, id_type, range(20), 1)
    wanted = ids_of(np.arange(25_000) % 12_500, id_type)
    assert len({item.id for item in store.get(wanted)}) == 20


@pytest.mark.parametrize(
    "damage",
    [
        "seq = seq + 100",
        "deleted = 1",
        "crc = crc + 1",
        "vector = NULL",
        "vector = x'00'",
        "vector = zeroblob(24)",
        "vector = 'text'",
        "vector = 7",
        "payload = NULL",
        "payload = CAST(payload AS TEXT)",
        "payload = x'7b7d'",
        "payload = 1.5",
        "seq = 'text'",
        "deleted = 'text'",
        "deleted = 2",
    ],
)
def test_a_damaged_row_is_named(store: Store, path: Path, id_type: IdType, damage: str) -> None:
    """Whatever of a row is changed behind our back: Corruption names the item, others stand."""
    put(store, id_type, range(5), 1, b'{"a": 1}')
    ids = ids_of(range(5), id_type)
    with sqlite3.connect(path) as db:
        db.execute(f"UPDATE items SET {damage} WHERE seq = 3")
    db.close()
    with pytest.raises(Corruption) as caught:
        store.get(ids)
    assert caught.value.message == f"things@1/items.db: item {ids.tolist()[2]!r} fails its checksum"
    with pytest.raises(Corruption):
        everything(store)
    assert len(store.get(ids[[0, 1, 3, 4]])) == 4


@pytest.mark.parametrize("damage", ["seq = 'text'", "seq = x'00'", "deleted = 'text'"])
def test_a_damaged_index_is_no_crash(
    store: Store, path: Path, id_type: IdType, damage: str
) -> None:
    """What cannot be a change in the log of changes is Corruption."""
    put(store, id_type, range(5), 1)
    with sqlite3.connect(path) as db:
        db.execute(f"UPDATE items SET {damage} WHERE seq = 3")
    db.close()
    with pytest.raises(Corruption, match=r"things@1/items\.db: the index on seq is damaged"):
        store.log_after(0)


def test_a_tombstone_that_lost_its_mark_is_no_item(
    store: Store, path: Path, id_type: IdType
) -> None:
    """A deleted item never comes back by damage."""
    put(store, id_type, range(2), 1)
    store.write([Change(ids_of(range(1), id_type), 3)])
    with sqlite3.connect(path) as db:
        db.execute("UPDATE items SET deleted = 0 WHERE seq = 3")
    db.close()
    with pytest.raises(Corruption):
        store.get(ids_of(range(1), id_type))


def test_a_row_moved_to_another_id_is_found(store: Store, path: Path, id_type: IdType) -> None:
    """A row belongs to its id."""
    put(store, id_type, range(2), 1)
    other = ids_of(range(9, 10), id_type).tolist()[0]
    with sqlite3.connect(path) as db:
        db.execute("UPDATE items SET id = ? WHERE seq = 1", (other,))
    db.close()
    with pytest.raises(Corruption, match="fails its checksum"):
        store.get(ids_of(range(9, 10), id_type))


def test_a_collection_of_another_dimension_cannot_read_it(
    store: Store, path: Path, id_type: IdType
) -> None:
    """A vector of another length than the collection's is Corruption, not garbage."""
    put(store, id_type, range(2), 1)
    other = reopened(path, id_type, DIM + 1)
    with pytest.raises(Corruption):
        other.get(ids_of(range(2), id_type))
    other.close()


def test_another_version_is_refused(store: Store, path: Path, id_type: IdType) -> None:
    """A database of another format version is refused, telling both."""
    store.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 3")
    db.close()
    with pytest.raises(Corruption, match=r"things@1/items\.db: format version 3, expected 2"):
        reopened(path, id_type)


@pytest.mark.parametrize("content", [b"", b"garbage" * 5_000, bytes(32_768), None])
def test_what_is_no_store_is_refused(path: Path, id_type: IdType, content: bytes | None) -> None:
    """An empty file, garbage or no file at all is Corruption, never an empty collection."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Corruption):
        reopened(path, id_type)
    if content is None:
        assert not path.exists()


@pytest.mark.parametrize("cut", [100, 5_000, 16_384, 40_000])
def test_a_cut_database_is_no_crash(store: Store, path: Path, id_type: IdType, cut: int) -> None:
    """A database cut short is Corruption when it is opened or read."""
    put(store, id_type, range(2_000), 1)
    store.close()
    assert path.stat().st_size > 60_000
    with path.open("r+b") as file:
        file.truncate(cut)
    with pytest.raises(Corruption):
        read_all(path, id_type)


def test_a_full_disk_changes_nothing(store: Store, path: Path, id_type: IdType) -> None:
    """When the disk is full the write is refused as a whole, reads go on, and so do later writes."""
    put(store, id_type, range(100), 1, b'{"a": 1}')
    before = everything(store)
    pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
    store._writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    big = Change(ids_of(range(50, 60_000), id_type), 101, floats(2, 59_950, DIM))
    small = Change(ids_of(range(3), id_type), 60_051)
    for changes in ([big], [small, big], [big, small]):
        with pytest.raises(Overloaded, match="disk is full"):
            store.write(changes)
        assert everything(store) == before
        assert store.last_seq() == 100
    store._writer.execute("PRAGMA max_page_count = 1000000")
    store.write([small])
    assert len(everything(store)) == 97


def test_a_group_that_fails_changes_nothing(store: Store, id_type: IdType) -> None:
    """One transaction holds all changes of a write: all of them or none."""
    put(store, id_type, range(5), 1)
    before = everything(store)
    good = Change(ids_of(range(3), id_type), 6)
    # the seq is taken: the index refuses it
    bad = Change(ids_of(range(9, 10), id_type), 4, floats(1, 1, DIM))
    with pytest.raises(Corruption):
        store.write([good, bad])
    assert everything(store) == before
    store.write([good])
    assert len(everything(store)) == 2


@pytest.mark.slow
def test_readers_see_whole_writes(store: Store, id_type: IdType) -> None:
    """Readers beside a writer see each write as a whole or not at all, and never wait for it."""
    put(store, id_type, range(50), 1)
    ids = ids_of(range(50), id_type)
    done = threading.Event()

    def read() -> int:
        reads = 0
        while not done.is_set():
            seqs = sorted(item.seq for item in store.get(ids))
            assert seqs == list(range(seqs[0], seqs[0] + 50))
            page = sorted(item.seq for item in everything(store))
            assert page == list(range(page[0], page[0] + 50))
            reads += 1
        return reads

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        try:
            for turn in range(1, 60):
                put(store, id_type, range(50), 1 + 50 * turn)
        finally:
            done.set()
        assert min(reader.result() for reader in readers) > 0


def test_the_list_of_segments_changes_at_once(store: Store, path: Path, id_type: IdType) -> None:
    """Entries are replaced in one step, and survive."""
    store.replace_segments([], [SegmentEntry("1.seg", 10, 2**32 - 1), SegmentEntry("2.seg", 20, 5)])
    store.replace_segments(["1.seg", "unknown.seg"], [SegmentEntry("3.seg", 30, 6)])
    with pytest.raises(Corruption):
        store.replace_segments(["2.seg"], [SegmentEntry("3.seg", 1, 1)])
    store.close()
    again = reopened(path, id_type)
    assert again.segments() == [SegmentEntry("2.seg", 20, 5), SegmentEntry("3.seg", 30, 6)]
    again.close()


def test_a_closed_store_says_so(store: Store, id_type: IdType) -> None:
    """Reading after the end is refused as not ready, and closing twice is fine."""
    put(store, id_type, range(1), 1)
    store.close()
    store.close()
    with pytest.raises(NotReady):
        everything(store)


def test_a_read_that_meets_the_closing_is_told_so(
    store: Store, path: Path, id_type: IdType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection opens after the files of a deleted collection are gone."""
    put(store, id_type, range(3), first_seq=1)
    connect = store._idle_reader

    def connect_too_late() -> sqlite3.Connection:
        store.close()
        shutil.rmtree(path.parent)
        return connect()

    monkeypatch.setattr(store, "_idle_reader", connect_too_late)
    with pytest.raises(NotReady):
        store.get(ids_of(range(3), id_type))


@pytest.mark.parametrize(
    ("was", "is_now"),
    [
        (b"tableitemsitems", b"table\xfftemsitems"),
        (b"CREATE TABLE items", b"CREATE \xffABLE items"),
    ],
)
def test_a_damaged_schema_is_corruption_whatever_its_bytes(
    path: Path, was: bytes, is_now: bytes
) -> None:
    """SQLite quotes it in its message, which may then be no text."""
    Store(path, DIM, IdType.INT64, create=True).close()
    sound = path.read_bytes()
    assert sound.count(was) == 1
    path.write_bytes(sound.replace(was, is_now))
    with pytest.raises(Corruption, match=r"things@1/items\.db"):
        reopened(path, IdType.INT64)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE marks SET value = CAST(value AS BLOB) WHERE name = 'tally'",
        "UPDATE marks SET crc = CAST(crc AS BLOB) WHERE name = 'owner'",
        "UPDATE segments SET name = CAST(name AS BLOB)",
    ],
)
def test_bytes_in_the_place_of_a_text_are_corruption(path: Path, change: str) -> None:
    """Types are data in SQLite: one bit makes a text a blob."""
    with closing(Store(path, DIM, IdType.INT64, create=True)) as store:
        store.write([Change(np.arange(3), 1, floats(1, 3, DIM))])
        store.replace_segments([], [SegmentEntry("1.seg", 3, 5)])
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute(change).rowcount == 1
    with pytest.raises(Corruption), closing(reopened(path, IdType.INT64)) as store:
        store.segments()
