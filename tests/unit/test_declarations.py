"""Declarations of fields: how they change, and how shards agree on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
from tests.unit.fake_watched import WatchedCluster, soon

from fanlight.declarations import Declaration, building_of
from fanlight.errors import AlreadyExists, InvalidRequest, NotFound, NotReady
from fanlight.filter_rules import check_built, check_filter_fields
from fanlight.filters import FieldType, IsIn
from fanlight.limits import Limits
from fanlight.matching import read_values
from fanlight.model import CollectionInfo, CollectionSpec

WaitUntil = Callable[..., Awaitable[None]]
INT, FLOAT, KEYWORD = FieldType.INT, FieldType.FLOAT, FieldType.KEYWORD
SPEC = CollectionSpec("things", dim=4)
NOW = Declaration({"year": INT, "genre": KEYWORD}, version=3, fields_version=7)
LIMITS = Limits(fields=3)


@pytest.mark.parametrize(
    ("add", "drop", "fields"),
    [
        ({"share": FLOAT}, [], {"year": INT, "genre": KEYWORD, "share": FLOAT}),
        ({}, ["year"], {"genre": KEYWORD}),
        ({"year": FLOAT}, ["year"], {"year": FLOAT, "genre": KEYWORD}),
        ({"a": INT, "b": INT}, ["year", "other"], {"genre": KEYWORD, "a": INT, "b": INT}),
    ],
)
def test_a_change_is_a_new_declaration(
    add: dict[str, FieldType], drop: list[str], fields: dict[str, FieldType]
) -> None:
    """Drops come first. The same change of what came of it is none."""
    changed = NOW.changed(add, drop, LIMITS)
    assert changed == Declaration(fields, 3, 8)
    assert changed.changed(add, drop, LIMITS) is changed


@pytest.mark.parametrize(
    ("add", "drop"), [({"year": INT}, []), ({}, ["other"]), ({"year": INT}, ["year"])]
)
def test_what_is_so_already_is_no_change(add: dict[str, FieldType], drop: list[str]) -> None:
    assert NOW.changed(add, drop, LIMITS) is NOW


@pytest.mark.parametrize(
    ("add", "drop", "words"),
    [
        ({}, [], "add_fields: expected fields to add or to drop"),
        ({"year": FLOAT}, [], r"add_fields\.year: expected int, .* got float"),
        ({"a": INT, "b": INT}, [], "add_fields: expected at most 3 fields, got 4"),
        ({"": INT}, [], "add_fields: expected names of 1 to 128"),
        ({}, ["x" * 129], "drop_fields: expected names of 1 to 128"),
        ({}, list("abcd"), "drop_fields: expected at most 3 fields, got 4"),
    ],
)
def test_impossible_changes_are_refused(
    add: dict[str, FieldType], drop: list[str], words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        NOW.changed(add, drop, LIMITS)


def test_a_default_changes_and_stays() -> None:
    """It is set, set back by 0, and left alone by changes of fields; the same again is no change."""
    limits = Limits(ef_search=500)
    set_once = NOW.changed({}, (), limits, 70)
    assert set_once == replace(NOW, fields_version=8, ef_search=70)
    assert set_once.changed({}, (), limits, 70) is set_once
    dropped = set_once.changed({}, ("year",), limits)
    assert (dropped.ef_search, dropped.fields_version) == (70, 9)
    assert set_once.changed({}, (), limits, 0) == replace(NOW, fields_version=9)
    with pytest.raises(InvalidRequest, match="ef_search: expected 0 to 500, got 501"):
        NOW.changed({}, (), limits, 501)
    with pytest.raises(AlreadyExists):
        replace(NOW, ef_search=9).check_follows(set_once, "things")


def test_which_declaration_may_follow_which() -> None:
    """A higher version, or the same one again."""
    NOW.check_follows(NOW, "things")
    replace(NOW, filterable={}, fields_version=8).check_follows(NOW, "things")
    for older in (replace(NOW, filterable={}), replace(NOW, fields_version=6)):
        with pytest.raises(AlreadyExists, match="genre keyword, year int"):
            older.check_follows(NOW, "things")
    for version in (2, 4):
        with pytest.raises(NotFound, match=f"version {version}"):
            replace(NOW, version=version, fields_version=9).check_follows(NOW, "things")


def test_a_field_is_being_built_as_long_as_one_shard_builds_it_or_lacks_it() -> None:
    done = CollectionInfo(replace(SPEC, filterable=NOW.filterable), 1, fields_version=7)
    building = replace(done, building_fields=("genre",))
    behind = replace(done, spec=replace(SPEC, filterable={"year": FLOAT, "genre": KEYWORD}))
    assert building_of(NOW.filterable, [done, done]) == set()
    assert building_of(NOW.filterable, [done, building]) == {"genre"}
    assert building_of(NOW.filterable, [behind, building]) == {"genre", "year"}


def test_a_refusal_says_how_to_declare() -> None:
    """Also where the list of declared fields would fill the message."""
    for fields in (NOW.filterable, {f"{n:0128}": INT for n in range(64)}):
        with pytest.raises(InvalidRequest) as refused:
            check_filter_fields(IsIn("other", INT, (1,)), fields)
        assert "add_fields={field: type}" in refused.value.message
        assert "fanlight collections update" in refused.value.message
        assert len(refused.value.message) < 800
    with pytest.raises(NotReady) as waits:
        check_built(["year"], {"year"})
    assert waits.value.retry_after_s
    check_built(["year"], {"genre"})


def test_a_value_of_another_type_hides_no_other_field() -> None:
    assert read_values({"year": "x", "genre": "drama"}, NOW.filterable) == {"genre": ["drama"]}
    assert read_values(None, NOW.filterable) == {}


# --- over all shards --------------------------------------------------------------------------


@pytest.fixture
async def cluster() -> AsyncIterator[WatchedCluster]:
    """Start watching three shards that hold "things"."""
    cluster = WatchedCluster()
    await cluster.topology.start()
    await cluster.catalog.create(SPEC, soon())
    yield cluster
    await cluster.topology.close()


def fields_of(cluster: WatchedCluster) -> list[tuple[int, dict[str, FieldType]]]:
    """Tell what each shard holds."""
    infos = [shard.held["things"] for shard in cluster.shards]
    return [(info.fields_version, dict(info.spec.filterable)) for info in infos]


async def test_fields_are_declared_on_all_shards(cluster: WatchedCluster) -> None:
    """Under one version; again, it changes nothing; dropped, they are gone everywhere."""
    for _ in range(2):
        info = await cluster.catalog.update("things", {"year": INT}, [], soon())
        assert (info.fields_version, info.spec.filterable) == (1, {"year": INT})
        assert fields_of(cluster) == [(1, {"year": INT})] * 3
    assert [len(shard.changes) for shard in cluster.shards] == [2, 2, 2]
    info = await cluster.catalog.update("things", {"year": FLOAT}, ["year"], soon())
    assert info.spec.filterable == {"year": FLOAT}
    await cluster.catalog.update("things", {}, ["year"], soon())
    assert fields_of(cluster) == [(3, {})] * 3


async def test_a_change_needs_all_shards(cluster: WatchedCluster) -> None:
    """With one missing nothing is changed anywhere; the error names it."""
    cluster.shards[1].die()
    with pytest.raises(NotReady, match=r"updating .* all shards: shard-1: cannot be reached"):
        await cluster.catalog.update("things", {"year": INT}, [], soon())
    assert fields_of(cluster) == [(0, {})] * 3


async def test_a_collection_that_is_not_there_has_no_fields(cluster: WatchedCluster) -> None:
    """Neither one that never was nor one that was deleted."""
    await cluster.catalog.delete("things", soon())
    with pytest.raises(NotFound):
        await cluster.catalog.update("things", {"year": INT}, [], soon())
    with pytest.raises(NotFound):
        await cluster.catalog.update("others", {"year": INT}, [], soon())


async def test_a_change_cut_short_can_be_repeated(cluster: WatchedCluster) -> None:
    """The error names the shard that lacks it; until it has it, the field is not built."""
    cluster.shards[2].fault = NotReady("lost its disk")
    with pytest.raises(NotReady, match=r"the update waits .* shard-2: lost its disk"):
        await cluster.catalog.update("things", {"year": INT}, [], soon())
    assert fields_of(cluster)[:2] == [(1, {"year": INT})] * 2
    cluster.shards[2].fault = None
    info = await cluster.catalog.update("things", {"year": INT}, [], soon())
    assert info.fields_version == 1
    assert fields_of(cluster) == [(1, {"year": INT})] * 3


async def test_a_change_cut_short_is_completed(
    cluster: WatchedCluster, wait_until_async: WaitUntil
) -> None:
    """A shard that missed changes gets the last one when it returns, and no other."""
    cluster.shards[2].fault = NotReady("lost its disk")
    for fields in ({"year": INT}, {"genre": KEYWORD}):
        with pytest.raises(NotReady):
            await cluster.catalog.update("things", fields, [], soon())
    info, _ = await cluster.catalog.get("things", 0.6, soon())
    assert info.spec.filterable == {"year": INT, "genre": KEYWORD}
    cluster.shards[2].fault = None
    await wait_until_async(lambda: fields_of(cluster) == [(2, {"year": INT, "genre": KEYWORD})] * 3)
    assert cluster.shards[2].changes[1:] == [("declare", "things", 2)]


async def test_a_lost_shard_gets_the_collection_with_its_fields(
    cluster: WatchedCluster, wait_until_async: WaitUntil
) -> None:
    """Under the version of the others, so that later changes are told from older ones."""
    await cluster.catalog.update("things", {"year": INT}, [], soon())
    cluster.shards[1].held.clear()
    await cluster.restart_router()
    await wait_until_async(
        lambda: "things" in cluster.shards[1].held and fields_of(cluster)[1] == (1, {"year": INT})
    )


async def test_of_two_routers_one_changes(cluster: WatchedCluster) -> None:
    """The loser finds shard 0 taken and has touched no other."""
    first = cluster.shards[0].held["things"]
    spec = replace(SPEC, filterable={"genre": KEYWORD})
    newest = cluster.topology.newest
    stale = newest("things")
    cluster.topology.newest = lambda name: stale  # type: ignore[method-assign]
    cluster.shards[0].hold(replace(first, spec=spec, fields_version=1))
    with pytest.raises(
        AlreadyExists, match="at the same moment; its fields are now: genre keyword"
    ):
        await cluster.catalog.update("things", {"year": INT}, [], soon())
    assert all(len(shard.changes) == 1 for shard in cluster.shards)


async def test_callers_of_one_router_change_one_after_the_other(cluster: WatchedCluster) -> None:
    """No change undoes another."""
    names = ["a", "b", "c", "d"]
    await asyncio.gather(
        *(cluster.catalog.update("things", {name: INT}, [], soon()) for name in names)
    )
    assert fields_of(cluster) == [(4, dict.fromkeys(names, INT))] * 3


async def test_a_router_over_routers_sends_all_fields(cluster: WatchedCluster) -> None:
    """They take the place of those that are there, under this router's own version."""
    await cluster.catalog.update("things", {"year": INT}, [], soon(), ef_search=70)
    for _ in range(2):
        info = await cluster.catalog.declare(
            "things", Declaration({"genre": KEYWORD}, 9, 9), soon()
        )
        assert info.fields_version == 2
    assert fields_of(cluster) == [(2, {"genre": KEYWORD})] * 3
