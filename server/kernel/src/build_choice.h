// Which of the rows near to a row become its neighbours.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "build_space.h"

namespace fanlight {

// The heuristic of Malkov and Yashunin (2016), algorithm 4, without keeping pruned rows: nearest
// first, a row is taken unless it is nearer to one that was taken already, through which it can
// be reached. For one thread.
class NeighbourChoice {
 public:
  // limit: neighbours that are ever wanted at once.
  NeighbourChoice(const CodeSpace& space, std::size_t limit);

  // Choose at most `limit` of some rows, nearest first. Valid until the next choice.
  const std::vector<std::uint32_t>& choose(const std::vector<Link>& candidates, std::size_t limit);

 private:
  void take_from_block(std::size_t limit);
  void strike(const Probe& taken, std::size_t first);

  std::vector<Probe> probes_;  // of the rows that are taken, in turn
  std::vector<std::uint32_t> taken_;
  std::vector<Link> block_;  // candidates that no row struck out yet
  std::vector<std::uint32_t> rows_;
  std::vector<float> nearness_;
};

}  // namespace fanlight
