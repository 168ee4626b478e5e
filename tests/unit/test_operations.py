"""What a client asks of the network, seen without one."""

from __future__ import annotations

import inspect
import io
from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from tests.unit.operation_pieces import (
    WHOLE,
    Network,
    in_turn,
    upsert,
    written,
)

import fanlight
from fanlight import calls
from fanlight.calls import Rpc
from fanlight.errors import (
    FanlightError,
    InvalidRequest,
    NotReady,
    PartialResult,
)
from fanlight.model import Hits, SearchRequest
from fanlight.operations import Operations, search_request
from fanlight.v1 import items_pb2
from fanlight.wire.codec import from_search, from_upsert, to_hits


def searched(queries: Any, k: int = 3, **others: Any) -> SearchRequest:
    defaults: dict[str, Any] = {
        "ef_search": None,
        "exact": False,
        "score_threshold": None,
        "with_payloads": False,
        "with_vectors": False,
        "min_coverage": 1.0,
        "filter": None,
    }
    return search_request("movies", queries=queries, k=k, **{**defaults, **others})


def hits_of(n: int, k: int, **others: Any) -> Hits:
    ids = np.arange(n * k, dtype=np.int64).reshape(n, k)
    counts = np.full(n, k, dtype=np.int64)
    return Hits(
        ids, np.ones((n, k), dtype=np.float32), counts, others.pop("coverage", WHOLE), **others
    )


# --- the contract -----------------------------------------------------------------------------


def rpcs() -> list[Rpc[Any]]:
    return [value for value in vars(calls).values() if isinstance(value, Rpc)]


@pytest.mark.parametrize("rpc", rpcs(), ids=lambda rpc: rpc.path)
def test_every_call_is_in_the_contract(rpc: Rpc[Any]) -> None:
    """Each method that the client calls exists, under that name and with that answer."""
    _, service, name = rpc.path.split("/")
    method = Default().FindServiceByName(service).methods_by_name[name]
    assert GetMessageClass(method.output_type) is rpc.response


def test_every_call_has_a_deadline() -> None:
    """No request is sent without a deadline: by default or the caller's own."""
    network = Network(written)
    network.run(upsert([1], [[1.0]]))
    network.run(upsert([1], [[1.0]], timeout=2))
    assert [call.timeout_s for call in network.calls] == pytest.approx([60.0, 2.0], rel=0.01)


def test_both_colours_offer_the_same() -> None:
    """Client and AsyncClient, and their handles, have the same methods, signatures and words."""
    pairs = [
        (fanlight.Client, fanlight.AsyncClient),
        (fanlight.Collection, fanlight.AsyncCollection),
        (fanlight.Sets, fanlight.AsyncSets),
    ]
    for one, other in pairs:
        assert _face(one) == _face(other)


