"""Bad arguments to every RPC, of a shard server and of a router.

Each is refused with the right code, the error names the field at fault, no process ends, and
nothing is changed: all items are the same after each group of requests as before. Searches are sent
over the search stream as well.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from tests import messages
from tests.faults.bad_columns import DIM, ROWS, good_ids, good_names, good_vectors, varint
from tests.faults.bad_requests import FIELDS, PAYLOADS, RPCS, every_request
from tests.faults.bad_table import NAMED, NUMBERED, Bad
from tests.faults.clusters import running
from tests.faults.outcome import Outcome

import fanlight
from fanlight.cli.local_cluster import LocalCluster
from fanlight.v1 import search_pb2
from fanlight.wire import codec
from fanlight.wire.channels import channel_options
from fanlight.wire.status import from_rpc_error

CALL_S = 120.0
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_EXAMPLES = 8


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        code: of the call, or of the refused row.
        field: that the error names.
        rows: the refused rows of an answered call.
    """

    code: grpc.StatusCode
    field: str = ""
    rows: tuple[int, ...] = ()


@dataclass
class Findings:
    """What was wrong with the answers."""

    requests: int = 0
    wrong: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    crashes: int = 0


class Peer:
    """One process, reached over a raw channel."""

    def __init__(self, name: str, channel: grpc.Channel) -> None:
        self.name = name
        self._channel = channel

    def ask(self, bad: Bad) -> Answer:
        """Send a request and read what came of it."""
        if bad.rpc == "SearchStream":
            return self._ask_stream([bad.blob])
        method = RPCS[bad.rpc]
        make = self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
        call: Any = make(
            f"/{method.containing_service.full_name}/{bad.rpc}",
            response_deserializer=method.output_type._concrete_class.FromString,
        )
        try:
            answered = call(bad.blob, timeout=CALL_S)
            return _of_parts(answered) if method.server_streaming else _of_rows(answered)
        except grpc.RpcError as error:
            return _of_error(error)

    def ask_over_stream(self, bad: Bad) -> Answer:
        """Send a search over a search stream."""
        # Field 2, "search", of a tagged search, which is field 1 of the request.
        tagged = b"\x08\x07\x12" + varint(len(bad.blob)) + bad.blob
        return self._ask_stream([b"\x0a" + varint(len(tagged)) + tagged])

    def ask_twice_with_one_tag(self) -> Answer:
        """Send two searches under one tag; give the answer to the second."""
        search = search_pb2.SearchRequest(
            collection=NUMBERED, vectors=good_vectors(), k=ROWS, exact=True
        )
        tagged = search_pb2.TaggedSearch(tag=7, search=search)
        request = search_pb2.SearchStreamRequest(searches=[tagged, tagged])
        return self._ask_stream([request.SerializeToString()])

    def ask_too_late(self) -> Answer:
        """Send a search whose caller has waited long enough already."""
        search = search_pb2.SearchRequest(collection=NUMBERED, vectors=good_vectors(), k=ROWS)
        tagged = search_pb2.TaggedSearch(tag=7, search=search, timeout_ms=0)
        return self._ask_stream(
            [search_pb2.SearchStreamRequest(searches=[tagged]).SerializeToString()]
        )

    def _ask_stream(self, blobs: Sequence[bytes]) -> Answer:
        """Send requests over a stream; give the answer that is an error, if one is."""
        call: Any = self._channel.stream_stream(
            "/fanlight.v1.SearchService/SearchStream",
            response_deserializer=search_pb2.SearchStreamResponse.FromString,
        )
        found = Answer(grpc.StatusCode.OK)
        try:
            for response in call(iter(blobs), timeout=CALL_S):
                for answer in response.answers:
                    if answer.HasField("error"):
                        return Answer(_CODES[answer.error.code], answer.error.field)
                    found = _of_rows(answer.response)
        except grpc.RpcError as error:
            return _of_error(error)
        return found


def _of_parts(parts: Any) -> Answer:
    """Read an export to its end, which tells of shards that failed."""
    found = Answer(grpc.StatusCode.OK)
    for part in parts:
        if part.end.HasField("error"):
            found = Answer(_CODES[part.end.error.code], part.end.error.field)
    return found


def _of_rows(response: Any) -> Answer:
    if not getattr(response, "errors", ()):
        return Answer(grpc.StatusCode.OK)
    first = response.errors[0].error
    rows = tuple(error.row for error in response.errors)
    return Answer(_CODES[first.code], first.field, rows)


def _of_error(error: grpc.RpcError) -> Answer:
    assert isinstance(error, grpc.Call)
    return Answer(error.code(), from_rpc_error(error).field)


def judge(bad: Bad, answer: Answer) -> str:
    """Say what is wrong with an answer; "" for nothing."""
    rows = () if bad.row is None else (bad.row,)
    expected = Answer(bad.code, bad.named, rows)
    # Errors leave long names out, and this is told in the name.
    if expected == answer or (
        (expected.code, rows) == (answer.code, answer.rows)
        and (
            len(bad.named) > 200
            and bad.named.startswith(answer.field.rstrip(".…"))
            and answer.field
        )
    ):
        return ""
    return f"expected {_shown(expected)}, got {_shown(answer)}"


