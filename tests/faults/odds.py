"""What a number of failures in a number of trials says about the next trial."""

from __future__ import annotations

import math

# Halvings of [0, 1]: further than a float64 can tell apart.
_HALVINGS = 60


def upper_bound(failures: int, trials: int, confidence: float = 0.95) -> float:
    """Bound the chance of a failure in one trial from above, one-sided.

    The exact bound of Clopper and Pearson ("The use of confidence or fiducial limits illustrated
    in the case of the binomial", Biometrika 26, 1934): the chance at which so few failures
    happen no more often than in 1 - confidence of all cases. Without a failure it is about
    3 / trials (the rule of three).

    Args:
        failures: trials that failed.
        trials: independent trials.
        confidence: share of cases in which the bound holds.

    Returns:
        A probability; 1 when there were no trials, or nothing but failures.
    """
    if trials == 0 or failures >= trials:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _at_most(failures, trials, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _at_most(failures: int, trials: int, chance: float) -> float:
    """Give the probability of at most so many failures; 0 < chance < 1."""
    log_chance, log_rest = math.log(chance), math.log1p(-chance)
    return math.fsum(
        math.exp(
            math.lgamma(trials + 1)
            - math.lgamma(n + 1)
            - math.lgamma(trials - n + 1)
            + n * log_chance
            + (trials - n) * log_rest
        )
        for n in range(failures + 1)
    )
