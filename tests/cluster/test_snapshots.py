"""Snapshots between clusters of different shapes, and the commands; a dictionary is the oracle."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import fanlight
from fanlight.cli.local_cluster import LocalCluster
from fanlight.cli.local_config import ClusterShape, LocalConfig
from fanlight.errors import PartialResult
from fanlight_server import open_local

pytestmark = pytest.mark.slow

ROWS, DIM = 1_500, 24
VECTORS = np.random.default_rng(seed=17).standard_normal((ROWS, DIM), dtype=np.float32)
PAYLOADS = [{"n": row, "title": f"título {row}"} if row % 4 else None for row in range(ROWS)]

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def movies(client: fanlight.Client) -> Iterator[fanlight.Collection]:
    """Fill a collection on three shards, some of it written twice and some deleted."""
    collection = client.create_collection("movies", dim=DIM, filterable={"n": "int"})
    collection.upsert(np.arange(ROWS), VECTORS[::-1])
    collection.upsert(np.arange(ROWS), VECTORS, PAYLOADS)
    collection.delete(np.arange(100))
    yield collection
    client.delete_collection("movies")


@pytest.fixture
def run(cluster: LocalCluster, tmp_path: Path) -> Run:
    """Give `run(*arguments)`: `fanlight` with the cluster's address, in a directory of its own."""

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "fanlight.cli", "--address", cluster.address, *arguments]
        return subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)

    return command


def assert_whole(collection: fanlight.Collection, original: fanlight.Collection) -> None:
    """Compare with what was written, bit by bit, and exact searches with the original's."""
    assert collection.count() == ROWS - 100
    got = collection.get(np.arange(ROWS))
    np.testing.assert_array_equal(got.missing, np.arange(100))
    assert got.vectors is not None
    np.testing.assert_array_equal(got.vectors.view(np.uint32), VECTORS[100:].view(np.uint32))
    assert got.payloads == PAYLOADS[100:]
    assert got.payload_blobs == original.get(np.arange(ROWS)).payload_blobs
    asked: dict[str, Any] = {"k": 30, "exact": True, "filter": {"n": {"gte": 300}}}
    mine, theirs = (one.search(VECTORS[:25], **asked) for one in (collection, original))
    np.testing.assert_array_equal(mine.ids, theirs.ids)
    np.testing.assert_array_equal(mine.scores, theirs.scores)


def test_a_collection_moves_between_shapes(movies: fanlight.Collection, tmp_path: Path) -> None:
    """From three shards to one process and to five shards, and from those to three again."""
    movies.snapshot(tmp_path / "three")
    with open_local(tmp_path / "local") as local:
        restored = local.restore(tmp_path / "three")
        assert_whole(restored, movies)
        restored.snapshot(tmp_path / "one")
    shape = ClusterShape(port=0, shards=5, data=tmp_path / "five-shards")
    with LocalCluster(LocalConfig(cluster=shape)) as five, fanlight.Client(five.address) as client:
        restored = client.restore(tmp_path / "one")
        assert_whole(restored, movies)
        taken = restored.snapshot(tmp_path / "five")
        assert [shard.index for shard in taken.manifest.shards] == [0, 1, 2, 3, 4]


