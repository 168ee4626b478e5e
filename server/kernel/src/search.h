// Searches of a graph.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "batch.h"
#include "frontier.h"
#include "graph.h"
#include "query.h"
#include "scan.h"
#include "search_plan.h"

namespace fanlight {

// Takes of the query of this number the nearest rows that a walk found, nearest first.
using TakeFound =
    std::function<void(std::size_t number, const Query&, const std::vector<Candidate>&)>;

// Walk for the queries claimed, on the calling thread, as far as `plan.candidates` rows of each; the
// plan must not be to scan. Returns the queries that a scan must answer.
std::vector<std::size_t> walk(const Graph& graph, const SearchPlan& plan, const QueryBatch& batch,
                              Claims& claims, const TakeFound& take);

// Answer the queries claimed, on the calling thread.
void search(const Graph& graph, const SearchPlan& plan, const QueryBatch& batch, Claims& claims);

}  // namespace fanlight
