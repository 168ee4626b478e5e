"""Who may not call is refused, by every RPC, of a router and of a shard."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tests.faults import access
from tests.faults.secure_cluster import SecureCluster, secure_cluster
from tests.wire.serving_shard import serving_shard

import fanlight
from fanlight.access.keys import watch_keys
from fanlight.access.policy import POLICY, Role, Rule, Scope
from fanlight.limits import Limits
from fanlight.v1 import collections_pb2
from fanlight.wire.authorizer import Authorizer
from fanlight.wire.security import Security
from fanlight.wire.serving import METHODS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureCluster]:
    """Start one cluster for all tests of this module."""
    with secure_cluster(tmp_path_factory.mktemp("secure")) as running:
        with running.client("root") as root:
            for name in (access.OWN, access.SECRET):
                root.create_collection(name, dim=4).upsert([1, 2], np.eye(2, 4, dtype=np.float32))
        access.give_keys(running)
        yield running


def test_every_rpc_has_a_row() -> None:
    """An RPC of the contract that nobody has judged here fails this test."""
    assert {f"/fanlight.v1.{name}" for name in access.EXPECTED} == set(METHODS)
    assert set(METHODS) <= POLICY.keys()


async def test_nobody_passes_who_may_not(cluster: SecureCluster) -> None:
    """No RPC of either program lets anybody pass; the least sufficient key is let in."""
    made, wrong = await access.run_matrix(cluster)
    assert made > 2 * len(METHODS) * 12
    assert wrong == []


HOLES = {
    "an RPC for everybody": (
        "/fanlight.v1.ItemService/CountItems",
        Rule(Role.READ, scope=Scope.LISTED),
    ),
    "a role too low": (
        "/fanlight.v1.ItemService/UpsertItems",
        Rule(Role.READ, "collection"),
    ),
    "a stream whose searches are not judged": (
        "/fanlight.v1.SearchService/SearchStream",
        Rule(Role.ADMIN, scope=Scope.LISTED),
    ),
}


@pytest.mark.parametrize("hole", HOLES)
async def test_a_policy_with_a_hole_is_seen(cluster: SecureCluster, hole: str) -> None:
    """The positive control: the same trials find a hole, and nothing where there is none."""
    method, rule = HOLES[hole]
    keys = watch_keys(str(cluster.keys.path))
    found = {}
    for name, policy in (("whole", POLICY), ("holed", {**POLICY, method: rule})):
        security = Security(keys=keys, authorizer=Authorizer(keys, policy=policy))
        async with serving_shard(Limits(), 2, security) as shard:
            wanted = [
                t
                for t in (*access.trials(cluster), *access.controls(cluster))
                if t.method == method
            ]
            found[name] = [
                c for trial in wanted if (c := await access.passed(shard.channel, trial))
            ]
    assert found["whole"] == []
    assert found["holed"]


def test_a_key_sees_its_collections_only(cluster: SecureCluster) -> None:
    """Listing shows what a key covers, and tells nothing of the rest."""
    with cluster.client("read-own") as client:
        assert [info.spec.name for info in client.list_collections()] == [access.OWN]
    with cluster.client("read-all") as client:
        assert [i.spec.name for i in client.list_collections()] == [access.SECRET, access.OWN]


async def test_a_refused_search_leaves_its_neighbours(cluster: SecureCluster) -> None:
    """On one stream a search of a forbidden collection fails alone."""
    client = fanlight.AsyncClient(
        cluster.router.address, tls=cluster.user_files.tls, api_key=cluster.keys.of["read-own"]
    )
    async with client:
        query = np.ones((1, 4), dtype=np.float32)
        searches = [
            client.collection(name).search(query, k=1, timeout=access.CALL_S)
            for name in (access.OWN, access.SECRET, access.OWN)
        ]
        first, refused, last = await asyncio.gather(*searches, return_exceptions=True)
    assert isinstance(refused, fanlight.PermissionDenied)
    assert isinstance(first, fanlight.Hits)
    assert isinstance(last, fanlight.Hits)


async def test_a_wrong_key_is_told_so_on_a_stream(cluster: SecureCluster) -> None:
    """Whatever gRPC makes of a stream that is refused, the user learns that his key is wrong."""
    for _ in range(20):
        client = fanlight.AsyncClient(
            cluster.router.address, tls=cluster.user_files.tls, api_key="wrong"
        )
        async with client:
            with pytest.raises(fanlight.Unauthenticated):
                await client.collection(access.OWN).search(np.ones((1, 4), dtype=np.float32), k=1)


async def test_a_revoked_key_ends_its_stream(cluster: SecureCluster) -> None:
    """A stream that was opened with a key asks nothing more when the key is revoked."""
    path = next(method for method in METHODS if method.endswith("SearchStream"))
    metadata = access.bearer(cluster.keys.add("leaver", "read"))
    message = access.request_of(path, access.OWN)
    trial = access.Trial(path, "leaver", metadata, message, None)
    async with access.channel_to(cluster, cluster.shard.address) as channel:
        await access.until(channel, trial, refused=False)
        stream: Any = channel.stream_stream(path)(metadata=metadata, timeout=access.CALL_S)
        await stream.write(message)
        assert await stream.read()
        cluster.keys.revoke("leaver")
        await access.until(channel, trial, refused=True)
        await stream.write(message)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await stream.read()
    assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_only_routers_set_versions(cluster: SecureCluster) -> None:
    """An administrator who sets a collection's version by hand is refused."""
    path = next(m for m in METHODS if m.endswith("DeleteCollection"))
    request = collections_pb2.DeleteCollectionRequest(name=access.OWN, version=1 << 60)
    metadata = access.bearer(cluster.keys.of["admin-all"])
    trial = access.Trial(path, "admin", metadata, request.SerializeToString(), access.REFUSED[1])
    async with access.channel_to(cluster, cluster.shard.address) as channel:
        assert await access.passed(channel, trial) == ""


async def test_the_health_port_serves_nothing_else(cluster: SecureCluster) -> None:
    """The plain port for probes knows no RPC of ours, and no reflection."""
    async with grpc.aio.insecure_channel(cluster.health_address) as channel:
        for method in (*METHODS, *(path for path in POLICY if "Reflection" in path)):
            call: Any = channel.unary_unary(method)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(b"", timeout=access.CALL_S)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
        health: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert await health(b"", timeout=access.CALL_S) == b"\x08\x01"


def test_the_audit_log_names_who_and_what(cluster: SecureCluster) -> None:
    """Refusals and administrators' calls are recorded by name, and no key or hash ever is."""
    with cluster.client("read-own") as client, pytest.raises(fanlight.PermissionDenied):
        client.create_collection("mine", dim=4)
    records = [r for r in cluster.log_of(cluster.router) if r.get("logger") == "fanlight.audit"]
    admin = next(r for r in records if r["event"] == "admin call")
    assert (admin["who"], admin["code"]) == ("root", "OK")
    assert admin["method"] == "/fanlight.v1.CollectionService/CreateCollection"
    assert admin["collection"] == access.OWN
    assert admin["peer"].startswith("ipv4:127.0.0.1:")
    assert any(r["event"] == "refused" for r in records)
    assert access.secrets_in_logs(cluster) == []


def test_the_short_form_of_the_fault_runs(tmp_path: Path) -> None:
    """What `make torture` runs finds nothing, with no time for a second round."""
    outcome = access.run(0, 0)
    assert outcome.failures == 0, outcome.notes
