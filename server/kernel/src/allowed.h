// Which rows may be returned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace fanlight {

class Graph;

// A bitmap in memory that somebody else keeps: bit r % 8 of byte r / 8 stands for row r. Safe for
// many threads.
class Allowed {
 public:
  // `queries` share what is listed.
  Allowed(const std::uint8_t* bits, std::size_t rows, std::size_t queries);

  bool operator()(std::uint32_t row) const { return (bits_[row / 8] >> (row % 8)) & 1; }
  std::size_t count() const { return count_; }
  double share() const { return static_cast<double>(count_) / static_cast<double>(rows_); }

  std::size_t queries() const { return queries_; }

  // The allowed rows, ascending; listed when they are first asked for.
  const std::vector<std::uint32_t>& rows() const;

  // The cells of a graph over all rows that hold allowed ones, ascending; listed likewise.
  const std::vector<std::uint32_t>& cells(const Graph& graph) const;

 private:
  std::uint64_t word(std::size_t index) const;
  std::size_t words() const { return (rows_ + 63) / 64; }
  template <typename Take>
  void each(Take take) const;
  void list_cells(const Graph& graph) const;

  const std::uint8_t* bits_;
  std::size_t rows_;
  std::size_t queries_;
  std::size_t count_ = 0;
  mutable std::once_flag listed_;
  mutable std::vector<std::uint32_t> list_;
  mutable std::once_flag cells_listed_;
  mutable std::vector<std::uint32_t> cells_;
};

}  // namespace fanlight
