"""`fanlight load`: embeddings from a file into a collection."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

import fanlight
from fanlight.cli.collection import METRICS
from fanlight.cli.session import address_option, connect
from fanlight.cli.show import err, out, show_error, show_json, show_note
from fanlight.errors import InvalidRequest
from fanlight.ids import id_type_of, to_column
from fanlight.loading import (
    FORMATS,
    Batch,
    Checkpoint,
    Fields,
    Inspector,
    Kind,
    Load,
    Quarantine,
    Source,
    Tally,
    UsualLength,
    open_source,
    read_ahead,
)
from fanlight.loading.hygiene import OUTLIER_FACTOR
from fanlight.model import DEFAULT_EF_CONSTRUCTION, DEFAULT_M, Metric

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OUTPUT = click.Path(dir_okay=False, path_type=Path)
_KEPT = click.Choice([Kind.OUTLIER.value, Kind.DUPLICATE.value])
_FILTERABLE_HELP = "NAME=TYPE of a payload field to filter by, with --create; repeatable."


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command was told; the options say what each is."""

    name: str
    file: Path
    kind: str | None
    id_field: str | None
    ids_from: Path | None
    vector_field: str | None
    payload_fields: tuple[str, ...]
    create: bool
    metric: str
    m: int
    ef_construction: int
    filterable: tuple[str, ...]
    batch_rows: int
    keep: tuple[str, ...]
    outlier_factor: float
    quarantine: Path | None
    resume: bool
    strict: bool
    as_json: bool

    @property
    def fields(self) -> Fields:
        """Tell where the columns stand."""
        return Fields(
            id=self.id_field,
            vector=self.vector_field,
            payload=self.payload_fields,
            ids_from=self.ids_from,
        )

    @property
    def quarantine_path(self) -> Path:
        """Tell where rows that are not loaded go."""
        return self.quarantine or self.file.with_name(f"{self.file.name}.quarantine.jsonl")

    @property
    def checkpoint(self) -> Checkpoint:
        """Tell where it is kept how far the load came."""
        beside = self.quarantine_path
        path = beside.with_name(f"{self.file.name}.{self.name}.progress.json")
        return Checkpoint(path, self.file, self.name)


@click.command()
@address_option
@click.argument("name", metavar="COLLECTION")
@click.argument("file", type=_FILE)
@click.option("--format", "kind", type=click.Choice(list(FORMATS)), help="Default: by the suffix.")
@click.option("--id-field", help='Field or array of the ids. Default: "id" or "ids".')
@click.option("--ids-from", type=_FILE, help="Ids beside a matrix: a .npy, or text, one id a line.")
@click.option(
    "--vector-field", help='Field, array or tensor. Default: "vector(s)" or "embedding(s)".'
)
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
@click.option("--filterable", multiple=True, metavar="NAME=TYPE", help=_FILTERABLE_HELP)
@click.option(
    "--batch",
    "batch_rows",
    type=click.IntRange(1, 65_536),
    default=2_000,
    show_default=True,
    help="Rows read and sent at once.",
)
@click.option("--keep", type=_KEPT, multiple=True, help="Load such rows all the same; repeatable.")
@click.option(
    "--outlier-factor",
    type=click.FloatRange(1.0, min_open=True),
    default=OUTLIER_FACTOR,
    show_default=True,
    help="A vector so many times longer or shorter than the median is an outlier.",
)
@click.option(
    "--quarantine",
    type=_OUTPUT,
    help="For rows that are not loaded. Default: FILE.quarantine.jsonl, beside FILE.",
)
@click.option("--resume", is_flag=True, help="Go on where an earlier load of FILE broke off.")
@click.option("--strict", is_flag=True, help="Exit with status 1 when a row was not loaded.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def load(**given: Any) -> None:
    """Load a file of embeddings into a collection.

    FILE is a .npy (a matrix), .npz (named arrays), .safetensors (a tensor), .parquet, .arrow or
    .feather (a column of lists of numbers), .csv or .tsv (such a column, or one column a number),
    .jsonl ({"id": ..., "vector": [...], "payload": {...}} on each line), or word vectors: .txt or
    .vec (GloVe, word2vec, fastText), .bin (word2vec). Lines may be gzipped. Without ids, the row
    number is the id.

    Rows that are no good embeddings (unreadable, of another dimension, not finite, zero, of an
    unusual length, there before) go to the quarantine, each with its reason; the others are
    loaded. Items that exist are replaced.

    \b
    Examples:
      fanlight load movies movies.parquet --create --payload-field title --payload-field year
      fanlight load movies vectors.npy --ids-from ids.txt --create --metric dot
      fanlight load words glove.6B.50d.txt --create
      fanlight load items model.safetensors --vector-field item_embedding.weight --resume
    """
    options = Options(**given)
    source = open_source(options.file, options.fields, options.batch_rows, options.kind)
    sample, source = read_ahead(source)
    with connect() as client:
        if options.create:
            _create(client, options, sample)
        collection = client.collection(options.name)
        tally = _run(collection, options, sample, source)
    _report(tally, options)


def _create(client: fanlight.Client, options: Options, sample: list[Batch]) -> None:
    first = next((batch for batch in sample if len(batch.rows)), None)
    if first is None:
        got = f"{sum(batch.seen for batch in sample)} rows, none of them readable"
        raise InvalidRequest.of_field("file", "at least one good row", got)
    client.create_collection(
        options.name,
        dim=first.vectors.shape[1],
        metric=options.metric,
        id_type=id_type_of(to_column(first.ids)).value,
        m=options.m,
        ef_construction=options.ef_construction,
        filterable=dict(_pair(text) for text in options.filterable),
    )


def _pair(text: str) -> tuple[str, str]:
    name, equals, kind = text.rpartition("=")
    if not equals:
        raise InvalidRequest.of_field("filterable", "NAME=TYPE", repr(text))
    return name, kind


def _run(
    collection: fanlight.Collection, options: Options, sample: list[Batch], source: Source
) -> Tally:
    spec = collection.info().spec
    dim = next((batch.vectors.shape[1] for batch in sample if len(batch.rows)), spec.dim)
    if dim != spec.dim:
        raise InvalidRequest.of_field("file", f"vectors of {spec.dim} dimensions", str(dim))
    done = _rows_done(options)
    inspector = Inspector(
        spec.metric,
        UsualLength.of((batch.vectors for batch in sample), options.outlier_factor),
        frozenset(Kind(value) for value in options.keep),
    )
    quarantine = Quarantine(options.quarantine_path, done)
    loading = Load(collection, inspector, quarantine, options.checkpoint, done)
    with _progress() as progress:
        task = progress.add_task(options.file.name, total=source.total, rate=0, refused=0)
        return loading.run(source, lambda tally: _advance(progress, task, tally))


def _rows_done(options: Options) -> int:
    done = options.checkpoint.rows_done()
    if done and not options.resume:
        show_note(f"An earlier load broke off after {done:,} rows; --resume goes on there.")
        return 0
    return done


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows, {task.fields[rate]:,.0f}/s, {task.fields[refused]:,} refused"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=err,
        disable=not err.is_terminal,
    )


