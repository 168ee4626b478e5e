// Searches of a graph.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "allowed.h"
#include "batch.h"
#include "graph.h"
#include "hits.h"

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

// The queries of a call and where their hits go.
struct SearchBatch {
  const float* queries;
  std::function<HitsOut(std::size_t)> out;
};

// Answer the queries claimed, on the calling thread.
void search(const Graph& graph, const SearchPlan& plan, const SearchBatch& batch, Claims& claims);

}  // namespace fanlight
