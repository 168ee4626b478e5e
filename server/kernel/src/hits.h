// Where the hits of one query are written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "top_k.h"

namespace fanlight {

struct HitsOut {
  std::int64_t* rows;   // k, -1 for none
  float* scores;        // k, NaN for none
  std::int64_t* count;  // 1
  std::size_t k;

  // With `order` in the place of rows.
  void write_orders(const std::vector<Hit>& hits) const {
    write(hits);
    for (std::size_t i = 0; i < hits.size(); ++i) rows[i] = hits[i].order;
  }

  void write(const std::vector<Hit>& hits) const {
    for (std::size_t i = 0; i < hits.size(); ++i) {
      rows[i] = hits[i].row;
      scores[i] = hits[i].score;
    }
    *count = static_cast<std::int64_t>(hits.size());
  }
};

}  // namespace fanlight
