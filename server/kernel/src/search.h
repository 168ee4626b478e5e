// Searches of a graph.
#pragma once

#include "batch.h"
#include "graph.h"
#include "scan.h"
#include "search_plan.h"

namespace fanlight {

// Answer the queries claimed, on the calling thread.
void search(const Graph& graph, const SearchPlan& plan, const QueryBatch& batch, Claims& claims);

}  // namespace fanlight
