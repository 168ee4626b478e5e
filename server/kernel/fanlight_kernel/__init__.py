"""Fanlight's native search kernel: exact scans and HNSW walks over arrays that stay where they are.

Nothing here is ever written to after construction, so every object is safe for many threads at
once; searches run without the GIL.
"""

from fanlight_kernel._native import (
    CODE_EXTRA,
    Builder,
    CellBuilder,
    Graph,
    Parts,
    Rows,
    code_bytes,
    encode,
    kept_rows,
    kept_rows_by_steps,
    lengths,
    simd,
    simd_levels,
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
    "Parts",
    "Rows",
    "code_bytes",
    "encode",
    "kept_rows",
    "kept_rows_by_steps",
    "lengths",
    "simd",
    "simd_levels",
    "start_threads",
    "use_simd",
]
