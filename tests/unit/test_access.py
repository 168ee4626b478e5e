"""Keys, callers, files that change, and the policy's own laws."""

from __future__ import annotations

import hmac
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from click.testing import CliRunner
from structlog.testing import capture_logs

import fanlight
from fanlight.access.callers import Collections
from fanlight.access.files import BadFile, Reloaded, read_file
from fanlight.access.key_store import change_keys
from fanlight.access.keys import KeyRecord, digest_of, new_key, read_keys, watch_keys
from fanlight.access.policy import POLICY, IncompletePolicy, Role, check_complete
from fanlight.access.secret import read_secret
from fanlight.access.tls import Tls, watch
from fanlight.cli.app import cli
from fanlight.config import AccessConfig, ConfigError, ListenConfig, TlsConfig
from fanlight.errors import InvalidRequest
from fanlight.v1 import collections_pb2, search_pb2
from fanlight.wire.audit import Audit
from fanlight.wire.security import Freshener, Security
from fanlight.wire.serving import METHODS


def put(path: Path, blob: bytes | str, mode: int = 0o600) -> Path:
    path.write_bytes(blob.encode() if isinstance(blob, str) else blob)
    path.chmod(mode)
    return path


def pair(folder: Path, ca: trustme.CA, *names: str) -> Tls:
    made = ca.issue_cert(*(names or ("localhost",)))
    put(folder / "ca.pem", ca.cert_pem.bytes())
    put(folder / "cert.pem", b"".join(part.bytes() for part in made.cert_chain_pems))
    put(folder / "key.pem", made.private_key_pem.bytes())
    return Tls(*(str(folder / name) for name in ("ca.pem", "cert.pem", "key.pem")))


# --- the policy ---------------------------------------------------------------------------


def test_the_policy_is_complete_or_nothing_starts() -> None:
    """An RPC without a row is named, and refused before anything is bound."""
    check_complete(METHODS)
    less = {path: rule for path, rule in POLICY.items() if not path.endswith("CountItems")}
    with pytest.raises(IncompletePolicy, match=r"/fanlight\.v1\.ItemService/CountItems"):
        check_complete(METHODS, less)


def test_rules_find_every_collection_of_a_request() -> None:
    """Paths go through messages and repeated fields."""
    created = collections_pb2.CreateCollectionRequest(spec={"name": "a"})  # type: ignore[arg-type]
    rule = POLICY["/fanlight.v1.CollectionService/CreateCollection"]
    assert list(rule.collections(created)) == ["a"]
    message = search_pb2.SearchStreamRequest()
    for name in ("a", "b"):
        message.searches.add().search.collection = name
    assert list(POLICY["/fanlight.v1.SearchService/SearchStream"].collections(message)) == [
        "a",
        "b",
    ]


@pytest.mark.parametrize(
    ("patterns", "name", "is_one"),
    [
        (["*"], "x", True),
        (["movies"], "movies", True),
        (["movies"], "movies2", False),
        (["movies"], "MOVIES", False),
        (["shop-*", "a"], "shop-1", True),
        (["shop-*"], "myshop-1", False),
        (["shop-*"], "", False),
        (["m?vies"], "movies", True),
        (["a.b"], "axb", False),
        (["movies"], "movies\n", False),
        ([], "x", False),
    ],
)
def test_collections_are_names_and_globs(patterns: list[str], name: str, is_one: bool) -> None:
    """A pattern covers a whole name, by its case, and dots are dots."""
    assert (name in Collections(patterns)) is is_one


# --- keys ---------------------------------------------------------------------------------


def keys_file(folder: Path, *entries: str) -> Path:
    return put(folder / "keys.yaml", "keys:\n" + "".join(f"- {entry}\n" for entry in entries))


def entry(key: str, name: str = "a", more: str = "") -> str:
    return f"{{name: {name}, sha256: '{digest_of(key).hex()}', role: read{more}}}"


def test_a_key_is_found_by_its_hash(tmp_path: Path) -> None:
    """Each key finds its holder, again and again, and no other text does."""
    first, second = new_key(), new_key()
    path = keys_file(tmp_path, entry(first), entry(second, "b", ", collections: ['x*']"))
    ring = watch_keys(str(path)).value
    for _ in range(2):
        names = [caller and caller.name for caller in map(ring.caller_of, (first, second))]
        assert names == ["a", "b"]
        for wrong in ("", first[:-1], first + " ", first.upper(), digest_of(first).hex(), "\udcff"):
            assert ring.caller_of(wrong) is None
    assert first != second
    assert len(first) > 43
    holder = ring.caller_of(second)
    assert holder is not None
    assert holder.role is Role.READ
    assert "xy" in holder.collections


