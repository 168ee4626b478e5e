"""Write tests/golden/v4: a data directory that knows those of other shards, and what it answers.

python -m tests.golden.make: was run once. What is there stands for the data of users, so it is
not made anew for a version that was released; a new version gets a directory of its own. v1 was
written by version 0.1.0, without the collection that has filterable fields; v2 has segments of
format version 2, and databases of format version 1; v3 has marks, and no ids of data.
"""

from __future__ import annotations

import json
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from tests.pieces import floats, ids_of, spec_of

from fanlight.conditions import field
from fanlight.filters import FieldType
from fanlight.limits import Limits
from fanlight.model import IdType, ItemBatch, Metric, SearchRequest
from fanlight.placement import ShardIdentity
from fanlight_server.catalog import Catalog
from fanlight_server.collection import Collection
from fanlight_server.index.settings import IndexConfig, SearchConfig

V1, V2, V3, V4 = (Path(__file__).parent / version for version in ("v1", "v2", "v3", "v4"))
# The data of other shards that v4 knows.
PEERS = {0: "0" * 32, 4: "4" * 32}
IDENTITY = ShardIdentity("golden", 2, 5)
# One head of 512 rows, which is sealed when it is full and not before.
CONFIG = IndexConfig(head_bytes=4 * 4 * 512, build_threads=1, idle_s=86_400.0)
SPECS_V1 = [
    replace(spec_of(4, Metric.COSINE, IdType.INT64, "numbers"), m=4),
    replace(spec_of(4, Metric.L2, IdType.STRING, "texts"), m=4),
]
FIELDS = {
    "row": FieldType.INT,
    "text": FieldType.KEYWORD,
    "share": FieldType.FLOAT,
    "even": FieldType.BOOL,
}
SPECS_V2 = [
    *SPECS_V1,
    replace(spec_of(4, Metric.DOT, IdType.INT64, "fields"), m=4, filterable=FIELDS),
]


def fill(collection: Collection) -> None:
    """Write a segment, tombstones in it, and later changes."""
    id_type = collection.spec.id_type
    ids = ids_of(np.arange(520) * 3 - 500, id_type)
    payloads = [
        json.dumps(
            {"row": row, "text": "fenêtre"}
            | ({"share": row / 520, "even": row % 2 == 0} if collection.spec.filterable else {})
        ).encode()
        for row in range(520)
    ]
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
    if collection.spec.filterable:
        answers["filtered"] = [
            collection.search(SearchRequest(name, queries, 12, filter=wanted)).ids.tolist()
            for wanted in (
                field("row").range(gte=100, lt=130) & field("even").is_in([True]),
                field("text") == "fenêtre",
                field("share") >= 0.9,
            )
        ]
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
        for spec in SPECS_V2:
            catalog.create(spec)
            fill(catalog.get(spec.name))
        catalog.create(spec_of(9, name="gone"))
        catalog.delete("gone", 7)
        catalog.accept_data(PEERS)
        answers = {spec.name: answers_of(catalog.get(spec.name)) for spec in SPECS_V2}
        catalog.close()
        (data / "LOCK").unlink()
        with tarfile.open(V4 / "data.tar.gz", "w:gz") as archive:
            archive.add(data, "data", filter=_anonymous)
    (V4 / "answers.json").write_text(json.dumps(answers, indent=1) + "\n")


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    V4.mkdir(exist_ok=True)
    main()
