"""Which payloads a filter accepts, by plain Python over their JSON: the oracle of filters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fanlight.filters import AllOf, AnyOf, Exists, Filter, IsIn, Not, Range


def accepts(filter: Filter, payload: Mapping[str, Any] | None) -> bool:
    """Tell whether a filter accepts an item with this payload."""
    match filter:
        case AllOf(filters):
            return all(accepts(part, payload) for part in filters)
        case AnyOf(filters):
            return any(accepts(part, payload) for part in filters)
        case Not(negated):
            return not accepts(negated, payload)
        case IsIn():
            return any(value in filter.values for value in _values(filter.field, payload))
        case Range():
            return any(_is_within(filter, value) for value in _values(filter.field, payload))
        case Exists(field):
            return bool(_values(field, payload))
    raise TypeError(filter)


def _values(field: str, payload: Mapping[str, Any] | None) -> list[Any]:
    value = (payload or {}).get(field)
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _is_within(bounds: Range, value: float) -> bool:
    return (
        (bounds.gte is None or value >= bounds.gte)
        and (bounds.gt is None or value > bounds.gt)
        and (bounds.lte is None or value <= bounds.lte)
        and (bounds.lt is None or value < bounds.lt)
    )
