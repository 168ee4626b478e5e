"""Recall and time by the share of the items that a filter leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeAlias

import numpy as np

from fanlight.conditions import FilterLike
from fanlight.errors import InvalidRequest
from fanlight.evaluation.recall import Curve, Search, measure_recall
from fanlight.filters import FieldType

Conditions: TypeAlias = dict[str, Any]
# What searches without a filter are called.
ALL = "all items"
# Filters that leave half of the items are walked, those that leave few are scanned; between them is
# where an index shows what it can do.
DEFAULT_SHARES = (1.0, 0.5, 0.1, 0.01, 0.001)
DEFAULT_SHARE_EFS = (64, 128, 256)
_ORDERED = (FieldType.INT, FieldType.FLOAT, FieldType.TIME)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INT64 = np.iinfo(np.int64)
_FLOAT_BITS = int(np.float64(np.finfo(np.float64).max).view(np.int64))


class Count(Protocol):
    """`Collection.count`."""

    def __call__(self, *, filter: FilterLike | None = None) -> int:
        """Count the live items that satisfy a filter."""
        ...


@dataclass(frozen=True, slots=True)
class Share:
    """What searches with one filter give.

    Attributes:
        label: what the filter was called.
        items: live items that satisfy it.
        share: of all live items, in [0, 1].
        curve: recall among them, against exact search with the same filter.
    """

    label: str
    items: int
    share: float
    curve: Curve


def measure_shares(
    search: Search,
    count: Count,
    queries: Any,
    filters: Mapping[str, FilterLike | None],
    *,
    k: int = 10,
    efs: Sequence[int] = DEFAULT_SHARE_EFS,
    progress: Callable[[], object] = lambda: None,
) -> list[Share]:
    """Measure recall with each filter, and count what it leaves.

    Args:
        search: `Collection.search` for vectors, `search_by_id` for ids.
        count: `Collection.count`.
        queries: see `measure_recall`.
        filters: by what they are called; None for no filter. One that leaves nothing is left out.
        k: hits wanted.
        efs: see `measure_recall`.
        progress: called after each round of `measure_recall`.

    Returns:
        By descending share.

    Raises:
        FanlightError: what the search or the count raises.
    """
    total, shares = count(), []
    for label, filter in filters.items():
        items = total if filter is None else count(filter=filter)
        if items:
            curve = measure_recall(search, queries, k=k, efs=efs, progress=progress, filter=filter)
            shares.append(Share(label, items, items / total, curve))
    return sorted(shares, key=lambda share: -share.share)


def filters_by(
    field: str, filterable: Mapping[str, FieldType], shares: Sequence[float], count: Count
) -> dict[str, Conditions | None]:
    """Make filters `field >= x` that leave about these shares of the items, by what x is.

    Each leaves at least its share (equal values stand or fall together), or all items that have a
    value if those are fewer. A share of 1 is no filter.

    Args:
        field: a filterable one whose values have an order.
        filterable: the collection's.
        shares: in (0, 1].
        count: `Collection.count`.

    Raises:
        InvalidRequest: the field is none of those.
    """
    ordered = [name for name, type_ in filterable.items() if type_ in _ORDERED]
    if field not in ordered:
        expected = f"a filterable number or time ({', '.join(ordered) or 'there is none'})"
        raise InvalidRequest.of_field("by", expected, repr(field))
    total, filters = count(), dict[str, Conditions | None]()
    for share in shares:
        wanted = max(1, round(share * total))
        least = None if share >= 1 else _threshold(field, filterable[field], wanted, count)
        if least is None:
            filters[ALL] = None
        else:
            filters[f"{field} >= {_shown(least, filterable[field])}"] = {field: {"gte": least}}
    return filters


def _shown(value: int | float, type_: FieldType) -> str:
    if type_ is FieldType.TIME:
        return (_EPOCH + timedelta(microseconds=value)).isoformat()
    return str(value)


def _threshold(field: str, type_: FieldType, wanted: int, count: Count) -> int | float:
    """Find the greatest value that at least so many items reach; the least one if none is."""

    def left(least: int | float) -> int:
        return count(filter={field: {"gte": least}})

    is_float = type_ is FieldType.FLOAT
    low, high = (-_FLOAT_BITS, _FLOAT_BITS) if is_float else (int(_INT64.min), int(_INT64.max))
    value = _float_of if is_float else int
    having = left(value(low))
    if not having:
        raise InvalidRequest.of_field("by", "a field that items have", repr(field))
    wanted = min(wanted, having)
    # Invariant: so many reach low; fewer reach what is above high.
    while low < high:
        middle = (low + high + 1) // 2
        if left(value(middle)) >= wanted:
            low = middle
        else:
            high = middle - 1
    return value(low)


def _float_of(place: int) -> float:
    """Give the float64 at a place in their order, that of 0.0 being 0."""
    return float(np.copysign(np.int64(abs(place)).view(np.float64), place))
