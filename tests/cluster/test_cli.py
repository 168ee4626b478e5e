"""The command line against a real cluster, run as users and scripts run it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fanlight
from fanlight.cli.app import cli
from fanlight.cli.demo import Packages, recall_at_k
from fanlight.cli.local_cluster import LocalCluster
from fanlight.loading import (
    Batch,
    Checkpoint,
    Fields,
    Inspector,
    Load,
    Quarantine,
    Source,
    UsualLength,
    open_source,
)

ROOT = Path(__file__).resolve().parents[2]
ROWS, DIM, K = 90, 12, 5
VECTORS = np.random.default_rng(seed=11).standard_normal((ROWS, DIM), dtype=np.float32)
TITLES = [f"title {row}" for row in range(ROWS)]

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(cluster: LocalCluster, tmp_path: Path) -> Run:
    """Give `run(*arguments)`: `fanlight` with the cluster's address, in a directory of its own."""
    return runner(cluster.address, tmp_path)


def runner(address: str, directory: Path) -> Run:
    def run(*arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "fanlight.cli", "--address", address, *arguments]
        return subprocess.run(argv, cwd=directory, input=answer, capture_output=True, text=True)

    return run


@pytest.fixture
def items(client: fanlight.Client) -> Iterator[fanlight.Collection]:
    """Fill the collection "items" with VECTORS, ids 0 to 89 and a title each."""
    collection = client.create_collection("items", dim=DIM)
    collection.upsert(np.arange(ROWS), VECTORS, [{"title": title} for title in TITLES])
    yield collection
    client.delete_collection("items")


@pytest.fixture
def loaded(client: fanlight.Client) -> Iterator[fanlight.Collection]:
    """Name a collection that the test itself makes."""
    yield client.collection("loaded")
    client.delete_collection("loaded")


def exact(query: np.ndarray[Any, Any], k: int = K) -> list[int]:
    lengths = np.linalg.norm(VECTORS, axis=1) * np.linalg.norm(query)
    best: list[int] = np.argsort(-(VECTORS @ query) / lengths)[:k].tolist()
    return best


def one_error(done: subprocess.CompletedProcess[str], text: str) -> None:
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert text in done.stderr


# --- load -------------------------------------------------------------------------------------


def write_npy(folder: Path) -> list[str]:
    np.save(folder / "x.npy", VECTORS)
    return ["x.npy"]


def write_npz(folder: Path) -> list[str]:
    np.savez(folder / "x.npz", ids=np.arange(ROWS), vectors=VECTORS)
    return ["x.npz"]


def write_parquet(folder: Path) -> list[str]:
    fixed = pa.FixedSizeListArray.from_arrays(VECTORS.ravel(), DIM)
    table = pa.table({"key": np.arange(ROWS), "embedding": fixed, "title": TITLES})
    pq.write_table(table, folder / "x.parquet")
    return ["x.parquet", "--id-field", "key", "--payload-field", "title"]


def write_json_lines(folder: Path) -> list[str]:
    rows = enumerate(zip(VECTORS.tolist(), TITLES, strict=True))
    lines = (
        json.dumps({"id": row, "vector": vector, "payload": {"title": title}})
        for row, (vector, title) in rows
    )
    (folder / "x.jsonl").write_text("\n".join(lines))
    return ["x.jsonl"]


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_npy, write_npz, write_parquet, write_json_lines])
def test_every_file_type_is_loaded(
    write: Callable[[Path], list[str]], run: Run, loaded: fanlight.Collection, tmp_path: Path
) -> None:
    """Rows of each file type arrive with their ids, vectors and payloads, in several batches."""
    done = run("load", "loaded", *write(tmp_path), "--create", "--batch", "40")
    assert (done.returncode, done.stderr) == (0, "")
    assert "loaded: 90 rows written, 0 refused, in " in done.stdout
    got = loaded.get(np.arange(ROWS))
    np.testing.assert_array_equal(got.vectors, VECTORS)
    with_titles = write in (write_parquet, write_json_lines)
    expected = [{"title": title} if with_titles else None for title in TITLES]
    assert got.payloads == expected


