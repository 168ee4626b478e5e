"""What a filter may demand, and of which fields. `fanlight.validation` calls it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from fanlight.errors import InvalidRequest, NotReady
from fanlight.filters import (
    AllOf,
    AnyOf,
    Clause,
    Exists,
    FieldType,
    Filter,
    IsIn,
    Range,
    clauses_of,
    depth_of,
    parts_of,
)

if TYPE_CHECKING:  # the SDK, which reads no configuration, checks here too
    from fanlight.limits import Limits

_NAME_BYTES_MAX = 128
# A collection of a million items takes some tens of seconds.
_BUILT_AFTER_S = 1.0
_HOW_TO_DECLARE = (
    "to declare it: update_collection(name, add_fields={field: type}), "
    "or `fanlight collections update NAME --add FIELD=TYPE`"
)
# Names of declared fields in an error: 64 of them may have 8,192 bytes.
_LISTED_CHARACTERS = 300
# Filters found good. A large one takes a megabyte.
_REMEMBERED = 64
_NUMBERS = frozenset({FieldType.INT, FieldType.FLOAT})
# Fields that have an order; a moment is an integer, of microseconds.
_ORDERED = _NUMBERS | {FieldType.TIME}
# Types of values that a field may be compared with.
_COMPARABLE = {
    FieldType.KEYWORD: frozenset({FieldType.KEYWORD}),
    FieldType.INT: _NUMBERS,
    FieldType.FLOAT: _NUMBERS,
    FieldType.BOOL: frozenset({FieldType.BOOL}),
    FieldType.TIME: frozenset({FieldType.INT}),
}
_WORDS = {
    FieldType.KEYWORD: "strings",
    FieldType.INT: "numbers",
    FieldType.FLOAT: "numbers",
    FieldType.BOOL: "booleans",
    FieldType.TIME: "moments (datetime, or integers of microseconds since 1970)",
}


def check_filterable(
    filterable: Mapping[str, FieldType], limits: Limits, where: str = "filterable"
) -> None:
    """Refuse fields that are too many, or of names that cannot be.

    Args:
        filterable: the fields.
        limits: how many there may be.
        where: what the request calls them.

    Raises:
        InvalidRequest: names what is wrong.
    """
    if len(filterable) > limits.fields:
        expected = f"at most {limits.fields} fields"
        raise InvalidRequest.of_field(where, expected, str(len(filterable)))
    for name in filterable:
        size = len(name.encode())
        if not 1 <= size <= _NAME_BYTES_MAX:
            expected = f"names of 1 to {_NAME_BYTES_MAX} bytes of UTF-8"
            raise InvalidRequest.of_field(where, expected, f"one of {size}")


@lru_cache(_REMEMBERED)
def check_filter(filter: Filter, limits: Limits) -> None:
    """Refuse what needs no knowledge of the collection to be refused: sizes, empty lists, NaN.

    Filters that were judged lately are not judged again: it takes 4 microseconds, an eighth of
    a search of 10,000 items.

    Raises:
        InvalidRequest: names the field, or the limit.
    """
    _check_at_most("filters inside each other", depth_of(filter), limits.filter_depth)
    clauses = list(clauses_of(filter))
    _check_at_most("conditions", len(clauses), limits.filter_clauses)
    values = sum(len(clause.values) for clause in clauses if isinstance(clause, IsIn))
    _check_at_most("values", values, limits.filter_values)
    _check_no_empty_list(filter)
    for clause in clauses:
        _check_clause(clause)


def _check_at_most(what: str, number: int, limit: int) -> None:
    if number > limit:
        raise InvalidRequest.of_field("filter", f"at most {limit} {what}", str(number))


def _check_no_empty_list(filter: Filter) -> None:
    if isinstance(filter, (AllOf, AnyOf)) and not filter.filters:
        raise InvalidRequest.of_field("filter", "at least 1 filter in each list", "0")
    for part in parts_of(filter):
        _check_no_empty_list(part)


def _check_clause(clause: Clause) -> None:
    where = f"filter.{clause.field}"
    if isinstance(clause, IsIn):
        if not clause.values:
            raise InvalidRequest.of_field(where, "at least 1 value", "0")
        numbers = clause.values if clause.type is FieldType.FLOAT else ()
    elif isinstance(clause, Range):
        bounds = (clause.gte, clause.gt, clause.lte, clause.lt)
        numbers = tuple(bound for bound in bounds if bound is not None)
        if not numbers:
            raise InvalidRequest.of_field(where, "at least one of gte, gt, lte and lt", "none")
    else:
        return
    for number in map(float, numbers):
        if not math.isfinite(number):
            raise InvalidRequest.of_field(where, "finite numbers", str(number))


def check_filterable_field(field: str, filterable: Mapping[str, FieldType]) -> None:
    """Refuse a field that is not filterable."""
    if field not in filterable:
        raise _undeclared("field", field, filterable)


def check_built(fields: Iterable[str], building: Collection[str]) -> None:
    """Refuse fields that are declared, but whose values are not known of all items yet.

    Raises:
        NotReady: names the field.
    """
    for field in fields:
        if field in building:
            raise NotReady(
                f"field {field!r} is being built; filters may use it when that is done, which "
                "`building_fields` of the collection tells",
                field=field,
                retry_after_s=_BUILT_AFTER_S,
            )


def _undeclared(where: str, field: str, filterable: Mapping[str, FieldType]) -> InvalidRequest:
    """Refuse a field that is not declared, and say how to declare it."""
    declared = ", ".join(sorted(filterable)) or "this collection has none"
    expected, got = f"a filterable field ({declared})", repr(field[:_NAME_BYTES_MAX])
    message = f"{where}: expected {_cut(expected)}, got {got}; {_HOW_TO_DECLARE}"
    return InvalidRequest(message, field=where, expected=expected, got=got)


def _cut(text: str) -> str:
    """Shorten a list of names, so that what follows is not cut off on the wire."""
    return text if len(text) <= _LISTED_CHARACTERS else text[: _LISTED_CHARACTERS - 2] + "…)"


def check_filter_fields(filter: Filter, filterable: Mapping[str, FieldType]) -> None:
    """Refuse conditions on fields that are not filterable, or that never hold for their type.

    Raises:
        InvalidRequest: names the field.
    """
    for clause in clauses_of(filter):
        where, type_ = f"filter.{clause.field}", filterable.get(clause.field)
        if type_ is None:
            raise _undeclared(where, clause.field, filterable)
        if isinstance(clause, Exists):
            continue
        if isinstance(clause, Range) and type_ not in _ORDERED:
            expected = f"{_WORDS[type_]} (the field is {type_})"
            raise InvalidRequest.of_field(where, expected, "bounds")
        if isinstance(clause, IsIn) and clause.type not in _COMPARABLE[type_]:
            expected = f"{_WORDS[type_]} (the field is {type_})"
            raise InvalidRequest.of_field(where, expected, _WORDS[clause.type])
