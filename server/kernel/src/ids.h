// Columns of ids, ascending.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fanlight {

// n ids in ascending order, perhaps several times, and the row of each.
struct IdRows {
  const std::int64_t* ids;
  const std::int64_t* rows;
  std::size_t count;
};

// Clear the bits of the rows whose ids are among `gone`, which ascend: bit r % 8 of byte r / 8 is
// that of row r. False when one of them has no bit.
bool clear_rows(const IdRows& held, const std::int64_t* gone, std::size_t count, std::uint8_t* bits);

}  // namespace fanlight
