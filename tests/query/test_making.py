"""How long lists take to make: no longer than they have to, nor than somebody waits for them."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from tests.pieces import floats
from tests.query.tables import NAME, Table

from fanlight.answering import answer
from fanlight.conditions import field
from fanlight.errors import DeadlineExceeded
from fanlight.examples import interest, interests
from fanlight.filters import FieldType
from fanlight.limits import Limits
from fanlight.model import Hits, SearchRequest
from fanlight.plans import Late, Step, never, perform
from fanlight.queries import Cap, Floor, Slate

DIM, N = 4, 10_000
VECTORS, QUERIES = floats(1, N, DIM), floats(2, 2, DIM)
TABLE = Table(VECTORS, [{"seller": i // 2} for i in range(N)], {"seller": FieldType.INT})


def capped(k: int) -> SearchRequest:
    """Search for hits of different sellers, each of whom has two items."""
    return SearchRequest(NAME, QUERIES[:1], k, slate=Slate(caps=[Cap("seller", 1)]))


def floored(k: int) -> SearchRequest:
    """Search for hits of which the last places are for some sellers."""
    floor = Floor(field("seller") < N // 4, share=0.9)
    return SearchRequest(NAME, QUERIES[:1], k, slate=Slate(floors=[floor]))


def shared(k: int) -> SearchRequest:
    """Search for hits near to either of two vectors."""
    one, other = interest(QUERIES[0]), interest(QUERIES[1], min_share=0.1)
    return SearchRequest(NAME, None, k, composed=(interests(one, other),))


def seconds_of_making(request: SearchRequest) -> float:
    """Measure the processor's time that a plan takes, without the steps that it asks for."""
    elsewhere = 0.0

    def do(step: Step) -> object:
        nonlocal elsewhere
        began = time.thread_time()
        given = TABLE.give(step)
        elsewhere += time.thread_time() - began
        return given

    began = time.thread_time()
    hits = perform(answer(request, Limits()), do)
    spent = time.thread_time() - began - elsewhere
    assert hits.counts.tolist() == [request.k]
    return spent


@pytest.mark.parametrize("make", [capped, floored, shared])
def test_a_place_costs_no_more_in_a_long_list(make: Callable[[int], SearchRequest]) -> None:
    """Eight times the places take about eight times as long, and not the square of that."""
    short = min(seconds_of_making(make(500)) for _ in range(3))
    long = min(seconds_of_making(make(4_000)) for _ in range(3))
    assert long < 24 * short, f"{short:.3f} s for 500 places, {long:.3f} s for 4,000"


def made(queries: int, k: int, late: Late) -> Hits:
    """Make capped lists until it is late."""
    request = SearchRequest(NAME, VECTORS[:queries], k, slate=Slate(caps=[Cap("seller", 1)]))
    return perform(answer(request, Limits(), late), TABLE.give)


def test_what_is_made_when_it_gets_late_stands() -> None:
    """The lists that are done are as ever, each of the others fails, and none is half made."""
    queries, k, looks = 4, 50, 0
    whole = made(queries, k, never)

    def late_after(most: int) -> Late:
        def late() -> bool:
            nonlocal looks
            looks += 1
            return looks > most

        return late

    assert not made(queries, k, late_after(10**9)).errors
    assert looks >= queries * k, "somebody looks before every place"
    last = looks
    for most in (0, last // 2, last - 1):
        looks = 0
        hits = made(queries, k, late_after(most))
        late = sorted(hits.errors)
        assert all(isinstance(error, DeadlineExceeded) for error in hits.errors.values())
        assert hits.counts.tolist() == [0 if row in late else k for row in range(queries)]
        done = [row for row in range(queries) if row not in late]
        np.testing.assert_array_equal(hits.ids[done], whole.ids[done])
        assert (len(late) == queries) == (most == 0)
        assert late
