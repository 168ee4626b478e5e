"""Queries by meaning, sets, counts and explanations that must be refused: rows of the table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from google.protobuf.message import Message
from tests import messages
from tests.faults import bad_columns as columns
from tests.faults.bad_columns import good_ids, good_vectors
from tests.faults.bad_table import NAMED, NUMBERED, Bad, bad_row, bad_texts

from fanlight.v1 import filters_pb2, items_pb2, queries_pb2, search_pb2, sets_pb2, types_pb2

_NAN, _INF = float("nan"), float("inf")
_UNKNOWN = filters_pb2.Filter(exists=filters_pb2.Exists(field="colour"))


def query_requests() -> Iterator[Bad]:
    """Give the rows."""
    yield from _compositions()
    yield from _exclusions()
    yield from _slates()
    yield from _explanations()
    yield from _counts()
    yield from _facets()
    yield from _sets()


def _search(**keys: Any) -> search_pb2.SearchRequest:
    if "composed" not in keys:
        keys.setdefault("vectors", good_vectors())
    return search_pb2.SearchRequest(**{"collection": NUMBERED, "k": 3, **keys})


def _ones(n: int) -> bytes:
    return b"\0\0\x80\x3f" * n


def _interest(**keys: Any) -> queries_pb2.Interest:
    n = len(good_ids().int64s) // 8
    good: dict[str, Any] = {"ids": good_ids(), "id_weights": _ones(n)}
    return queries_pb2.Interest(**good | keys)


def _composed(*interests: queries_pb2.Interest) -> search_pb2.SearchRequest:
    query = queries_pb2.Query(interests=interests)
    return _search(composed=queries_pb2.Queries(queries=[query]))


def _compositions() -> Iterator[Bad]:
    rpc, at = "Search", "composed.queries.interests"
    nobody = _search(composed=queries_pb2.Queries())
    yield bad_row(rpc, "composed.queries", "none", nobody, "queries")
    yield bad_row(rpc, at, "none", _composed(), "interests")
    yield bad_row(rpc, at, "65", _composed(*[_interest()] * 65), "interests")
    yield bad_row(rpc, at, "no terms", _composed(queries_pb2.Interest()), "examples")
    cut = _interest(ids=types_pb2.Ids(int64s=b"1234567"), id_weights=b"")
    yield bad_row(rpc, f"{at}.ids", "7 bytes", _composed(cut), "examples")
    strings = types_pb2.Ids(strings=types_pb2.Blobs(data=b"a", offsets=b"\0" * 4 + b"\1\0\0\0"))
    mixed = _interest(ids=strings, id_weights=_ones(1))
    yield bad_row(rpc, f"{at}.ids", "strings for int64", _composed(mixed), "ids")
    for what, weights in (("none", b""), ("3 bytes", b"abc"), ("NaN", b"\0\0\xc0\x7f" * 9)):
        made = _composed(_interest(id_weights=weights))
        yield bad_row(rpc, f"{at}.id_weights", what, made, "weights")
    for what, weights in (("none", b""), ("one too many", _ones(99))):
        made = _composed(queries_pb2.Interest(vectors=good_vectors(), vector_weights=weights))
        yield bad_row(rpc, f"{at}.vector_weights", what, made, "weights")
    untyped = types_pb2.Matrix(dtype=types_pb2.DTYPE_UNSPECIFIED, rows=1, dim=1, data=b"1234")
    made = _composed(queries_pb2.Interest(vectors=untyped, vector_weights=_ones(1)))
    yield bad_row(rpc, f"{at}.vectors", "no dtype", made, "examples")
    for field, values in (
        ("weight", (0.0, -1.0, _NAN, _INF)),
        ("min_share", (-0.5, 1.5, _NAN)),
        ("max_share", (-0.5, 1.5, _NAN)),
    ):
        named = "weight" if field == "weight" else "min_share"
        for value in values:
            made = _composed(_interest(**{field: value}))
            yield bad_row(rpc, f"{at}.{field}", str(value), made, named)
    halves = _composed(_interest(min_share=0.6), _interest(min_share=0.6))
    yield bad_row(rpc, f"{at}.min_share", "more than 1 in all", halves, "min_share")


def _exclusions() -> Iterator[Bad]:
    exclusions = queries_pb2.Exclusions
    cut = exclusions(ids=types_pb2.Ids(int64s=b"1234567"))
    yield bad_row("Search", "exclude.ids", "7 bytes", _search(exclude=cut), "exclude_ids")
    numbers = _search(collection=NAMED, exclude=exclusions(ids=good_ids()))
    yield bad_row("Search", "exclude.ids", "int64 for strings", numbers, "exclude_ids")
    steps, last = queries_pb2.AscendingIds, 2**63 - 1
    for path, what, ascending in (
        ("first", "past int64 with its steps", steps(first=last, width=1, steps=b"\1")),
        ("width", "0", steps(steps=b"\1")),
        ("width", "3", steps(width=3, steps=b"\1" * 3)),
        ("width", "8", steps(width=8, steps=b"\1" * 8)),
        ("steps", "3 bytes of 2 each", steps(width=2, steps=b"\1" * 3)),
        ("steps", "more than any server takes", steps(width=1, steps=bytes(4_000_000))),
    ):
        made = _search(exclude=exclusions(ascending=ascending))
        yield bad_row("Search", f"exclude.ascending.{path}", what, made, "exclude_ids")
    numbers = _search(collection=NAMED, exclude=exclusions(ascending=steps(width=1)))
    yield bad_row("Search", "exclude.ascending", "int64 for strings", numbers, "exclude_ids")
    both = exclusions(ids=good_ids(), ascending=steps(width=1))
    yield bad_row("Search", "exclude.ascending", "with ids", _search(exclude=both), "exclude_ids")
    for what, joined in (
        ("no NUL after the last", exclusions(joined=b"a\0b")),
        ("more than any server takes", exclusions(joined=bytes(4_000_001))),
        ("strings for int64", exclusions(joined=b"a\0")),
        ("with ids", exclusions(ids=good_ids(), joined=b"a\0")),
        ("with steps", exclusions(ascending=steps(width=1), joined=b"a\0")),
    ):
        yield bad_row("Search", "exclude.joined", what, _search(exclude=joined), "exclude_ids")
    for what, names in (
        ("an empty name", [""]),
        ("a name of 257 bytes", ["x" * 257]),
        ("17", [f"s{n}" for n in range(17)]),
    ):
        made = _search(exclude=exclusions(sets=names))
        yield bad_row("Search", "exclude.sets", what, made, "exclude_sets")


def _slates() -> Iterator[Bad]:
    cap, floor, mmr = queries_pb2.Cap, queries_pb2.Floor, queries_pb2.Mmr

    def slate(path: str, what: str, named: str, **rules: Any) -> Bad:
        made = _search(slate=queries_pb2.Slate(**rules))
        return bad_row("Search", f"slate.{path}", what, made, named)

    known = filters_pb2.Filter(exists=filters_pb2.Exists(field="number"))
    yield slate("caps", "17", "slate.caps", caps=[cap(field="word", most=1)] * 17)
    yield slate("caps.most", "0", "slate.caps", caps=[cap(field="word")])
    yield slate("floors", "17", "slate.floors", floors=[floor(filter=known, count=1)] * 17)
    yield slate("floors", "neither share nor count", "slate.floors", floors=[floor(filter=known)])
    yield slate("floors.filter", "none", "filter", floors=[floor(share=0.5)])
    unknown = [floor(filter=_UNKNOWN, count=1)]
    yield slate("floors.filter", "an unknown field", "filter.colour", floors=unknown)
    for share in (-0.5, 1.5, _NAN):
        floors = [floor(filter=known, share=share)]
        yield slate("floors.share", str(share), "slate.floors", floors=floors)
    for relevance in (-0.5, 1.5, _NAN):
        yield slate("mmr.relevance", str(relevance), "slate.mmr", mmr=mmr(relevance=relevance))
    for n in (0, 10_001, 2**32 - 1):
        yield slate("mmr.candidates", str(n), "slate.mmr", mmr=mmr(relevance=0.5, candidates=n))
    for cosine in (-1.5, 1.5, _NAN):
        yield slate("near_duplicate", str(cosine), "slate.near_duplicate", near_duplicate=cosine)


def _explanations() -> Iterator[Bad]:
    rpc, request = "Explain", search_pb2.ExplainRequest
    one = types_pb2.Ids(int64s=b"\0" * 8)
    alone = _search(vectors=good_vectors(1))
    yield bad_row(rpc, "search", "none", request(id=one), "queries")
    yield bad_row(rpc, "search", "several queries", request(search=_search(), id=one), "queries")
    unknown = _search(vectors=good_vectors(1), filter=_UNKNOWN)
    made = request(search=unknown, id=one)
    yield bad_row(rpc, "search", "a filter on an unknown field", made, "filter.colour")
    yield bad_row(rpc, "id", "none", request(search=alone), "id")
    yield bad_row(rpc, "id", "several", request(search=alone, id=good_ids()), "id")
    for score in (_NAN, _INF):
        made = request(search=alone, id=one, score=score)
        yield bad_row(rpc, "score", str(score), made, "score")
    by_id = search_pb2.SearchRequest(collection=NUMBERED, ids=one, k=3)
    nowhere = np.full((1, columns.DIM), _NAN, dtype=np.float32)
    for what, asked, named in (
        ("beside an id", by_id, "queries"),
        ("beside examples", _composed(_interest()), "queries"),
        ("beside several vectors", _search(), "queries"),
        ("beside no query", search_pb2.SearchRequest(collection=NUMBERED, k=3), "queries"),
        ("beside NaN", _search(vectors=messages.matrix(nowhere)), "vectors"),
    ):
        made = request(search=asked, id=one, score=0.5)
        yield bad_row(rpc, "score", what, made, named)


def _counts() -> Iterator[Bad]:
    count, delete = items_pb2.CountItemsRequest, items_pb2.DeleteItemsRequest
    for what, filter, named in (
        ("no condition", filters_pb2.Filter(), "filter"),
        ("an unknown field", _UNKNOWN, "filter.colour"),
    ):
        counted = count(collection=NUMBERED, filter=filter)
        yield bad_row("CountItems", "filter", what, counted, named)
        deleted = delete(collection=NUMBERED, filter=filter)
        yield bad_row("DeleteItems", "filter", what, deleted, named)
    both = delete(collection=NUMBERED, ids=good_ids(), filter=_UNKNOWN)
    yield bad_row("DeleteItems", "filter", "ids as well", both, "filter")


def _facets() -> Iterator[Bad]:
    rpc = "FacetItems"

    def facets(**keys: Any) -> Message:
        return items_pb2.FacetItemsRequest(**{"collection": NUMBERED, "field": "word", **keys})

    yield from bad_texts(rpc, "collection", 1, facets, "collection")
    for field in ("", "colour", "x" * 100_000):
        shown = field if len(field) < 9 else f"{len(field)} characters"
        yield bad_row(rpc, "field", repr(shown), facets(field=field), "field")
    yield bad_row(rpc, "filter", "no condition", facets(filter=filters_pb2.Filter()), "filter")
    for what, share in columns.bad_shares():
        yield bad_row(rpc, "min_coverage", what, facets(min_coverage=share), "min_coverage")


def _sets() -> Iterator[Bad]:
    for rpc, make in (
        ("AppendToSet", sets_pb2.AppendToSetRequest),
        ("RemoveFromSet", sets_pb2.RemoveFromSetRequest),
        ("ExpireSet", sets_pb2.ExpireSetRequest),
        ("GetSet", sets_pb2.GetSetRequest),
        ("DeleteSet", sets_pb2.DeleteSetRequest),
    ):
        good: dict[str, Any] = {"collection": NUMBERED, "name": "seen"}
        if "ids" in make.DESCRIPTOR.fields_by_name:
            good["ids"] = good_ids()
        if rpc == "ExpireSet":
            good["ttl_s"] = 5.0

        def made(make: Any = make, good: dict[str, Any] = good, **keys: Any) -> Message:
            message: Message = make(**good | keys)
            return message

        yield from bad_texts(rpc, "collection", 1, made, "collection")
        for what, name in (("none", ""), ("257 bytes", "x" * 257)):
            yield bad_row(rpc, "name", what, made(name=name), "name")
        if "ids" in good:
            for path, what, ids in columns.bad_ids():
                under = f"ids.{path}" if path else "ids"
                yield bad_row(rpc, under, what, made(ids=ids), "ids")
            yield bad_row(rpc, "ids.int64s", "int64 for strings", made(collection=NAMED), "ids")
        if "ttl_s" in make.DESCRIPTOR.fields_by_name:
            for ttl in (0.0, -1.0, 1e12, _NAN, _INF):
                yield bad_row(rpc, "ttl_s", str(ttl), made(ttl_s=ttl), "ttl")
