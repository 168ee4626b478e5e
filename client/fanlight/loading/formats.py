"""Files of embeddings as batches of rows, whatever their format.

Laws: a file is read in batches, and never whole where its format allows it (.npy and Arrow are
mapped, Parquet and lines are streamed, an array of an .npz is read whole). No pickle is ever
loaded. A row that cannot be read is reported by its number and takes no other with it; whether
the others are good vectors and ids is for `hygiene` and the server to judge.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa

from fanlight.errors import InvalidRequest
from fanlight.loading.arrays import open_npy, open_npz, open_safetensors
from fanlight.loading.delimited import open_delimited
from fanlight.loading.json_lines import open_json_lines
from fanlight.loading.rows import Batch, Fields, Source
from fanlight.loading.tables import open_arrow, open_parquet
from fanlight.loading.word_vectors import open_binary, open_text

Opener: TypeAlias = Callable[[Path, Fields, int], Source]

FORMATS: Mapping[str, Opener] = {
    "npy": open_npy,
    "npz": open_npz,
    "safetensors": open_safetensors,
    "parquet": open_parquet,
    "arrow": open_arrow,
    "jsonl": open_json_lines,
    "csv": open_delimited,
    "word-text": open_text,
    "word2vec-binary": open_binary,
}
_FORMAT_OF = {
    **{f".{name}": name for name in ("npy", "npz", "safetensors", "parquet", "arrow", "csv")},
    **{".jsonl": "jsonl", ".ndjson": "jsonl", ".feather": "arrow", ".tsv": "csv"},
    **{".txt": "word-text", ".vec": "word-text", ".bin": "word2vec-binary"},
}
_BROKEN = (OSError, EOFError, ValueError, zipfile.BadZipFile, pa.ArrowException)


def open_source(path: Path, fields: Fields, batch_rows: int, kind: str | None = None) -> Source:
    """Open a file.

    Args:
        path: the file.
        fields: where its columns stand.
        batch_rows: rows a batch, at most.
        kind: one of `FORMATS`; None to tell from the suffix (lines may also end in .gz).

    Raises:
        InvalidRequest: the format is unknown, the file is damaged, or a field is not there.
            Damage further on is raised while the batches are read.
    """
    name = kind or _FORMAT_OF.get(_suffix(path))
    opener = FORMATS.get(name or "")
    if opener is None:
        expected = f"{' or '.join(_FORMAT_OF)}, or --format"
        raise InvalidRequest.of_field("file", expected, path.name)
    try:
        source = opener(path, fields, batch_rows)
    except InvalidRequest:
        raise
    except _BROKEN:
        raise InvalidRequest.of_field("file", f"a readable {name}", str(path)) from None
    return Source(source.total, _guarded(source.batches, path, name or ""))


def _suffix(path: Path) -> str:
    inner = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return inner.suffix.lower()


def _guarded(batches: Iterator[Batch], path: Path, name: str) -> Iterator[Batch]:
    try:
        yield from batches
    except InvalidRequest:
        raise
    except _BROKEN:
        expected = f"a readable {name}"
        raise InvalidRequest.of_field("file", expected, f"{path}, damaged further on") from None
