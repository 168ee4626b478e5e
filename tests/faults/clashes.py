"""Two of what may be only one: ports, data directories, sockets, shard maps.

The second is refused, with words that name the first, and the first goes on as if nothing had
been. Whoever starts by mistake what runs already must neither stop it nor share its work.
"""

from __future__ import annotations

import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tests.faults.clusters import running
from tests.faults.outcome import Outcome
from tests.waiting import wait_until

import fanlight
from fanlight.cli.local_cluster import ROUTER, LocalCluster
from fanlight.cli.local_config import LocalConfig, merged
from fanlight.cli.process import Process, Program
from fanlight.cluster import ShardState
from fanlight.errors import FanlightError, NotReady
from fanlight.placement import shards_of
from fanlight.ports import owner_of_socket
from fanlight.provenance import shown

SHARDS = 2
NAME = "items"
IDS = np.arange(400)
VECTORS = np.random.default_rng(3).standard_normal((len(IDS), 4)).astype(np.float32)
START_S = 120.0
CALL_S = 120.0


@dataclass(frozen=True, slots=True)
class Clash:
    """A second of something.

    Attributes:
        what: of what.
        provoke: starts it over a running cluster with a folder of its own; gives the words of the
            refusal, or "" when it was not refused.
        named: gives patterns that these words must match.
    """

    what: str
    provoke: Callable[[LocalCluster, Path], str]
    named: Callable[[LocalCluster], list[str]]


# --- starting a second one ----------------------------------------------------------------------


def _start(module: str, keys: Mapping[str, Any], folder: Path) -> str:
    """Start a program; give what it said when it ended, or "" when it serves."""
    process = Process(Program("second", module, folder, keys))
    deadline = time.monotonic() + START_S
    try:
        process.await_address(deadline)
        process.await_serving(deadline)
        return ""
    except NotReady as refused:
        return str(refused)
    finally:
        process.kill()
        process.await_end()


def _keys_of(cluster: LocalCluster, name: str, /, **changed: Any) -> dict[str, Any]:
    return merged(cluster.process(name).program.keys, changed)


def _server(**changed: Any) -> Callable[[LocalCluster, Path], str]:
    """Make what starts shard-0 again, with other keys."""

    def provoke(cluster: LocalCluster, folder: Path) -> str:
        made = {key: _resolved(value, cluster, folder) for key, value in changed.items()}
        return _start("fanlight_server", _keys_of(cluster, "shard-0", **made), folder)

    return provoke


def _resolved(value: Any, cluster: LocalCluster, folder: Path) -> Any:
    return value(cluster, folder) if callable(value) else value


def _elsewhere(_: LocalCluster, folder: Path) -> str:
    return str(folder / "data")


def _free(_: LocalCluster, folder: Path) -> dict[str, Any]:
    return {"port": 0, "socket": str(folder / "s.sock")}


def _same_socket(_: LocalCluster, __: Path) -> dict[str, Any]:
    return {"port": 0}


def _another_cluster(cluster: LocalCluster, folder: Path) -> str:
    """Start a whole cluster on the same ports, with data of its own."""
    shape = replace(cluster.config.cluster, data=folder / "data")
    return _up(LocalCluster(LocalConfig(cluster=shape)))


def _same_cluster(cluster: LocalCluster, _: Path) -> str:
    """Start a whole cluster on the same data, on free ports."""
    return _up(LocalCluster(LocalConfig(cluster=replace(cluster.config.cluster, port=0))))


def _up(second: LocalCluster) -> str:
    try:
        with second:
            return ""
    except FanlightError as refused:
        return str(refused)


def _moved(name: str, **changed: Any) -> Callable[[LocalCluster, Path], str]:
    """Make what starts another shard over the data of shard-1, which is down meanwhile."""

    def provoke(cluster: LocalCluster, folder: Path) -> str:
        keys = _keys_of(cluster, name, data=str(cluster.process("shard-1").program.data))
        cluster.kill("shard-1")
        try:
            keys = merged(keys, {"listen": _free(cluster, folder), **changed})
            return _start("fanlight_server", keys, folder)
        finally:
            cluster.restart("shard-1")

    return provoke


# --- a second shard map -------------------------------------------------------------------------


