"""Writes and reads by id over shards, and scrolling through all of them."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.fake_shards import (
    COLLECTION,
    FakeCluster,
    FakeShard,
    cluster_of,
    coarse_vectors,
    filled,
    ids_of,
    soon,
)

from fanlight.errors import DeadlineExceeded, InvalidRequest, NotFound, NotReady, PartialResult
from fanlight.ids import last_occurrences
from fanlight.limits import Limits
from fanlight.model import IdType, ItemBatch
from fanlight_router.scroll import scroll
from fanlight_router.shards import Columns

UNREACHABLE = NotReady("cannot be reached")
BOTH = Columns()


def batch(numbers: list[int], id_type: IdType = IdType.INT64) -> ItemBatch:
    """Make items whose first element is their row."""
    vectors = coarse_vectors(3, len(numbers))
    vectors[:, 0] = np.arange(len(numbers))
    blobs = [b'{"row": %d}' % row for row in range(len(numbers))]
    return ItemBatch(ids_of(numbers, id_type), vectors, blobs)


def rows_of(cluster: FakeCluster, shard: FakeShard, numbers: list[int]) -> list[int]:
    return [row for row, number in enumerate(numbers) if cluster.owner(number) is shard]


# --- upsert and delete ------------------------------------------------------------------------


@pytest.mark.parametrize("id_type", list(IdType))
async def test_each_item_goes_to_the_shard_that_owns_it(id_type: IdType) -> None:
    """Every item is on the shard of its slot, with its own vector and payload."""
    cluster = cluster_of(5, id_type)
    items = batch(list(range(100)), id_type)
    result, coverage = await cluster.placed.upsert(COLLECTION, items, soon())
    assert (result.written, result.errors, coverage.complete) == (100, (), True)
    assert items.payload_blobs is not None
    for row, name in enumerate(items.ids.tolist()):
        vector, blob = cluster.owner(name).items[name]
        np.testing.assert_array_equal(vector, items.vectors[row])
        assert blob == items.payload_blobs[row]
    assert sum(len(shard.items) for shard in cluster.shards) == 100


async def test_results_come_back_in_the_callers_rows() -> None:
    """Refused and superseded rows are numbered as in the batch, not as on their shards."""
    numbers = [int(n) for n in np.random.default_rng(5).integers(0, 40, 90)]
    cluster = cluster_of(3)
    for shard in cluster.shards:
        shard.refused = {7, 8, 9}
    items = batch(numbers)
    result, _ = await cluster.placed.upsert(COLLECTION, items, soon())
    kept, superseded = last_occurrences(items.ids)
    refused = [row for row in kept.tolist() if numbers[row] in (7, 8, 9)]
    np.testing.assert_array_equal(result.superseded_rows, superseded)
    assert [error.row for error in result.errors] == refused
    assert result.written == len(kept) - len(refused)
    for row in set(kept.tolist()) - set(refused):
        vector, _ = cluster.owner(numbers[row]).items[numbers[row]]
        assert vector[0] == row, "the last row of an id wins"


async def test_rows_of_a_failed_shard_are_refused_and_the_others_written() -> None:
    """Each such row has the error of its shard, which it names; the neighbours stand."""
    numbers = list(range(50))
    cluster = cluster_of(3)
    cluster.shards[1].fault = UNREACHABLE
    result, coverage = await cluster.placed.upsert(COLLECTION, batch(numbers), soon())
    lost = rows_of(cluster, cluster.shards[1], numbers)
    assert [error.row for error in result.errors] == lost
    assert {str(error.error) for error in result.errors} == {"shard-1: cannot be reached"}
    assert {type(error.error) for error in result.errors} == {NotReady}
    assert result.written == 50 - len(lost)
    assert [failure.shard for failure in coverage.failures] == ["shard-1"]


async def test_rows_of_a_shard_that_hangs_are_in_doubt_at_the_deadline() -> None:
    """They get DeadlineExceeded, whose meaning is that they may or may not be written."""
    numbers = list(range(50))
    cluster = cluster_of(3)
    cluster.shards[2].gate.clear()
    result, _ = await cluster.placed.upsert(COLLECTION, batch(numbers), soon(0.05))
    assert [error.row for error in result.errors] == rows_of(cluster, cluster.shards[2], numbers)
    assert {type(error.error) for error in result.errors} == {DeadlineExceeded}


async def test_a_write_that_no_shard_takes_fails_as_a_whole() -> None:
    """When all shards that own a row fail, the call does; so it can be repeated as a whole."""
    cluster = cluster_of(3)
    for shard in cluster.shards:
        shard.fault = UNREACHABLE
    with pytest.raises(PartialResult, match="shard-2: cannot be reached"):
        await cluster.placed.upsert(COLLECTION, batch(list(range(50))), soon())
    with pytest.raises(PartialResult):
        await cluster.placed.delete(COLLECTION, np.arange(50), soon())


async def test_only_the_owners_of_the_rows_are_asked() -> None:
    """A write of one row does not wait for other shards."""
    cluster = cluster_of(3)
    for shard in cluster.shards:
        if shard is not cluster.owner(4):
            shard.fault = UNREACHABLE
    result, coverage = await cluster.placed.upsert(COLLECTION, batch([4]), soon())
    assert (result.written, coverage.shards_total) == (1, 1)


async def test_faults_of_the_whole_request_are_raised() -> None:
    """An unknown collection, unequal columns, an empty or too long batch change nothing."""
    cluster = cluster_of(3, limits=Limits(batch_rows=10))
    good = batch([1, 2, 3])
    with pytest.raises(NotFound):
        await cluster.placed.upsert("nobody", good, soon())
    for wrong in (
        ItemBatch(good.ids, good.vectors[:2]),
        ItemBatch(good.ids, good.vectors, [b""]),
        batch([]),
        batch(list(range(11))),
    ):
        with pytest.raises(InvalidRequest):
            await cluster.placed.upsert(COLLECTION, wrong, soon())
    assert not any(shard.items for shard in cluster.shards)


async def test_deletions_are_counted_and_mapped() -> None:
    """Deleted items are counted over the shards; refused rows keep the caller's numbers."""
    cluster = await filled(rows=60)
    for shard in cluster.shards:
        shard.refused = {5}
    ids = np.array([50, 5, 999, 3, 50])
    result, _ = await cluster.placed.delete(COLLECTION, ids, soon())
    assert result.deleted == 2
    assert [error.row for error in result.errors] == [1]
    count, _ = await cluster.fanout.count(COLLECTION, 1.0, soon())
    assert count == 58


