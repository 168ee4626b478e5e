"""The one error that stands for a batch of which some rows were refused."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar

from fanlight.errors import InvalidRequest, RowError
from fanlight.inputs import OnError
from fanlight.model import DeleteResult, Hits, UpsertResult

ResultT = TypeVar("ResultT", UpsertResult, DeleteResult, Hits)


def settle(
    result: ResultT, rows: Sequence[RowError], total: int, words: tuple[str, str], on_error: OnError
) -> ResultT:
    """Return a result, or raise for the rows in it that were refused.

    Args:
        result: what became of the batch.
        rows: the rows refused, ascending.
        total: rows of the batch.
        words: what became of these rows, and of the others.
        on_error: "return" never raises.

    Raises:
        InvalidRequest: all refused rows are the caller's mistake.
        FanlightError: else, of the class of the first error that is none. Either carries
            `rows` and `result`; for a batch of one row it says what the row's own error says.
    """
    if not rows or on_error == "return":
        return result
    first = next((row for row in rows if not isinstance(row.error, InvalidRequest)), rows[0])
    message = first.error.message
    if total > 1:
        extent = f"all {total} {words[0]}"
        if len(rows) < total:
            extent = f"{len(rows)} of {total} {words[0]}, {words[1]}"
        message = f"{extent}; first: row {first.row}: {message}"
    # A copy has all else that the row's error says: its field, its coverage.
    error = copy.copy(first.error)
    error.args, error.message = (message,), message
    error.retry_after_s = max((r.error.retry_after_s or 0.0 for r in rows), default=0.0) or None
    error.rows, error.result = tuple(rows), result
    raise error from first.error.__cause__