def test_every_key_is_compared_in_constant_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is looked for is compared with all, whichever fits; one that is found, once."""
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def counting(held: bytes, given: bytes) -> bool:
        compared.append(held)
        return compare(held, given)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    key = new_key()
    ring = watch_keys(
        str(keys_file(tmp_path, entry(key), *(entry(new_key(), f"n{i}") for i in range(4))))
    ).value
    for asked, comparisons in ((key, 5), (key, 5), ("wrong", 10), ("wrong", 15)):
        ring.caller_of(asked)
        assert len(compared) == comparisons


SECRET = "fanlight_somebodys-real-key-in-the-wrong-place-000000"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "keys: 5",
        "keys: [",
        f"keys: [{{name: a, sha256: {SECRET}, role: read}}]",
        f"keys: [{{name: a, sha256: '{'a' * 64}', role: {SECRET}}}]",
        f"keys: [{{name: a, sha256: '{'a' * 64}', role: read, {SECRET}: 1}}]",
        f"keys: [{{name: a, sha256: '{'a' * 64}', role: read, colections: [x]}}]",
        f"keys: [{{name: a, sha256: '{'a' * 64}', role: read, collections: []}}]",
        f"keys: [{{name: a, sha256: '{'a' * 64}', role: read, expires: 2027-01-01}}]",
        f"keys: [{entry('x')}, {entry('y')}]",
        f"keys: [{entry('x')}, {entry('x', 'b')}]",
        "keys: !!python/object/apply:os.system [true]",
        f"{SECRET}: [",
    ],
)
def test_a_wrong_file_of_keys_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    """A typing error never means more rights, and no message shows what stands in the file."""
    with pytest.raises(BadFile) as refused:
        read_keys(str(put(tmp_path / "keys.yaml", text)))
    assert "somebodys" not in str(refused.value)
    assert "aaaa" not in str(refused.value)


def test_secrets_must_be_closed_to_others(tmp_path: Path) -> None:
    """Keys that every user of the machine can read, write or list are refused."""
    path = keys_file(tmp_path, entry("x"))
    for mode in (0o604, 0o602, 0o601, 0o644):
        path.chmod(mode)
        for read in (read_keys, read_secret):
            with pytest.raises(BadFile, match="closed to other users"):
                read(str(path))
    path.chmod(0o640)
    assert len(read_keys(str(path))) == 1


def test_keys_change_whole_or_not_at_all(tmp_path: Path) -> None:
    """A change that fails leaves the file, and one that works keeps its mode."""
    path = tmp_path / "keys.yaml"
    record = KeyRecord(name="a", sha256="a" * 64, role="read", expires=datetime.now(UTC))
    change_keys(path, lambda held: (*held, record))
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    before = path.read_bytes()

    def fail(held: tuple[KeyRecord, ...]) -> tuple[KeyRecord, ...]:
        raise InvalidRequest("no")

    with pytest.raises(InvalidRequest, match="no"):
        change_keys(path, fail)
    assert path.read_bytes() == before
    assert change_keys(path, lambda held: held) == (record,)
    assert read_keys(str(path)) == (record,)
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["keys.yaml"]


def test_the_command_makes_lists_and_revokes_keys(tmp_path: Path) -> None:
    """A key is printed once and stands nowhere else; what is listed is who may do what."""
    file = ["--file", str(tmp_path / "keys.yaml")]

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(cli, ["keys", *arguments, *file])

    made = run("create", "shop", "--role", "read", "--collections", "a,b*", "--expires", "90d")
    key = made.stdout.strip()
    ring = watch_keys(file[1]).value
    caller = ring.caller_of(key)
    assert caller is not None
    assert caller.collections.patterns == ("a", "b*")
    assert caller.expires_at is not None
    assert key not in Path(file[1]).read_text()
    listed = run("list", "--json").stdout
    assert '"shop"' in listed
    assert key not in listed
    assert digest_of(key).hex() not in listed
    assert isinstance(run("create", "shop", "--role", "read").exception, fanlight.AlreadyExists)
    assert isinstance(
        run("create", "x", "--role", "read", "--expires", "soon").exception, InvalidRequest
    )
    assert run("revoke", "shop").exit_code == 0
    assert isinstance(run("revoke", "shop").exception, fanlight.NotFound)
    assert read_keys(file[1]) == ()


# --- files that change --------------------------------------------------------------------


def test_new_files_are_taken_when_they_rest(tmp_path: Path) -> None:
    """A change is taken at the second look that sees it, and a bad one never."""
    path = put(tmp_path / "f", "1")

    def read() -> int:
        try:
            return int(read_file(path))
        except ValueError:
            raise BadFile("no number") from None

    source = Reloaded([path], read)
    assert not source.refresh()
    put(path, "22")
    assert [source.refresh(), source.value] == [False, 1]
    put(path, "333")  # still at it
    assert [source.refresh(), source.value] == [False, 1]
    assert [source.refresh(), source.value, source.version] == [True, 333, 2]
    assert not source.refresh()
    put(path, "x")
    assert not source.refresh()
    for _ in range(2):
        with pytest.raises(BadFile):
            source.refresh()
    assert (source.value, source.version) == (333, 2)
    path.unlink()
    assert not source.refresh()
    with pytest.raises(BadFile, match="cannot be read"):
        source.refresh()
    put(path, "4")
    assert [source.refresh(), source.refresh(), source.value] == [False, True, 4]


def test_files_that_change_while_they_are_read_are_read_again(tmp_path: Path) -> None:
    """A value never mixes two states of its files, not the first one either."""
    paths = [put(tmp_path / name, "1") for name in ("a", "b")]
    writes = [2, 3]

    def read() -> list[int]:
        first = int(read_file(paths[0]))
        if writes:  # somebody replaces both files right now
            number = writes.pop(0)
            for path in paths:
                put(path, str(number) * number)
        return [first, int(read_file(paths[1]))]

    source = Reloaded(paths, read)
    assert source.value == [333, 333]
    writes.append(4)
    put(paths[0], "9" * 9)
    assert not source.refresh()
    assert not source.refresh()  # changed under the reading
    assert source.value == [333, 333]
    assert [source.refresh(), source.refresh(), source.value] == [False, True, [4444, 4444]]


def test_certificates_and_keys_must_belong_together(tmp_path: Path) -> None:
    """A key of another certificate, half a file and what is no PEM are refused, by name."""
    ca = trustme.CA()
    tls = pair(tmp_path, ca)
    source = watch(tls)
    key, cert = (Path(path).read_bytes() for path in (tls.key, tls.cert))
    other = ca.issue_cert("localhost").private_key_pem.bytes()
    encrypted = key.replace(b"-----\n", b"-----\nProc-Type: 4,ENCRYPTED\n", 1)
    for path, blob in (
        (tls.key, other),
        (tls.key, key[:60]),
        (tls.key, encrypted),
        (tls.key, b""),
        (tls.cert, cert[: len(cert) // 2]),
        (tls.cert, cert + cert[: len(cert) // 2]),
        (tls.cert, b"nothing"),
        (tls.ca, b"nothing"),
    ):
        whole = Path(path).read_bytes()
        put(Path(path), blob)
        with pytest.raises(BadFile, match=path):
            source.refresh(settled=False)
        put(Path(path), whole)
    assert source.refresh(settled=False)
    assert repr(source.value) == "Material(...)"
    Path(tls.key).chmod(0o644)
    with pytest.raises(BadFile, match="closed to other users"):
        watch(tls)


def test_what_is_wrong_with_files_is_said_once(tmp_path: Path) -> None:
    """A look that fails like the last one is silent; a new fault, or the same again later, is not."""
    path = keys_file(tmp_path, entry("x"))
    freshener = Freshener([watch_keys(str(path))])
    with capture_logs() as logs:
        put(path, "keys: 5")
        for _ in range(4):
            freshener.look()
        keys_file(tmp_path, entry("y"))
        for _ in range(3):
            freshener.look()
    assert [log["event"] for log in logs] == [
        "cannot use new files; the old ones stay in use",
        "took new files",
    ]


# --- configuration ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keys",
    [
        {"cert": "c"},
        {"key": "k"},
        {"require_client_cert": True},
        {"cert": "c", "key": "k", "require_client_cert": True},
        {"cert": "c", "key": "k", "ca": "a"},
    ],
)
def test_half_a_configuration_is_refused(keys: dict[str, Any]) -> None:
    """Keys of the configuration that need others say so."""
    with pytest.raises(ConfigError, match="tls"):
        TlsConfig(**keys)


def test_other_hosts_need_encryption_and_credentials(tmp_path: Path) -> None:
    """A public address is refused unless both are there; the message names what is missing."""
    files = pair(tmp_path, trustme.CA())
    listed = str(keys_file(tmp_path, entry("x")))
    one_way = TlsConfig(cert=files.cert, key=files.key)
    mutual = TlsConfig(cert=files.cert, key=files.key, ca=files.ca, require_client_cert=True)
    keys, nobody = AccessConfig(keys=listed), AccessConfig()
    public = ListenConfig(host="0.0.0.0", port=0)
    for tls, access, missing in (
        (TlsConfig(), nobody, "encryption .* or credentials"),
        (one_way, nobody, "without credentials"),
        (TlsConfig(), keys, "without encryption"),
    ):
        security = Security.of(tls, access)
        with pytest.raises(ConfigError, match=missing):
            security.check(public)
        security.check(ListenConfig(host="127.0.0.1", port=0))
        security.check(ListenConfig(host="0.0.0.0", port=0, insecure=True))
    for tls, access in ((one_way, keys), (mutual, nobody), (mutual, keys)):
        Security.of(tls, access).check(public)
    with pytest.raises(ConfigError, match="require_client_cert"):
        Security.of(one_way, AccessConfig(trusted_names=("router",)))
    with pytest.raises(ConfigError, match="nowhere"):
        Security.of(TlsConfig(), AccessConfig(keys=str(tmp_path / "nowhere")))


# --- the SDK ------------------------------------------------------------------------------


def test_a_key_never_leaves_in_plain_text_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key, from wherever, another host needs TLS or `insecure=True`."""
    for client in (fanlight.Client, fanlight.AsyncClient):
        with pytest.raises(InvalidRequest, match="plain text"):
            client(["localhost:7700", "router.example:7700"], api_key="k")
        client("router.example:7700", api_key="k", insecure=True)
        client("router.example:7700", api_key="k", tls=True)
        client(["localhost:7700", "127.0.0.1:1", "[::1]:7"], api_key="k")
    monkeypatch.setenv("FANLIGHT_API_KEY", "k")
    with pytest.raises(InvalidRequest, match="plain text"):
        fanlight.Client("router.example:7700")
    fanlight.Client("router.example:7700", api_key="")


