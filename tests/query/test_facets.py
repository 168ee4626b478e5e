"""Counts, facets and deletions by filter are what a loop over all payloads finds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.matching import accepts
from tests.pieces import floats
from tests.query.cores import NAME, WAIT_S, Cores, cores

from fanlight import field
from fanlight.errors import InvalidRequest
from fanlight.filters import FieldType, Filter
from fanlight.limits import Limits
from fanlight.model import DeleteResult, Facets, ItemBatch
from fanlight_server.writes import Write

DIM, N = 4, 300
FIELDS = {
    "tags": FieldType.KEYWORD,
    "year": FieldType.INT,
    "price": FieldType.FLOAT,
    "new": FieldType.BOOL,
}
RNG = np.random.default_rng(2)


def payload(i: int) -> dict[str, Any]:
    made: dict[str, Any] = {"year": int(RNG.integers(1990, 2000))}
    if i % 3:
        made["tags"] = [f"t{t}" for t in RNG.integers(0, 6, 3).tolist()]
    if i % 2:
        made["price"] = float(RNG.integers(0, 5)) / 2
    if i % 5:
        made["new"] = bool(i % 7 == 0)
    return made


PAYLOADS = [payload(i) for i in range(N)]
IDS, VECTORS = np.arange(N, dtype=np.int64), floats(8, N, DIM)


def expected(name: str, filter: Filter | None, payloads: list[Any]) -> list[tuple[Any, int]]:
    counts: Counter[Any] = Counter()
    for each in payloads:
        if filter is None or accepts(filter, each):
            value = each.get(name)
            counts.update(set(value) if isinstance(value, list) else [value] * (value is not None))
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def facets(cores: Cores, name: str, filter: Filter | None, limit: int | None) -> Facets:
    if len(cores.collections) == 1:
        return cores.collections[0].facets(name, filter, limit)
    answer: Facets = cores.fan(lambda f, d: f.facets(NAME, name, filter, limit, 1.0, d))[0]
    return answer


def count(cores: Cores, filter: Filter | None) -> int:
    if len(cores.collections) == 1:
        return cores.collections[0].count(filter)
    n: int = cores.fan(lambda f, d: f.count(NAME, 1.0, d, filter))[0]
    return n


@pytest.mark.parametrize("shards", [1, 3])
def test_facets_and_counts_are_those_of_all_payloads(tmp_path: Path, shards: int) -> None:
    """Over segments and heads, with deletions and replacements, and every type of field."""
    with cores(tmp_path, shards, dim=DIM, filterable=FIELDS) as opened:
        opened.put(IDS[:200], VECTORS[:200], PAYLOADS[:200])
        opened.seal()
        opened.merge()
        opened.put(IDS[150:], VECTORS[150:], PAYLOADS[150:])
        for collection in opened.collections:
            collection.delete(IDS[:20]).result(WAIT_S)
        live = PAYLOADS[20:]
        for filter in (None, field("year") >= 1995, ~field("tags").exists()):
            matching = [p for p in live if filter is None or accepts(filter, p)]
            assert count(opened, filter) == len(matching)
            for name in FIELDS:
                got, want = facets(opened, name, filter, None), expected(name, filter, live)
                assert list(zip(got.values, got.counts.tolist(), strict=True)) == want
                assert (got.distinct, got.items) == (len(want), len(matching))
        few = facets(opened, "year", None, 3)
        assert (
            list(zip(few.values, few.counts.tolist(), strict=True))
            == expected("year", None, live)[:3]
        )
        assert few.distinct == 10


@pytest.mark.parametrize("shards", [1, 3])
def test_a_deletion_by_filter_deletes_just_that(tmp_path: Path, shards: int) -> None:
    """The others stay, and the items are gone after a start as well."""
    filter = (field("year") < 1995) & field("tags").exists()
    left = [i for i in range(N) if not accepts(filter, PAYLOADS[i])]
    with cores(tmp_path, shards, dim=DIM, filterable=FIELDS) as opened:
        opened.put(IDS, VECTORS, PAYLOADS)
        opened.seal()
        opened.merge()
        if shards == 1:
            deleted = opened.collections[0].delete_matching(filter)
        else:
            deleted = opened.fan(lambda f, d: f.delete_matching(NAME, filter, d))[0]
        assert deleted == N - len(left)
        assert count(opened, None) == len(left)
        assert count(opened, filter) == 0
    with cores(tmp_path, shards, dim=DIM, filterable=FIELDS, create=False) as opened:
        assert count(opened, None) == len(left)


def test_what_is_written_meanwhile_stays(tmp_path: Path) -> None:
    """A deletion takes out the items that it saw, not those written since, group or no group."""
    with cores(tmp_path, 1, dim=DIM, filterable=FIELDS) as opened:
        collection = opened.collections[0]
        opened.put(IDS[:3], VECTORS[:3], [{"year": 1990}] * 3)
        ids, seqs = collection._index.view.matching(field("year") == 1990)
        batch = ItemBatch(IDS[1:2], VECTORS[1:2], [b'{"year":1990}'])
        before = collection.upsert(batch)
        stale = collection._submit(Write(ids, None, None, (), DeleteResult, seqs), None)
        before.result(WAIT_S)
        assert stale.result(WAIT_S) == DeleteResult(2)
        assert collection.get(IDS[:3]).ids.tolist() == [1]


def test_what_cannot_be_counted_is_refused(tmp_path: Path) -> None:
    """Fields that are not declared, or have too many values, are named."""
    with cores(tmp_path, 1, dim=DIM, filterable=FIELDS, limits=Limits(facet_values=5)) as opened:
        opened.put(IDS, VECTORS, PAYLOADS)
        collection = opened.collections[0]
        with pytest.raises(InvalidRequest, match="filterable"):
            collection.facets("colour")
        with pytest.raises(InvalidRequest, match="at most 5 distinct"):
            collection.facets("year")
        with pytest.raises(InvalidRequest, match="filterable"):
            collection.count(field("colour") == "red")
        with pytest.raises(InvalidRequest, match="filterable"):
            collection.delete_matching(field("colour") == "red")
