"""The collections of a shard: versions, tombstones, identity, and whose directory it is."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.pieces import floats, spec_of
from tests.storage.conftest import OpenCatalog

from fanlight.errors import (
    AlreadyExists,
    Corruption,
    FanlightError,
    InvalidRequest,
    NotFound,
    NotReady,
    Overloaded,
)
from fanlight.filters import FieldType
from fanlight.limits import Limits
from fanlight.model import IdType, ItemBatch, Metric, SearchRequest
from fanlight.placement import ShardIdentity
from fanlight_server import records
from fanlight_server.catalog import Catalog
from fanlight_server.records import WrongData
from fanlight_server.storage.files import DirectoryInUse

SPEC = spec_of(4)
WAIT_S = 20


def put(catalog: Catalog, name: str, rows: int) -> None:
    batch = ItemBatch(np.arange(rows), floats(1, rows, 4))
    catalog.get(name).upsert(batch).result(WAIT_S)


def states(catalog: Catalog) -> list[tuple[str, int, bool, int]]:
    infos = catalog.describe(with_deleted=True)
    return [(info.spec.name, info.version, info.deleted, info.items) for info in infos]


def test_a_created_collection_is_there(open_catalog: OpenCatalog) -> None:
    """Collections are listed by name with what they were created with, also after a restart."""
    catalog = open_catalog()
    specs = [
        spec_of(4, Metric.DOT, IdType.STRING, "b"),
        spec_of(7, Metric.L2, IdType.INT64, "a"),
        replace(spec_of(9, name="C.x-1_"), m=5, ef_construction=77),
        replace(spec_of(4, name="d"), filterable=dict(zip("abcde", FieldType, strict=True))),
    ]
    for spec in specs:
        info = catalog.create(spec)
        assert (info.spec, info.version, info.items, info.deleted) == (spec, 1, 0, False)
    expected = sorted(specs, key=lambda spec: spec.name)
    assert [info.spec for info in catalog.describe()] == expected
    catalog.close()
    again = open_catalog()
    assert [info.spec for info in again.describe()] == expected
    assert again.get("b").spec == specs[0]


def test_creating_twice_is_creating_once(open_catalog: OpenCatalog) -> None:
    """The same parameters return what is there, items and all; others are refused, naming it."""
    catalog = open_catalog()
    catalog.create(SPEC)
    put(catalog, "things", 3)
    assert catalog.create(SPEC).items == 3
    for other in (replace(SPEC, dim=5), replace(SPEC, metric=Metric.L2), replace(SPEC, m=9)):
        with pytest.raises(
            AlreadyExists, match="collection 'things' exists with other parameters: "
        ):
            catalog.create(other)
    with pytest.raises(AlreadyExists, match="filterable none, not year int"):
        catalog.create(replace(SPEC, filterable={"year": FieldType.INT}))
    assert catalog.get("things").count() == 3


def test_a_collection_recorded_without_fields_has_none(
    open_catalog: OpenCatalog, tmp_path: Path
) -> None:
    """Records of servers that knew no filterable fields stay readable."""
    catalog = open_catalog()
    catalog.create(SPEC)
    catalog.close()
    with sqlite3.connect(tmp_path / "data" / "catalog.db") as db:
        spec = json.loads(db.execute("SELECT spec FROM collections").fetchone()[0])
        assert spec.pop("filterable") == {}
        db.execute("UPDATE collections SET spec = ?", (json.dumps(spec),))
        records._seal(db, 9)
    db.close()
    assert open_catalog().get("things").spec == SPEC


def test_a_collection_that_cannot_be_is_not_made(open_catalog: OpenCatalog, tmp_path: Path) -> None:
    """Bad parameters are refused before anything is written, least of all outside the directory."""
    catalog = open_catalog()
    for name in ("", "../../x", "a/b", ".", "x" * 129):
        with pytest.raises(InvalidRequest):
            catalog.create(replace(SPEC, name=name))
    assert catalog.describe() == []
    assert list((tmp_path / "data" / "collections").iterdir()) == []


def test_names_that_differ_only_in_case_are_two(open_catalog: OpenCatalog) -> None:
    """Names are told apart letter by letter."""
    catalog = open_catalog()
    catalog.create(replace(SPEC, name="movies"))
    catalog.create(replace(SPEC, name="Movies"))
    put(catalog, "movies", 3)
    assert catalog.get("Movies").count() == 0


def test_a_deleted_collection_is_gone(open_catalog: OpenCatalog, tmp_path: Path) -> None:
    """After a deletion there is neither the collection nor its files, and a new one is empty."""
    catalog = open_catalog()
    catalog.create(SPEC)
    put(catalog, "things", 300)
    catalog.delete("things")
    for act in (catalog.get, catalog.delete):
        with pytest.raises(NotFound, match="none named 'things'"):
            act("things")
    assert list((tmp_path / "data" / "collections").iterdir()) == []
    assert states(catalog) == [("things", 2, True, 0)]
    assert catalog.describe() == []
    other = replace(SPEC, dim=9, id_type=IdType.STRING)
    assert catalog.create(other).version == 3
    assert catalog.get("things").count() == 0


def test_tombstones_outlive_a_restart(open_catalog: OpenCatalog) -> None:
    """A shard remembers that and when a collection was deleted."""
    catalog = open_catalog()
    catalog.create(SPEC)
    catalog.delete("things", 7)
    catalog.close()
    catalog = open_catalog()
    assert states(catalog) == [("things", 7, True, 0)]
    with pytest.raises(AlreadyExists, match="deleted at version 7"):
        catalog.create(SPEC, 6)
    with pytest.raises(AlreadyExists):
        catalog.create(SPEC, 7)
    assert catalog.create(SPEC).version == 8


def test_the_highest_version_wins(open_catalog: OpenCatalog, tmp_path: Path) -> None:
    """A router's higher version replaces what is here, a lower or equal one changes nothing."""
    catalog = open_catalog()
    catalog.create(SPEC, 5)
    put(catalog, "things", 3)
    for lower in (1, 4, 5):
        assert catalog.create(SPEC, lower).version == 5
        catalog.delete("things", lower)
        with pytest.raises(AlreadyExists):
            catalog.create(replace(SPEC, dim=5), lower)
    assert states(catalog) == [("things", 5, False, 3)]
    other = replace(SPEC, dim=5)
    assert catalog.create(other, 9).items == 0
    assert catalog.get("things").spec == other
    catalog.delete("things", 12)
    assert states(catalog) == [("things", 12, True, 0)]
    catalog.create(SPEC, 13)
    directories = [path.name for path in (tmp_path / "data" / "collections").iterdir()]
    assert directories == ["things@13"]
    catalog.close()
    assert states(open_catalog()) == [("things", 13, False, 0)]


