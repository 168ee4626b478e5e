"""A shard server that is broken on purpose: of a new field it forgets the values of some items.

The positive control of `tests.faults.fields`. No program contains this switch.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from fanlight.fields import FieldValues
from fanlight.filters import FieldType
from fanlight.model import IdColumn, Rows
from fanlight_server import keeper
from fanlight_server.__main__ import main
from fanlight_server.field_reader import FieldReader


class ForgetfulReader(FieldReader):
    """Reads nothing of every seventh item."""

    def read(
        self, ids: IdColumn, seqs: Rows, filterable: Mapping[str, FieldType]
    ) -> list[FieldValues]:
        values = super().read(ids, seqs, filterable)
        values[::7] = [{} for _ in values[::7]]
        return values


if __name__ == "__main__":
    setattr(keeper, "FieldReader", ForgetfulReader)  # noqa: B010  no part of its interface
    sys.exit(main())
