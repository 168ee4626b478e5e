"""Restoring a snapshot: checked first, then written, then opened to reads.

Laws: nothing is created before every checksum was compared. Until the last item is written the
collection is marked as `restoring` and refuses reads, so that a half one is never taken for a
whole one, even when this process dies.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from fanlight.backups import Progress
from fanlight.errors import AlreadyExists, Corruption, FanlightError, NotFound
from fanlight.model import CollectionSpec
from fanlight.snapshots.columns import batches_of
from fanlight.snapshots.manifest import Manifest
from fanlight.snapshots.places import Place, place_of
from fanlight.snapshots.verifying import verified

if TYPE_CHECKING:
    from fanlight.backups import ClientRestores
    from fanlight.client import Collection


def restore(
    client: ClientRestores,
    src: str | os.PathLike[str],
    *,
    name: str | None = None,
    progress: Progress | None = None,
) -> Collection:
    """Make a collection from a snapshot; see `fanlight.Client.restore`."""
    place = place_of(src)
    manifest = verified(place)
    spec = replace(manifest.spec, name=manifest.spec.name if name is None else name)
    restoring = _Restoring(client, spec)
    restoring.create()
    try:
        restoring.fill(place, manifest, progress)
        restoring.finish(manifest)
    except BaseException:
        restoring.abort()
        raise
    return restoring.collection


class _Restoring:
    """A restore under way."""

    def __init__(self, client: ClientRestores, spec: CollectionSpec) -> None:
        from fanlight.client import Collection

        self._operations = client._operations
        self._transport = client._transport
        self._spec = spec
        self.collection = Collection(spec.name, self._operations, self._transport)

    def create(self) -> None:
        """Create the collection, marked, where there is none.

        Raises:
            AlreadyExists: there is one.
        """
        with suppress(NotFound):
            info = self.collection.info()
            again = ": a restore of it broke off; delete it first" if info.restoring else ""
            raise AlreadyExists(f"name: there is a collection {self._spec.name!r}{again}")
        info = self._transport.run(self._operations.create_restoring(self._spec, None))
        if info.items or not info.restoring:
            raise AlreadyExists(f"name: somebody else has just created {self._spec.name!r}")

    def fill(self, place: Place, manifest: Manifest, progress: Progress | None) -> None:
        """Write all items; the cluster places them by its own number of shards."""
        written = 0
        for entry in manifest.files:
            with place.open(entry.name) as file:
                for batch in batches_of(file, self._spec, entry.name):
                    self._transport.run(self._operations.upsert_batch(self._spec.name, batch))
                    written += len(batch.ids)
                    if progress is not None:
                        progress(written, manifest.items)

    def finish(self, manifest: Manifest) -> None:
        """Open the collection to reads, if it has every item.

        Raises:
            Corruption: it has not.
        """
        found = self.collection.count()
        if found != manifest.items:
            message = f"the snapshot should hold {manifest.items} items, and {found} were found"
            raise Corruption(message)
        self._transport.run(self._operations.finish_restore(self._spec.name, None))

    def abort(self) -> None:
        """Delete the collection, if that is possible; else it stays marked."""
        with suppress(FanlightError):
            self._transport.run(self._operations.delete_collection(self._spec.name, None))