@pytest.mark.slow
def test_string_ids_make_a_string_collection(
    run: Run, loaded: fanlight.Collection, tmp_path: Path
) -> None:
    """With --create, the ids' type and the parameters given are the collection's."""
    np.save(tmp_path / "x.npy", VECTORS)
    (tmp_path / "ids.txt").write_text("\n".join(TITLES))
    done = run("load", "loaded", "x.npy", "--ids-from", "ids.txt", "--create", "--metric", "dot")
    assert done.returncode == 0, done.stderr
    spec = loaded.info().spec
    assert (spec.id_type.value, spec.metric.value, spec.dim) == ("string", "dot", DIM)
    found = run("search", "loaded", "--id", "title 7", "-k", "1", "--json")
    scores = VECTORS @ VECTORS[7]
    scores[7] = -np.inf
    assert json.loads(found.stdout)["hits"][0]["id"] == TITLES[int(np.argmax(scores))]


@pytest.mark.slow
def test_refused_rows_are_reported(run: Run, loaded: fanlight.Collection, tmp_path: Path) -> None:
    """Rows that the file or the server refuses are named by their number; the others are stored."""
    lines = [json.dumps({"vector": vector}) for vector in VECTORS.tolist()]
    lines[3] = "{"
    lines[50] = json.dumps({"vector": [0] * DIM})
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    lines[70] = lines[60]
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    done = run("load", "loaded", "x.jsonl", "--create", "--batch", "20")
    assert done.returncode == 0, done.stderr
    assert "87 rows written, 3 refused" in done.stdout
    first, second, third, where = done.stderr.splitlines()
    assert first == "row 3: the line is no JSON"
    assert second == "row 50: vector: expected a direction, got a zero vector"
    assert third == "row 70: vector: expected a vector of its own, got that of row 60"
    assert where.endswith("x.jsonl.quarantine.jsonl")
    assert loaded.get([3, 50, 70, 89]).missing.tolist() == [3, 50, 70]
    waiting = [json.loads(line) for line in (tmp_path / where.split()[-1]).read_text().splitlines()]
    assert [(row["row"], row["kind"]) for row in waiting] == [
        (3, "unreadable"),
        (50, "zero"),
        (70, "duplicate"),
    ]
    assert waiting[0]["line"] == "{"
    np.testing.assert_array_equal(np.float32(waiting[2]["vector"]), VECTORS[60])


@pytest.mark.slow
def test_a_strict_load_fails_for_refused_rows(
    run: Run, loaded: fanlight.Collection, tmp_path: Path
) -> None:
    """For scripts: status 1 when a row was not loaded, and a report to read."""
    vectors = VECTORS.copy()
    vectors[4, 2] = np.nan
    np.save(tmp_path / "x.npy", vectors)
    done = run("load", "loaded", "x.npy", "--create", "--strict", "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert (report["written"], report["refused"], report["found"]["non-finite"]) == (89, 1, 1)


@pytest.mark.slow
def test_a_broken_load_is_resumed(run: Run, loaded: fanlight.Collection, tmp_path: Path) -> None:
    """What was acknowledged is not sent again, what was not is, and the report tells of both."""
    vectors = VECTORS.copy()
    vectors[5] = vectors[80] = 0
    np.save(tmp_path / "x.npy", vectors)
    assert run("collections", "create", "loaded", "--dim", str(DIM)).returncode == 0
    path = tmp_path / "x.npy"
    checkpoint = Checkpoint(tmp_path / "x.npy.loaded.progress.json", path, "loaded")
    quarantine = Quarantine(tmp_path / "x.npy.quarantine.jsonl")
    inspector = Inspector(fanlight.Metric.COSINE, UsualLength.of([vectors]))
    source = open_source(path, Fields(), 20)

    def breaking() -> Iterator[Batch]:
        yield from islice(source.batches, 2)
        raise fanlight.NotReady("the network went away")

    with pytest.raises(fanlight.NotReady):
        Load(loaded, inspector, quarantine, checkpoint).run(Source(90, breaking()), lambda _: None)
    loaded.delete([1])  # what the second load must not write again
    done = run("load", "loaded", "x.npy", "--resume", "--batch", "20")
    assert done.returncode == 0, done.stderr
    assert "49 rows written, 2 refused, 40 loaded before" in done.stdout
    assert loaded.get(np.arange(ROWS)).missing.tolist() == [1, 5, 80]
    assert len(quarantine.path.read_text().splitlines()) == 2
    assert not checkpoint.path.exists()


@pytest.mark.slow
def test_loading_into_nothing_is_an_error(run: Run, tmp_path: Path) -> None:
    """Without --create, a collection that does not exist is an error."""
    np.save(tmp_path / "x.npy", VECTORS)
    one_error(run("load", "absent", "x.npy"), "absent")


@pytest.mark.slow
def test_loading_another_dimension_is_an_error(
    run: Run, items: fanlight.Collection, tmp_path: Path
) -> None:
    """Vectors of another dimension than the collection's are refused with both numbers."""
    np.save(tmp_path / "x.npy", VECTORS[:, :7])
    one_error(run("load", "items", "x.npy"), "7")
    assert items.count() == ROWS


# --- search -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_search_by_vector_row_and_id_is_exact(
    run: Run, items: fanlight.Collection, tmp_path: Path
) -> None:
    """The three ways to give a query find what brute force finds."""
    queries = np.random.default_rng(seed=5).standard_normal((4, DIM)).astype(np.float32)
    np.save(tmp_path / "queries.npy", queries)
    ways = {
        ("--vector", json.dumps(queries[2].tolist())): exact(queries[2]),
        ("--file", "queries.npy", "--row", "3"): exact(queries[3]),
        ("--id", "17"): exact(VECTORS[17], K + 1)[1:],
    }
    for way, expected in ways.items():
        done = run("search", "items", *way, "-k", str(K), "--exact", "--json")
        answer = json.loads(done.stdout)
        assert [hit["id"] for hit in answer["hits"]] == expected
        assert answer["coverage"]["shards_answered"] == 3


