// Which rows may be returned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace fanlight {

// A bitmap in memory that somebody else keeps: bit r % 8 of byte r / 8 stands for row r. Safe for
// many threads.
class Allowed {
 public:
  Allowed(const std::uint8_t* bits, std::size_t rows);

  bool operator()(std::uint32_t row) const { return (bits_[row / 8] >> (row % 8)) & 1; }
  std::size_t count() const { return count_; }
  double share() const { return static_cast<double>(count_) / static_cast<double>(rows_); }

  // The allowed rows, ascending; listed when they are first asked for.
  const std::vector<std::uint32_t>& rows() const;

 private:
  std::uint64_t word(std::size_t index) const;
  std::size_t words() const { return (rows_ + 63) / 64; }
  void list() const;

  const std::uint8_t* bits_;
  std::size_t rows_;
  std::size_t count_ = 0;
  mutable std::once_flag listed_;
  mutable std::vector<std::uint32_t> list_;
};

}  // namespace fanlight
