// Loops for x86 with AVX-512 (F, BW, DQ, VL) and VNNI.
#if defined(__x86_64__)

#include <immintrin.h>

#include "simd.h"
#include "simd_codes.h"
#include "simd_sums.h"

namespace fanlight {
namespace {

inline __m512i load(const void* at) { return _mm512_loadu_si512(at); }

inline __m256i halves(__m512i sums) {
  return _mm256_add_epi32(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64(sums, 1));
}

// Add up the 16 lanes of each of four vectors.
inline __m128i fold(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m256i ab = _mm256_hadd_epi32(halves(a), halves(b));
  const __m256i cd = _mm256_hadd_epi32(halves(c), halves(d));
  const __m256i abcd = _mm256_hadd_epi32(ab, cd);
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

// Reads whole blocks of 64: what follows the codes in a record meets zeros of the query.
void four_keys(const CodeQuery& query, const CodeTable& table, const std::uint32_t* rows,
               float* keys) {
  const std::uint8_t* records[4];
  for (int i = 0; i < 4; ++i) records[i] = record_of(table, rows[i]);
  __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
  for (std::size_t at = 0; at < table.dim; at += 64) {
    const __m512i wanted = load(query.values + at);
    a = _mm512_dpbusd_epi32(a, load(records[0] + at), wanted);
    b = _mm512_dpbusd_epi32(b, load(records[1] + at), wanted);
    c = _mm512_dpbusd_epi32(c, load(records[2] + at), wanted);
    d = _mm512_dpbusd_epi32(d, load(records[3] + at), wanted);
  }
  _mm_storeu_ps(keys, keys_of(query, table, records, fold(a, b, c, d)));
}

float one_key(const CodeQuery& query, const CodeTable& table, std::uint32_t row) {
  const std::uint8_t* record = record_of(table, row);
  __m512i sums = _mm512_setzero_si512();
  for (std::size_t at = 0; at < table.dim; at += 64) {
    sums = _mm512_dpbusd_epi32(sums, load(record + at), load(query.values + at));
  }
  return key_of(query, table, record, _mm512_reduce_add_epi32(sums));
}

void code_keys(const CodeQuery& query, const CodeTable& table, const std::uint32_t* rows,
               std::size_t count, float* keys) {
  std::size_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (std::size_t next = i; next < i + 4; ++next) ask_ahead(table, rows, next, count);
    four_keys(query, table, rows + i, keys + i);
  }
  for (; i < count; ++i) keys[i] = one_key(query, table, rows[i]);
}

}  // namespace

const Simd simd_avx512 = {
    "avx512",
    sums_of<Product, double, 64>,
    sums_of<SquaredDifference, double, 64>,
    sums_of<Product, float, 64>,
    sums_of<SquaredDifference, float, 64>,
    code_keys,
    1.5, 0.02,  // 8,000 to 200,000 rows, AMD EPYC
};

}  // namespace fanlight

#endif
