"""Pieces of a shard, made without one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

import fanlight_kernel as kernel
from fanlight.ids import id_type_of
from fanlight.model import CollectionSpec, Floats, IdColumn, IdType, Metric, Rows
from fanlight.topk import TopK
from fanlight_server.index import graph, segment_file
from fanlight_server.index.bits import Bitmap
from fanlight_server.index.block import Block, Gathering, ranks_of
from fanlight_server.index.cells import CellArrays
from fanlight_server.index.effort import Effort
from fanlight_server.index.fields import no_fields
from fanlight_server.index.head import Head
from fanlight_server.index.query import Queries
from fanlight_server.index.segment import Segment
from fanlight_server.index.segment_file import SegmentContent
from fanlight_server.index.view import Part, View


def ids_of(numbers: Rows | range, id_type: IdType) -> IdColumn:
    """Make ids of either type out of numbers; strings do not sort as the numbers do."""
    if id_type is IdType.INT64:
        return np.asarray(numbers, dtype=np.int64)
    column = np.empty(len(numbers), dtype=object)
    column[:] = [f"item-{number}" for number in np.asarray(numbers).tolist()]
    return column


def floats(seed: int, rows: int, dim: int) -> Floats:
    """Draw vectors from a normal distribution."""
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def block_of(
    ids: IdColumn, vectors: Floats, first_seq: int = 1, metric: Metric = Metric.COSINE
) -> Block:
    """Make a block of rows with rising seqs."""
    lengths = kernel.lengths(vectors)
    return Block(
        metric=metric,
        ids=ids,
        order=ranks_of(ids),
        seqs=np.arange(first_seq, first_seq + len(ids), dtype=np.int64),
        lengths=lengths,
        codes=kernel.encode(metric.value, vectors, lengths),
        fields=no_fields(len(ids)),
        vectors=vectors,
    )


def gathered(blocks: Sequence[Block], kept: Sequence[Bitmap]) -> Block:
    """Put the rows to be kept into one block."""
    gathering = Gathering(blocks, kept)
    pieces = [piece.copy() for piece in gathering.vectors()]
    vectors = np.concatenate([np.empty((0, blocks[0].dim), np.float32), *pieces])
    columns = gathering.columns()
    return Block(**{f.name: getattr(columns, f.name) for f in fields(columns)}, vectors=vectors)


def spec_of(
    dim: int,
    metric: Metric = Metric.COSINE,
    id_type: IdType = IdType.INT64,
    name: str = "things",
) -> CollectionSpec:
    """Make a spec with a graph that is quick to build."""
    return CollectionSpec(name, dim, metric, id_type, m=8, ef_construction=64)


def content_of(spec: CollectionSpec, block: Block) -> SegmentContent:
    """Build a graph over a block, with one thread, and cells, however few its rows are."""
    arrays = graph.build(spec, block.codes, None, Effort())
    builder = kernel.CellBuilder(spec.metric.value, block.codes, spec.dim, min(4, len(block)))
    Effort().spend_on(builder)
    return SegmentContent(block, arrays, CellArrays(*builder.finish()), None, lambda: None)


def write(path: Path, spec: CollectionSpec, content: SegmentContent) -> int:
    """Write a segment file, the vectors in two pieces; gives its checksum."""
    halves = np.array_split(content.block.vectors, 2)
    return segment_file.write(
        path, spec, content.block, lambda: halves, content.graph, content.cells
    )


def segment_of(path: Path, spec: CollectionSpec, block: Block) -> Segment:
    """Build a segment over a block, write it and open it."""
    return Segment(path, spec, write(path, spec, content_of(spec, block)), keep_vectors=True)


def scanned(block: Block, queries: Floats, k: int, dead: Bitmap | None = None) -> TopK:
    """Compare every row of a block that is not dead."""
    id_type = id_type_of(block.ids)
    nowhere = Head(0, spec_of(block.dim, block.metric, id_type))
    part = Part(nowhere, block)
    if dead is not None:
        part = part.without(np.flatnonzero(dead))
    return View((part,), id_type, 0).search(Queries(queries, k, ef=None)).hits


def searched(
    segment: Segment, queries: Floats, k: int, ef: int, dead: Bitmap | None = None
) -> TopK:
    """Search a segment, of which some rows may be dead, through its graph."""
    part = Part(segment, segment.block)
    if dead is not None:
        part = part.without(np.flatnonzero(dead))
    return part.search(Queries(queries, k, ef)).hits
