"""Bad arguments are refused; see `tests.faults.bad`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from tests.faults import bad
from tests.faults.bad import Answer, judge
from tests.faults.bad_requests import RPCS, every_request
from tests.faults.bad_table import Bad

from fanlight.cli.local_cluster import LocalCluster

# Fields with which nothing can be wrong, and why.
HARMLESS = {
    "AcceptData.replace": "a yes or no",
    "CreateCollection.restoring": "a yes or no",
    "ExportItems.with_vectors": "a yes or no",
    "ExportItems.with_payloads": "a yes or no",
    "GetItems.with_vectors": "a yes or no",
    "GetItems.with_payloads": "a yes or no",
    "ScrollItems.with_vectors": "a yes or no",
    "ScrollItems.with_payloads": "a yes or no",
    "Search.exact": "a yes or no",
    "Search.with_vectors": "a yes or no",
    "Search.with_payloads": "a yes or no",
    "SearchStream.cancelled": "a tag that is unknown was answered meanwhile",
    "SearchStream.searches": "the message around the fields below it",
    "SearchStream.searches.search": "every request of Search is sent over the stream as well",
    "SearchStream.searches.tag": "`attack_stream` sends one tag twice",
    "SearchStream.searches.timeout_ms": "`attack_stream` sends a search too late",
    "Search.composed.queries.keep_examples": "a yes or no",
    "Search.slate.caps.field": "any text may be a key of a payload",
    "Search.slate.floors.count": "more than there are is unmet, and said",
    "FacetItems.limit": "0 asks how many values there are",
    "GetSet.without_ids": "a yes or no",
    "Search.filter.is_in.bools.values": "a yes or no; a list of none is in the table",
    "Search.filter.is_in.ints.values": "every sint64 is a number; a list of none is in the table",
    "Search.filter.is_in.keywords.values": "every string may be looked for",
}
# Below these every value is as good as its sibling's.
ALIKE = {
    "Search.filter.all_of.filters": "a filter again",
    "Search.filter.any_of.filters": "a filter again",
    "Search.filter.negated": "a filter again",
    "Search.slate.floors.filter": "as Search.filter",
    "Search.composed.queries.interests.ids": "as GetItems.ids",
    "Search.composed.queries.interests.vectors": "as Search.vectors",
    "Search.exclude.ids": "as GetItems.ids",
    "Explain.search": "as Search",
    "Explain.id": "as GetItems.ids",
    "CountItems.filter": "as Search.filter",
    "DeleteItems.filter": "as Search.filter",
    "FacetItems.filter": "as Search.filter",
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with bad.prepared() as running:
        yield running


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_bad_arguments_are_refused_with_code_and_field(cluster: LocalCluster) -> None:
    """By shard and router, over calls and streams; no process ends, and no item changes."""
    findings = bad.attacked(cluster)
    assert findings.wrong == []
    assert findings.changed == []
    assert findings.crashes == 0
    assert findings.requests > 2 * len(list(every_request()))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_is_not_refused_is_caught(cluster: LocalCluster) -> None:
    """A request that is let through, and what it changes, would be seen."""
    assert "not refused" in bad.caught(cluster)


def test_each_part_of_a_wrong_answer_is_seen() -> None:
    request = Bad("Search", "k", "0", b"", named="k", row=1)
    right = Answer(grpc.StatusCode.INVALID_ARGUMENT, "k", (1,))
    assert judge(request, right) == ""
    for wrong in (
        Answer(grpc.StatusCode.INTERNAL, "k", (1,)),
        Answer(grpc.StatusCode.INVALID_ARGUMENT, "", (1,)),
        Answer(grpc.StatusCode.INVALID_ARGUMENT, "k", (0, 1)),
        Answer(grpc.StatusCode.INVALID_ARGUMENT, "k"),
    ):
        assert judge(request, wrong)


def fields_of(message: Any, path: str, above: tuple[str, ...] = ()) -> Iterator[str]:
    """List the paths of all fields of a message, and of those in it."""
    for field in message.fields:
        name = f"{path}.{field.name}"
        yield name
        inner = field.message_type
        if field.type != FieldDescriptor.TYPE_MESSAGE or inner.GetOptions().map_entry:
            continue
        if inner.full_name not in above and name not in ALIKE:
            yield from fields_of(inner, name, (*above, inner.full_name))


def test_every_rpc_and_every_field_of_a_request_has_a_row() -> None:
    """A new RPC or field fails here until somebody says what is wrong with its bad values."""
    paths = {f"{row.rpc}.{row.path}" for row in every_request() if row.path} | set(HARMLESS)
    # A field is covered when it is bad, or when something in it is.
    covered = {
        ".".join(parts[:end])
        for path in paths
        for parts in (path.split("."),)
        for end in range(2, len(parts) + 1)
    }
    lacking = [
        path
        for rpc, method in RPCS.items()
        for path in fields_of(method.input_type, rpc)
        if path not in covered and not path.startswith("SearchStream.searches.search.")
    ]
    assert lacking == []
    assert {row.rpc for row in every_request()} == set(RPCS)


def test_what_is_called_harmless_exists() -> None:
    """A field that is gone leaves the list, too."""
    existing = {path for rpc, method in RPCS.items() for path in fields_of(method.input_type, rpc)}
    assert set(HARMLESS) | set(ALIKE) <= existing


def test_rows_of_the_table_differ() -> None:
    told = [str(row) for row in every_request()]
    assert sorted({name for name in told if told.count(name) > 1}) == []
