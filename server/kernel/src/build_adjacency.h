// The lists of neighbours of a graph under construction, which threads read while others write.
//
// Levels never change. A list is a count followed by rows, all of them atomic. Only a thread that
// holds the lock of a row writes its lists; readers take no lock. A reader that acquires a count
// finds a row in every place below it, since rows are stored before the count is released and no
// place is ever emptied. While a list is rewritten it may see some of its old rows and some of
// its new ones: a mixture of two good lists, each of them rows of the graph, which is all that a
// walk needs. A row can also be met before its own lists can be seen; a walk then finds no
// neighbours there and goes on elsewhere.
//
// A thread never holds two locks of rows, so they cannot deadlock.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "graph.h"

namespace fanlight {

class Adjacency {
 public:
  // m: neighbours of a row on levels 1 and up; twice as many on the lowest.
  Adjacency(std::size_t m, std::vector<std::uint8_t> levels);

  // Take over the lists of the first `rows` rows, whose levels are the same.
  void load(const GraphArrays& arrays, std::size_t rows);

  std::size_t rows() const { return levels_.size(); }
  std::uint32_t level_of(std::uint32_t row) const { return levels_[row]; }
  std::size_t capacity(std::uint32_t level) const { return level == 0 ? 2 * m_ : m_; }
  std::size_t max_capacity() const { return 2 * m_; }
  std::size_t upper_lists() const { return upper_starts_.back(); }

  // Call each(neighbour) for every row of a list, which must exist.
  template <typename Each>
  void for_each(std::uint32_t row, std::uint32_t level, const Each& each) const {
    const Cell* cells = list(row, level);
    const std::uint32_t count = cells[0].load(std::memory_order_acquire);
    for (std::uint32_t i = 1; i <= count; ++i) each(cells[i].load(std::memory_order_relaxed));
  }

  // Copy a list, which must exist, to room for `capacity` rows; returns how many they are.
  std::size_t read(std::uint32_t row, std::uint32_t level, std::uint32_t* rows) const;

  // Ask the memory for the lowest list of a row.
  void prefetch_list(std::uint32_t row) const {
    prefetch(list(row, 0), (1 + 2 * m_) * sizeof(Cell));
  }

  // Held by whoever writes a list of the row.
  std::unique_lock<std::mutex> lock(std::uint32_t row);
  void append(std::uint32_t row, std::uint32_t level, std::uint32_t neighbour);
  void write(std::uint32_t row, std::uint32_t level, const std::uint32_t* rows, std::size_t count);

  // Copy everything out in the form of GraphArrays. No thread may write meanwhile.
  void copy_links(std::uint32_t* links) const;
  void copy_upper(std::uint32_t* upper) const;
  const std::vector<std::uint8_t>& levels() const { return levels_; }

 private:
  using Cell = std::atomic<std::uint32_t>;

  Cell* list(std::uint32_t row, std::uint32_t level) const {
    if (level == 0) return links_.get() + row * (1 + 2 * m_);
    return upper_.get() + (upper_starts_[row] + level - 1) * (1 + m_);
  }

  std::size_t m_;
  std::vector<std::uint8_t> levels_;
  std::vector<std::size_t> upper_starts_;  // of each row and of the end: first list in `upper_`
  std::unique_ptr<Cell[]> links_;          // rows * (1 + 2m)
  std::unique_ptr<Cell[]> upper_;          // upper_lists() * (1 + m)
  std::unique_ptr<std::mutex[]> locks_;    // each for many rows
};

}  // namespace fanlight
