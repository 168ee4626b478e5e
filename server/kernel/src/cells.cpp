#include "cells.h"

#include <stdexcept>
#include <string>

namespace fanlight {

void check_cells(const Cells& cells, std::size_t rows) {
  if (cells.bounds[0] != 0 || cells.bounds[cells.count] != rows) {
    throw std::invalid_argument("cells: bounds: expected to begin with 0 and end with " +
                                std::to_string(rows));
  }
  for (std::size_t cell = 0; cell < cells.count; ++cell) {
    if (cells.bounds[cell] > cells.bounds[cell + 1]) {
      throw std::invalid_argument("cells: bounds: expected them to ascend, got less after cell " +
                                  std::to_string(cell));
    }
  }
  for (std::size_t i = 0; i < rows; ++i) {
    if (cells.rows[i] >= rows) {
      throw std::invalid_argument("cells: rows: expected rows below " + std::to_string(rows) +
                                  ", got " + std::to_string(cells.rows[i]));
    }
  }
}

std::vector<std::uint32_t> numbers_of_cells(const Cells& cells, std::size_t rows) {
  std::vector<std::uint32_t> numbers(rows);
  for (std::uint32_t cell = 0; cell < cells.count; ++cell) {
    for (std::size_t i = cells.bounds[cell]; i < cells.bounds[cell + 1]; ++i) {
      numbers[cells.rows[i]] = cell;
    }
  }
  return numbers;
}

}  // namespace fanlight
