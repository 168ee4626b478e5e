// Which rows a walk has met.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace fanlight {

// Each row holds the number of the walk that met it last, so that a new walk need not clear them.
class Visited {
 public:
  void start(std::size_t rows) {
    if (stamps_.size() < rows) stamps_.resize(rows, 0);
    if (++walk_ == 0) {
      std::fill(stamps_.begin(), stamps_.end(), std::uint16_t{0});
      walk_ = 1;
    }
  }

  // Meet a row: true the first time.
  bool meet(std::uint32_t row) {
    const bool first = stamps_[row] != walk_;
    stamps_[row] = walk_;
    return first;
  }

 private:
  std::vector<std::uint16_t> stamps_;
  std::uint16_t walk_ = 0;
};

}  // namespace fanlight
