"""Writes at full speed from a process of their own, while something else is measured."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event

import numpy as np

import fanlight
from fanlight.client import Collection
from workload import Floats

_BATCH = 1_000
# Writers at once: while one waits for the disk, the other encodes.
_WRITERS = 2
_START_S = 60.0
_TIMEOUT_S = 300.0


@dataclass(slots=True)
class Ingest:
    """What was written: rows, and for how long; filled in when the block ends."""

    rows: int = 0
    seconds: float = 0.0

    @property
    def per_second(self) -> float:
        """Tell the rate."""
        return self.rows / self.seconds if self.seconds else 0.0


@contextmanager
def ingest(address: str, collection: str, vectors: Floats, first_id: int) -> Iterator[Ingest]:
    """Upsert new ids as fast as they are taken, while the block runs.

    Args:
        address: of the router.
        collection: its name.
        vectors: (n, dim), used again from the first when they do not suffice.
        first_id: the ids are this and the next ones.
    """
    context = multiprocessing.get_context("spawn")
    writing, stop, result = context.Event(), context.Event(), context.SimpleQueue()
    arguments = (address, collection, vectors, first_id, writing, stop, result)
    process = context.Process(target=_write, args=arguments)
    process.start()
    told = Ingest()
    try:
        if not writing.wait(_START_S):
            raise TimeoutError("the writers did not start")
        yield told
    finally:
        stop.set()
        process.join(_TIMEOUT_S)
    if process.exitcode != 0:
        raise RuntimeError(f"the writers failed: exit code {process.exitcode}")
    told.rows, told.seconds = result.get()


def _write(
    address: str,
    collection: str,
    vectors: Floats,
    first_id: int,
    writing: Event,
    stop: Event,
    result: multiprocessing.SimpleQueue[tuple[int, float]],
) -> None:
    lock, rows = threading.Lock(), 0

    def take() -> int:
        nonlocal rows
        with lock:
            rows += _BATCH
            return rows - _BATCH

    def write(items: Collection) -> None:
        while not stop.is_set():
            numbers = take() + np.arange(_BATCH)
            part = vectors[numbers % len(vectors)]
            items.upsert(first_id + numbers, part, progress=False, timeout=_TIMEOUT_S)
            writing.set()

    begun = time.perf_counter()
    with fanlight.Client(address) as client:
        items = client.collection(collection)
        threads = [threading.Thread(target=write, args=(items,)) for _ in range(_WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    result.put((rows, time.perf_counter() - begun))