def _shown(answer: Answer) -> str:
    where = f" in rows {answer.rows}" if answer.rows else ""
    return f"{answer.code.name} of {answer.field[:40]!r}{where}"


def attack(peer: Peer, address: str, bads: Sequence[Bad], findings: Findings) -> None:
    """Send bad requests, and see that all are refused and nothing has changed."""
    before = everything(address)
    for bad in bads:
        told = judge(bad, peer.ask(bad))
        findings.requests += 1
        if bad.rpc == "Search":
            told = told or judge(bad, peer.ask_over_stream(bad))
            findings.requests += 1
        if told:
            findings.wrong.append(f"{peer.name}: {bad}: {told}")
    if everything(address) != before:
        findings.changed.append(f"{peer.name}: {bads[0].rpc} to {bads[-1].rpc} changed items")


def attack_stream(peer: Peer, findings: Findings) -> None:
    """Send over a stream what only a stream can have wrong."""
    for what, answer, expected in (
        ("one tag twice", peer.ask_twice_with_one_tag(), Answer(_CODES[3], "tag")),
        ("no time", peer.ask_too_late(), Answer(_CODES[4])),
    ):
        findings.requests += 1
        if answer != expected:
            told = f"expected {_shown(expected)}, got {_shown(answer)}"
            findings.wrong.append(f"{peer.name}: SearchStream: {what}: {told}")


def everything(address: str) -> dict[str, object]:
    """Read all collections and all their items."""
    with fanlight.Client(address) as client:
        found: dict[str, object] = {}
        for info in client.list_collections(timeout=CALL_S):
            rows = {}
            for page in client.collection(info.spec.name).scroll(timeout=CALL_S):
                assert page.vectors is not None
                payloads = page.payloads or [None] * len(page.ids)
                for id_, vector, payload in zip(page.ids, page.vectors, payloads, strict=True):
                    rows[id_] = (vector.tobytes(), repr(payload))
            found[info.spec.name] = (repr(info.spec), info.items, rows)
        return found


@contextmanager
def prepared() -> Iterator[LocalCluster]:
    """Run a cluster with the collections that the requests speak of.

    One shard, so that a router and a shard hold the same.
    """
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), shards=1) as cluster:
        with fanlight.Client(cluster.address) as client:
            for name, id_type, ids in (
                (NUMBERED, "int64", good_ids()),
                (NAMED, "string", good_names()),
            ):
                made = client.create_collection(name, dim=DIM, id_type=id_type, filterable=FIELDS)
                vectors = codec.from_matrix(good_vectors(), "")
                made.upsert(codec.from_ids(ids, "").tolist(), vectors, PAYLOADS, timeout=CALL_S)
        yield cluster


def attacked(cluster: LocalCluster) -> Findings:
    """Send the whole table to the shard and to the router."""
    findings, table = Findings(), list(every_request())
    groups = [[bad for bad in table if bad.rpc == rpc] for rpc in RPCS]
    for process in cluster.processes:
        with grpc.insecure_channel(process.address, channel_options()) as channel:
            peer = Peer(process.name, channel)
            for group in groups:
                wanted = [bad for bad in group if process.program.data or not bad.shard_only]
                attack(peer, process.address, wanted, findings)
            attack_stream(peer, findings)
    findings.crashes = sum(process.exit_status is not None for process in cluster.processes)
    return findings


def caught(cluster: LocalCluster) -> str:
    """Show that wrong answers and changes are seen: requests that are right count as not refused.

    Raises:
        AssertionError: they are not seen.
    """
    address = cluster.process("shard-0").address
    findings = Findings()
    # A row of vectors that are right where one is promised to be bad; it changes an item, too.
    (right,) = (
        bad for bad in every_request() if bad.rpc == "UpsertItems" and bad.what == "zeros in i8"
    )
    request = RPCS["UpsertItems"].input_type._concrete_class.FromString(right.blob)
    request.vectors.CopyFrom(messages.matrix(codec.from_matrix(good_vectors(), "")[::-1]))
    lie = Bad("UpsertItems", "vectors", "good", request.SerializeToString(), named="vectors", row=1)
    with grpc.insecure_channel(address, channel_options()) as channel:
        attack(Peer("shard-0", channel), address, [lie], findings)
    assert findings.wrong, "a wrong answer was not seen"
    assert findings.changed, "a change was not seen"
    return "a request that is right, and changes an item, is seen as not refused and as a change"


def run(seconds: float, seed: int) -> Outcome:
    """Send the table, once at least, and again until the time is over."""
    ends, whole = time.monotonic() + seconds, Findings()
    with prepared() as cluster:
        rounds = 0
        while not rounds or (time.monotonic() < ends and not whole.wrong):
            found = attacked(cluster)
            whole.requests += found.requests
            whole.wrong += found.wrong
            whole.changed += found.changed
            whole.crashes += found.crashes
            rounds += 1
        control = caught(cluster)
    distinct = len(list(every_request()))
    told = [f"{distinct} different requests to {len(RPCS)} RPCs, {rounds} times"]
    return Outcome(
        fault="bad arguments to every RPC of shard and router",
        trials=whole.requests,
        wrong=len(whole.wrong) + len(whole.changed),
        crashes=whole.crashes,
        control=control,
        notes="; ".join([*told, *(whole.wrong + whole.changed)[:_EXAMPLES]]),
    )
