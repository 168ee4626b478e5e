// The walk over a graph: down the levels to a good start, then best first on the lowest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "frontier.h"
#include "graph.h"
#include "search_plan.h"
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
      scorer.prefetch_first(next.rows, next.count);
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

// The rows that a walk has met and not compared yet.
class Fresh {
 public:
  void start(const Graph& graph) {
    visited_.start(graph.rows().count);
    const std::size_t room = 2 * graph.max_neighbours() + 1;
    if (rows_.size() < room) resize(room);
    count_ = 0;
  }

  // Find where a walk begins.
  template <typename Scorer>
  Candidate first(const Graph& graph, const Scorer& scorer) {
    const Candidate found = descend(graph, scorer, keys_);
    visited_.meet(found.row);
    return found;
  }

  // Meet all of some neighbours, and ask for those that are new.
  template <typename Scorer>
  void meet(const Neighbours& next, const Scorer& scorer) {
    const std::size_t before = count_;
    if (rows_.size() < before + next.count) resize(before + next.count);
    count_ += visited_.meet(next.rows, next.count, rows_.data() + before);
    scorer.prefetch_first(rows_.data() + before, count_ - before);
  }

  // Compare what was met, and offer it.
  template <typename Scorer, typename Frontier>
  void offer(const Graph& graph, const Scorer& scorer, Frontier& frontier) {
    const std::size_t count = count_;
    count_ = 0;
    scorer.keys(rows_.data(), count, keys_.data());
    for (std::size_t i = 0; i < count; ++i) {
      if (frontier.offer(rows_[i], keys_[i])) graph.prefetch_neighbours(rows_[i]);
    }
  }

  std::size_t count() const { return count_; }

 private:
  void resize(std::size_t room) {
    rows_.resize(room);
    keys_.resize(room);
  }

  Visited visited_;
  std::vector<std::uint32_t> rows_;
  std::vector<float> keys_;
  std::size_t count_ = 0;
};

// One walk, in steps that end where memory is waited for: one asks for what the next one reads,
// so that the steps of several walks can take turns and hide each other's waits. Kept by a thread
// from walk to walk.
template <typename Frontier>
class Walk {
 public:
  template <typename Scorer>
  void start(const Graph& graph, const Scorer& scorer, const SearchPlan& plan) {
    fresh_.start(graph);
    frontier_.start(plan.ef);
    const Candidate first = fresh_.first(graph, scorer);
    frontier_.offer(first.row, first.key);
    graph.prefetch_neighbours(first.row);
    met_ = false;
  }

  // Visit the best candidate, or compare its neighbours; false: the walk has ended.
  template <typename Scorer>
  bool step(const Graph& graph, const Scorer& scorer) {
    met_ = !met_;
    if (!met_) {
      fresh_.offer(graph, scorer, frontier_);
      return true;
    }
    std::uint32_t row = 0;
    if (!frontier_.take(row)) return false;
    fresh_.meet(graph.neighbours(row), scorer);
    if (frontier_.peek(row)) graph.prefetch_neighbours(row);
    return true;
  }

  // Copy the best candidates, best first. False when they may not be what was asked for.
  bool best(std::size_t count, std::vector<Candidate>& found) {
    frontier_.best(count, found);
    return true;
  }

 private:
  Frontier frontier_;
  Fresh fresh_;
  bool met_ = false;  // there are rows to compare
};

}  // namespace fanlight
