"""Fanlight: a gRPC sharded vector search engine. This package is its client.

    import fanlight

    with fanlight.Client("localhost:7700") as client:
        movies = client.create_collection("movies", dim=384, filterable={"year": "int"})
        movies.upsert(ids, vectors, payloads)       # (n,) integers, (n, 384), n dicts
        hits = movies.search(queries, k=100)        # hits.ids and hits.scores: (queries, 100)
        hits = movies.search(queries, filter=fanlight.field("year") >= 1990)    # docs/filters.md
        for items in movies.scroll():
            print(items.ids, items.payloads)

`AsyncClient` has the same methods, to be awaited. All errors are subclasses of `FanlightError`.
"""

from importlib.metadata import version

from fanlight.access.tls import Tls
from fanlight.aio import AsyncClient, AsyncCollection
from fanlight.client import Client, Collection
from fanlight.cluster import ClusterStatus, ShardState, ShardStatus
from fanlight.conditions import F, field
from fanlight.errors import (
    AlreadyExists,
    Corruption,
    DeadlineExceeded,
    FanlightError,
    InternalError,
    InvalidRequest,
    NotFound,
    NotReady,
    Overloaded,
    PartialResult,
    PermissionDenied,
    RowError,
    Unauthenticated,
    WrongShard,
)
from fanlight.evaluation.tuning import Tuning
from fanlight.examples import combine, examples, interest, interests
from fanlight.filters import FieldType, Filter
from fanlight.frames import from_frame
from fanlight.model import (
    CollectionInfo,
    CollectionSpec,
    Coverage,
    DeleteResult,
    Explanation,
    Facets,
    Hits,
    IdType,
    Items,
    Metric,
    Outcome,
    ShardFailure,
    UpsertResult,
)
from fanlight.placement import ShardIdentity
from fanlight.queries import Cap, Floor, Interest, Mmr, Query, Slate
from fanlight.questions import AsyncSets, Sets

__version__ = version("fanlight")

__all__ = [
    "AlreadyExists",
    "AsyncClient",
    "AsyncCollection",
    "AsyncSets",
    "Cap",
    "Client",
    "ClusterStatus",
    "Collection",
    "CollectionInfo",
    "CollectionSpec",
    "Corruption",
    "Coverage",
    "DeadlineExceeded",
    "DeleteResult",
    "Explanation",
    "F",
    "Facets",
    "FanlightError",
    "FieldType",
    "Filter",
    "Floor",
    "Hits",
    "IdType",
    "Interest",
    "InternalError",
    "InvalidRequest",
    "Items",
    "Metric",
    "Mmr",
    "NotFound",
    "NotReady",
    "Outcome",
    "Overloaded",
    "PartialResult",
    "PermissionDenied",
    "Query",
    "RowError",
    "Sets",
    "ShardFailure",
    "ShardIdentity",
    "ShardState",
    "ShardStatus",
    "Slate",
    "Tls",
    "Tuning",
    "Unauthenticated",
    "UpsertResult",
    "WrongShard",
    "__version__",
    "combine",
    "examples",
    "field",
    "from_frame",
    "interest",
    "interests",
]
