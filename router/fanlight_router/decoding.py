"""Reading the answers of shards: a malformed one is the shard's fault, never the caller's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fanlight.errors import InternalError, InvalidRequest


@contextmanager
def decoding() -> Iterator[None]:
    """Turn what is wrong with an answer into an error of the shard."""
    try:
        yield
    except (InvalidRequest, ValueError) as error:
        raise InternalError("gave a malformed answer") from error
