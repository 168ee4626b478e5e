"""What a merged answer covers.

Law: a shard that did not answer counts with the items it was last seen to hold; if it was never
seen, the total is unknown and said to be so.
"""

from __future__ import annotations

from collections.abc import Mapping

from fanlight.errors import FanlightError
from fanlight.model import Coverage, ShardFailure
from fanlight.placement import shard_name


def unite(
    covered: Mapping[int, Coverage],
    failures: Mapping[int, FanlightError],
    last_seen: Mapping[int, int | None],
) -> Coverage:
    """Unite what the answers of shards cover.

    Args:
        covered: what each answer covers, by shard index.
        failures: why there is none, by shard index.
        last_seen: items last seen on each failed shard, or None.
    """
    totals = [part.items_total for part in covered.values()]
    totals += [last_seen[index] for index in failures]
    seen = [total for total in totals if total is not None]
    own = [ShardFailure(shard_name(index), error) for index, error in failures.items()]
    inner = [  # of a router that stands where a shard could
        ShardFailure(f"{shard_name(index)}/{failure.shard}", failure.error)
        for index, part in covered.items()
        for failure in part.failures
    ]
    return Coverage(
        shards_total=sum(part.shards_total for part in covered.values()) + len(failures),
        shards_answered=sum(part.shards_answered for part in covered.values()),
        items_total=sum(seen) if len(seen) == len(totals) else None,
        items_covered=sum(part.items_covered for part in covered.values()),
        failures=(*own, *inner),
    )


class KnownItems:
    """The live items of each collection on each shard, as last seen. For one event loop."""

    def __init__(self) -> None:
        self._items: dict[int, dict[str, int]] = {}

    def see(self, shard: int, items: Mapping[str, int]) -> None:
        """Note the items of all collections of a shard; its others are forgotten."""
        self._items[shard] = dict(items)

    def of(self, shard: int, collection: str) -> int | None:
        """Give the items of a collection on a shard; None if they were never seen."""
        return self._items.get(shard, {}).get(collection)

    def total(self, shard: int) -> int | None:
        """Give the items of all collections of a shard; None if it was never seen."""
        items = self._items.get(shard)
        return None if items is None else sum(items.values())

    def coverage_of(self, shard: int, collection: str) -> Coverage:
        """Tell what an answer of this shard covers when it does not say so itself."""
        items = self.of(shard, collection)
        return Coverage(1, 1, items_total=items, items_covered=items or 0)

    def unite(
        self,
        collection: str,
        covered: Mapping[int, Coverage],
        failures: Mapping[int, FanlightError],
    ) -> Coverage:
        """Unite what answers about a collection cover, and note the items they tell of."""
        for index, part in covered.items():
            if part.items_total is not None:
                self._items.setdefault(index, {})[collection] = part.items_total
        return unite(covered, failures, {index: self.of(index, collection) for index in failures})
