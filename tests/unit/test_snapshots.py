"""Snapshots: what goes in comes out, and what is not whole is refused before anything happens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from obstore.store import LocalStore

import fanlight
from fanlight.errors import AlreadyExists, Corruption, InvalidRequest, NotFound, NotReady
from fanlight.snapshots import restoring, taking, verified
from fanlight.snapshots.manifest import FILE_NAME, FORMAT_VERSION, dumps, parse
from fanlight.snapshots.places import FolderPlace, ObjectPlace, place_of
from fanlight_server import open_local

pytestmark = pytest.mark.slow

ROWS, DIM = 700, 16
VECTORS = np.random.default_rng(seed=5).standard_normal((ROWS, DIM), dtype=np.float32)
# Bits that a careless copy loses: a negative zero, the smallest number, a large one.
VECTORS[10, :3] = np.array([-0.0, 1e-45, 1e17], dtype=np.float32)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[fanlight.Client]:
    """Open a data directory in this process."""
    with open_local(tmp_path / "data") as client:
        yield client


def filled(client: fanlight.Client, ids: Any, **parameters: Any) -> fanlight.Collection:
    collection = client.create_collection("movies", dim=DIM, metric="dot", **parameters)
    payloads = [{"n": row, "text": "é\n\u2028"} if row % 3 else None for row in range(ROWS)]
    collection.upsert(ids, VECTORS, payloads)
    collection.delete(ids[:7])
    return collection


def contents(collection: fanlight.Collection) -> dict[Any, tuple[bytes, bytes]]:
    """Give every item's vector and payload, to the last bit."""
    items: dict[Any, tuple[bytes, bytes]] = {}
    for page in collection.scroll():
        assert page.vectors is not None
        assert page.payload_blobs is not None
        rows = zip(page.ids.tolist(), page.vectors, page.payload_blobs, strict=True)
        items |= {id_: (vector.tobytes(), blob) for id_, vector, blob in rows}
    return items


@pytest.mark.parametrize("ids", [np.arange(ROWS) - 3, [f"item é {row}" for row in range(ROWS)]])
def test_what_is_restored_is_what_was_there(
    ids: Any, local: fanlight.Client, tmp_path: Path
) -> None:
    """Ids, vectors, payloads and parameters come back equal to the last bit; exact search too."""
    kind = "string" if isinstance(ids, list) else "int64"
    movies = filled(local, ids, id_type=kind, m=8, filterable={"n": "int"})
    seen: list[tuple[int, int]] = []
    taken = movies.snapshot(tmp_path / "snap", progress=lambda *told: seen.append(told))
    restored = local.restore(tmp_path / "snap", name="again")
    assert contents(restored) == contents(movies)
    assert taken.items == ROWS - 7 == restored.count()
    assert seen[-1] == (ROWS - 7, ROWS - 7)
    one, other = movies.info().spec, restored.info().spec
    assert (one.dim, one.metric, one.m, one.filterable) == (
        other.dim,
        other.metric,
        other.m,
        other.filterable,
    )
    before, after = (c.search(VECTORS[:9], k=20, exact=True) for c in (movies, restored))
    np.testing.assert_array_equal(before.ids, after.ids)
    np.testing.assert_array_equal(before.scores, after.scores)


def test_an_empty_collection_is_one_too(local: fanlight.Client, tmp_path: Path) -> None:
    """It has a manifest and no data file."""
    local.create_collection("movies", dim=3).snapshot(tmp_path / "snap")
    assert [path.name for path in (tmp_path / "snap").iterdir()] == [FILE_NAME]
    assert local.restore(tmp_path / "snap", name="again").count() == 0


