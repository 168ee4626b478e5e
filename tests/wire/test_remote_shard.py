"""A shard behind a channel: searches share messages, and what breaks does so by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import numpy as np
import pytest
from tests.wire.router_pieces import ScriptedSearches, echo, found, query, scripted_shard

from fanlight.errors import (
    DeadlineExceeded,
    FanlightError,
    InternalError,
    NotFound,
    NotReady,
    Overloaded,
)
from fanlight.v1 import search_pb2 as pb
from fanlight.wire import codec
from fanlight.wire import stream as stream_module
from fanlight.wire.status import to_error
from fanlight_router.gather import gather
from fanlight_router.remote import RemoteShard, SearchEncoder

WaitUntil = Callable[..., Awaitable[None]]
Pair = tuple[ScriptedSearches, RemoteShard]
# Longer than any test takes.
LONG_S = 30.0


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """Start a scripted server and connect to it."""
    async with scripted_shard() as pair:
        yield pair


async def ids_of(shard: RemoteShard, values: range) -> list[int]:
    """Search for each value at once; give the id that each found."""
    hits = await asyncio.gather(*(shard.search(query(value), LONG_S) for value in values))
    return [int(one.ids[0, 0]) for one in hits]


# --- coalescing -------------------------------------------------------------------------------


async def test_searches_at_once_share_messages(pair: Pair, wait_until_async: WaitUntil) -> None:
    """While messages are under way others are collected; each search gets its own answer."""
    searches, shard = pair
    searches.gate.clear()
    first = asyncio.create_task(ids_of(shard, range(2)))
    await wait_until_async(lambda: searches.messages)
    rest = asyncio.create_task(ids_of(shard, range(2, 100)))
    await asyncio.sleep(0)
    searches.gate.set()
    assert await first + await rest == list(range(100))
    assert len(searches.messages) <= 5


async def test_searches_are_collected_while_a_message_is_under_way(
    pair: Pair, wait_until_async: WaitUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Searches that come one after the other wait for the answer, then leave together."""
    monkeypatch.setattr(stream_module, "COLLECT_S", LONG_S)
    searches, shard = pair
    searches.gate.clear()
    asking = [asyncio.create_task(ids_of(shard, range(1)))]
    await wait_until_async(lambda: searches.messages)
    for value in range(1, 10):
        asking.append(asyncio.create_task(ids_of(shard, range(value, value + 1))))
        for _ in range(10):  # rounds of the loop in which a message could leave
            await asyncio.sleep(0)
    searches.gate.set()
    assert await asyncio.gather(*asking) == [[value] for value in range(10)]
    assert [len(message.searches) for message in searches.messages] == [1, 9]


async def test_an_idle_shard_gets_a_search_at_once(pair: Pair) -> None:
    """Without company a search does not wait: one message each, one after the other."""
    searches, shard = pair
    for value in range(5):
        await ids_of(shard, range(value, value + 1))
    assert [len(message.searches) for message in searches.messages] == [1] * 5


async def test_slow_searches_do_not_hold_up_others(pair: Pair, wait_until_async: WaitUntil) -> None:
    """However many messages stay unanswered, the next search is sent after a moment."""
    searches, shard = pair
    searches.answer = lambda search: None if search.tag <= 4 else echo(search)
    slow = []
    for value in range(4):
        slow.append(asyncio.ensure_future(shard.search(query(value), LONG_S)))
        await wait_until_async(lambda n=value: len(searches.values) == n + 1)
    assert await ids_of(shard, range(7, 8)) == [7]
    assert not any(task.done() for task in slow)
    for task in slow:
        task.cancel()


