"""The vocabulary that the SDK, the router and the shard server share.

Laws: values are frozen; arrays handed over are never written to again; a larger score is
always better. Nothing here knows the wire, the event loop, the clock or a file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fanlight.errors import FanlightError, RowError
from fanlight.filters import FieldType, Filter, Value
from fanlight.queries import Exclusions, Query, Slate

Floats: TypeAlias = NDArray[np.float32]
Rows: TypeAlias = NDArray[np.int64]
# int64, or objects that are str (None where a hit is missing).
IdColumn: TypeAlias = NDArray[np.int64] | NDArray[np.object_]
# Scores of missing hits; ids of missing hits are -1 or None.
NO_SCORE = np.float32(np.nan)
NO_ID = -1

# hnswlib's ALGO_PARAMS.md: M = 12-48 serves most uses, and 16 is its own default.
DEFAULT_M = 16
# hnswlib's ALGO_PARAMS.md; 200 is its own default.
DEFAULT_EF_CONSTRUCTION = 200


class Metric(StrEnum):
    """How two vectors are scored; larger is better for each."""

    COSINE = "cosine"
    DOT = "dot"
    L2 = "l2"


class IdType(StrEnum):
    """What the ids of a collection are."""

    INT64 = "int64"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """What a collection is; fixed when it is created, but for `filterable` and `ef_search`.

    Attributes:
        name: 1 to 128 characters of [A-Za-z0-9_.-], the first a letter or a digit.
        dim: elements of every vector.
        metric: "cosine", "dot" or "l2" (whose score is the negated squared distance).
        id_type: "int64" or "string".
        m: links of a graph node on each upper level, twice as many on the lowest.
        ef_construction: candidates kept while a graph is built.
        filterable: the keys of payloads that searches may filter by, with their types.
        ef_search: what searches keep that do not say it; None for the servers' default.
    """

    name: str
    dim: int
    metric: Metric = Metric.COSINE
    id_type: IdType = IdType.INT64
    m: int = DEFAULT_M
    ef_construction: int = DEFAULT_EF_CONSTRUCTION
    filterable: Mapping[str, FieldType] = field(default_factory=dict, hash=False)
    ef_search: int | None = None


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection as it stands, on one shard or over all of them.

    Attributes:
        spec: what it is.
        version: grows with every creation and deletion of the name; the highest wins.
        items: live items.
        unindexed_items: those of them that no graph holds yet (they are searched exactly).
        segments: sealed segments.
        deleted: True for the record of a deleted collection.
        restoring: True while it is filled from a snapshot: it takes writes and refuses reads.
        fields_version: grows with every change of the filterable fields or of `ef_search`; the
            highest wins.
        building_fields: filterable fields that are not built yet for all items, ascending; a
            filter on one of them is refused for now.
    """

    spec: CollectionSpec
    version: int
    items: int = 0
    unindexed_items: int = 0
    segments: int = 0
    deleted: bool = False
    restoring: bool = False
    fields_version: int = 0
    building_fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ShardFailure:
    """A shard that did not contribute to an answer.

    Attributes:
        shard: its name, "shard-<index>".
        error: why, as the class it would be raised with.
    """

    shard: str
    error: FanlightError


