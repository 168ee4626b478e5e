"""What can change of a collection, as of some change: its filterable fields and its `ef_search`.

Laws: a declaration has all of it, so that one replaces another whole; of two of one collection
the higher version wins. A change that is made already changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fanlight.errors import AlreadyExists, InvalidRequest, NotFound
from fanlight.filter_rules import check_filterable
from fanlight.filters import FieldType, listed
from fanlight.model import CollectionInfo
from fanlight.validation import check_range

if TYPE_CHECKING:  # the SDK, which reads no configuration, checks here too
    from fanlight.limits import Limits


@dataclass(frozen=True, slots=True)
class Declaration:
    """All that can change of a collection.

    Attributes:
        filterable: their types, by name.
        version: of the collection.
        fields_version: grows with every change.
        ef_search: what searches keep that do not say it; None for the servers' default.
    """

    filterable: Mapping[str, FieldType]
    version: int
    fields_version: int
    ef_search: int | None = None

    def changed(
        self,
        add: Mapping[str, FieldType],
        drop: Iterable[str],
        limits: Limits,
        ef_search: int | None = None,
    ) -> Declaration:
        """Drop fields, then declare others; itself if that changes nothing.

        Args:
            add: fields to declare, with their types. One that is there stays as it is.
            drop: fields to drop. One that is not declared is no error, if it could be.
            limits: how many there may be, and how large `ef_search`.
            ef_search: the new default; 0 for the servers', None to leave it as it is.

        Raises:
            InvalidRequest: there is nothing to do, `ef_search` is too large, a field is declared with another type and not
                dropped, or it cannot be.
        """
        dropped = frozenset(drop)
        if not add and not dropped and ef_search is None:
            expected = "fields to add or to drop, or ef_search"
            raise InvalidRequest.of_field("add_fields", expected, "none")
        if ef_search is not None:
            check_range("ef_search", ef_search, 0, limits.ef_search)
        fields = {name: type_ for name, type_ in self.filterable.items() if name not in dropped}
        for name, type_ in add.items():
            declared = fields.setdefault(name, type_)
            if declared is not type_:
                expected = f"{declared}, as it is declared, or that it is dropped as well"
                raise InvalidRequest.of_field(f"add_fields.{name}", expected, type_)
        check_filterable(fields, limits, "add_fields")
        check_filterable(dict.fromkeys(dropped, FieldType.KEYWORD), limits, "drop_fields")
        return self.replaced(fields, self.ef_search if ef_search is None else ef_search or None)

    def replaced(self, filterable: Mapping[str, FieldType], ef_search: int | None) -> Declaration:
        """Declare these fields and no others, and this default; itself if that changes nothing."""
        if filterable == self.filterable and ef_search == self.ef_search:
            return self
        return Declaration(dict(filterable), self.version, self.fields_version + 1, ef_search)

    def check(self, limits: Limits) -> None:
        """Refuse what no collection can have.

        Raises:
            InvalidRequest: names the part.
        """
        check_filterable(self.filterable, limits, "declaration.filterable")
        if self.ef_search is not None:
            check_range("declaration.ef_search", self.ef_search, 1, limits.ef_search)

    def check_follows(self, present: Declaration, name: str) -> None:
        """Refuse a declaration that may not take the place of the present one.

        Args:
            present: what holds now.
            name: of the collection.

        Raises:
            NotFound: it is that of another collection of this name.
            AlreadyExists: there is another one of this or a higher version.
        """
        if self.version != present.version:
            raise NotFound(f"name: there is no {name!r} of version {self.version}", field="name")
        newer = self.fields_version > present.fields_version
        if not newer and self != present:
            raise AlreadyExists(
                f"collection {name!r} was changed by somebody else at the same moment; its fields "
                f"are now: {listed(present.filterable)}",
                field="add_fields",
            )


def declaration_of(info: CollectionInfo) -> Declaration:
    """Tell what is declared of a collection."""
    spec = info.spec
    return Declaration(spec.filterable, info.version, info.fields_version, spec.ef_search)


def building_of(declared: Mapping[str, FieldType], parts: Iterable[CollectionInfo]) -> set[str]:
    """Name the declared fields that some part of a collection has not built, or not heard of."""
    return {
        name
        for info in parts
        for name, type_ in declared.items()
        if name in info.building_fields or info.spec.filterable.get(name) is not type_
    }


def united(parts: Sequence[CollectionInfo]) -> CollectionInfo:
    """Add up the parts of a collection; those of older versions are about to be replaced."""
    newest = max(parts, key=lambda info: (info.version, info.fields_version))
    same = [info for info in parts if info.version == newest.version]
    return replace(
        newest,
        items=sum(info.items for info in same),
        unindexed_items=sum(info.unindexed_items for info in same),
        segments=sum(info.segments for info in same),
        restoring=any(info.restoring for info in same),
        building_fields=tuple(sorted(building_of(newest.spec.filterable, same))),
    )
