#include "rows.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace fanlight {
namespace {

// Rows scored between two looks at the instruction set: their sums fit the stack.
constexpr std::size_t kBlock = 64;

float rounded(double score) {
  return std::isnan(score) ? -std::numeric_limits<float>::infinity() : static_cast<float>(score);
}

double cosine(double product, double lengths) {
  return lengths > 0 ? std::clamp(product / lengths, -1.0, 1.0) : 0.0;
}

void score_block(const Rows& rows, const float* query, double length, const std::uint32_t* chosen,
                 std::size_t count, float* scores) {
  double sums[kBlock];
  if (rows.metric == Metric::l2) {
    simd().squared_differences(query, rows.dim, rows.vectors, chosen, count, sums);
    for (std::size_t i = 0; i < count; ++i) scores[i] = rounded(-sums[i]);
    return;
  }
  simd().products(query, rows.dim, rows.vectors, chosen, count, sums);
  for (std::size_t i = 0; i < count; ++i) {
    const bool divide = rows.metric == Metric::cosine;
    scores[i] = rounded(divide ? cosine(sums[i], length * rows.lengths[chosen[i]]) : sums[i]);
  }
}

}  // namespace

double length_of(const float* vector, std::size_t dim) {
  const std::uint32_t first = 0;
  double square = 0;
  simd().products(vector, dim, vector, &first, 1, &square);
  return std::sqrt(square);
}

void score_rows(const Rows& rows, const float* query, double length, const std::uint32_t* chosen,
                std::size_t count, float* scores) {
  for (std::size_t at = 0; at < count; at += kBlock) {
    score_block(rows, query, length, chosen + at, std::min(kBlock, count - at), scores + at);
  }
}

}  // namespace fanlight
