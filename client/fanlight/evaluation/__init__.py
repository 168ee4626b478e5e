"""How good the retrieval is: against exact search, and against what users did later.

    curve = measure_recall(collection.search, queries, k=10)
    curve.cheapest(0.99)          # the smallest ef_search that reaches it

`recall` compares the index with exact answers; `shares` does by filter; `tuning`
finds the cheapest `ef_search`; `users` compares answers with held-out interactions;
`plots` draws (it needs matplotlib). docs/evaluation.md says how to read the figures.
"""

from fanlight.evaluation.recall import DEFAULT_EFS, Curve, Point, measure_recall
from fanlight.evaluation.shares import (
    DEFAULT_SHARE_EFS,
    DEFAULT_SHARES,
    Share,
    filters_by,
    measure_shares,
)
from fanlight.evaluation.tuning import Tuning
from fanlight.evaluation.users import Figures, User, most_popular, retrieve, score_lists

__all__ = [
    "DEFAULT_EFS",
    "DEFAULT_SHARES",
    "DEFAULT_SHARE_EFS",
    "Curve",
    "Figures",
    "Point",
    "Share",
    "Tuning",
    "User",
    "filters_by",
    "measure_recall",
    "measure_shares",
    "most_popular",
    "retrieve",
    "score_lists",
]
