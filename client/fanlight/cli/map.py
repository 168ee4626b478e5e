"""`fanlight map`: a collection as a picture."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

import fanlight
from fanlight.cli.session import address_option, connect
from fanlight.cli.show import out
from fanlight.errors import InvalidRequest
from fanlight.mapping import METHODS, project, write_projector
from fanlight.model import Metric

_LABELS_SHOWN = 60


@click.command("map")
@address_option
@click.argument("name", metavar="COLLECTION")
@click.argument("picture", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--method", type=click.Choice(list(METHODS)), default="pca", show_default=True)
@click.option("--colour-by", metavar="FIELD", help="Colour by this field of the payloads.")
@click.option("--label", metavar="FIELD", help=f"Write this field beside {_LABELS_SHOWN} items.")
@click.option(
    "--sample",
    type=click.IntRange(3),
    default=5_000,
    show_default=True,
    help="Items to draw, spread over the collection.",
)
@click.option(
    "--projector",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the files of TensorFlow's Embedding Projector there.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the sample and the map.")
def draw_map(
    name: str,
    picture: Path | None,
    method: str,
    colour_by: str | None,
    label: str | None,
    sample: int,
    projector: Path | None,
    seed: int,
) -> None:
    """Draw a collection as a map of two dimensions.

    PICTURE is a .png or .svg. PCA is always there; t-SNE and UMAP, which keep neighbours together,
    need `pip install 'fanlight[tsne]'` or `'fanlight[umap]'`.

    \b
    Examples:
      fanlight map movies movies.png --colour-by genre
      fanlight map movies movies.png --method tsne --label title --sample 2000
      fanlight map movies --projector movies-projector
    """
    if picture is None and projector is None:
        raise click.UsageError("Give a PICTURE, --projector, or both.")
    if picture is not None:
        _check_drawing()
    with connect() as client:
        collection = client.collection(name)
        metric = collection.info().spec.metric
        ids, vectors, payloads = _sample(collection, sample, np.random.default_rng(seed))
    if projector is not None:
        write_projector(projector, name, vectors, ids, payloads)
        out.print(f"{projector}: {len(ids):,} items for the Embedding Projector", soft_wrap=True)
    if picture is not None:
        from fanlight.mapping.picture import draw

        places = project(vectors, method, cosine=metric is Metric.COSINE, seed=seed)
        draw(
            picture,
            places,
            title=f"{name}: {len(ids):,} items, {method}",
            groups=None if colour_by is None else _field(payloads, colour_by),
            labels=[] if label is None else _labels(_field(payloads, label), seed),
        )
        out.print(f"{picture}: {len(ids):,} items", soft_wrap=True)


def _check_drawing() -> None:
    try:
        import matplotlib as _  # noqa: F401
    except ModuleNotFoundError:
        expected = "matplotlib, from pip install 'fanlight[plots]'"
        raise InvalidRequest.of_field("picture", expected, "none") from None


def _sample(
    collection: fanlight.Collection, wanted: int, rng: np.random.Generator
) -> tuple[list[Any], NDArray[np.float32], list[dict[str, Any] | None]]:
    """Read a sample of items: ids first, since those of all items are small."""
    pages = collection.scroll(page_size=10_000, with_vectors=False, with_payloads=False)
    ids = [value for page in pages for value in page.ids.tolist()]
    if len(ids) < 3:
        raise InvalidRequest.of_field("collection", "at least 3 items", str(len(ids)))
    chosen = np.sort(rng.permutation(len(ids))[:wanted]).tolist()
    items = collection.get([ids[row] for row in chosen])
    assert items.vectors is not None
    assert items.payloads is not None
    return items.ids.tolist(), items.vectors, items.payloads


def _field(payloads: list[dict[str, Any] | None], name: str) -> list[Any]:
    """Take a field of each payload; the first of a list."""
    values = [(payload or {}).get(name) for payload in payloads]
    if all(value is None for value in values):
        known = Counter(key for payload in payloads for key in payload or {})
        raise InvalidRequest.of_field("field", f"one of {', '.join(sorted(known))}", repr(name))
    return [value[0] if isinstance(value, list) and value else value for value in values]


def _labels(values: list[Any], seed: int) -> list[str | None]:
    chosen = set(np.random.default_rng(seed).permutation(len(values))[:_LABELS_SHOWN].tolist())
    return [str(value) if row in chosen else None for row, value in enumerate(values)]