def _router(
    order: Callable[[list[str]], list[str]], **changed: Any
) -> Callable[[LocalCluster, Path], str]:
    """Make what starts a router with another map, and writes through it."""

    def provoke(cluster: LocalCluster, folder: Path) -> str:
        keys = _keys_of(cluster, ROUTER, listen={"port": 0}, **changed)
        keys |= {"shards": order(keys["shards"]), "sockets": order(keys["sockets"])}
        with _serving("fanlight_router", keys, folder) as process:
            return _refusals(process.address, slice(None))

    return provoke


def _second_shard(cluster: LocalCluster, folder: Path) -> str:
    """Start another shard-1 with data of its own, and a router with that one in its map."""
    at_shard = folder / "shard"
    listen = _free(cluster, folder)
    keys = _keys_of(cluster, "shard-1", data=_elsewhere(cluster, folder), listen=listen)
    with _serving("fanlight_server", keys, at_shard) as shard:
        keys = _keys_of(cluster, ROUTER, listen={"port": 0})
        keys["shards"] = [keys["shards"][0], shard.address]
        keys["sockets"] = [keys["sockets"][0], listen["socket"]]
        with _serving("fanlight_router", keys, folder / "router") as router:
            return _refusals(router.address, slice(1, 2))


@contextmanager
def _serving(module: str, keys: Mapping[str, Any], folder: Path) -> Iterator[Process]:
    """Run a program that is expected to serve."""
    folder.mkdir(exist_ok=True)
    process = Process(Program("second", module, folder, keys))
    try:
        process.await_address(time.monotonic() + START_S)
        process.await_serving(time.monotonic() + START_S)
        yield process
    finally:
        process.kill()
        process.await_end()


def _refusals(address: str, wrong: slice) -> str:
    """Give what a router says of the shards that are wrong, if it sends them nothing; else ""."""
    with fanlight.Client(address, max_attempts=1) as client:
        shards = client.status(timeout=CALL_S).shards
        if not all(shard.state is ShardState.MISMATCHED for shard in shards[wrong]):
            return ""
        theirs = np.isin(shards_of(IDS, len(shards)), range(len(shards))[wrong])
        items, said = client.collection(NAME), [str(shard.error) for shard in shards[wrong]]
        for call in (
            lambda: items.upsert(IDS[theirs], VECTORS[::-1][theirs], timeout=CALL_S),
            lambda: items.search(VECTORS[:1], k=1, timeout=CALL_S),
        ):
            try:
                call()
            except FanlightError as refused:
                said.append(str(refused))
            else:
                return ""
    return "\n".join(said)


# --- the table ----------------------------------------------------------------------------------


def _pid(name: str) -> Callable[[LocalCluster], list[str]]:
    return lambda cluster: [rf"\b(pid|process) {cluster.process(name).pid}\b"]


def _every_pid(cluster: LocalCluster) -> list[str]:
    return [rf"\bpid {process.pid}\b" for process in cluster.processes]


def _launcher(_: LocalCluster) -> list[str]:
    return [r"in use by pid \d+"]


def _data_of_shard_1(cluster: LocalCluster) -> list[str]:
    with fanlight.Client(cluster.address) as client:
        data_id = client.status(timeout=CALL_S).shards[1].data_id
    return [rf"shard-1 stands on data \w+, but shard-0 met it with {shown(data_id)}"]


def _texts(*patterns: str) -> Callable[[LocalCluster], list[str]]:
    return lambda _: list(patterns)


CLASHES: tuple[Clash, ...] = (
    Clash("two clusters on the same ports", _another_cluster, _every_pid),
    Clash("two clusters on one data directory", _same_cluster, _launcher),
    Clash(
        "two shard servers on one port",
        _server(data=_elsewhere, listen=lambda _, folder: {"socket": str(folder / "s.sock")}),
        _pid("shard-0"),
    ),
    Clash(
        "two shard servers on one socket",
        _server(data=_elsewhere, listen=_same_socket),
        _pid("shard-0"),
    ),
    Clash("two shard servers on one data directory", _server(listen=_free), _pid("shard-0")),
    Clash(
        "a shard server over another shard's data",
        _moved("shard-0"),
        _texts("shard 1 of 2 of cluster 'local'", "configured is shard 0 of 2"),
    ),
    Clash(
        "a shard server over another cluster's data",
        _moved("shard-1", cluster="other"),
        _texts("shard 1 of 2 of cluster 'local'", "configured is shard 1 of 2 of cluster 'other'"),
    ),
    Clash(
        "a shard server over data of another number of shards",
        _moved("shard-1", shard={"index": 1, "count": 3}),
        _texts("shard 1 of 2 of cluster 'local'", "configured is shard 1 of 3"),
    ),
    Clash(
        "two routers, one with the shards in another order",
        _router(lambda shards: shards[::-1]),
        _texts("expects shard-0 of 2 .* got shard-1 of 2", "expects shard-1 .* got shard-0"),
    ),
    Clash(
        "two routers, one with fewer shards",
        _router(lambda shards: shards[:1]),
        _texts("expects shard-0 of 1 of cluster 'local', got shard-0 of 2 of cluster 'local'"),
    ),
    Clash(
        "two routers, one with more shards",
        _router(lambda shards: [*shards, shards[0]]),
        _texts("expects shard-0 of 3 .* got shard-0 of 2", "expects shard-2 of 3 .* got shard-0"),
    ),
    Clash(
        "two routers, one of another cluster",
        _router(lambda shards: shards, cluster="other"),
        _texts("expects shard-0 of 2 of cluster 'other', got shard-0 of 2 of cluster 'local'"),
    ),
    Clash(
        "two routers, one with another server in the place of a shard",
        _second_shard,
        _data_of_shard_1,
    ),
)


