"""The one table between Fanlight's errors and the wire.

On the wire an error is a canonical gRPC code, a message, and a serialised
`fanlight.v1.Error` in the trailing metadata under ERROR_KEY. The same message describes a
refused row and a failed shard. What is not a FanlightError is a bug: its text stays inside.
"""

from __future__ import annotations

import grpc
from google.protobuf.message import DecodeError

from fanlight import errors
from fanlight.errors import FanlightError, PartialResult, RowError
from fanlight.model import Coverage, ShardFailure
from fanlight.v1 import types_pb2 as pb

# The suffix "-bin" lets gRPC metadata carry bytes.
ERROR_KEY = "fanlight-error-bin"
# gRPC drops a status whose metadata have more than 16 KiB, and the caller with it learns nothing.
# A character takes up to 12 bytes in the status' text, and 6 in the detail.
DETAILS_CHARACTERS = 300
_MESSAGE_CHARACTERS = 800
_FIELD_CHARACTERS = 200

_CODES: dict[type[FanlightError], pb.Code.ValueType] = {
    errors.InvalidRequest: pb.CODE_INVALID_ARGUMENT,
    errors.NotFound: pb.CODE_NOT_FOUND,
    errors.AlreadyExists: pb.CODE_ALREADY_EXISTS,
    errors.WrongShard: pb.CODE_FAILED_PRECONDITION,
    errors.NotReady: pb.CODE_UNAVAILABLE,
    errors.PartialResult: pb.CODE_UNAVAILABLE,
    errors.Overloaded: pb.CODE_RESOURCE_EXHAUSTED,
    errors.DeadlineExceeded: pb.CODE_DEADLINE_EXCEEDED,
    errors.Corruption: pb.CODE_DATA_LOSS,
    errors.Unauthenticated: pb.CODE_UNAUTHENTICATED,
    errors.PermissionDenied: pb.CODE_PERMISSION_DENIED,
    errors.InternalError: pb.CODE_INTERNAL,
}
_CLASSES: dict[int, type[FanlightError]] = {
    int(code): cls for cls, code in _CODES.items() if cls is not PartialResult
}
_STATUS: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def code_of(error: BaseException) -> pb.Code.ValueType:
    """Tell the code of an error; INTERNAL for what is not Fanlight's own."""
    return _CODES.get(type(error), pb.CODE_INTERNAL)  # type: ignore[arg-type]


def status_of(error: BaseException) -> grpc.StatusCode:
    """Tell the gRPC status code of an error."""
    return _STATUS[int(code_of(error))]


def to_error(error: BaseException) -> pb.Error:
    """Put an error on the wire; anything but a FanlightError becomes "internal error"."""
    if not isinstance(error, FanlightError):
        return pb.Error(code=pb.CODE_INTERNAL, message="internal error")
    message = pb.Error(
        code=code_of(error),
        message=shortened(error.message, _MESSAGE_CHARACTERS),
        field=shortened(error.field, _FIELD_CHARACTERS),
        expected=shortened(error.expected, _FIELD_CHARACTERS),
        got=shortened(error.got, _FIELD_CHARACTERS),
        retry_after_s=error.retry_after_s,
    )
    if isinstance(error, PartialResult) and error.coverage is not None:
        message.coverage.CopyFrom(to_coverage(error.coverage))
    return message


def shortened(text: str, most: int = DETAILS_CHARACTERS) -> str:
    """Cut a text that may quote a name of any length from a request."""
    return text if len(text) <= most else text[: most - 1] + "…"


def from_error(message: pb.Error) -> FanlightError:
    """Read an error off the wire."""
    if message.HasField("coverage"):
        return PartialResult(message.message, coverage=from_coverage(message.coverage))
    return _CLASSES.get(message.code, errors.InternalError)(
        message.message,
        field=message.field,
        expected=message.expected,
        got=message.got,
        retry_after_s=message.retry_after_s if message.HasField("retry_after_s") else None,
    )


def from_rpc_error(error: grpc.RpcError) -> FanlightError:
    """Turn a failed call into Fanlight's own error.

    The detail in the trailing metadata wins; without one (the peer is unreachable, or gRPC
    itself refused the call) the status code decides.
    """
    if not isinstance(error, (grpc.Call, grpc.aio.AioRpcError)):
        return errors.InternalError("the call failed without a status")
    blob = next((value for key, value in error.trailing_metadata() or () if key == ERROR_KEY), None)
    if isinstance(blob, bytes):
        try:
            return from_error(pb.Error.FromString(blob))
        except DecodeError:
            pass  # a peer that is not ours; its status code still counts
    code, details = error.code(), error.details() or ""
    cls = _CLASSES.get(code.value[0], errors.InternalError)
    if cls is errors.DeadlineExceeded:
        return cls("no answer came before the deadline")
    return cls(f"{code.name}: {details}" if details else code.name)


def has_detail(error: grpc.aio.AioRpcError) -> bool:
    """Tell whether the peer itself said what is wrong."""
    return any(key == ERROR_KEY for key, _ in error.trailing_metadata() or ())


def to_row_errors(rows: tuple[RowError, ...]) -> list[pb.RowError]:
    """Put row errors on the wire."""
    return [pb.RowError(row=r.row, error=to_error(r.error)) for r in rows]


def from_row_errors(rows: object) -> tuple[RowError, ...]:
    """Read row errors off the wire."""
    return tuple(RowError(r.row, from_error(r.error)) for r in rows)  # type: ignore[attr-defined]


def to_coverage(coverage: Coverage) -> pb.Coverage:
    """Put a coverage on the wire."""
    return pb.Coverage(
        shards_total=coverage.shards_total,
        shards_answered=coverage.shards_answered,
        items_total=coverage.items_total,
        items_covered=coverage.items_covered,
        failures=[
            pb.ShardFailure(shard=f.shard, code=code_of(f.error), reason=shortened(str(f.error)))
            for f in coverage.failures
        ],
    )


def _from_failure(failure: pb.ShardFailure) -> ShardFailure:
    error = _CLASSES.get(failure.code, errors.InternalError)(failure.reason)
    return ShardFailure(failure.shard, error)


def from_coverage(message: pb.Coverage) -> Coverage:
    """Read a coverage off the wire."""
    return Coverage(
        shards_total=message.shards_total,
        shards_answered=message.shards_answered,
        items_total=message.items_total if message.HasField("items_total") else None,
        items_covered=message.items_covered,
        failures=tuple(map(_from_failure, message.failures)),
    )
