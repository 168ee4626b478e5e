"""The searches of one collection on one shard: steps of plans on its index.

Laws: a search takes one view and never waits for a write or a build. Requests have been judged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fanlight.answering import answer
from fanlight.explaining import explain, explained
from fanlight.limits import Limits
from fanlight.model import (
    Coverage,
    Explanation,
    Floats,
    Hits,
    IdColumn,
    Items,
    SearchRequest,
)
from fanlight.plans import (
    Describe,
    Described,
    Fetch,
    Fetched,
    Nearest,
    Stand,
    Standing,
    Step,
    perform,
)
from fanlight.queries import Exclusions
from fanlight.topk import cut
from fanlight.validation import bad_vector_rows, check_score
from fanlight_server.answered import all_but, spread, without_late
from fanlight_server.index.excluded import Excluded
from fanlight_server.index.index import Index
from fanlight_server.index.query import Queries
from fanlight_server.index.settings import SearchConfig
from fanlight_server.index.standing import exclusion_outcomes, standing_of


class Searching:
    """See the module. Safe for many threads."""

    def __init__(
        self,
        index: Index,
        limits: Limits,
        config: SearchConfig,
        now: Callable[[], float],
        members: Callable[[str], IdColumn],
        read: Callable[[IdColumn, bool, bool], Items],
    ) -> None:
        """Search an index.

        Args:
            index: of the collection.
            limits: of what plans ask for.
            config: how searches run.
            now: a clock in seconds.
            members: gives the members of a set, ascending.
            read: gives items, with vectors or not, with payloads or not.
        """
        self._index = index
        self._limits = limits
        # counted once: to ask the system takes as long as a small search
        self._threads = config.worker_threads
        self._config = config
        self._now = now
        self._members = members
        self._read = read

    def hits(self, request: SearchRequest, ends: float | None) -> Hits:
        """Answer a search, without columns.

        Args:
            request: the search.
            ends: when no query is begun any more, by the clock; None for never.
        """
        if request.is_nearest:
            return self.nearest(request, ends)
        plan = answer(request, self._limits, self._late(ends))
        return perform(plan, lambda step: self._perform(step, ends))

    def explain(
        self, request: SearchRequest, id_: IdColumn, score: float | None, ends: float | None
    ) -> Explanation:
        """Tell why an item is, or is not, in an answer; see `Collection.explain` and `hits`."""
        if score is None:
            plan = explain(request, id_, self._limits, self._late(ends))
            return perform(plan, lambda step: self._perform(step, ends))
        check_score(score, request)
        assert request.vectors is not None, "as was checked"
        for error in bad_vector_rows("vectors", request.vectors, self._index.spec.metric).values():
            raise error
        return explained(self._standing(request, id_, score, ends))

    def _late(self, ends: float | None) -> Callable[[], bool]:
        """Tell a plan when its caller no longer waits."""
        return lambda: ends is not None and self._now() >= ends

    def _standing(
        self, request: SearchRequest, id_: IdColumn, score: float | None, ends: float | None
    ) -> Standing:
        assert request.vectors is not None
        exclude = request.exclude
        excluded = None if exclude is None else self._excluded(exclude)
        queries = self._queries(replace(request, exact=True), request.vectors, excluded, ends)
        standing = standing_of(self._index.view, queries, id_, score)
        outcomes = exclusion_outcomes(exclude, self._members, id_)
        return replace(standing, outcomes=(*standing.outcomes, *outcomes))

    def _perform(self, step: Step, ends: float | None) -> Hits | Fetched | Described | Standing:
        match step:
            case Nearest(request):
                return self.nearest(request, ends)
            case Fetch(ids, vectors, payloads):
                return Fetched(self._read(ids, vectors, payloads))
            case Describe():
                view = self._index.view
                spec = replace(
                    self._index.spec, filterable=view.filterable, ef_search=view.ef_search
                )
                return Described(spec, view.building)
            case Stand(request, id_):
                return self._standing(request, id_, None, ends)

    def nearest(self, request: SearchRequest, ends: float | None) -> Hits:
        """Find the nearest of vectors, of which a bad one fails alone."""
        assert request.vectors is not None
        view = self._index.view
        excluded = None if request.exclude is None else self._excluded(request.exclude)
        coverage = Coverage(1, 1, view.live, view.live)
        errors = bad_vector_rows("vectors", request.vectors, self._index.spec.metric)
        if not errors:
            top, whole = view.search(self._queries(request, request.vectors, excluded, ends))
        else:
            good = all_but(list(errors), len(request.vectors))
            top, whole = view.search(self._queries(request, request.vectors[good], excluded, ends))
            top = spread(top, good, len(request.vectors), self._index.spec.id_type)
        if not whole:
            top, late = without_late(top)
            errors |= late
        if request.score_threshold is not None:
            top = cut(top, request.score_threshold)
        hits = Hits(top.ids, top.scores, top.counts, coverage, errors)
        if excluded is None:
            return hits
        left_out = view.count(request.filter) - view.count(request.filter, excluded)
        return replace(hits, excluded=left_out)

    def _excluded(self, exclude: Exclusions) -> Excluded:
        """Gather the ids that a search may not find."""
        sets = [self._members(name) for name in exclude.sets]
        return Excluded(exclude.packed if exclude.ids is None else exclude.ids, sets)

    def _queries(
        self,
        request: SearchRequest,
        vectors: Floats,
        excluded: Excluded | None,
        ends: float | None,
    ) -> Queries:
        config = self._config
        default = self._index.view.ef_search or config.ef_search_default
        return Queries(
            vectors=vectors,
            k=request.k,
            ef=None if request.exact else request.ef_search or default,
            filter=request.filter,
            excluded=excluded,
            walk=config.walk,
            threads=self._threads,
            time_left=lambda: None if ends is None else max(0.0, ends - self._now()),
        )
