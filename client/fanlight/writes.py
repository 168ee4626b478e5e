"""How the rows of an upsert or a delete travel: chunk by chunk, and again where that helps.

Laws: no row is lost from the account: it is done, or it has an error. Rows are numbered as in
the caller's batch. A row is sent again only for a transient error of its own or of its request.
A request that fails as a whole ends the sending, since the next ones would meet the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from google.protobuf.message import Message
from tqdm import tqdm

from fanlight.calls import Operation, Pause, Rpc, Window, send
from fanlight.errors import FanlightError, RowError
from fanlight.model import Rows
from fanlight.retry import Budget, is_transient
from fanlight.wire.status import from_row_errors

# Enough to keep the router and the shards busy while one answer travels back.
_CHUNKS_IN_FLIGHT = 4
# A bar that would be gone before it can be read is a nuisance.
_BAR_DELAY_S = 3.0


class BatchWrite:
    """The rows of one call on their way."""

    def __init__(
        self,
        rpc: Rpc[Any],
        encode: Callable[[Rows], Message],
        done_in: Callable[[Any], int],
        make_budget: Callable[[], Budget],
    ) -> None:
        """Describe the write.

        Args:
            rpc: the method; its response has `errors`.
            encode: makes the request for some rows of the batch.
            done_in: reads from a response how many rows (or items) it did.
            make_budget: gives each chunk its attempts and its time.
        """
        self._rpc = rpc
        self._encode = encode
        self._done_in = done_in
        self._make_budget = make_budget
        self._errors: list[RowError] = []
        self._answered = False
        self._fault: FanlightError | None = None
        self.done = 0

    @property
    def errors(self) -> tuple[RowError, ...]:
        """Tell which rows failed, ascending."""
        return tuple(sorted(self._errors, key=lambda error: error.row))

    def run(self, chunks: Sequence[Rows], progress: bool | None) -> Operation[None]:
        """Send all rows.

        Args:
            chunks: the row numbers of each request.
            progress: True or False to show a progress bar or not; None: when it takes long and
                stderr is a terminal.

        Raises:
            FanlightError: no request was answered; the error of the first.
        """
        with _bar(sum(map(len, chunks)), progress) as bar:
            yield Window(self._operations(chunks, bar), _CHUNKS_IN_FLIGHT)
        if self._fault is not None and not self._answered:
            raise self._fault

    def _operations(self, chunks: Sequence[Rows], bar: tqdm[Any]) -> Iterator[Operation[None]]:
        for rows in chunks:
            if self._fault is None:
                yield self._send(rows, bar)
            else:
                message = f"not sent, since an earlier request failed: {self._fault}"
                self._refuse(rows, type(self._fault)(message))

    def _send(self, rows: Rows, bar: tqdm[Any]) -> Operation[None]:
        budget, waiting = self._make_budget(), rows
        while len(waiting):
            try:
                response = yield from send(self._rpc, self._encode(waiting), budget)
            except FanlightError as fault:
                self._fault = self._fault or fault
                self._refuse(waiting, fault)
                break
            self._answered = True
            self.done += self._done_in(response)
            waiting, pause = self._sort_out(waiting, from_row_errors(response.errors), budget)
            if len(waiting):
                yield Pause(pause)
        bar.update(len(rows))

    def _sort_out(
        self, rows: Rows, refused: Sequence[RowError], budget: Budget
    ) -> tuple[Rows, float]:
        """Record the rows that failed for good; give those to send again, and when."""
        again = [refusal for refusal in refused if is_transient(refusal.error)]
        pause = None
        if again:
            slowest = max(again, key=lambda refusal: refusal.error.retry_after_s or 0.0)
            pause = budget.pause_after(slowest.error)
        if pause is None:
            again = []
        kept = {refusal.row for refusal in again}
        self._errors += [
            RowError(int(rows[refusal.row]), refusal.error)
            for refusal in refused
            if refusal.row not in kept
        ]
        return rows[[refusal.row for refusal in again]], pause or 0.0

    def _refuse(self, rows: Rows, error: FanlightError) -> None:
        self._errors += [RowError(row, error) for row in rows.tolist()]


def _bar(rows: int, progress: bool | None) -> tqdm[Any]:
    return tqdm(
        total=rows,
        unit="rows",
        delay=0.0 if progress else _BAR_DELAY_S,
        # None: only when stderr is a terminal.
        disable=None if progress is None else not progress,
    )
