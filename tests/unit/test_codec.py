"""The codec: every value survives the wire, and malformed columns are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.testing import assert_array_equal
from tests import messages

from fanlight.cluster import ClusterStatus, ShardState, ShardStatus
from fanlight.declarations import Declaration
from fanlight.errors import InvalidRequest, NotReady
from fanlight.filters import AllOf, AnyOf, Exists, FieldType, Filter, IsIn, Not, Range
from fanlight.ids import empty
from fanlight.model import (
    CollectionInfo,
    CollectionSpec,
    Coverage,
    Hits,
    IdColumn,
    IdType,
    ItemBatch,
    Items,
    Metric,
    SearchRequest,
)
from fanlight.placement import ShardIdentity
from fanlight.v1 import filters_pb2, items_pb2
from fanlight.v1 import types_pb2 as pb
from fanlight.wire import codec
from fanlight.wire.cluster_codec import from_cluster_status, to_cluster_status
from fanlight.wire.filter_codec import from_filter, to_filter

FLOATS = st.floats(width=32, allow_nan=True)
SHAPES = st.tuples(st.integers(0, 5), st.integers(1, 7))
VECTORS = arrays.arrays(np.float32, SHAPES, elements=FLOATS)
INT64S = st.integers(-(2**63), 2**63 - 1)
COUNTS = st.integers(0, 2**32 - 1)


def column(values: list[Any]) -> IdColumn:
    """Make a column of what a strategy drew."""
    if values and isinstance(values[0], str):
        strings = empty(IdType.STRING, len(values))
        strings[:] = values
        return strings
    return np.array(values, dtype=np.int64)


def sorted_sets(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """Draw the values of a condition, which stand in order and once each."""
    return st.sets(values, max_size=4).map(lambda drawn: tuple(sorted(drawn)))


INT_COLUMNS = st.lists(INT64S, max_size=6).map(column)
# A column of no strings has no first value to tell its type by, so at least one.
STRING_COLUMNS = st.lists(st.text(max_size=12), min_size=1, max_size=6).map(column)
COLUMNS = INT_COLUMNS | STRING_COLUMNS
BLOBS = st.lists(st.binary(max_size=20), max_size=6)
FIELDS = st.text(max_size=5)
NUMBERS = INT64S | st.floats(allow_nan=False)
CLAUSES = (
    st.builds(lambda f, v: IsIn(f, FieldType.KEYWORD, v), FIELDS, sorted_sets(st.text(max_size=5)))
    | st.builds(lambda f, v: IsIn(f, FieldType.INT, v), FIELDS, sorted_sets(INT64S))
    | st.builds(
        lambda f, v: IsIn(f, FieldType.FLOAT, v), FIELDS, sorted_sets(st.floats(allow_nan=False))
    )
    | st.builds(lambda f, v: IsIn(f, FieldType.BOOL, v), FIELDS, sorted_sets(st.booleans()))
    | st.builds(Range, FIELDS, *[st.none() | NUMBERS] * 4)
    | st.builds(Exists, FIELDS)
)


def several(filters: st.SearchStrategy[Filter]) -> st.SearchStrategy[tuple[Filter, ...]]:
    """Draw the members of a list of filters."""
    return st.lists(filters, max_size=3).map(tuple)


FILTERS: st.SearchStrategy[Filter] = st.recursive(
    CLAUSES,
    lambda inner: (
        st.builds(AllOf, several(inner)) | st.builds(AnyOf, several(inner)) | st.builds(Not, inner)
    ),
    max_leaves=6,
)
SPECS = st.builds(
    CollectionSpec,
    name=st.text(max_size=9),
    dim=COUNTS,
    metric=st.sampled_from(Metric),
    id_type=st.sampled_from(IdType),
    m=COUNTS,
    ef_construction=COUNTS,
    ef_search=st.none() | COUNTS,
    filterable=st.dictionaries(st.text(max_size=9), st.sampled_from(FieldType), max_size=3),
)
INFOS = st.builds(
    CollectionInfo,
    spec=SPECS,
    version=st.integers(0, 2**64 - 1),
    items=COUNTS,
    unindexed_items=COUNTS,
    segments=COUNTS,
    deleted=st.booleans(),
    restoring=st.booleans(),
    fields_version=COUNTS,
    building_fields=st.lists(st.text(max_size=9), max_size=3).map(tuple),
)


@given(SPECS)
def test_changes_of_fields_survive_the_wire(spec: CollectionSpec) -> None:
    """What is added and dropped, and all that a router declares."""
    types, names = dict(spec.filterable), sorted(spec.filterable)
    sent = codec.to_update("things", types, names, spec.ef_search)
    got = codec.from_update(type(sent).FromString(sent.SerializeToString()))
    assert got == (types, names, spec.ef_search)
    declaration = Declaration(types, 2**63 - 1, 7, spec.ef_search)
    sent = codec.to_declaration("things", declaration)
    message = type(sent).FromString(sent.SerializeToString())
    assert codec.from_declaration(message.declaration) == declaration


@given(VECTORS)
def test_a_matrix_survives_the_wire(vectors: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    """float32 vectors come back bit by bit, NaN and infinity included."""
    got = codec.from_matrix(messages.matrix(vectors), "vectors")
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    assert got.shape == vectors.shape
    assert got.tobytes() == vectors.tobytes()


@pytest.mark.parametrize("dtype", [np.float16, np.int8])
def test_narrow_vectors_stay_narrow_on_the_wire(dtype: type[np.generic]) -> None:
    """float16 and int8 travel at their own size, and are read as float32."""
    vectors = np.array([[1, -2, 3], [0, 5, -128]], dtype=dtype)
    message = messages.matrix(vectors)
    assert len(message.data) == vectors.nbytes
    assert_array_equal(codec.from_matrix(message, "vectors"), vectors.astype(np.float32))


def test_strided_vectors_survive_the_wire() -> None:
    """A view that is not contiguous is sent as the rows that it shows."""
    vectors = np.arange(24, dtype=np.float32).reshape(4, 6)[::2, ::3]
    assert_array_equal(codec.from_matrix(messages.matrix(vectors), "v"), vectors)


@given(COLUMNS)
def test_a_column_of_ids_survives_the_wire(ids: IdColumn) -> None:
    """int64 and string ids come back in order, and with their type."""
    got = codec.from_ids(codec.to_ids(ids), "ids")
    assert got.dtype == ids.dtype
    assert got.tolist() == ids.tolist()


def test_an_empty_column_of_strings_keeps_its_type() -> None:
    """No string ids are still string ids."""
    assert codec.from_ids(codec.to_ids(empty(IdType.STRING)), "ids").dtype == object


def test_ids_that_are_no_utf8_survive_to_be_refused() -> None:
    """Bytes that are no UTF-8 reach the check of ids, row by row, and come back as they were."""
    message = pb.Ids(strings=messages.blobs([b"\xff", b"ok"]))
    ids = codec.from_ids(message, "ids")
    assert ids[1] == "ok"
    assert codec.to_ids(ids) == message


@given(BLOBS)
def test_blobs_survive_the_wire(blobs: list[bytes]) -> None:
    """Byte strings come back in order, empty ones included."""
    assert codec.from_blobs(messages.blobs(blobs), "payloads") == blobs


@given(SPECS)
def test_a_spec_survives_the_wire(spec: CollectionSpec) -> None:
    """A collection's parameters come back as they are."""
    assert codec.from_spec(codec.to_spec(spec)) == spec