@dataclass(frozen=True, slots=True)
class Coverage:
    """What an answer covers.

    Attributes:
        shards_total: shards that should have contributed.
        shards_answered: shards that did.
        items_total: live items on all of those shards, as last known; None when a failed
            shard has never been seen.
        items_covered: live items on the shards that answered.
        failures: the shards that did not answer, and why.
    """

    shards_total: int
    shards_answered: int
    items_total: int | None
    items_covered: int
    failures: tuple[ShardFailure, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every shard answered."""
        return self.shards_answered == self.shards_total


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """n queries with the same parameters.

    Attributes:
        collection: where to search.
        vectors: float32, (n, dim), C-contiguous; or None when `ids` is given.
        ids: (n,) ids of stored items whose vectors are the queries; or None.
        k: hits wanted for each query.
        ef_search: candidates the graph walk keeps; None for the collection's or server's default.
        exact: compare every item instead of walking the graph.
        score_threshold: leave out hits that score less; None for no threshold.
        with_payloads: attach the payload of each hit.
        with_vectors: attach the vector of each hit.
        min_coverage: least share of the shards that must answer, in [0, 1].
        filter: find only items that satisfy it; None for all.
        take: how many of the k hits to return, the best; None for all.
        composed: n queries by examples or interests, in the place of vectors and ids; or None.
        exclude: what no query may find; None for nothing.
        slate: rules for each list of hits; None for the k nearest.
    """

    collection: str
    vectors: Floats | None
    k: int
    ids: IdColumn | None = None
    ef_search: int | None = None
    exact: bool = False
    score_threshold: float | None = None
    with_payloads: bool = False
    with_vectors: bool = False
    min_coverage: float = 1.0
    filter: Filter | None = None
    take: int | None = None
    composed: tuple[Query, ...] | None = None
    exclude: Exclusions | None = None
    slate: Slate | None = None

    @property
    def is_nearest(self) -> bool:
        """Tell whether it asks for the nearest of vectors: what every shard answers for itself."""
        return self.vectors is not None and self.slate is None

    @property
    def makes_lists(self) -> bool:
        """Tell whether each list of hits is made as a whole: by rules, shares, or of interests."""
        if self.composed is None:
            return self.slate is not None
        return self.slate is not None or any(query.makes_list for query in self.composed)

    @property
    def width(self) -> int:
        """Tell how many hits of each query are returned at the most."""
        return self.k if self.take is None else self.take


def parse_payload(blob: bytes) -> dict[str, Any] | None:
    """Parse the JSON of a payload; an empty blob is no payload."""
    return json.loads(blob) if blob else None


@dataclass(frozen=True, slots=True)
class Hits:
    """The answer to n queries, best hit first, equal scores by ascending id.

    Attributes:
        ids: (n, k) int64, padded with -1; or objects (str), padded with None.
        scores: (n, k) float32, padded with NaN; larger is better.
        counts: (n,) int64: how many hits of each row are real.
        coverage: which shards and how many items the answer covers.
        errors: the queries that failed (their count is 0), by row; the others stand.
        payload_blobs: JSON of each real hit, all queries flat; None when not asked for.
        vectors: (n, k, dim) float32, padded with NaN; None when not asked for.
        excluded: live items, of those that the filter accepts, that exclusions left out; None when
            there were no exclusions.
        missing_ids: ids of examples that no item has, by row; rows without any are absent.
        interests: (n, k) int64: the interest that found each hit, by its place in the query; -1
            for padding. None when no query has several.
        unmet: the rules of the slate that could not be met, for people, by row.
    """

    ids: IdColumn
    scores: Floats
    counts: Rows
    coverage: Coverage
    errors: Mapping[int, FanlightError] = field(default_factory=dict)
    payload_blobs: Sequence[bytes] | None = None
    vectors: Floats | None = None
    excluded: int | None = None
    missing_ids: Mapping[int, IdColumn] = field(default_factory=dict)
    interests: Rows | None = None
    unmet: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    @property
    def payloads(self) -> list[list[dict[str, Any] | None]] | None:
        """Parse the payloads: one list a query, one dict (or None) a hit; None if not asked for."""
        if self.payload_blobs is None:
            return None
        bounds = np.concatenate(([0], np.cumsum(self.counts)))
        return [
            [parse_payload(blob) for blob in self.payload_blobs[start:stop]]
            for start, stop in pairwise(bounds)
        ]


@dataclass(frozen=True, slots=True)
class Items:
    """Stored items as columns.

    Attributes:
        ids: (n,) the ids found, in the order asked.
        vectors: (n, dim) float32, as they were put; None when not asked for.
        payload_blobs: n JSON texts, empty for none; None when not asked for.
        missing: the ids not found, in the order asked.
    """

    ids: IdColumn
    vectors: Floats | None
    payload_blobs: Sequence[bytes] | None
    missing: IdColumn

    @property
    def payloads(self) -> list[dict[str, Any] | None] | None:
        """Parse the payloads: one dict (or None) an item; None if not asked for."""
        if self.payload_blobs is None:
            return None
        return [parse_payload(blob) for blob in self.payload_blobs]

    def __len__(self) -> int:
        """Count the items found."""
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class ItemBatch:
    """Items to write, as columns of equal length.

    Attributes:
        ids: (n,) ids.
        vectors: (n, dim) float32, C-contiguous.
        payload_blobs: n JSON texts, empty for none; None when no item has one.
    """

    ids: IdColumn
    vectors: Floats
    payload_blobs: Sequence[bytes] | None = None

    def take(self, rows: Rows) -> ItemBatch:
        """Copy some rows, in the order given."""
        blobs = self.payload_blobs
        return ItemBatch(
            ids=self.ids[rows],
            vectors=self.vectors[rows],
            payload_blobs=None if blobs is None else [blobs[row] for row in rows.tolist()],
        )


@dataclass(frozen=True, slots=True)
class UpsertResult:
    """What became of a batch of items.

    Attributes:
        written: rows now stored.
        errors: rows refused, ascending; they changed nothing.
        superseded_rows: (s,) int64, ascending: rows left out because a later row of the
            batch has the same id.
    """

    written: int
    errors: tuple[RowError, ...]
    superseded_rows: Rows


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """What became of a batch of deletions.

    Attributes:
        deleted: items that existed and are gone.
        errors: rows refused, ascending; they changed nothing.
    """

    deleted: int
    errors: tuple[RowError, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one condition, exclusion or rule says of an item.

    Attributes:
        rule: for people.
        passes: whether the item may be found as far as this rule goes.
    """

    rule: str
    passes: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an item is, or is not, in the answer to a search.

    Attributes:
        exists: whether there is such an item; if not, only outcomes of exclusions are given.
        score: its exact score; with several interests for the best one.
        rank: 1 and the number of items that come before it, of all.
        rank_allowed: the same, of those that the filter and the exclusions leave.
        place: in the answer to this very search, from 0; None if it is not there.
        last_score: score of the last hit of that answer; None if it has none.
        interest: the one that score and ranks are for.
        shard: that holds it.
        segment: file that holds it; empty for the head, which is always searched exactly.
        seq: sequence number of its last change.
        outcomes: of each condition, exclusion and rule.
        coverage: which shards and how many items the ranks cover.
    """

    exists: bool
    score: float
    rank: int
    rank_allowed: int
    place: int | None
    last_score: float | None
    interest: int
    shard: str
    segment: str
    seq: int
    outcomes: tuple[Outcome, ...]
    coverage: Coverage

    @property
    def found(self) -> bool:
        """Tell whether the search finds it."""
        return self.place is not None


@dataclass(frozen=True, slots=True)
class Facets:
    """The values of a field, the most frequent first; equal counts by ascending value.

    Attributes:
        values: all of one type.
        counts: (v,) int64, one a value: the items that have it.
        distinct: how many values there are in all.
        items: items that satisfy the filter.
    """

    values: tuple[Value, ...]
    counts: Rows
    distinct: int
    items: int


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a scroll.

    Attributes:
        items: the items of the page; `missing` is empty.
        next_page_token: opaque; empty after the last page.
    """

    items: Items
    next_page_token: bytes


class Searcher(Protocol):
    """What answers searches: a shard's part of a collection."""

    def search(self, request: SearchRequest, *, timeout_s: float | None = None) -> Hits:
        """Answer the queries of `request`; those not begun in time fail with DeadlineExceeded."""
        ...
