from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fanlight_kernel.found import Found

_Metric: TypeAlias = Literal["cosine", "dot", "l2"]
_Floats: TypeAlias = NDArray[np.float32]
_Doubles: TypeAlias = NDArray[np.float64]
_Numbers: TypeAlias = NDArray[np.int64]
_Bytes: TypeAlias = NDArray[np.uint8]
_Words: TypeAlias = NDArray[np.uint32]

CODE_EXTRA: int
"""Bytes of a code record that are no codes, without padding."""

def simd() -> str:
    """Name the instruction set in use: "avx512", "avx2", "neon" or "baseline"."""

def simd_levels() -> list[str]:
    """Name the instruction sets that the machine has, best first."""

def use_simd(level: str) -> None:
    """Use another instruction set from now on, in all threads.

    For tests and measurements; the environment variable FANLIGHT_KERNEL_SIMD does the same at
    import. Scores and the keys of codes are the same to the last bit on every level.

    Raises:
        ValueError: the machine does not have it.
    """

def start_threads(count: int) -> None:
    """Start threads that help searches, which inherit the priority of the calling one (Linux).

    Without it they are started by the first search that wants them.

    Args:
        count: threads that there are then at least, 0 to 256; a search with t threads has t - 1
            helpers.

    Raises:
        ValueError: it is out of range.
    """

def code_bytes(dim: int) -> int:
    """Tell the bytes of one code record for vectors of `dim` elements, 1 to 65,536."""

def encode(metric: _Metric, vectors: _Floats, lengths: _Doubles) -> _Bytes:
    """Encode vectors as 8-bit codes, one record a row (src/codes.h describes it).

    Args:
        metric: what the codes will be compared by.
        vectors: (n, dim) float32, as they were put.
        lengths: (n,) float64, their Euclidean lengths.

    Returns:
        (n, code_bytes(dim)) uint8.

    Raises:
        ValueError: a vector or a length is not finite, or a shape is wrong.
        TypeError: an array is of another type.
    """

def lengths(vectors: _Floats) -> _Doubles:
    """Compute Euclidean lengths in float64: (n, dim) float32 to (n,)."""

class Rows:
    """n vectors that can be scored: a head, or what a graph stands on.

    Keeps references to the arrays, which must not change, and copies none of them. Safe for many
    threads at once.
    """

    def __init__(
        self,
        metric: _Metric,
        vectors: _Floats,
        lengths: _Doubles,
        order: _Numbers | None,
        codes: _Bytes | None = None,
    ) -> None:
        """Take rows.

        Args:
            metric: how they are scored.
            vectors: (n, dim) float32, C-contiguous, as they were put; may be read-only.
            lengths: (n,) float64, their Euclidean lengths.
            order: (n,) int64; equal scores are ordered by it, ascending. None: by row number.
            codes: (n, code_bytes(dim)) uint8 from `encode`; None to do without.

        Raises:
            ValueError: a shape is wrong or an array is not contiguous.
            TypeError: an array is of another type.
        """

    def __len__(self) -> int:
        """Count the rows."""

    def scan(
        self,
        queries: _Floats,
        k: int,
        allowed: _Bytes | None = None,
        *,
        threads: int = 1,
        timeout_s: float | None = None,
        codes: bool = False,
    ) -> Found:
        """Compare with every allowed row.

        Args:
            queries: (q, dim) float32, finite.
            k: hits wanted for each query.
            allowed: ((n + 7) // 8,) uint8: bit r % 8 of byte r // 8 says that row r may be
                returned (np.packbits with bitorder="little"). None: all.
            threads: threads that share the queries, 1 to 256. One query is never divided.
            timeout_s: begin no query after that many seconds. None: answer all.
            codes: choose candidates by their codes, score those; False: exactly the k best.

        Raises:
            ValueError: an argument is out of range; queries are not finite; there are no codes.
            TypeError: an array is of another type.
        """

    def score(self, queries: _Floats, rows: _Numbers) -> _Floats:
        """Score given rows: the one definition of a score.

        Computed in float64 from the vectors as they were put, in a fixed order of summation, and
        rounded to float32 once: the score of an item is the same wherever it lies. Cosine is in
        [-1, 1], and 0 where a length is 0; l2 is the negative squared distance; a score that is
        not a number counts as -infinity.

        Args:
            queries: (q, dim) float32, finite.
            rows: (q, c) int64; -1 for none.

        Returns:
            (q, c) float32; NaN for none.

        Raises:
            ValueError: a row is out of range; queries are not finite.
            TypeError: an array is of another type.
        """

