"""What a shard remembers of the data of others."""

from __future__ import annotations

import pytest
from tests.pieces import spec_of
from tests.storage.conftest import OpenCatalog

from fanlight.errors import InvalidRequest, WrongShard
from fanlight.placement import ShardIdentity

SPEC = spec_of(4)
SECOND = ShardIdentity("test", 1, 3)
A, B = "a" * 32, "b" * 32


def test_a_shard_remembers_the_data_of_others(open_catalog: OpenCatalog) -> None:
    """What it was told of them is there after a restart, as is its own id."""
    catalog = open_catalog(identity=SECOND)
    own, others = catalog.data_id, {0: A, 2: B}
    assert catalog.peers == {}
    catalog.accept_data({**others, 1: own})
    catalog.accept_data({2: B})
    assert catalog.peers == others, "its own is not among them"
    catalog.create(SPEC)
    catalog.close()
    again = open_catalog(identity=SECOND)
    assert (again.data_id, again.peers) == (own, others)
    assert [info.spec for info in again.describe()] == [SPEC]


def test_other_data_of_a_known_shard_is_refused(open_catalog: OpenCatalog) -> None:
    """Nothing of a call that contradicts is remembered, until it says that the other is given up."""
    catalog = open_catalog(identity=SECOND)
    catalog.accept_data({0: A})
    with pytest.raises(WrongShard, match="shard-0 is known by data aaaaaaaa, not bbbbbbbb"):
        catalog.accept_data({2: A, 0: B})
    assert catalog.peers == {0: A}
    catalog.accept_data({0: B}, replace=True)
    assert catalog.peers == {0: B}
    with pytest.raises(WrongShard, match="shard-1 is known by data"):
        catalog.accept_data({2: A, 1: B}, replace=True)
    assert catalog.peers == {0: B}, "what this shard stands on nobody else decides"


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({}, "shards"),
        ({3: A}, "shards.index"),
        ({-1: A}, "shards.index"),
        ({0: A[1:]}, "shards.data_id"),
        ({0: A.upper()}, "shards.data_id"),
    ],
)
def test_data_that_cannot_be_is_refused(
    open_catalog: OpenCatalog, data: dict[int, str], field: str
) -> None:
    """The error names the field, and nothing is remembered."""
    catalog = open_catalog(identity=SECOND)
    with pytest.raises(InvalidRequest) as refused:
        catalog.accept_data({**data, **({2: B} if data else {})}, replace=True)
    assert refused.value.field == field
    assert catalog.peers == {}