def test_a_deletion_of_what_was_never_here_is_recorded(open_catalog: OpenCatalog) -> None:
    """A shard that missed a creation still learns of the deletion, so an old creation cannot return."""
    catalog = open_catalog()
    catalog.delete("ghost", 4)
    assert states(catalog) == [("ghost", 4, True, 0)]
    with pytest.raises(NotFound):
        catalog.get("ghost")
    with pytest.raises(AlreadyExists):
        catalog.create(replace(SPEC, name="ghost"), 3)
    assert catalog.create(replace(SPEC, name="ghost"), 5).version == 5


def test_the_number_of_collections_is_limited(open_catalog: OpenCatalog) -> None:
    """Past the limit a creation is refused; one deletion makes room for one, old names or new."""
    catalog = open_catalog(limits=Limits(collections=2))
    names = [replace(SPEC, name=name) for name in ("a", "b", "c")]
    catalog.create(names[0])
    catalog.create(names[1])
    with pytest.raises(Overloaded, match="limit of 2"):
        catalog.create(names[2])
    assert catalog.create(names[0], 10).version == 10
    catalog.delete("a")
    catalog.create(names[2])
    with pytest.raises(Overloaded, match="limit of 2"):
        catalog.create(names[0])
    catalog.delete("b")
    assert catalog.create(names[0]).version == 12
    assert [info.spec.name for info in catalog.describe()] == ["a", "c"]


