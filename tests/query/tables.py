"""Items in memory that plans are carried out on, by brute force and without a server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tests import oracle

from fanlight.fields import FieldValues
from fanlight.filters import FieldType
from fanlight.matching import accepts, read_values
from fanlight.model import (
    CollectionSpec,
    Coverage,
    Floats,
    Hits,
    IdColumn,
    IdType,
    Items,
    Metric,
    SearchRequest,
)
from fanlight.plans import Describe, Described, Fetch, Fetched, Nearest, Step

NAME = "things"


class Table:
    """Items 0 to n - 1, scored by dot product."""

    def __init__(
        self,
        vectors: Floats,
        payloads: Sequence[Mapping[str, Any]],
        filterable: Mapping[str, FieldType],
    ) -> None:
        self.spec = CollectionSpec(
            NAME, vectors.shape[1], Metric.DOT, IdType.INT64, filterable=filterable
        )
        self._vectors = vectors
        self._blobs = [json.dumps(payload).encode() for payload in payloads]
        self._fields: list[FieldValues] = [read_values(p, filterable) for p in payloads]

    def give(self, step: Step) -> Hits | Fetched | Described:
        """Take a step of a plan."""
        if isinstance(step, Describe):
            return Described(self.spec)
        if isinstance(step, Nearest):
            return self._nearest(step.request)
        assert isinstance(step, Fetch)
        return Fetched(self._items(step.ids, step.vectors, step.payloads))

    def _nearest(self, request: SearchRequest) -> Hits:
        assert request.vectors is not None
        rows = np.arange(len(self._vectors), dtype=np.int64)
        if request.filter is not None:
            rows = rows[[accepts(request.filter, fields) for fields in self._fields]]
        best = oracle.best(Metric.DOT, request.vectors, rows, self._vectors[rows], request.k)
        live = len(self._vectors)
        return Hits(best.ids, best.scores, best.counts, Coverage(1, 1, live, live))

    def _items(self, ids: IdColumn, vectors: bool, payloads: bool) -> Items:
        return Items(
            ids,
            self._vectors[ids.tolist()] if vectors else None,
            [self._blobs[row] for row in ids.tolist()] if payloads else None,
            ids[:0],
        )
