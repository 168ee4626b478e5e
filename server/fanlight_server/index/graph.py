"""HNSW graphs, built by hnswlib. The only module that imports it.

hnswlib is fenced in: it never sees a file, an invalid vector or a search. What it builds is taken
out as plain arrays, which is what segment files hold (docs/format.md) and the kernel searches.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import hnswlib
import numpy as np
from numpy.typing import NDArray

from fanlight.model import CollectionSpec, Floats, Metric, Rows

Words = NDArray[np.uint32]

# Rows added between two looks at the stop signal: about 0.4 s of one core at 784 dimensions.
_ADD_ROWS = 1_024
# Rows divided in float64 at a time, so that a large segment needs no float64 copy of itself.
_DIVIDED_ROWS = 8_192
_SPACES: dict[Metric, Literal["ip", "l2"]] = {
    Metric.COSINE: "ip",
    Metric.DOT: "ip",
    Metric.L2: "l2",
}


class BuildStopped(Exception):
    """The build was told to stop; nothing of it remains."""


@dataclass(frozen=True, slots=True)
class GraphArrays:
    """A graph as arrays; row r of each belongs to node r.

    Attributes:
        links: (rows, 1 + 2m) uint32: number of neighbours on the lowest level, then their rows.
        levels: (rows,) uint8: highest level of each row.
        upper: (sum of levels, 1 + m) uint32: the same for levels 1 and up, row after row.
        entry_point: row where every walk starts.
        top_level: its level.
    """

    links: Words
    levels: NDArray[np.uint8]
    upper: Words
    entry_point: int
    top_level: int


def build(
    spec: CollectionSpec,
    vectors: Floats,
    lengths: NDArray[np.float64],
    base: GraphArrays | None,
    *,
    threads: int,
    stopped: Callable[[], bool],
) -> tuple[GraphArrays, Rows]:
    """Build a graph over vectors, or extend one that holds the first of them.

    Args:
        spec: metric, dim, m and ef_construction.
        vectors: (n, dim) float32, as they were put.
        lengths: (n,) float64, theirs.
        base: graph of the first rows of `vectors`, to be extended; None to start afresh.
        threads: threads to build with. More than one makes the graph depend on their timing.
        stopped: asked about once a second.

    Returns:
        The graph, and (n,) int64: for each of its rows, the row of `vectors`.

    Raises:
        BuildStopped: `stopped` said so.
    """
    vectors = _compared_form(spec.metric, vectors, lengths)
    done = 0 if base is None else len(base.levels)
    index = _empty_index(spec, len(vectors)) if base is None else _load(spec, vectors, base)
    while done < len(vectors):
        if stopped():
            raise BuildStopped
        labels = np.arange(done, min(done + _ADD_ROWS, len(vectors)))
        index.add_items(vectors[labels], labels, num_threads=threads)
        done += len(labels)
    return _take_apart(spec, index)


def _compared_form(metric: Metric, vectors: Floats, lengths: NDArray[np.float64]) -> Floats:
    """Give rows the form that hnswlib compares.

    Unit length for cosine. For dot the longest row gets unit length: the order stays, and
    hnswlib's distance, 1 - product in float32, keeps its digits however short the vectors are.
    """
    if metric is Metric.L2:
        return vectors
    if metric is Metric.DOT:
        lengths = np.broadcast_to(lengths.max(initial=0.0), lengths.shape)
    divided = np.empty_like(vectors)
    for start in range(0, len(vectors), _DIVIDED_ROWS):
        part = slice(start, start + _DIVIDED_ROWS)
        divided[part] = vectors[part] / np.where(lengths[part] > 0, lengths[part], 1.0)[:, None]
    return divided


def _empty_index(spec: CollectionSpec, capacity: int) -> Any:
    index = hnswlib.Index(_SPACES[spec.metric], spec.dim)
    index.init_index(capacity, M=spec.m, ef_construction=spec.ef_construction)
    return index


def _node_dtype(spec: CollectionSpec) -> np.dtype[Any]:
    """Describe a node of hnswlib's lowest level: links, vector, label, without padding."""
    return np.dtype(
        [
            ("links", "<u4", (1 + 2 * spec.m,)),
            ("vector", "<f4", (spec.dim,)),
            ("label", "<u8"),
        ]
    )


def _take_apart(spec: CollectionSpec, index: Any) -> tuple[GraphArrays, Rows]:
    state = index.__getstate__()[0]
    rows = state["cur_element_count"]
    nodes = state["data_level0"].view(_node_dtype(spec))
    graph = GraphArrays(
        links=np.ascontiguousarray(nodes["links"]),
        levels=state["element_levels"][:rows].astype(np.uint8),
        upper=state["link_lists"].view(np.uint32).reshape(-1, 1 + spec.m),
        entry_point=state["enterpoint_node"],
        top_level=state["max_level"],
    )
    return graph, nodes["label"].astype(np.int64)


def _load(spec: CollectionSpec, vectors: Floats, graph: GraphArrays) -> Any:
    """Give hnswlib a graph of the first rows of `vectors`, with room for all of them."""
    rows = len(graph.levels)
    nodes = np.empty(rows, dtype=_node_dtype(spec))
    nodes["links"], nodes["vector"], nodes["label"] = graph.links, vectors[:rows], np.arange(rows)
    levels = np.zeros(len(vectors), dtype=np.int32)
    levels[:rows] = graph.levels
    layout = _empty_index(spec, 1).__getstate__()[0]
    state = layout | {
        "max_elements": len(vectors),
        "cur_element_count": rows,
        "ep_added": True,
        "max_level": graph.top_level,
        "enterpoint_node": graph.entry_point,
        "label_lookup_external": np.arange(rows, dtype=np.uint64),
        "label_lookup_internal": np.arange(rows, dtype=np.uint32),
        "element_levels": levels,
        "data_level0": nodes.view(np.int8),
        "link_lists": graph.upper.reshape(-1).view(np.int8),
    }
    return hnswlib.Index(state)


def lower_priority() -> None:
    """Let the calling thread, and those it starts, give way to searches (Linux)."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
