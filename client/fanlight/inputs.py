"""From what a caller hands over to columns that can travel.

Laws: what cannot be put on the wire as it was meant is refused here, before anything is sent,
as an `InvalidRequest` that names the field and, in a batch, the row. Whether the values suit
the collection is the server's to judge.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NoReturn, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanlight.errors import InvalidRequest, RowError
from fanlight.filters import FieldType
from fanlight.ids import IdsLike, to_column
from fanlight.model import Floats, IdColumn, IdType, Metric, Rows

Payload: TypeAlias = dict[str, Any] | None
OnError: TypeAlias = Literal["raise", "return"]
ChoiceT = TypeVar("ChoiceT", Metric, IdType, FieldType)

_UINT32_MAX = 2**32 - 1
# Element types that travel as they are; all others go as float32.
_TRAVELLING = (np.dtype(np.float32), np.dtype(np.float16), np.dtype(np.int8))


def as_ids(ids: IdsLike) -> IdColumn:
    """Take a column of ids.

    Raises:
        InvalidRequest: no sequence, empty, of mixed or other types, or no valid text.
    """
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
        raise InvalidRequest.of_field("ids", "a sequence of ids", f"one {type(ids).__name__}")
    column = to_column(ids)
    _check_not_empty("ids", len(column))
    return column


def id_sizes(ids: IdColumn) -> Rows:
    """Measure ids in bytes on the wire.

    Returns:
        (n,) int64.

    Raises:
        InvalidRequest: a string has no UTF-8 form (it holds half of a surrogate pair).
    """
    if ids.dtype != object:
        return np.full(len(ids), 8, dtype=np.int64)
    sizes = np.empty(len(ids), dtype=np.int64)
    for row, value in enumerate(ids):
        try:
            sizes[row] = len(value.encode())
        except UnicodeEncodeError:
            refuse_row(row, "ids", "text with a UTF-8 form", "half of a surrogate pair")
    return sizes


def as_vectors(field: str, vectors: ArrayLike) -> Floats:
    """Take one vector a row.

    Returns:
        (n, dim) of float32, float16 or int8. The last two are typed as float32 like the rest:
        they only travel as they are, and every server reads them as float32.

    Raises:
        InvalidRequest: not numbers, not two-dimensional, or no rows.
    """
    matrix = _as_numbers(field, vectors)
    if matrix.ndim != 2:
        raise InvalidRequest.of_field(field, "2 dimensions (n, dim)", _dimensions(matrix))
    _check_not_empty(field, len(matrix))
    return matrix


def as_queries(field: str, queries: ArrayLike) -> Floats:
    """Take one query a row; a single vector is one row. Else as `as_vectors`."""
    numbers = _as_numbers(field, queries)
    if numbers.ndim not in (1, 2):
        expected = "2 dimensions (n, dim), or 1 (dim,)"
        raise InvalidRequest.of_field(field, expected, _dimensions(numbers))
    matrix = np.atleast_2d(numbers)
    _check_not_empty(field, matrix.size and len(matrix))
    return matrix


def _as_numbers(field: str, values: ArrayLike) -> Floats:
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):
        raise InvalidRequest.of_field(field, "rows of equal length", "others") from None
    if array.dtype.kind not in "fiu":
        raise InvalidRequest.of_field(field, "numbers", f"an array of {array.dtype}")
    if array.dtype in _TRAVELLING:
        return cast(Floats, array)
    # What is too large for float32 becomes infinite, which the server refuses by its row.
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _dimensions(array: NDArray[Any]) -> str:
    return f"{array.ndim} {array.shape}" if array.ndim else "a single value"


def _check_not_empty(field: str, rows: int) -> None:
    if rows == 0:
        raise InvalidRequest.of_field(field, "at least 1 row", "0")


def check_length(field: str, got: int, expected: int) -> None:
    """Refuse a column that is longer or shorter than the ids."""
    if got != expected:
        raise InvalidRequest.of_field(field, f"{expected} rows, one an id", str(got))


def as_payload_blobs(payloads: Sequence[Payload] | None) -> list[bytes] | None:
    """Take one payload a row, as the JSON text that travels; empty for none.

    Raises:
        InvalidRequest: names the first row that is no dict of JSON values.
    """
    if payloads is None:
        return None
    if isinstance(payloads, (dict, str, bytes)) or not isinstance(payloads, Iterable):
        raise InvalidRequest.of_field("payloads", "a list of dicts", type(payloads).__name__)
    return [_as_json(row, payload) for row, payload in enumerate(payloads)]


def _as_json(row: int, payload: Payload) -> bytes:
    if payload is None:
        return b""
    if not isinstance(payload, dict):
        refuse_row(row, "payloads", "a dict or None", type(payload).__name__)
    try:
        text = json.dumps(
            payload,
            allow_nan=False,
            ensure_ascii=False,
            separators=(",", ":"),
            default=_as_json_value,
        )
        return text.encode()
    except InvalidRequest as error:
        refuse_row(row, "payloads", error.expected, error.got)
    except UnicodeEncodeError:
        refuse_row(row, "payloads", "text with a UTF-8 form", "half of a surrogate pair")
    except TypeError:
        refuse_row(row, "payloads", "keys that are strings", "others")
    except RecursionError:
        refuse_row(row, "payloads", "JSON of reasonable depth", "deeper nesting")
    except ValueError:
        # The two of these that json has: a number without a JSON form, and a circle.
        refuse_row(row, "payloads", "finite numbers and no circles", "a value that JSON lacks")


def _as_json_value(value: object) -> str:
    """Write what JSON has no type for: a moment, as text."""
    if isinstance(value, datetime):
        return value.isoformat()
    raise InvalidRequest.of_field("payloads", "JSON values", f"a {type(value).__name__}")


def refuse_row(row: int, field: str, expected: str, got: str) -> NoReturn:
    """Refuse a whole batch, before it is sent, for one of its rows."""
    error = InvalidRequest.of_field(field, expected, got)
    raise InvalidRequest(
        f"row {row}: {error}",
        field=field,
        expected=expected,
        got=got,
        rows=(RowError(row, error),),
    ) from None


def as_name(name: str) -> str:
    """Take the name of a collection."""
    if not isinstance(name, str):
        raise InvalidRequest.of_field("name", "a string", f"a {type(name).__name__}")
    if not name.isascii():
        raise InvalidRequest.of_field("name", "A-Z a-z 0-9 _ . -", repr(name))
    return name


def as_text(field: str, value: object) -> str:
    """Take a string that can travel."""
    if not isinstance(value, str):
        raise InvalidRequest.of_field(field, "a string", f"a {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError:
        got = "half of a surrogate pair"
        raise InvalidRequest.of_field(field, "text with a UTF-8 form", got) from None
    return str(value)


def as_uint32(field: str, value: int, least: int = 0) -> int:
    """Take a count or a size, at least `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        raise InvalidRequest.of_field(field, "an integer", f"a {type(value).__name__}") from None
    if not least <= number <= _UINT32_MAX:
        raise InvalidRequest.of_field(field, f"{least} to {_UINT32_MAX}", str(number))
    return number


def as_number(field: str, value: float) -> float:
    """Take a score or a share."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidRequest.of_field(field, "a number", f"a {type(value).__name__}") from None


def as_share(field: str, value: float) -> float:
    """Take a share, for what no server judges."""
    share = as_number(field, value)
    if not 0 <= share <= 1:
        raise InvalidRequest.of_field(field, "0 to 1", str(share))
    return share


def as_timeout(value: float | None, default_s: float) -> float:
    """Take a deadline in seconds, or the default for None."""
    if value is None:
        return default_s
    seconds = as_number("timeout", value)
    if not (math.isfinite(seconds) and seconds > 0):
        raise InvalidRequest.of_field("timeout", "seconds above 0", str(seconds))
    return seconds


def as_choice(field: str, value: str, kind: type[ChoiceT]) -> ChoiceT:
    """Take one of the named values of `kind`."""
    try:
        return kind(value)
    except ValueError:
        expected = " or ".join(member.value for member in kind)
        raise InvalidRequest.of_field(field, expected, repr(value)) from None


def as_filterable(
    filterable: Mapping[str, str] | None, where: str = "filterable"
) -> dict[str, FieldType]:
    """Take the types of filterable fields, by name; None is no fields."""
    if filterable is None:
        return {}
    if not isinstance(filterable, Mapping):
        got = f"a {type(filterable).__name__}"
        raise InvalidRequest.of_field(where, "a dict of types by field", got)
    for name in filterable:
        as_text(where, name)
    return {name: as_choice(f"{where}.{name}", t, FieldType) for name, t in filterable.items()}


def as_field_names(names: Sequence[str]) -> list[str]:
    """Take the names of fields to drop."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        got = f"a {type(names).__name__}"
        raise InvalidRequest.of_field("drop_fields", "a list of names", got)
    return [as_text("drop_fields", name) for name in names]


def check_on_error(errors: str) -> None:
    """Refuse anything but the two ways to report refused rows."""
    if errors not in ("raise", "return"):
        raise InvalidRequest.of_field("errors", "raise or return", repr(errors))
