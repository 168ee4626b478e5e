"""Reading all items of a cluster page by page: one shard after the other.

Law: the token is the whole state, so any router of the cluster can give the next page.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from fanlight.errors import InvalidRequest
from fanlight.model import Page
from fanlight_router.deadline import Deadline
from fanlight_router.gather import demand_all, gather
from fanlight_router.shards import Columns, Shard

_VERSION = 1
# Version, shard to go on with, shards of the map; the shard's own token follows.
_HEAD = struct.Struct(">BHH")


async def scroll(
    shards: Sequence[Shard],
    collection: str,
    page_size: int,
    page_token: bytes,
    columns: Columns,
    deadline: Deadline,
) -> tuple[Page, int]:
    """Read the next page, which is shorter than `page_size` where a shard ends.

    Returns:
        The page, and the index of the shard that it comes from.

    Raises:
        InvalidRequest: the token is none of this cluster's, or as the shard says.
        FanlightError: the shard failed; the error names it.
    """
    shard, token = _parsed(page_token, len(shards))
    while True:
        left_s = deadline.left_s()
        call = shards[shard].scroll(collection, page_size, token, columns, left_s)
        gathered = await gather({shard: call}, left_s)
        demand_all(gathered)
        page = gathered.answers[shard]
        following = _next(shard, page.next_page_token, len(shards))
        if len(page.items) or not following:
            return Page(page.items, following), shard
        shard, token = _parsed(following, len(shards))


def _next(shard: int, token: bytes, count: int) -> bytes:
    if not token:
        shard += 1
    return _HEAD.pack(_VERSION, shard, count) + token if shard < count else b""


def _parsed(token: bytes, count: int) -> tuple[int, bytes]:
    if not token:
        return 0, b""
    if len(token) >= _HEAD.size:
        version, shard, shards = _HEAD.unpack_from(token)
        if (version, shards) == (_VERSION, count) and shard < count:
            return shard, token[_HEAD.size :]
    expected = "the next_page_token of an earlier page"
    raise InvalidRequest.of_field("page_token", expected, f"{len(token)} other bytes")
