"""Load the same words from three formats, and see that they answer alike.

    fanlight up &
    python examples/glove_files.py FOLDER [HOST:PORT]

FOLDER holds glove.6B.50d.10k.txt (GloVe text), .w2v.bin (word2vec binary), glove.6B.50d.2k.w2v.txt
(word2vec text, the first 2,000 words), and vectors.npy (what they hold).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import fanlight
from fanlight.loading import Fields, open_source

FILES = {
    "glove-text": "glove.6B.50d.10k.txt",
    "word2vec-binary": "glove.6B.50d.10k.w2v.bin",
    "word2vec-text": "glove.6B.50d.2k.w2v.txt",
}
COMMON = 2_000
QUERIES = ("king", "paris", "computer", "music")


def main() -> None:
    """Load each file into a collection of its own and compare vectors and answers."""
    folder = Path(sys.argv[1])
    truth = np.load(folder / "vectors.npy")
    with fanlight.Client(sys.argv[2] if len(sys.argv) > 2 else "localhost:7700") as client:
        answers = {name: load(client, name, folder / file, truth) for name, file in FILES.items()}
    first = answers["glove-text"]
    same = [np.array_equal(first, answer) for answer in answers.values()]
    print("the same answers from all files:", all(same))
    for word, near in zip(QUERIES, first.tolist(), strict=True):
        print(f"{word}: {', '.join(near[1:])}")


def load(
    client: fanlight.Client, name: str, path: Path, truth: NDArray[np.float32]
) -> NDArray[np.object_]:
    """Load the first 2,000 words and give the exact five nearest of each query word."""
    words = client.create_collection(name, dim=truth.shape[1], id_type="string")
    ids: list[str] = []
    for batch in open_source(path, Fields(), COMMON).batches:
        np.testing.assert_array_equal(batch.vectors, truth[batch.rows])
        ids += batch.ids
        if batch.rows[0] < COMMON:
            words.upsert(batch.ids, batch.vectors)
    print(f"{name}: {len(ids):,} words, every vector as in vectors.npy")
    queries = truth[[ids.index(word) for word in QUERIES]]
    found = words.search(queries, k=6, exact=True).ids
    client.delete_collection(name)
    return np.asarray(found, dtype=np.object_)


if __name__ == "__main__":
    main()