def tried(clash: Clash, cluster: LocalCluster) -> str:
    """Provoke a clash; say what was wrong about how it ended, "" for nothing."""
    with tempfile.TemporaryDirectory() as folder:
        said = clash.provoke(cluster, Path(folder))
    if not said:
        return f"{clash.what}: was not refused"
    unnamed = [pattern for pattern in clash.named(cluster) if not re.search(pattern, said)]
    if unnamed:
        return f"{clash.what}: refused without {unnamed}: {said}"
    if harm := harmed(cluster):
        return f"{clash.what}: {harm}"
    return ""


def harmed(cluster: LocalCluster) -> str:
    """Say what has become of a cluster that should not have noticed; "" for nothing."""
    for process in cluster.processes:
        if process.exit_status is not None:
            return f"{process.name} {process.ending()}"
        path = process.program.keys["listen"].get("socket")
        if path and f"pid {process.pid} " not in (owner_of_socket(path) or "nobody"):
            return f"the socket of {process.name} is not its own any more"
    with fanlight.Client(cluster.address) as client:
        try:
            wait_until(lambda: client.status(timeout=CALL_S).complete, CALL_S, step_s=0.02)
        except AssertionError:
            return "the cluster is not whole"
        got = client.collection(NAME).get(IDS, timeout=CALL_S)
    same = got.vectors is not None and np.array_equal(got.vectors, VECTORS)
    return "" if same else "items have changed"


def fill(cluster: LocalCluster) -> None:
    """Write the items that must stay as they are."""
    with fanlight.Client(cluster.address) as client:
        client.create_collection(NAME, dim=VECTORS.shape[1]).upsert(IDS, VECTORS, timeout=CALL_S)


def caught(cluster: LocalCluster) -> str:
    """Show that what is not refused, and what changes items, would be seen.

    Raises:
        AssertionError: it is not.
    """
    harmless = Clash("a server of its own", _server(data=_elsewhere, listen=_free), _launcher)
    assert "was not refused" in tried(harmless, cluster)
    with fanlight.Client(cluster.address) as client:
        client.collection(NAME).upsert(IDS[:1], VECTORS[1:2], timeout=CALL_S)
        assert "items have changed" in harmed(cluster)
        client.collection(NAME).upsert(IDS[:1], VECTORS[:1], timeout=CALL_S)
    return (
        "a second server that clashes with nothing is seen as not refused; a changed item is seen"
    )


def run(seconds: float, seed: int) -> Outcome:
    """Provoke every clash, and again in another order until the time is over."""
    ends, choice = time.monotonic() + seconds, random.Random(seed)
    wrong: list[str] = []
    trials = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), shards=SHARDS) as cluster,
    ):
        fill(cluster)
        control = caught(cluster)
        while not wrong and (not trials or time.monotonic() < ends):
            for clash in choice.sample(CLASHES, len(CLASHES)):
                wrong += [told] if (told := tried(clash, cluster)) else []
                trials += 1
        crashes = sum(process.exit_status is not None for process in cluster.processes)
    return Outcome(
        fault="two on the same ports, data, socket, or with different shard maps",
        trials=trials,
        acknowledged=len(IDS),
        wrong=len(wrong),
        crashes=crashes,
        control=control,
        notes="; ".join([f"{len(CLASHES)} clashes", *wrong]),
    )
