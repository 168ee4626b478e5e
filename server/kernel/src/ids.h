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

// Ids in ascending order by the steps between them: `first`, and one more for each of `count` steps.
// A step is `low`, a number of `width` bytes, and above it `high`: a byte, or 255 for the next of
// `wide`. Without `high` it is `low`.
struct IdSteps {
  std::int64_t first;
  const void* low;
  std::size_t width;  // 1, 2 or 4
  std::size_t count;
  const std::uint8_t* high;  // null: none
  const std::uint64_t* wide;
  std::size_t wide_count;
};

// Clear the bits of the rows whose ids are among `gone`, which ascend: bit r % 8 of byte r / 8 is
// that of row r. False when one of them has no bit.
bool clear_rows(const IdRows& held, const std::int64_t* gone, std::size_t count, std::uint8_t* bits);

// The same for ids by their steps, without a column of them; where a wide one is missing it ends.
bool clear_rows(const IdRows& held, const IdSteps& gone, std::uint8_t* bits);

}  // namespace fanlight
