"""TLS that does not fit, and certificates that change while everybody calls."""

from __future__ import annotations

import asyncio
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import trustme
from tests.faults.outcome import Outcome
from tests.faults.secure_cluster import (
    HOSTS,
    ROUTER_NAME,
    Files,
    SecureCluster,
    in_the_past,
    issued,
    secure_cluster,
)
from tests.waiting import wait_until

import fanlight
from fanlight.access.tls import Tls
from fanlight.cli.process import Process
from fanlight.cluster import ShardState
from fanlight.config import AccessConfig, ListenConfig, TlsConfig
from fanlight.limits import Limits
from fanlight.placement import ShardIdentity
from fanlight.wire.dialing import Identity
from fanlight.wire.security import Security
from fanlight.wire.serving import Shell
from fanlight_router.remote import RemoteShard, SearchEncoder

COLLECTION = "items"
WAIT_S = 60.0
_CALL_S = 20.0
_COMPLAINT = "cannot use new files; the old ones stay in use"
# Of the shard's, the router's and the user's certificates.
NAMES = (HOSTS, (*HOSTS, ROUTER_NAME), ("user.fanlight.test",))
_HEALTH = "/grpc.health.v1.Health/Check"
_WORKERS = 2
_CUT_OFF = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)

Attempt = Callable[[], Awaitable[bool]]


async def _connects(address: str, identity: Identity) -> bool:
    """Tell whether a call gets through; health is asked for, which needs no key."""
    channel = identity.async_channel(address, [])
    try:
        call: Any = channel.unary_unary(_HEALTH)
        await call(b"", timeout=_CALL_S)
    except grpc.aio.AioRpcError as error:
        return error.code() not in _CUT_OFF
    finally:
        await channel.close()
    return True


def _is_accepted(address: str, identity: Identity, accepted: bool) -> bool:
    return asyncio.run(_connects(address, identity)) is accepted


async def _is_served(cluster: SecureCluster, tls: Tls) -> bool:
    """Tell whether the shard serves a router that shows this certificate."""
    shard = RemoteShard(
        ShardIdentity("secure", 0, 1),
        cluster.shard.address,
        SearchEncoder(),
        1 << 20,
        identity_shown=Identity.of(tls),
    )
    try:
        return (await shard.status(_CALL_S, wait=False)).state is ShardState.SERVING
    finally:
        await shard.close()


async def _serves_expired(folder: Path, ca: trustme.CA) -> bool:
    """Tell whether a server with an expired certificate is trusted."""
    files = Files(folder / "expired-server")
    files.issue(ca, *HOSTS, until=in_the_past())
    security = Security.of(TlsConfig(cert=str(files.cert), key=str(files.key)), AccessConfig())
    shell = Shell(Limits(), security)
    port = await shell.start(ListenConfig(port=0))
    try:
        return await _connects(f"127.0.0.1:{port}", Identity.of(Tls(ca=str(files.ca))))
    finally:
        await shell.drain(0)


def attempts(cluster: SecureCluster, folder: Path) -> dict[str, tuple[Attempt, bool]]:
    """List every mismatch, and whether it must get through: only the controls must."""
    user, stranger = cluster.user_files, trustme.CA()
    foreign, expired, other = (
        Files(folder / name) for name in ("foreign", "expired", "other-router")
    )
    foreign.issue(stranger, "user.fanlight.test")
    expired.issue(cluster.ca, "user.fanlight.test", until=in_the_past())
    other.issue(cluster.ca, "other.fanlight.test")
    ca, cert, key = (str(path) for path in (user.ca, user.cert, user.key))
    shown = {
        "plain text to TLS": None,
        "wrong authority for the server": Tls(str(foreign.ca), cert, key),
        "gRPC's own authorities": Tls("", cert, key),
        "no client certificate": Tls(ca),
        "client certificate of another authority": Tls(ca, str(foreign.cert), str(foreign.key)),
        "expired client certificate": Tls(ca, str(expired.cert), str(expired.key)),
        "wrong server name": Tls(ca, cert, key, "elsewhere.example"),
    }
    found: dict[str, tuple[Attempt, bool]] = {}
    for process in cluster.processes:
        for what, tls in shown.items():
            found[f"{process.name}: {what}"] = (_to(process.address, tls), False)
        found[f"{process.name}: control"] = (_to(process.address, user.tls), True)
    found["TLS to plain text"] = (_to(cluster.health_address, Tls(ca)), False)
    found["plain text to plain text: control"] = (_to(cluster.health_address, None), True)
    found["expired server certificate"] = (lambda: _serves_expired(folder, cluster.ca), False)
    router = cluster.router_files.tls
    routers = {
        "a name that is not trusted": other.tls,
        "a certificate of another authority": Tls(ca, str(foreign.cert), str(foreign.key)),
        "no certificate": Tls(ca),
        "wrong shard name": Tls(router.ca, router.cert, router.key, "elsewhere.example"),
    }
    for what, tls in routers.items():
        found[f"router to shard: {what}"] = (_as_router(cluster, tls), False)
    found["router to shard: control"] = (_as_router(cluster, router), True)
    return found


