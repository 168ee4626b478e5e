// What a walk compares: codes, or vectors in float32. Keys are larger for nearer rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "cells.h"
#include "query.h"
#include "rows.h"

namespace fanlight {

// Keys of the centres of the cells listed, by their codes, for a query that was encoded.
inline void keys_of_centres(const Cells& cells, const Rows& rows, const CodeQuery& query,
                            const std::vector<std::uint32_t>& listed, float* keys) {
  CodeTable centres = rows.scan_table();
  centres.records = cells.centres;
  simd().code_keys(query, centres, listed.data(), listed.size(), keys);
}

class CodeScorer {
 public:
  static void prepare(const Rows& rows, Query& query) { query.encode(rows); }

  CodeScorer(const Rows& rows, const Query& query)
      : rows_(rows), table_(rows.code_table()), query_(query.codes()) {}

  void keys(const std::uint32_t* rows, std::size_t count, float* keys) const {
    simd().code_keys(query_, table_, rows, count, keys);
  }

  // Ask for what `keys` does not ask for itself.
  void prefetch_first(const std::uint32_t* rows, std::size_t count) const {
    fanlight::prefetch_first(table_, rows, count);
  }

  void centre_keys(const Cells& cells, const std::vector<std::uint32_t>& listed,
                   float* keys) const {
    keys_of_centres(cells, rows_, query_, listed, keys);
  }

 private:
  const Rows& rows_;
  CodeTable table_;
  CodeQuery query_;
};

// The comparison that hnswlib makes of vectors divided by their lengths, without a copy of them.
class VectorScorer {
 public:
  static void prepare(const Rows& rows, Query& query) {
    query.make_unit(rows);
    query.encode(rows);
  }

  VectorScorer(const Rows& rows, const Query& query)
      : rows_(rows), query_(query.unit()), codes_(query.codes()) {}

  void keys(const std::uint32_t* chosen, std::size_t count, float* keys) const {
    if (rows_.metric == Metric::l2) {
      simd().float_squared_differences(query_, rows_.dim, rows_.vectors, chosen, count, keys);
    } else {
      simd().float_products(query_, rows_.dim, rows_.vectors, chosen, count, keys);
    }
    for (std::size_t i = 0; i < count; ++i) keys[i] = ordered(keys[i], chosen[i]);
  }

  void prefetch_first(const std::uint32_t* rows, std::size_t count) const {
    for (std::size_t i = 0; i < count; ++i) {
      prefetch(rows_.vectors + rows[i] * rows_.dim, rows_.dim * sizeof(float));
    }
  }

  void centre_keys(const Cells& cells, const std::vector<std::uint32_t>& listed,
                   float* keys) const {
    keys_of_centres(cells, rows_, codes_, listed, keys);
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
  CodeQuery codes_;
};

}  // namespace fanlight
