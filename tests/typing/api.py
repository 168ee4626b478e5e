"""The public interface as a type checker sees it; never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import fanlight


def of_threads(address: str) -> None:
    """Use every method of `Client` and its handle."""
    with fanlight.Client(address, timeout=5.0, max_attempts=2) as client:
        assert_type(client, fanlight.Client)
        movies = client.create_collection(
            "movies",
            dim=3,
            metric=fanlight.Metric.COSINE,
            id_type="string",
            m=8,
            ef_construction=99,
            filterable={"year": "int", "genre": fanlight.FieldType.KEYWORD},
        )
        assert_type(movies, fanlight.Collection)
        assert_type(client.collection("movies"), fanlight.Collection)
        assert_type(client.get_collection("movies"), fanlight.CollectionInfo)
        assert_type(client.list_collections(), list[fanlight.CollectionInfo])
        assert_type(client.status(timeout=1), fanlight.ClusterStatus)
        assert_type(client.status().shards[0].state, fanlight.ShardState)

        assert_type(movies.info(), fanlight.CollectionInfo)
        written = movies.upsert(["a"], [[1.0, 2.0, 3.0]], [{"year": 1999}], errors="return")
        assert_type(written, fanlight.UpsertResult)
        assert_type(written.errors, tuple[fanlight.RowError, ...])
        movies.upsert(np.arange(2), np.ones((2, 3), dtype=np.float16), progress=True)
        assert_type(movies.delete(["a"]), fanlight.DeleteResult)
        assert_type(movies.get(np.array(["a"])), fanlight.Items)
        assert_type(movies.get(["a"]).payloads, list[dict[str, Any] | None] | None)
        assert_type(movies.scroll(page_size=10), Iterator[fanlight.Items])
        assert_type(movies.count(), int)

        hits = movies.search([1.0, 2.0, 3.0], k=5, ef_search=64, min_coverage=0.5)
        assert_type(hits, fanlight.Hits)
        assert_type(hits.ids, NDArray[np.int64] | NDArray[np.object_])
        assert_type(hits.scores, NDArray[np.float32])
        assert_type(hits.coverage, fanlight.Coverage)
        assert_type(movies.search_by_id(["a"], exact=True), fanlight.Hits)
        nineties = (fanlight.field("year") >= 1990) & ~(fanlight.field("year") > 1999)
        assert_type(nineties, fanlight.Filter)
        assert_type(fanlight.field("genre") == "drama", fanlight.Filter)
        assert_type(movies.search([1.0, 2.0, 3.0], filter=nineties), fanlight.Hits)
        assert_type(movies.search_by_id(["a"], filter={"genre": ["a", "b"]}), fanlight.Hits)
        of_queries(movies)
        updated = client.update_collection(
            "movies",
            add_fields={"month": "int", "at": fanlight.FieldType.TIME},
            drop_fields=["year"],
        )
        assert_type(updated, fanlight.CollectionInfo)
        assert_type(updated.building_fields, tuple[str, ...])
        assert_type(client.delete_collection("movies"), None)


def of_queries(movies: fanlight.Collection) -> None:
    """Ask by meaning, with rules and exclusions."""
    like = fanlight.examples(["a", ("b", 2.0), [0.1, 0.2, 0.3]], negative=["c"], keep=True)
    assert_type(like, fanlight.Query)
    assert_type(fanlight.combine({"a": 1, "b": -1.0}), fanlight.Query)
    both = fanlight.interests(fanlight.interest(like, max_share=0.5), fanlight.interest("a"))
    slate = fanlight.Slate(
        caps=[fanlight.Cap("genre", 2)],
        floors=[fanlight.Floor(fanlight.F("year") > 2000, share=0.1)],
        mmr=fanlight.Mmr(0.7),
        near_duplicate=0.98,
    )
    hits = movies.search([like, both], slate=slate, exclude_ids=["x"], exclude_sets=["seen"])
    assert_type(hits, fanlight.Hits)
    assert_type(hits.excluded, int | None)
    assert_type(hits.interests, NDArray[np.int64] | None)
    assert_type(movies.count(filter=fanlight.F("year") > 2000), int)
    assert_type(movies.delete(filter={"year": 1990}), fanlight.DeleteResult)
    assert_type(movies.facets("genre", limit=5), fanlight.Facets)
    assert_type(movies.explain(like, "a", k=5), fanlight.Explanation)
    assert_type(movies.pages(like, k=5), Iterator[fanlight.Hits])
    assert_type(movies.tune(["a", "b"], recall=0.95, k=5, keep=False), fanlight.Tuning)
    assert_type(movies.tune([[1.0, 2.0, 3.0]]).ef_search, int | None)
    assert_type(movies.sets.append("seen", ["a"], ttl=60), int)
    assert_type(movies.sets.get("seen"), NDArray[np.int64] | NDArray[np.object_])


async def of_an_event_loop(addresses: list[str]) -> None:
    """Use every method of `AsyncClient` and its handle."""
    async with fanlight.AsyncClient(addresses) as client:
        assert_type(client, fanlight.AsyncClient)
        movies = await client.create_collection("movies", dim=3)
        assert_type(movies, fanlight.AsyncCollection)
        assert_type(client.collection("movies"), fanlight.AsyncCollection)
        assert_type(await client.get_collection("movies"), fanlight.CollectionInfo)
        assert_type(await client.list_collections(), list[fanlight.CollectionInfo])
        assert_type(await client.status(), fanlight.ClusterStatus)

        assert_type(await movies.info(), fanlight.CollectionInfo)
        assert_type(await movies.upsert([1], np.ones((1, 3))), fanlight.UpsertResult)
        assert_type(await movies.delete(range(3)), fanlight.DeleteResult)
        assert_type(await movies.get([1], with_vectors=False), fanlight.Items)
        assert_type(movies.scroll(), AsyncIterator[fanlight.Items])
        assert_type(await movies.count(min_coverage=0.5), int)
        assert_type(await movies.search(np.ones((2, 3))), fanlight.Hits)
        assert_type(await movies.search_by_id([1], filter={"year": 1990}), fanlight.Hits)
        assert_type(await movies.search(fanlight.examples([1])), fanlight.Hits)
        assert_type(await movies.facets("genre"), fanlight.Facets)
        assert_type(await movies.explain([1.0, 2.0, 3.0], 1), fanlight.Explanation)
        assert_type(movies.pages(fanlight.examples([1])), AsyncIterator[fanlight.Hits])
        assert_type(await movies.tune(np.ones((2, 3)), k=5), fanlight.Tuning)
        assert_type(await movies.sets.append("seen", [1]), int)


def of_errors(movies: fanlight.Collection) -> None:
    """Read what an error carries."""
    try:
        movies.upsert([1], [[1.0]])
    except fanlight.PartialResult as error:
        assert_type(error.coverage, fanlight.Coverage | None)
    except fanlight.FanlightError as error:
        assert_type(error.rows, tuple[fanlight.RowError, ...])
        assert_type(error.retry_after_s, float | None)
        assert_type(
            error.result, fanlight.UpsertResult | fanlight.DeleteResult | fanlight.Hits | None
        )
