// The walk over a graph: down the levels to a good start, then best first on the lowest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "frontier.h"
#include "graph.h"
#include "visited.h"

namespace fanlight {

// What one walk needs, kept by each thread from walk to walk.
struct WalkRoom {
  Visited visited;
  std::vector<std::uint32_t> fresh;
  std::vector<float> keys;

  void start(const Graph& graph) {
    visited.start(graph.rows().count);
    fresh.resize(graph.max_neighbours() + 1);
    keys.resize(graph.max_neighbours() + 1);
  }
};

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

// Visit candidates, best first, and offer their neighbours, until the frontier gives none.
template <typename Scorer, typename Frontier>
void walk(const Graph& graph, const Scorer& scorer, Frontier& frontier, WalkRoom& room) {
  room.start(graph);
  const Candidate start = descend(graph, scorer, room.keys);
  room.visited.meet(start.row);
  frontier.offer(start.row, start.key);
  for (std::uint32_t row; frontier.take(row);) {
    std::size_t fresh = 0;
    const Neighbours next = graph.neighbours(row);
    for (std::uint32_t i = 0; i < next.count; ++i) {
      room.fresh[fresh] = next.rows[i];
      fresh += room.visited.meet(next.rows[i]);
    }
    for (std::size_t i = 0; i < fresh; ++i) scorer.prefetch_row(room.fresh[i]);
    scorer.keys(room.fresh.data(), fresh, room.keys.data());
    for (std::size_t i = 0; i < fresh; ++i) frontier.offer(room.fresh[i], room.keys[i]);
    if (frontier.peek(row)) graph.prefetch_neighbours(row);
  }
}

}  // namespace fanlight
