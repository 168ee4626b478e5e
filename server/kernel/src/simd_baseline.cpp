// Loops for any machine: 16-byte vectors, which every 64-bit x86 and ARM has.
#include "simd.h"
#include "simd_codes.h"
#include "simd_sums.h"

namespace fanlight {
namespace {

void code_keys(const CodeQuery& query, const CodeTable& table, const std::uint32_t* rows,
               std::size_t count, float* keys) {
  for (std::size_t i = 0; i < count; ++i) {
    ask_ahead(table, rows, i, count);
    const std::uint8_t* record = record_of(table, rows[i]);
    std::int32_t sum = 0;
    for (std::size_t d = 0; d < table.dim; ++d) sum += record[d] * query.values[d];
    keys[i] = key_of(query, table, record, sum);
  }
}

}  // namespace

const Simd simd_baseline = {
    "baseline",
    sums_of<Product, double, 16>,
    sums_of<SquaredDifference, double, 16>,
    sums_of<Product, float, 16>,
    sums_of<SquaredDifference, float, 16>,
    code_keys,
    4, 0.16, 0, 0,  // as for AVX2
};

}  // namespace fanlight