async def test_a_message_that_is_old_is_not_waited_for(
    pair: Pair, wait_until_async: WaitUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a slow search quick ones take no longer than alone, however often they come."""
    collect_s = 1.0
    monkeypatch.setattr(stream_module, "COLLECT_S", collect_s)
    searches, shard = pair
    searches.answer = lambda search: None if search.tag == 1 else echo(search)
    slow = asyncio.ensure_future(shard.search(query(0), LONG_S))
    await wait_until_async(lambda: searches.messages)
    loop = asyncio.get_running_loop()
    old_at = loop.time() + collect_s
    await wait_until_async(lambda: loop.time() > old_at)
    for value in range(1, 6):
        assert await ids_of(shard, range(value, value + 1)) == [value]
    assert loop.time() < old_at + collect_s, "none of them waited for the slow one"
    assert not slow.done()
    slow.cancel()


async def test_messages_stay_small(pair: Pair, wait_until_async: WaitUntil) -> None:
    """Large searches are not packed past about 1 MiB; one that is larger travels alone."""
    searches, shard = pair
    searches.gate.clear()
    first = asyncio.create_task(ids_of(shard, range(1)))
    await wait_until_async(lambda: searches.messages)
    large = [query(value, dim=100_000) for value in range(1, 8)]  # 400 kB each
    huge = query(8, dim=1_000_000)
    rest = [asyncio.ensure_future(shard.search(request, LONG_S)) for request in [*large, huge]]
    await asyncio.sleep(0)
    searches.gate.set()
    await asyncio.gather(first, *rest)
    sizes = {tuple(len(s.search.vectors.data) for s in m.searches) for m in searches.messages}
    assert (4_000_000,) in sizes
    assert all(sum(size) <= 1 << 20 for size in sizes - {(4_000_000,)})
    assert max(len(size) for size in sizes) == 2


async def test_a_search_past_the_limit_fails_alone() -> None:
    """It is Overloaded with the limit in the text; searches beside it are answered."""
    async with scripted_shard(message_bytes=1 << 20) as (searches, shard):
        too_large = asyncio.ensure_future(shard.search(query(1, dim=1 << 18), LONG_S))
        assert await ids_of(shard, range(3)) == [0, 1, 2]
        with pytest.raises(Overloaded, match="limit of 1048576"):
            await too_large
        just_fits = query(4, dim=(1 << 18) - 64)
        assert (await shard.search(just_fits, LONG_S)).ids[0, 0] == 4
        assert sorted(set(searches.values)) == [0, 1, 2, 4]


async def test_the_shard_learns_how_long_a_search_may_take(pair: Pair) -> None:
    """Each search carries the time that is left of its own."""
    searches, shard = pair
    await shard.search(query(1), 12.0)
    (search,) = searches.messages[0].searches
    assert 11_000 < search.timeout_ms <= 12_000


def test_a_search_is_encoded_once() -> None:
    """The shards of one fan-out share the message; another search makes another."""
    encoder = SearchEncoder()
    one, other = query(1), query(2)
    pieces = encoder.encode(one)
    assert encoder.encode(one) is pieces
    assert pb.SearchRequest.FromString(b"".join(pieces)) == codec.to_search(one)
    assert pb.SearchRequest.FromString(b"".join(encoder.encode(other))) == codec.to_search(other)


# --- searches that are given up ---------------------------------------------------------------


async def test_a_search_is_not_sent_for_a_caller_who_has_gone(
    pair: Pair, wait_until_async: WaitUntil
) -> None:
    """Neither given-up nor expired searches reach the shard; their neighbours do."""
    searches, shard = pair
    searches.gate.clear()
    first = [asyncio.create_task(ids_of(shard, range(1))) for _ in range(2)]
    await wait_until_async(lambda: searches.messages)
    given_up = asyncio.ensure_future(shard.search(query(1), LONG_S))
    late = asyncio.ensure_future(shard.search(query(2), 0.0005))
    good = asyncio.create_task(ids_of(shard, range(3, 4)))
    await asyncio.sleep(0)
    given_up.cancel()
    searches.gate.set()
    assert await good == [3]
    with pytest.raises(DeadlineExceeded):
        await late
    await asyncio.gather(*first)
    assert 1 not in searches.values
    assert 2 not in searches.values


async def test_a_late_answer_is_dropped(pair: Pair, wait_until_async: WaitUntil) -> None:
    """The answer to a search whose caller left goes nowhere; the next gets its own."""
    searches, shard = pair
    searches.gate.clear()
    given_up = asyncio.ensure_future(shard.search(query(1), LONG_S))
    await wait_until_async(lambda: searches.messages)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    searches.gate.set()
    assert await ids_of(shard, range(5, 6)) == [5]


async def test_a_shard_that_hangs_costs_the_deadline(pair: Pair) -> None:
    """A search that is never answered ends at its deadline; others on the stream go on."""
    searches, shard = pair
    searches.answer = lambda search: None if search.tag == 1 else echo(search)
    gathered = await gather({0: shard.search(query(1), 0.1)}, 0.1)
    assert isinstance(gathered.failures[0], DeadlineExceeded)
    assert await ids_of(shard, range(5, 6)) == [5]


# --- what goes wrong --------------------------------------------------------------------------


async def test_a_broken_stream_fails_its_searches_and_is_opened_again(
    pair: Pair, wait_until_async: WaitUntil
) -> None:
    """Its searches are NotReady, with no word of addresses; a shard admitted again is searched."""
    searches, shard = pair
    searches.gate.clear()
    sent = asyncio.ensure_future(shard.search(query(1), LONG_S))
    await wait_until_async(lambda: searches.messages)
    waiting = asyncio.ensure_future(shard.search(query(2), LONG_S))
    await asyncio.sleep(0)
    searches.break_at = grpc.StatusCode.UNAVAILABLE
    searches.gate.set()
    for task in (sent, waiting):
        with pytest.raises(NotReady) as caught:
            await task
        assert "127.0.0.1" not in str(caught.value)
    assert shard.lost.is_set()
    searches.break_at = None
    with pytest.raises(NotReady):
        await shard.search(query(3), LONG_S)
    shard.admit()
    assert await ids_of(shard, range(4, 6)) == [4, 5]
    assert 3 not in searches.values


async def test_nobody_at_the_address_is_not_ready(pair: Pair) -> None:
    """Searches and other calls to a closed port fail at once, and say nothing of the address."""
    async with scripted_shard() as (_, gone):
        pass
    shard = RemoteShard(gone.identity, gone.address, SearchEncoder(), 1 << 20)
    for call in (
        lambda: shard.search(query(1), LONG_S),
        lambda: shard.count("movies", LONG_S),
        lambda: shard.delete("movies", np.array([1]), LONG_S),
    ):
        shard.admit()
        with pytest.raises(NotReady) as caught:
            await call()
        assert "127.0.0.1" not in str(caught.value)
        assert not shard.is_admitted
    await shard.close()


@pytest.mark.parametrize("error", [NotFound("there is none", field="collection"), Overloaded("x")])
async def test_an_error_of_the_shard_comes_as_its_own_class(
    pair: Pair, error: FanlightError
) -> None:
    """What the shard says of a search is raised by that search alone."""
    searches, shard = pair
    searches.answer = lambda search: (
        pb.TaggedAnswer(tag=search.tag, error=to_error(error)) if search.tag == 1 else echo(search)
    )
    outcomes = await asyncio.gather(
        *(shard.search(query(value), LONG_S) for value in range(2)), return_exceptions=True
    )
    assert type(outcomes[0]) is type(error)
    assert str(outcomes[0]) == str(error)
    assert not isinstance(outcomes[1], BaseException)


@pytest.mark.parametrize(
    "response",
    [
        pb.SearchResponse(),
        pb.SearchResponse(counts=b"\x01\x00\x00\x00", scores=b"123"),
        codec.to_hits(found(1, k=5)),
        codec.to_hits(found(1)),
    ],
)
async def test_a_malformed_answer_is_not_the_callers_fault(
    pair: Pair, response: pb.SearchResponse
) -> None:
    """Bytes that make no answer, answers to other queries, more hits than asked: InternalError."""
    searches, shard = pair
    searches.answer = lambda search: pb.TaggedAnswer(tag=search.tag, response=response)
    with pytest.raises(InternalError):
        await shard.search(query(1, n=2), LONG_S)


# --- giving up and renewing -------------------------------------------------------------------


async def test_the_server_hears_of_searches_that_were_given_up(
    pair: Pair, wait_until_async: WaitUntil
) -> None:
    """A search that was sent and is cancelled is named in the next message, once."""
    searches, shard = pair
    searches.answer = lambda search: None
    gone = asyncio.ensure_future(shard.search(query(1), LONG_S))
    await wait_until_async(lambda: searches.messages)
    gone.cancel()
    await wait_until_async(lambda: len(searches.messages) == 2)
    (tag,) = (search.tag for search in searches.messages[0].searches)
    assert list(searches.messages[1].cancelled) == [tag]
    searches.answer = echo
    await shard.search(query(2), LONG_S)
    assert not searches.messages[2].cancelled


async def test_an_old_stream_is_replaced_and_loses_nothing(
    pair: Pair, wait_until_async: WaitUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is under way on the old one is answered there; its end is no loss of the shard."""
    searches, shard = pair
    searches.gate.clear()
    old = asyncio.ensure_future(shard.search(query(1), LONG_S))
    await wait_until_async(lambda: searches.messages)
    monkeypatch.setattr(stream_module, "_RENEW_S", 0.0)
    new = asyncio.ensure_future(shard.search(query(2), LONG_S))
    await wait_until_async(lambda: len(searches.messages) == 2)
    searches.gate.set()
    assert [int((await each).ids[0, 0]) for each in (old, new)] == [1, 2]
    assert not shard.lost.is_set()
    assert shard.is_admitted
