"""The vectors that a benchmark runs on, and the exact answers to its queries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Workload:
    """Vectors, queries and truth.

    Attributes:
        name: what they are.
        base: (n, dim) float32; the id of a vector is its row.
        queries: (q, dim) float32.
    """

    name: str
    base: Floats
    queries: Floats

    def truth(self, k: int) -> Ids:
        """Compute the exact k nearest by cosine in float64, equal float32 scores by id."""
        base, queries = _unit(self.base), _unit(self.queries)
        best = np.empty((len(queries), k), dtype=np.int64)
        ids = np.arange(len(base))
        for row, query in enumerate(queries):
            scores = (base @ query).astype(np.float32)
            near = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
            best[row] = near[np.lexsort((ids[near], -scores[near]))][:k]
        return best


def _unit(vectors: Floats) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    unit: NDArray[np.float64] = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return unit


def fashion_mnist(folder: Path) -> Workload:
    """Load Fashion-MNIST: 60,000 images of 784 pixels and 500 queries."""
    images = np.load(folder / "fashion_mnist" / "base.npz")["images"]
    queries = np.load(folder / "fashion_mnist" / "queries.npy")
    return Workload("fashion-mnist", images.astype(np.float32), queries.astype(np.float32))


def clustered(rows: int, dim: int, seed: int = 0) -> Workload:
    """Make vectors around random centres, as embeddings are, and queries of the same kind."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(1, rows // 200), dim))
    total = rows + 500
    points = centres[rng.integers(len(centres), size=total)] + rng.normal(
        scale=0.7, size=(total, dim)
    )
    vectors = points.astype(np.float32)
    return Workload(f"clustered-{dim}d-seed{seed}", vectors[:rows], vectors[rows:])


def recall(found: Ids, truth: Ids) -> float:
    """Compute the mean share of the true ids that were found."""
    shared = [len(set(a) & set(b)) for a, b in zip(found.tolist(), truth.tolist(), strict=True)]
    return sum(shared) / truth.size
