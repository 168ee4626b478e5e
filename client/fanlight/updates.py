"""What clients offer to change collections by.

The bodies of methods that `fanlight.client` and `fanlight.aio` mix in.
"""

# ruff: noqa: ASYNC109  the timeout is the deadline that the request carries, as in `Client`

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fanlight.model import CollectionInfo
from fanlight.operations import Operations

if TYPE_CHECKING:
    from fanlight.driver import Driver
    from fanlight.transport import AsyncTransport


class ClientUpdates:
    """What a client offers to change collections by. Mixed into `Client`."""

    _operations: Operations
    _transport: Driver

    def update_collection(
        self,
        name: str,
        *,
        add_fields: Mapping[str, str] | None = None,
        drop_fields: Sequence[str] = (),
        ef_search: int | None = None,
        timeout: float | None = None,
    ) -> CollectionInfo:
        """Declare more filterable fields, drop declared ones, set the default of `ef_search`.

        When it returns, the change is on the disks of all shards. A new field is built in the
        background, and a filter on it is refused (`NotReady`) until `building_fields` of the
        collection does not list it any more. A dropped field is refused at once. Repeating
        a change that is made changes nothing.

        Args:
            name: of the collection.
            add_fields: fields to declare, each with its type, as in `create_collection`.
            drop_fields: fields to drop, before others are added: one that is in both gets
                another type. See docs/filters.md.
            ef_search: what searches keep from now on that do not say it; 0 for the servers'
                default, None to leave it. `Collection.tune` finds a good one.
            timeout: seconds; None for the client's own, or 30.

        Raises:
            NotFound: there is none of that name.
            InvalidRequest: a field is declared with another type, or cannot be.
            NotReady: a shard is missing; the error names it. If others have the change by then,
                that one gets it when it returns.
        """
        operation = self._operations.update_collection(
            name,
            add_fields=add_fields,
            drop_fields=drop_fields,
            ef_search=ef_search,
            timeout=timeout,
        )
        return self._transport.run(operation)


class AsyncClientUpdates:
    """What a client offers to change collections by. Mixed into `AsyncClient`."""

    _operations: Operations
    _transport: AsyncTransport

    async def update_collection(
        self,
        name: str,
        *,
        add_fields: Mapping[str, str] | None = None,
        drop_fields: Sequence[str] = (),
        ef_search: int | None = None,
        timeout: float | None = None,
    ) -> CollectionInfo:
        """Declare more filterable fields, drop declared ones, set the default of `ef_search`.

        When it returns, the change is on the disks of all shards. A new field is built in the
        background, and a filter on it is refused (`NotReady`) until `building_fields` of the
        collection does not list it any more. A dropped field is refused at once. Repeating
        a change that is made changes nothing.

        Args:
            name: of the collection.
            add_fields: fields to declare, each with its type, as in `create_collection`.
            drop_fields: fields to drop, before others are added: one that is in both gets
                another type. See docs/filters.md.
            ef_search: what searches keep from now on that do not say it; 0 for the servers'
                default, None to leave it. `Collection.tune` finds a good one.
            timeout: seconds; None for the client's own, or 30.

        Raises:
            NotFound: there is none of that name.
            InvalidRequest: a field is declared with another type, or cannot be.
            NotReady: a shard is missing; the error names it. If others have the change by then,
                that one gets it when it returns.
        """
        operation = self._operations.update_collection(
            name,
            add_fields=add_fields,
            drop_fields=drop_fields,
            ef_search=ef_search,
            timeout=timeout,
        )
        return await self._transport.run(operation)
