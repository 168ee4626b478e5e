"""Filterable fields on disk: what a segment file holds of them, and what a restart reads."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.pieces import block_of, content_of, floats, ids_of, spec_of, write
from tests.storage.conftest import BUSY, LAZY, STILL, OpenCatalog, OpenCollection
from tests.storage.model import (
    DIM,
    FIELDS,
    FILTERS,
    Model,
    at_rest,
    check,
    check_filters,
    payload_of,
    put,
    random_batch,
)

from fanlight.conditions import field
from fanlight.errors import Corruption
from fanlight.fields import read_fields
from fanlight.filters import FieldType
from fanlight.model import CollectionSpec, IdType, ItemBatch, SearchRequest
from fanlight_server.index import segment_file
from fanlight_server.index.fields import GrowingFields, merge_fields

WaitUntil = Callable[..., None]
SPEC = replace(spec_of(DIM), filterable=FIELDS)
ROWS = 150


def content(spec: CollectionSpec) -> segment_file.SegmentContent:
    """Make the content of a segment whose rows have random fields."""
    choice = random.Random(1)
    growing = GrowingFields(spec.filterable)
    payloads = [json.loads(payload_of(choice, row)) for row in range(ROWS)]
    growing.append(ROWS, [read_fields(payload, spec.filterable) for payload in payloads])
    fields = merge_fields([growing.shown()], [np.arange(ROWS)], ROWS)
    block = block_of(ids_of(range(ROWS), spec.id_type), floats(1, ROWS, spec.dim))
    return content_of(spec, replace(block, fields=fields))


def header_of(path: Path) -> dict[str, object]:
    data = path.read_bytes()
    length = int.from_bytes(data[12:16], "little")
    header: dict[str, object] = json.loads(data[20 : 20 + length])
    return header


def test_fields_come_back_from_a_file(tmp_path: Path) -> None:
    """A filter allows the same rows after the file was written and read; the parts are as named."""
    path, written = tmp_path / "1.seg", content(SPEC)
    crc = write(path, SPEC, written)
    got = segment_file.read(path, SPEC, crc, keep_vectors=True)
    for filter in FILTERS:
        before, after = (c.block.fields.allowed(filter) for c in (written, got))
        np.testing.assert_array_equal(after, before)
    header = header_of(path)
    assert header["filterable"] == {"n": "int", "tags": "keyword"}
    parts = [part["name"] for part in header["parts"]]  # type: ignore[attr-defined]
    assert [name for name in parts if name.startswith("field")] == [
        "field0_keys", "field0_bounds", "field0_rows",
        "field1_key_offsets", "field1_key_bytes", "field1_bounds", "field1_rows",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "filterable",
    [{}, {"n": FieldType.INT}, FIELDS | {"n": FieldType.FLOAT}, FIELDS | {"x": FieldType.INT}],
)
def test_a_file_of_other_fields_comes_with_its_own(
    tmp_path: Path, filterable: dict[str, FieldType]
) -> None:
    """Fields may be declared and dropped later: the file keeps what it has, and says what lacks."""
    crc = write(tmp_path / "1.seg", SPEC, content(SPEC))
    other = replace(SPEC, filterable=filterable)
    got = segment_file.read(tmp_path / "1.seg", other, crc, keep_vectors=True).block.fields
    assert {name: column.type_ for name, column in got.columns.items()} == FIELDS
    assert got.lacking(filterable) == {
        n: t for n, t in filterable.items() if FIELDS.get(n) is not t
    }


def test_damage_to_a_field_is_found(tmp_path: Path) -> None:
    """A flipped bit in any part of a field is named before anybody uses the file."""
    path = tmp_path / "1.seg"
    crc = write(path, SPEC, content(SPEC))
    whole = path.read_bytes()
    for part in header_of(path)["parts"]:  # type: ignore[attr-defined]
        if part["name"].startswith("field"):
            at = part["offset"] + part["bytes"] // 2
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
            with pytest.raises(Corruption, match=f"{part['name']}' fails its checksum"):
                segment_file.read(path, SPEC, crc, keep_vectors=True)


@pytest.mark.slow
@pytest.mark.parametrize("id_type", list(IdType))
def test_filters_survive_builds_merges_damage_and_restarts(
    open_catalog: OpenCatalog, tmp_path: Path, id_type: IdType, wait_until: WaitUntil
) -> None:
    """What matches is the model's in heads and graphs, from files and from the store again."""
    choice, queries = random.Random(3), floats(7, 3, DIM)
    spec, model = replace(SPEC, id_type=id_type), Model(DIM, id_type)
    catalog = open_catalog(BUSY)
    catalog.create(spec)
    for _ in range(12):
        batch = random_batch(choice, model, range(600), 100)
        put(catalog.get("things"), batch)
        model.put(batch)
        check_filters(catalog.get("things"), model, queries)
    wait_until(lambda: at_rest(catalog.get("things")), 30)
    check(catalog.get("things"), model, queries)
    catalog.close()
    files = sorted(tmp_path.rglob("*.seg"))
    assert files
    damaged = bytearray(files[0].read_bytes())
    damaged[-3] ^= 1  # in the rows of the last field
    files[0].write_bytes(damaged)
    again = open_catalog(BUSY)
    assert not files[0].exists()
    check(again.get("things"), model, queries)


def test_a_head_is_read_from_the_stored_payloads(
    open_collection: OpenCollection, tmp_path: Path
) -> None:
    """After a restart without any graph every filter finds what it found before."""
    choice, model = random.Random(5), Model(DIM, IdType.INT64)
    collection = open_collection(tmp_path, SPEC, STILL, create=True)
    batch = random_batch(choice, model, range(300), 200)
    put(collection, batch)
    model.put(batch)
    collection.close()
    check_filters(open_collection(tmp_path, SPEC, STILL), model, floats(7, 3, DIM))


def test_a_new_payload_changes_what_matches_in_a_graph(
    open_collection: OpenCollection, tmp_path: Path
) -> None:
    """The row of the old payload is dead, whatever the segment's bitmaps say."""
    collection = open_collection(tmp_path, SPEC, LAZY, create=True)
    numbers = range(200)
    put(collection, ItemBatch(np.arange(200), floats(1, 200, DIM), [b'{"n": 1}'] * 200))
    while collection.keeper.build_next(1):
        pass
    ones = SearchRequest("things", floats(2, 1, DIM), 200, filter=field("n") == 1)
    assert collection.search(ones).counts.tolist() == [200]
    put(collection, ItemBatch(np.arange(50), floats(1, 50, DIM), [b'{"n": 2}'] * 50))
    collection.delete(np.arange(150, 160)).result(20)
    hits = collection.search(ones)
    assert sorted(hits.ids[0, : hits.counts[0]]) == [*numbers[50:150], *numbers[160:]]
    twos = replace(ones, filter=field("n") == 2)
    hits = collection.search(twos)
    assert sorted(hits.ids[0, : hits.counts[0]]) == list(numbers[:50])
    assert hits.coverage.items_covered == 190