def _face(kind: type) -> dict[str, tuple[str, str | None]]:
    def neutral(text: str) -> str:
        return text.replace("Async", "")

    return {
        name: (neutral(str(inspect.signature(method))), method.__doc__)
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


# --- repetition -------------------------------------------------------------------------------


def test_a_repeatable_call_is_repeated_after_a_pause() -> None:
    """A transient error is followed by a pause and the same request with the time that is left."""
    network = Network(in_turn([NotReady("restarts"), items_pb2.CountItemsResponse(count=7)]))
    operations = Operations(timeout=None, max_attempts=4)
    assert network.run(operations.count("movies", min_coverage=1.0, timeout=None)) == 7
    assert network.requests[0] == network.requests[1]
    assert len(network.pauses) == 1
    assert network.calls[1].timeout_s <= network.calls[0].timeout_s


def test_deleting_a_collection_is_never_repeated() -> None:
    """The second try of a deletion could delete what was created since, so there is none."""
    network = Network(lambda request: NotReady("restarts"))
    with pytest.raises(NotReady):
        network.run(Operations(None, 4).delete_collection("movies", None))
    assert len(network.calls) == 1


def test_only_deletions_of_what_is_not_named_by_id_are_unsafe() -> None:
    """All other calls may be sent twice."""
    unsafe = [calls.DELETE_COLLECTION, calls.DELETE_MATCHING]
    assert [rpc for rpc in rpcs() if not rpc.repeatable] == unsafe


def test_one_attempt_means_no_second() -> None:
    """With max_attempts=1 the first error is the last."""
    network = Network(lambda request: NotReady("restarts"))
    with pytest.raises(NotReady):
        network.run(Operations(None, 1).status(None))
    assert len(network.calls) == 1


def test_a_dead_shard_is_told_after_two_attempts() -> None:
    """A partial result is asked for twice, then the caller hears of it."""
    network = Network(lambda request: PartialResult("shard-1 is gone", coverage=WHOLE))
    with pytest.raises(PartialResult):
        network.run(Operations(None, 4).search(searched([1.0]), "raise", None))
    assert len(network.calls) == 2


# --- upsert -----------------------------------------------------------------------------------


def test_the_last_of_equal_ids_is_written_over_all_chunks() -> None:
    """Only the last row of an id is sent, and the rows before it are told as the caller's."""
    network = Network(written)
    vectors = np.arange(20_000, dtype=np.float32)[:, None]
    ids = np.concatenate([[5, 6, 5], np.arange(10, 20_005), [6, 5]])
    result = network.run(upsert(ids, vectors))
    assert result.written == 19_997
    assert result.superseded_rows.tolist() == [0, 1, 2]
    batches = [from_upsert(request) for request in network.requests]
    sent = {
        int(i): float(v[0])
        for batch in batches
        for i, v in zip(batch.ids, batch.vectors, strict=True)
    }
    assert len(sent) == 19_997
    assert (sent[6], sent[5], sent[10]) == (19_998.0, 19_999.0, 3.0)


def test_large_batches_are_cut_by_bytes_and_sent_side_by_side() -> None:
    """No request is much above 1 MiB, and several are under way at once."""
    network = Network(written)
    result = network.run(upsert(np.arange(400), np.ones((400, 8_192), dtype=np.float32)))
    assert result.written == 400
    sizes = [request.ByteSize() for request in network.requests]
    assert len(sizes) == 13
    assert max(sizes) < 1.1 * 2**20
    assert network.widths == [4]


# --- what never leaves ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "vectors", "payloads", "field"),
    [
        ([1, 2], [[1.0]], None, "vectors"),
        ([1], [[1.0]], [], "payloads"),
        ([1], [[1.0]], [5], "payloads"),
        ([], np.ones((0, 1)), None, "ids"),
        (["\ud800"], [[1.0]], None, "ids"),
        ([1], [1.0], None, "vectors"),
    ],
)
def test_columns_that_cannot_travel_are_refused(
    ids: Any, vectors: Any, payloads: Any, field: str
) -> None:
    """A column of the wrong form or length is refused before anything is sent."""
    network = Network(written)
    with pytest.raises(InvalidRequest) as caught:
        network.run(upsert(ids, vectors, payloads))
    assert caught.value.field == field
    assert network.calls == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("k", -1), ("k", 2**32), ("k", 1.5), ("ef_search", "64"), ("score_threshold", "high")],
)
def test_parameters_that_cannot_travel_are_refused(name: str, value: Any) -> None:
    """A parameter of the wrong type or size is refused by its name."""
    with pytest.raises(InvalidRequest, match=f"^{name}: expected"):
        searched([1.0], **{name: value})


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"dim": -1}, "dim"),
        ({"dim": "384"}, "dim"),
        ({"metric": "manhattan"}, "metric"),
        ({"id_type": "uuid"}, "id_type"),
        ({"name": 5}, "name"),
        ({"name": "filme\u00e4"}, "name"),
        ({"filterable": ["genre"]}, "filterable"),
        ({"filterable": {"genre": "text"}}, "filterable.genre"),
        ({"filterable": {7: "int"}}, "filterable"),
        ({"filterable": {"\ud800": "int"}}, "filterable"),
    ],
)
def test_a_collection_that_cannot_be_is_refused(changed: dict[str, Any], field: str) -> None:
    """A parameter of a new collection that cannot travel is refused by its name."""
    wanted: dict[str, Any] = {"name": "movies", "dim": 3, "metric": "l2", "id_type": "int64"}
    wanted |= {"m": 16, "ef_construction": 200, "filterable": None}
    operations = Operations(None, 4)
    with pytest.raises(InvalidRequest, match=f"^{field}: expected"):
        Network(written).run(operations.create_collection(**{**wanted, **changed}, timeout=None))


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"add_fields": ["genre"]}, "add_fields"),
        ({"add_fields": {"genre": "text"}}, "add_fields.genre"),
        ({"drop_fields": "genre"}, "drop_fields"),
        ({"drop_fields": {"genre"}}, "drop_fields"),
        ({"drop_fields": [7]}, "drop_fields"),
        ({"name": 5}, "name"),
    ],
)
def test_a_change_of_fields_that_cannot_travel_is_refused(
    changed: dict[str, Any], field: str
) -> None:
    """By the name of the argument; nothing was sent."""
    wanted: dict[str, Any] = {"name": "movies", "add_fields": None, "drop_fields": ()}
    operations = Operations(None, 4)
    with pytest.raises(InvalidRequest, match=f"^{field}: expected"):
        Network(written).run(operations.update_collection(**{**wanted, **changed}, timeout=None))


