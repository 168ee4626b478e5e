"""A data directory in this process: the client's whole interface, without a process or a port."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
from tests import oracle

from fanlight.errors import DeadlineExceeded, InternalError, InvalidRequest, NotFound
from fanlight.limits import Limits
from fanlight.model import Metric
from fanlight.topk import TopK
from fanlight_server import open_local
from fanlight_server.collection import Collection
from fanlight_server.storage.files import DirectoryInUse

pytestmark = pytest.mark.slow

ROWS, DIM = 400, 8
IDS = np.arange(ROWS)
VECTORS = np.random.default_rng(seed=9).standard_normal((ROWS, DIM), dtype=np.float32)


def test_it_is_the_same_interface(tmp_path: Path) -> None:
    """Writes, reads and searches do what they do over the wire; brute force is the oracle."""
    with open_local(tmp_path / "data") as client:
        movies = client.create_collection("movies", dim=DIM, filterable={"n": "int"})
        result = movies.upsert(IDS, VECTORS, [{"n": row} for row in range(ROWS)])
        assert (result.written, movies.count()) == (ROWS, ROWS)
        hits = movies.search(VECTORS[:20], k=7, exact=True, with_payloads=True)
        expected = oracle.best(Metric.COSINE, VECTORS[:20], IDS, VECTORS, 7)
        oracle.assert_equal(TopK(hits.ids, hits.scores, hits.counts), expected)
        assert hits.payloads is not None
        assert hits.payloads[3][0] == {"n": 3}
        assert movies.search(VECTORS[0], k=3, filter={"n": 5}).ids[0].tolist() == [5, -1, -1]
        assert movies.get([4, 999]).missing.tolist() == [999]
        assert movies.delete([4]).deleted == 1
        assert sum(len(page) for page in movies.scroll(page_size=150)) == ROWS - 1
        assert sum(len(rows) for rows in movies.export(batch_rows=50)) == ROWS - 1
        assert client.status().complete
        with pytest.raises(InvalidRequest, match="dimension 8"):
            movies.search(VECTORS[:, :3])
        with pytest.raises(NotFound):
            client.collection("none").count()


def test_what_was_acknowledged_is_there_again(tmp_path: Path) -> None:
    """A directory that is opened again holds what was written, and is held by one client."""
    with open_local(tmp_path / "data") as client:
        client.create_collection("movies", dim=DIM).upsert(IDS, VECTORS)
        with pytest.raises(DirectoryInUse, match=str(os.getpid())):
            open_local(tmp_path / "data")
    with open_local(tmp_path / "data") as client:
        got = client.collection("movies").get(IDS)
        np.testing.assert_array_equal(got.vectors, VECTORS)


def test_nothing_is_left_when_it_is_closed(tmp_path: Path) -> None:
    """No thread, no open file of the directory, no port; closing again does nothing."""
    me = psutil.Process()
    with open_local(tmp_path / "first") as client:  # what a process makes once and keeps
        client.create_collection("movies", dim=DIM).upsert(IDS, VECTORS)
    threads = set(threading.enumerate())
    client = open_local(tmp_path / "data")
    movies = client.create_collection("movies", dim=DIM)
    movies.upsert(IDS, VECTORS)
    export = movies.export(batch_rows=10)
    next(export)
    assert not [c for c in me.net_connections() if c.status == psutil.CONN_LISTEN]
    client.close()
    client.close()
    assert set(threading.enumerate()) <= threads
    assert not [f.path for f in me.open_files() if str(tmp_path) in f.path]
    for use in (movies.count, lambda: next(export), lambda: client.status()):
        with pytest.raises(InvalidRequest, match="the client is closed"):
            use()


def test_threads_share_it(tmp_path: Path) -> None:
    """Writers and searchers side by side see their own writes at once."""
    failures: list[BaseException] = []
    with open_local(tmp_path / "data") as client:
        movies = client.create_collection("movies", dim=DIM)

        def work(start: int) -> None:
            try:
                for row in range(start, ROWS, 8):
                    movies.upsert([row], VECTORS[row : row + 1])
                    assert movies.search(VECTORS[row], k=1).ids[0, 0] == row
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(start,)) for start in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert movies.count() == ROWS


def test_a_deadline_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that takes longer than its timeout fails with DeadlineExceeded."""
    gate = threading.Event()
    original = Collection.get
    with open_local(tmp_path / "data") as client:
        movies = client.create_collection("movies", dim=DIM)

        def slow(self: Collection, *args: object, **kwargs: object) -> object:
            assert gate.wait(60)
            return original(self, *args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(Collection, "get", slow)
        with pytest.raises(DeadlineExceeded):
            movies.get([1], timeout=0.05)
        gate.set()


def test_a_bug_tells_no_more_than_over_the_wire(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller sees an id, and the cause only as the cause."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("inner secret")

    with open_local(tmp_path / "data") as client:
        movies = client.create_collection("movies", dim=DIM)
        monkeypatch.setattr(Collection, "get", broken)
        with pytest.raises(InternalError, match=r"internal error [0-9a-f]{8}") as caught:
            movies.get([1])
    assert "secret" not in str(caught.value)


def test_limits_are_the_callers(tmp_path: Path) -> None:
    """They are those of a shard server."""
    with open_local(tmp_path / "data", limits=Limits(k=5)) as client:
        movies = client.create_collection("movies", dim=DIM)
        with pytest.raises(InvalidRequest, match="1 to 5"):
            movies.search(VECTORS[0], k=6)


def test_a_program_that_forgets_to_close_it_ends(tmp_path: Path) -> None:
    """What was written is there, and the interpreter does not wait for the store's threads."""
    code = (
        "import sys, numpy as np\n"
        "from fanlight_server import open_local\n"
        "client = open_local(sys.argv[1])\n"
        "client.create_collection('movies', dim=2).upsert([1], np.ones((1, 2)))\n"
    )
    argv = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "data")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    with open_local(tmp_path / "data") as client:
        assert client.collection("movies").count() == 1
