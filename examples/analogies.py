"""Analogies by vector arithmetic: king - man + woman, over GloVe words.

    fanlight up &
    python examples/analogies.py [FOLDER] [HOST:PORT]

FOLDER holds vectors.npy, words.txt and analogies.jsonl; without it, it is glove_6b_50d_10k in the
folder that FANLIGHT_DATA names. Each line of analogies.jsonl says what the exact nearest word is,
which the answers are held to.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fanlight

# Queries of one call.
_BATCH = 256


def main(address: str, data: Path) -> int:
    """Load the words, answer all analogies, and tell how many are as they should be."""
    words = (data / "words.txt").read_text(encoding="utf-8").splitlines()
    vectors = np.load(data / "vectors.npy")
    with (data / "analogies.jsonl").open(encoding="utf-8") as lines:
        analogies = [json.loads(line) for line in lines]
    with fanlight.Client(address) as client:
        glove = client.create_collection("analogies-glove", dim=vectors.shape[1], id_type="string")
        glove.upsert(words, vectors)
        try:
            return _report(analogies, answers(glove, analogies))
        finally:
            client.delete_collection(glove.name)


def answers(glove: fanlight.Collection, analogies: Sequence[dict[str, Any]]) -> list[str]:
    """Answer "a is to b as c is to ...": the nearest word to b - a + c, besides these three."""
    found: list[str] = []
    for start in range(0, len(analogies), _BATCH):
        queries = [
            fanlight.combine({line["b"]: 1, line["a"]: -1, line["c"]: 1})
            for line in analogies[start : start + _BATCH]
        ]
        found += glove.search(queries, k=1, exact=True).ids[:, 0].tolist()
    return found


def _report(analogies: Sequence[dict[str, Any]], found: Sequence[str]) -> int:
    pairs = list(zip(analogies, found, strict=True))
    for line, word in pairs[:5]:
        print(f"{line['a']} : {line['b']} = {line['c']} : {word}")
    exact = sum(word == line["exact_top1"] for line, word in pairs)
    meant = sum(word == line["expected"] for line, word in pairs)
    print(f"{exact:,} of {len(pairs):,} are the exact nearest word, {meant:,} the one meant")
    return 0 if exact == len(pairs) else 1


if __name__ == "__main__":
    if len(sys.argv) < 2 and "FANLIGHT_DATA" not in os.environ:
        sys.exit("name a folder, or set FANLIGHT_DATA to the one that holds glove_6b_50d_10k")
    default = Path(os.environ.get("FANLIGHT_DATA", "")) / "glove_6b_50d_10k"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    sys.exit(main(sys.argv[2] if len(sys.argv) > 2 else "localhost:7700", folder))
