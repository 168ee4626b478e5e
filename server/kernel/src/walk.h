// The walk over a graph: down the levels to a good start, then best first on the lowest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "frontier.h"
#include "graph.h"
#include "visited.h"

namespace fanlight {

// Go to the nearest neighbour as long as there is a nearer one, level by level.
template <typename Scorer>
Candidate descend(const Graph& graph, const Scorer& scorer, std::vector<float>& keys) {
  Candidate at{0, graph.entry_point()};
  scorer.keys(&at.row, 1, &at.key);
  for (std::uint32_t level = graph.top_level(); level > 0; --level) {
    for (bool moved = true; moved;) {
      moved = false;
      const Neighbours next = graph.upper_neighbours(at.row, level);
      for (std::uint32_t i = 0; i < next.count; ++i) scorer.prefetch_row(next.rows[i]);
      scorer.keys(next.rows, next.count, keys.data());
      for (std::uint32_t i = 0; i < next.count; ++i) {
        if (keys[i] > at.key) {
          at = {keys[i], next.rows[i]};
          moved = true;
        }
      }
    }
  }
  return at;
}

// One walk, in steps that end where memory is waited for: `gather` asks for what `compare` reads,
// and `compare` for what the next `gather` reads, so that the steps of several walks can take
// turns and hide each other's waits. Kept by a thread from walk to walk.
template <typename Frontier>
class Walk {
 public:
  Frontier& frontier() { return frontier_; }

  // Begin at the entry point; the frontier must have been started.
  template <typename Scorer>
  void start(const Graph& graph, const Scorer& scorer) {
    visited_.start(graph.rows().count);
    fresh_.resize(graph.max_neighbours());
    keys_.resize(graph.max_neighbours());
    const Candidate first = descend(graph, scorer, keys_);
    count_ = visited_.meet(&first.row, 1, fresh_.data());
    frontier_.offer(first.row, first.key);
    graph.prefetch_neighbours(first.row);
  }

  // Visit the best candidate: collect those neighbours that were not met before. False: the walk
  // has ended.
  template <typename Scorer>
  bool gather(const Graph& graph, const Scorer& scorer) {
    std::uint32_t row = 0;
    if (!frontier_.take(row)) return false;
    const Neighbours next = graph.neighbours(row);
    count_ = visited_.meet(next.rows, next.count, fresh_.data());
    for (std::size_t i = 0; i < count_; ++i) scorer.prefetch_row(fresh_[i]);
    if (frontier_.peek(row)) graph.prefetch_neighbours(row);
    return true;
  }

  // Offer what was collected.
  template <typename Scorer>
  void compare(const Graph& graph, const Scorer& scorer) {
    scorer.keys(fresh_.data(), count_, keys_.data());
    const std::size_t count = count_;
    for (std::size_t i = 0; i < count; ++i) {
      if (frontier_.offer(fresh_[i], keys_[i])) graph.prefetch_neighbours(fresh_[i]);
    }
  }

 private:
  Frontier frontier_;
  Visited visited_;
  std::vector<std::uint32_t> fresh_;  // what was collected
  std::size_t count_ = 0;
  std::vector<float> keys_;
};

}  // namespace fanlight
