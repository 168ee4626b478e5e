"""A network of answers that are made up, for what operations ask of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from google.protobuf.message import Message

import fanlight
from fanlight.calls import Call, Open, Operation, Pause, Search, Step, Window
from fanlight.errors import FanlightError, RowError
from fanlight.model import Coverage
from fanlight.operations import Operations
from fanlight.v1 import items_pb2
from fanlight.wire.codec import from_upsert
from fanlight.wire.status import to_row_errors

T = TypeVar("T")
Answer = Callable[[Any], Message | FanlightError]
WHOLE = Coverage(shards_total=1, shards_answered=1, items_total=9, items_covered=9)


class Network:
    """Gives the steps of operations what `answer` says, and remembers them."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.calls: list[Call] = []
        self.pauses: list[float] = []
        self.widths: list[int] = []

    @property
    def requests(self) -> list[Any]:
        return [call.request for call in self.calls]

    def run(self, operation: Operation[T]) -> T:
        try:
            step = next(operation)
            while True:
                given = self._give(step)
                failed = isinstance(given, FanlightError)
                step = operation.throw(given) if failed else operation.send(given)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _give(self, step: Step) -> Any:
        if isinstance(step, Pause):
            return self.pauses.append(step.seconds)
        if isinstance(step, Window):
            self.widths.append(step.width)
            return [self.run(operation) for operation in step.operations]
        call = step.call if isinstance(step, (Search, Open)) else step
        self.calls.append(call)
        answer = self.answer(call.request)
        if isinstance(step, Search) and not isinstance(answer, FanlightError):
            return step.hits(answer)
        return answer


def in_turn(answers: Iterable[Message | FanlightError]) -> Answer:
    """Answer one call after the other."""
    iterator = iter(answers)
    return lambda request: next(iterator)


def written(request: items_pb2.UpsertItemsRequest) -> items_pb2.UpsertItemsResponse:
    return items_pb2.UpsertItemsResponse(written=len(from_upsert(request).ids))


def refusing(*errors: tuple[int, FanlightError], rows: int) -> items_pb2.UpsertItemsResponse:
    rows_refused = to_row_errors(tuple(RowError(row, error) for row, error in errors))
    return items_pb2.UpsertItemsResponse(written=rows - len(errors), errors=rows_refused)


def upsert(
    ids: Any,
    vectors: Any,
    payloads: Any = None,
    errors: Any = "raise",
    progress: bool | None = False,
    timeout: Any = None,
) -> Operation[fanlight.UpsertResult]:
    operations = Operations(timeout=None, max_attempts=4)
    return operations.upsert(
        "movies", ids, vectors, payloads, progress=progress, errors=errors, timeout=timeout
    )
