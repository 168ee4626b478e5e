"""What users write: conditions on fields, which make filters.

    from fanlight import field

    field("genre") == "drama"
    field("tags").is_in(["new", "short"]) & ~(field("year") < 1990)
    {"genre": "drama", "year": {"gte": 1990, "lt": 2000}}    # as a dict; all must hold

Laws: what cannot travel as it was meant is refused here, by an `InvalidRequest` that names the
field.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import reduce
from typing import Any, TypeAlias

import numpy as np

from fanlight.errors import InvalidRequest
from fanlight.filters import (
    DEPTH_MAX,
    Exists,
    FieldType,
    Filter,
    IsIn,
    Number,
    Range,
    Value,
    depth_of,
    microseconds,
)
from fanlight.inputs import as_text

# What a caller may hand over as a filter.
FilterLike: TypeAlias = Filter | Mapping[str, Any]

# What a field may be compared with by order; a moment becomes microseconds since 1970 in UTC.
Bound: TypeAlias = Number | datetime

# Integers up to here are the same number in float64.
_FLOAT_INTEGER_MAX = 2**53
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1


class Field:
    """A filterable field; comparing it makes a filter."""

    __slots__ = ("name",)
    __hash__ = None  # type: ignore[assignment]  # `==` does not compare fields

    def __init__(self, name: str) -> None:
        """Name the field; see `field`."""
        self.name = as_text("filter", name)

    def __eq__(self, value: object) -> Filter:  # type: ignore[override]
        """Demand this value."""
        return is_in(self.name, [value])

    def __ne__(self, value: object) -> Filter:  # type: ignore[override]
        """Demand another value than this one, or none."""
        return ~(self == value)

    def __ge__(self, bound: Bound) -> Filter:
        """Demand a number not below the bound."""
        return self.range(gte=bound)

    def __gt__(self, bound: Bound) -> Filter:
        """Demand a number above the bound."""
        return self.range(gt=bound)

    def __le__(self, bound: Bound) -> Filter:
        """Demand a number not above the bound."""
        return self.range(lte=bound)

    def __lt__(self, bound: Bound) -> Filter:
        """Demand a number below the bound."""
        return self.range(lt=bound)

    def is_in(self, values: Iterable[Value]) -> Filter:
        """Demand one of the values; at least one must be given."""
        return is_in(self.name, values)

    def range(
        self,
        *,
        gte: Bound | None = None,
        gt: Bound | None = None,
        lte: Bound | None = None,
        lt: Bound | None = None,
    ) -> Filter:
        """Demand a number within the bounds; in a list, one element within all of them."""
        bounds = {"gte": gte, "gt": gt, "lte": lte, "lt": lt}
        where = f"filter.{self.name}"
        given = {key: _as_number(where, b) for key, b in bounds.items() if b is not None}
        if not given:
            raise InvalidRequest.of_field(where, "at least one of gte, gt, lte and lt", "none")
        return Range(self.name, **given)

    def exists(self) -> Filter:
        """Demand any value; null and an empty list are none."""
        return Exists(self.name)

    def __repr__(self) -> str:
        """Name the field."""
        return f"field({self.name!r})"


def field(name: str) -> Field:
    """Name a filterable field, to be compared: `field("year") >= 1990`.

    Raises:
        InvalidRequest: the name, or what the field is compared with, cannot be.
    """
    return Field(name)


# For those who write many filters.
F = field


def is_in(name: str, values: Iterable[object]) -> IsIn:
    """Make the filter for one of several values.

    Raises:
        InvalidRequest: no values, values of several types, or of types that fields do not have.
    """
    where = f"filter.{name}"
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise InvalidRequest.of_field(where, "a list of values", f"a {type(values).__name__}")
    typed = [_as_value(where, value) for value in values]
    if not typed:
        raise InvalidRequest.of_field(where, "at least 1 value", "0")
    type_ = _common_type(where, {type(value) for value in typed})
    if type_ is FieldType.FLOAT:
        typed = [_as_float(where, value) for value in typed]
    return IsIn(name, type_, tuple(sorted(set(typed))))


_TYPES = {
    frozenset({str}): FieldType.KEYWORD,
    frozenset({bool}): FieldType.BOOL,
    frozenset({int}): FieldType.INT,
    frozenset({float}): FieldType.FLOAT,
    frozenset({int, float}): FieldType.FLOAT,
}


def _common_type(where: str, kinds: set[type]) -> FieldType:
    common = _TYPES.get(frozenset(kinds))
    if common is None:
        got = " and ".join(sorted(kind.__name__ for kind in kinds))
        raise InvalidRequest.of_field(where, "values of one type", got)
    return common


def _as_value(where: str, value: object) -> Value:
    if isinstance(value, str):
        return as_text(where, value)
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    return _as_number(where, value, "strings, numbers or booleans")


def _as_number(where: str, value: object, expected: str = "numbers") -> Number:
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        number = operator.index(value)
        if not _INT64_MIN <= number <= _INT64_MAX:
            raise InvalidRequest.of_field(where, "integers that fit int64", str(number))
        return number
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidRequest.of_field(where, "times with an offset", "one without")
        return microseconds(value)
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value):
            raise InvalidRequest.of_field(where, "finite numbers", str(value))
        return float(value)
    got = "null" if value is None else f"a {type(value).__name__}"
    raise InvalidRequest.of_field(where, expected, got)


def _as_float(where: str, value: Value) -> float:
    """Take a number that stands beside floats."""
    if isinstance(value, int) and abs(value) > _FLOAT_INTEGER_MAX:
        expected = f"integers up to 2^53 beside floats ({_FLOAT_INTEGER_MAX})"
        raise InvalidRequest.of_field(where, expected, str(value))
    return float(value)


def as_filter(filter: FilterLike) -> Filter:
    """Take a filter, or a dict of conditions of which all must hold.

    A condition is a value, a list of values of which one is enough, or a dict with any of
    "gte", "gt", "lte", "lt" (bounds), "in" (a list), "exists" (a boolean) and "not" (a condition).

    Raises:
        InvalidRequest: names the field and what it cannot be compared with.
    """
    if isinstance(filter, Filter):
        depth = depth_of(filter)
        if depth > DEPTH_MAX:
            expected = f"at most {DEPTH_MAX} filters inside each other"
            raise InvalidRequest.of_field("filter", expected, str(depth))
        return filter
    if not isinstance(filter, Mapping):
        got = f"a {type(filter).__name__}"
        raise InvalidRequest.of_field("filter", "a filter or a dict of conditions", got)
    if not filter:
        raise InvalidRequest.of_field("filter", "at least 1 condition", "an empty dict")
    conditions = (_condition(field(name), value) for name, value in filter.items())
    return reduce(operator.and_, conditions)


def _condition(of: Field, value: object) -> Filter:
    if isinstance(value, Mapping):
        return _described(of, value)
    several = isinstance(value, Iterable) and not isinstance(value, (str, bytes))
    return of.is_in(value) if several else of == value  # type: ignore[arg-type]  # checked there


_BOUNDS = ("gte", "gt", "lte", "lt")
_KEYS = (*_BOUNDS, "in", "exists", "not")


def _described(of: Field, condition: Mapping[Any, Any]) -> Filter:
    where = f"filter.{of.name}"
    unknown = [key for key in condition if key not in _KEYS]
    if unknown or not condition:
        got = f"the key {unknown[0]!r}" if unknown else "an empty dict"
        raise InvalidRequest.of_field(where, f"keys among {', '.join(_KEYS)}", got)
    filters: list[Filter] = []
    bounds = {key: _as_number(where, condition[key]) for key in _BOUNDS if key in condition}
    if bounds:
        filters.append(of.range(**bounds))
    if "in" in condition:
        filters.append(of.is_in(condition["in"]))
    if "exists" in condition:
        filters.append(_existence(of, condition["exists"]))
    if "not" in condition:
        filters.append(~_condition(of, condition["not"]))
    return reduce(operator.and_, filters)


def _existence(of: Field, wanted: object) -> Filter:
    if not isinstance(wanted, bool):
        got = f"a {type(wanted).__name__}"
        raise InvalidRequest.of_field(f"filter.{of.name}", "exists to be a boolean", got)
    return of.exists() if wanted else ~of.exists()
