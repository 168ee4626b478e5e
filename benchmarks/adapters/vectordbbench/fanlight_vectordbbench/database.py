"""Fanlight as a database of VectorDBBench."""

# pyright: reportMissingImports=false
from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from vectordb_bench.backend.clients.api import VectorDB
from vectordb_bench.backend.filter import Filter, FilterOp

import fanlight

from .config import FanlightIndexConfig

# The fields that VectorDBBench filters by, as it names them.
_ID, _LABEL = "id", "labels"
# Rows that a shard at rest keeps without a graph, because scanning them is faster
# (`server.index.idle_rows_min`).
_KEPT_UNINDEXED = 512
_LOOK_EVERY_S = 0.2
_SEARCH_TIMEOUT_S = 60.0


class Fanlight(VectorDB):  # type: ignore[misc]
    """One collection of a running cluster.

    Made once for a case, then copied into the processes and threads of the runner, each of
    which connects with `init`; a connection may be shared by threads.
    """

    name = "Fanlight"
    thread_safe = True
    supported_filter_types = (FilterOp.NonFilter, FilterOp.NumGE, FilterOp.StrEqual)

    def __init__(
        self,
        dim: int,
        db_config: dict[str, Any],
        db_case_config: FanlightIndexConfig,
        collection_name: str = "vectordbbench",
        drop_old: bool = False,
        with_scalar_labels: bool = False,
        **_: Any,
    ) -> None:
        """Create the collection, anew if told so."""
        self._config = db_config
        self._search = db_case_config.search_param()
        self._name = collection_name
        self._labelled = with_scalar_labels
        self._filter: fanlight.Filter | None = None
        self._items: fanlight.Collection | None = None
        self._shards = 1
        filterable = {_ID: "int"} | ({_LABEL: "keyword"} if with_scalar_labels else {})
        with fanlight.Client(**db_config) as client:
            self._shards = len(client.status().shards)
            if drop_old:
                with suppress(fanlight.NotFound):
                    client.delete_collection(collection_name)
            client.create_collection(
                collection_name, dim=dim, filterable=filterable, **db_case_config.index_param()
            )

    @contextmanager
    def init(self) -> Iterator[None]:
        """Connect while the block runs."""
        with fanlight.Client(**self._config) as client:
            self._items = client.collection(self._name)
            try:
                yield
            finally:
                self._items = None

    @property
    def _connected(self) -> fanlight.Collection:
        assert self._items is not None, "call init() first"
        return self._items

    def insert_embeddings(
        self,
        embeddings: Sequence[Sequence[float]],
        metadata: Sequence[int],
        labels_data: Sequence[str] | None = None,
        **_: Any,
    ) -> tuple[int, Exception | None]:
        """Upsert a batch; tells how many rows were written, and the error if any."""
        payloads: list[dict[str, Any] | None] = [{_ID: int(number)} for number in metadata]
        if self._labelled and labels_data is not None:
            pairs = zip(metadata, labels_data, strict=True)
            payloads = [{_ID: int(number), _LABEL: str(label)} for number, label in pairs]
        try:
            self._connected.upsert(
                np.asarray(metadata, np.int64),
                np.asarray(embeddings, np.float32),
                payloads,
                progress=False,
            )
        except fanlight.FanlightError as error:
            return 0, error
        return len(metadata), None

    def optimize(self, data_size: int | None = None) -> None:
        """Wait until all rows are in graphs; building goes on by itself meanwhile."""
        while self._unindexed() >= self._shards * _KEPT_UNINDEXED:
            time.sleep(_LOOK_EVERY_S)

    def _unindexed(self) -> int:
        return self._connected.info().unindexed_items

    def poll_insert_readiness(self, expected_count: int) -> dict[str, Any]:
        """Tell how far the rows are: an upsert is searchable when it returns."""
        return {
            "fully_searchable": self._connected.count() >= expected_count,
            "fully_indexed": self._unindexed() < self._shards * _KEPT_UNINDEXED,
            "additional_parameters": {},
        }

    def prepare_filter(self, filters: Filter) -> None:
        """Keep the filter of the searches to come."""
        if filters.type == FilterOp.NumGE:
            self._filter = fanlight.field(_ID) >= int(filters.int_value)
        elif filters.type == FilterOp.StrEqual:
            self._filter = fanlight.field(_LABEL) == str(filters.label_value)
        else:
            self._filter = None

    def search_embedding(self, query: Sequence[float], k: int = 100, **_: Any) -> list[int]:
        """Find the ids of the k nearest."""
        hits = self._connected.search(
            np.asarray(query, np.float32),
            k=k,
            filter=self._filter,
            timeout=_SEARCH_TIMEOUT_S,
            **self._search,
        )
        found: list[int] = hits.ids[0, : hits.counts[0]].tolist()
        return found
