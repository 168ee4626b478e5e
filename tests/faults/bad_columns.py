"""Bad columns, whichever request they come in: ids, vectors, payloads, filters, shares."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from tests import messages

from fanlight.v1 import filters_pb2, types_pb2
from fanlight.wire import codec

DIM = 4
# Of the collection that the requests speak of; see `tests.faults.bad.FIELDS`.
ROWS = 3
BATCH_ROWS_MAX = 65_536
FILTER_DEPTH_MAX = 16
# Deeper than protobuf itself reads.
UNREADABLE_DEPTH = 150

Named: TypeAlias = tuple[str, str, Any]  # path below the column, what is bad about it, the column


def good_vectors(rows: int = ROWS) -> types_pb2.Matrix:
    """Make vectors that are right; the stored items have the same."""
    return messages.matrix(np.arange(1, rows * DIM + 1, dtype=np.float32).reshape(rows, DIM))


def good_ids(rows: int = ROWS) -> types_pb2.Ids:
    """Make the ids of the stored items."""
    return codec.to_ids(np.arange(rows))


def good_names(rows: int = ROWS) -> types_pb2.Ids:
    """Make the ids of the stored items of a collection with string ids."""
    return codec.to_ids(np.array([f"item-{row}" for row in range(rows)], dtype=object))


def offsets(*values: int) -> bytes:
    """Write offsets as blobs have them."""
    return struct.pack(f"<{len(values)}I", *values)


def bad_blobs() -> Iterator[tuple[str, str, types_pb2.Blobs]]:
    """Give blobs that cannot be cut."""
    yield "offsets", "offsets of 7 bytes", types_pb2.Blobs(data=b"ab", offsets=b"\0" * 7)
    yield "offsets", "no offsets", types_pb2.Blobs(data=b"ab")
    yield (
        "offsets",
        "offsets that descend",
        types_pb2.Blobs(data=b"ab", offsets=offsets(0, 2, 1, 2)),
    )
    yield "offsets", "offsets from 1", types_pb2.Blobs(data=b"ab", offsets=offsets(1, 2))
    yield (
        "offsets",
        "offsets past the end",
        types_pb2.Blobs(data=b"ab", offsets=offsets(0, 2**32 - 1)),
    )
    yield "data", "data past the offsets", types_pb2.Blobs(data=b"ab", offsets=offsets(0, 1))
    yield "data", "offsets without data", types_pb2.Blobs(offsets=offsets(0, 1))


def bad_ids() -> Iterator[Named]:
    """Give id columns that are refused as a whole, where the collection has int64 ids."""
    yield "", "no ids at all", types_pb2.Ids()
    yield "int64s", "no rows", types_pb2.Ids(int64s=b"")
    yield "int64s", "ids of 7 bytes", types_pb2.Ids(int64s=b"\0" * 7)
    yield "int64s", "ids of 15 bytes", types_pb2.Ids(int64s=b"\0" * 15)
    yield "int64s", "one row too many", good_ids(BATCH_ROWS_MAX + 1)
    yield "strings", "string ids for int64", good_names()
    yield "strings", "no rows of strings", types_pb2.Ids(strings=types_pb2.Blobs())
    for path, what, blobs in bad_blobs():
        yield f"strings.{path}", what, types_pb2.Ids(strings=blobs)


def bad_names() -> Iterator[tuple[str, bytes]]:
    """Give string ids that are refused, each alone."""
    yield "an empty id", b""
    yield "an id of 513 bytes", b"x" * 513
    yield "an id of a megabyte", b"x" * (1 << 20)
    yield "an id that is no UTF-8", b"\xff\xfe"
    yield "a lone surrogate", b"\xed\xa0\x80"
    yield "a cut character", "é".encode()[:1]


def bad_matrices() -> Iterator[Named]:
    """Give vectors that are refused as a whole."""
    good = good_vectors()
    f32 = types_pb2.DTYPE_F32

    def changed(**keys: Any) -> types_pb2.Matrix:
        made = types_pb2.Matrix()
        made.CopyFrom(good)
        for key, value in keys.items():
            setattr(made, key, value)
        return made

    yield "dtype", "no dtype", changed(dtype=0)
    yield "dtype", "an unknown dtype", changed(dtype=99)
    yield "dtype", "a negative dtype", changed(dtype=-1)
    yield "dtype", "f32 data as f16", changed(dtype=types_pb2.DTYPE_F16)
    yield "dtype", "f32 data as i8", changed(dtype=types_pb2.DTYPE_I8)
    yield "data", "a byte too few", changed(data=good.data[:-1])
    yield "data", "a byte too many", changed(data=good.data + b"\0")
    yield "data", "no data", changed(data=b"")
    yield "rows", "no rows", types_pb2.Matrix(dtype=f32, rows=0, dim=DIM)
    yield "rows", "more rows than data", changed(rows=ROWS + 1)
    yield "rows", "rows of nothing", types_pb2.Matrix(dtype=f32, rows=2**32 - 1, dim=0)
    yield "rows", "rows past all memory", changed(rows=2**32 - 1, dim=2**32 - 1)
    yield "dim", "dimension 0", types_pb2.Matrix(dtype=f32, rows=ROWS, dim=0)
    yield "dim", "dimension 3 for 4", messages.matrix(np.ones((ROWS, DIM - 1), np.float32))
    yield "dim", "dimension 5 for 4", messages.matrix(np.ones((ROWS, DIM + 1), np.float32))


def bad_vectors() -> Iterator[tuple[str, types_pb2.Matrix]]:
    """Give ROWS vectors of which the second is refused alone, where the metric is cosine."""
    for what, value in (
        ("NaN", np.nan),
        ("infinity", np.inf),
        ("minus infinity", -np.inf),
        ("a length past float32", 1e38),
        ("a length whose square is", 3e18),
    ):
        yield what, _with_second_row(np.float32(value), only_one=True)
    yield "a zero vector", _with_second_row(np.float32(0), only_one=False)
    yield "a vector of minus zeros", _with_second_row(np.float32(-0.0), only_one=False)
    yield "a denormal vector", _with_second_row(np.float32(1e-45), only_one=False)
    half = np.ones((ROWS, DIM), np.float16)
    half[1, 2] = np.inf
    yield "an infinity in f16", messages.matrix(half)
    small = np.ones((ROWS, DIM), np.int8)
    small[1] = 0
    yield "zeros in i8", messages.matrix(small)


def _with_second_row(value: np.float32, *, only_one: bool) -> types_pb2.Matrix:
    vectors = np.arange(1, ROWS * DIM + 1, dtype=np.float32).reshape(ROWS, DIM)
    if only_one:
        vectors[1, 2] = value
    else:
        vectors[1] = value
    return messages.matrix(vectors)


def bad_payloads() -> Iterator[tuple[str, str, bytes]]:
    """Give payloads that are refused alone, each with the field that the error must name."""
    yield "payloads", "no JSON", b"{"
    yield "payloads", "a JSON array", b"[]"
    yield "payloads", "a JSON string", b'"text"'
    yield "payloads", "a JSON null", b"null"
    yield "payloads", "NaN, which JSON lacks", b'{"a": NaN}'
    yield "payloads", "Infinity, which JSON lacks", b'{"a": -Infinity}'
    yield "payloads", "no UTF-8", b'{"a": "\xff"}'
    yield "payloads", "UTF-16", '{"a": 1}'.encode("utf-16")
    yield "payloads", "something behind", b"{} {}"
    yield "payloads", "lists 100,000 deep", b'{"a": ' + b"[" * 30_000 + b"]" * 30_000 + b"}"
    yield "payloads", "64 KiB and a byte", b'{"a": "' + b"x" * (65_537 - 9) + b'"}'
    yield "payloads.word", "a number for a keyword", b'{"word": 1}'
    yield "payloads.word", "an object for a keyword", b'{"word": {}}'
    yield "payloads.word", "a keyword of 513 bytes", b'{"word": "' + b"x" * 513 + b'"}'
    yield "payloads.number", "a float for an int", b'{"number": 1.5}'
    yield "payloads.number", "an int past int64", b'{"number": 9223372036854775808}'
    yield "payloads.number", "true for an int", b'{"number": true}'
    yield "payloads.weight", "a string for a float", b'{"weight": "1"}'
    yield "payloads.weight", "a float past float64", b'{"weight": 1e999}'
    yield "payloads.flag", "a number for a bool", b'{"flag": 1}'


def bad_shares() -> Iterator[tuple[str, float]]:
    """Give values that are no share of the shards."""
    yield "NaN", float("nan")
    yield "infinity", float("inf")
    yield "less than 0", -0.001
    yield "more than 1", 1.001


F = filters_pb2.Filter


def _is_in(field: str, **values: list[Any]) -> filters_pb2.Filter:
    (kind, listed), *_ = values.items()
    clause = filters_pb2.IsIn(field=field)
    column = getattr(clause, kind)
    column.SetInParent()
    column.values.extend(listed)
    return F(is_in=clause)


def _range(field: str, **bounds: filters_pb2.Number) -> filters_pb2.Filter:
    return F(range=filters_pb2.Range(field=field, **bounds))


def _nested(depth: int) -> filters_pb2.Filter:
    inner = F(exists=filters_pb2.Exists(field="word"))
    for _ in range(depth - 1):
        inner = F(negated=inner)
    return inner


def unreadable_filter() -> bytes:
    """Write a filter that is nested deeper than protobuf reads."""
    inner = _nested(1).SerializeToString()
    for _ in range(UNREADABLE_DEPTH):
        inner = b"\x1a" + varint(len(inner)) + inner
    return inner


def varint(value: int) -> bytes:
    """Write a number as protobuf does."""
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def bad_filters() -> Iterator[tuple[str, str, str, filters_pb2.Filter]]:
    """Give filters that are refused: path, what is bad, the field to be named, the filter."""
    whole, number = F(exists=filters_pb2.Exists(field="word")), filters_pb2.Number
    lists = filters_pb2.FilterList
    yield "", "a filter of no kind", "filter", F()
    yield "all_of", "all of nothing", "filter", F(all_of=lists())
    yield "all_of.filters", "all of a filter of no kind", "filter", F(all_of=lists(filters=[F()]))
    yield "any_of", "any of nothing", "filter", F(any_of=lists())
    yield "any_of.filters", "129 conditions", "filter", F(any_of=lists(filters=[whole] * 129))
    yield "negated", "not of no kind", "filter", F(negated=F())
    yield "negated", "nested too deep", "filter", _nested(FILTER_DEPTH_MAX + 1)
    yield "negated", "nested as deep as can be read", "filter", _nested(90)
    yield "is_in", "no list of values", "filter.word", F(is_in=filters_pb2.IsIn(field="word"))
    yield "is_in.field", "an unknown field", "filter.wort", _is_in("wort", keywords=["a"])
    yield "is_in.field", "no field", "filter.", _is_in("", keywords=["a"])
    yield "is_in.keywords.values", "no keywords", "filter.word", _is_in("word", keywords=[])
    many = [str(value) for value in range(10_001)]
    yield "is_in.keywords.values", "10,001 keywords", "filter", _is_in("word", keywords=many)
    yield "is_in.keywords", "keywords for an int", "filter.number", _is_in("number", keywords=["1"])
    yield "is_in.ints", "ints for a keyword", "filter.word", _is_in("word", ints=[1])
    yield "is_in.ints.values", "no ints", "filter.number", _is_in("number", ints=[])
    yield "is_in.floats", "floats for a bool", "filter.flag", _is_in("flag", floats=[1.0])
    yield "is_in.floats.values", "NaN", "filter.weight", _is_in("weight", floats=[float("nan")])
    yield (
        "is_in.floats.values",
        "infinity",
        "filter.weight",
        _is_in("weight", floats=[float("inf")]),
    )
    yield "is_in.bools", "bools for a keyword", "filter.word", _is_in("word", bools=[True])
    yield "is_in.bools.values", "no bools", "filter.flag", _is_in("flag", bools=[])
    yield "range", "no bounds", "filter.number", _range("number")
    yield "range.field", "an unknown field", "filter.nummer", _range("nummer", gt=number(integer=1))
    yield "range.field", "bounds of a keyword", "filter.word", _range("word", gt=number(integer=1))
    for bound in ("gte", "gt", "lte", "lt"):
        yield f"range.{bound}", "no number", "filter.weight", _range("weight", **{bound: number()})
        of_word = _range("word", **{bound: number(integer=1)})
        yield f"range.{bound}.integer", "a bound of a keyword", "filter.word", of_word
        worst = number(real=float("nan"))
        yield f"range.{bound}.real", "NaN", "filter.weight", _range("weight", **{bound: worst})
        worst = number(real=float("-inf"))
        yield (
            f"range.{bound}.real",
            "-infinity",
            "filter.weight",
            _range("weight", **{bound: worst}),
        )
    yield (
        "exists.field",
        "an unknown field",
        "filter.wort",
        F(exists=filters_pb2.Exists(field="wort")),
    )
    long = "x" * 100_000
    yield "exists.field", "a long field", f"filter.{long}", F(exists=filters_pb2.Exists(field=long))
