"""The vectors that a benchmark runs on, and the exact answers to its queries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

# Queries of generated data. With 10 neighbours each, one that is missed is 0.0002 of recall.
_QUERIES = 500
# Queries compared at a time, so that their float64 scores take some tens of megabytes.
_SCORED_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Workload:
    """Vectors, queries and truth; scores are cosines.

    Attributes:
        name: what they are.
        base: (n, dim) float32; the id of a vector is its row.
        queries: (q, dim) float32.
    """

    name: str
    base: Floats
    queries: Floats

    @property
    def dim(self) -> int:
        """Tell the number of elements of a vector."""
        return int(self.base.shape[1])

    def truth(self, k: int) -> Ids:
        """Compute the exact k nearest by cosine in float64, equal float32 scores by id."""
        return Answers.of(self, k).ids

    def first(self, rows: int) -> Workload:
        """Give the same with the first `rows` vectors only."""
        return Workload(self.name, self.base[:rows], self.queries)

    def fresh(self, seed: int = 0) -> Floats:
        """Make (n, dim) vectors of the same kind as the base, none equal to one of them.

        Each is a vector of the base with a tenth of its elements' spread added as noise: equal
        vectors would make a graph that no real data makes.
        """
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal(self.base.shape, dtype=np.float32)
        noise *= np.float32(0.1 * self.base.std())
        return self.base + noise


@dataclass(frozen=True, slots=True)
class Answers:
    """The exact answers to a workload's queries.

    Attributes:
        ids: (q, k) the nearest, best first, equal float32 scores by id.
        floor: (q,) float32: the score of each query's k-th.
    """

    work: Workload
    ids: Ids
    floor: Floats

    @classmethod
    def of(cls, work: Workload, k: int) -> Answers:
        """Compare every query with every vector, in float64."""
        ids = np.empty((len(work.queries), k), dtype=np.int64)
        floor = np.empty(len(work.queries), dtype=np.float32)
        base = _unit(work.base)
        for start in range(0, len(work.queries), _SCORED_AT_ONCE):
            some = _unit(work.queries[start : start + _SCORED_AT_ONCE])
            for row, scores in enumerate((some @ base.T).astype(np.float32), start):
                floor[row] = np.partition(scores, -k)[-k]
                near = np.flatnonzero(scores >= floor[row])
                ids[row] = near[np.lexsort((near, -scores[near]))][:k]
        return cls(work, ids, floor)

    def recall(self, found: Ids) -> float:
        """Compute the mean share of the k nearest that were found.

        An id that is not among them counts when it scores as much as the k-th: with equal
        scores the engines order differently. One found twice counts once.

        Args:
            found: (q, k) ids, -1 for none.
        """
        good = sum(self._good(row, ids) for row, ids in enumerate(found.tolist()))
        return good / self.ids.size

    def _good(self, row: int, found: list[int]) -> int:
        ids = {i for i in found if i >= 0}
        true = set(self.ids[row].tolist())
        others = np.fromiter(ids - true, dtype=np.int64)
        scores = _unit(self.work.base[others]) @ _unit(self.work.queries[row : row + 1])[0]
        equal = int((scores.astype(np.float32) >= self.floor[row]).sum())
        return min(len(ids & true) + equal, len(true))


def _unit(vectors: Floats) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    unit: NDArray[np.float64] = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return unit


def fashion_mnist(folder: Path) -> Workload:
    """Load Fashion-MNIST: 60,000 images of 784 pixels and 500 queries."""
    images = np.load(folder / "fashion_mnist" / "base.npz")["images"]
    queries = np.load(folder / "fashion_mnist" / "queries.npy")
    return Workload("fashion-mnist", images.astype(np.float32), queries.astype(np.float32))


def debian_minilm(folder: Path) -> Workload:
    """Load 8,000 embeddings of package descriptions, 384 dimensions, and 200 queries."""
    base = np.load(folder / "debian_minilm_8k" / "base.npy")
    queries = np.load(folder / "debian_minilm_8k" / "queries.npy")
    return Workload("debian-minilm", base.astype(np.float32), queries.astype(np.float32))


def clustered(rows: int, dim: int, seed: int = 0) -> Workload:
    """Make vectors around random centres, as embeddings are, and queries of the same kind."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(1, rows // 200), dim))
    total = rows + _QUERIES
    points = centres[rng.integers(len(centres), size=total)] + rng.normal(
        scale=0.7, size=(total, dim)
    )
    vectors = points.astype(np.float32)
    return Workload(f"clustered-{dim}d-seed{seed}", vectors[:rows], vectors[rows:])


# The data sets of a FANLIGHT_DATA folder, by the folder that holds each.
LOADERS = {"fashion_mnist": fashion_mnist, "debian_minilm_8k": debian_minilm}


def recall(found: Ids, truth: Ids) -> float:
    """Compute the mean share of the true ids that were found."""
    shared = [len(set(a) & set(b)) for a, b in zip(found.tolist(), truth.tolist(), strict=True)]
    return sum(shared) / truth.size
