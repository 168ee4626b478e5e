#include "graph.h"

#include <string>

namespace fanlight {
namespace {

[[noreturn]] void refuse(const char* name, const std::string& expected, const std::string& got) {
  throw std::invalid_argument(std::string(name) + ": expected " + expected + ", got " + got);
}

std::string at_row(std::uint64_t value, std::size_t row) {
  return std::to_string(value) + " at row " + std::to_string(row);
}

std::uint32_t largest_of(const std::uint32_t* values, std::uint32_t count) {
  std::uint32_t largest = 0;
  for (std::uint32_t i = 0; i < count; ++i) largest = values[i] > largest ? values[i] : largest;
  return largest;
}

// Check the list at one row of an array of lists.
void check_list(const char* name, const std::uint32_t* list, std::size_t width, std::size_t rows,
                std::size_t at) {
  if (list[0] >= width) {
    refuse(name, "at most " + std::to_string(width - 1) + " neighbours", at_row(list[0], at));
  }
  const std::uint32_t largest = largest_of(list + 1, list[0]);
  if (largest >= rows) {
    refuse(name, "neighbours below " + std::to_string(rows), at_row(largest, at));
  }
}

}  // namespace

Graph::Graph(const Rows& rows, const GraphArrays& arrays, const Cells& cells)
    : rows_(rows), arrays_(arrays), cells_(cells) {
  if (rows.count == 0) refuse("rows", "at least one row", "0");
  upper_starts_.resize(rows.count);
  std::size_t start = 0;
  for (std::size_t row = 0; row < rows.count; ++row) {
    upper_starts_[row] = static_cast<std::uint32_t>(start);
    start += arrays.levels[row];
    if (start > arrays.upper_rows) break;
  }
  if (start != arrays.upper_rows) {
    refuse("upper", "as many rows as the sum of levels", std::to_string(arrays.upper_rows));
  }
  check_levels();
  check_links();
  check_upper();
  if (cells_.count > 0) {
    check_cells(cells_, rows_.count);
    cell_of_ = numbers_of_cells(cells_, rows_.count);
  }
}

void Graph::check_levels() const {
  if (arrays_.entry_point >= rows_.count) {
    refuse("entry_point", "a row below " + std::to_string(rows_.count),
           std::to_string(arrays_.entry_point));
  }
  if (arrays_.levels[arrays_.entry_point] != arrays_.top_level) {
    refuse("top_level",
           "the level of the entry point, " + std::to_string(arrays_.levels[arrays_.entry_point]),
           std::to_string(arrays_.top_level));
  }
  for (std::size_t row = 0; row < rows_.count; ++row) {
    if (arrays_.levels[row] > arrays_.top_level) {
      refuse("levels", "at most " + std::to_string(arrays_.top_level),
             at_row(arrays_.levels[row], row));
    }
  }
}

void Graph::check_links() const {
  for (std::size_t row = 0; row < rows_.count; ++row) {
    check_list("links", arrays_.links + row * arrays_.link_width, arrays_.link_width, rows_.count,
               row);
  }
}

// A neighbour on a level must itself be there, since the walk goes on from it on that level.
void Graph::check_upper() const {
  for (std::size_t row = 0; row < rows_.count; ++row) {
    for (std::uint32_t level = 1; level <= arrays_.levels[row]; ++level) {
      const std::size_t block = upper_starts_[row] + level - 1;
      const std::uint32_t* list = arrays_.upper + block * arrays_.upper_width;
      check_list("upper", list, arrays_.upper_width, rows_.count, block);
      for (std::uint32_t i = 1; i <= list[0]; ++i) {
        if (arrays_.levels[list[i]] < level) {
          refuse("upper", "neighbours on level " + std::to_string(level), at_row(list[i], block));
        }
      }
    }
  }
}

}  // namespace fanlight
