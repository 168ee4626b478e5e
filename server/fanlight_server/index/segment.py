"""A sealed, immutable part of a shard: rows and a graph over them."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import fanlight_kernel as kernel
from fanlight.errors import Corruption
from fanlight.model import CollectionSpec
from fanlight_server.index import segment_file
from fanlight_server.index.block import IdTable, RowLookup, id_table
from fanlight_server.index.excluded import KeptRows


class Segment:
    """One opened segment file, searched where it is mapped. Safe for many threads.

    Attributes:
        path: of the file.
        crc: what identifies its content.
        block: its rows.
        graph_arrays: the graph over them, as arrays.
        cells: their cells, as arrays; None for none.
        graph: both, ready to be searched.
        kept_rows: rows that searches excluded.
        release: see `segment_file.SegmentContent`.
    """

    def __init__(self, path: Path, spec: CollectionSpec, crc: int, *, keep_vectors: bool) -> None:
        """Open and check the segment file with this checksum.

        Raises:
            OutdatedSegment, Corruption: see `segment_file.read`.
        """
        content = segment_file.read(path, spec, crc, keep_vectors=keep_vectors)
        arrays = content.graph
        self.path = path
        self.crc = crc
        self.block = content.block
        self._strings = content.strings
        self.graph_arrays = arrays
        self.cells = content.cells
        self.release = content.release
        self.kept_rows = KeptRows()
        try:
            self.graph = kernel.Graph(content.block.scored, *arrays, cells=content.cells)
        except (ValueError, TypeError) as error:
            raise Corruption(f"{path.name}: the graph leads nowhere: {error}") from error

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

    @cached_property
    def id_table(self) -> IdTable:
        """Find rows that are excluded. Built on first use, by any thread."""
        return (
            id_table(self.block) if self._strings is None else kernel.StringIdTable(*self._strings)
        )

    @property
    def has_id_table(self) -> bool:
        """Tell whether searches excluded ids."""
        return "id_table" in vars(self)
