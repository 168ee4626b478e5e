"""What answering a search takes, as steps: the seam between what is decided and who carries it out.

A plan is a generator. It yields steps, is sent what each step gave, and returns its result. It
knows no wire, no thread, no clock and no event loop: a shard performs the steps on its own index, a
router on all shards. One whose work between two steps may take long is told when it is too late.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar

from fanlight.errors import FanlightError
from fanlight.filters import FieldType
from fanlight.model import CollectionSpec, Coverage, Floats, IdColumn, Items, Outcome, SearchRequest

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Nearest:
    """Find the nearest of vectors, without columns; gives `Hits`."""

    request: SearchRequest


@dataclass(frozen=True, slots=True)
class Fetch:
    """Read items; gives `Fetched`.

    Attributes:
        ids: (n,) ids, each once, at least one.
        vectors: read their vectors.
        payloads: read their payloads.
    """

    ids: IdColumn
    vectors: bool = False
    payloads: bool = False


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was read.

    Attributes:
        items: those that exist, in any order.
        failed: ids that could not be looked up, and why.
        coverage: what an answer covers without the shards that failed; None when none did.
    """

    items: Items
    failed: Mapping[object, FanlightError] = field(default_factory=dict)
    coverage: Coverage | None = None


@dataclass(frozen=True, slots=True)
class Describe:
    """Tell what the collection is; gives `Described`."""


@dataclass(frozen=True, slots=True)
class Described:
    """What a collection is.

    Attributes:
        spec: its parameters.
        building: fields of it that filters cannot use yet.
    """

    spec: CollectionSpec
    building: frozenset[str] = frozenset()

    @property
    def built(self) -> dict[str, FieldType]:
        """Give the fields that filters can use."""
        fields = self.spec.filterable
        return {name: type_ for name, type_ in fields.items() if name not in self.building}


@dataclass(frozen=True, slots=True)
class Stand:
    """Tell how an item stands for a query, among all items; gives `Standing`.

    Attributes:
        request: a search for the nearest of one vector.
        id: (1,) the item.
    """

    request: SearchRequest
    id: IdColumn


@dataclass(frozen=True, slots=True)
class Standing:
    """How an item stands for a query.

    Attributes:
        exists: whether there is such an item.
        score: its exact score.
        better: items that come before it.
        better_allowed: those of them that the filter and the exclusions leave.
        shard: that holds it.
        segment: file that holds it; empty for a head.
        seq: of its last change.
        outcomes: of conditions and exclusions.
    """

    exists: bool
    score: float = math.nan
    better: int = 0
    better_allowed: int = 0
    shard: str = ""
    segment: str = ""
    seq: int = 0
    outcomes: tuple[Outcome, ...] = ()


Step: TypeAlias = Nearest | Fetch | Describe | Stand
# What comes back into the generator depends on the step, so its type is Any.
Plan: TypeAlias = Generator[Step, Any, T]
# Tells whether nobody waits for the answer any more; asked often, from whatever thread plans run in.
Late: TypeAlias = Callable[[], bool]


def never() -> bool:
    """Tell that somebody waits, however long it takes."""
    return False


def perform(plan: Plan[T], do: Callable[[Step], Any]) -> T:
    """Carry a plan out, each step by calling `do`."""
    result: Any = None
    while True:
        try:
            step = plan.send(result)
        except StopIteration as end:
            answer: T = end.value
            return answer
        result = do(step)


def plain(request: SearchRequest, vectors: Floats, k: int) -> SearchRequest:
    """Make the search for the k nearest of vectors that a request stands for."""
    return replace(
        request,
        vectors=vectors,
        ids=None,
        composed=None,
        slate=None,
        k=k,
        take=None,
        with_payloads=False,
        with_vectors=False,
    )
