"""Fields declared after the items, end to end: real processes, brute force as the oracle."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cluster.test_filters import FIELDS, FILTERS, PACKAGES, assert_best, change, check, stored
from tests.cluster.test_promises import BASE, DIM, EAGER, QUERIES, K, at_rest

import fanlight
from fanlight import field
from fanlight.cli.local_cluster import LocalCluster

pytestmark = pytest.mark.slow

WaitUntil = Callable[..., None]
Start = Callable[..., LocalCluster]


def is_built(client: fanlight.Client, name: str) -> bool:
    return not client.get_collection(name).building_fields


def test_items_are_found_by_fields_that_came_later(
    client: fanlight.Client, wait_until: WaitUntil
) -> None:
    """Over all shards, exact and walked; the vectors and payloads are not written again."""
    debian = client.create_collection("later", dim=DIM)
    debian.upsert(np.arange(len(BASE)), BASE, PACKAGES)
    before = debian.search(QUERIES, k=K, exact=True)
    with pytest.raises(fanlight.InvalidRequest, match=r"add_fields=\{field: type\}"):
        debian.search(QUERIES[:1], k=K, filter={"section": "python"})
    info = client.update_collection("later", add_fields=FIELDS)
    assert info.spec.filterable == FIELDS
    wait_until(lambda: is_built(client, "later"), 60)
    for filter in FILTERS:
        hits = debian.search(QUERIES[:5], k=K, exact=True, filter=filter)
        assert_best(hits, filter, QUERIES[:5], stored(range(len(BASE))))
    np.testing.assert_array_equal(debian.search(QUERIES, k=K, exact=True).ids, before.ids)
    assert debian.facets("section").items == len(BASE)
    client.delete_collection("later")


def test_changes_of_items_and_fields_take_turns(
    start_cluster: Start, wait_until: WaitUntil
) -> None:
    """While fields come, go, and come back, also over a restart of everything."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201
    rng = random.Random(seed)
    items: dict[int, Any] = {}
    with start_cluster(server=EAGER) as cluster, fanlight.Client(cluster.address) as client:
        collection = client.create_collection("items", dim=DIM)
        change(rng, collection, items)
        client.update_collection("items", add_fields={"weight": "float", "section": "int"})
        client.update_collection("items", add_fields=FIELDS, drop_fields=["section"])
        for _ in range(4):
            change(rng, collection, items)
        wait_until(lambda: is_built(client, "items"), 60)
        check(rng, collection, items)
        client.update_collection("items", drop_fields=list(FIELDS))
        change(rng, collection, items)
        client.update_collection("items", add_fields=FIELDS)
        assert client.get_collection("items").fields_version == 4
    with start_cluster(server=EAGER) as cluster, fanlight.Client(cluster.address) as client:
        collection = client.collection("items")
        wait_until(lambda: is_built(client, "items"), 60)
        check(rng, collection, items)
        change(rng, collection, items)
        check(rng, collection, items)
        wait_until(at_rest(collection), 60)
        check(rng, collection, items)


def test_a_missing_shard_is_named_and_nothing_is_changed(
    start_cluster: Start, wait_until: WaitUntil
) -> None:
    """When it is back the same call does it."""
    with start_cluster() as cluster, fanlight.Client(cluster.address, max_attempts=1) as client:
        items = client.create_collection("items", dim=DIM)
        items.upsert(np.arange(90), BASE[:90], PACKAGES[:90])
        cluster.kill("shard-2")
        with pytest.raises(fanlight.NotReady, match="all shards: shard-2"):
            client.update_collection("items", add_fields=FIELDS)
        info = client.get_collection("items", min_coverage=0.5)
        assert info.spec.filterable == {}
        cluster.restart("shard-2")
        wait_until(lambda: client.status().complete, 30)
        client.update_collection("items", add_fields=FIELDS)
        cluster.kill("shard-0")
        cluster.restart("shard-0")
        wait_until(lambda: client.status().complete, 30)
        shards = client.status().shards
        assert [shard.collections[0].spec.filterable for shard in shards] == [FIELDS] * 3
        wait_until(lambda: is_built(client, "items"), 30)
        hits = items.search(QUERIES[:3], k=K, exact=True, filter=FILTERS[0])
        assert_best(hits, FILTERS[0], QUERIES[:3], stored(range(90)))


def test_a_snapshot_holds_items_that_are_older_than_the_fields(
    client: fanlight.Client, tmp_path: Path, wait_until: WaitUntil
) -> None:
    """A value of another type is no value, and is restored as it was written."""
    payloads = [{"n": n if n % 3 else f"n{n}"} for n in range(90)]
    items = client.create_collection("mixed", dim=DIM)
    items.upsert(np.arange(90), BASE[:90], payloads)
    client.update_collection("mixed", add_fields={"n": "int"})
    wait_until(lambda: is_built(client, "mixed"), 30)
    assert items.count(filter=field("n").exists()) == 60
    items.snapshot(tmp_path / "mixed")
    client.restore(tmp_path / "mixed", name="again")
    again = client.collection("again")
    assert again.info().spec.filterable == {"n": "int"}
    assert again.count() == 90
    assert again.count(filter=field("n").exists()) == 60
    assert again.get(np.arange(90)).payloads == payloads
    with pytest.raises(fanlight.InvalidRequest, match=r"payloads\.n"):
        again.upsert([1], BASE[:1], [{"n": "one"}])
    client.delete_collection("mixed")
    client.delete_collection("again")


async def test_the_other_colour_updates_as_well(cluster: LocalCluster) -> None:
    """`AsyncClient` has the same call."""
    async with fanlight.AsyncClient(cluster.address) as client:
        await client.create_collection("other", dim=4)
        info = await client.update_collection("other", add_fields={"n": "int"})
        assert (info.spec.filterable, info.fields_version) == ({"n": "int"}, 1)
        info = await client.update_collection("other", drop_fields=["n"])
        assert (info.spec.filterable, info.fields_version) == ({}, 2)
        await client.delete_collection("other")


def test_the_command_line_updates(cluster: LocalCluster, client: fanlight.Client) -> None:
    """Fields are added, dropped and given another type; what cannot be is said."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "fanlight.cli", "--address", cluster.address]
        argv += ["collections", *arguments]
        return subprocess.run(argv, capture_output=True, text=True)

    typed = client.create_collection("typed", dim=4, filterable={"a": "int"})
    typed.upsert([1, 2], np.eye(2, 4), [{"year": 1994, "genre": "drama"}, {"year": 2001}])
    made = run("update", "typed", "--add", "year=int", "--add", "genre:keyword", "--wait")
    assert made.returncode == 0, made.stderr
    assert "filterable by a int, genre keyword, year int." in made.stdout
    assert typed.count(filter=field("year") < 2000) == 1
    dropped = run("update", "typed", "--drop", "a", "--drop", "year", "--add", "year=float")
    assert dropped.returncode == 0, dropped.stderr
    shown = json.loads(run("show", "typed", "--json").stdout)
    assert shown["filterable"] == {"genre": "keyword", "year": "float"}
    assert set(shown["building_fields"]) <= {"year"}
    for arguments, words in (
        ((), "add_fields: expected fields to add or to drop"),
        (("--add", "year"), "--add: expected FIELD=TYPE"),
        (("--add", "genre=int"), "add_fields.genre: expected keyword"),
        (("--add", "x=text"), "add_fields.x: expected keyword or int"),
    ):
        refused = run("update", "typed", *arguments)
        assert refused.returncode == 1
        assert words in refused.stderr
    client.delete_collection("typed")
