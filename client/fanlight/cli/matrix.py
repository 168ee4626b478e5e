"""Matrices that a command reads from .npy files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fanlight.errors import InvalidRequest


def read_matrix(path: Path) -> NDArray[np.float32]:
    """Map the vectors of a file; (n, dim).

    Raises:
        InvalidRequest: it is no .npy of a matrix.
    """
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError):
        raise InvalidRequest.of_field("file", "a readable .npy", str(path)) from None
    if not isinstance(found, np.ndarray) or found.ndim != 2:
        raise InvalidRequest.of_field("file", "a matrix, one vector a row", str(path))
    return np.asarray(found, dtype=np.float32)
