// The inner loops, one set for each instruction set, chosen at run time.
//
// Plain pointers and no library headers that define functions: the files that implement these
// loops are compiled for instruction sets that the machine may lack, and an inline function of
// theirs must never become the copy that everybody shares.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fanlight {

// A query as codes, see codes.h.
struct CodeQuery {
  const std::int8_t* values;  // dim codes, then zeros up to a multiple of 64
  std::int32_t bias;          // 128 times the sum of the codes
  float ratio;                // weight of a row's `half`
};

// Records of rows as codes, see codes.h.
struct CodeTable {
  const std::uint8_t* records;
  std::size_t stride;  // bytes of a record, a multiple of 64
  std::size_t dim;
  std::size_t ahead = 0;  // rows that are asked for before they are compared, see rows.h
};

// Sums over the elements of a query and of each of `count` rows of a table: row r of the table
// starts at base + r * dim. Element i is added in lane i % 8 (float64) or i % 16 (float32), then
// the lanes are added in one fixed tree, so that every set of loops gives the same bits.
using DoubleSums = void (*)(const float* query, std::size_t dim, const float* base,
                            const std::uint32_t* rows, std::size_t count, double* sums);
using FloatSums = void (*)(const float* query, std::size_t dim, const float* base,
                           const std::uint32_t* rows, std::size_t count, float* sums);

// Keys of `count` rows for a query, both as codes: larger is nearer, see codes.h. While a row is
// compared the one so many places `ahead` is asked for.
using CodeKeys = void (*)(const CodeQuery& query, const CodeTable& table, const std::uint32_t* rows,
                          std::size_t count, float* keys);

constexpr std::size_t kNeverAsk = ~std::size_t{0};

struct Simd {
  const char* name;
  DoubleSums products;             // sum of q * x
  DoubleSums squared_differences;  // sum of (x - q)^2
  FloatSums float_products;
  FloatSums float_squared_differences;
  CodeKeys code_keys;
  // What comparing a row's codes takes in a scan, in nanoseconds of one core, choosing included:
  // for the row, and for each byte of its record. Fitted to 64 to 784 dimensions.
  double row_ns;
  double byte_ns;
  // Bytes of a table of codes from which on codes are asked for before they are compared.
  std::size_t walks_ask_from;
  std::size_t scans_ask_from;
};

// The loops in use: the best that the machine has, or a lower level when one was forced.
const Simd& simd();

// Use the loops of a level from now on; false when the machine does not have it.
bool force_simd(const char* level);

// The names of the levels that the machine has, best first; ends with nullptr.
const char* const* simd_levels();

extern const Simd simd_baseline;
#if defined(__x86_64__)
extern const Simd simd_avx2;
extern const Simd simd_avx512;
#endif
#if defined(__aarch64__)
extern const Simd simd_neon;
#endif

}  // namespace fanlight
