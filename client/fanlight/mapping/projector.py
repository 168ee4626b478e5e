"""Files for the TensorFlow Embedding Projector: vectors and labels as tab-separated text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The projector reads no more of a label, and a longer one hides the map.
_CELL_CHARS = 120


def write_projector(
    folder: Path,
    name: str,
    vectors: NDArray[np.float32],
    ids: Sequence[Any],
    payloads: Sequence[Mapping[str, Any] | None],
) -> None:
    """Write vectors.tsv, metadata.tsv and projector_config.json.

    Load the first two at https://projector.tensorflow.org (nothing leaves the browser), or the
    folder in TensorBoard.

    Args:
        folder: is made if it is not there; files of these names are replaced.
        name: of the tensor.
        vectors: (n, dim).
        ids: n ids, the first column of the labels.
        payloads: n payloads; their keys are further columns.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "vectors.tsv").open("w", encoding="utf-8") as file:
        file.writelines("\t".join(f"{x:.6g}" for x in row) + "\n" for row in vectors.tolist())
    keys = sorted({key for payload in payloads for key in payload or {}})
    with (folder / "metadata.tsv").open("w", encoding="utf-8") as file:
        # A single column has no header, says the projector.
        if keys:
            file.write("\t".join(_cell(key) for key in ("id", *keys)) + "\n")
        for value, payload in zip(ids, payloads, strict=True):
            cells = [value, *((payload or {}).get(key, "") for key in keys)]
            file.write("\t".join(_cell(cell) for cell in cells) + "\n")
    config = {
        "embeddings": [
            {
                "tensorName": name,
                "tensorShape": list(vectors.shape),
                "tensorPath": "vectors.tsv",
                "metadataPath": "metadata.tsv",
            }
        ]
    }
    (folder / "projector_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return " ".join(text.split())[:_CELL_CHARS]
