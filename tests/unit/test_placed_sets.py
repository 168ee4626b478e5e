"""Sets over several shards: members live with their items, and a change is whole or an error."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.fake_shards import soon

from fanlight.errors import FanlightError, InvalidRequest, NotReady
from fanlight.limits import Limits
from fanlight.model import IdColumn
from fanlight.placement import shards_of
from fanlight_router.sets import PlacedSets

IDS = np.arange(50, dtype=np.int64)


class FakeSetShard:
    """The members of one set on one shard; fails when told to."""

    def __init__(self) -> None:
        self.members: set[int] = set()
        self.ttls: list[float | None] = []
        self.fault: FanlightError | None = None

    def _fail(self) -> None:
        if self.fault is not None:
            raise self.fault

    async def append_to_set(
        self, collection: str, name: str, ids: IdColumn, ttl_s: float | None, timeout_s: float
    ) -> int:
        self._fail()
        self.members |= set(ids.tolist())
        self.ttls.append(ttl_s)
        return len(self.members)

    async def remove_from_set(
        self, collection: str, name: str, ids: IdColumn, timeout_s: float
    ) -> int:
        self._fail()
        self.members -= set(ids.tolist())
        return len(self.members)

    async def expire_set(self, collection: str, name: str, ttl_s: float, timeout_s: float) -> int:
        self._fail()
        self.ttls.append(ttl_s)
        return len(self.members)

    async def delete_set(self, collection: str, name: str, timeout_s: float) -> int:
        self._fail()
        self.members.clear()
        return 0

    async def count_set(self, collection: str, name: str, timeout_s: float) -> int:
        self._fail()
        return len(self.members)

    async def set_members(self, collection: str, name: str, timeout_s: float) -> IdColumn:
        self._fail()
        return np.array(sorted(self.members), dtype=np.int64)


def placed() -> tuple[list[FakeSetShard], PlacedSets]:
    shards = [FakeSetShard() for _ in range(3)]
    return shards, PlacedSets(shards, Limits())


async def test_members_live_where_their_items_would() -> None:
    """Each id goes to its owner alone, and counts are those of all shards."""
    shards, sets = placed()
    assert await sets.append("c", "s", IDS, 5.0, soon()) == 50
    owners = shards_of(IDS, 3)
    for index, shard in enumerate(shards):
        assert shard.members == set(IDS[owners == index].tolist())
        assert shard.ttls == [5.0]
    assert await sets.append("c", "s", IDS[:1], None, soon()) == 50
    assert await sets.remove("c", "s", IDS[:10], soon()) == 40
    assert await sets.count("c", "s", soon()) == 40
    assert await sets.expire("c", "s", 1.0, soon()) == 40
    assert (await sets.members("c", "s", soon())).tolist() == IDS[10:].tolist()
    await sets.delete("c", "s", soon())
    assert await sets.count("c", "s", soon()) == 0


async def test_a_shard_that_fails_fails_the_change() -> None:
    """The error names it; nothing is acknowledged that is not whole."""
    shards, sets = placed()
    shards[1].fault = NotReady("cannot be reached")
    with pytest.raises(NotReady, match="shard-1"):
        await sets.append("c", "s", IDS, None, soon())
    with pytest.raises(NotReady, match="shard-1"):
        await sets.members("c", "s", soon())
    with pytest.raises(NotReady, match="shard-1"):
        await sets.delete("c", "s", soon())


async def test_what_no_set_can_be_is_refused_before_any_shard_is_asked() -> None:
    """Names, times and empty batches."""
    shards, sets = placed()
    for name, ids, ttl_s in (("", IDS, None), ("s", IDS[:0], None), ("s", IDS, 0.0)):
        with pytest.raises(InvalidRequest):
            await sets.append("c", name, ids, ttl_s, soon())
    with pytest.raises(InvalidRequest):
        await sets.count("c", "x" * 257, soon())
    assert all(not shard.members for shard in shards)
