// What is the same for all queries of one search, worked out once.
#pragma once

#include <cstddef>

#include "allowed.h"
#include "graph.h"

namespace fanlight {

enum class WalkOn { codes, vectors };

// Whether comparing with all rows takes no longer than a walk that keeps ef candidates.
bool scan_beats_walk(const Rows& rows, std::size_t ef);

struct SearchPlan {
  SearchPlan(const Graph& graph, std::size_t k, std::size_t ef, WalkOn walk_on,
             const Allowed* allowed);  // null: all rows

  std::size_t k;
  std::size_t ef;
  WalkOn walk_on;
  const Allowed* allowed = nullptr;  // null: all rows
  bool scan = false;                 // compare with the allowed rows instead of walking
  std::size_t candidates;            // rows that a walk finds to be scored
  // For walks among allowed and other rows, see filtered_walk.h.
  std::size_t enough = 0;  // allowed rows that end a walk
  bool hop = false;        // rather than wade
  double gather_below = 0;  // look into cells rather than either where less than this share is allowed
  bool look = true;         // around the query first, whatever follows
  double scan_compares = 0;  // rows that a walk compares in the time of a scan
};

}  // namespace fanlight
