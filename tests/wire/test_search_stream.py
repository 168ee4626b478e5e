"""Many searches over one stream: matched by tag, each on its own, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from tests import messages
from tests.wire.serving_shard import ServingShard, search_message

from fanlight.limits import Limits
from fanlight.model import Hits
from fanlight.v1 import search_pb2 as pb
from fanlight.v1 import types_pb2
from fanlight.wire import answers, codec


def tagged(tag: int, message: pb.SearchRequest, timeout_ms: int | None = None) -> pb.TaggedSearch:
    return pb.TaggedSearch(tag=tag, search=message, timeout_ms=timeout_ms)


async def ask(stream: Any, *searches: pb.TaggedSearch) -> None:
    """Send searches in one message."""
    await stream.write(pb.SearchStreamRequest(searches=searches))


async def answers_of(stream: Any, n: int) -> dict[int, pb.TaggedAnswer]:
    """Read n answers, by tag."""
    found: dict[int, pb.TaggedAnswer] = {}
    while len(found) < n:
        found |= {answer.tag: answer for answer in (await stream.read()).answers}
    return found


@pytest.fixture
def stream(shard: ServingShard) -> Any:
    """Open a stream to `shard`."""
    return shard.searches.SearchStream()


async def test_each_answer_goes_to_its_own_search(stream: Any) -> None:
    """Fifty searches in one message get fifty different answers, by tag."""
    await ask(stream, *(tagged(tag, search_message(tag)) for tag in range(50)))
    for tag, answer in (await answers_of(stream, 50)).items():
        assert codec.from_hits(answer.response, 3).ids.tolist() == [[tag, 2 * tag, 3 * tag]]


async def test_a_bad_search_fails_alone(stream: Any) -> None:
    """Searches of every kind of badness are answered with errors; a good one among them stands."""
    wrong_collection = search_message()
    wrong_collection.collection = "nobody"
    wrong_shape = search_message()
    wrong_shape.vectors.rows = 9
    await ask(
        stream,
        tagged(1, search_message()),
        tagged(2, search_message(dim=3)),
        tagged(3, wrong_collection),
        tagged(4, wrong_shape),
        tagged(5, pb.SearchRequest(collection="movies", k=1)),
        tagged(6, search_message(float("nan"))),
    )
    found = await answers_of(stream, 6)
    codes = {tag: answer.error.code for tag, answer in found.items() if answer.HasField("error")}
    invalid = types_pb2.CODE_INVALID_ARGUMENT
    assert codes == {2: invalid, 3: types_pb2.CODE_NOT_FOUND, 4: invalid, 5: invalid}
    assert found[6].response.errors[0].error.code == invalid
    assert codec.from_hits(found[1].response, 3).counts.tolist() == [3]
    await ask(stream, tagged(7, search_message()))
    assert (await answers_of(stream, 1))[7].HasField("response")


async def test_a_tag_that_is_under_way_cannot_be_used_again(
    shard: ServingShard, stream: Any
) -> None:
    """The second search under a tag is refused, the first is answered."""
    shard.movies.gate.clear()
    await ask(stream, tagged(1, search_message()), tagged(1, search_message()))
    refused = (await stream.read()).answers
    assert [answer.error.field for answer in refused] == ["tag"]
    shard.movies.gate.set()
    assert (await stream.read()).answers[0].HasField("response")


async def test_a_search_past_its_timeout_is_not_started(
    serve: Callable[..., Awaitable[ServingShard]],
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """A tagged search that waited past its own timeout_ms is answered DEADLINE_EXCEEDED."""
    shard = await serve(threads=1)
    stream: Any = shard.searches.SearchStream()
    shard.movies.gate.clear()
    await ask(stream, tagged(1, search_message(1)))
    await wait_until_async(lambda: shard.movies.searched)
    await ask(stream, tagged(2, search_message(2), timeout_ms=0), tagged(3, search_message(3)))
    shard.movies.gate.set()
    found = await answers_of(stream, 3)
    assert found[2].error.code == types_pb2.CODE_DEADLINE_EXCEEDED
    assert sorted(shard.first_elements) == [1, 3]


async def test_a_closed_stream_is_answered_to_the_end(stream: Any) -> None:
    """Half-closing a stream ends it after its last answer."""
    await ask(stream, *(tagged(tag, search_message()) for tag in range(10)))
    await stream.done_writing()
    tags = [answer.tag async for response in stream for answer in response.answers]
    assert sorted(tags) == list(range(10))


async def test_a_cancelled_stream_gives_up_what_waits(
    serve: Callable[..., Awaitable[ServingShard]],
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """When a stream is gone, its searches that have not begun never do."""
    shard = await serve(Limits(in_flight=1), threads=1)
    stream: Any = shard.searches.SearchStream()
    shard.movies.gate.clear()
    await ask(stream, tagged(1, search_message(1)))
    await wait_until_async(lambda: shard.movies.searched)
    await ask(stream, tagged(2, search_message(2)))
    # One may wait, so the refusal of a third says that the second does.
    await ask(stream, tagged(3, search_message(3)))
    assert (await answers_of(stream, 1))[3].error.code == types_pb2.CODE_RESOURCE_EXHAUSTED
    stream.cancel()
    await wait_until_async(lambda: shard.shell.calls_under_way == 0)
    shard.movies.gate.set()
    await wait_until_async(lambda: shard.executor.n_waiting == 0)
    await shard.searches.Search(search_message(4))
    assert shard.first_elements == [1, 4]


async def test_a_search_that_is_given_up_is_answered() -> None:
    """A search that ends without hits and without an error is answered UNAVAILABLE."""
    search: asyncio.Future[Hits] = asyncio.get_running_loop().create_future()
    search.cancel()

    async def requests() -> AsyncIterator[pb.SearchStreamRequest]:
        yield pb.SearchStreamRequest(searches=[tagged(1, search_message())])

    stream = answers.AnswerStream(
        lambda request, timeout_s: search, answers.AnswerRoom(Limits(message_bytes=1 << 20))
    )
    found = [answer async for response in stream.answer(requests()) for answer in response.answers]
    assert [(answer.tag, answer.error.code) for answer in found] == [
        (1, types_pb2.CODE_UNAVAILABLE)
    ]


async def test_a_stream_is_not_read_while_too_much_is_under_way(
    shard: ServingShard, stream: Any, wait_until_async: Callable[..., Awaitable[None]]
) -> None:
    """Past the bound of searches under way the server stops reading, and goes on afterwards."""
    shard.movies.gate.clear()
    n = answers.UNDER_WAY_MAX
    await ask(stream, *(tagged(tag, search_message(1)) for tag in range(n)))
    await wait_until_async(lambda: shard.movies.searched)
    # A duplicate tag would be refused at once if it were read.
    await ask(stream, tagged(0, search_message(1)))
    await ask(stream, tagged(n, search_message(2)))
    shard.movies.gate.set()
    await stream.done_writing()
    found = [answer async for response in stream for answer in response.answers]
    assert len(found) == n + 2
    assert all(answer.HasField("response") for answer in found)


async def test_an_answer_too_large_for_a_message_fails_alone(
    serve: Callable[..., Awaitable[ServingShard]],
) -> None:
    """The stream outlives an answer that does not fit a message."""
    shard = await serve(Limits(message_bytes=65_536))
    stream: Any = shard.searches.SearchStream()
    await ask(
        stream,
        tagged(1, search_message(k=5_000, with_vectors=True)),
        tagged(2, search_message()),
    )
    found = await answers_of(stream, 2)
    assert found[1].error.code == types_pb2.CODE_RESOURCE_EXHAUSTED
    assert found[2].HasField("response")


async def test_answers_that_are_done_together_travel_together(
    shard: ServingShard, stream: Any, wait_until_async: Callable[..., Awaitable[None]]
) -> None:
    """Searches that ran as one stack are answered in one message."""
    await ask(stream, *(tagged(tag, search_message()) for tag in range(64)))
    assert len((await stream.read()).answers) == 64
    assert len(shard.movies.searched) == 1


async def test_large_answers_travel_apart(stream: Any) -> None:
    """Answers are joined only up to a size, so that no message grows with their number."""
    message = codec.to_search(
        codec.from_search(search_message(k=2_000, with_vectors=True)),
    )
    message.vectors.CopyFrom(messages.matrix(np.ones((16, 4), dtype=np.float32)))
    await ask(stream, *(tagged(tag, message) for tag in range(4)))
    n = 0
    while n < 4:
        response = await stream.read()
        n += len(response.answers)
        assert response.ByteSize() < 2 * answers.JOINED_BYTES


async def test_a_search_that_is_cancelled_is_not_begun(
    shard: ServingShard, stream: Any, wait_until_async: Callable[..., Awaitable[None]]
) -> None:
    """A tag that its caller takes back is off the queue, and not answered; its neighbours stand."""
    shard.movies.gate.clear()
    blocking = [tagged(tag, search_message(tag, k=tag)) for tag in range(1, 9)]
    await ask(stream, *blocking)
    await wait_until_async(lambda: shard.executor.n_waiting < len(blocking))
    await ask(stream, tagged(20, search_message(20)), tagged(21, search_message(21)))
    await stream.write(pb.SearchStreamRequest(cancelled=[20, 999]))
    # Refused when it is read, which is after the message above.
    await ask(stream, tagged(22, search_message(dim=3)), tagged(1, search_message()))
    assert 1 in await answers_of(stream, 1), "a tag under way is refused"
    shard.movies.gate.set()
    found = await answers_of(stream, len(blocking) + 2)
    assert sorted(found) == [*range(1, 9), 21, 22]
    assert 20 not in shard.first_elements


async def test_an_answer_holds_room_until_it_is_sent(
    serve: Callable[..., Awaitable[ServingShard]],
) -> None:
    """Large answers share the bytes in flight; what does not fit is refused, later it is not."""
    shard = await serve(Limits(bytes_in_flight=500_000, message_bytes=1 << 20))
    stream: Any = shard.searches.SearchStream()
    shard.movies.gate.clear()
    await ask(stream, *(tagged(tag, search_message(tag, k=10_000)) for tag in (1, 2, 3)))
    refused = (await answers_of(stream, 1))[3].error
    assert refused.code == types_pb2.CODE_RESOURCE_EXHAUSTED
    assert "bytes_in_flight" in refused.message
    assert refused.HasField("retry_after_s")
    shard.movies.gate.set()
    await answers_of(stream, 2)
    await ask(stream, tagged(4, search_message(4, k=10_000)))
    assert (await answers_of(stream, 1))[4].WhichOneof("outcome") == "response"
