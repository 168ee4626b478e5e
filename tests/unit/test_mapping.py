"""A map keeps what its method promises, and its files are what their readers expect."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fanlight.errors import InvalidRequest
from fanlight.mapping import METHODS, project, write_projector
from fanlight.mapping.picture import draw

RNG = np.random.default_rng(4)
# Three groups far apart, in 60 dimensions.
GROUPS = np.repeat([0, 1, 2], 30)
VECTORS = (5 * np.eye(60)[GROUPS * 7] + 0.3 * RNG.standard_normal((90, 60))).astype(np.float32)


def test_pca_keeps_the_largest_variance() -> None:
    """No plane holds more of the variance than the one that is drawn (checked with an SVD)."""
    centred = VECTORS - VECTORS.mean(axis=0)
    best = (np.linalg.svd(centred, compute_uv=False)[:2] ** 2).sum()
    places = project(VECTORS, "pca", cosine=False)
    assert places.shape == (90, 2)
    assert (places**2).sum() == pytest.approx(best, rel=1e-4)


def test_cosine_maps_ignore_lengths() -> None:
    """Under cosine, a vector ten times as long has the same place."""
    scaled = VECTORS * RNG.uniform(0.1, 10, (90, 1)).astype(np.float32)
    np.testing.assert_allclose(project(scaled), project(VECTORS), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_groups_stay_together(method: str) -> None:
    """Items of one group are nearer to their own centre than to another's."""
    places = project(VECTORS, method, seed=3)
    centres = np.stack([places[group == GROUPS].mean(axis=0) for group in range(3)])
    nearest = np.linalg.norm(places[:, None] - centres, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, GROUPS)


def test_one_dimension_is_drawn_on_a_line() -> None:
    """A collection of one dimension has no second direction."""
    assert project(VECTORS[:, :1], cosine=False)[:, 1].tolist() == [0.0] * 90


def test_what_cannot_be_is_refused() -> None:
    """Unknown methods and too few items, by name."""
    with pytest.raises(InvalidRequest, match="method: expected pca or tsne or umap"):
        project(VECTORS, "lda")
    with pytest.raises(InvalidRequest, match="vectors: expected at least 3, got 2"):
        project(VECTORS[:2])
    assert set(METHODS) == {"pca", "tsne", "umap"}


def test_projector_files(tmp_path: Path) -> None:
    """As many lines as vectors; a header over several columns; no tab or line break in a cell."""
    payloads = [{"title": "a\tb\nc", "year": 2020}, None, {"title": "d"}]
    write_projector(tmp_path / "out", "films", VECTORS[:3], ["x", "y", "z"], payloads)
    rows = (tmp_path / "out" / "vectors.tsv").read_text().splitlines()
    numbers = np.array([[float(x) for x in row.split("\t")] for row in rows])
    np.testing.assert_allclose(numbers, VECTORS[:3], rtol=1e-5, atol=1e-6)
    lines = (tmp_path / "out" / "metadata.tsv").read_text().splitlines()
    assert lines == ["id\ttitle\tyear", "x\ta b c\t2020", "y\t\t", "z\td\t"]
    config = json.loads((tmp_path / "out" / "projector_config.json").read_text())
    assert config["embeddings"][0]["tensorShape"] == [3, 60]


def test_ids_alone_have_no_header(tmp_path: Path) -> None:
    """The projector takes a single column without a header."""
    write_projector(tmp_path, "x", VECTORS[:2], [7, 8], [None, None])
    assert (tmp_path / "metadata.tsv").read_text() == "7\n8\n"


@pytest.mark.slow
def test_a_picture_is_drawn(tmp_path: Path) -> None:
    """The file is a PNG of many colours."""
    from matplotlib.image import imread

    path = tmp_path / "map.png"
    labels = [f"item {row}" if row < 3 else None for row in range(90)]
    draw(path, project(VECTORS), title="three groups", groups=GROUPS.tolist(), labels=labels)
    pixels = imread(path)
    assert pixels.shape[:2] == (1200, 1500)
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 10
