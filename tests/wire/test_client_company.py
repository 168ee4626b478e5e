"""Many searches of one client at a time: fewer requests, the same answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tests.wire.fake_router import FakeRouter, fake_routers

import fanlight

CALLERS = 40
DIM = 3


@pytest.fixture
def router() -> Iterator[FakeRouter]:
    """Start a router that holds an item for every caller, each along an axis of its own."""
    with fake_routers() as start:
        router = start()
        with fanlight.Client(router.address) as client:
            things = client.create_collection("things", dim=CALLERS, metric="dot")
            things.upsert(np.arange(CALLERS), np.eye(CALLERS, dtype=np.float32))
        yield router


def axis(i: int) -> list[float]:
    return [float(i == at) for at in range(CALLERS)]


async def test_tasks_share_requests(router: FakeRouter) -> None:
    """Forty tasks that search at once send few requests, and each gets its own answer."""
    async with fanlight.AsyncClient(router.address) as client:
        things = client.collection("things")
        hits = await asyncio.gather(*(things.search(axis(i), k=1) for i in range(CALLERS)))
    assert [found.ids.tolist() for found in hits] == [[[i]] for i in range(CALLERS)]
    assert len(router.requests["Search"]) <= 5


def test_threads_share_requests(router: FakeRouter) -> None:
    """Forty threads that search again and again send fewer requests than searches."""
    with fanlight.Client(router.address) as client, ThreadPoolExecutor(CALLERS) as pool:
        things = client.collection("things")

        def ask(i: int) -> list[object]:
            return [things.search(axis(i), k=1).ids.tolist() for _ in range(5)]

        assert list(pool.map(ask, range(CALLERS))) == [[[[i]]] * 5 for i in range(CALLERS)]
    assert len(router.requests["Search"]) < 5 * CALLERS / 2


async def test_a_bad_search_spoils_no_other(router: FakeRouter) -> None:
    """A query of the wrong dimension or for no collection fails alone."""
    async with fanlight.AsyncClient(router.address) as client:
        things, nothing = client.collection("things"), client.collection("nothing")
        told = await asyncio.gather(
            things.search(axis(0), k=1),
            things.search(np.ones(DIM), k=1),
            nothing.search(axis(0), k=1),
            things.search(axis(1), k=1),
            return_exceptions=True,
        )
    good, shape, name, other = told
    assert isinstance(good, fanlight.Hits)
    assert isinstance(other, fanlight.Hits)
    assert isinstance(shape, fanlight.InvalidRequest)
    assert isinstance(name, fanlight.NotFound)


async def test_a_search_ends_at_its_own_deadline(router: FakeRouter) -> None:
    """A caller who waits briefly is told in time, though the router says nothing."""
    async with fanlight.AsyncClient(router.address) as client:
        things = client.collection("things")
        await things.search(axis(0), k=1)
        silent = asyncio.Event()
        loop = asyncio.get_running_loop()

        def hold(method: str) -> None:
            asyncio.run_coroutine_threadsafe(silent.wait(), loop).result(30)

        router.before = hold
        try:
            with pytest.raises(fanlight.DeadlineExceeded):
                await things.search(axis(1), k=1, timeout=0.05)
        finally:
            silent.set()


async def test_another_router_is_asked_when_one_drains() -> None:
    """A search that a router is not ready for goes to the next one."""
    with fake_routers() as start:
        first, second = start(), start()
        for router in (first, second):
            with fanlight.Client(router.address) as client:
                client.create_collection("things", dim=2).upsert([1], np.ones((1, 2)))
        async with fanlight.AsyncClient([first.address, second.address]) as client:
            things = client.collection("things")
            for router in (first, second):
                router.failures["Search"].append(fanlight.NotReady("draining"))
            hits = await asyncio.gather(*(things.search([1, 0], k=1) for _ in range(8)))
    assert all(found.ids.tolist() == [[1]] for found in hits)
    assert first.requests["Search"]
    assert second.requests["Search"]


async def test_a_stream_that_broke_is_opened_again(
    router: FakeRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search on a stream that breaks is told so; the next one opens another stream."""
    broken: list[str] = []
    answer = router._tagged

    def break_once(tagged: object) -> object:
        if not broken:
            broken.append("once")
            raise RuntimeError("a stream that ends with UNKNOWN is a bug, not a blip")
        return answer(tagged)

    monkeypatch.setattr(router, "_tagged", break_once)
    async with fanlight.AsyncClient(router.address) as client:
        things = client.collection("things")
        with pytest.raises(fanlight.InternalError):
            await things.search(axis(0), k=1)
        assert (await things.search(axis(3), k=1)).ids.tolist() == [[3]]


def test_the_stream_leaves_no_trace_in_the_log(
    router: FakeRouter, capfd: pytest.CaptureFixture[str]
) -> None:
    """A client that is closed, one event loop after the other, leaves nothing that complains."""

    async def search_once() -> None:
        async with fanlight.AsyncClient(router.address) as client:
            await client.collection("things").search(axis(0), k=1)

    for _ in range(5):
        asyncio.run(search_once())
    assert "Traceback" not in capfd.readouterr().err


def test_a_closed_client_refuses(router: FakeRouter) -> None:
    """After `close`, a search is refused at once, on either face."""

    async def search_closed() -> None:
        client = fanlight.AsyncClient(router.address)
        things = client.collection("things")
        await things.search(axis(0), k=1)
        await client.close()
        await things.search(axis(0), k=1)

    with pytest.raises(fanlight.InvalidRequest, match="closed"):
        asyncio.run(search_closed())


def test_requests_of_a_stream_reach_one_router(router: FakeRouter) -> None:
    """All searches of an event loop are on one connection."""

    async def search_often() -> None:
        async with fanlight.AsyncClient(router.address) as client:
            things = client.collection("things")
            for i in range(5):
                await things.search(axis(i), k=1)

    before = len(router.peers)
    asyncio.run(search_often())
    assert len(set(router.peers[before:])) == 1
