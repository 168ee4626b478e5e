"""Fanlight's native search kernel: exact scans and HNSW walks over arrays that stay where they are.

Nothing here is ever written to after construction, so every object is safe for many threads at
once; searches run without the GIL.
"""

from fanlight_kernel._native import (
    CODE_EXTRA,
    Builder,
    CellBuilder,
    Graph,
    IdTable,
    Parts,
    Rows,
    StringIdTable,
    code_bytes,
    encode,
    lengths,
    simd,
    simd_levels,
    split_by_shard,
    split_strings_by_shard,
    start_threads,
    use_simd,
)
from fanlight_kernel.found import Found

__all__ = [
    "CODE_EXTRA",
    "Builder",
    "CellBuilder",
    "Found",
    "Graph",
    "IdTable",
    "Parts",
    "Rows",
    "StringIdTable",
    "code_bytes",
    "encode",
    "lengths",
    "simd",
    "simd_levels",
    "split_by_shard",
    "split_strings_by_shard",
    "start_threads",
    "use_simd",
]
