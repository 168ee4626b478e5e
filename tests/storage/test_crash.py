"""A shard whose process is killed at any moment."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.pieces import floats, ids_of
from tests.storage.conftest import BUSY, STILL, OpenCatalog
from tests.storage.crash_writer import DIM, DONE, operation
from tests.storage.model import Model, check, search

from fanlight.model import IdType, ItemBatch
from fanlight_server.catalog import Catalog

KILLS = 5 * int(os.environ.get("TORTURE", "1"))
ROOT = Path(__file__).parents[2]


def write_and_kill(directory: Path, id_type: IdType, first: int, acknowledged: int) -> int:
    """Run the writer, kill it after so many acknowledgements; give the last one that it printed."""
    arguments = ["-m", "tests.storage.crash_writer", str(directory), id_type.value, str(first)]
    with subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(acknowledged)]
        writer.kill()
        lines += writer.stdout.readlines()
    # the last line may be cut by the kill
    return max(int(line) for line in lines if line.endswith("\n"))


def apply(model: Model, number: int) -> None:
    change = operation(number, model.id_type)
    if isinstance(change, ItemBatch):
        model.put(change)
    else:
        model.drop(change)


def stored(catalog: Catalog, model: Model) -> bool:
    """Tell whether the collection holds the items of the model, all of them and no other."""
    collection = catalog.get("things")
    page = collection.scroll(10_000, b"")
    vectors = page.items.vectors
    assert vectors is not None
    assert page.items.payload_blobs is not None
    rows = zip(page.items.ids.tolist(), vectors, page.items.payload_blobs, strict=True)
    got = {value: (vector.tobytes(), blob) for value, vector, blob in rows}
    return got == {value: (vector.tobytes(), blob) for value, (vector, blob) in model.items.items()}


@pytest.mark.slow
@pytest.mark.parametrize("id_type", list(IdType))
def test_no_acknowledged_write_is_lost(
    open_catalog: OpenCatalog, tmp_path: Path, id_type: IdType, wait_until: Callable[..., None]
) -> None:
    """Killed at any moment, again and again: what was acknowledged is there, deletions too.

    The one operation under way is there as a whole or not at all, and so is its number in the set.
    Every answer is complete at once after the next start, and the index is built anew where it has
    to be.
    """
    directory, model, choice = tmp_path / "data", Model(DIM, id_type), random.Random(1)
    first = 0
    # Operations that are there, though the process was killed before it noted them in the set.
    interrupted: set[object] = set()
    for kill in range(KILLS):
        last = write_and_kill(directory, id_type, first, choice.choice([1, 4, 15, 40]))
        for number in range(first, last + 1):
            apply(model, number)
        catalog = open_catalog(STILL)
        done = set(catalog.get("things").sets.members(DONE).tolist())
        assert done >= set(ids_of(range(last + 1), id_type).tolist()) - interrupted
        assert done <= set(ids_of(range(last + 2), id_type).tolist())
        if not stored(catalog, model):
            last += 1
            apply(model, last)
            interrupted |= set(ids_of(range(last, last + 1), id_type).tolist()) - done
        check(catalog.get("things"), model, floats(kill, 2, DIM))
        walked = search(catalog.get("things"), floats(kill, 2, DIM), 9, exact=False)
        assert walked.counts.tolist() == [9, 9]
        catalog.close()
        first = last + 1
    catalog = open_catalog(BUSY)
    wait_until(lambda: catalog.get("things").info().unindexed_items < 20, 30)
    check(catalog.get("things"), model, floats(99, 2, DIM))
