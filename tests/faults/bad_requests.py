"""Every RPC with arguments that it must refuse, and how: one row each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import Message
from tests import messages
from tests.faults import bad_columns as columns
from tests.faults.bad_columns import DIM, ROWS, good_ids, good_vectors
from tests.faults.bad_queries import query_requests
from tests.faults.bad_table import NAMED, NOT_FOUND, NUMBERED, PRECONDITION, Bad
from tests.faults.bad_table import bad_row as _bad
from tests.faults.bad_table import bad_texts as _texts

from fanlight.v1 import (
    cluster_pb2,
    collections_pb2,
    items_pb2,
    search_pb2,
    sets_pb2,
    types_pb2,
)
from fanlight.wire import codec

FIELDS = {"word": "keyword", "number": "int", "weight": "float", "flag": "bool"}
PAYLOADS = [{"word": f"w{row}", "number": row} for row in range(ROWS)]
# One fault in a request of ROWS rows is in this one.
BAD_ROW = 1
# Bytes that are no message, whatever the message.
NO_MESSAGE = b"\xff\xff\xff"


def every_request() -> Iterator[Bad]:
    """Give all rows of the table."""
    yield from _creations()
    yield from _updates()
    yield from _of_collections()
    yield from _upserts()
    yield from _deletions()
    yield from _reads()
    yield from _exports()
    yield from _searches()
    yield from query_requests()
    yield from _data()
    for rpc in RPCS:
        yield Bad(rpc, "", "bytes that are no message", NO_MESSAGE)


# --- the cluster ------------------------------------------------------------------------------


def _data() -> Iterator[Bad]:
    rpc, request, data = "AcceptData", cluster_pb2.AcceptDataRequest, cluster_pb2.ShardData
    good = "0" * 32
    for replace, how in ((False, ""), (True, ", to replace another")):
        asked = partial(request, replace=replace)
        yield _bad(rpc, "shards", f"none{how}", asked(), "shards")
        for index in (2, 2**31, 2**32 - 1):
            message = asked(shards=[data(index=index, data_id=good)])
            yield _bad(rpc, "shards.index", f"{index}{how}", message, "shards.index")
        for data_id in ("", "0", good[1:], good + "0", "G" * 32, "A" * 32, "é" * 32, "0" * 100_000):
            shown = repr(data_id) if len(data_id) < 34 else f"{len(data_id)} characters"
            message = asked(shards=[data(data_id=data_id)])
            yield _bad(rpc, "shards.data_id", f"{shown}{how}", message, "shards.data_id")
        twice = asked(shards=[data(data_id=good)] * 2)
        yield _bad(rpc, "shards.index", f"twice{how}", twice, "shards.index")
        other = asked(shards=[data(data_id=good)])
        yield _bad(rpc, "shards.data_id", f"of nobody{how}", other, "", code=PRECONDITION)
    no_utf8 = b"\x0a\x04\x12\x02\xff\xfe"
    yield Bad(rpc, "shards.data_id", "no UTF-8", no_utf8)


# --- collections ------------------------------------------------------------------------------


def _creations() -> Iterator[Bad]:
    spec, request = collections_pb2.CollectionSpec, collections_pb2.CreateCollectionRequest
    rpc = "CreateCollection"

    def creation(**keys: Any) -> Message:
        good: dict[str, Any] = {"name": "fresh", "dim": DIM}
        return request(spec=spec(**good | keys))

    yield _bad(rpc, "spec", "none", request(), "name")
    for name in ("", "-", ".", "..", "a/b", "a b", "ä", "a\0", "a\n", "x" * 129, "x" * 100_000):
        shown = repr(name) if len(name) < 9 else f"{len(name)} characters"
        yield _bad(rpc, "spec.name", shown, creation(name=name), "name")
    no_utf8 = b"\x0a\x06\x0a\x02\xff\xfe\x10\x04"
    yield Bad(rpc, "spec.name", "no UTF-8", no_utf8)
    for field, values in (
        ("dim", (0, 16_385, 2**31, 2**32 - 1)),
        ("metric", (99, -1)),
        ("id_type", (99, -1)),
        ("m", (0, 1, 129, 2**32 - 1)),
        ("ef_construction", (0, 3, 4_097, 2**32 - 1)),
        ("ef_search", (0, 10_001, 2**32 - 1)),
    ):
        for value in values:
            yield _bad(rpc, f"spec.{field}", str(value), creation(**{field: value}), field)
    for what, fields, named in (
        ("a type of 0", {"a": 0}, "filterable.a"),
        ("a type of 99", {"a": 99}, "filterable.a"),
        ("no name", {"": 1}, "filterable"),
        ("a name of 129 bytes", {"ä" * 64 + "x": 1}, "filterable"),
        ("65 fields", {f"f{n}": 1 for n in range(65)}, "filterable"),
    ):
        yield _bad(rpc, "spec.filterable", what, creation(filterable=fields), named)
    exists = spec(name=NUMBERED, dim=DIM + 1)
    code = grpc.StatusCode.ALREADY_EXISTS
    yield _bad(
        rpc, "spec", "another dim for one that exists", request(spec=exists), "dim", code=code
    )
    for version in (0, 2**63, 2**64 - 1):
        created = request(spec=spec(name="fresh", dim=DIM), version=version)
        yield _bad(rpc, "version", str(version), created, "version", shard_only=True)


def _updates() -> Iterator[Bad]:
    rpc, request = "UpdateCollection", collections_pb2.UpdateCollectionRequest
    yield from _texts(rpc, "name", 1, request, "name")
    yield _bad(rpc, "add_fields", "nothing to do", request(name=NUMBERED), "add_fields")
    for what, fields, named in (
        ("a type of 0", {"a": 0}, "add_fields.a"),
        ("a type of 99", {"a": 99}, "add_fields.a"),
        ("another type than declared", {"word": types_pb2.FIELD_TYPE_INT}, "add_fields.word"),
        ("no name", {"": 1}, "add_fields"),
        ("a name of 129 bytes", {"ä" * 64 + "x": 1}, "add_fields"),
        ("61 fields more", {f"f{n}": 1 for n in range(61)}, "add_fields"),
    ):
        added: Any = fields
        yield _bad(rpc, "add_fields", what, request(name=NUMBERED, add_fields=added), named)
    for what, names in (
        ("no name", [""]),
        ("a name of 129 bytes", ["x" * 129]),
        ("65 names", [f"f{n}" for n in range(65)]),
    ):
        dropped = request(name=NUMBERED, drop_fields=names)
        yield _bad(rpc, "drop_fields", what, dropped, "drop_fields")
    for ef in (10_001, 2**32 - 1):
        yield _bad(rpc, "ef_search", str(ef), request(name=NUMBERED, ef_search=ef), "ef_search")
    yield from _declarations(rpc)


def _declarations(rpc: str) -> Iterator[Bad]:
    """Give what only a router sends, and another router takes the fields of."""

    def declared(**keys: Any) -> Message:
        good: dict[str, Any] = {"version": 1, "fields_version": 1}
        declaration = collections_pb2.FieldDeclaration(**good | keys)
        return collections_pb2.UpdateCollectionRequest(name=NUMBERED, declaration=declaration)

    path = "declaration.filterable"
    for what, fields, named in (
        ("a type of 99", {"a": 99}, f"{path}.a"),
        ("no name", {"": 1}, path),
        ("65 fields", {f"f{n}": 1 for n in range(65)}, path),
    ):
        yield _bad(rpc, path, what, declared(filterable=fields), named)
    for field, values in (("version", (0, 2**63)), ("fields_version", (2**63, 2**64 - 1))):
        for value in values:
            path = f"declaration.{field}"
            yield _bad(rpc, path, str(value), declared(**{field: value}), path, shard_only=True)
    path = "declaration.ef_search"
    for ef in (0, 10_001, 2**32 - 1):
        yield _bad(rpc, path, str(ef), declared(ef_search=ef), path)
    another = declared(version=7)
    yield _bad(
        rpc, "declaration.version", "another's", another, "name", code=NOT_FOUND, shard_only=True
    )
    older = declared(fields_version=0)
    code = grpc.StatusCode.ALREADY_EXISTS
    yield _bad(
        rpc, "declaration.fields_version", "0, of other fields", older, "add_fields",
        code=code, shard_only=True,
    )  # fmt: skip


def _of_collections() -> Iterator[Bad]:
    get, delete = collections_pb2.GetCollectionRequest, collections_pb2.DeleteCollectionRequest
    yield from _texts("GetCollection", "name", 1, get, "name")
    yield from _texts("DeleteCollection", "name", 1, delete, "name")
    finish = collections_pb2.FinishRestoreRequest
    yield from _texts("FinishRestore", "name", 1, finish, "name")
    for version in (0, 2**63, 2**64 - 1):
        made = delete(name=NUMBERED, version=version)
        yield _bad("DeleteCollection", "version", str(version), made, "version", shard_only=True)
    for name in ("", "a/b", "x" * 129):
        made = delete(name=name, version=7)
        what = f"no name of a collection ({len(name)} characters), with a version"
        yield _bad("DeleteCollection", "name", what, made, "name", shard_only=True)
    for what, share in columns.bad_shares():
        one = get(name=NUMBERED, min_coverage=share)
        yield _bad("GetCollection", "min_coverage", what, one, "min_coverage")
        every = collections_pb2.ListCollectionsRequest(min_coverage=share)
        yield _bad("ListCollections", "min_coverage", what, every, "min_coverage")


# --- items ------------------------------------------------------------------------------------


def _upserts() -> Iterator[Bad]:
    rpc, blobs = "UpsertItems", messages.blobs

    def upsert(**keys: Any) -> items_pb2.UpsertItemsRequest:
        good = {"collection": NUMBERED, "ids": good_ids(), "vectors": good_vectors()}
        return items_pb2.UpsertItemsRequest(**{**good, "payloads": payloads(), **keys})

    def payloads(bad: bytes | None = None) -> types_pb2.Blobs:
        stored = [codec_payload(row) for row in range(ROWS)]
        if bad is not None:
            stored[BAD_ROW] = bad
        return blobs(stored)

    yield from _texts(rpc, "collection", 1, upsert, "collection")
    for path, what, ids in columns.bad_ids():
        yield _bad(rpc, _under("ids", path), what, upsert(ids=ids), "ids")
    yield _bad(rpc, "ids.int64s", "fewer than vectors", upsert(ids=good_ids(ROWS - 1)), "vectors")
    yield _bad(rpc, "vectors", "none", _without(upsert(), "vectors"), "vectors")
    for path, what, vectors in columns.bad_matrices():
        yield _bad(rpc, _under("vectors", path), what, upsert(vectors=vectors), "vectors")
    for what, vectors in columns.bad_vectors():
        made = upsert(vectors=_second_of(vectors))
        yield _bad(rpc, "vectors.data", what, made, "vectors", row=BAD_ROW)
    for path, what, bad in columns.bad_blobs():
        yield _bad(rpc, f"payloads.{path}", what, upsert(payloads=bad), "payloads")
    yield _bad(rpc, "payloads", "too few", upsert(payloads=blobs([b"{}"])), "payloads")
    for named, what, payload in columns.bad_payloads():
        made = upsert(payloads=payloads(payload))
        yield _bad(rpc, "payloads.data", what, made, named, row=BAD_ROW)
    for what, name in columns.bad_names():
        made = upsert(collection=NAMED, ids=_names_with(name))
        yield _bad(rpc, "ids.strings.data", what, made, "ids", row=BAD_ROW)
    made = upsert(collection=NAMED)
    yield _bad(rpc, "ids.int64s", "int64 ids for strings", made, "ids")


def codec_payload(row: int) -> bytes:
    """Give the payload of a stored item as it is stored."""
    payload = PAYLOADS[row]
    return f'{{"word":"{payload["word"]}","number":{payload["number"]}}}'.encode()


def _second_of(vectors: types_pb2.Matrix) -> types_pb2.Matrix:
    """Take the bad row of some vectors, between the good ones that are stored."""
    whole, bad = codec.from_matrix(good_vectors(), "").copy(), codec.from_matrix(vectors, "")
    whole[BAD_ROW] = bad[BAD_ROW]
    return messages.matrix(whole)


def _names_with(bad: bytes) -> types_pb2.Ids:
    names = [f"item-{row}".encode() for row in range(ROWS)]
    names[BAD_ROW] = bad
    return types_pb2.Ids(strings=messages.blobs(names))


def _deletions() -> Iterator[Bad]:
    rpc, request = "DeleteItems", items_pb2.DeleteItemsRequest

    def delete(**keys: Any) -> Message:
        return request(**{"collection": NUMBERED, "ids": good_ids(), **keys})

    yield from _texts(rpc, "collection", 1, delete, "collection")
    for path, what, ids in columns.bad_ids():
        yield _bad(rpc, _under("ids", path), what, delete(ids=ids), "ids")
    made = delete(collection=NAMED)
    yield _bad(rpc, "ids.int64s", "int64 ids for strings", made, "ids")
    for what, name in columns.bad_names():
        names = [b"unknown-0", name, b"unknown-2"]
        made = delete(collection=NAMED, ids=types_pb2.Ids(strings=messages.blobs(names)))
        yield _bad(rpc, "ids.strings.data", what, made, "ids", row=BAD_ROW)


def _reads() -> Iterator[Bad]:
    get, scroll, count = (
        items_pb2.GetItemsRequest, items_pb2.ScrollItemsRequest, items_pb2.CountItemsRequest
    )  # fmt: skip

    def got(**keys: Any) -> Message:
        return get(**{"collection": NUMBERED, "ids": good_ids(), **keys})

    yield from _texts("GetItems", "collection", 1, got, "collection")
    for path, what, ids in columns.bad_ids():
        yield _bad("GetItems", _under("ids", path), what, got(ids=ids), "ids")
    yield _bad("GetItems", "ids.int64s", "int64 for strings", got(collection=NAMED), "ids")
    yield from _texts("ScrollItems", "collection", 1, scroll, "collection")
    for size in (0, columns.BATCH_ROWS_MAX + 1, 2**32 - 1):
        made = scroll(collection=NUMBERED, page_size=size)
        yield _bad("ScrollItems", "page_size", str(size), made, "page_size")
    for what, token in (
        ("a byte", b"x"),
        ("zeros", b"\0" * 9),
        ("a cut one", b"i\0\0\0"),
        ("of strings for int64", b"sabc"),
        ("a router's, of another map", b"\1\0\0\0\7iabcdefgh"),
        ("a router's, cut", b"\1\0\0\0"),
        ("a megabyte", b"\xff" * (1 << 20)),
    ):
        made = scroll(collection=NUMBERED, page_token=token)
        yield _bad("ScrollItems", "page_token", what, made, "page_token")
    made = scroll(collection=NAMED, page_token=b"s\xff\xfe")
    yield _bad("ScrollItems", "page_token", "no UTF-8", made, "page_token")
    yield from _texts("CountItems", "collection", 1, count, "collection")
    for what, share in columns.bad_shares():
        counted = count(collection=NUMBERED, min_coverage=share)
        yield _bad("CountItems", "min_coverage", what, counted, "min_coverage")


def _exports() -> Iterator[Bad]:
    rpc = "ExportItems"

    def export(**keys: Any) -> Message:
        return items_pb2.ExportItemsRequest(**{"collection": NUMBERED, **keys})

    yield from _texts(rpc, "collection", 1, export, "collection")
    for shards in ([1], [0, 1], [2**32 - 1], list(range(10_000))):
        told = str(shards) if len(shards) < 3 else f"{len(shards)} of them"
        yield _bad(rpc, "shards", told, export(shards=shards), "shards")
    for rows in (0, columns.BATCH_ROWS_MAX + 1, 2**32 - 1):
        yield _bad(rpc, "batch_rows", str(rows), export(batch_rows=rows), "batch_rows")
    yield _bad(rpc, "after", "of no shard", export(after=good_ids(1)), "shards")
    for path, what, ids in columns.bad_ids():
        made = export(after=ids, shards=[0])
        yield _bad(rpc, _under("after", path), what, made, "after")
    yield _bad(rpc, "after.int64s", "two ids", export(after=good_ids(2), shards=[0]), "after")
    for what, name in columns.bad_names():
        ids = types_pb2.Ids(strings=messages.blobs([name]))
        made = export(collection=NAMED, after=ids, shards=[0])
        yield _bad(rpc, "after.strings.data", what, made, "after")


# --- search -----------------------------------------------------------------------------------


def _search(**keys: Any) -> search_pb2.SearchRequest:
    if "ids" not in keys and "vectors" not in keys:
        keys["vectors"] = good_vectors()
    return search_pb2.SearchRequest(**{"collection": NUMBERED, "k": 3, **keys})


def _searches() -> Iterator[Bad]:
    rpc = "Search"
    yield from _texts(rpc, "collection", 1, _search, "collection")
    yield _bad(
        rpc, "vectors", "no queries", search_pb2.SearchRequest(collection=NUMBERED, k=3), "queries"
    )
    for path, what, vectors in columns.bad_matrices():
        named = "queries" if what == "no rows" or what == "rows of nothing" else "vectors"
        yield _bad(rpc, _under("vectors", path), what, _search(vectors=vectors), named)
    for what, vectors in columns.bad_vectors():
        yield _bad(rpc, "vectors.data", what, _search(vectors=vectors), "vectors", row=BAD_ROW)
    for path, what, ids in columns.bad_ids():
        named = "queries" if "row" in what else "ids"
        yield _bad(rpc, _under("ids", path), what, _search(ids=ids), named)
    named_ids = _search(collection=NAMED, ids=good_ids())
    yield _bad(rpc, "ids.int64s", "int64 for strings", named_ids, "ids")
    unknown = types_pb2.Ids(strings=messages.blobs([b"item-0", b"unknown", b"item-2"]))
    made = _search(collection=NAMED, ids=unknown)
    yield _bad(rpc, "ids.strings.data", "unknown", made, "ids", row=BAD_ROW, code=NOT_FOUND)
    yield from _search_numbers(rpc)
    yield from _search_filters(rpc)


def _search_numbers(rpc: str) -> Iterator[Bad]:
    for field, values in (
        ("k", (0, 10_001, 2**31, 2**32 - 1)),
        ("ef_search", (0, 10_001, 2**32 - 1)),
        ("take", (0, 4, 2**32 - 1)),
        ("score_threshold", (float("nan"), float("inf"), float("-inf"))),
    ):
        for value in values:
            yield _bad(rpc, field, str(value), _search(**{field: value}), field)
    # A varint of ten bytes, which a careless client writes for -1.
    minus_one = _search().SerializeToString() + b"\x20" + b"\xff" * 9 + b"\x01"
    yield Bad(rpc, "k", "-1", minus_one, named="k")
    many = _search(vectors=good_vectors(201), k=10_000)
    yield _bad(rpc, "k", "more hits than a request may have", many, "k")
    for what, share in columns.bad_shares():
        yield _bad(rpc, "min_coverage", what, _search(min_coverage=share), "min_coverage")


def _search_filters(rpc: str) -> Iterator[Bad]:
    for path, what, named, filter in columns.bad_filters():
        made = _search(filter=filter)
        yield _bad(rpc, _under("filter", path), what, made, named)
    deep = columns.unreadable_filter()
    blob = _search().SerializeToString() + b"\x5a" + columns.varint(len(deep)) + deep
    yield Bad(rpc, "filter.negated", "nested deeper than protobuf reads", blob)


def _under(column: str, path: str) -> str:
    return f"{column}.{path}" if path else column


def _without(request: Message, field: str) -> Message:
    request.ClearField(field)
    return request


# --- what there is to be refused --------------------------------------------------------------

_MODULES = (cluster_pb2, collections_pb2, items_pb2, search_pb2, sets_pb2)
# Descriptor of each method, by name.
RPCS: dict[str, Any] = {
    method.name: method
    for module in _MODULES
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
