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

constexpr int kSecondLevel = 2;  // of caches, as `prefetch` in rows.h

// Ask for what is to be compared so many rows later.
inline void ask_ahead(const CodeTable& table, const std::uint32_t* rows, std::size_t i,
                      std::size_t count) {
  if (table.ahead == 0 || i + table.ahead >= count) return;
  const std::uint8_t* record = record_of(table, rows[i + table.ahead]);
  for (std::size_t at = 0; at < table.stride; at += 64) {
    __builtin_prefetch(record + at, 0, kSecondLevel);
  }
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
