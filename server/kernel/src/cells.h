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

// The cell of each row.
std::vector<std::uint32_t> numbers_of_cells(const Cells& cells, std::size_t rows);

// Cells of a graph, those with the nearest centres first. Kept by a thread from walk to walk.
class NearestCells {
 public:
  template <typename Scorer>
  void start(const Cells& cells, const Scorer& scorer) {
    all_.resize(cells.count);
    std::iota(all_.begin(), all_.end(), 0);
    start(cells, all_, scorer);
  }

  // Some of the cells, those listed.
  template <typename Scorer>
  void start(const Cells& cells, const std::vector<std::uint32_t>& listed, const Scorer& scorer) {
    keys_.resize(listed.size());
    waiting_.resize(listed.size());
    scorer.centre_keys(cells, listed, keys_.data());
    for (std::size_t i = 0; i < listed.size(); ++i) waiting_[i] = {keys_[i], listed[i]};
    std::make_heap(waiting_.begin(), waiting_.end(), later);
  }

  bool take(std::uint32_t& cell) {
    if (waiting_.empty()) return false;
    cell = waiting_.front().row;
    std::pop_heap(waiting_.begin(), waiting_.end(), later);
    waiting_.pop_back();
    return true;
  }

 private:
  // The same cells in the same order, whether others are listed or not.
  static bool later(const Candidate& a, const Candidate& b) {
    return a.key != b.key ? a.key < b.key : a.row > b.row;
  }

  std::vector<std::uint32_t> all_;
  std::vector<float> keys_;
  std::vector<Candidate> waiting_;  // best on top; a cell in place of a row
};

}  // namespace fanlight
