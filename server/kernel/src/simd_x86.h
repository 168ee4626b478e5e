// What the loops over codes for x86 have in common: four rows at a time. Compiled by each
// simd_*.cpp for itself.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "simd.h"
#include "simd_codes.h"

namespace fanlight {
namespace {

// Add up the 8 lanes of each of four vectors.
inline __m128i fold(__m256i a, __m256i b, __m256i c, __m256i d) {
  const __m256i abcd = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
  return _mm_add_epi32(_mm256_castsi256_si128(abcd), _mm256_extracti128_si256(abcd, 1));
}

inline __m128 pair(const std::uint8_t* low, const std::uint8_t* high) {
  const __m128 first = _mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(low)));
  return _mm_loadh_pi(first, reinterpret_cast<const __m64*>(high));
}

// What key_of computes, for four rows.
inline __m128 keys_of(const CodeQuery& query, const CodeTable& table,
                      const std::uint8_t* const (&records)[4], __m128i sums) {
  const std::size_t at = tail_at(table);
  const __m128 ab = pair(records[0] + at, records[1] + at);
  const __m128 cd = pair(records[2] + at, records[3] + at);
  const __m128 scales = _mm_shuffle_ps(ab, cd, _MM_SHUFFLE(2, 0, 2, 0));
  const __m128 halves = _mm_shuffle_ps(ab, cd, _MM_SHUFFLE(3, 1, 3, 1));
  const __m128 products = _mm_cvtepi32_ps(_mm_sub_epi32(sums, _mm_set1_epi32(query.bias)));
  const __m128 weighed = _mm_mul_ps(_mm_set1_ps(query.ratio), halves);
  const __m128 keys = _mm_mul_ps(scales, _mm_sub_ps(products, weighed));
  return _mm_max_ps(keys, _mm_set1_ps(kLowestKey));
}

// Four records that are compared together.
struct FourRecords {
  FourRecords(const CodeTable& table, const std::uint32_t* rows) {
    for (std::size_t j = 0; j < 4; ++j) now[j] = record_of(table, rows[j]);
  }

  void ask(std::size_t) const {}

  const std::uint8_t* now[4];
};

// The same, with those that will be compared some places later.
struct FourAsking : FourRecords {
  FourAsking(const CodeTable& table, const std::uint32_t* rows, std::size_t count)
      : FourRecords(table, rows) {
    for (std::size_t j = 0; j < 4; ++j) {
      const std::size_t later = j + table.ahead;
      next[j] = record_of(table, rows[later < count ? later : count - 1]);
    }
    for (std::size_t at = (table.dim + 63) / 64 * 64; at < table.stride; at += 64) ask(at);
  }

  // Ask for a line of each of those that come. With each line that is compared: to ask for whole
  // records at once took 1.3 to 1.4 times as long (784 dimensions, Zen 3).
  void ask(std::size_t at) const {
    for (const std::uint8_t* record : next) __builtin_prefetch(record + at, 0, kSecondLevel);
  }

  const std::uint8_t* next[4];
};

template <typename Records>
using FourKeys = __m128 (*)(const CodeQuery&, const CodeTable&, const Records&);
using OneKey = float (*)(const CodeQuery&, const CodeTable&, const std::uint8_t* record);

// Keys of any number of rows.
template <FourKeys<FourAsking> kAsking, FourKeys<FourRecords> kFour, OneKey kOne>
void code_keys(const CodeQuery& query, const CodeTable& table, const std::uint32_t* rows,
               std::size_t count, float* keys) {
  const std::size_t asking = table.ahead > 0 && table.ahead < count ? count - table.ahead : 0;
  std::size_t i = 0;
  for (; i < asking && i + 4 <= count; i += 4) {
    _mm_storeu_ps(keys + i, kAsking(query, table, FourAsking(table, rows + i, count - i)));
  }
  for (; i + 4 <= count; i += 4) {
    _mm_storeu_ps(keys + i, kFour(query, table, FourRecords(table, rows + i)));
  }
  for (; i < count; ++i) keys[i] = kOne(query, table, record_of(table, rows[i]));
}

}  // namespace
}  // namespace fanlight
