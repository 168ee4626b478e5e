"""The module for ann-benchmarks does what its runner asks, on a cluster of its own."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.cluster import stand_ins

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "benchmarks/adapters/ann_benchmarks/fanlight"
RNG = np.random.default_rng(seed=11)
BASE = RNG.standard_normal((1_500, 12), dtype=np.float32)
QUERIES = RNG.standard_normal((20, 12), dtype=np.float32)
K = 10


def nearest(metric: str) -> list[list[int]]:
    if metric == "angular":
        unit = BASE / np.linalg.norm(BASE, axis=1, keepdims=True)
        scores = QUERIES @ unit.T
    else:
        scores = -((QUERIES[:, None] - BASE[None]) ** 2).sum(axis=2)
    return [np.argsort(-row)[:K].tolist() for row in scores]


def module() -> Any:
    spec = importlib.util.spec_from_file_location("module", FOLDER / "module.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Read the first group of runs of the configuration."""
    stand_ins.ann_benchmarks(monkeypatch)
    config = yaml.safe_load((FOLDER / "config.yml").read_text())
    (algorithm,) = config["float"]["any"]
    return {"constructor": algorithm["constructor"], **next(iter(algorithm["run_groups"].values()))}


@pytest.mark.parametrize("metric", ["angular", "euclidean"])
def test_a_run_as_the_runner_makes_it(group: dict[str, Any], metric: str) -> None:
    algorithm = getattr(module(), group["constructor"])(metric, group["arg_groups"][0])
    before = algorithm.get_memory_usage()
    try:
        algorithm.fit(BASE)
        assert algorithm.get_memory_usage() > before
        algorithm.set_query_arguments(group["query_args"][0][-1])
        assert "ef_search=800" in algorithm.name
        expected = nearest(metric)
        assert [algorithm.query(query, K) for query in QUERIES] == expected
        algorithm.batch_query(QUERIES, K)
        assert algorithm.get_batch_results() == expected
    finally:
        algorithm.done()


def test_a_metric_that_fanlight_does_not_have_is_refused(group: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected one of angular, euclidean, got jaccard"):
        getattr(module(), group["constructor"])("jaccard", group["arg_groups"][0])
