"""What is computed from vectors alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fanlight.model import Floats


def lengths_of(vectors: Floats) -> NDArray[np.float64]:
    """Compute Euclidean lengths in float64: (n, dim) float32 to (n,)."""
    lengths: NDArray[np.float64] = np.sqrt(
        np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    )
    return lengths
