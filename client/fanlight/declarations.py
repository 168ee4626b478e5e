"""The filterable fields of a collection as of some change of them, and how they change.

Laws: a declaration has all fields, so that one replaces another whole; of two of one collection
the higher version wins. A change that is made already changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fanlight.errors import AlreadyExists, InvalidRequest, NotFound
from fanlight.filter_rules import check_filterable
from fanlight.filters import FieldType, listed
from fanlight.limits import Limits
from fanlight.model import CollectionInfo


@dataclass(frozen=True, slots=True)
class Declaration:
    """All filterable fields of a collection.

    Attributes:
        filterable: their types, by name.
        version: of the collection.
        fields_version: grows with every change of the fields.
    """

    filterable: Mapping[str, FieldType]
    version: int
    fields_version: int

    def changed(
        self, add: Mapping[str, FieldType], drop: Iterable[str], limits: Limits
    ) -> Declaration:
        """Drop fields, then declare others; itself if that changes nothing.

        Args:
            add: fields to declare, with their types. One that is there stays as it is.
            drop: fields to drop. One that is not declared is no error, if it could be.
            limits: how many there may be.

        Raises:
            InvalidRequest: there is nothing to do, a field is declared with another type and not
                dropped, or it cannot be.
        """
        dropped = frozenset(drop)
        if not add and not dropped:
            raise InvalidRequest.of_field("add_fields", "fields to add or to drop", "none")
        fields = {name: type_ for name, type_ in self.filterable.items() if name not in dropped}
        for name, type_ in add.items():
            declared = fields.setdefault(name, type_)
            if declared is not type_:
                expected = f"{declared}, as it is declared, or that it is dropped as well"
                raise InvalidRequest.of_field(f"add_fields.{name}", expected, type_)
        check_filterable(fields, limits, "add_fields")
        check_filterable(dict.fromkeys(dropped, FieldType.KEYWORD), limits, "drop_fields")
        return self.replaced(fields)

    def replaced(self, filterable: Mapping[str, FieldType]) -> Declaration:
        """Declare these fields and no others; itself if that changes nothing."""
        if filterable == self.filterable:
            return self
        return Declaration(dict(filterable), self.version, self.fields_version + 1)

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
                f"the fields of collection {name!r} were changed by somebody else at the same "
                f"moment; they are now: {listed(present.filterable)}",
                field="add_fields",
            )


def declaration_of(info: CollectionInfo) -> Declaration:
    """Tell which fields of a collection are declared."""
    return Declaration(info.spec.filterable, info.version, info.fields_version)


def building_of(declared: Mapping[str, FieldType], parts: Iterable[CollectionInfo]) -> set[str]:
    """Name the declared fields that some part of a collection has not built, or not heard of."""
    return {
        name
        for info in parts
        for name, type_ in declared.items()
        if name in info.building_fields or info.spec.filterable.get(name) is not type_
    }
