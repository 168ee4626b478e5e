"""Write tests/golden/v1: a data directory of format version 1, and what it answers.

python -m tests.golden.make_v1: was run once. What is in v1 stands for the data of users, so it
is not made anew for a version that was released; a new version gets a directory of its own.
"""

from __future__ import annotations

import json
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from tests.pieces import floats, ids_of, spec_of

from fanlight.limits import Limits
from fanlight.model import IdType, ItemBatch, Metric, SearchRequest
from fanlight.placement import ShardIdentity
from fanlight_server.catalog import Catalog
from fanlight_server.collection import Collection
from fanlight_server.index.settings import IndexConfig, SearchConfig

HERE = Path(__file__).parent / "v1"
IDENTITY = ShardIdentity("golden", 2, 5)
# One head of 512 rows, which is sealed when it is full and not before.
CONFIG = IndexConfig(head_bytes=4 * 4 * 512, build_threads=1, idle_s=86_400.0)
SPECS = [
    replace(spec_of(4, Metric.COSINE, IdType.INT64, "numbers"), m=4),
    replace(spec_of(4, Metric.L2, IdType.STRING, "texts"), m=4),
]


def fill(collection: Collection) -> None:
    """Write a segment, tombstones in it, and later changes."""
    id_type = collection.spec.id_type
    ids = ids_of(np.arange(520) * 3 - 500, id_type)
    payloads = [json.dumps({"row": row, "text": "fenêtre"}).encode() for row in range(520)]
    collection.upsert(ItemBatch(ids, floats(1, 520, 4), payloads)).result()
    while not collection.keeper.build_next(1) and not collection.info().segments:
        pass
    collection.upsert(ItemBatch(ids[5:10], floats(2, 5, 4))).result()
    collection.delete(ids[20:30]).result()


def answers_of(collection: Collection) -> dict[str, object]:
    """Ask everything that a reader can be asked."""
    name, queries = collection.spec.name, floats(3, 3, 4)
    answers: dict[str, object] = {"count": collection.count()}
    for exact in (True, False):
        hits = collection.search(SearchRequest(name, queries, 12, exact=exact, ef_search=64))
        answers["exact" if exact else "walked"] = [hits.ids.tolist(), hits.scores.tolist()]
    items = collection.scroll(1_000, b"").items
    assert items.vectors is not None
    assert items.payload_blobs is not None
    answers["ids"] = items.ids.tolist()
    answers["vectors"] = items.vectors.tobytes().hex()[:4_000]
    answers["payloads"] = [blob.decode() for blob in items.payload_blobs[:20]]
    return answers


def main() -> None:
    """Write the directory and the answers."""
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        catalog = Catalog(data, IDENTITY, Limits(), CONFIG, SearchConfig(threads=1))
        for spec in SPECS:
            catalog.create(spec)
            fill(catalog.get(spec.name))
        catalog.create(spec_of(9, name="gone"))
        catalog.delete("gone", 7)
        answers = {spec.name: answers_of(catalog.get(spec.name)) for spec in SPECS}
        catalog.close()
        (data / "LOCK").unlink()
        with tarfile.open(HERE / "data.tar.gz", "w:gz") as archive:
            archive.add(data, "data", filter=_anonymous)
    (HERE / "answers.json").write_text(json.dumps(answers, indent=1) + "\n")


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    main()
