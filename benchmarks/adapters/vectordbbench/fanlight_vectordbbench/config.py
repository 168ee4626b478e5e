"""How VectorDBBench is told where Fanlight is, and with which parameters to search."""

# pyright: reportMissingImports=false
from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from vectordb_bench.backend.clients.api import DBCaseConfig, DBConfig, MetricType

_METRICS = {
    MetricType.COSINE: "cosine",
    MetricType.L2: "l2",
    MetricType.IP: "dot",
    MetricType.DP: "dot",
}


class FanlightConfig(DBConfig):  # type: ignore[misc]
    """Where the cluster is.

    Attributes:
        address: "host:port" of a router; of several, with commas between.
    """

    address: str = "localhost:7700"

    def to_dict(self) -> dict[str, Any]:
        """Give what the client is made with."""
        return {"addresses": self.address.split(",")}


class FanlightIndexConfig(BaseModel, DBCaseConfig):  # type: ignore[misc]
    """Parameters of the graph and of the search.

    Attributes:
        metric_type: the dataset's, set by the runner.
        m: links of a graph node.
        ef_construction: candidates kept while a graph is built.
        ef_search: candidates of a search; None for the server's default.
    """

    metric_type: MetricType | None = None
    m: int = 16
    ef_construction: int = 200
    ef_search: int | None = None

    def index_param(self) -> dict[str, Any]:
        """Give the arguments of `create_collection`.

        Raises:
            ValueError: Fanlight does not have the metric.
        """
        metric = self.metric_type or MetricType.COSINE
        if metric not in _METRICS:
            known = ", ".join(_METRICS)
            raise ValueError(f"metric_type: expected one of {known}, got {metric}")
        return {"metric": _METRICS[metric], "m": self.m, "ef_construction": self.ef_construction}

    def search_param(self) -> dict[str, Any]:
        """Give the arguments of `search`."""
        return {"ef_search": self.ef_search}