@given(INFOS)
def test_a_description_survives_the_wire(info: CollectionInfo) -> None:
    """A collection's state comes back as it is."""
    assert codec.from_info(codec.to_info(info)) == info


def test_absent_parameters_have_defaults() -> None:
    """A spec with a name and a dimension alone is the documented default."""
    message = codec.to_spec(CollectionSpec("a", 3))
    message.ClearField("m")
    message.ClearField("ef_construction")
    message.ClearField("metric")
    message.ClearField("id_type")
    assert codec.from_spec(message) == CollectionSpec("a", 3)


@given(st.data())
def test_a_batch_survives_the_wire(data: st.DataObject) -> None:
    """Items to write come back column by column; no payloads are not empty payloads."""
    ids = data.draw(COLUMNS)
    vectors = data.draw(arrays.arrays(np.float32, (len(ids), 3), elements=FLOATS))
    blobs = st.lists(st.binary(max_size=9), min_size=len(ids), max_size=len(ids))
    payloads = data.draw(st.none() | blobs)
    got = codec.from_upsert(codec.to_upsert("c", ItemBatch(ids, vectors, payloads)))
    assert got.ids.tolist() == ids.tolist()
    assert got.vectors.tobytes() == vectors.tobytes()
    assert got.payload_blobs == payloads


@given(COLUMNS, st.booleans(), st.booleans())
def test_items_survive_the_wire(ids: IdColumn, with_vectors: bool, with_payloads: bool) -> None:
    """Stored items come back with the columns that were asked for."""
    items = Items(
        ids,
        np.ones((len(ids), 2), dtype=np.float32) if with_vectors else None,
        [b"{}"] * len(ids) if with_payloads else None,
        ids[::-1],
    )
    message = items_pb2.GetItemsResponse()
    codec.fill_items(message, items)
    got = codec.from_items(message)
    assert got.ids.tolist() == ids.tolist()
    assert got.missing.tolist() == ids.tolist()[::-1]
    assert (got.vectors is not None) == with_vectors
    assert got.payload_blobs == items.payload_blobs


