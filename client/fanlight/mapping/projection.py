"""Vectors of many dimensions at places of two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fanlight.errors import InvalidRequest

Floats: TypeAlias = NDArray[np.float32]

# What t-SNE and UMAP are given: fewer dimensions cost less, and noise goes first.
_FIRST_DIM = 50


def project(vectors: Floats, method: str = "pca", *, cosine: bool = True, seed: int = 0) -> Floats:
    """Find a place for each vector.

    Args:
        vectors: (n, dim), n at least 3.
        method: "pca" (keeps large distances; always there), "tsne" or "umap" (keep neighbours
            together; they need scikit-learn or umap-learn).
        cosine: scale the vectors to length 1 first, as their metric compares directions.
        seed: of t-SNE and UMAP; the same gives the same map.

    Returns:
        (n, 2) places.

    Raises:
        InvalidRequest: an unknown method, its library is missing, or fewer than 3 vectors.
    """
    if method not in METHODS:
        raise InvalidRequest.of_field("method", " or ".join(METHODS), repr(method))
    if len(vectors) < 3:
        raise InvalidRequest.of_field("vectors", "at least 3", str(len(vectors)))
    matrix = np.asarray(vectors, dtype=np.float64)
    if cosine:
        lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
        matrix = matrix / np.where(lengths > 0, lengths, 1)
    return METHODS[method](matrix, seed).astype(np.float32)


def _pca(matrix: NDArray[np.float64], seed: int = 0, dim: int = 2) -> NDArray[np.float64]:
    """Take the directions of the largest variance; each points where its weights are positive."""
    del seed
    centred = matrix - matrix.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    first = directions[:, ::-1][:, :dim]
    first = first * np.where(first.sum(axis=0) < 0, -1, 1)
    places: NDArray[np.float64] = centred @ first
    missing = dim - places.shape[1]
    return np.pad(places, ((0, 0), (0, missing))) if missing > 0 else places


def _tsne(matrix: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    manifold = _library("sklearn.manifold", "scikit-learn", "tsne")
    perplexity = min(30.0, (len(matrix) - 1) / 3)
    found = manifold.TSNE(init="pca", perplexity=perplexity, random_state=seed)
    return np.asarray(found.fit_transform(_reduced(matrix)), dtype=np.float64)


def _umap(matrix: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    umap = _library("umap", "umap-learn", "umap")
    found = umap.UMAP(random_state=seed, n_neighbors=min(15, len(matrix) - 1))
    return np.asarray(found.fit_transform(_reduced(matrix)), dtype=np.float64)


def _reduced(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return _pca(matrix, dim=_FIRST_DIM) if matrix.shape[1] > _FIRST_DIM else matrix


def _library(module: str, distribution: str, method: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError:
        expected = f"{distribution}, from pip install 'fanlight[{method}]'"
        raise InvalidRequest.of_field("method", expected, "none") from None


METHODS: Mapping[str, Callable[[NDArray[np.float64], int], NDArray[np.float64]]] = {
    "pca": _pca,
    "tsne": _tsne,
    "umap": _umap,
}