class Graph:
    """An immutable HNSW graph over rows (Malkov and Yashunin, 2016).

    Keeps references to the arrays, which must not change. Safe for many threads at once.
    """

    def __init__(
        self,
        rows: Rows,
        links: _Words,
        levels: _Bytes,
        upper: _Words,
        entry_point: int,
        top_level: int,
        cells: tuple[_Bytes, _Words, _Words] | None = None,
    ) -> None:
        """Take a graph, and check once that no walk can leave its arrays.

        Args:
            rows: n rows, at least one.
            links: (n, 1 + 2m) uint32, the lowest level: number of neighbours, then their rows.
            levels: (n,) uint8, the highest level of each row.
            upper: (sum of levels, 1 + m) uint32, levels 1 and up of each row, row after row,
                in the form of `links`.
            entry_point: the row where every walk starts.
            top_level: its level, which is the highest.
            cells: centres, bounds and rows from a `CellBuilder` over the same rows, where searches
                look for allowed rows that are far from a query. None: those are scanned.

        Raises:
            ValueError: names the array that is damaged, and the row where.
            TypeError: an array is of another type.
        """

    def __len__(self) -> int:
        """Count the rows."""

    def search(
        self,
        queries: _Floats,
        k: int,
        ef: int,
        allowed: _Bytes | None = None,
        *,
        walk: Literal["codes", "vectors"] = "codes",
        threads: int = 1,
        timeout_s: float | None = None,
    ) -> Found:
        """Find about the k nearest allowed rows; their scores are exact.

        Args:
            queries: (q, dim) float32, finite.
            k: hits wanted for each query; fewer are found where fewer can be reached.
            ef: candidates kept by a walk, raised to k: more find better and take longer.
            allowed: as for `Rows.scan`. Whether the graph is walked or the allowed rows are
                scanned depends on how many they are.
            walk: compare codes and score the best candidates, or compare float32 vectors.
            threads: threads that share the queries, 1 to 256. One query is never divided.
            timeout_s: begin no query after that many seconds. None: answer all.

        Raises:
            ValueError: an argument is out of range; queries are not finite; there are no codes.
            TypeError: an array is of another type.
        """

class Parts:
    """Rows and graphs that are searched as one: what one index has in several places.

    Keeps references to them. Safe for many threads at once.
    """

    def __init__(self, parts: Sequence[Rows | Graph]) -> None:
        """Take parts.

        Args:
            parts: at least one, of one metric and dim, with codes and an `order`, whose values
                can be compared between parts; fewer than 2**32 rows together.

        Raises:
            ValueError: they differ, or something is missing.
        """

    def __len__(self) -> int:
        """Count the rows of all parts."""

    def search(
        self,
        queries: _Floats,
        k: int,
        ef: int | None,
        allowed: Sequence[_Bytes | None] | None = None,
        *,
        walk: Literal["codes", "vectors"] = "codes",
        threads: int = 1,
        timeout_s: float | None = None,
    ) -> Found:
        """Find the k nearest allowed rows of all parts; their scores are exact.

        Graphs are walked, and rows without one are scanned, as small graphs are; what codes say are
        the best of all parts is scored. A part that a walk finds fewer rows of than there are is
        scanned too. Without `ef` all rows are scored.

        Args:
            queries: (q, dim) float32, finite.
            k: hits wanted for each query.
            ef: candidates kept by a walk of all rows, raised to k; a walk of one of several
                graphs keeps fewer, at least half. None: find exactly the k best.
            allowed: for each part a bitmap as for `Rows.scan`, or None. None: all rows.
            walk: compare codes and score the best candidates, or compare float32 vectors, in scans
                too.
            threads: threads that share the queries, 1 to 256. One query is never divided.
            timeout_s: begin no query after that many seconds, or none of the up to 15 behind one
                that was begun. None: answer all.

        Returns:
            The hits, with the `order` of each in the place of its row.

        Raises:
            ValueError: an argument is out of range; queries are not finite.
            TypeError: an array is of another type.
        """

