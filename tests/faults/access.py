"""Every RPC, called by those who may not.

The promise of each RPC stands here by itself, apart from the program's own table: who may call
it, and a request that names a collection. An RPC that has no row here fails the test.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.json_format import ParseDict
from grpc_reflection.v1alpha import reflection_pb2
from tests.faults.outcome import Outcome
from tests.faults.secure_cluster import SecureCluster, in_the_past, secure_cluster

from fanlight.access.policy import POLICY
from fanlight.v1 import search_pb2
from fanlight.wire.dialing import Identity
from fanlight.wire.serving import METHODS

OWN, SECRET = "shop-own", "secret"
# What the controls create, and delete.
_CONTROL = "shop-control"
CALL_S = 60.0
# What grpc.aio says when a stream is refused while a message is being written: it never looked at
# the server's answer. On a busy machine that is every second call.
_OF_THE_CLIENT = "Internal error from Core"
# A code, and whether a server gave it.
_Told: TypeAlias = tuple[grpc.StatusCode, bool]
REFUSED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)

# The least role, and a request of which {} is the name of a collection.
EXPECTED: dict[str, tuple[str, dict[str, Any]]] = {
    "ClusterService/AcceptData": ("admin", {}),
    "ClusterService/GetStatus": ("admin", {}),
    "CollectionService/CreateCollection": ("admin", {"spec": {"name": "{}", "dim": 4}}),
    "CollectionService/DeleteCollection": ("admin", {"name": "{}"}),
    "CollectionService/FinishRestore": ("admin", {"name": "{}"}),
    "CollectionService/GetCollection": ("read", {"name": "{}"}),
    "CollectionService/ListCollections": ("read", {}),
    "CollectionService/UpdateCollection": (
        "admin",
        {"name": "{}", "add_fields": {"new": "FIELD_TYPE_INT"}},
    ),
    "ItemService/CountItems": ("read", {"collection": "{}"}),
    "ItemService/DeleteItems": ("write", {"collection": "{}"}),
    "ItemService/ExportItems": ("read", {"collection": "{}"}),
    "ItemService/FacetItems": ("read", {"collection": "{}", "field": "n"}),
    "ItemService/GetItems": ("read", {"collection": "{}"}),
    "ItemService/ScrollItems": ("read", {"collection": "{}"}),
    "ItemService/UpsertItems": ("write", {"collection": "{}"}),
    "SearchService/Explain": ("read", {"search": {"collection": "{}", "k": 1}}),
    "SearchService/Search": ("read", {"collection": "{}", "k": 1}),
    "SearchService/SearchStream": (
        "read",
        {"searches": [{"tag": "1", "search": {"collection": "{}", "k": 1}}]},
    ),
    "SetService/AppendToSet": ("write", {"collection": "{}", "name": "seen"}),
    "SetService/DeleteSet": ("write", {"collection": "{}", "name": "seen"}),
    "SetService/ExpireSet": ("write", {"collection": "{}", "name": "seen"}),
    "SetService/GetSet": ("read", {"collection": "{}", "name": "seen"}),
    "SetService/RemoveFromSet": ("write", {"collection": "{}", "name": "seen"}),
}
_ROLES = ("read", "write", "admin")
_LISTS = "ListCollections"
_STREAMS = "SearchStream"
_EXPORTS = "ExportItems"


@dataclass(frozen=True)
class Trial:
    """One call that must be refused (or, for the control, must not)."""

    method: str
    intruder: str
    metadata: tuple[tuple[str, str], ...]
    request: bytes
    code: grpc.StatusCode | None


def bearer(key: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key}"),)


def request_of(method: str, collection: str) -> bytes:
    """Make a request of a method that names a collection."""
    service, _, name = method.strip("/").partition("/")
    found = descriptor_pool.Default().FindServiceByName(service)
    wanted = found.methods_by_name[name].input_type
    _, template = EXPECTED[method.removeprefix("/fanlight.v1.")]
    message = message_factory.GetMessageClass(wanted)()
    blob: bytes = ParseDict(_filled(template, collection), message).SerializeToString()
    return blob


def _filled(template: Any, collection: str) -> Any:
    if isinstance(template, dict):
        return {key: _filled(value, collection) for key, value in template.items()}
    if isinstance(template, list):
        return [_filled(value, collection) for value in template]
    return collection if template == "{}" else template


def give_keys(cluster: SecureCluster) -> None:
    """Make the keys of all intruders, and wait until both programs know them."""
    for role in _ROLES:
        cluster.keys.add(f"{role}-own", role, "shop-*")
        cluster.keys.add(f"{role}-all", role)
    cluster.keys.add("expired", "admin", expires=in_the_past())
    cluster.keys.add("gone", "admin")
    cluster.keys.revoke("gone")


def trials(cluster: SecureCluster) -> Iterator[Trial]:
    """List every RPC with everybody who may not call it."""
    keys, none = cluster.keys.of, grpc.StatusCode.UNAUTHENTICATED
    nobodies = {
        "no key": (),
        "wrong key": bearer(keys["admin-all"][:-1] + "~"),
        "upper-case key": bearer(keys["admin-all"].upper()),
        "empty key": bearer(""),
        "hash as key": bearer(_hash_in(cluster)),
        "expired": bearer(keys["expired"]),
        "revoked": bearer(keys["gone"]),
        "header api-key": (("api-key", keys["admin-all"]),),
        "header x-authorization": (("x-authorization", f"Bearer {keys['admin-all']}"),),
        "no scheme": (("authorization", keys["admin-all"]),),
        "scheme Basic": (("authorization", f"Basic {keys['admin-all']}"),),
        "two headers": bearer(keys["expired"]) + bearer(keys["admin-all"]),
    }
    for method in METHODS:
        role, _ = EXPECTED[method.removeprefix("/fanlight.v1.")]
        own, secret = request_of(method, OWN), request_of(method, SECRET)
        for intruder, metadata in nobodies.items():
            yield Trial(method, intruder, metadata, own, none)
        denied = grpc.StatusCode.PERMISSION_DENIED
        for lower in _ROLES[: _ROLES.index(role)]:
            yield Trial(method, f"role {lower}", bearer(keys[f"{lower}-all"]), own, denied)
        if not method.endswith(_LISTS):
            metadata = bearer(keys[f"{role}-own"])
            yield Trial(method, "wrong collection", metadata, secret, denied)


def controls(cluster: SecureCluster) -> Iterator[Trial]:
    """List every RPC with the least of those who may call it."""
    for method in METHODS:
        role, _ = EXPECTED[method.removeprefix("/fanlight.v1.")]
        holder = f"{role}-all" if "ClusterService" in method else f"{role}-own"
        metadata = bearer(cluster.keys.of[holder])
        yield Trial(method, f"control: {holder}", metadata, request_of(method, _CONTROL), None)


def _hash_in(cluster: SecureCluster) -> str:
    return next(
        line.split()[-1] for line in cluster.keys.path.read_text().splitlines() if "sha256" in line
    )


async def passed(channel: grpc.aio.Channel, trial: Trial) -> str:
    """Make a call; say what went wrong, or ""."""
    code = await _code(channel, trial)
    if trial.code is None:
        return f"{trial.method} refused {trial.intruder}: {code}" if code in REFUSED else ""
    return "" if code is trial.code else f"{trial.method} let {trial.intruder} pass: {code}"


async def _code(channel: grpc.aio.Channel, trial: Trial) -> grpc.StatusCode:
    """Give the code of a call, as the server means it."""
    return await _meant(lambda: _code_once(channel, trial))


async def _meant(ask: Callable[[], Awaitable[_Told]]) -> grpc.StatusCode:
    """Ask until it is the server who answers; what it says counts, whatever it is.

    Raises:
        AssertionError: it never is.
    """
    deadline = time.monotonic() + CALL_S
    while time.monotonic() < deadline:
        # The error that there is nothing to write to any more comes before the server's answer.
        with suppress(asyncio.InvalidStateError):
            code, by_server = await ask()
            if by_server:
                return code
    raise AssertionError("no server has answered")


async def _code_once(channel: grpc.aio.Channel, trial: Trial) -> _Told:
    try:
        if trial.method.endswith(_STREAMS):
            return await _code_of_stream(channel, trial), True
        if trial.method.endswith(_EXPORTS):
            rows: Any = channel.unary_stream(trial.method)
            async for _ in rows(trial.request, metadata=trial.metadata, timeout=CALL_S):
                pass
            return grpc.StatusCode.OK, True
        call: Any = channel.unary_unary(trial.method)
        await call(trial.request, metadata=trial.metadata, timeout=CALL_S)
    except grpc.aio.AioRpcError as error:
        return _told(error)
    return grpc.StatusCode.OK, True


def _told(error: grpc.aio.AioRpcError) -> _Told:
    by_client = error.code() is grpc.StatusCode.INTERNAL and error.details() == _OF_THE_CLIENT
    return error.code(), not by_client


async def _code_of_stream(channel: grpc.aio.Channel, trial: Trial) -> grpc.StatusCode:
    """Give the code of the stream, or else that of the one answer on it."""
    stream: Any = channel.stream_stream(trial.method)(metadata=trial.metadata, timeout=CALL_S)
    await stream.write(trial.request)
    await stream.done_writing()
    answers = [
        answer
        async for blob in stream
        for answer in search_pb2.SearchStreamResponse.FromString(blob).answers
    ]
    assert len(answers) == 1
    if answers[0].WhichOneof("outcome") != "error":
        return grpc.StatusCode.OK
    return next(code for code in grpc.StatusCode if code.value[0] == answers[0].error.code)


async def reflection_code(channel: grpc.aio.Channel, metadata: Any) -> grpc.StatusCode:
    """Ask for the list of services."""
    path = next(path for path in POLICY if "ServerReflection" in path)
    asked = reflection_pb2.ServerReflectionRequest(list_services="*").SerializeToString()

    async def ask() -> _Told:
        stream: Any = channel.stream_stream(path)(metadata=metadata, timeout=CALL_S)
        try:
            await stream.write(asked)
            await stream.done_writing()
            async for _ in stream:
                return grpc.StatusCode.OK, True
        except grpc.aio.AioRpcError as error:
            return _told(error)
        return await stream.code(), True

    return await _meant(ask)


@asynccontextmanager
async def channel_to(cluster: SecureCluster, address: str) -> AsyncIterator[grpc.aio.Channel]:
    """Connect with a certificate and without a key."""
    channel = Identity.of(cluster.user_files.tls).async_channel(address, [])
    try:
        yield channel
    finally:
        await channel.close()


async def run_matrix(cluster: SecureCluster) -> tuple[int, list[str]]:
    """Make every trial against the router and the shard; give their number and what passed."""
    made, wrong = 0, []
    for process in (cluster.router, cluster.shard):
        async with channel_to(cluster, process.address) as channel:
            await _await_keys(channel, cluster)
            for trial in (*trials(cluster), *controls(cluster)):
                made += 1
                if complaint := await passed(channel, trial):
                    wrong.append(f"{process.name}: {complaint}")
            for metadata, right in (((), REFUSED[0]), (bearer(cluster.keys.of["root"]), None)):
                made += 1
                code = await reflection_code(channel, metadata)
                if code is not (right or grpc.StatusCode.OK):
                    wrong.append(f"{process.name}: reflection: {code}")
    return made, wrong


async def _await_keys(channel: grpc.aio.Channel, cluster: SecureCluster) -> None:
    """Wait until a program has read the newest keys."""
    method = next(method for method in METHODS if method.endswith(_LISTS))
    metadata = bearer(cluster.keys.of["admin-all"])
    newest = Trial(method, "newest", metadata, request_of(method, OWN), None)
    await until(channel, newest, refused=False)


async def until(channel: grpc.aio.Channel, trial: Trial, *, refused: bool) -> None:
    """Make a call until it is refused, or no longer is: keys are read within seconds."""
    deadline = time.monotonic() + CALL_S
    while (await _code(channel, trial) in REFUSED) is not refused:
        assert time.monotonic() < deadline, f"{trial.intruder}: the keys were never read"
        await asyncio.sleep(0.05)


def secrets_in_logs(cluster: SecureCluster) -> list[str]:
    """List the holders whose keys, or hashes of keys, stand in a log."""
    logs = "".join(p.program.log_path.read_text(encoding="utf-8") for p in cluster.processes)
    hashes = [
        line.split()[-1] for line in cluster.keys.path.read_text().splitlines() if "sha256" in line
    ]
    found = [name for name, key in cluster.keys.of.items() if key in logs]
    return found + [text for text in hashes if text in logs]


def run(seconds: float, seed: int) -> Outcome:
    """Make the whole matrix, again and again until the time is over."""
    until, made, wrong, rounds = time.monotonic() + seconds, 0, list[str](), 0
    with tempfile.TemporaryDirectory() as folder, secure_cluster(Path(folder)) as cluster:
        with cluster.client("root") as client:
            client.create_collection(OWN, dim=4)
            client.create_collection(SECRET, dim=4)
        give_keys(cluster)
        while rounds == 0 or time.monotonic() < until:
            more, complaints = asyncio.run(run_matrix(cluster))
            made, rounds = made + more, rounds + 1
            wrong += complaints
        wrong += [f"in a log: {name}" for name in secrets_in_logs(cluster)]
        crashes = sum(process.exit_status is not None for process in cluster.processes)
    return Outcome(
        fault="calls by those who may not",
        trials=made,
        wrong=len(wrong),
        crashes=crashes,
        control="the least sufficient key is let in; a policy with a hole is reported",
        notes="; ".join(wrong[:5])
        or f"{len(METHODS)} RPCs on a router and a shard, {rounds} rounds",
    )