@pytest.mark.slow
def test_search_shows_payloads(run: Run, items: fanlight.Collection) -> None:
    """The table shows rank, id, score and, when asked for, the payload of each hit."""
    done = run("search", "items", "--id", "17", "-k", "1", "--with-payloads")
    best = exact(VECTORS[17], 2)[1]
    header, row = done.stdout.splitlines()
    assert header.split() == ["#", "Id", "Score", "Payload"]
    assert row.split()[:2] == ["1", str(best)]
    assert f'{{"title": "title {best}"}}' in row


@pytest.mark.slow
@pytest.mark.parametrize(
    ("query", "text"),
    [
        (("--vector", "[1, 2"), "vector: expected a JSON array of numbers"),
        (("--vector", '["1"]'), "vector: expected a JSON array of numbers"),
        (("--vector", "[1, 2]"), "vectors: expected"),
        (("--id", "seven"), "id: expected an integer"),
        (("--id", "4711"), "4711"),
        (("--id", "1", "-k", "0"), "k: expected 1 to"),
        (("--id", "1", "--min-coverage", "7"), "min_coverage: expected 0 to 1"),
    ],
)
def test_bad_queries_are_one_line(
    query: tuple[str, ...], text: str, run: Run, items: fanlight.Collection
) -> None:
    """A query that cannot be answered is one line on stderr and exit status 1."""
    one_error(run("search", "items", *query), text)


@pytest.mark.slow
def test_a_search_takes_one_query(run: Run) -> None:
    """Giving no query, or two, is a wrong use of the command: exit status 2."""
    for arguments in ((), ("--id", "1", "--vector", "[1]")):
        done = run("search", "items", *arguments)
        assert done.returncode == 2
        assert "exactly one of" in done.stderr


@pytest.mark.slow
def test_partial_answers_are_marked(
    start_cluster: Callable[..., LocalCluster], tmp_path: Path
) -> None:
    """With a shard dead: an error that names it, or, when allowed, hits and what they cover."""
    with start_cluster() as cluster, fanlight.Client(cluster.address) as client:
        client.create_collection("items", dim=DIM).upsert(np.arange(ROWS), VECTORS)
        cluster.kill("shard-2")
        run = runner(cluster.address, tmp_path)
        one_error(run("search", "items", "--id", "1"), "shard-2")
        part = run("search", "items", "--vector", str([1.0] * DIM), "--min-coverage", "0.6")
        assert part.returncode == 0
        assert len(part.stdout.splitlines()) == 11
        assert "2 of 3 shards" in part.stderr
        status = json.loads(run("status", "--json").stdout)
        assert status["complete"] is False
        states = {shard["name"]: shard["state"] for shard in status["shards"]}
        assert states == {"shard-0": "serving", "shard-1": "serving", "shard-2": "unreachable"}


# --- status and collections -------------------------------------------------------------------


@pytest.mark.slow
def test_status_for_scripts(run: Run, items: fanlight.Collection) -> None:
    """`status --json` tells every shard's state, address and part of each collection."""
    status = json.loads(run("status", "--json").stdout)
    assert status["complete"] is True
    assert [shard["name"] for shard in status["shards"]] == ["shard-0", "shard-1", "shard-2"]
    assert {shard["state"] for shard in status["shards"]} == {"serving"}
    parts = [part for shard in status["shards"] for part in shard["collections"]]
    assert {part["name"] for part in parts} == {"items"}
    assert {part["dim"] for part in parts} == {DIM}


