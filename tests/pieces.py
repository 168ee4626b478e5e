"""Pieces of a shard, made without one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fanlight.ids import id_type_of
from fanlight.model import CollectionSpec, Floats, IdColumn, IdType, Metric, Rows
from fanlight.topk import TopK
from fanlight_server.index import block as blocks
from fanlight_server.index import graph, segment_file
from fanlight_server.index.bits import Bitmap
from fanlight_server.index.block import Block
from fanlight_server.index.head import Head
from fanlight_server.index.query import Queries
from fanlight_server.index.segment import Segment
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
    seqs = np.arange(first_seq, first_seq + len(ids), dtype=np.int64)
    return blocks.block_of(metric, ids, seqs, vectors)


def spec_of(
    dim: int,
    metric: Metric = Metric.COSINE,
    id_type: IdType = IdType.INT64,
    name: str = "things",
) -> CollectionSpec:
    """Make a spec with a graph that is quick to build."""
    return CollectionSpec(name, dim, metric, id_type, m=8, ef_construction=64)


def content_of(spec: CollectionSpec, block: Block) -> segment_file.SegmentContent:
    """Build a graph over a block, with one thread."""
    arrays, order = graph.build(
        spec, block.vectors, block.lengths, None, threads=1, stopped=lambda: False
    )
    return segment_file.SegmentContent(block.take(order), arrays)


def segment_of(path: Path, spec: CollectionSpec, block: Block) -> Segment:
    """Build a segment over a block, write it and open it."""
    crc = segment_file.write(path, spec, content_of(spec, block))
    return Segment(path, spec, crc, keep_vectors=True)


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