def test_a_creation_that_fails_leaves_nothing(open_catalog: OpenCatalog, tmp_path: Path) -> None:
    """When its files cannot be made, a collection is not recorded, and the shard works on."""
    catalog = open_catalog()
    catalog.create(replace(SPEC, name="other"))
    obstacle = tmp_path / "data" / "collections" / "things@1"
    obstacle.write_text("in the way")
    with pytest.raises(OSError, match=r"exists|directory"):
        catalog.create(SPEC)
    assert [info.spec.name for info in catalog.describe(with_deleted=True)] == ["other"]
    with pytest.raises(NotFound):
        catalog.get("things")
    obstacle.unlink()
    assert catalog.create(SPEC).version == 1
    put(catalog, "things", 2)
    catalog.close()
    assert states(open_catalog()) == [("other", 1, False, 0), ("things", 1, False, 2)]


def test_leftovers_are_removed_at_start(open_catalog: OpenCatalog, tmp_path: Path) -> None:
    """Directories of collections that are not recorded are waste of an interrupted step."""
    catalog = open_catalog()
    catalog.create(SPEC)
    catalog.close()
    collections = tmp_path / "data" / "collections"
    shutil.copytree(collections / "things@1", collections / "things@2")
    (collections / "ghost@1" / "segments").mkdir(parents=True)
    open_catalog()
    assert [path.name for path in collections.iterdir()] == ["things@1"]


def test_a_directory_belongs_to_one_process(open_catalog: OpenCatalog, tmp_path: Path) -> None:
    """A second opening is refused with the owner's pid; it is free again when the owner ends."""
    catalog = open_catalog()
    catalog.create(SPEC)
    with pytest.raises(DirectoryInUse, match=rf"data is in use by process {os.getpid()}$"):
        open_catalog()
    put(catalog, "things", 1)
    catalog.close()
    open_catalog().close()


