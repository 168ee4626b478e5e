"""Ids that a command was given, as arguments or in a file, read as the collection's ids are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

import fanlight
from fanlight.errors import InvalidRequest
from fanlight.ids import joined, to_column
from fanlight.model import IdColumn, IdType

IDS_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class IdInput:
    """Reads ids for one collection."""

    def __init__(self, collection: fanlight.Collection) -> None:
        """Ask the collection for the type of its ids."""
        self._are_strings = collection.info(min_coverage=0).spec.id_type is IdType.STRING

    def of_texts(self, texts: Sequence[str], option: str) -> IdColumn:
        """Read ids.

        Raises:
            InvalidRequest: names the option, and the first text that is no id.
        """
        if self._are_strings:
            return to_column(texts, option)
        ids = list[int]()
        for text in texts:
            try:
                ids.append(int(text))
            except ValueError:
                expected = "an integer (this collection's ids)"
                raise InvalidRequest.of_field(option, expected, repr(text)) from None
        return to_column(ids, option)

    def of_text(self, text: str, option: str) -> int | str:
        """Read one id; errors as `of_texts`."""
        id_: int | str = self.of_texts([text], option).tolist()[0]
        return id_

    def of_file(self, path: Path, option: str) -> IdColumn:
        """Read a .npy of ids, or a text with one id a line.

        Raises:
            InvalidRequest: names the option; the file cannot be read, or has other ids.
        """
        try:
            if path.suffix.lower() == ".npy":
                return to_column(np.load(path, allow_pickle=False), option)
            lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, EOFError, ValueError) as error:
            if isinstance(error, InvalidRequest):
                raise
            expected = "a .npy of ids, or UTF-8 text with one a line"
            raise InvalidRequest.of_field(option, expected, str(path)) from None
        lines = [line.removesuffix("\r") for line in lines]
        return self.of_texts(lines[:-1] if lines[-1] == "" else lines, option)

    def of_both(self, texts: Sequence[str], path: Path | None) -> IdColumn:
        """Read ids given as arguments and ids of `--from`.

        Raises:
            InvalidRequest: there are none, or as above.
        """
        columns = [self.of_texts(texts, "ids")] if texts else []
        columns += [] if path is None else [self.of_file(path, "from")]
        if not columns:
            raise InvalidRequest.of_field("ids", "some, as arguments or with --from", "none")
        return joined(columns)
