// What the loops over codes have in common, compiled by each simd_*.cpp for itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "simd.h"

namespace fanlight {
namespace {

constexpr float kLowestKey = -3.4028234663852886e38F;

inline const std::uint8_t* record_of(const CodeTable& table, std::uint32_t row) {
  return table.records + row * table.stride;
}

// Where scale and half lie in a record.
inline std::size_t tail_at(const CodeTable& table) { return (table.dim + 3) / 4 * 4; }

// The key of one row from the raw sum of (code + 128) * query code; see codes.h. Never NaN, not
// even for a record that nobody encoded, so that keys can always be ordered.
inline float key_of(const CodeQuery& query, const CodeTable& table, const std::uint8_t* record,
                    std::int32_t sum) {
  float tail[2];  // scale, half
  std::memcpy(tail, record + tail_at(table), sizeof tail);
  const float key = tail[0] * (static_cast<float>(sum - query.bias) - query.ratio * tail[1]);
  return key > kLowestKey ? key : kLowestKey;
}

}  // namespace
}  // namespace fanlight
