// Loops for ARM with the dot product instructions (ARMv8.2 and later).
#if defined(__aarch64__)

#include <arm_neon.h>

#include "simd.h"
#include "simd_codes.h"
#include "simd_sums.h"

namespace fanlight {
namespace {

// Reads whole blocks of 32: what follows the codes in a record meets zeros of the query. The
// instruction multiplies signed bytes, so the codes lose their offset of 128 first.
std::int32_t product(const std::uint8_t* record, const std::int8_t* query, std::size_t dim) {
  const uint8x16_t offset = vdupq_n_u8(128);
  int32x4_t low = vdupq_n_s32(0);
  int32x4_t high = vdupq_n_s32(0);
  for (std::size_t d = 0; d < dim; d += 32) {
    const int8x16_t first = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(record + d), offset));
    const int8x16_t second = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(record + d + 16), offset));
    low = vdotq_s32(low, first, vld1q_s8(query + d));
    high = vdotq_s32(high, second, vld1q_s8(query + d + 16));
  }
  return vaddvq_s32(vaddq_s32(low, high));
}

void code_keys(const CodeQuery& query, const CodeTable& table, const std::uint32_t* rows,
               std::size_t count, float* keys) {
  for (std::size_t i = 0; i < count; ++i) {
    ask_ahead(table, rows, i, count);
    const std::uint8_t* record = record_of(table, rows[i]);
    const std::int32_t sum = product(record, query.values, table.dim) + query.bias;
    keys[i] = key_of(query, table, record, sum);
  }
}

}  // namespace

const Simd simd_neon = {
    "neon",
    sums_of<Product, double, 16>,
    sums_of<SquaredDifference, double, 16>,
    sums_of<Product, float, 16>,
    sums_of<SquaredDifference, float, 16>,
    code_keys,
    4, 0.06, 0, 0,  // not measured; as for AVX2
};

}  // namespace fanlight

#endif
