"""How both clients find a router, share and close connections, and live through a fork."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tests.wire.both_colours import COLOURS, Connect, clients
from tests.wire.fake_router import FakeRouter, brute_force, fake_routers

import fanlight


@pytest.fixture
def start_router() -> Iterator[Callable[[], FakeRouter]]:
    with fake_routers() as start:
        yield start


@pytest.fixture
def router(start_router: Callable[[], FakeRouter]) -> FakeRouter:
    return start_router()


@pytest.fixture(params=COLOURS)
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    with clients(request.param) as connect:
        yield connect


class Hold:
    """Keeps the server from answering until the test lets it."""

    def __init__(self, router: FakeRouter) -> None:
        self.begun = threading.Event()
        self.over = threading.Event()
        router.before = self._wait

    def _wait(self, method: str) -> None:
        self.begun.set()
        self.over.wait(20)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.slow
def test_a_dead_router_is_passed_by(router: FakeRouter, connect: Connect) -> None:
    """With several addresses the client finds one that answers and stays with it."""
    for _ in range(4):
        dead = f"127.0.0.1:{free_port()}"
        client = connect(dead, router.address)
        assert client.list_collections() == []
        router.failures["ListCollections"].clear()
        # Not to be repeated, so it shows that the good address is remembered.
        with pytest.raises(fanlight.NotFound):
            client.delete_collection("movies")


def test_an_overloaded_router_is_passed_by(
    start_router: Callable[[], FakeRouter], connect: Connect
) -> None:
    """A router that refuses for load is left for another one."""
    overloaded, idle = start_router(), start_router()
    overloaded.failures["ListCollections"].extend(
        [fanlight.Overloaded("full", retry_after_s=0.01)] * 99
    )
    for _ in range(3):
        assert connect(overloaded.address, idle.address).list_collections() == []
    assert len(idle.requests["ListCollections"]) == 3


def test_clients_spread_over_routers(
    start_router: Callable[[], FakeRouter], connect: Connect
) -> None:
    """Many clients do not all begin with the same router."""
    routers = [start_router(), start_router()]
    for _ in range(24):
        connect(*(router.address for router in routers)).list_collections()
    assert all(router.requests["ListCollections"] for router in routers)


@pytest.mark.slow
def test_no_router_at_all_is_told(connect: Connect) -> None:
    """When nobody listens, the call raises NotReady; making the client does not."""
    client = connect(f"127.0.0.1:{free_port()}")
    with pytest.raises(fanlight.NotReady):
        client.status()


@pytest.mark.parametrize("addresses", [[], ["localhost"], [""]])
def test_an_address_has_a_port(connect: Connect, addresses: list[str]) -> None:
    """An address that is no "host:port" is refused at once."""
    with pytest.raises(fanlight.InvalidRequest, match="addresses: expected"):
        connect(*addresses)


def test_a_closed_client_says_so(router: FakeRouter, connect: Connect) -> None:
    """Closing twice is fine; using it afterwards, or a handle of it, is a clear error."""
    client = connect(router.address)
    movies = client.collection("movies")
    client.close()
    client.close()
    for use in (client.list_collections, movies.count, lambda: list(movies.scroll())):
        with pytest.raises(fanlight.InvalidRequest, match="the client is closed"):
            use()


def test_leaving_the_block_closes(router: FakeRouter) -> None:
    """A client is a context manager."""
    with fanlight.Client(router.address) as client:
        assert client.list_collections() == []
    with pytest.raises(fanlight.InvalidRequest, match="closed"):
        client.list_collections()


async def test_leaving_the_asynchronous_block_closes(router: FakeRouter) -> None:
    """An asynchronous client is an asynchronous context manager."""
    async with fanlight.AsyncClient(router.address) as client:
        assert await client.list_collections() == []
    with pytest.raises(fanlight.InvalidRequest, match="closed"):
        await client.list_collections()


def test_closing_ends_what_is_under_way(router: FakeRouter) -> None:
    """A call whose client another thread closes fails with a clear error."""
    client, hold = fanlight.Client(router.address), Hold(router)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.list_collections)
        assert hold.begun.wait(20)
        client.close()
        with pytest.raises(fanlight.InvalidRequest, match="the client is closed"):
            call.result(20)
    hold.over.set()


def test_closing_ends_an_upload_with_an_account(router: FakeRouter) -> None:
    """An upload whose client is closed between two requests tells which rows were written."""
    client = fanlight.Client(router.address)
    movies = client.create_collection("movies", dim=1, metric="dot")
    vectors = np.ones((60_000, 1), dtype=np.float32)

    def close_from_the_fifth(method: str) -> None:
        # Two threads of the router may have counted theirs before either of them looks.
        if len(router.requests["UpsertItems"]) >= 5:
            client.close()

    router.before = close_from_the_fifth
    with pytest.raises(fanlight.InvalidRequest, match="the client is closed") as caught:
        movies.upsert(np.arange(60_000), vectors, progress=False)
    result = caught.value.result
    assert isinstance(result, fanlight.UpsertResult)
    assert result.written + len(caught.value.rows) == 60_000


async def test_closing_ends_the_tasks_under_way(router: FakeRouter) -> None:
    """A task whose client is closed gets the same error; it is not cancelled itself."""
    client, hold = fanlight.AsyncClient(router.address), Hold(router)
    task = asyncio.create_task(client.list_collections())
    assert await asyncio.to_thread(hold.begun.wait, 20)
    await client.close()
    with pytest.raises(fanlight.InvalidRequest, match="the client is closed"):
        await task
    hold.over.set()


async def test_cancelling_a_task_cancels_its_call(router: FakeRouter) -> None:
    """A caller who gives up is obeyed, and the client goes on."""
    async with fanlight.AsyncClient(router.address) as client:
        hold = Hold(router)
        task = asyncio.create_task(client.list_collections())
        assert await asyncio.to_thread(hold.begun.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        hold.over.set()
        assert await client.list_collections() == []


def test_each_event_loop_has_its_own_connection(router: FakeRouter) -> None:
    """An asynchronous client may be used on one event loop after the other."""
    client = fanlight.AsyncClient(router.address)
    for _ in range(3):
        assert asyncio.run(client.list_collections()) == []


def test_threads_share_a_client(router: FakeRouter) -> None:
    """Many threads may search with one client at once."""
    with fanlight.Client(router.address) as client:
        movies = client.create_collection("movies", dim=4, metric="dot")
        vectors = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
        movies.upsert(range(50), vectors)
        expected = brute_force(vectors, router.collections["movies"], k=5).ids
        with ThreadPoolExecutor(8) as pool:
            found = pool.map(lambda vector: movies.search(vector, k=5).ids[0], vectors)
        np.testing.assert_array_equal(list(found), expected)


FORK = """
import gc, os, sys
import fanlight
client = fanlight.Client(sys.argv[1])
assert client.list_collections() == []
child = os.fork()
if child == 0:
    assert client.list_collections() == []
    client.close()
    gc.collect()
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert client.list_collections() == []
child = os.fork()
if child == 0:
    del client
    gc.collect()
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert client.list_collections() == []
"""


@pytest.mark.slow
def test_a_client_works_on_both_sides_of_a_fork(router: FakeRouter) -> None:
    """A child of a fork gets connections of its own and leaves its parent's alone."""
    command = [sys.executable, "-c", FORK, router.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    parent, child = router.peers[:2]
    assert child != parent
    assert router.peers == [parent, child, parent, parent]
