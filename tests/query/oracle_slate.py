"""The rules of docs/queries.md over all items, step by step: the oracle of slates.

It reads no code of the product but the values that name the rules.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from tests import oracle
from tests.matching import accepts

from fanlight.model import Floats, Metric
from fanlight.queries import Slate


class Want(NamedTuple):
    """One interest: its vector, weight and shares."""

    vector: Floats
    weight: float = 1.0
    min_share: float = 0.0
    max_share: float = 1.0


class Listed(NamedTuple):
    """One hit, as the oracle has it."""

    id: int
    interest: int
    score: np.float32


class _List:
    """The list of one query while it is made."""

    def __init__(
        self, items: Mapping[int, Any], wants: Sequence[Want], slate: Slate, k: int
    ) -> None:
        self.items, self.wants, self.slate, self.k = items, wants, slate, k
        self.needs = [
            f.count if f.count is not None else _up(f.share or 0, k) for f in slate.floors
        ]
        self.least = [_up(want.min_share, k) for want in wants]
        self.most = [math.floor(want.max_share * k + 1e-6) for want in wants]
        self.helps = {i: [accepts(f.filter, items[i][1]) for f in slate.floors] for i in items}
        self.chosen: list[Any] = []
        self.given_up = False

    def gaps(self) -> list[int]:
        have = [sum(self.helps[c[1]][f] for c in self.chosen) for f in range(len(self.needs))]
        have += self.found()
        return [max(0, n - h) for n, h in zip([*self.needs, *self.least], have, strict=True)]

    def found(self) -> list[int]:
        return [sum(c[2] == j for c in self.chosen) for j in range(len(self.wants))]

    def reserved(self) -> bool:
        return not self.given_up and 0 < self.k - len(self.chosen) <= sum(self.gaps())

    def is_helpful(self, candidate: Any) -> bool:
        own = [candidate[2] == j for j in range(len(self.wants))]
        helps = [*self.helps[candidate[1]], *own]
        return any(gap > 0 and help for gap, help in zip(self.gaps(), helps, strict=True))

    def is_eligible(self, candidate: Any) -> bool:
        _, i, interest, _ = candidate
        return (
            all(c[1] != i for c in self.chosen)
            and self.found()[interest] < self.most[interest]
            and _fits_caps(self.slate, self.items, i, self.chosen)
            and _is_novel(self.slate, self.items, i, self.chosen)
        )

    def unmet(self) -> set[str]:
        names = [f"floor {f}" for f in range(len(self.needs))]
        names += [f"interest {j}" for j in range(len(self.wants))]
        unmet = {name for name, gap in zip(names, self.gaps(), strict=True) if gap}
        return unmet | ({"k"} if len(self.chosen) < min(self.k, len(self.items)) else set())


def make(
    items: Mapping[int, tuple[Floats, Mapping[str, Any]]],
    wants: Sequence[Want],
    slate: Slate,
    k: int,
    metric: Metric = Metric.COSINE,
    threshold: float = -math.inf,
) -> tuple[list[Listed], set[str]]:
    """Make the list for one query, and the names of the rules that are not met."""
    candidates = [c for c in _candidates(items, wants, metric) if c[3] >= threshold]
    made = _List(items, wants, slate, k)
    width = 1 if slate.mmr is None else slate.mmr.candidates
    while len(made.chosen) < k:
        reserved = made.reserved()
        may = (c for c in candidates if not reserved or made.is_helpful(c))
        eligible = list(islice(filter(made.is_eligible, may), width))
        if eligible:
            made.chosen.append(_best(slate, items, eligible, made.chosen))
        elif reserved:
            made.given_up = True
        else:
            break
    unmet = made.unmet()
    if slate.mmr is None:
        made.chosen.sort()
    return [Listed(i, interest, score) for _, i, interest, score in made.chosen], unmet


def _candidates(items: Mapping[int, Any], wants: Sequence[Want], metric: Metric) -> list[Any]:
    ids = sorted(items)
    vectors = np.array([items[i][0] for i in ids], dtype=np.float32)
    candidates = []
    for interest, want in enumerate(wants):
        for i, score in zip(ids, oracle.scores(metric, want.vector, vectors), strict=True):
            exact = float(score)
            value = exact * want.weight if exact >= 0 else exact / want.weight
            candidates.append((-value, i, interest, score))
    return sorted(candidates)


def _up(share: float, k: int) -> int:
    return math.ceil(share * k - 1e-6)


def _values(payload: Mapping[str, Any], field: str) -> set[Any]:
    value = payload.get(field)
    if value is None:
        return set()
    return set(value) if isinstance(value, list) else {value}


def _fits_caps(slate: Slate, items: Mapping[int, Any], i: int, chosen: Sequence[Any]) -> bool:
    for cap in slate.caps:
        counts = Counter(v for c in chosen for v in _values(items[c[1]][1], cap.field))
        if any(counts[v] >= cap.most for v in _values(items[i][1], cap.field)):
            return False
    return True


def _cosine(items: Mapping[int, Any], a: int, b: int) -> float:
    return _cosine_of(items[a][0].tobytes(), items[b][0].tobytes())


@lru_cache(1_000_000)
def _cosine_of(a: bytes, b: bytes) -> float:
    one, other = (np.frombuffer(v, np.float32).astype(np.longdouble) for v in (a, b))
    cosine = (one @ other) / np.sqrt((one @ one) * (other @ other))
    rounded: float = np.float32(np.clip(cosine, -1, 1)).item()
    return rounded


def _is_novel(slate: Slate, items: Mapping[int, Any], i: int, chosen: Sequence[Any]) -> bool:
    if slate.near_duplicate is None:
        return True
    threshold = float(np.float32(slate.near_duplicate))
    return all(_cosine(items, i, c[1]) <= threshold for c in chosen)


def _best(slate: Slate, items: Mapping[int, Any], eligible: list[Any], chosen: list[Any]) -> Any:
    if slate.mmr is None:
        return eligible[0]
    relevance = float(np.float32(slate.mmr.relevance))

    def worth(candidate: Any) -> float:
        like = max((_cosine(items, candidate[1], c[1]) for c in chosen), default=0.0)
        return float(relevance * -candidate[0] - (1 - relevance) * like)

    return max(eligible, key=worth)  # the first of equal ones