def _to(address: str, tls: Tls | None) -> Attempt:
    return lambda: _connects(address, Identity.of(tls))


def _as_router(cluster: SecureCluster, tls: Tls) -> Attempt:
    return lambda: _is_served(cluster, tls)


async def run_matrix(cluster: SecureCluster, folder: Path) -> tuple[int, list[str]]:
    """Try every mismatch; give their number and what went another way than it must."""
    found = attempts(cluster, folder)
    wrong = [what for what, (attempt, right) in found.items() if await attempt() is not right]
    return len(found), wrong


class Load:
    """Callers that search and write without a pause, on old connections and on new ones.

    Attributes:
        calls: how many were made.
        failures: what failed.
    """

    def __init__(self, cluster: SecureCluster) -> None:
        self._cluster = cluster
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(n,)) for n in range(_WORKERS)]
        self.calls = 0
        self.failures: list[str] = []

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, number: int) -> None:
        with self._cluster.client("root") as old:
            while not self._stop.is_set():
                with self._cluster.client("root") as new:
                    for client in (old, new):
                        self._call_once(client, number)

    def _call_once(self, client: fanlight.Client, number: int) -> None:
        items = client.collection(COLLECTION)
        vector = np.full((1, 4), number + 1, dtype=np.float32)
        try:
            items.upsert([number], vector, timeout=WAIT_S)
            hits = items.search(vector, k=1, timeout=WAIT_S)
            if hits.coverage.shards_answered != 1:
                self.failures.append("partial")
        except fanlight.FanlightError as error:
            self.failures.append(f"{type(error).__name__}: {error}")
        self.calls += 2


