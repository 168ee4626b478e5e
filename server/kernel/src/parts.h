// Search over several sets of rows at once: what one shard has of one collection.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "allowed.h"
#include "batch.h"
#include "graph.h"
#include "rows.h"
#include "scan.h"
#include "search_plan.h"

namespace fanlight {

// One set of rows. `order` of different ones can be compared.
struct Part {
  const Rows* rows;
  const Graph* graph;      // over them; null: all are compared
  const Allowed* allowed;  // null: all
};

struct PartsPlan {
  std::size_t k;
  std::optional<std::size_t> ef;  // none: exactly the k best are found
  WalkOn walk_on;
  std::size_t at_once;  // queries that a thread takes through all parts together
};

// Answer the queries claimed, on the calling thread: the k best of all parts, with their `order` in
// the place of rows. Where a walk finds fewer than there are, all rows of the part are compared:
// of a graph over many equal vectors parts cannot be reached.
void search_parts(const std::vector<Part>& parts, const PartsPlan& plan, const QueryBatch& batch,
                  Claims& claims);

}  // namespace fanlight
