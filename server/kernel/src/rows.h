// Rows of vectors, and the one definition of a score.
#pragma once

#include <cstddef>
#include <cstdint>

#include "metric.h"
#include "simd.h"

namespace fanlight {

// Rows whose codes are asked for before they are compared: 4, or 8 where they are short. To ask at
// once for all that is compared at a time makes the CPU wait until the memory has taken in the
// questions, before it compares anything: that took 1.3 to 1.6 times as long (16 or 32 rows that lie
// here and there, 128 and 784 dimensions, Zen 3; ADR 29).
inline std::size_t rows_ahead(std::size_t rows, std::size_t stride, std::size_t ask_from) {
  if (rows * stride < ask_from) return 0;
  return stride < 256 ? 8 : 4;
}

// n rows, in memory that somebody else keeps and nobody changes.
struct Rows {
  Metric metric = Metric::cosine;
  std::size_t count = 0;
  std::size_t dim = 0;
  const float* vectors = nullptr;       // count * dim, as they were put
  const double* lengths = nullptr;      // count, Euclidean
  const std::int64_t* order = nullptr;  // count, or null for ascending row numbers
  const std::uint8_t* codes = nullptr;  // count records, or null
  std::size_t code_stride = 0;

  std::int64_t order_of(std::uint32_t row) const { return order ? order[row] : row; }
  // For walks, and for scans, where the CPU knows earlier what comes.
  CodeTable code_table() const { return code_table(simd().walks_ask_from); }
  CodeTable scan_table() const { return code_table(simd().scans_ask_from); }

 private:
  CodeTable code_table(std::size_t ask_from) const {
    return {codes, code_stride, dim, rows_ahead(count, code_stride, ask_from)};
  }
};

// Ask the memory for the bytes that start at `at`, before they are needed. Into the second-level
// cache: the first one is too small for what a walk asks for at a time, and on the way there the
// CPU waits for room (1.1 to 1.3 times as long a walk, measured on 8,000 to 100,000 rows).
inline void prefetch(const void* at, std::size_t bytes) {
  constexpr int kSecondLevel = 2;
  const char* line = static_cast<const char*>(at);
  for (std::size_t offset = 0; offset < bytes; offset += 64) {
    __builtin_prefetch(line + offset, 0, kSecondLevel);
  }
}

// Ask for the first of some rows, which `code_keys` does not ask for itself.
inline void prefetch_first(const CodeTable& table, const std::uint32_t* rows, std::size_t count) {
  for (std::size_t i = 0; i < count && i < table.ahead; ++i) {
    prefetch(table.records + rows[i] * table.stride, table.stride);
  }
}

// The Euclidean length of a vector, computed in float64.
double length_of(const float* vector, std::size_t dim);

// Score rows for a query of the given length: computed in float64 from the vectors as they were
// put, rounded to float32 once, so that a score is the same wherever a row lies. Cosine: in
// [-1, 1], and 0 where a length is 0. l2: the negative squared distance. A score that is not a
// number (of vectors that are not finite) counts as -infinity.
void score_rows(const Rows& rows, const float* query, double length, const std::uint32_t* chosen,
                std::size_t count, float* scores);

}  // namespace fanlight
