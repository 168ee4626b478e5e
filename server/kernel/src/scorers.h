// What a walk compares: codes, or vectors in float32. Keys are larger for nearer rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "query.h"
#include "rows.h"

namespace fanlight {

class CodeScorer {
 public:
  static void prepare(const Rows& rows, Query& query) { query.encode(rows); }

  CodeScorer(const Rows& rows, const Query& query)
      : table_(rows.code_table()), query_(query.codes()) {}

  void keys(const std::uint32_t* rows, std::size_t count, float* keys) const {
    simd().code_keys(query_, table_, rows, count, keys);
  }

  void prefetch_row(std::uint32_t row) const {
    prefetch(table_.records + row * table_.stride, table_.stride);
  }

 private:
  CodeTable table_;
  CodeQuery query_;
};

// The comparison that hnswlib makes of vectors divided by their lengths, without a copy of them.
class VectorScorer {
 public:
  static void prepare(const Rows& rows, Query& query) { query.make_unit(rows); }

  VectorScorer(const Rows& rows, const Query& query) : rows_(rows), query_(query.unit()) {}

  void keys(const std::uint32_t* chosen, std::size_t count, float* keys) const {
    if (rows_.metric == Metric::l2) {
      simd().float_squared_differences(query_, rows_.dim, rows_.vectors, chosen, count, keys);
    } else {
      simd().float_products(query_, rows_.dim, rows_.vectors, chosen, count, keys);
    }
    for (std::size_t i = 0; i < count; ++i) keys[i] = ordered(keys[i], chosen[i]);
  }

  void prefetch_row(std::uint32_t row) const {
    prefetch(rows_.vectors + row * rows_.dim, rows_.dim * sizeof(float));
  }

 private:
  // Never NaN, so that keys can always be ordered.
  float ordered(float sum, std::uint32_t row) const {
    if (rows_.metric == Metric::l2) sum = -sum;
    if (rows_.metric == Metric::cosine) sum = static_cast<float>(sum / rows_.lengths[row]);
    constexpr float lowest = std::numeric_limits<float>::lowest();
    return sum > lowest ? sum : lowest;
  }

  const Rows& rows_;
  const float* query_;
};

}  // namespace fanlight
