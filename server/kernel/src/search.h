// Search of a graph for one query.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "allowed.h"
#include "frontier.h"
#include "graph.h"
#include "hits.h"
#include "scan.h"
#include "walk.h"

namespace fanlight {

enum class WalkOn { codes, vectors };

// What is the same for all queries of one call, worked out once.
struct SearchPlan {
  SearchPlan(const Graph& graph, std::size_t k, std::size_t ef, WalkOn walk,
             const std::optional<Allowed>& allowed);

  std::size_t k;
  std::size_t ef;
  WalkOn walk;
  const Allowed* allowed = nullptr;  // null: all rows
  bool scan = false;                 // instead of walking
  std::vector<std::uint32_t> rows;   // the allowed ones, when they are scanned
};

// What one search needs, kept by each thread from search to search.
struct SearchRoom {
  ScanRoom scan;
  WalkRoom walk;
  SortedFrontier sorted;
  HeapFrontier heaps;
};

void search(const Graph& graph, const SearchPlan& plan, const float* query, SearchRoom& room,
            const HitsOut& out);

}  // namespace fanlight
