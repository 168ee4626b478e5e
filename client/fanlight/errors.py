"""The errors that Fanlight raises, on either side of the wire.

Laws: an error says whose fault it is by its class, names the field, what was expected and
what came, and never carries a vector, a payload or the text of a foreign exception. This
module never imports grpc; `fanlight.wire.status` holds the one table from classes to codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fanlight.model import Coverage, DeleteResult, Hits, UpsertResult


class FanlightError(Exception):
    """Base of every error of Fanlight.

    Attributes:
        message: a sentence for people.
        field: the field at fault as the request names it, or "".
        expected: what the field should have held, or "".
        got: what it held, or "".
        retry_after_s: seconds to wait before another try makes sense, or None.
        rows: for a batch of which some rows were refused: which, and why.
        result: for such a batch, what became of the rows that stand; else None.
    """

    result: UpsertResult | DeleteResult | Hits | None = None

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        expected: str = "",
        got: str = "",
        retry_after_s: float | None = None,
        rows: Sequence[RowError] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.expected = expected
        self.got = got
        self.retry_after_s = retry_after_s
        self.rows = tuple(rows)

    @classmethod
    def of_field(cls, field: str, expected: str, got: str) -> FanlightError:
        """Make the error "<field>: expected <expected>, got <got>"."""
        message = f"{field}: expected {expected}, got {got}"
        return cls(message, field=field, expected=expected, got=got)


class InvalidRequest(FanlightError):
    """The caller's mistake; nothing was changed. Repeating it is of no use."""


class NotFound(FanlightError):
    """The collection (or the item a query names) does not exist."""


class AlreadyExists(FanlightError):
    """A collection of that name exists with other parameters."""


class WrongShard(FanlightError):
    """A shard is not the one of the map, or stands on other data than is known of it."""


class NotReady(FanlightError):
    """The server (or a shard of it) cannot be reached, loads or drains. Try again."""


class Overloaded(FanlightError):
    """A limit on memory, disk, queue or message size is reached; nothing was changed."""


class DeadlineExceeded(FanlightError):
    """The deadline passed. A write may or may not have been applied."""


class Corruption(FanlightError):
    """Stored data failed its checksum or its format."""


class Unauthenticated(FanlightError):
    """No valid credentials came with the call."""


class PermissionDenied(FanlightError):
    """The credentials do not allow the call."""


class InternalError(FanlightError):
    """A bug in the server. Its log has the details; the wire does not."""


class PartialResult(NotReady):
    """Fewer shards answered than the caller demands.

    Attributes:
        coverage: what was reached, with each failed shard and its reason; None when unknown.
    """

    def __init__(self, message: str, *, coverage: Coverage | None = None) -> None:
        super().__init__(message)
        self.coverage = coverage


@dataclass(frozen=True, slots=True)
class RowError:
    """Why one row (or one query) of a batch was refused; its neighbours stand.

    Attributes:
        row: 0-based place in the batch.
        error: the reason.
    """

    row: int
    error: FanlightError