@pytest.mark.slow
def test_another_process_holds_the_directory(open_catalog: OpenCatalog, tmp_path: Path) -> None:
    """The owner is named across processes, and its death, however sudden, frees the directory."""
    directory = tmp_path / "data"
    program = (
        "import sys, pathlib; from fanlight_server.storage.files import DirectoryLock\n"
        "path = pathlib.Path(sys.argv[1]); path.mkdir(); lock = DirectoryLock(path)\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "held\n"
        with pytest.raises(DirectoryInUse, match=rf"in use by process {owner.pid}$"):
            open_catalog()
        owner.kill()
        owner.wait(timeout=10)
        open_catalog().close()


@pytest.mark.parametrize(
    "identity",
    [ShardIdentity("other", 0, 1), ShardIdentity("test", 1, 2), ShardIdentity("test", 0, 2)],
)
def test_data_of_another_shard_is_refused(
    open_catalog: OpenCatalog, identity: ShardIdentity
) -> None:
    """A directory serves one place of one shard map for ever; the error tells both."""
    open_catalog().close()
    with pytest.raises(WrongData) as caught:
        open_catalog(identity=identity)
    assert "shard 0 of 1 of cluster 'test'" in caught.value.message
    assert f"shard {identity.index} of {identity.count} of cluster" in caught.value.message
    open_catalog().close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"garbage" * 9_999),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: _edit(path, "PRAGMA user_version = 9"),
        lambda path: _edit(path, "UPDATE collections SET spec = '{'"),
        lambda path: _edit(path, "UPDATE collections SET spec = '[]'"),
        lambda path: _edit(path, "UPDATE collections SET spec = '{}'"),
        lambda path: _edit(path, "UPDATE collections SET spec = replace(spec, 'cosine', 'x')"),
        lambda path: _edit(path, "DROP TABLE collections"),
    ],
)
def test_a_lost_catalog_costs_no_items(
    open_catalog: OpenCatalog, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """A missing or damaged catalog.db is Corruption, and no collection is touched."""
    catalog = open_catalog()
    catalog.create(SPEC)
    put(catalog, "things", 5)
    catalog.close()
    database = tmp_path / "data" / "catalog.db"
    sound = database.read_bytes()
    damage(database)
    with pytest.raises(Corruption, match=r"catalog\.db"):
        open_catalog()
    for path in (tmp_path / "data").glob("catalog.db*"):
        path.unlink()
    database.write_bytes(sound)
    assert states(open_catalog()) == [("things", 1, False, 5)]


def _edit(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute(statement)
    db.close()


def test_lost_items_are_no_empty_collection(open_catalog: OpenCatalog, tmp_path: Path) -> None:
    """A collection whose items.db is missing is Corruption, and its segments are left alone."""
    catalog = open_catalog()
    catalog.create(SPEC)
    catalog.close()
    directory = tmp_path / "data" / "collections" / "things@1"
    (directory / "segments" / "00000001.seg").write_bytes(b"precious")
    (directory / "items.db").unlink()
    with pytest.raises(Corruption, match=r"things@1/items\.db: the file is missing"):
        open_catalog()
    assert (directory / "segments" / "00000001.seg").exists()


def test_a_start_that_fails_lets_everything_go(open_catalog: OpenCatalog, tmp_path: Path) -> None:
    """When one collection cannot be opened no thread and no lock of the others is left behind."""
    catalog = open_catalog()
    for name in ("a", "b", "c"):
        catalog.create(replace(SPEC, name=name))
    catalog.close()
    threads = set(threading.enumerate())
    items = tmp_path / "data" / "collections" / "c@1" / "items.db"
    sound = items.read_bytes()
    items.write_bytes(b"garbage" * 9_999)
    for _ in range(2):
        with pytest.raises(Corruption, match=r"c@1/items\.db"):
            open_catalog()
        assert set(threading.enumerate()) == threads
    items.write_bytes(sound)
    assert len(open_catalog().describe()) == 3


def test_closing_ends_everything(open_catalog: OpenCatalog) -> None:
    """After `close` no thread is left, the directory is free, and closing again is fine."""
    threads = set(threading.enumerate())
    catalog = open_catalog()
    catalog.create(SPEC)
    collection = catalog.get("things")
    put(catalog, "things", 500)
    catalog.close()
    catalog.close()
    assert set(threading.enumerate()) == threads
    with pytest.raises(NotReady):
        collection.upsert(ItemBatch(np.arange(1), floats(1, 1, 4)))
    with pytest.raises(NotReady):
        collection.get(np.arange(1))
    open_catalog().close()


@pytest.mark.slow
def test_requests_meet_creations_and_deletions(open_catalog: OpenCatalog) -> None:
    """While a collection comes and goes, callers get an answer or a clear refusal, nothing else."""
    catalog = open_catalog()
    finished = threading.Event()

    def use(seed: int) -> int:
        served = 0
        queries = floats(seed, 2, 4)
        batch = ItemBatch(np.arange(50), floats(seed, 50, 4), [b"{}"] * 50)
        while not finished.is_set():
            try:
                collection = catalog.get("things")
                collection.upsert(batch).result(WAIT_S)
                hits = collection.search(SearchRequest("things", queries, 5, with_payloads=True))
                assert hits.ids.shape == (2, 5)
                catalog.describe(with_deleted=True)
                served += 1
            except (NotFound, NotReady):
                pass
            except FanlightError as error:
                raise AssertionError(repr(error)) from error
        return served

    with ThreadPoolExecutor(3) as pool:
        users = [pool.submit(use, seed) for seed in range(3)]
        try:
            for _ in range(6):
                catalog.create(SPEC)
                put(catalog, "things", 20)
                catalog.delete("things")
        finally:
            finished.set()
        assert sum(user.result(WAIT_S) for user in users) > 0
    assert states(catalog) == [("things", 12, True, 0)]


def test_errors_show_no_path(open_catalog: OpenCatalog, tmp_path: Path) -> None:
    """What a client may see of a damaged item names the collection and the id, not our directories."""
    catalog = open_catalog()
    catalog.create(SPEC)
    put(catalog, "things", 3)
    _edit(tmp_path / "data/collections/things@1/items.db", "UPDATE items SET crc = 0 WHERE id = 1")
    with pytest.raises(Corruption) as caught:
        catalog.get("things").get(np.arange(3))
    assert re.fullmatch(r"things@1/items\.db: item 1 fails its checksum", caught.value.message)


def test_a_full_disk_is_no_reason_not_to_start(
    open_catalog: OpenCatalog,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What the catalog notes at start and stop is a lower bound: it can do without a newer one."""
    catalog = open_catalog()
    catalog.create(SPEC)
    put(catalog, "things", 5)

    def full(*args: object) -> bool:
        raise Overloaded("the shard's disk is full")

    monkeypatch.setattr(records.Records, "note", full)
    catalog.close()
    again = open_catalog()
    assert again.get("things").count() == 5
    assert len(caplog.records) == 2
    again.close()
