"""A shard and a router as real processes that encrypt, demand certificates, and ask for keys."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme

import fanlight
from fanlight.access.key_store import change_keys
from fanlight.access.keys import KeyRecord, digest_of, new_key
from fanlight.cli.local_config import merged
from fanlight.cli.process import Process, Program

# The name in the router's certificate that the shard trusts.
ROUTER_NAME = "router.fanlight.test"
HOSTS = ("127.0.0.1", "localhost")
START_S = 120.0
STOP_S = 60.0


class Files:
    """The certificates and keys of one party, in a folder that is replaced as Kubernetes does it.

    Attributes:
        ca: path of the authorities, as cert and key are those of the certificate and its key.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._made = 0
        current = folder / "current"
        self.ca, self.cert, self.key = (
            current / name for name in ("ca.pem", "cert.pem", "key.pem")
        )

    def issue(self, ca: trustme.CA, *names: str, until: datetime | None = None) -> None:
        """Take a certificate of an authority, and trust that authority."""
        self.replace(ca.cert_pem.bytes(), *issued(ca, *names, until=until))

    def replace(
        self, ca: bytes | None = None, cert: bytes | None = None, key: bytes | None = None
    ) -> None:
        """Replace some of the files, all at once."""
        self._made += 1
        version = self._folder / f"v{self._made}"
        version.mkdir()
        for path, blob in ((self.ca, ca), (self.cert, cert), (self.key, key)):
            (version / path.name).touch(mode=0o600)
            (version / path.name).write_bytes(path.read_bytes() if blob is None else blob)
        link = self._folder / "next"
        link.symlink_to(version.name)
        link.replace(self._folder / "current")

    @property
    def tls(self) -> fanlight.Tls:
        return fanlight.Tls(str(self.ca), str(self.cert), str(self.key))

    @property
    def as_server(self) -> dict[str, Any]:
        return {
            "cert": str(self.cert),
            "key": str(self.key),
            "ca": str(self.ca),
            "require_client_cert": True,
        }

    @property
    def as_client(self) -> dict[str, Any]:
        return {"ca": str(self.ca), "cert": str(self.cert), "key": str(self.key)}


def issued(ca: trustme.CA, *names: str, until: datetime | None = None) -> tuple[bytes, bytes]:
    """Make a certificate and its key."""
    made = ca.issue_cert(*names, not_after=until)
    chain = b"".join(part.bytes() for part in made.cert_chain_pems)
    return chain, made.private_key_pem.bytes()


class Keys:
    """API keys by the names of their holders, and the file of their hashes.

    Attributes:
        path: the file.
        of: the key of each holder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.of: dict[str, str] = {}

    def add(self, name: str, role: str, *collections: str, expires: datetime | None = None) -> str:
        """Make a key."""
        key = self.of[name] = new_key()
        record = KeyRecord(
            name=name,
            sha256=digest_of(key).hex(),
            role=role,  # type: ignore[arg-type]  # judged when the file is read
            collections=collections or ("*",),
            expires=expires,
        )
        change_keys(self.path, lambda held: (*held, record))
        return key

    def revoke(self, name: str) -> None:
        """Take a key out of the file."""
        change_keys(self.path, lambda held: tuple(one for one in held if one.name != name))


@dataclass
class SecureCluster:
    """What the trials need of it.

    Attributes:
        folder: where everything is.
        ca: vouches for everybody.
        shard_files: those of the shard, as router_files and user_files are those of others.
        keys: of all callers; both programs read the same file.
        processes: the shard, then the router.
    """

    folder: Path
    ca: trustme.CA
    shard_files: Files
    router_files: Files
    user_files: Files
    keys: Keys
    processes: list[Process]

    @property
    def shard(self) -> Process:
        return self.processes[0]

    @property
    def router(self) -> Process:
        return self.processes[1]

    @property
    def all_files(self) -> tuple[Files, Files, Files]:
        """List the files of the shard, the router and the user."""
        return self.shard_files, self.router_files, self.user_files

    @property
    def health_address(self) -> str:
        """Name where the router answers probes in plain text."""
        port = self.router.program.keys["listen"]["health_port"]
        return f"127.0.0.1:{port}"

    def log_of(self, process: Process) -> list[dict[str, Any]]:
        """Read what a process logged: an object a line."""
        lines = process.program.log_path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def restart_router(self) -> None:
        """End the router at once, and start it again on the same port."""
        ended = self.router
        ended.kill()
        ended.await_end()
        port = int(ended.address.rpartition(":")[2])
        keys = merged(ended.program.keys, {"listen": {"port": port}})
        started = self.processes[1] = Process(replace(ended.program, keys=keys))
        deadline = time.monotonic() + START_S
        started.await_address(deadline)
        started.await_serving(deadline)

    def client(self, holder: str, process: Process | None = None) -> fanlight.Client:
        """Connect to the router (or another process) as the holder of a key."""
        address = (process or self.router).address
        return fanlight.Client(address, tls=self.user_files.tls, api_key=self.keys.of[holder])


def _free_port() -> int:
    """Find a port for the one listener that announces none."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def secure_cluster(folder: Path) -> Iterator[SecureCluster]:
    """Start a shard and a router; stop them at the end.

    The router reaches the shard over TLS, and shows its certificate, not a key.
    """
    ca = trustme.CA()
    parties = [Files(folder / name) for name in ("shard-files", "router-files", "user-files")]
    parties[0].issue(ca, *HOSTS)
    parties[1].issue(ca, *HOSTS, ROUTER_NAME)
    parties[2].issue(ca, "user.fanlight.test")
    keys = Keys(folder / "keys.yaml")
    keys.add("root", "admin")
    cluster = SecureCluster(folder, ca, parties[0], parties[1], parties[2], keys, [])
    try:
        _start(cluster)
        yield cluster
    finally:
        for process in reversed(cluster.processes):
            process.terminate()
            process.await_end(STOP_S)


def _start(cluster: SecureCluster) -> None:
    folder, deadline = cluster.folder, time.monotonic() + START_S
    access = {"keys": str(cluster.keys.path)}
    usual = {"cluster": "secure", "log": {"format": "json"}}
    shard_keys = usual | {
        "listen": {"port": 0, "socket": str(folder / "shard.sock")},
        "tls": cluster.shard_files.as_server,
        "access": access | {"trusted_names": [ROUTER_NAME]},
        "data": str(folder / "data"),
    }
    cluster.processes.append(Process(Program("shard-0", "fanlight_server", folder, shard_keys)))
    cluster.shard.await_address(deadline)
    router_keys = usual | {
        "listen": {
            "port": 0,
            "socket": str(folder / "router.sock"),
            "health_port": _free_port(),
        },
        "tls": cluster.router_files.as_server,
        "access": access,
        "shards": [cluster.shard.address],
        "shards_tls": cluster.router_files.as_client,
    }
    cluster.processes.append(Process(Program("router", "fanlight_router", folder, router_keys)))
    cluster.router.await_address(deadline)
    for process in cluster.processes:
        process.await_serving(deadline)


def in_the_past() -> datetime:
    """Give a time that is over."""
    return datetime.now(UTC) - timedelta(days=1)
