"""A program that writes to a shard until it is killed, and says what was acknowledged.

python -m tests.storage.crash_writer DIRECTORY ID_TYPE FIRST: carries out the operations from
FIRST on, one after the other, puts the number of each into a set, and prints it once both are
acknowledged.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
from tests.pieces import ids_of, spec_of
from tests.storage.model import Model, random_batch

from fanlight.limits import Limits
from fanlight.model import IdColumn, IdType, ItemBatch
from fanlight.placement import ShardIdentity
from fanlight_server.catalog import Catalog
from fanlight_server.index.settings import IndexConfig, SearchConfig

DIM = 8
# The set of the numbers of operations.
DONE = "done"
UNIVERSE = range(700)
# The head is sealed without need to wait, so that there is a build at most times.
CONFIG = IndexConfig(
    head_bytes=4_096, unindexed_bytes=32_768, build_threads=1, idle_s=0.0, idle_rows_min=1
)


def operation(number: int, id_type: IdType) -> ItemBatch | IdColumn:
    """Give the operation with this number: items to upsert, or ids to delete."""
    choice = random.Random(number)
    if choice.random() < 0.7:
        return random_batch(choice, Model(DIM, id_type), UNIVERSE, choice.choice([3, 60, 200]))
    return ids_of(np.array([choice.choice(UNIVERSE) for _ in range(60)]), id_type)


def main(directory: Path, id_type: IdType, first: int) -> None:
    """Write until killed."""
    identity = ShardIdentity("test", 0, 1)
    catalog = Catalog(directory, identity, Limits(), CONFIG, SearchConfig(threads=1))
    catalog.create(spec_of(DIM, id_type=id_type))
    collection = catalog.get("things")
    for number in range(first, 1_000_000):
        change = operation(number, id_type)
        if isinstance(change, ItemBatch):
            collection.upsert(change).result()
        else:
            collection.delete(change).result()
        collection.sets.append(DONE, ids_of(np.array([number]), id_type)).result()
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), IdType(sys.argv[2]), int(sys.argv[3]))
