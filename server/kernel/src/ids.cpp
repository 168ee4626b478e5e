#include "ids.h"

#include <algorithm>

namespace fanlight {
namespace {

// The first place from `at` on where an id is not below `id`, which is probably near: steps that
// double, then a binary search (Bentley and Yao, "An almost optimal algorithm for unbounded
// searching", 1976).
std::size_t skip_to(const std::int64_t* ids, std::size_t at, std::size_t count, std::int64_t id) {
  std::size_t step = 1;
  while (count - at > step && ids[at + step] < id) {
    at += step;
    step *= 2;
  }
  const std::size_t end = count - at > step ? at + step : count;
  return static_cast<std::size_t>(std::lower_bound(ids + at, ids + end, id) - ids);
}

}  // namespace

bool clear_rows(const IdRows& held, const std::int64_t* gone, std::size_t count, std::uint8_t* bits) {
  std::size_t i = 0;
  std::size_t j = 0;
  while (i < held.count && j < count) {
    if (held.ids[i] < gone[j]) {
      i = skip_to(held.ids, i, held.count, gone[j]);
    } else if (gone[j] < held.ids[i]) {
      j = skip_to(gone, j, count, held.ids[i]);
    } else {
      const auto row = static_cast<std::size_t>(held.rows[i++]);
      if (row >= held.count) return false;
      bits[row / 8] &= static_cast<std::uint8_t>(~(1U << row % 8));
    }
  }
  return true;
}

}  // namespace fanlight
