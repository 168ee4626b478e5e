"""What becomes of the rows of an upload that are refused, or that fail on the way."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf.message import Message
from tests.unit.operation_pieces import WHOLE, Network, in_turn, refusing, upsert, written

import fanlight
from fanlight.errors import (
    DeadlineExceeded,
    FanlightError,
    InvalidRequest,
    NotFound,
    NotReady,
    Overloaded,
    PartialResult,
)
from fanlight.v1 import items_pb2
from fanlight.wire.codec import from_upsert


def test_errors_are_numbered_as_the_callers_rows() -> None:
    """A refused row of a later chunk, after superseded rows, has the number the caller knows."""
    bad = InvalidRequest.of_field("vectors", "finite numbers", "nan at position 0")

    def answer(request: items_pb2.UpsertItemsRequest) -> Message:
        ids = from_upsert(request).ids.tolist()
        return (
            refusing((ids.index(9_000), bad), rows=len(ids)) if 9_000 in ids else written(request)
        )

    ids = np.concatenate([[1, 1], np.arange(1, 9_999)])
    with pytest.raises(InvalidRequest) as caught:
        Network(answer).run(upsert(ids, np.ones((10_000, 1))))
    assert [(row.row, row.error.field) for row in caught.value.rows] == [(9_001, "vectors")]
    assert str(caught.value) == (
        "1 of 10000 rows refused, the others were written; first: row 9001: "
        "vectors: expected finite numbers, got nan at position 0"
    )
    assert isinstance(caught.value.result, fanlight.UpsertResult)
    assert caught.value.result.written == 9_997
    assert caught.value.result.superseded_rows.tolist() == [0, 1]


def test_refused_rows_can_be_returned_instead() -> None:
    """With errors="return" nothing is raised for rows."""
    answer = refusing((1, InvalidRequest("no")), rows=2)
    result = Network(in_turn([answer])).run(upsert([1, 2], [[1.0], [2.0]], errors="return"))
    assert (result.written, [row.row for row in result.errors]) == (1, [1])


def test_a_single_refused_row_says_its_own_error() -> None:
    """A batch of one row fails with the words of that row's error."""
    bad = InvalidRequest.of_field("vectors", "finite numbers", "nan at position 0")
    with pytest.raises(InvalidRequest, match=r"^vectors: expected finite") as caught:
        Network(in_turn([refusing((0, bad), rows=1)])).run(upsert([1], [[1.0]]))
    assert caught.value.field == "vectors"


def test_the_gravest_class_is_raised() -> None:
    """When not all refused rows are the caller's mistake, the first other error gives the class."""
    answer = refusing((0, InvalidRequest("bad")), (1, DeadlineExceeded("late")), rows=3)
    with pytest.raises(DeadlineExceeded, match="2 of 3 rows refused") as caught:
        Network(in_turn([answer])).run(upsert([1, 2, 3], np.ones((3, 1))))
    assert [row.row for row in caught.value.rows] == [0, 1]


def test_a_batch_refused_whole_says_so() -> None:
    """When no row stands, the error does not speak of others."""
    answer = refusing((0, InvalidRequest("bad")), (1, InvalidRequest("worse")), rows=2)
    with pytest.raises(InvalidRequest, match=r"^all 2 rows refused; first: row 0: bad$"):
        Network(in_turn([answer])).run(upsert([1, 2], [[1.0], [2.0]]))


def test_what_rows_say_is_not_lost() -> None:
    """The error of a batch has what the first row's has: here, what was reached of the shards."""
    lost = PartialResult("shard-1 is gone", coverage=WHOLE)
    answer = refusing((0, lost), (1, Overloaded("full", retry_after_s=2.0)), rows=3)
    with pytest.raises(PartialResult, match=r"2 of 3 rows .* row 0: shard-1 is gone") as caught:
        Network(in_turn([answer])).run(upsert([1, 2, 3], np.ones((3, 1)), timeout=1.0))
    assert caught.value.coverage == WHOLE
    assert caught.value.retry_after_s == 2.0
    assert lost.rows == ()


def test_only_rows_that_may_pass_are_sent_again() -> None:
    """After a pause the transient failures travel again, alone; others keep their error."""
    first = refusing((0, InvalidRequest("bad")), (2, NotReady("shard-1 restarts")), rows=4)
    network = Network(in_turn([first, refusing(rows=1)]))
    result = network.run(upsert([10, 11, 12, 13], np.ones((4, 1)), errors="return"))
    assert (result.written, [row.row for row in result.errors]) == (3, [0])
    assert from_upsert(network.requests[1]).ids.tolist() == [12]
    assert len(network.pauses) == 1


def test_rows_that_never_pass_are_given_up() -> None:
    """A row is sent four times at the most, and its request's attempts count with its own."""
    refused = refusing((0, Overloaded("full", retry_after_s=0.0)), rows=1)
    answers: list[Message | FanlightError] = [
        refused,
        NotReady("restarts"),
        refused,
        refused,
        refused,
    ]
    network = Network(in_turn(answers))
    with pytest.raises(Overloaded):
        network.run(upsert([1], [[1.0]]))
    assert len(network.calls) == 4


def test_a_request_that_fails_ends_the_upload_with_an_account() -> None:
    """When a later request fails as a whole, every row not written has an error."""
    network = Network(in_turn([items_pb2.UpsertItemsResponse(written=8_192), NotFound("gone")]))
    with pytest.raises(NotFound) as caught:
        network.run(upsert(np.arange(30_000), np.ones((30_000, 1))))
    assert len(network.calls) == 2
    assert [row.row for row in caught.value.rows] == list(range(8_192, 30_000))
    assert "not sent" in str(caught.value.rows[-1].error)
    assert isinstance(caught.value.result, fanlight.UpsertResult)
    assert caught.value.result.written == 8_192


@pytest.mark.parametrize("errors", ["raise", "return"])
def test_an_upload_of_which_nothing_was_answered_fails_plainly(errors: str) -> None:
    """When the first request fails as a whole, its own error is raised."""
    network = Network(lambda request: NotFound("no collection is named movies"))
    with pytest.raises(NotFound, match=r"^no collection is named movies$") as caught:
        network.run(upsert(np.arange(30_000), np.ones((30_000, 1)), errors=errors))
    assert len(network.calls) == 1
    assert caught.value.result is None
