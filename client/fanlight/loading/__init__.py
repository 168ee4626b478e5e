"""Files of embeddings into a collection.

    source = loading.open_source(Path("movies.parquet"), Fields(payload=("title",)), 2_000)
    for batch in source.batches: ...

`formats` opens files, `hygiene` judges rows, `load` writes them, `quarantine` keeps what was not
written, `checkpoint` remembers how far a load came. docs/loading.md says what a user sees of it.
"""

from fanlight.loading.checkpoint import Checkpoint
from fanlight.loading.formats import FORMATS, open_source
from fanlight.loading.hygiene import Inspector, UsualLength
from fanlight.loading.load import Load, Tally, read_ahead
from fanlight.loading.quarantine import Quarantine
from fanlight.loading.rows import Batch, Fault, Fields, Kind, Source

__all__ = [
    "FORMATS",
    "Batch",
    "Checkpoint",
    "Fault",
    "Fields",
    "Inspector",
    "Kind",
    "Load",
    "Quarantine",
    "Source",
    "Tally",
    "UsualLength",
    "open_source",
    "read_ahead",
]
