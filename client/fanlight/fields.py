"""The filterable fields of one payload: what is read of them, and what is refused.

Laws: null, an absent key and an empty list are no value. A value of another type than the
declared one is a fault of its item, never guessed at: 1.0 is no int and true is no number. Where
the item was there before the field was declared, such a value is no value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, TypeAlias

from fanlight.errors import InvalidRequest
from fanlight.filters import FieldType, Value, microseconds

# The values of each field that has any, all of the declared type.
FieldValues: TypeAlias = Mapping[str, list[Value]]

KEYWORD_BYTES_MAX = 512
_INT64 = range(-(2**63), 2**63)


def read_fields(payload: Mapping[str, Any], filterable: Mapping[str, FieldType]) -> FieldValues:
    """Read the filterable fields of a payload.

    Args:
        payload: a parsed JSON object.
        filterable: the types of its fields.

    Raises:
        InvalidRequest: a value is not of its field's type; names the field.
    """
    found: dict[str, list[Value]] = {}
    for name, values in _read(payload, filterable):
        if isinstance(values, str):
            raise InvalidRequest.of_field(f"payloads.{name}", _EXPECTED[filterable[name]], values)
        found[name] = values
    return found


def read_valid_fields(
    payload: Mapping[str, Any], filterable: Mapping[str, FieldType]
) -> tuple[FieldValues, list[str]]:
    """Read the filterable fields of a payload that was written before they were declared.

    Returns:
        The values of those that have any, all of the declared type; and the names of those whose
        value is of another type, which is taken for no value.
    """
    read = list(_read(payload, filterable))
    found = {name: values for name, values in read if not isinstance(values, str)}
    return found, [name for name, values in read if isinstance(values, str)]


def _read(
    payload: Mapping[str, Any], filterable: Mapping[str, FieldType]
) -> Iterator[tuple[str, list[Value] | str]]:
    """Give the values of the fields that have any, or what came instead of one."""
    for name, type_ in filterable.items():
        value = payload.get(name)
        if value is not None and value != []:
            yield name, _READERS[type_](value)


# Each gives the values, or what came instead of one.


def _keywords(value: Any) -> list[Value] | str:
    values = value if type(value) is list else [value]
    for each in values:
        if type(each) is not str:
            return _shown(each)
        try:
            size = len(each) if each.isascii() else len(each.encode())
        except UnicodeEncodeError:
            return "half of a surrogate pair"
        if size > KEYWORD_BYTES_MAX:
            return f"{size} bytes"
    return values


def _ints(value: Any) -> list[Value] | str:
    values = value if type(value) is list else [value]
    for each in values:
        if type(each) is not int:
            return _shown(each)
        if each not in _INT64:
            return "a number beyond int64"
    return values


def _floats(value: Any) -> list[Value] | str:
    if type(value) not in (float, int):
        return _shown(value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    return [number] if math.isfinite(number) else "a number beyond float64"


def _bools(value: Any) -> list[Value] | str:
    return [value] if type(value) is bool else _shown(value)


def _times(value: Any) -> list[Value] | str:
    values = value if type(value) is list else [value]
    moments: list[Value] = []
    for each in values:
        if type(each) is not str:
            return _shown(each)
        try:
            moment = datetime.fromisoformat(each)
        except ValueError:
            return "text that is no time"
        if moment.tzinfo is None:
            return "a time without an offset from UTC"
        moments.append(microseconds(moment))
    return moments


_READERS: dict[FieldType, Callable[[Any], list[Value] | str]] = {
    FieldType.KEYWORD: _keywords,
    FieldType.INT: _ints,
    FieldType.FLOAT: _floats,
    FieldType.BOOL: _bools,
    FieldType.TIME: _times,
}
_EXPECTED = {
    FieldType.KEYWORD: f"a string of at most {KEYWORD_BYTES_MAX} bytes, or a list of them",
    FieldType.INT: "an integer that fits int64, or a list of them",
    FieldType.FLOAT: "a number",
    FieldType.BOOL: "true or false",
    FieldType.TIME: "RFC 3339 text with an offset, or a list of them",
}
_SHOWN: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "an integer",
    float: "a number with a fraction or an exponent",
    bool: "a boolean",
    type(None): "null",
}


def _shown(value: object) -> str:
    return _SHOWN[type(value)]
