// Rows of a graph in cells around centres. Where the allowed rows are far from a query, the nearest
// centres tell where to look for them, see filtered_walk.h.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "frontier.h"

namespace fanlight {

// In memory that somebody else keeps and nobody changes.
struct Cells {
  std::size_t count = 0;                  // 0: there are none
  const std::uint8_t* centres = nullptr;  // records of codes, as those of rows
  const std::uint32_t* bounds = nullptr;  // count + 1: those of cell c are rows[bounds[c]] and on
  const std::uint32_t* rows = nullptr;    // each row once
};

// Throws std::invalid_argument, naming the array, when following it could lead outside of the cells or
// of so many rows.
void check_cells(const Cells& cells, std::size_t rows);

// The cells of a graph, those with the nearest centres first. Kept by a thread from walk to walk.
class NearestCells {
 public:
  template <typename Scorer>
  void start(const Cells& cells, const Scorer& scorer) {
    numbers_.resize(cells.count);
    keys_.resize(cells.count);
    waiting_.resize(cells.count);
    std::iota(numbers_.begin(), numbers_.end(), 0);
    scorer.centre_keys(cells, numbers_.data(), keys_.data());
    for (std::uint32_t cell = 0; cell < cells.count; ++cell) waiting_[cell] = {keys_[cell], cell};
    std::make_heap(waiting_.begin(), waiting_.end(), farther);
  }

  bool take(std::uint32_t& cell) {
    if (waiting_.empty()) return false;
    cell = waiting_.front().row;
    std::pop_heap(waiting_.begin(), waiting_.end(), farther);
    waiting_.pop_back();
    return true;
  }

 private:
  std::vector<std::uint32_t> numbers_;
  std::vector<float> keys_;
  std::vector<Candidate> waiting_;  // best on top; a cell in place of a row
};

}  // namespace fanlight
