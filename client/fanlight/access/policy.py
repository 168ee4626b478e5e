"""What every RPC demands of its caller: the one table.

Laws: what is not in the table is refused, and a program whose contract has an RPC without a row
does not start. A row says which role is the least, and where the request names its collections.
This module is a leaf: it knows messages by the names of their fields only.

A new RPC needs one row here, and nothing else.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from fanlight.errors import FanlightError


class Role(enum.IntEnum):
    """What a caller may do; each role may do all that the ones before it may."""

    READ = 1
    """Search, read, count, describe."""
    WRITE = 2
    """Write and delete items."""
    ADMIN = 3
    """Create, change and delete collections, see how the cluster stands, settle whose data is its own."""
    CLUSTER = 4
    """Be a part of the cluster: a router, which sets what only routers set."""


class Scope(enum.Enum):
    """How far a call reaches."""

    NAMED = enum.auto()
    """The collections that the request names: all of them must be permitted."""
    EACH = enum.auto()
    """The same, but each search of a message is judged, and refused, by itself."""
    LISTED = enum.auto()
    """Every collection, of which the answer shows those that are permitted."""
    WHOLE = enum.auto()
    """The cluster: the caller's key must not be restricted to some collections."""
    OPEN = enum.auto()
    """Nothing that is anybody's: no key is asked for."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What one RPC demands.

    Attributes:
        role: the least role.
        field: path to the name of the collection in the request, "spec.name"; repeated fields on
            the way give a name each.
        scope: how far it reaches.
        internal: fields that only a part of the cluster may set.
    """

    role: Role
    field: str = ""
    scope: Scope = Scope.NAMED
    internal: tuple[str, ...] = ()

    def collections(self, request: Any) -> Iterator[str]:
        """Give the names of the collections that a request (or a message of a stream) names."""
        return _values(request, self.field.split("."))

    def internal_field(self, request: Any) -> str:
        """Name the first internal field that a request sets, or ""."""
        return next((name for name in self.internal if request.HasField(name)), "")


def _values(message: Any, path: list[str]) -> Iterator[str]:
    value = getattr(message, path[0])
    if len(path) == 1:
        yield value
    elif hasattr(value, "DESCRIPTOR"):
        yield from _values(value, path[1:])
    else:
        for part in value:
            yield from _values(part, path[1:])


# A version makes shards agree; set by hand it could bury a collection for ever.
_VERSION = ("version",)
_OPEN = Rule(Role.READ, scope=Scope.OPEN)

POLICY: dict[str, Rule] = {
    "/fanlight.v1.ClusterService/AcceptData": Rule(Role.ADMIN, scope=Scope.WHOLE),
    "/fanlight.v1.ClusterService/GetStatus": Rule(Role.ADMIN, scope=Scope.WHOLE),
    "/fanlight.v1.CollectionService/CreateCollection": Rule(
        Role.ADMIN, "spec.name", internal=_VERSION
    ),
    "/fanlight.v1.CollectionService/DeleteCollection": Rule(Role.ADMIN, "name", internal=_VERSION),
    "/fanlight.v1.CollectionService/FinishRestore": Rule(Role.ADMIN, "name"),
    "/fanlight.v1.CollectionService/GetCollection": Rule(Role.READ, "name"),
    "/fanlight.v1.CollectionService/ListCollections": Rule(Role.READ, scope=Scope.LISTED),
    "/fanlight.v1.CollectionService/UpdateCollection": Rule(
        Role.ADMIN, "name", internal=("declaration",)
    ),
    "/fanlight.v1.ItemService/CountItems": Rule(Role.READ, "collection"),
    "/fanlight.v1.ItemService/DeleteItems": Rule(Role.WRITE, "collection"),
    "/fanlight.v1.ItemService/ExportItems": Rule(Role.READ, "collection"),
    "/fanlight.v1.ItemService/FacetItems": Rule(Role.READ, "collection"),
    "/fanlight.v1.ItemService/GetItems": Rule(Role.READ, "collection"),
    "/fanlight.v1.ItemService/ScrollItems": Rule(Role.READ, "collection"),
    "/fanlight.v1.ItemService/UpsertItems": Rule(Role.WRITE, "collection"),
    "/fanlight.v1.SearchService/Explain": Rule(Role.READ, "search.collection", internal=("score",)),
    "/fanlight.v1.SearchService/Search": Rule(Role.READ, "collection"),
    "/fanlight.v1.SearchService/SearchStream": Rule(
        Role.READ, "searches.search.collection", Scope.EACH
    ),
    # A set belongs to its collection.
    "/fanlight.v1.SetService/AppendToSet": Rule(Role.WRITE, "collection"),
    "/fanlight.v1.SetService/DeleteSet": Rule(Role.WRITE, "collection"),
    "/fanlight.v1.SetService/ExpireSet": Rule(Role.WRITE, "collection"),
    "/fanlight.v1.SetService/GetSet": Rule(Role.READ, "collection"),
    "/fanlight.v1.SetService/RemoveFromSet": Rule(Role.WRITE, "collection"),
    # Probes and load balancers carry no key, and learn only whether a server serves.
    "/grpc.health.v1.Health/Check": _OPEN,
    "/grpc.health.v1.Health/List": _OPEN,
    "/grpc.health.v1.Health/Watch": _OPEN,
    # The contract is public, but a stranger need not be told what runs here.
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Rule(
        Role.READ, scope=Scope.LISTED
    ),
}


class IncompletePolicy(FanlightError):
    """An RPC has no row in the table; the program does not start."""


def check_complete(methods: Iterable[str], policy: dict[str, Rule] | None = None) -> None:
    """Hold the table to the RPCs that a program serves.

    Args:
        methods: paths, "/package.Service/Method".
        policy: the table; None for the one of this module.

    Raises:
        IncompletePolicy: names the RPCs without a row.
    """
    table = POLICY if policy is None else policy
    missing = sorted(set(methods) - table.keys())
    if missing:
        raise IncompletePolicy(f"no policy says who may call {', '.join(missing)}")
