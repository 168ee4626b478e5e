"""What is sent, and when."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workload import Floats


def requests(queries: Floats, rows: int) -> list[Floats]:
    """Cut queries into requests of `rows` each, repeating queries where they do not suffice.

    Args:
        queries: (q, dim).
        rows: queries of a request.

    Returns:
        One or more (rows, dim).
    """
    number = max(1, len(queries) // rows)
    whole = np.resize(queries, (number * rows, queries.shape[1]))
    return list(whole.reshape(number, rows, -1))


def poisson_arrivals(per_second: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """Draw the times of independent arrivals: exponential gaps, as from many unrelated callers.

    Returns:
        Ascending seconds from 0, all below `seconds`.
    """
    rng = np.random.default_rng(seed)
    # Five deviations more than are expected, so that the last lies past the end.
    number = int(per_second * seconds + 5 * np.sqrt(per_second * seconds) + 10)
    times = np.cumsum(rng.exponential(1 / per_second, size=number))
    return times[times < seconds]