class Builder:
    """Builds an HNSW graph over codes (Malkov and Yashunin, 2016), or extends one.

    Row r of the codes is row r of the graph. The graph depends on the codes and the seed alone
    as long as one thread builds it, and not on the steps in which rows are added. Rows with equal
    codes are kept apart from the others, so that many of them cost no recall, and every row can
    be reached (docs/adr/0008-own-graph-builder.md).

    Calls of several threads wait for each other; they run without the GIL.
    """

    def __init__(
        self,
        metric: _Metric,
        codes: _Bytes,
        dim: int,
        m: int,
        ef_construction: int,
        *,
        seed: int = 0,
        base: tuple[_Words, _Bytes, _Words, int, int] | None = None,
    ) -> None:
        """Start a graph.

        Args:
            metric: what the codes were encoded for.
            codes: (n, code_bytes(dim)) uint8 from `encode`: all rows that will be in the graph,
                at least one. A reference is kept; they must not change.
            dim: elements of a vector.
            m: neighbours of a row on levels 1 and up, and half of those on the lowest; 2 to 1024.
            ef_construction: rows among which the neighbours of a new one are chosen, raised to
                m: more make a better graph and take longer.
            seed: of the levels of rows.
            base: links, levels, upper, entry_point and top_level of a graph with the same m over
                the first rows, as `Graph` takes them. They are copied. None to start afresh.

        Raises:
            ValueError: an argument is out of range, or names the array of the base that is
                damaged and where.
            TypeError: an array is of another type.
        """

    @property
    def steps(self) -> int:
        """Count the rows that will be in the graph."""

    def __len__(self) -> int:
        """Count the rows that are in the graph."""

    def add(self, stop: int, threads: int, patience_s: float = 0.0) -> float:
        """Insert the rows up to `stop`, exclusive; those that are in the graph stay.

        Args:
            stop: at most the rows of the codes.
            threads: threads that insert, 1 to 256. They are started by this call and end with
                it. With more than one the graph depends on their timing.
            patience_s: 0: the calling thread is one of them, and the others inherit its
                priority. More: they run only when no other program wants a core (Linux's
                SCHED_IDLE), and the calling thread waits; after so many seconds, at most a day,
                it takes part at its own priority, so that a build goes on while all cores are
                taken.

        Returns:
            Seconds of CPU that it took, of all threads together.

        Raises:
            ValueError: an argument is out of range.
            RuntimeError: the builder is closed: it was finished, or a call failed.
        """

    def finish(self) -> tuple[_Words, _Bytes, _Words, int, int]:
        """Complete the graph, all of whose rows were added, and close the builder.

        Returns:
            links, levels, upper, entry_point and top_level, as `Graph` takes them. Every row can
            be reached from the entry point on the lowest level.

        Raises:
            RuntimeError: rows are missing, or the builder is closed.
        """

class CellBuilder:
    """Puts rows into cells around centres, by their codes.

    A row is in the cell whose centre is nearest: by the angle for cosine, by distance for l2 and dot.
    Centres are means of a sample of the rows (Lloyd, 1982). The cells depend on the codes alone,
    however many threads work.

    Calls of several threads wait for each other; they run without the GIL.
    """

    def __init__(
        self,
        metric: _Metric,
        codes: _Bytes,
        dim: int,
        cells: int,
        *,
        base: tuple[_Bytes, _Words, _Words] | None = None,
    ) -> None:
        """Start with cells.

        Args:
            metric: what the codes were encoded for.
            codes: (n, code_bytes(dim)) uint8 from `encode`, at least one row. A reference is kept;
                they must not change.
            dim: elements of a vector.
            cells: how many to make, 1 to n; without effect where there is a base.
            base: centres, bounds and rows of cells over the first rows. They stay as they are, and
                the others are put into them. None to start afresh.

        Raises:
            ValueError: an argument is out of range, or names the array of the base that is damaged.
            TypeError: an array is of another type.
        """

    @property
    def steps(self) -> int:
        """Count how often a row is to be compared with all centres."""

    def __len__(self) -> int:
        """Count the steps that were done."""

    def add(self, stop: int, threads: int, patience_s: float = 0.0) -> float:
        """Do the steps up to `stop`, exclusive; the arguments are those of `Builder.add`.

        Returns:
            Seconds of CPU that it took, of all threads together.

        Raises:
            ValueError: an argument is out of range.
        """

    def finish(self) -> tuple[_Bytes, _Words, _Words]:
        """Give the cells, all steps to which were done.

        Returns:
            (cells, code_bytes(dim)) uint8, the codes of the centres; (cells + 1,) uint32, where the
            rows of each cell begin and end; and (n,) uint32, these rows, ascending in each cell.

        Raises:
            RuntimeError: steps are left.
        """

