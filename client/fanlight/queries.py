"""What a search may ask for besides the nearest of a vector: see docs/queries.md.

Laws: frozen values of numpy columns and plain numbers; arrays are never written to again. They
compare by identity where they hold arrays. Users make queries with `fanlight.examples`; whether
the values make sense is judged by `fanlight.query_rules`.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fanlight.filters import Filter
from fanlight.joined_ids import JoinedIds
from fanlight.packed_ids import PackedIds

# As in `fanlight.model`, which imports this module.
_Ids: TypeAlias = "NDArray[np.int64] | NDArray[np.object_]"
_Floats: TypeAlias = NDArray[np.float32]

# Candidates weighed for each place of a list. More gain little: Carbonell and Goldstein re-rank the
# first 50 to 100 documents ("The use of MMR", SIGIR 1998).
MMR_CANDIDATES = 100
# Ids that one search may exclude, wherever `limits.exclude_ids` is set: 32 MB of them.
EXCLUDE_IDS_MOST = 4_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Interest:
    """A weighted sum of vectors that hits are to be near to; at least one term.

    Attributes:
        ids: (a,) stored items whose vectors are terms; None for none.
        id_weights: (a,) float32.
        vectors: (b, dim) float32; None for none.
        vector_weights: (b,) float32.
        weight: how much its hits count beside those of other interests; above 0.
        min_share: least share of the k hits, in [0, 1].
        max_share: greatest share of the k hits, in [0, 1].
    """

    ids: _Ids | None = None
    id_weights: _Floats | None = None
    vectors: _Floats | None = None
    vector_weights: _Floats | None = None
    weight: float = 1.0
    min_share: float = 0.0
    max_share: float = 1.0

    @property
    def terms(self) -> int:
        """Count the terms."""
        columns: tuple[NDArray[Any] | None, ...] = (self.ids, self.vectors)
        return sum(len(column) for column in columns if column is not None)


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """What one list of hits is to be near to.

    Attributes:
        interests: at least one.
        keep_examples: let ids among the terms be hits of this query.
    """

    interests: tuple[Interest, ...]
    keep_examples: bool = False

    @property
    def makes_list(self) -> bool:
        """Tell whether hits are chosen by interest: there are several, or one asks for a share."""
        shares = any(each.min_share > 0 or each.max_share < 1 for each in self.interests)
        return shares or len(self.interests) > 1


@dataclass(frozen=True, slots=True, eq=False)
class Exclusions:
    """What no query of a search may find.

    Attributes:
        ids: (e,) ids, of items or not; None for none.
        sets: names of sets that the servers hold.
        packed: in the place of `ids`: many int64 ids in few bytes, or strings in one; None for none.
    """

    ids: _Ids | None = None
    sets: tuple[str, ...] = ()
    packed: PackedIds | JoinedIds | None = None

    @classmethod
    def of(cls, ids: _Ids, sets: tuple[str, ...] = ()) -> Exclusions:
        """Exclude ids, packed where that pays: see `PackedIds.of`."""
        packed = PackedIds.of(ids)
        return cls(ids if packed is None else None, sets, packed)

    @property
    def n_ids(self) -> int:
        """Count the ids."""
        column: Sized | None = self.ids if self.packed is None else self.packed
        return 0 if column is None else len(column)

    def column(self) -> _Ids | None:
        """Give the ids, of either form: (e,); None for none."""
        return self.ids if self.packed is None else self.packed.unpacked()


@dataclass(frozen=True, slots=True)
class Cap:
    """At most so many hits of each value of a field; an item without a value is never capped.

    Attributes:
        field: a key of the payload.
        most: hits, at least 1.
    """

    field: str
    most: int


@dataclass(frozen=True, slots=True)
class Floor:
    """At least so many hits satisfy a filter.

    Attributes:
        filter: on filterable fields.
        share: of the k hits, rounded up, in [0, 1]; or None.
        count: hits; or None. One of the two is given.
    """

    filter: Filter
    share: float | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Mmr:
    """Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).

    Attributes:
        relevance: what the score counts, in [0, 1]; the rest is likeness to earlier hits.
        candidates: weighed for each place.
    """

    relevance: float
    candidates: int = MMR_CANDIDATES


@dataclass(frozen=True, slots=True)
class Slate:
    """Rules for a list of hits as a whole.

    Attributes:
        caps: at most n hits a value.
        floors: at least n hits that satisfy a filter.
        mmr: choose for novelty as well; None for score alone.
        near_duplicate: no two hits have a greater cosine; None for no such rule.
    """

    caps: Sequence[Cap] = ()
    floors: Sequence[Floor] = ()
    mmr: Mmr | None = None
    near_duplicate: float | None = None

    def __post_init__(self) -> None:
        """Hold the rules as tuples, whatever sequences they came in."""
        object.__setattr__(self, "caps", tuple(self.caps))
        object.__setattr__(self, "floors", tuple(self.floors))