def served_certificate(address: str) -> bytes:
    """Ask a server for the certificate that it shows to new callers."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, int(port)), timeout=_CALL_S) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""


def first_in(path: Path) -> bytes:
    """Read the first certificate of a file."""
    return ssl.PEM_cert_to_DER_cert(path.read_text().split("-----END")[0] + _PEM_END)


_PEM_END = "-----END CERTIFICATE-----\n"


def _within_seconds(condition: Callable[[], object], what: str) -> None:
    wait_until(condition, WAIT_S, what, step_s=0.02)


def rotate(cluster: SecureCluster) -> None:
    """Replace the authority and every certificate, as people do: trust both, reissue, trust one."""
    old, new = cluster.ca, trustme.CA()
    probes = [_probe(cluster, ca, old) for ca in (old, new)]
    with _renewal(cluster):
        for files in cluster.all_files:
            files.replace(ca=old.cert_pem.bytes() + new.cert_pem.bytes())
        _await_verdict(cluster, probes[1], accepted=True)
    with _renewal(cluster):
        for files, names in zip(cluster.all_files, NAMES, strict=True):
            files.replace(None, *issued(new, *names))
        for process, files in _servers(cluster):
            _await_served(process.address, first_in(files.cert))
    with _renewal(cluster):
        for files in cluster.all_files:
            files.replace(ca=new.cert_pem.bytes())
        outdated = _probe(cluster, old, new)
        _await_verdict(cluster, outdated, accepted=False)
    cluster.ca = new


def _servers(cluster: SecureCluster) -> Any:
    return zip(cluster.processes, cluster.all_files[:2], strict=True)


def _probe(cluster: SecureCluster, shown: trustme.CA, trusted: trustme.CA) -> Identity:
    """Make a caller with a certificate of one authority who trusts another."""
    files = Files(Path(tempfile.mkdtemp(dir=cluster.folder)) / "probe")
    files.replace(trusted.cert_pem.bytes(), *issued(shown, "user.fanlight.test"))
    return Identity.of(files.tls)


def _await_verdict(cluster: SecureCluster, probe: Identity, *, accepted: bool) -> None:
    """Wait until both programs judge callers by the new authorities."""
    for process in cluster.processes:
        judged = partial(_is_accepted, process.address, probe, accepted)
        _within_seconds(judged, f"{process.name} has the new authorities")


def _await_served(address: str, certificate: bytes) -> None:
    _within_seconds(
        lambda: served_certificate(address) == certificate, "the new certificate is served"
    )


@contextmanager
def _renewal(cluster: SecureCluster) -> Iterator[None]:
    """Wait at the end until the router has a new connection to the shard."""
    before = _count(cluster, cluster.router, "renewed the connection")
    yield
    _within_seconds(
        lambda: _count(cluster, cluster.router, "renewed the connection") > before,
        "the router renewed its connection",
    )


def break_files(cluster: SecureCluster) -> list[str]:
    """Leave files half written, mismatched and open to all; say who did not complain."""
    silent = []
    stranger = issued(trustme.CA(), *HOSTS)[1]
    cases: tuple[tuple[str, int, Callable[[bytes], bytes]], ...] = (
        ("cert", 0o600, lambda blob: blob[: len(blob) // 2]),
        ("key", 0o600, lambda blob: stranger),
        ("key", 0o644, lambda blob: blob),
    )
    for name, mode, spoil in cases:
        files = [getattr(files, name) for files in cluster.all_files[:2]]
        whole = [path.read_bytes() for path in files]
        before = [_count(cluster, process, _COMPLAINT) for process in cluster.processes]
        for path, blob in zip(files, whole, strict=True):
            path.write_bytes(spoil(blob))
            path.chmod(mode)
        for process, count in zip(cluster.processes, before, strict=True):
            try:
                _within_seconds(partial(_complains, cluster, process, count), "a complaint")
            except AssertionError:
                silent.append(f"{process.name}: nothing said of {name}")
        for path, blob in zip(files, whole, strict=True):
            path.write_bytes(blob)
            path.chmod(0o600)
    return silent


def _complains(cluster: SecureCluster, process: Process, before: int) -> bool:
    return _count(cluster, process, _COMPLAINT) > before


def _count(cluster: SecureCluster, process: Process, event: str) -> int:
    return sum(record["event"] == event for record in cluster.log_of(process))


def prepare(cluster: SecureCluster) -> None:
    """Make what the load works on."""
    with cluster.client("root") as client:
        client.create_collection(COLLECTION, dim=4)


def run(seconds: float, seed: int) -> Outcome:
    """Try the mismatches, then rotate under load until the time is over."""
    until, rounds = time.monotonic() + seconds, 0
    with tempfile.TemporaryDirectory() as name, secure_cluster(Path(name)) as cluster:
        prepare(cluster)
        made, wrong = asyncio.run(run_matrix(cluster, Path(name)))
        with Load(cluster) as load:
            while rounds == 0 or time.monotonic() < until:
                wrong += break_files(cluster)
                rotate(cluster)
                rounds += 1
        crashes = sum(process.exit_status is not None for process in cluster.processes)
    wrong += load.failures
    return Outcome(
        fault="TLS that does not fit; certificates and authorities rotated under load",
        trials=made + load.calls,
        acknowledged=load.calls - len(load.failures),
        wrong=len(wrong),
        crashes=crashes,
        control="what fits gets through on every hop; an outdated client is refused",
        notes="; ".join(wrong[:5]) or f"{made} mismatches, {rounds} rotations, {load.calls} calls",
    )
