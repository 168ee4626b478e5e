"""Small graphs of every kind, beside brute force."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.kernel.builds import assert_sound, built
from tests.kernel.pieces import METRICS, MetricName, graph_of, rows_of

from fanlight.model import Floats


@dataclass(frozen=True, slots=True)
class Plan:
    """What to build, and how."""

    metric: MetricName
    vectors: Floats
    m: int
    ef: int
    threads: int
    stops: list[int]
    base_rows: int


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Draw vectors that are often equal, zero, or of very different lengths, and a way to build."""
    rows, dim = draw(st.integers(1, 120)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds = rng.standard_normal((draw(st.integers(1, rows)), dim))
    kinds *= 10 ** (draw(st.integers(0, 8)) * rng.uniform(-1, 1, size=(len(kinds), 1)))
    kinds[rng.random(len(kinds)) < draw(st.sampled_from([0.0, 0.2]))] = 0
    vectors = kinds[rng.integers(0, len(kinds), rows)].astype(np.float32)
    return Plan(
        metric=draw(st.sampled_from(METRICS)),
        vectors=vectors,
        m=draw(st.sampled_from([2, 3, 5, 16, 64])),
        ef=draw(st.sampled_from([1, 8, 100])),
        threads=draw(st.sampled_from([1, 2, 4])),
        stops=sorted(draw(st.lists(st.integers(0, rows), max_size=3))),
        base_rows=draw(st.integers(0, rows)),
    )


@given(plans())
def test_a_search_that_keeps_every_row_finds_every_row(plan: Plan) -> None:
    """However a graph was built, ef = n finds all n rows in their true order of scores."""
    build = partial(built, plan.metric, m=plan.m, ef=plan.ef, threads=plan.threads)
    base = build(plan.vectors[: plan.base_rows]) if plan.base_rows else None
    stops = [stop for stop in plan.stops if stop >= plan.base_rows]
    arrays = build(plan.vectors, stops=stops, base=base)
    assert_sound(plan.metric, plan.vectors, arrays)
    rows, count = rows_of(plan.metric, plan.vectors), len(plan.vectors)
    queries = np.concatenate([plan.vectors[:3], -plan.vectors[:1]])
    found = graph_of(rows, arrays).search(queries, count, count, walk="vectors")
    exact = rows.scan(queries, count)
    assert found.counts.tolist() == [count] * len(queries)
    np.testing.assert_array_equal(found.rows, exact.rows)
    np.testing.assert_array_equal(found.scores, exact.scores)
