"""A sealed, immutable part of a shard: rows and a graph over them."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from fanlight.model import CollectionSpec, Rows
from fanlight.topk import TopK
from fanlight_server.index import segment_file
from fanlight_server.index.block import Bitmap, RowLookup
from fanlight_server.index.graph import Graph
from fanlight_server.index.scoring import Queries, best_of, scan, walked_form

# Comparing 256 rows takes 0.10 ms at 128 dimensions and 0.14 at 784, a walk 0.06 and 0.10 (ef 100,
# measured): nearly the same, and exact.
_SCAN_ROWS = 256


class Segment:
    """One opened segment file. Safe for many threads."""

    def __init__(self, path: Path, spec: CollectionSpec, crc: int) -> None:
        """Open and check the segment file with this checksum, and load its graph.

        Raises:
            Corruption: see `segment_file.read`.
        """
        content = segment_file.read(path, spec, crc)
        self.path = path
        self.crc = crc
        self.block = content.block
        self.graph_arrays = content.graph
        walked = walked_form(spec.metric, content.block.vectors, content.block.lengths)
        self._graph = Graph(spec, walked, content.graph)

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.name

    def __len__(self) -> int:
        """Count the rows, dead ones included."""
        return len(self.block)

    @cached_property
    def lookup(self) -> RowLookup:
        """Find rows by id. Built on first use; by the collection's writer."""
        return RowLookup(self.block)

    def search(self, queries: Queries, k: int, ef: int, dead: Bitmap | None, threads: int) -> TopK:
        """Find about the k best live rows of each query.

        hnswlib cannot leave rows out, so a walk asks for as many more as the share of dead rows
        makes likely, and again for twice as many where too few live ones came. Fewer than k
        live rows give fewer hits.

        Args:
            queries: n queries.
            k: hits wanted.
            ef: candidates kept by the walk; raised to what is asked of it.
            dead: (rows,) True for rows to leave out; None for none.
            threads: threads for a batch.
        """
        n_dead = 0 if dead is None else int(np.count_nonzero(dead))
        live = len(self) - n_dead
        wanted = min(k, live)
        width = min(len(self), k + 2 * -(-k * n_dead // max(1, live)) + min(n_dead, 8))
        while width < len(self) and live > _SCAN_ROWS:
            rows = self._graph.walk(queries.walked, width, max(ef, width), threads)
            if rows is None:
                break
            if dead is None:
                return best_of(queries, self.block, rows, k)
            alive = ~dead[rows]
            if alive.sum(axis=1).min() >= wanted:
                return best_of(queries, self.block, _first(rows, alive, k), k)
            width = min(len(self), 2 * width)
        return scan(queries, self.block, k, dead)


def _first(rows: Rows, alive: Bitmap, k: int) -> Rows:
    """Keep the first k live rows of each query; -1 fills up."""
    order = np.argsort(~alive, axis=1, kind="stable")[:, :k]
    kept = np.where(alive, rows, -1)
    return np.take_along_axis(kept, order, axis=1)
