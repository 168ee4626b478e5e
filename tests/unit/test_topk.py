"""The one merge: equal to a sort of everything, however the hits were split into blocks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanlight.ids import empty
from fanlight.model import IdType
from fanlight.topk import TopK, cut, merge, order_best_first

# Few different scores, so that ties are common; both zeros, which are equal.
SCORES = st.sampled_from([-math.inf, -1.5, -0.0, 0.0, 0.25, 1.0, math.inf])
INTS = st.integers(min_value=-(2**63), max_value=2**63 - 1)
# -1 is also what stands for no hit, and "" sorts before every other string.
IDS = {IdType.INT64: INTS | st.just(-1), IdType.STRING: st.text(max_size=4)}

Row = dict[Any, float]


@st.composite
def rows(draw: st.DrawFn, id_type: IdType) -> list[list[Row]]:
    """Draw, for each of some queries, the hits of some blocks; an id stands in one block."""
    n_blocks = draw(st.integers(0, 4))
    queries = []
    for _ in range(draw(st.integers(1, 3))):
        scored = draw(st.dictionaries(IDS[id_type], SCORES, max_size=12))
        blocks: list[Row] = [{} for _ in range(n_blocks)]
        for name, score in scored.items() if n_blocks else ():
            blocks[draw(st.integers(0, n_blocks - 1))][name] = score
        queries.append(blocks)
    return queries


def block_of(hits: list[Row], id_type: IdType, width: int) -> TopK:
    """Make a block with one row of hits, best first, for each query."""
    shape = (len(hits), width)
    block = TopK(
        empty(id_type, shape),
        np.full(shape, np.nan, dtype=np.float32),
        np.array([len(row) for row in hits], dtype=np.int64),
    )
    for query, row in enumerate(hits):
        for place, (name, score) in enumerate(ranked(row)):
            block.ids[query, place] = name
            block.scores[query, place] = score
    return block


def ranked(row: Row) -> list[tuple[Any, float]]:
    """Sort hits as the contract says: descending score, then ascending id."""
    return sorted(row.items(), key=lambda hit: (-hit[1], hit[0]))


@pytest.mark.parametrize("id_type", list(IdType))
@given(st.data())
def test_merge_equals_a_sort_of_everything(id_type: IdType, data: st.DataObject) -> None:
    """For any split into blocks of any width, and any k, the best k in the order of the contract."""
    queries = data.draw(rows(id_type))
    k = data.draw(st.integers(1, 15))
    n_blocks = len(queries[0])
    blocks = []
    for b in range(n_blocks):
        hits = [query[b] for query in queries]
        most = max(len(row) for row in hits)
        blocks.append(block_of(hits, id_type, most + data.draw(st.integers(0, 3))))
    merged = merge(blocks, k, id_type, len(queries))
    assert merged.ids.shape == merged.scores.shape == (len(queries), k)
    for query, parts in enumerate(queries):
        best = ranked({name: score for part in parts for name, score in part.items()})[:k]
        count = int(merged.counts[query])
        assert count == len(best)
        assert merged.ids[query, :count].tolist() == [name for name, _ in best]
        assert merged.scores[query, :count].tolist() == [score for _, score in best]
        assert np.isnan(merged.scores[query, count:]).all()
        missing = None if id_type is IdType.STRING else -1
        assert all(name == missing for name in merged.ids[query, count:].tolist())


@pytest.mark.parametrize("id_type", list(IdType))
def test_merging_nothing_gives_no_hits(id_type: IdType) -> None:
    """Without blocks the answer has its shape and type, and no hits."""
    merged = merge([], 3, id_type, 2)
    assert merged.ids.shape == (2, 3)
    assert merged.ids.dtype == empty(id_type).dtype
    assert merged.counts.tolist() == [0, 0]


def test_strings_are_ordered_by_code_point() -> None:
    """Equal scores of string ids follow code points, as their UTF-8 bytes do."""
    names = ["é", "a", "Z", "", "日本", "aa", "\U0001f600", "\uffee"]
    ids = np.array([names], dtype=object)
    order = order_best_first(ids, np.ones((1, len(names)), dtype=np.float32))
    assert ids[0, order[0]].tolist() == sorted(names, key=lambda name: name.encode())


@given(st.lists(SCORES, max_size=12), SCORES)
def test_cut_keeps_what_reaches_the_threshold(scores: list[float], threshold: float) -> None:
    """Hits that score the threshold or more stay, in order; the rest becomes padding."""
    best = sorted(scores, reverse=True)
    block = block_of([dict(enumerate(best))], IdType.INT64, 12)
    kept = cut(block, threshold)
    expected = [score for score in best if score >= threshold]
    assert kept.counts.tolist() == [len(expected)]
    assert kept.scores[0, : len(expected)].tolist() == expected
    assert np.isnan(kept.scores[0, len(expected) :]).all()
    assert (kept.ids[0, len(expected) :] == -1).all()