def test_the_commands(
    movies: fanlight.Collection, client: fanlight.Client, run: Run, tmp_path: Path
) -> None:
    """Snapshot, check and restore say what they did, for people and for scripts."""
    done = run("snapshot", "movies", "snap", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["items"], told["collection"], len(told["shards"])) == (ROWS - 100, "movies", 3)
    done = run("restore", "snap", "--check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "snap is whole: 1,400 items of movies" in done.stdout
    done = run("restore", "snap", "--as", "copy")
    assert (done.returncode, done.stderr) == (0, "")
    assert "copy: 1,400 items restored from snap." in done.stdout
    assert_whole(client.collection("copy"), movies)
    client.delete_collection("copy")
    done = run("restore", "snap")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is a collection 'movies'" in done.stderr
    (tmp_path / "snap" / "manifest.json").unlink()
    done = run("restore", "snap", "--as", "copy")
    assert done.returncode == 1
    assert "holds no whole snapshot" in done.stderr
    assert len(client.list_collections()) == 1


@pytest.mark.parametrize("name", ["out.parquet", "out.npy", "out/"])
def test_exports_are_read_by_others_and_by_load(
    name: str, movies: fanlight.Collection, client: fanlight.Client, run: Run, tmp_path: Path
) -> None:
    """Each kind of file holds every item; loaded, it is the collection again."""
    done = run("export", "movies", name, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["items"] == ROWS - 100
    if name == "out.npy":
        ids = np.load(tmp_path / "out.ids.npy")
        np.testing.assert_array_equal(np.load(tmp_path / name), VECTORS[ids])
        texts = (tmp_path / "out.payloads.jsonl").read_text().splitlines()
        assert [json.loads(text) for text in texts] == [PAYLOADS[id_] for id_ in ids]
        files = [["out.npy", "--ids-from", "out.ids.npy"]]
    else:
        table = pq.read_table(tmp_path / name)
        ids = table["id"].to_numpy()
        assert str(table.schema.field("vector").type) == f"fixed_size_list<element: float>[{DIM}]"
        np.testing.assert_array_equal(
            np.stack(table["vector"].to_numpy(zero_copy_only=False)), VECTORS[ids]
        )
        files = [[str(path)] for path in sorted(tmp_path.glob("out*/*.parquet"))] or [[name]]
    assert sorted(ids.tolist()) == list(range(100, ROWS))
    for file in files:
        assert run("load", "loaded", *file, "--create").returncode == 0
    loaded = client.collection("loaded").get(np.arange(100, ROWS))
    client.delete_collection("loaded")
    np.testing.assert_array_equal(loaded.vectors, VECTORS[100:])
    if name != "out.npy":
        assert loaded.payloads == PAYLOADS[100:]
    if not name.endswith("/"):
        done = run("export", "movies", name)
        assert done.returncode == 1
        assert "--force" in done.stderr


def test_an_export_without_a_shard(
    cluster: LocalCluster, movies: fanlight.Collection, wait_until: Callable[..., None]
) -> None:
    """It is partial and says so: by default an error, with less demanded the rest of the items."""
    cluster.kill("shard-1")
    try:
        with pytest.raises(PartialResult, match="shard-1") as caught, movies.export() as export:
            list(export)
        assert caught.value.coverage is not None
        with movies.export(min_coverage=0.5) as export:
            ids = [id_ for rows in export for id_ in rows.ids.tolist()]
        assert [failure.shard for failure in export.coverage.failures] == ["shard-1"]
        assert 0 < len(ids) == len(set(ids)) == export.coverage.items_covered < ROWS - 100
    finally:
        cluster.restart("shard-1")
        wait_until(lambda: movies.info(min_coverage=0).items == ROWS - 100, 60)


async def test_both_colours_export_alike(
    cluster: LocalCluster, movies: fanlight.Collection, tmp_path: Path
) -> None:
    """The asynchronous client reads the same rows, and snapshots and restores as well."""
    async with fanlight.AsyncClient(cluster.address) as client:
        other = client.collection("movies")
        async with await other.export(batch_rows=100) as export:
            ids = [id_ async for rows in export for id_ in rows.ids.tolist()]
        assert sorted(ids) == list(range(100, ROWS))
        assert export.coverage.complete
        await other.snapshot(tmp_path / "snap")
        copy = await client.restore(tmp_path / "snap", name="copy")
        assert await copy.count() == ROWS - 100
        await client.delete_collection("copy")
    with movies.export(shards=[1]) as first:
        some = next(first)
    rest = [id_ for rows in movies.export(shards=[1], after=some.ids[9]) for id_ in rows.ids]
    assert len(rest) == first.shards[1].items - 10
