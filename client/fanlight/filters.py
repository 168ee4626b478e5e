"""What a search may demand of items: conditions on the fields that a collection declares.

Laws: a filter is a frozen value, and equal filters mean the same. A field without a value
satisfies no condition, hence the negation of each. Users make filters with
`fanlight.conditions`; what a field may be compared with is judged by `fanlight.validation`,
which knows the collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NoReturn, TypeAlias

from fanlight.errors import InvalidRequest

# Filters inside each other: protobuf's parsers refuse messages nested more than 100 deep, and each
# filter takes two levels.
DEPTH_MAX = 32

Number: TypeAlias = int | float
Value: TypeAlias = str | int | float | bool


class FieldType(StrEnum):
    """What the values of a filterable field are."""

    KEYWORD = "keyword"
    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    TIME = "time"


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    """Count the microseconds from 1970 in UTC to a moment, which must have an offset."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def listed(filterable: Mapping[str, FieldType]) -> str:
    """Write fields and their types for people: "genre keyword, year int"."""
    return ", ".join(f"{name} {type_}" for name, type_ in sorted(filterable.items())) or "none"


class Filter:
    """A condition; combine two with `&` and `|`, negate one with `~`."""

    __slots__ = ()

    def __and__(self, other: Filter) -> Filter:
        """Demand both."""
        return AllOf((*_operands(self, AllOf), *_operands(other, AllOf)))

    def __or__(self, other: Filter) -> Filter:
        """Demand at least one."""
        return AnyOf((*_operands(self, AnyOf), *_operands(other, AnyOf)))

    def __invert__(self) -> Filter:
        """Demand the contrary."""
        return self.filter if isinstance(self, Not) else Not(self)

    def __bool__(self) -> NoReturn:
        """Refuse `and`, `or`, `not` and chains of comparisons, which would lose a part."""
        raise TypeError("a filter is neither true nor false: combine filters with & | ~")


@dataclass(frozen=True, slots=True)
class AllOf(Filter):
    """Every one of the filters holds.

    Attributes:
        filters: at least one.
    """

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf(Filter):
    """At least one of the filters holds.

    Attributes:
        filters: at least one.
    """

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not(Filter):
    """The filter does not hold."""

    filter: Filter


@dataclass(frozen=True, slots=True)
class IsIn(Filter):
    """The field, or some element of its list, has one of the values.

    Attributes:
        field: its name.
        type: what the values are (of a time field: int); without it 1 and True would make equal filters.
        values: at least one, each once, ascending.
    """

    field: str
    type: FieldType
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Range(Filter):
    """The field, or some element of its list, is a number within all bounds.

    Attributes:
        field: its name.
        gte, gt, lte, lt: the bounds; None for none, but not all of them.
    """

    field: str
    gte: Number | None = None
    gt: Number | None = None
    lte: Number | None = None
    lt: Number | None = None


@dataclass(frozen=True, slots=True)
class Exists(Filter):
    """The field has a value."""

    field: str


Clause: TypeAlias = IsIn | Range | Exists


def _operands(filter: Filter, kind: type[AllOf] | type[AnyOf]) -> tuple[Filter, ...]:
    """Give what a filter adds to a combination; one of the same kind adds its members."""
    if not isinstance(filter, Filter):
        raise InvalidRequest.of_field("filter", "another filter", f"a {type(filter).__name__}")
    return filter.filters if isinstance(filter, kind) else (filter,)


def parts_of(filter: Filter) -> tuple[Filter, ...]:
    """List the filters directly inside a filter."""
    if isinstance(filter, (AllOf, AnyOf)):
        return filter.filters
    return (filter.filter,) if isinstance(filter, Not) else ()


def depth_of(filter: Filter) -> int:
    """Count the filters inside each other, the outermost included."""
    depth, level = 0, [filter]
    while level:
        depth, level = depth + 1, [part for outer in level for part in parts_of(outer)]
    return depth


def clauses_of(filter: Filter) -> Iterator[Clause]:
    """List the conditions on single fields anywhere inside a filter."""
    if isinstance(filter, (IsIn, Range, Exists)):
        yield filter
    for part in parts_of(filter):
        yield from clauses_of(part)
