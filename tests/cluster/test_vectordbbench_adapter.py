"""The client for VectorDBBench does what its runners ask, on a running cluster."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.cluster import stand_ins

from fanlight.cli.local_cluster import LocalCluster

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "benchmarks/adapters/vectordbbench"
RNG = np.random.default_rng(seed=12)
BASE = RNG.standard_normal((900, 8), dtype=np.float32)
QUERIES = RNG.standard_normal((10, 8), dtype=np.float32)
LABELS = ["label_10p" if number % 10 == 0 else "rest" for number in range(len(BASE))]
K = 10


def nearest(allowed: np.ndarray[Any, np.dtype[np.bool_]] | None = None) -> list[list[int]]:
    unit = BASE / np.linalg.norm(BASE, axis=1, keepdims=True)
    scores = QUERIES @ unit.T
    if allowed is not None:
        scores[:, ~allowed] = -np.inf
    return [np.argsort(-row)[:K].tolist() for row in scores]


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Import the adapter, with the real VectorDBBench if it is there."""
    stand_ins.vectordb_bench(monkeypatch, tmp_path)
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in [name for name in sys.modules if name.startswith("fanlight_vectordbbench")]:
        monkeypatch.delitem(sys.modules, name)
    return importlib.import_module("fanlight_vectordbbench.database")


@pytest.fixture
def database(adapter: Any, cluster: LocalCluster) -> Any:
    """Make the database as a runner makes it, and load it."""
    made = make(cluster, labelled=True)
    with made.init():
        for start in range(0, len(BASE), 300):
            part = slice(start, start + 300)
            numbers = list(range(start, start + 300))
            written = made.insert_embeddings(BASE[part].tolist(), numbers, LABELS[part])
            assert written == (300, None)
        made.optimize(len(BASE))
        assert made.poll_insert_readiness(len(BASE))["fully_searchable"]
    return made


def make(cluster: LocalCluster, labelled: bool = False) -> Any:
    config = importlib.import_module("fanlight_vectordbbench.config")
    database = importlib.import_module("fanlight_vectordbbench.database")
    place = config.FanlightConfig(address=cluster.address)
    parameters = config.FanlightIndexConfig(metric_type="COSINE", ef_search=500)
    return database.Fanlight(
        dim=8,
        db_config=place.to_dict(),
        db_case_config=parameters,
        drop_old=True,
        with_scalar_labels=labelled,
    )


def a_filter(kind: str, **fields: Any) -> Any:
    found = importlib.import_module("vectordb_bench.backend.filter")
    if hasattr(found, "LabelFilter") and kind == "StrEqual":
        return found.LabelFilter(label_percentage=0.1)
    if hasattr(found, "NewIntFilter") and kind == "NumGE":
        return found.NewIntFilter(filter_rate=0.9, **fields)
    return found.Filter(type=found.FilterOp[kind], **fields)


def searched(database: Any) -> list[list[int]]:
    return [database.search_embedding(query, K) for query in QUERIES.tolist()]


def test_searches_find_the_nearest(database: Any) -> None:
    with database.init():
        assert searched(database) == nearest()


def test_a_copy_in_another_process_finds_the_same(database: Any) -> None:
    """Runners pickle the database into processes, each of which connects by itself."""
    copy = pickle.loads(pickle.dumps(database))  # noqa: S301
    with copy.init():
        assert searched(copy) == nearest()


def test_filters_of_both_kinds_hold(database: Any) -> None:
    with database.init():
        database.prepare_filter(a_filter("NumGE", int_value=810))
        assert searched(database) == nearest(np.arange(len(BASE)) >= 810)
        database.prepare_filter(a_filter("StrEqual", label_value="label_10p"))
        assert searched(database) == nearest(np.array(LABELS) == "label_10p")
        database.prepare_filter(a_filter("NonFilter"))
        assert searched(database) == nearest()


def test_dropping_the_old_collection_leaves_nothing(database: Any, cluster: LocalCluster) -> None:
    with make(cluster).init():
        pass
    with database.init():
        assert not database.poll_insert_readiness(1)["fully_searchable"]


def test_a_refused_batch_is_told_and_not_raised(database: Any) -> None:
    with database.init():
        written, error = database.insert_embeddings([[1.0] * 3], [1])
    assert written == 0
    assert "dim" in str(error)


def test_a_metric_that_fanlight_does_not_have_is_refused(adapter: Any) -> None:
    config = importlib.import_module("fanlight_vectordbbench.config")
    with pytest.raises(ValueError, match="expected one of COSINE, L2, IP, DP, got HAMMING"):
        config.FanlightIndexConfig(metric_type="HAMMING").index_param()


@pytest.mark.timeout(300)
def test_the_real_runner_measures_it(cluster: LocalCluster, tmp_path: Path) -> None:
    pytest.importorskip("vectordb_bench")
    data, results = tmp_path / "data", tmp_path / "results"
    data.mkdir()
    numbers = pa.array(range(len(BASE)))
    pq.write_table(pa.table({"id": numbers, "emb": BASE.tolist()}), data / "train.parquet")
    asked = pa.array(range(len(QUERIES)))
    pq.write_table(pa.table({"id": asked, "emb": QUERIES.tolist()}), data / "test.parquet")
    truth = pa.table({"id": asked, "neighbors_id": nearest()})
    pq.write_table(truth, data / "neighbors.parquet")
    given = {
        "address": cluster.address,
        "case-type": "PerformanceCustomDataset",
        "custom-case-name": "small",
        "custom-dataset-name": "small",
        "custom-dataset-dir": data,
        "custom-dataset-size": len(BASE),
        "custom-dataset-dim": 8,
        "custom-dataset-metric-type": "COSINE",
        "custom-dataset-file-count": 1,
        "num-concurrency": 2,
        "concurrency-duration": 1,
        "k": K,
        "ef-search": 500,
    }
    argv = [sys.executable, "-m", "fanlight_vectordbbench.run", "fanlight"]
    argv += [f"--{name}={value}" for name, value in given.items()]
    paths = os.pathsep.join([str(FOLDER), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths, "RESULTS_LOCAL_DIR": str(results)}
    environment["LOG_FILE"] = str(tmp_path / "log")
    subprocess.run(argv, env=environment, cwd=tmp_path, check=True, capture_output=True)
    (path,) = results.glob("Fanlight/*.json")
    (result,) = json.loads(path.read_text())["results"]
    assert result["metrics"]["recall"] == 1
    assert result["metrics"]["qps"] > 0
