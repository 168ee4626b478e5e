"""`fanlight load`: embeddings from a file into a collection."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import click

import fanlight
from fanlight.cli.bars import rows_progress
from fanlight.cli.collection import METRICS
from fanlight.cli.loaders import open_source
from fanlight.cli.rows import Batch, Fields, Source
from fanlight.cli.session import address_option, connect
from fanlight.cli.show import out, show_error
from fanlight.errors import InvalidRequest, RowError
from fanlight.ids import id_type_of, to_column
from fanlight.model import DEFAULT_EF_CONSTRUCTION, DEFAULT_M, Metric

_REFUSED_SHOWN = 10
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(slots=True)
class Tally:
    """What became of the rows so far.

    Attributes:
        written: rows now stored.
        superseded: rows left out because a later row of their batch has the same id.
        refused: rows refused, by their numbers in the file.
    """

    written: int
    superseded: int
    refused: list[RowError]


@click.command()
@address_option
@click.argument("name", metavar="COLLECTION")
@click.argument("file", type=_FILE)
@click.option("--id-field", help='Field or array of the ids. Default: "id" or "ids".')
@click.option(
    "--ids-from", type=_FILE, help="Ids beside a .npy or .npz: a .npy, or text, one id a line."
)
@click.option("--vector-field", help='Default: "vector(s)" or "embedding(s)".')
@click.option(
    "--payload-field",
    "payload_fields",
    multiple=True,
    help='Put this field into the payload; repeatable. Default: the object in "payload".',
)
@click.option("--create", is_flag=True, help="Create the collection if it is not there.")
@click.option("--metric", type=METRICS, default=Metric.COSINE.value, help="With --create.")
@click.option("--m", type=int, default=DEFAULT_M, help="With --create.")
@click.option("--ef-construction", type=int, default=DEFAULT_EF_CONSTRUCTION, help="With --create.")
@click.option(
    "--batch",
    "batch_rows",
    type=click.IntRange(1, 65_536),
    default=2_000,
    show_default=True,
    help="Rows read and sent at once.",
)
def load(
    name: str,
    file: Path,
    id_field: str | None,
    ids_from: Path | None,
    vector_field: str | None,
    payload_fields: tuple[str, ...],
    create: bool,
    metric: str,
    m: int,
    ef_construction: int,
    batch_rows: int,
) -> None:
    """Load a file of embeddings into a collection.

    FILE is a .npy (a matrix), .npz (named arrays), .parquet (a column of lists of numbers) or
    .jsonl ({"id": ..., "vector": [...], "payload": {...}} on each line). Without ids, the row
    number is the id. Items that exist are replaced, so a load that broke off can be repeated.
    Exit status 1: some rows were refused; the others are stored.

    \b
    Examples:
      fanlight load movies movies.parquet --create --payload-field title --payload-field year
      fanlight load movies vectors.npy --ids-from ids.txt --create --metric dot
    """
    fields = Fields(id=id_field, vector=vector_field, payload=payload_fields, ids_from=ids_from)
    source = open_source(file, fields, batch_rows)
    with connect() as client:
        if create:
            first, source = _peek(source)
            client.create_collection(
                name,
                dim=first.vectors.shape[1],
                metric=metric,
                id_type=id_type_of(to_column(first.ids)).value,
                m=m,
                ef_construction=ef_construction,
            )
        tally = load_all(client.collection(name), source, file.name)
    _report(tally, name)


def _peek(source: Source) -> tuple[Batch, Source]:
    """Read ahead to the first batch that has rows."""
    read: list[Batch] = []
    for batch in source.batches:
        read.append(batch)
        if len(batch.rows):
            return batch, Source(source.total, chain(read, source.batches))
    raise InvalidRequest.of_field("file", "at least one good row", f"{source.total} rows")


def load_all(collection: fanlight.Collection, source: Source, title: str) -> Tally:
    """Write all rows of a source, with a progress bar where stderr is a terminal."""
    tally = Tally(0, 0, [])
    with rows_progress() as progress:
        task = progress.add_task(title, total=source.total)
        for batch in source.batches:
            tally.refused += batch.faults
            if len(batch.rows):
                _write(collection, batch, tally)
            progress.advance(task, batch.seen)
    return tally


def _write(collection: fanlight.Collection, batch: Batch, tally: Tally) -> None:
    result = collection.upsert(
        batch.ids, batch.vectors, batch.payloads, errors="return", progress=False
    )
    tally.written += result.written
    tally.superseded += len(result.superseded_rows)
    tally.refused += [RowError(int(batch.rows[e.row]), e.error) for e in result.errors]


def _report(tally: Tally, name: str) -> None:
    again = f" ({tally.superseded:,} replaced by a later row)" if tally.superseded else ""
    out.print(f"{name}: {tally.written:,} rows written{again}, {len(tally.refused):,} refused.")
    for refused in tally.refused[:_REFUSED_SHOWN]:
        show_error(f"row {refused.row}: {refused.error}")
    if len(tally.refused) > _REFUSED_SHOWN:
        show_error(f"... and {len(tally.refused) - _REFUSED_SHOWN:,} more")
    if tally.refused:
        sys.exit(1)
