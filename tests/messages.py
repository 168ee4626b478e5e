"""Columns in messages of their own, for tests that put requests together by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fanlight.v1 import types_pb2 as pb
from fanlight.wire import codec


def matrix(vectors: NDArray[np.generic]) -> pb.Matrix:
    """Put (n, dim) vectors into a message."""
    message = pb.Matrix()
    codec.fill_matrix(message, vectors)
    return message


def blobs(values: Sequence[bytes]) -> pb.Blobs:
    """Put byte strings into a message."""
    message = pb.Blobs()
    codec.fill_blobs(message, values)
    return message