def _advance(progress: Progress, task: Any, tally: Tally) -> None:
    rate = (tally.seen - tally.skipped) / max(tally.seconds, 1e-9)
    progress.update(task, completed=tally.seen, rate=rate, refused=tally.quarantined)


# --- the report -------------------------------------------------------------------------------

_FOUND = {
    Kind.UNREADABLE: "unreadable",
    Kind.DIMENSION: "of another dimension",
    Kind.NON_FINITE: "with NaN or infinity",
    Kind.ZERO: "zero",
    Kind.OUTLIER: "of an unusual length",
    Kind.DUPLICATE: "with the vector of an earlier row",
    Kind.REFUSED: "refused by the collection",
}


def _report(tally: Tally, options: Options) -> None:
    if options.as_json:
        show_json(_as_json(tally, options))
    else:
        _print(tally, options)
    if tally.quarantined and options.strict:
        sys.exit(1)


def _print(tally: Tally, options: Options) -> None:
    again = f" ({tally.superseded:,} replaced by a later row)" if tally.superseded else ""
    before = f", {tally.skipped:,} loaded before" if tally.skipped else ""
    out.print(
        f"{options.name}: {tally.written:,} rows written{again}, {tally.quarantined:,} refused"
        f"{before}, in {tally.seconds:.1f} s."
    )
    for kind, text in _FOUND.items():
        if count := tally.counts[kind]:
            kept = " (loaded all the same)" if kind.value in options.keep else ""
            out.print(f"  {count:,} {text}{kept}")
    for fault in tally.faults:
        show_error(f"row {fault.row}: {fault.error}")
    if tally.quarantined > len(tally.faults):
        show_error(f"... and {tally.quarantined - len(tally.faults):,} more")
    if tally.quarantined:
        show_note(f"The rows that were not loaded are in {options.quarantine_path}")


def _as_json(tally: Tally, options: Options) -> dict[str, Any]:
    return {
        "collection": options.name,
        "rows": tally.seen,
        "written": tally.written,
        "superseded": tally.superseded,
        "skipped": tally.skipped,
        "refused": tally.quarantined,
        "found": {kind.value: tally.counts[kind] for kind in Kind},
        "kept": list(options.keep),
        "quarantine": str(options.quarantine_path) if tally.quarantined else None,
        "seconds": round(tally.seconds, 3),
    }
