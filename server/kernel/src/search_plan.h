// What is the same for all queries of one search, worked out once.
#pragma once

#include <cstddef>
#include <optional>

#include "allowed.h"
#include "graph.h"

namespace fanlight {

enum class WalkOn { codes, vectors };

struct SearchPlan {
  SearchPlan(const Graph& graph, std::size_t k, std::size_t ef, WalkOn walk_on,
             const std::optional<Allowed>& allowed);

  std::size_t k;
  std::size_t ef;
  WalkOn walk_on;
  const Allowed* allowed = nullptr;  // null: all rows
  bool scan = false;                 // compare with the allowed rows instead of walking
  // For walks among allowed and other rows, see filtered_walk.h.
  std::size_t enough = 0;  // allowed rows that end a walk
  bool hop = false;        // rather than wade
  double scan_compares = 0;  // rows that a walk compares in the time of a scan
};

}  // namespace fanlight
