"""What is refused before anything is touched, and with which words.

The shard server checks every request here; the SDK leaves it to the server, so that there is
one judge. Whole-request faults raise; faults of single rows are returned beside the rows that
stand.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fanlight.errors import AlreadyExists, FanlightError, InvalidRequest, RowError
from fanlight.fields import FieldValues, read_fields, read_valid_fields
from fanlight.filter_rules import check_filter, check_filter_fields, check_filterable
from fanlight.filters import FieldType, listed
from fanlight.ids import id_type_of
from fanlight.model import (
    CollectionSpec,
    Floats,
    IdColumn,
    IdType,
    ItemBatch,
    Metric,
    SearchRequest,
)
from fanlight.query_rules import check_against_spec, check_query_parts
from fanlight.stacking import size_of
from fanlight.vectors import lengths_of

if TYPE_CHECKING:  # the SDK, which reads no configuration, checks here too
    from fanlight.limits import Limits

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
# hnswlib accepts any m; below 2 a graph cannot branch, and past 128 it outweighs its vectors.
_M_RANGE = (2, 128)
_EF_CONSTRUCTION_RANGE = (4, 4_096)
# What SQLite keeps. It grows by one with each creation and deletion of a name.
_VERSION_MAX = 2**63 - 1
# Two vectors of this length have a dot product and a squared distance that fit float32.
_LENGTH_MAX = 1e18
# Below it float32 products with a unit vector lose their digits to underflow.
_DIRECTION_LENGTH_MIN = 1e-18
# Squared lengths that float32 tells from those above however it rounds: nearly all there are.
_PLAIN_SQUARE_MIN, _PLAIN_SQUARE_MAX = 1e-30, 1e30
_NO_VALUES: FieldValues = {}


def check_range(field: str, value: int, low: int, high: int) -> None:
    """Refuse an integer outside [low, high]."""
    if not low <= value <= high:
        raise InvalidRequest.of_field(field, f"{low} to {high}", str(value))


def check_spec(spec: CollectionSpec, limits: Limits) -> None:
    """Refuse a collection that cannot be.

    Raises:
        InvalidRequest: names the parameter.
    """
    check_name(spec.name)
    check_range("dim", spec.dim, 1, limits.dim)
    check_range("m", spec.m, *_M_RANGE)
    check_range("ef_construction", spec.ef_construction, *_EF_CONSTRUCTION_RANGE)
    check_filterable(spec.filterable, limits)
    if spec.ef_search is not None:
        check_range("ef_search", spec.ef_search, 1, limits.ef_search)


def check_name(name: str) -> None:
    """Refuse what is no name of a collection."""
    if not _NAME.fullmatch(name):
        expected = "1 to 128 of A-Z a-z 0-9 _ . - and a letter or digit first"
        raise InvalidRequest.of_field("name", expected, repr(name[:140]))


def check_version(version: int | None, field: str = "version", least: int = 1) -> None:
    """Refuse what is no version of a collection; None is given by whoever is no router."""
    if version is not None:
        check_range(field, version, least, _VERSION_MAX)


def check_same(wanted: CollectionSpec, existing: CollectionSpec) -> None:
    """Refuse to create a collection that exists with other parameters.

    One that was given an `ef_search` since is the same for who asks for none.

    Raises:
        AlreadyExists: names the parameters that differ.
    """
    differing = [
        field.name
        for field in dataclasses.fields(CollectionSpec)
        if getattr(wanted, field.name) != getattr(existing, field.name)
        and (field.name != "ef_search" or wanted.ef_search is not None)
    ]
    if differing:
        expected, got = _shown(existing, differing), _shown(wanted, differing)
        raise AlreadyExists(
            f"collection {wanted.name!r} exists with other parameters: "
            + ", ".join(f"{field} {expected[field]}, not {got[field]}" for field in differing),
            field=differing[0],
            expected=expected[differing[0]],
            got=got[differing[0]],
        )


def _shown(spec: CollectionSpec, names: Sequence[str]) -> dict[str, str]:
    shown = {name: str(getattr(spec, name)) for name in names}
    return shown | ({"filterable": listed(spec.filterable)} if "filterable" in shown else {})


def check_search(request: SearchRequest, spec: CollectionSpec, limits: Limits) -> None:
    """Refuse a search whose parameters or shape are wrong.

    Raises:
        InvalidRequest: names the parameter.
    """
    check_search_parameters(request, limits)
    if request.vectors is not None:
        _check_dim("vectors", request.vectors, spec)
    if request.ids is not None:
        check_id_type(request.ids, spec)
    if request.filter is not None:
        check_filter_fields(request.filter, spec.filterable)
    if _has_parts(request):
        check_against_spec(request, spec)


def check_search_parameters(request: SearchRequest, limits: Limits) -> None:
    """Refuse what needs no knowledge of the collection to be refused: numbers and sizes."""
    check_range("k", request.k, 1, limits.k)
    if request.ef_search is not None:
        check_range("ef_search", request.ef_search, 1, limits.ef_search)
    n = size_of(request)
    check_range("queries", n, 1, limits.batch_rows)
    if n * request.k > limits.hits:
        expected = f"at most {limits.hits} hits a request (queries x k)"
        raise InvalidRequest.of_field("k", expected, f"{n} x {request.k}")
    check_min_coverage(request.min_coverage)
    if request.take is not None:
        check_range("take", request.take, 1, request.k)
    if request.score_threshold is not None and not np.isfinite(request.score_threshold):
        raise InvalidRequest.of_field(
            "score_threshold", "a finite number", str(request.score_threshold)
        )
    if request.filter is not None:
        check_filter(request.filter, limits)
    if _has_parts(request):
        check_query_parts(request, limits)


def _has_parts(request: SearchRequest) -> bool:
    return not (request.composed is None and request.exclude is None and request.slate is None)


def check_score(score: float, request: SearchRequest) -> None:
    """Refuse what is no score, or comes without the one vector that it is a score for."""
    if request.vectors is None or len(request.vectors) != 1:
        kind = "ids" if request.ids is not None else "composed"
        got = f"{size_of(request)} ({kind if request.vectors is None else 'vectors'})"
        raise InvalidRequest.of_field("queries", "1 vector, for there is a score", got)
    if not np.isfinite(score):
        raise InvalidRequest.of_field("score", "a finite number", str(score))


def check_min_coverage(min_coverage: float) -> None:
    """Refuse a share outside [0, 1]."""
    if not 0 <= min_coverage <= 1:
        raise InvalidRequest.of_field("min_coverage", "0 to 1", str(min_coverage))


def check_batch(ids: IdColumn, limits: Limits) -> None:
    """Refuse an empty or an overlong batch."""
    check_range("ids", len(ids), 1, limits.batch_rows)


def check_items(batch: ItemBatch, spec: CollectionSpec, limits: Limits) -> None:
    """Refuse a batch whose columns do not fit the collection or each other.

    Raises:
        InvalidRequest: names the column.
    """
    check_batch(batch.ids, limits)
    check_id_type(batch.ids, spec)
    _check_dim("vectors", batch.vectors, spec)
    check_columns(batch)


def check_columns(batch: ItemBatch) -> None:
    """Refuse columns that are shorter or longer than that of the ids."""
    for field, column in (("vectors", batch.vectors), ("payloads", batch.payload_blobs)):
        if column is not None and len(column) != len(batch.ids):
            raise InvalidRequest.of_field(field, f"{len(batch.ids)} rows", f"{len(column)}")


def check_id_type(ids: IdColumn, spec: CollectionSpec, field: str = "ids") -> None:
    """Refuse ids of the wrong type."""
    if id_type_of(ids) is not spec.id_type:
        raise InvalidRequest.of_field(field, f"{spec.id_type} ids", f"{id_type_of(ids)} ids")


def _check_dim(field: str, vectors: Floats, spec: CollectionSpec) -> None:
    if vectors.shape[1] != spec.dim:
        raise InvalidRequest.of_field(field, f"dimension {spec.dim}", f"{vectors.shape[1]}")


def bad_id_rows(ids: IdColumn, limits: Limits, field: str = "ids") -> dict[int, FanlightError]:
    """Find the string ids that are empty, too long or no valid UTF-8, by row."""
    if id_type_of(ids) is IdType.INT64:
        return {}
    faults = ((row, _id_fault(value, limits)) for row, value in enumerate(ids))
    expected = f"1 to {limits.id_bytes} bytes of UTF-8"
    return {
        row: InvalidRequest.of_field(field, expected, got) for row, got in faults if got is not None
    }


def _id_fault(value: str, limits: Limits) -> str | None:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return "bytes that are no UTF-8"
    return None if 1 <= size <= limits.id_bytes else f"{size} bytes"


def bad_vector_rows(field: str, vectors: Floats, metric: Metric) -> dict[int, FanlightError]:
    """Find the vectors that cannot be scored, by row.

    A NaN or an infinity poisons a graph (measured: one NaN vector in 2,000 takes recall@10 from
    1.000 to 0.966), and a zero vector has no direction, so no cosine.
    """
    squares = np.einsum("ij,ij->i", vectors, vectors)
    if (
        squares.min(initial=1.0) > _PLAIN_SQUARE_MIN
        and squares.max(initial=1.0) < _PLAIN_SQUARE_MAX
    ):
        return {}
    lengths = lengths_of(vectors)
    least = _DIRECTION_LENGTH_MIN if metric is Metric.COSINE else 0.0
    # NaN and infinity spoil the length as well, so one look finds every fault
    suspects = np.flatnonzero(~((lengths >= least) & (lengths <= _LENGTH_MAX))).tolist()
    return {row: _vector_fault(field, vectors[row], lengths[row]) for row in suspects}


def _vector_fault(field: str, vector: Floats, length: float) -> FanlightError:
    finite = np.isfinite(vector)
    if not finite.all():
        at = int(np.argmin(finite))
        return InvalidRequest.of_field(field, "finite numbers", f"{vector[at]} at position {at}")
    if length > _LENGTH_MAX:
        return InvalidRequest.of_field(
            field, f"length at most {_LENGTH_MAX:.0e}", f"length {length:.3g}"
        )
    got = f"length {length:.3g}" if length else "a zero vector"
    return InvalidRequest.of_field(
        field, f"length at least {_DIRECTION_LENGTH_MIN:.0e} (cosine)", got
    )


def bad_item_rows(batch: ItemBatch, spec: CollectionSpec, limits: Limits) -> tuple[RowError, ...]:
    """Find the rows of a batch that must be refused, ascending; one error a row."""
    return judge_items(batch, spec, limits)[0]


def judge_items(
    batch: ItemBatch, spec: CollectionSpec, limits: Limits, *, lenient: bool = False
) -> tuple[tuple[RowError, ...], Sequence[FieldValues]]:
    """Find the rows that must be refused, and give what was read of the payloads on the way.

    Args:
        batch: the items.
        spec: of their collection.
        limits: of sizes.
        lenient: take a value of another type than its field's for no value.

    Returns:
        The refused rows, ascending, one error a row; and the filterable fields, as
        `read_payloads` gives them.
    """
    fields, faults = read_payloads(batch, spec.filterable, limits, lenient=lenient)
    faults |= bad_vector_rows("vectors", batch.vectors, spec.metric)
    faults |= bad_id_rows(batch.ids, limits)
    return tuple(RowError(row, faults[row]) for row in sorted(faults)), fields


def read_payloads(
    batch: ItemBatch,
    filterable: Mapping[str, FieldType],
    limits: Limits,
    *,
    lenient: bool = False,
) -> tuple[Sequence[FieldValues], dict[int, FanlightError]]:
    """Parse the payloads of a batch.

    Returns:
        The values of the filterable fields, one mapping a row, or none at all when no field is
        filterable; and the payloads that are too large, no JSON object, or have a value of
        another type than its field's, by row.
    """
    faults: dict[int, FanlightError] = {}
    fields: list[FieldValues] = [_NO_VALUES] * len(batch.ids) if filterable else []
    for row, blob in enumerate(batch.payload_blobs or ()):
        if not blob:
            continue
        try:
            payload = _read_payload(blob, limits)
            if filterable and lenient:
                fields[row], _ = read_valid_fields(payload, filterable)
            elif filterable:
                fields[row] = read_fields(payload, filterable)
        except InvalidRequest as error:
            faults[row] = error
    return fields, faults


def _read_payload(blob: bytes, limits: Limits) -> dict[str, Any]:
    expected = f"a JSON object of at most {limits.payload_bytes} bytes"
    if len(blob) > limits.payload_bytes:
        raise InvalidRequest.of_field("payloads", expected, f"{len(blob)} bytes")
    try:
        # decoded here: of bytes, json takes UTF-16, UTF-32 and lone surrogates as well
        value = _PARSER.decode(blob.decode())
    except (ValueError, RecursionError):
        raise InvalidRequest.of_field("payloads", expected, "text that is no JSON") from None
    if not isinstance(value, dict):
        got = f"a JSON {_JSON_NAMES[type(value)]}"
        raise InvalidRequest.of_field("payloads", expected, got)
    return value


def _refuse_constant(name: str) -> None:
    """Refuse NaN and Infinity, which Python's parser takes but JSON does not have."""
    raise ValueError(name)


# Made once: it takes longer than to parse a small payload.
_PARSER = json.JSONDecoder(parse_constant=_refuse_constant)

_JSON_NAMES: dict[type, str] = {
    list: "array",
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
}