def test_no_message_of_the_sdk_shows_the_key(tmp_path: Path) -> None:
    """A key that cannot be sent is refused without being shown, and so is a file of one."""
    for bad in ("my secret", "secret\n", "sécret"):
        with pytest.raises(InvalidRequest) as refused:
            fanlight.Client(api_key=bad)
        assert "cret" not in str(refused.value)
    assert "k-e-y" not in repr(fanlight.Client(api_key="k-e-y"))
    with pytest.raises(BadFile) as empty:
        read_secret(str(put(tmp_path / "key", "two words")))
    assert "words" not in str(empty.value)
    assert read_secret(str(put(tmp_path / "key", "one\n"))) == "one"


def test_missing_files_of_tls_are_named() -> None:
    """A client says at once which file it cannot read."""
    with pytest.raises(InvalidRequest, match=r"nowhere\.pem"):
        fanlight.Client(tls=Tls(ca="nowhere.pem"))
    with pytest.raises(InvalidRequest, match="cert and key"):
        fanlight.Client(tls=Tls(cert="c.pem"))


# --- the audit log ------------------------------------------------------------------------


def test_a_flood_of_refusals_is_counted_not_written() -> None:
    """One host fills its own share only, and the next record tells what was left out."""
    now = [0.0]
    audit = Audit(lambda: now[0])
    with capture_logs() as logs:
        for _ in range(1_000):
            audit.refused("(nobody)", "/m", "c", "UNAUTHENTICATED", "ipv4:1.2.3.4:5")
        audit.refused("(nobody)", "/m", "c", "UNAUTHENTICATED", "ipv4:9.9.9.9:5")
        audit.administered("root", "/m", "evil\x1b[31m\n" + "x" * 500, "OK", "ipv6:%5B::1%5D:7")
        now[0] = 1.5
        audit.refused("(nobody)", "/m", "c", "UNAUTHENTICATED", "ipv4:1.2.3.4:6")
    assert [log["event"] for log in logs] == ["refused"] * 11 + ["admin call", "refused"]
    assert logs[10]["left_out"] == 990
    assert logs[11]["collection"].startswith(r"evil\x1b[31m\n")
    assert len(logs[11]["collection"]) < 200
    assert logs[11]["peer"] == "ipv6:[::1]:7"


def test_a_flood_from_many_hosts_is_bounded() -> None:
    """However many hosts knock, the log and the memory for them stay small."""
    audit = Audit(lambda: 0.0)
    with capture_logs() as logs:
        for host in range(5_000):
            audit.refused("(nobody)", "/m", "", "UNAUTHENTICATED", f"ipv4:h{host}:1")
    assert len(logs) == 100
    assert len(audit._hosts) <= 1_024
