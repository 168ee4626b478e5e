"""Pieces of a shard, made without one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fanlight.model import CollectionSpec, Floats, IdColumn, IdType, Metric, Rows
from fanlight.vectors import lengths_of
from fanlight_server.index import graph, segment_file
from fanlight_server.index.block import Block
from fanlight_server.index.scoring import walked_form
from fanlight_server.index.segment import Segment


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


def block_of(ids: IdColumn, vectors: Floats, first_seq: int = 1) -> Block:
    """Make a block of rows with rising seqs."""
    seqs = np.arange(first_seq, first_seq + len(ids), dtype=np.int64)
    return Block(ids, seqs, vectors, lengths_of(vectors))


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
    walked = walked_form(spec.metric, block.vectors, block.lengths)
    arrays, order = graph.build(spec, walked, None, threads=1, stopped=lambda: False)
    return segment_file.SegmentContent(block.take(order), arrays)


def segment_of(path: Path, spec: CollectionSpec, block: Block) -> Segment:
    """Build a segment over a block, write it and open it."""
    return Segment(path, spec, segment_file.write(path, spec, content_of(spec, block)))
