"""Sets of ids beside items in one store: what goes wrong with one must not harm anything else."""

from __future__ import annotations

import sqlite3
import tracemalloc
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tests.pieces import floats, spec_of
from tests.storage.conftest import LAZY, OpenCatalog
from tests.storage.model import DIM, WAIT_S, batch_of, made, put, search

from fanlight.errors import Corruption
from fanlight_server import sets


def damage_a_member(data: Path) -> None:
    database = next((data / "collections").glob("*/items.db"))
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("UPDATE members SET crc = crc + 1 WHERE id = 2")


def test_a_damaged_set_hides_no_write_beside_it(open_catalog: OpenCatalog, tmp_path: Path) -> None:
    """Writes committed with a change of a set that cannot be read are found, now and later."""
    spec = spec_of(DIM)
    with closing(open_catalog(LAZY)) as catalog:
        catalog.create(spec)
        put(catalog.get(spec.name), batch_of([5_000]))
        catalog.get(spec.name).sets.append("seen", np.arange(5)).result(WAIT_S)
    damage_a_member(tmp_path / "data")
    with closing(open_catalog(LAZY)) as catalog:
        things = catalog.get(spec.name)
        # The writer is busy with the first, so that the others become one transaction.
        first = things.upsert(batch_of(range(6_000, 12_000)))
        removed = things.sets.remove("seen", np.array([1]))
        beside = [things.upsert(batch_of([number], seed=number)) for number in range(5_000, 5_020)]
        assert not first.result(WAIT_S).errors
        with pytest.raises(Corruption, match="member of a set"):
            removed.result(WAIT_S)
        for number, write in enumerate(beside, 5_000):
            assert not write.result(WAIT_S).errors
            assert search(things, floats(number, 1, DIM), 1).ids.tolist() == [[number]]
    with closing(open_catalog(LAZY)) as catalog:
        assert catalog.get(spec.name).count() == 6_020


def test_unknown_sets_take_bounded_memory(
    open_catalog: OpenCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users who have seen nothing yet are no burden, however many ask."""
    monkeypatch.setattr(sets, "_HELD_BYTES", 1 << 20)
    things = made(open_catalog)
    things.sets.members("nobody")
    tracemalloc.start()
    try:
        for user in range(20_000):
            assert not len(things.sets.members(f"seen:{user}"))
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 3 << 20