class IdTable:
    """The rows of a column of ids, by hash. It stays as it is: any number of threads may ask it."""

    def __init__(self, ids: _Numbers) -> None:
        """Put the ids of rows in a table. Releases the GIL.

        Args:
            ids: (n,) int64, in any order; an id may stand several times.

        Raises:
            ValueError: a shape is wrong.
            TypeError: the array is of another type.
        """

    def rows_without(self, gone: _Numbers) -> _Bytes:
        """Tell which rows do not have one of some ids. Releases the GIL.

        Args:
            gone: (m,) int64, in any order; of rows or not.

        Returns:
            ((n + 7) // 8,) uint8: bit r % 8 of byte r // 8 is that of row r.

        Raises:
            ValueError: a shape is wrong.
            TypeError: the array is of another type.
        """

    def rows_without_steps(self, first: int, steps: NDArray[np.unsignedinteger]) -> _Bytes:
        """Tell the same where ids are told by the steps between them. Releases the GIL.

        Args:
            first: the first id.
            steps: (m,) uint8 or uint16: from each id to the next.

        Returns:
            See `rows_without`.

        Raises:
            ValueError: a shape is wrong.
            TypeError: an array is of another type.
        """

class StringIdTable:
    """The rows of a column of string ids, by hash. Any number of threads may ask it."""

    def __init__(self, offsets: NDArray[np.uint64], data: _Bytes) -> None:
        """Put the ids of rows in a table, which keeps the arrays. Releases the GIL.

        Args:
            offsets: (n + 1,) uint64: id r is `data[offsets[r]:offsets[r + 1]]`.
            data: (b,) uint8: the ids, one after the other; an id may stand several times.

        Raises:
            ValueError: a shape is wrong, or the offsets do not cut the data.
            TypeError: an array is of another type.
        """

    def rows_without(self, gone: bytes) -> _Bytes:
        """Tell which rows do not have one of some ids. Releases the GIL.

        Args:
            gone: ids, of rows or not, each followed by a NUL; what follows the last is left out.

        Returns:
            ((n + 7) // 8,) uint8: bit r % 8 of byte r // 8 is that of row r.

        Raises:
            TypeError: they are no bytes.
        """

def split_strings_by_shard(joined: bytes, shards: int) -> list[tuple[bytes, int]]:
    """Split string ids as `split_by_shard` does those of int64. Releases the GIL.

    Args:
        joined: ids, each followed by a NUL; what follows the last is left out.
        shards: 1 to 16,384, each of which owns an equal run of slots.

    Returns:
        The ids of each shard in the same form, in the order in which they came, and their number.

    Raises:
        ValueError: there are too many shards, or none.
        TypeError: they are no bytes.
    """

def split_by_shard(ids: _Numbers, shards: int) -> tuple[_Numbers, list[int]]:
    """Split ids by the shard that owns each, as `fanlight.placement.shards_of` does. Releases the GIL.

    Args:
        ids: (n,) int64, in any order.
        shards: 1 to 16,384, each of which owns an equal run of slots.

    Returns:
        (n,) int64, the ids of each shard side by side, in the order in which they came; and
        `shards + 1` places, where those of each begin, and the end.

    Raises:
        ValueError: there are too many shards, or none; a shape is wrong.
        TypeError: the array is of another type.
    """