def test_many_files_and_row_groups(
    local: fanlight.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard that fills several files comes back whole."""
    monkeypatch.setattr("fanlight.snapshots.shard_files._FILE_BYTES", 16_000)
    monkeypatch.setattr("fanlight.snapshots.shard_files._GROUP_BYTES", 5_000)
    monkeypatch.setattr("fanlight_server.exports._BATCH_BYTES", 3_000)
    movies = filled(local, np.arange(ROWS))
    taken = movies.snapshot(tmp_path / "snap")
    assert len(taken.manifest.files) >= 3
    assert contents(local.restore(tmp_path / "snap", name="again")) == contents(movies)


def test_an_object_store_serves_as_well(
    local: fanlight.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot in a store is written in parts, read by ranges, and not written over."""
    (tmp_path / "bucket").mkdir()
    place = ObjectPlace(LocalStore(tmp_path / "bucket"), "store://bucket")
    for module in (taking, restoring):
        monkeypatch.setattr(module, "place_of", lambda _: place)
    movies = filled(local, np.arange(ROWS))
    movies.snapshot("store://bucket")
    assert contents(local.restore("store://bucket", name="again")) == contents(movies)
    with pytest.raises(InvalidRequest, match=r"no objects, got store://bucket, which has"):
        movies.snapshot("store://bucket")
    place.remove([FILE_NAME])
    with pytest.raises(Corruption, match=r"no whole snapshot: it has no manifest\.json"):
        local.restore("store://bucket", name="third")
    with pytest.raises(NotFound):
        list(place.chunks("nothing"))


def test_a_url_of_no_store_is_refused() -> None:
    """The error says what a place may be."""
    with pytest.raises(InvalidRequest, match=r"s3://bucket/path"):
        place_of("nonsense://somewhere/else")


# --- what must not happen ---------------------------------------------------------------------


def test_a_place_with_something_in_it_is_refused(local: fanlight.Client, tmp_path: Path) -> None:
    """Nothing is ever overwritten."""
    movies = filled(local, np.arange(ROWS))
    (tmp_path / "snap").mkdir()
    (tmp_path / "snap" / "notes.txt").write_text("mine")
    with pytest.raises(InvalidRequest, match=r"dest: .* which has notes\.txt in it"):
        movies.snapshot(tmp_path / "snap")
    assert (tmp_path / "snap" / "notes.txt").read_text() == "mine"


def test_a_snapshot_that_fails_leaves_nothing(local: fanlight.Client, tmp_path: Path) -> None:
    """What was written is deleted, and the same place can be used again."""

    def fail(done: int, total: int) -> None:
        raise KeyboardInterrupt

    movies = filled(local, np.arange(ROWS))
    with pytest.raises(KeyboardInterrupt):
        movies.snapshot(tmp_path / "snap", progress=fail)
    assert list((tmp_path / "snap").iterdir()) == []
    assert movies.snapshot(tmp_path / "snap").items == ROWS - 7


def test_a_snapshot_of_nothing_leaves_nothing(local: fanlight.Client, tmp_path: Path) -> None:
    """A collection that does not exist is NotFound."""
    with pytest.raises(NotFound):
        local.collection("none").snapshot(tmp_path / "snap")
    assert list((tmp_path / "snap").iterdir()) == []


def test_every_flip_in_a_manifest_is_refused(local: fanlight.Client, tmp_path: Path) -> None:
    """Whichever bit of it changes."""
    filled(local, np.arange(ROWS)).snapshot(tmp_path / "snap")
    sound = (tmp_path / "snap" / FILE_NAME).read_bytes()
    assert dumps(parse(sound)) == sound
    for at in range(len(sound)):
        for bit in range(8):
            blob = bytearray(sound)
            blob[at] ^= 1 << bit
            with pytest.raises((Corruption, InvalidRequest)):
                parse(bytes(blob))


def test_a_newer_format_is_refused_with_both_versions(
    local: fanlight.Client, tmp_path: Path
) -> None:
    """The error names the version found and the version that is known; nothing is created."""
    filled(local, np.arange(ROWS)).snapshot(tmp_path / "snap")
    path = tmp_path / "snap" / FILE_NAME
    newer = json.loads(path.read_bytes()) | {"format_version": 7, "files": "somewhere else"}
    path.write_text(json.dumps(newer))
    with pytest.raises(InvalidRequest, match=rf"version 7, .* up to {FORMAT_VERSION}"):
        local.restore(tmp_path / "snap", name="again")
    assert len(local.list_collections()) == 1


def test_a_manifest_cannot_name_files_elsewhere(local: fanlight.Client, tmp_path: Path) -> None:
    """A name with a path in it is refused, however right its checksum."""
    filled(local, np.arange(ROWS)).snapshot(tmp_path / "snap")
    manifest = parse((tmp_path / "snap" / FILE_NAME).read_bytes())
    blob = dumps(manifest).replace(b"shard-0000-00000.parquet", b"../../etc/passwd.parquet")
    with pytest.raises(Corruption):
        parse(blob)


def test_all_damaged_files_are_named(local: fanlight.Client, tmp_path: Path) -> None:
    """The error says what is wrong with which file, and nothing was created."""
    filled(local, np.arange(ROWS)).snapshot(tmp_path / "snap")
    (file,) = (tmp_path / "snap").glob("*.parquet")
    blob = bytearray(file.read_bytes())
    blob[len(blob) // 2] ^= 4
    file.write_bytes(blob)
    with pytest.raises(Corruption, match=r"shard-0000-00000\.parquet fails its checksum"):
        local.restore(tmp_path / "snap", name="again")
    with pytest.raises(Corruption):
        verified(FolderPlace(tmp_path / "snap"))
    assert len(local.list_collections()) == 1


def test_a_restore_makes_new_collections_only(local: fanlight.Client, tmp_path: Path) -> None:
    """One that exists stays as it is."""
    movies = filled(local, np.arange(ROWS))
    movies.snapshot(tmp_path / "snap")
    with pytest.raises(AlreadyExists, match="movies"):
        local.restore(tmp_path / "snap")
    assert movies.count() == ROWS - 7


def test_a_restore_that_fails_leaves_nothing(
    local: fanlight.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had written is deleted."""
    filled(local, np.arange(ROWS)).snapshot(tmp_path / "snap")

    def fail(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local.restore(tmp_path / "snap", name="again", progress=fail)
    assert [info.spec.name for info in local.list_collections()] == ["movies"]


def test_a_restore_that_dies_leaves_a_marked_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refuses every read, also after a restart, says why, and can be deleted and restored."""
    with open_local(tmp_path / "data") as local:
        filled(local, np.arange(ROWS)).snapshot(tmp_path / "snap")
        monkeypatch.setattr(restoring._Restoring, "abort", lambda self: None)

        def die(done: int, total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            local.restore(tmp_path / "snap", name="again", progress=die)
        monkeypatch.undo()
    with open_local(tmp_path / "data", timeout=1.0) as local:
        half = local.collection("again")
        assert half.info().restoring
        reads = (
            lambda: half.search(VECTORS[0]),
            lambda: half.get([9]),
            lambda: list(half.scroll()),
            lambda: list(half.export()),
            lambda: half.search_by_id([9]),
        )
        for read in reads:
            with pytest.raises(NotReady, match="'again' is being restored"):
                read()
        with pytest.raises(AlreadyExists, match="broke off; delete it first"):
            local.restore(tmp_path / "snap", name="again")
        local.delete_collection("again")
        assert local.restore(tmp_path / "snap", name="again").count() == ROWS - 7
        assert not half.info().restoring
