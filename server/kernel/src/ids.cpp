#include "ids.h"

#include <algorithm>
#include <array>

namespace fanlight {
namespace {

// The first place from `at` on where an id is not below `id`, which is probably near: the next four
// are compared without a branch, since where columns are about as dense nobody can predict one (half
// of the time for 100,000 ids among 20,000). Then steps that double, and a binary search (Bentley and
// Yao, "An almost optimal algorithm for unbounded searching", 1976).
std::size_t skip_to(const std::int64_t* ids, std::size_t at, std::size_t count, std::int64_t id) {
  constexpr std::size_t near = 4;
  if (count - at > near) {
    std::size_t below = 0;
    for (std::size_t i = 0; i < near; ++i) below += ids[at + i] < id ? 1 : 0;
    at += below;
    if (below < near) return at;
  }
  if (!(ids[at] < id)) return at;
  std::size_t step = 1;
  while (count - at > step && ids[at + step] < id) {
    at += step;
    step *= 2;
  }
  const std::size_t end = count - at > step ? at + step : count;
  return static_cast<std::size_t>(std::lower_bound(ids + at, ids + end, id) - ids);
}

// Clears bits of rows, id by id.
class Clearing {
 public:
  Clearing(const IdRows& held, std::uint8_t* bits) : held_(held), bits_(bits) {}

  // Take the next ids, none below those before. False when a row has no bit.
  bool take(const std::int64_t* gone, std::size_t count) {
    std::size_t next = 0;
    while (!done() && next < count) {
      next = skip_to(gone, next, count, held_.ids[at_]);
      if (next == count) break;
      if (gone[next] != held_.ids[at_]) {
        at_ = skip_to(held_.ids, at_, held_.count, gone[next]);
        continue;
      }
      const auto row = static_cast<std::size_t>(held_.rows[at_++]);
      if (row >= held_.count) return false;
      bits_[row / 8] &= static_cast<std::uint8_t>(~(1U << row % 8));
    }
    return true;
  }

  bool done() const { return at_ == held_.count; }

 private:
  const IdRows& held_;
  std::uint8_t* bits_;
  std::size_t at_ = 0;
};

// Reads the ids after the first off their steps. Sums wrap.
template <typename Low>
class StepReader {
 public:
  explicit StepReader(const IdSteps& steps)
      : steps_(steps),
        low_(static_cast<const Low*>(steps.low)),
        id_(static_cast<std::uint64_t>(steps.first)) {}

  // Give the next ids, at most so many; fewer at the end.
  std::size_t read(std::int64_t* ids, std::size_t most) {
    const std::size_t count = std::min(most, steps_.count - at_);
    for (std::size_t i = 0; i < count; ++i) {
      id_ += low_[at_ + i];
      if (steps_.high && !add_high(steps_.high[at_ + i])) return i;
      ids[i] = static_cast<std::int64_t>(id_);
    }
    at_ += count;
    return count;
  }

 private:
  bool add_high(std::uint64_t high) {
    if (high == kWide) {
      if (wide_ == steps_.wide_count) return false;
      high = steps_.wide[wide_++];
    }
    id_ += high << (8 * sizeof(Low));
    return true;
  }

  static constexpr std::uint64_t kWide = 255;
  const IdSteps& steps_;
  const Low* low_;
  std::uint64_t id_;
  std::size_t at_ = 0;
  std::size_t wide_ = 0;
};

// Block by block, so that ids are looked up while they are near: a column of 100,000 is larger
// than most second caches.
template <typename Low>
bool clear_read(Clearing& clearing, const IdSteps& gone) {
  StepReader<Low> reader(gone);
  std::array<std::int64_t, 256> ids{gone.first};
  std::size_t count = 1 + reader.read(ids.data() + 1, ids.size() - 1);
  bool fits = clearing.take(ids.data(), count);
  while (fits && count == ids.size() && !clearing.done()) {
    count = reader.read(ids.data(), ids.size());
    fits = clearing.take(ids.data(), count);
  }
  return fits;
}

}  // namespace

bool clear_rows(const IdRows& held, const std::int64_t* gone, std::size_t count, std::uint8_t* bits) {
  return Clearing(held, bits).take(gone, count);
}

bool clear_rows(const IdRows& held, const IdSteps& gone, std::uint8_t* bits) {
  Clearing clearing(held, bits);
  switch (gone.width) {
    case 1:
      return clear_read<std::uint8_t>(clearing, gone);
    case 2:
      return clear_read<std::uint16_t>(clearing, gone);
    default:
      return clear_read<std::uint32_t>(clearing, gone);
  }
}

}  // namespace fanlight
