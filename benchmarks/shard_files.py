"""A shard's data directory, made without a server, and that shard as a process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fanlight.cli.process import Process, Program
from fanlight.ids import empty
from fanlight.limits import Limits
from fanlight.model import CollectionSpec, IdColumn, IdType, ItemBatch
from fanlight.placement import ShardIdentity
from fanlight_server.catalog import Catalog
from fanlight_server.collection import Collection
from fanlight_server.index.settings import IndexConfig, SearchConfig

NAME = "bench"
CLUSTER = "bench"
_BATCH_ROWS = 10_000
_READY_S = 300.0
# All rows become one segment: the builder never lets a write wait.
_ONE_SEGMENT = IndexConfig(unindexed_bytes=1 << 36, idle_s=0.2, idle_rows_min=1, segments_max=1)


@dataclass(frozen=True, slots=True)
class ShardFiles:
    """What a shard is filled with.

    Attributes:
        folder: of its data.
        rows: items.
        dim: elements of their vectors, drawn from a normal distribution.
        id_type: of their ids.
        ef_construction: of the graph; how long a start takes does not depend on it.
        seed: of the vectors.
    """

    folder: Path
    rows: int
    dim: int
    id_type: IdType = IdType.INT64
    ef_construction: int = 16
    seed: int = 0

    @property
    def spec(self) -> CollectionSpec:
        """Describe the collection."""
        return CollectionSpec(
            NAME, self.dim, id_type=self.id_type, ef_construction=self.ef_construction
        )

    def ids(self, start: int, stop: int) -> IdColumn:
        """Name items by their numbers."""
        numbers = np.arange(start, stop)
        if self.id_type is IdType.INT64:
            return numbers
        column = empty(IdType.STRING, len(numbers))
        column[:] = [f"item-{number:09d}" for number in numbers.tolist()]
        return column

    def batches(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Draw the vectors: the first row of each batch, and its rows."""
        rng = np.random.default_rng(self.seed)
        for start in range(0, self.rows, _BATCH_ROWS):
            rows = min(_BATCH_ROWS, self.rows - start)
            yield start, rng.standard_normal((rows, self.dim), dtype=np.float32)

    def make(self) -> None:
        """Write the items, index them all, and close the shard."""
        identity = ShardIdentity(CLUSTER, 0, 1)
        catalog = Catalog(self.folder, identity, Limits(), _ONE_SEGMENT, SearchConfig())
        try:
            catalog.create(self.spec)
            collection = catalog.get(NAME)
            for start, vectors in self.batches():
                ids = self.ids(start, start + len(vectors))
                collection.upsert(ItemBatch(ids, vectors)).result()
            _await_index(collection)
        finally:
            catalog.close()

    @contextmanager
    def serving(self, vectors: str) -> Iterator[Process]:
        """Start a shard server over the data; it is not ready yet."""
        keys = {
            "cluster": CLUSTER,
            "listen": {"port": 0},
            "data": str(self.folder),
            "index": {"vectors": vectors},
        }
        process = Process(Program("shard-0", "fanlight_server", self.folder.parent, keys))
        try:
            yield process
        finally:
            process.terminate()
            process.await_end()


def _await_index(collection: Collection) -> None:
    deadline = time.monotonic() + _READY_S
    while (info := collection.info()).unindexed_items or info.segments > 1:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{info.unindexed_items} items have no graph yet")
        time.sleep(0.05)
