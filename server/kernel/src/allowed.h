// Which rows may be returned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fanlight {

// A bitmap in memory that somebody else keeps: bit r % 8 of byte r / 8 stands for row r.
class Allowed {
 public:
  Allowed(const std::uint8_t* bits, std::size_t rows);

  bool operator()(std::uint32_t row) const { return (bits_[row / 8] >> (row % 8)) & 1; }
  std::size_t count() const { return count_; }
  std::vector<std::uint32_t> rows() const;

 private:
  std::uint64_t word(std::size_t index) const;
  std::size_t words() const { return (rows_ + 63) / 64; }

  const std::uint8_t* bits_;
  std::size_t rows_;
  std::size_t count_ = 0;
};

}  // namespace fanlight
