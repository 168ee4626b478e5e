"""Python's garbage collector, kept from stopping measurements."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def with_short_collections() -> Iterator[None]:
    """Collect before the block, and in it look only at what is made there.

    In the callers' process a collection of everything that was imported took 20 to 30 ms, more
    than one a second: all calls due meanwhile were made late, and then together (measured).
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