# --- get --------------------------------------------------------------------------------------


@pytest.mark.parametrize("id_type", list(IdType))
async def test_items_come_in_the_order_asked(id_type: IdType) -> None:
    """Found and missing ids keep their order, each with its columns; a repeated id is repeated."""
    cluster = await filled(rows=30, id_type=id_type)
    asked = ids_of([17, 99, 3, 3, 0, 77, 29], id_type)
    items, coverage = await cluster.placed.get(COLLECTION, asked, BOTH, soon())
    assert items.ids.tolist() == ids_of([17, 3, 3, 0, 29], id_type).tolist()
    assert items.missing.tolist() == ids_of([99, 77], id_type).tolist()
    assert items.payloads == [{"n": n} for n in (17, 3, 3, 0, 29)]
    stored = [cluster.owner(name).items[name][0] for name in items.ids.tolist()]
    np.testing.assert_array_equal(items.vectors, stored)
    assert coverage.complete


async def test_only_the_columns_asked_for_are_read() -> None:
    """Without vectors and payloads, a get tells which items exist."""
    cluster = await filled(rows=3)
    neither = Columns(vectors=False, payloads=False)
    items, _ = await cluster.placed.get(COLLECTION, np.array([2, 5]), neither, soon())
    assert (items.ids.tolist(), items.vectors, items.payload_blobs) == ([2], None, None)


async def test_a_get_lacks_nothing_silently() -> None:
    """If the owner of any id fails, the call fails and names the shard."""
    cluster = await filled()
    down = cluster.owner(3)
    down.fault = UNREACHABLE
    with pytest.raises(PartialResult, match=f"shard-{cluster.shards.index(down)}: cannot be"):
        await cluster.placed.get(COLLECTION, np.arange(60), BOTH, soon())
    up = [n for n in range(60) if cluster.owner(n) is not down]
    items, _ = await cluster.placed.get(COLLECTION, np.array(up), BOTH, soon())
    assert items.ids.tolist() == up