REQUESTS = st.builds(
    SearchRequest,
    collection=st.text(max_size=5),
    vectors=st.none(),
    k=COUNTS,
    ef_search=st.none() | COUNTS,
    exact=st.booleans(),
    score_threshold=st.none() | st.floats(width=32, allow_nan=False),
    with_payloads=st.booleans(),
    with_vectors=st.booleans(),
    min_coverage=st.floats(0, 1),
    filter=st.none() | FILTERS,
)


@given(REQUESTS, VECTORS, COLUMNS, st.booleans())
def test_a_search_survives_the_wire(
    request: SearchRequest,
    vectors: np.ndarray[Any, np.dtype[np.float32]],
    ids: IdColumn,
    by_id: bool,
) -> None:
    """Parameters and queries come back; what was not set stays unset."""
    sent = replace(request, ids=ids) if by_id else replace(request, vectors=vectors)
    got = codec.from_search(codec.to_search(sent))
    if by_id:
        assert got.ids is not None
        assert got.ids.tolist() == ids.tolist()
    else:
        assert got.vectors is not None
        assert got.vectors.tobytes() == vectors.tobytes()
    assert replace(got, vectors=None, ids=None) == request


@st.composite
def hits(draw: st.DrawFn) -> Hits:
    """Draw padded hits: each query's count, then its ids and scores."""
    n, k, dim = draw(st.integers(0, 4)), draw(st.integers(1, 5)), 2
    counts = np.array(draw(st.lists(st.integers(0, k), min_size=n, max_size=n)), dtype=np.int64)
    real = np.arange(k) < counts[:, None]
    id_type = draw(st.sampled_from(IdType))
    ids = empty(id_type, (n, k))
    strings = id_type is IdType.STRING
    ids[real] = [f"id{i}" if strings else i for i in range(int(counts.sum()))]
    scores = np.where(real, np.float32(0.5), np.float32(np.nan)).astype(np.float32)
    vectors = np.where(real[:, :, None], np.float32(2), np.float32(np.nan))
    return Hits(
        ids,
        scores,
        counts,
        Coverage(2, 1, 9, 4),
        payload_blobs=[b"{}"] * int(counts.sum()) if draw(st.booleans()) else None,
        vectors=np.repeat(vectors, dim, axis=2) if draw(st.booleans()) else None,
    )


@given(hits())
def test_hits_survive_the_wire(sent: Hits) -> None:
    """Hits come back padded as they were: ids, scores, counts, coverage and columns."""
    got = codec.from_hits(codec.to_hits(sent), sent.ids.shape[1])
    if sent.counts.any():
        assert got.ids.dtype == sent.ids.dtype
        assert_array_equal(got.ids, sent.ids)
    assert_array_equal(got.scores, sent.scores)
    assert_array_equal(got.counts, sent.counts)
    assert got.coverage == sent.coverage
    assert got.payload_blobs == sent.payload_blobs
    assert (got.vectors is None) == (sent.vectors is None)
    if got.vectors is not None:
        assert_array_equal(got.vectors, sent.vectors)


def test_failed_queries_survive_the_wire() -> None:
    """The error of each failed query comes back with its row, its class and its field."""
    sent = Hits(
        empty(IdType.INT64, (3, 2)),
        np.full((3, 2), np.nan, dtype=np.float32),
        np.zeros(3, dtype=np.int64),
        Coverage(1, 1, 0, 0),
        errors={2: InvalidRequest.of_field("vectors", "finite numbers", "nan")},
    )
    got = codec.from_hits(codec.to_hits(sent), 2)
    assert list(got.errors) == [2]
    assert type(got.errors[2]) is InvalidRequest
    assert got.errors[2].field == "vectors"


def test_a_status_survives_the_wire() -> None:
    """The state of a cluster comes back, the reason of a failed shard included."""
    shards = tuple(
        ShardStatus(
            ShardIdentity("c", i, 4),
            f"h:{i}",
            state,
            None if state is ShardState.SERVING else NotReady("why"),
            (CollectionInfo(CollectionSpec("a", 3), 1),),
            "1.0",
        )
        for i, state in enumerate(ShardState)
    )
    sent = ClusterStatus("c", shards, "1.1")
    got = from_cluster_status(to_cluster_status(sent))
    for before, after in zip(sent.shards, got.shards, strict=True):
        assert replace(after, error=None) == replace(before, error=None)
        assert str(after.error) == str(before.error)
    assert replace(got, shards=()) == replace(sent, shards=())


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (pb.Matrix(dtype=pb.DTYPE_F32, rows=2, dim=2, data=b"x" * 15), "16 bytes"),
        (pb.Matrix(dtype=pb.DTYPE_F32, rows=2**31, dim=2**31, data=b""), "vectors: expected"),
        (pb.Matrix(rows=1, dim=1, data=b"xxxx"), "dtype f32, f16 or i8"),
    ],
)
def test_a_malformed_matrix_is_refused(message: pb.Matrix, complaint: str) -> None:
    """A buffer that does not fit its shape is refused, whatever the shape claims."""
    with pytest.raises(InvalidRequest, match=complaint):
        codec.from_matrix(message, "vectors")