@pytest.mark.slow
def test_status_for_people(run: Run, items: fanlight.Collection, cluster: LocalCluster) -> None:
    """`status` is a table with a line for each shard and collection."""
    text = run("status").stdout
    for process in cluster.processes[:-1]:
        line = next(line for line in text.splitlines() if line.startswith(process.name))
        assert process.address in line
        assert "serving" in line
        assert "items" in line


@pytest.mark.slow
def test_collections_live_and_die(run: Run) -> None:
    """A collection is created, listed, shown and deleted; deleting asks first."""
    assert run("collections", "create", "films", "--dim", "3", "--m", "8").returncode == 0
    listed = json.loads(run("collections", "list", "--json").stdout)
    assert [(info["name"], info["dim"], info["m"]) for info in listed] == [("films", 3, 8)]
    one_error(run("collections", "create", "films", "--dim", "4"), "films")
    declined = run("collections", "delete", "films", answer="n\n")
    assert declined.returncode == 1
    assert "Delete films and its 0 items?" in declined.stderr
    assert json.loads(run("collections", "show", "films", "--json").stdout)["items"] == 0
    assert run("collections", "delete", "films", "--yes").returncode == 0
    one_error(run("collections", "show", "films"), "films")


# --- the demo ---------------------------------------------------------------------------------


def test_recall_counts_ties() -> None:
    """A returned id counts when it is among the exact k or as similar as the last of them, once."""
    vectors = np.array([[1, 0], [1, 0.1], [1, 0.1], [0, 1]], dtype=np.float16)
    packages = Packages(
        vectors=vectors,
        payloads=[],
        queries=vectors[:1],
        texts=[],
        neighbors=np.array([[0, 1]]),
        similarities=np.array([[1.0, 1 / np.sqrt(1.01)]], dtype=np.float32),
    )
    found = {
        (0, 1): 1.0,
        (1, 0): 1.0,
        (2, 0): 1.0,
        (0, 0): 0.5,
        (0, -1): 0.5,
        (0, 3): 0.5,
        (3, 3): 0,
    }
    for ids, recall in found.items():
        assert recall_at_k(np.array([ids]), packages, k=2) == recall


@pytest.mark.slow
def test_the_demo_finds_what_it_should() -> None:
    """`fanlight demo` loads 8,000 real embeddings and reaches recall@10 of 0.98 at the least."""
    done = subprocess.run(
        [sys.executable, "-m", "fanlight.cli", "demo"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    recall = next(line for line in done.stdout.splitlines() if line.startswith("recall@10"))
    assert float(recall.split()[1]) >= 0.98


# --- the command itself -----------------------------------------------------------------------


@pytest.mark.slow
def test_no_cluster_is_one_line(tmp_path: Path) -> None:
    """When nothing answers at the address, the error says so in one line."""
    one_error(runner("127.0.0.1:1", tmp_path)("status"), "127.0.0.1:1")


@pytest.mark.slow
def test_the_address_may_follow_the_command(cluster: LocalCluster, tmp_path: Path) -> None:
    """`--address` after the subcommand wins over the one before it."""
    done = runner("127.0.0.1:1", tmp_path)("status", "--address", cluster.address, "--json")
    assert json.loads(done.stdout)["complete"] is True


@pytest.mark.slow
def test_a_missing_library_is_named() -> None:
    """Without the libraries of the command line, it says in one line what to install."""
    code = "import sys; sys.modules['click'] = None; from fanlight.cli.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    one_error(done, "pip install 'fanlight[all]'")


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


@pytest.mark.parametrize("name", dict(commands(cli)))
def test_every_command_shows_an_example(name: str) -> None:
    """The help of each command has an example that begins with the command itself."""
    command = dict(commands(cli))[name]
    text = command.get_help(click.Context(command, info_name=name))
    assert f"fanlight {name}" in text.partition("Example")[2]


@pytest.mark.slow
def test_the_quickstart_runs(cluster: LocalCluster) -> None:
    """The example in the repository runs against a cluster as it is."""
    script = str(ROOT / "examples" / "quickstart.py")
    done = subprocess.run([sys.executable, script, cluster.address], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "missing after the deletion: [42]" in done.stdout
