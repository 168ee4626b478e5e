"""Every bad row of a file is found, and no good one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fanlight.loading import Fields, Inspector, Kind, UsualLength, open_source, read_ahead
from fanlight.loading.rows import Batch
from fanlight.model import Metric

ROWS = 20_000
DIM = 24
SHARE = 0.01


def spoiled(rng: np.random.Generator) -> tuple[np.ndarray[Any, Any], dict[Kind, set[int]]]:
    """Make embeddings of which 1 % each are not finite, zero, outliers, copies of earlier ones."""
    vectors = rng.standard_normal((ROWS, DIM)).astype(np.float32)
    vectors *= rng.lognormal(0, 0.5, (ROWS, 1)).astype(np.float32)
    each = int(ROWS * SHARE)
    # The first row is good, so that every copy has an earlier original.
    chosen = rng.permutation(np.arange(1, ROWS))[: 4 * each].reshape(4, each)
    infinite, zero, odd, copies = (set(part.tolist()) for part in chosen)
    for place, row in enumerate(sorted(infinite)):
        vectors[row, place % DIM] = (np.nan, np.inf, -np.inf)[place % 3]
    vectors[sorted(zero)] = 0
    factors = np.where(rng.random(each) < 0.5, 3e2, 3e-3).astype(np.float32)
    vectors[sorted(odd)] *= factors[:, None]
    good = [row for row in range(ROWS) if not any(row in part.tolist() for part in chosen)]
    for row in sorted(copies):
        earlier = good[: np.searchsorted(good, row)]
        vectors[row] = vectors[int(rng.choice(earlier))]
    return vectors, {
        Kind.NON_FINITE: infinite,
        Kind.ZERO: zero,
        Kind.OUTLIER: odd,
        Kind.DUPLICATE: copies,
    }


@pytest.mark.parametrize("seed", [1, 2])
def test_one_per_cent_of_each_kind_is_found(seed: int, tmp_path: Path) -> None:
    """All of them, whatever batch they are in, and only they."""
    vectors, bad = spoiled(np.random.default_rng(seed))
    np.save(tmp_path / "x.npy", vectors)
    sample, source = read_ahead(open_source(tmp_path / "x.npy", Fields(), 1_500))
    inspector = Inspector(Metric.COSINE, UsualLength.of(batch.vectors for batch in sample))
    found: dict[Kind, set[int]] = {}
    kept: list[int] = []
    for batch in map(inspector.inspect, source.batches):
        kept += batch.rows.tolist()
        np.testing.assert_array_equal(batch.vectors, vectors[batch.rows])
        for fault in batch.faults:
            found.setdefault(fault.kind, set()).add(fault.row)
    assert found == bad
    assert kept == sorted(set(range(ROWS)) - set().union(*bad.values()))


def batch_of(vectors: np.ndarray[Any, Any]) -> Batch:
    rows = np.arange(len(vectors))
    return Batch(rows, vectors, None, rows)


def inspected(vectors: np.ndarray[Any, Any], metric: Metric, *keep: Kind) -> list[int]:
    inspector = Inspector(metric, UsualLength.of([vectors]), frozenset(keep))
    rows: list[int] = inspector.inspect(batch_of(vectors)).rows.tolist()
    return rows


def test_what_is_kept_is_loaded_all_the_same() -> None:
    """Outliers and duplicates may be wanted; they are counted and stay."""
    vectors = np.ones((50, 4), np.float32) * np.arange(1, 51, dtype=np.float32)[:, None]
    vectors[7], vectors[9] = vectors[3], 1e6
    assert inspected(vectors, Metric.COSINE) == [row for row in range(50) if row not in (7, 9)]
    assert inspected(vectors, Metric.COSINE, Kind.DUPLICATE, Kind.OUTLIER) == list(range(50))


@pytest.mark.parametrize("metric", [Metric.DOT, Metric.L2])
def test_zeros_have_a_place_where_there_is_one(metric: Metric) -> None:
    """Without a direction there is no cosine; dot product and distance take a zero vector."""
    vectors = np.eye(4, dtype=np.float32)
    vectors[2] = 0
    assert inspected(vectors, metric) == [0, 1, 2, 3]
    assert inspected(vectors, Metric.COSINE) == [0, 1, 3]


def test_lengths_that_differ_anyway_are_usual() -> None:
    """Where lengths spread over magnitudes, one more is no outlier."""
    lengths = np.logspace(-6, 6, 400, dtype=np.float32)
    vectors = lengths[:, None] * np.random.default_rng(3).standard_normal((400, 8)).astype("f4")
    assert len(inspected(vectors, Metric.COSINE)) == 400


def test_a_reason_names_the_row_and_the_value() -> None:
    """Whoever mends the file is told where and what."""
    vectors = np.ones((3, 4), np.float32)
    vectors[0, 1], vectors[1, 2] = 2, np.inf
    inspector = Inspector(Metric.COSINE, UsualLength.of([vectors]))
    (fault,) = inspector.inspect(batch_of(vectors)).faults
    assert (fault.row, str(fault.error)) == (
        1,
        "vector: expected finite numbers, got inf at element 2",
    )
    assert fault.content["vector"] == [1.0, 1.0, "inf", 1.0]
