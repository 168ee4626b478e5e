"""Which data a shard stands on, and whether the others know it.

Each data directory has an id, drawn when it was made, and each shard remembers those of the others
as it has met them. So a directory that is lost, or another cluster's in its place, is noticed by
whoever can ask one of the others: see docs/adr/0022-data-has-an-identity.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from fanlight.cluster import ShardStatus
from fanlight.errors import InvalidRequest, WrongShard
from fanlight.placement import shard_name

_ID = re.compile(r"[0-9a-f]{32}")
# Of an id, as people see it.
_SHOWN = 8


def check_data(data: Mapping[int, str], shards: int) -> None:
    """Refuse what cannot be the data of shards.

    Args:
        data: ids of data by index of their shards.
        shards: of the cluster.

    Raises:
        InvalidRequest: names the field.
    """
    if not data:
        raise InvalidRequest.of_field("shards", "at least one", "none")
    for index, data_id in data.items():
        if not 0 <= index < shards:
            raise InvalidRequest.of_field("shards.index", f"0 to {shards - 1}", str(index))
        if not _ID.fullmatch(data_id):
            expected = "32 digits of 0-9 a-f"
            raise InvalidRequest.of_field("shards.data_id", expected, repr(data_id[:40]))


def check_known(data: Mapping[int, str], known: Mapping[int, str]) -> None:
    """Compare data with what is known of the same shards.

    Raises:
        WrongShard: names the first shard of which other data is known.
    """
    for index, data_id in data.items():
        if known.get(index, data_id) != data_id:
            raise WrongShard(
                f"{shard_name(index)} is known by data {shown(known[index])}, not {shown(data_id)}"
            )


def shown(data_id: str) -> str:
    """Shorten the id of some data for people."""
    return data_id[:_SHOWN]


def contradicting(index: int, shards: Sequence[ShardStatus]) -> list[int]:
    """List the shards that know a shard by other data, if they are to be believed.

    A witness against whom more shards speak than against the accused is not: where a shard of
    another cluster got among those of this one, each of them is a stranger to it, and it to all.
    Of two shards that do not know each other both are believed.

    Args:
        index: of the shard.
        shards: all of the map, in order of index, as last seen.
    """
    witnesses = _witnesses(index, shards)
    return [at for at in witnesses if len(_witnesses(at, shards)) <= len(witnesses)]


def _witnesses(index: int, shards: Sequence[ShardStatus]) -> list[int]:
    own = shards[index].data_id
    known = ((at, shard.peers.get(index, own)) for at, shard in enumerate(shards) if at != index)
    return [at for at, data_id in known if own and data_id != own]


def is_vouched_for(index: int, shards: Sequence[ShardStatus]) -> bool:
    """Tell whether another shard knows a shard by the data that it stands on."""
    own = shards[index].data_id
    others = (shard for at, shard in enumerate(shards) if at != index)
    return any(shard.peers.get(index) == own for shard in others)