@pytest.mark.parametrize(
    "blobs",
    [
        pb.Blobs(data=b"abc"),
        pb.Blobs(data=b"abc", offsets=b"\0\0\0"),
        pb.Blobs(data=b"abc", offsets=np.array([0, 2], dtype="<u4").tobytes()),
        pb.Blobs(data=b"abc", offsets=np.array([1, 3], dtype="<u4").tobytes()),
        pb.Blobs(data=b"abc", offsets=np.array([0, 3, 1, 3], dtype="<u4").tobytes()),
        pb.Blobs(data=b"abc", offsets=np.array([0, 2**32 - 1, 3], dtype="<u4").tobytes()),
    ],
)
def test_malformed_blobs_are_refused(blobs: pb.Blobs) -> None:
    """Offsets that do not cut the buffer are refused."""
    with pytest.raises(InvalidRequest, match="payloads"):
        codec.from_blobs(blobs, "payloads")


@pytest.mark.parametrize("message", [pb.Ids(), pb.Ids(int64s=b"1234567")])
def test_malformed_ids_are_refused(message: pb.Ids) -> None:
    """No column, and a column of broken ids, are refused."""
    with pytest.raises(InvalidRequest, match="ids"):
        codec.from_ids(message, "ids")


def test_a_search_for_nothing_is_refused() -> None:
    """A search without queries names what is missing."""
    message = codec.to_search(SearchRequest("c", None, 3, ids=np.array([1])))
    message.ClearField("ids")
    with pytest.raises(InvalidRequest, match="queries"):
        codec.from_search(message)


@pytest.mark.parametrize("field", ["metric", "id_type"])
def test_an_unknown_enum_is_refused(field: str) -> None:
    """A number that this version does not know is refused, not taken for a default."""
    message = codec.to_spec(CollectionSpec("a", 3))
    setattr(message, field, 99)
    with pytest.raises(InvalidRequest, match=field):
        codec.from_spec(message)


@given(FILTERS)
def test_a_filter_survives_the_wire(filter: Filter) -> None:
    """Conditions come back with their types: 1, 1.0 and True stay what they are."""
    got = from_filter(filters_pb2.Filter.FromString(to_filter(filter).SerializeToString()))
    assert got == filter
    assert repr(got) == repr(filter)


def test_equal_filters_of_other_types_differ() -> None:
    """Searches are put together by their filters, so 1 and True must not be the same."""
    assert IsIn("a", FieldType.INT, (1,)) != IsIn("a", FieldType.BOOL, (True,))
    assert IsIn("a", FieldType.INT, (1,)) != IsIn("a", FieldType.FLOAT, (1.0,))


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (filters_pb2.Filter(), "filter: expected all_of, any_of, negated"),
        (filters_pb2.Filter(negated=filters_pb2.Filter()), "filter: expected all_of"),
        (filters_pb2.Filter(is_in=filters_pb2.IsIn(field="year")), "filter.year: expected"),
        (
            filters_pb2.Filter(range=filters_pb2.Range(field="year", lt=filters_pb2.Number())),
            "filter.year: expected a number for lt, got none",
        ),
    ],
)
def test_a_malformed_filter_is_refused(message: filters_pb2.Filter, words: str) -> None:
    """What has no kind, or a condition without its values, is refused by its field."""
    with pytest.raises(InvalidRequest, match=words):
        from_filter(message)


def test_values_arrive_in_order_and_once() -> None:
    """Filters that say the same are equal, whoever wrote them."""
    ints = filters_pb2.IsIn.Ints(values=[3, 1, 3])
    message = filters_pb2.Filter(is_in=filters_pb2.IsIn(field="year", ints=ints))
    assert from_filter(message) == IsIn("year", FieldType.INT, (1, 3))


def test_an_unknown_type_of_field_is_refused() -> None:
    """A number that this version does not know is refused by its field."""
    message = codec.to_spec(CollectionSpec("a", 3, filterable={"genre": FieldType.KEYWORD}))
    message.filterable["genre"] = 99  # type: ignore[assignment]  # not one of the enum
    with pytest.raises(InvalidRequest, match=r"filterable\.genre"):
        codec.from_spec(message)
