"""How good the retrieval is: against exact search, and against what users did later.

    curve = measure_recall(collection.search, queries, k=10)
    curve.cheapest(0.99)          # the smallest ef_search that reaches it

`recall` compares the index with exact answers; `tuning` finds the cheapest `ef_search`; `users` compares answers with held-out interactions;
`plots` draws (it needs matplotlib). docs/evaluation.md says how to read the figures.
"""

from fanlight.evaluation.recall import DEFAULT_EFS, Curve, Point, measure_recall
from fanlight.evaluation.tuning import Tuning
from fanlight.evaluation.users import Figures, User, most_popular, retrieve, score_lists

__all__ = [
    "DEFAULT_EFS",
    "Curve",
    "Figures",
    "Point",
    "Tuning",
    "User",
    "measure_recall",
    "most_popular",
    "retrieve",
    "score_lists",
]
