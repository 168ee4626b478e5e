"""Filters to protobuf messages and back; see `fanlight.wire.codec`."""

from __future__ import annotations

from fanlight.errors import InvalidRequest
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
from fanlight.v1 import filters_pb2 as pb


def to_filter(filter: Filter) -> pb.Filter:
    """Put a filter on the wire."""
    match filter:
        case AllOf(filters):
            return pb.Filter(all_of=pb.FilterList(filters=map(to_filter, filters)))
        case AnyOf(filters):
            return pb.Filter(any_of=pb.FilterList(filters=map(to_filter, filters)))
        case Not(negated):
            return pb.Filter(negated=to_filter(negated))
        case IsIn():
            return pb.Filter(is_in=_to_is_in(filter))
        case Range():
            bounds = {name: _to_number(getattr(filter, name)) for name in _BOUNDS}
            return pb.Filter(range=pb.Range(field=filter.field, **bounds))
        case Exists(field):
            return pb.Filter(exists=pb.Exists(field=field))
    raise TypeError(f"no filter: a {type(filter).__name__}")


def from_filter(message: pb.Filter) -> Filter:
    """Read a filter off the wire.

    Raises:
        InvalidRequest: a part of it is of no kind that this version knows, or lacks its values.
    """
    match message.WhichOneof("kind"):
        case "all_of":
            return AllOf(tuple(map(from_filter, message.all_of.filters)))
        case "any_of":
            return AnyOf(tuple(map(from_filter, message.any_of.filters)))
        case "negated":
            return Not(from_filter(message.negated))
        case "is_in":
            return _from_is_in(message.is_in)
        case "range":
            bounds = message.range
            return Range(bounds.field, *(_from_bound(bounds, name) for name in _BOUNDS))
        case "exists":
            return Exists(message.exists.field)
    expected = "all_of, any_of, negated, is_in, range or exists"
    raise InvalidRequest.of_field("filter", expected, "none of them")


_BOUNDS = ("gte", "gt", "lte", "lt")
_COLUMNS = {
    FieldType.KEYWORD: "keywords",
    FieldType.INT: "ints",
    FieldType.FLOAT: "floats",
    FieldType.BOOL: "bools",
}
_TYPE_OF = {column: type_ for type_, column in _COLUMNS.items()}


def _to_is_in(filter: IsIn) -> pb.IsIn:
    message = pb.IsIn(field=filter.field)
    column = getattr(message, _COLUMNS[filter.type])
    column.SetInParent()
    column.values.extend(filter.values)
    return message


def _from_is_in(message: pb.IsIn) -> IsIn:
    column = message.WhichOneof("values")
    if column is None:
        expected = "keywords, ints, floats or bools"
        raise InvalidRequest.of_field(f"filter.{message.field}", expected, "none of them")
    values: set[Value] = set(getattr(message, column).values)
    return IsIn(message.field, _TYPE_OF[column], tuple(sorted(values)))


def _to_number(number: Number | None) -> pb.Number | None:
    if number is None:
        return None
    return pb.Number(integer=number) if isinstance(number, int) else pb.Number(real=number)


def _from_bound(message: pb.Range, name: str) -> Number | None:
    """Read a bound; None if it is absent."""
    if not message.HasField(name):  # type: ignore[arg-type]  # one of the four
        return None
    bound: pb.Number = getattr(message, name)
    kind = bound.WhichOneof("value")
    if kind is None:
        expected = f"a number for {name}"
        raise InvalidRequest.of_field(f"filter.{message.field}", expected, "none")
    return bound.integer if kind == "integer" else bound.real
