// Which rows a walk has met.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace fanlight {

// Each row holds the number of the walk that met it last, so that a new walk need not clear them;
// one byte a row, so that they stay in a fast cache.
class Visited {
 public:
  void start(std::size_t rows) {
    if (stamps_.size() < rows) stamps_.resize(rows, 0);
    if (++walk_ == 0) {
      std::fill(stamps_.begin(), stamps_.end(), std::uint8_t{0});
      walk_ = 1;
    }
  }

  bool met(std::uint32_t row) const { return stamps_[row] == walk_; }

  // Meet a row: true the first time.
  bool meet(std::uint32_t row) {
    const bool first = stamps_[row] != walk_;
    stamps_[row] = walk_;
    return first;
  }

  // Meet rows: writes those met for the first time to `fresh`, which has room for all of them, and
  // returns how many they are. Without branches, which nothing could predict.
  std::size_t meet(const std::uint32_t* rows, std::size_t count, std::uint32_t* fresh) {
    // Locals, since the compiler must assume that a byte written may be one of a member.
    std::uint8_t* const stamps = stamps_.data();
    const std::uint8_t walk = walk_;
    std::size_t found = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint32_t row = rows[i];
      fresh[found] = row;
      found += stamps[row] != walk;
      stamps[row] = walk;
    }
    return found;
  }

 private:
  std::vector<std::uint8_t> stamps_;
  std::uint8_t walk_ = 0;
};

}  // namespace fanlight
