"""Whether a payload satisfies a filter, one item at a time: for the few that are chosen from.

Shards evaluate filters on columns (`fanlight_server.index.fields`); the merge has payloads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from fanlight.fields import FieldValues, read_valid_fields
from fanlight.filters import (
    AllOf,
    AnyOf,
    Exists,
    FieldType,
    Filter,
    IsIn,
    Not,
    Number,
    Range,
    Value,
)


def read_values(
    payload: Mapping[str, Any] | None, filterable: Mapping[str, FieldType]
) -> FieldValues:
    """Read the filterable fields of a payload; a value of another type is none."""
    return read_valid_fields(payload or {}, filterable)[0]


def accepts(filter: Filter, values: FieldValues) -> bool:
    """Tell whether an item with these values of its filterable fields satisfies a filter."""
    match filter:
        case AllOf(filters):
            return all(accepts(part, values) for part in filters)
        case AnyOf(filters):
            return any(accepts(part, values) for part in filters)
        case Not(negated):
            return not accepts(negated, values)
        case IsIn(field):
            return any(value in filter.values for value in values.get(field, ()))
        case Range(field):
            return any(_is_within(filter, value) for value in values.get(field, ()))
        case Exists(field):
            return bool(values.get(field))
    raise TypeError(f"no filter: a {type(filter).__name__}")


def _is_within(bounds: Range, value: Value) -> bool:
    number = cast(Number, value)
    return (
        (bounds.gte is None or number >= bounds.gte)
        and (bounds.gt is None or number > bounds.gt)
        and (bounds.lte is None or number <= bounds.lte)
        and (bounds.lt is None or number < bounds.lt)
    )
