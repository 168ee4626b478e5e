"""The filterable fields of one payload: what is read of them, and what is refused.

Laws: null, an absent key and an empty list are no value. A value of another type than the
declared one is a fault of its item, never guessed at: 1.0 is no int and true is no number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from fanlight.errors import InvalidRequest
from fanlight.filters import FieldType, Value

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
    for name, type_ in filterable.items():
        value = payload.get(name)
        if value is None or value == []:
            continue
        listed = isinstance(value, list) and type_ in _LISTED
        values: list[Any] = value if listed else [value]
        check = _CHECKS[type_]
        for each in values:
            fault = check(each)
            if fault is not None:
                raise InvalidRequest.of_field(f"payloads.{name}", _EXPECTED[type_], fault)
        found[name] = list(map(float, values)) if type_ is FieldType.FLOAT else values
    return found


def _keyword_fault(value: object) -> str | None:
    if type(value) is not str:
        return _shown(value)
    try:
        size = len(value) if value.isascii() else len(value.encode())
    except UnicodeEncodeError:
        return "half of a surrogate pair"
    return None if size <= KEYWORD_BYTES_MAX else f"{size} bytes"


def _int_fault(value: object) -> str | None:
    if type(value) is not int:
        return _shown(value)
    return None if value in _INT64 else "a number beyond int64"


def _float_fault(value: object) -> str | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return _shown(value)
    try:
        return None if math.isfinite(value) else "a number beyond float64"
    except OverflowError:
        return "a number beyond float64"


def _bool_fault(value: object) -> str | None:
    return None if isinstance(value, bool) else _shown(value)


_LISTED = frozenset({FieldType.KEYWORD, FieldType.INT})
_CHECKS: dict[FieldType, Callable[[object], str | None]] = {
    FieldType.KEYWORD: _keyword_fault,
    FieldType.INT: _int_fault,
    FieldType.FLOAT: _float_fault,
    FieldType.BOOL: _bool_fault,
}
_EXPECTED = {
    FieldType.KEYWORD: f"a string of at most {KEYWORD_BYTES_MAX} bytes, or a list of them",
    FieldType.INT: "an integer that fits int64, or a list of them",
    FieldType.FLOAT: "a number",
    FieldType.BOOL: "true or false",
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
