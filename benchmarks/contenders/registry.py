"""Which engines there are, and which of them are installed."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from contenders.contract import Contender, Setup

# The yardstick that ratios are taken to.
BASELINE = "hnswlib-partitions"
OURS = "fanlight"


@dataclass(frozen=True, slots=True)
class Entry:
    """Where an engine is.

    Attributes:
        module: the module here that holds it.
        maker: the class or function in it, which takes a `Setup`.
        needs: modules of other distributions that it imports.
    """

    module: str
    maker: str
    needs: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Name the modules that are not installed."""
        return tuple(name for name in self.needs if importlib.util.find_spec(name) is None)

    def make(self, setup: Setup) -> Contender:
        """Start the engine, empty."""
        maker = getattr(importlib.import_module(self.module), self.maker)
        return cast(Callable[[Setup], Contender], maker)(setup)


ENGINES = {
    BASELINE: Entry("contenders.raw_hnswlib", "partitioned", ("hnswlib",)),
    "hnswlib": Entry("contenders.raw_hnswlib", "single", ("hnswlib",)),
    "kernel": Entry("contenders.kernel_graphs", "KernelGraphs", ("fanlight_kernel",)),
    OURS: Entry("contenders.fanlight_cluster", "FanlightCluster", ("fanlight_server",)),
    "faiss": Entry("contenders.faiss_hnsw", "FaissHnsw", ("faiss",)),
    "qdrant-edge": Entry("contenders.qdrant_shard", "QdrantShard", ("qdrant_edge",)),
    "chromadb": Entry("contenders.chroma_server", "ChromaServer", ("chromadb",)),
    "milvus-lite": Entry("contenders.milvus_server", "MilvusServer", ("pymilvus", "milvus_lite")),
}