async def test_large_gets_are_cut_so_that_each_answer_fits() -> None:
    """However large the items may be, an answer of a shard stays below the limit of a message."""
    limits = Limits(message_bytes=65_536, payload_bytes=2_000, dim=16)
    cluster = await filled(rows=60, limits=limits)
    items, _ = await cluster.placed.get(COLLECTION, np.arange(60), BOTH, soon())
    assert items.ids.tolist() == list(range(60))
    rows_at_once = 65_536 // (2_000 + 4 * 16 + limits.id_bytes)
    assert max(cluster.asked("get")) == -(-60 // rows_at_once)


async def test_what_a_failed_shard_holds_is_told_over_several_gets() -> None:
    """However a read is cut, each id whose owner fails is told, and that the shard is lacking."""
    limits = Limits(message_bytes=65_536, payload_bytes=2_000, dim=16)
    cluster = await filled(rows=60, limits=limits)
    cluster.shards[1].fault = UNREACHABLE
    found = await cluster.placed.find(COLLECTION, np.arange(60), BOTH, 0.0, soon())
    lost = rows_of(cluster, cluster.shards[1], list(range(60)))
    assert sorted(found.failed) == lost  # type: ignore[type-var]  # ids are numbers here
    assert sorted(found.items.ids.tolist()) == sorted(set(range(60)) - set(lost))
    assert found.coverage is not None
    assert [failure.shard for failure in found.coverage.failures] == ["shard-1"]
    assert (found.coverage.shards_total, found.coverage.shards_answered) == (3, 2)


# --- scroll -----------------------------------------------------------------------------------


@pytest.mark.parametrize("id_type", list(IdType))
@pytest.mark.parametrize("page_size", [1, 7, 60, 1_000])
async def test_a_scroll_gives_every_item_once(id_type: IdType, page_size: int) -> None:
    """Shard after shard, with no empty page and an empty token after the last."""
    cluster = await filled(5, id_type=id_type)
    await cluster.placed.delete(COLLECTION, cluster.shards[2].ids, soon())
    seen: list[object] = []
    token = b""
    while True:
        page, _ = await cluster.fanout.scroll(COLLECTION, page_size, token, BOTH, soon())
        assert 0 < len(page.items) <= page_size
        assert page.items.vectors is not None
        for name, vector in zip(page.items.ids.tolist(), page.items.vectors, strict=True):
            np.testing.assert_array_equal(vector, cluster.owner(name).items[name][0])
        seen += page.items.ids.tolist()
        token = page.next_page_token
        if not token:
            break
    assert sorted(map(str, seen)) == sorted(map(str, cluster.ids.tolist()))


async def test_a_scroll_of_nothing_is_one_empty_page() -> None:
    """An empty collection has a first page, which is the last."""
    cluster = cluster_of(3)
    page, _ = await cluster.fanout.scroll(COLLECTION, 10, b"", BOTH, soon())
    assert (len(page.items), page.next_page_token) == (0, b"")


async def test_a_scroll_fails_with_its_shard_and_goes_on_with_its_token() -> None:
    """The error names the shard; the same token works once the shard is back."""
    cluster = await filled()
    first, _ = await cluster.fanout.scroll(COLLECTION, 1_000, b"", BOTH, soon())
    cluster.shards[1].fault = UNREACHABLE
    with pytest.raises(NotReady, match="shard-1: cannot be reached"):
        await cluster.fanout.scroll(COLLECTION, 1_000, first.next_page_token, BOTH, soon())
    cluster.shards[1].fault = None
    page, _ = await cluster.fanout.scroll(COLLECTION, 1_000, first.next_page_token, BOTH, soon())
    assert set(page.items.ids.tolist()) == set(cluster.shards[1].items)


def head(version: int, shard: int, shards: int) -> bytes:
    return struct.pack(">BHH", version, shard, shards)


@pytest.mark.parametrize(
    "token",
    [
        b"1",
        b"\x00" * 4,
        b"\xff" * 40,
        head(2, 0, 3),
        head(1, 3, 3),
        head(1, 65_535, 3),
        head(1, 0, 2),
        head(1, 1, 4),
    ],
)
async def test_a_token_of_no_page_is_refused(token: bytes) -> None:
    """Too short, of another version, of another map, or past its end: the field is named."""
    cluster = await filled()
    with pytest.raises(InvalidRequest, match="page_token: expected"):
        await cluster.fanout.scroll(COLLECTION, 10, token, BOTH, soon())
    assert cluster.asked("scroll") == [0, 0, 0]


@given(st.binary(min_size=1, max_size=12))
async def test_no_token_does_anything_but_scroll_or_be_refused(token: bytes) -> None:
    """Whatever comes as a token is a place to go on from, or the caller's fault."""
    cluster = await filled(rows=3)
    for shard in cluster.shards:
        shard.fault = InvalidRequest("page_token: the shard refuses it too")
    with pytest.raises(InvalidRequest, match="page_token"):
        await scroll(cluster.shards, COLLECTION, 10, token, BOTH, soon())