def test_errors_are_raised_or_returned() -> None:
    """There is no third way to report refused rows."""
    with pytest.raises(InvalidRequest, match="errors: expected raise or return"):
        Network(written).run(upsert([1], [[1.0]], errors="ignore"))


# --- search -----------------------------------------------------------------------------------


def test_a_large_search_is_one_answer() -> None:
    """Queries travel in several requests, and their hits come back in the caller's order."""

    def answer(message: Any) -> Message:
        request = from_search(message)
        assert request.vectors is not None
        hits = hits_of(len(request.vectors), request.k)
        ids = np.repeat(request.vectors.astype(np.int64), request.k, axis=1)
        return to_hits(Hits(ids, hits.scores, hits.counts, WHOLE))

    network = Network(answer)
    queries = np.arange(600, dtype=np.float32)[:, None]
    hits = network.run(Operations(None, 4).search(searched(queries, k=2), "raise", None))
    assert len(network.calls) == 3
    assert hits.ids[:, 1].tolist() == list(range(600))


def test_a_failed_query_keeps_its_number() -> None:
    """A query that fails in a later request is raised as the caller counts, with the others' hits."""

    def answer(message: Any) -> Message:
        request = from_search(message)
        assert request.vectors is not None
        rows = np.flatnonzero(request.vectors[:, 0] == 300).tolist()
        errors: dict[int, FanlightError] = {row: InvalidRequest("bad query") for row in rows}
        return to_hits(hits_of(len(request.vectors), 1, errors=errors))

    queries = np.arange(400, dtype=np.float32)[:, None]
    operations = Operations(None, 4)
    with pytest.raises(InvalidRequest, match="1 of 400 queries failed") as caught:
        Network(answer).run(operations.search(searched(queries, k=1), "raise", None))
    assert [row.row for row in caught.value.rows] == [300]
    assert isinstance(caught.value.result, Hits)
    assert list(caught.value.result.errors) == [300]


# --- progress ---------------------------------------------------------------------------------


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stderr", "progress", "shown"),
    [
        (io.StringIO, None, False),
        (io.StringIO, True, True),
        (Terminal, None, True),
        (Terminal, False, False),
    ],
)
def test_a_bar_shows_only_where_it_is_of_use(
    stderr: type[io.StringIO], progress: bool | None, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long upload has a progress bar on a terminal only, unless the caller says otherwise."""
    screen = stderr()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr("fanlight.writes._BAR_DELAY_S", 0.0)
    Network(written).run(upsert([1, 2], [[1.0], [2.0]], progress=progress))
    assert ("2/2" in screen.getvalue()) is shown


def test_a_short_upload_has_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done within seconds leaves a terminal clean."""
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    Network(written).run(upsert([1, 2], [[1.0], [2.0]], progress=None))
    assert screen.getvalue() == ""
