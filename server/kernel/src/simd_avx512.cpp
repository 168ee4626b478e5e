// Loops for x86 with AVX-512 (F, BW, DQ, VL) and VNNI.
#if defined(__x86_64__)

#include <immintrin.h>

#include "simd.h"
#include "simd_codes.h"
#include "simd_sums.h"
#include "simd_x86.h"

namespace fanlight {
namespace {

inline __m512i load(const void* at) { return _mm512_loadu_si512(at); }

// Each lane of one half added to that of the other.
inline __m256i halves(__m512i sums) {
  return _mm256_add_epi32(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64(sums, 1));
}

// Read whole blocks of 64: what follows the codes in a record meets zeros of the query.
template <typename Records>
__m128 four_keys(const CodeQuery& query, const CodeTable& table, const Records& records) {
  __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
  for (std::size_t at = 0; at < table.dim; at += 64) {
    records.ask(at);
    const __m512i wanted = load(query.values + at);
    a = _mm512_dpbusd_epi32(a, load(records.now[0] + at), wanted);
    b = _mm512_dpbusd_epi32(b, load(records.now[1] + at), wanted);
    c = _mm512_dpbusd_epi32(c, load(records.now[2] + at), wanted);
    d = _mm512_dpbusd_epi32(d, load(records.now[3] + at), wanted);
  }
  return keys_of(query, table, records.now, fold(halves(a), halves(b), halves(c), halves(d)));
}

float one_key(const CodeQuery& query, const CodeTable& table, const std::uint8_t* record) {
  __m512i sums = _mm512_setzero_si512();
  for (std::size_t at = 0; at < table.dim; at += 64) {
    sums = _mm512_dpbusd_epi32(sums, load(record + at), load(query.values + at));
  }
  return key_of(query, table, record, _mm512_reduce_add_epi32(sums));
}

}  // namespace

const Simd simd_avx512 = {
    "avx512",
    sums_of<Product, double, 64>,
    sums_of<SquaredDifference, double, 64>,
    sums_of<Product, float, 64>,
    sums_of<SquaredDifference, float, 64>,
    code_keys<four_keys<FourAsking>, four_keys<FourRecords>, one_key>,
    1.5, 0.02,  // 8,000 to 200,000 rows, AMD EPYC
    // By the time a row is compared the CPU has read it, unless it comes from afar. Walks that ask
    // took 1.14 times as long where all codes are 3.6 MB, 0.98 to 1.14 with 19 and 50 MB, and 0.84
    // to 0.92 with 192 MB; scans 1.0 to 1.3 (2 MiB of second-level cache, Emerald Rapids; ADR 29).
    8 << 20, kNeverAsk,
};

}  // namespace fanlight

#endif
