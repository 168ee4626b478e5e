// An HNSW graph (Malkov and Yashunin 2016) as flat arrays, checked once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "cells.h"
#include "rows.h"

namespace fanlight {

struct GraphArrays {
  const std::uint32_t* links = nullptr;  // rows x link_width: number of neighbours, then rows
  std::size_t link_width = 0;
  const std::uint8_t* levels = nullptr;  // highest level of each row
  const std::uint32_t* upper = nullptr;  // levels 1 and up, row after row, in the form of links
  std::size_t upper_rows = 0;
  std::size_t upper_width = 0;
  std::uint32_t entry_point = 0;
  std::uint32_t top_level = 0;
};

struct Neighbours {
  const std::uint32_t* rows;
  std::uint32_t count;
};

class Graph {
 public:
  // Throws std::invalid_argument, naming the array, when following it could lead outside of it.
  Graph(const Rows& rows, const GraphArrays& arrays, const Cells& cells = Cells());

  const Rows& rows() const { return rows_; }
  const Cells& cells() const { return cells_; }
  // Of a graph that has cells.
  std::uint32_t cell_of(std::uint32_t row) const { return cell_of_[row]; }
  std::uint32_t entry_point() const { return arrays_.entry_point; }
  std::uint32_t top_level() const { return arrays_.top_level; }
  // Half the neighbours that a row can have on the lowest level, at least 1.
  std::size_t m() const { return arrays_.link_width > 3 ? (arrays_.link_width - 1) / 2 : 1; }
  std::size_t max_neighbours() const {
    return arrays_.link_width > arrays_.upper_width ? arrays_.link_width : arrays_.upper_width;
  }

  Neighbours neighbours(std::uint32_t row) const {
    const std::uint32_t* at = arrays_.links + row * arrays_.link_width;
    return {at + 1, at[0]};
  }

  // Of a row and a level from 1 up to the row's own.
  Neighbours upper_neighbours(std::uint32_t row, std::uint32_t level) const {
    const std::size_t block = upper_starts_[row] + (level - 1);
    const std::uint32_t* at = arrays_.upper + block * arrays_.upper_width;
    return {at + 1, at[0]};
  }

  void prefetch_neighbours(std::uint32_t row) const {
    prefetch(arrays_.links + row * arrays_.link_width, arrays_.link_width * sizeof(std::uint32_t));
  }

 private:
  void check_levels() const;
  void check_links() const;
  void check_upper() const;

  Rows rows_;
  GraphArrays arrays_;
  Cells cells_;
  std::vector<std::uint32_t> cell_of_;       // of each row; empty where there are no cells
  std::vector<std::uint32_t> upper_starts_;  // of each row: its first block of `upper`
};

}  // namespace fanlight
