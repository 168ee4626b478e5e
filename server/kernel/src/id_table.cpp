#include "id_table.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "placement.h"

namespace fanlight {
namespace {

// Marks take no more bytes than half of the ids that are marked.
constexpr std::uint64_t kMarksPerId = 32;
// To look a row up among marks takes a quarter of the time to look an id up among rows.
constexpr std::size_t kRowsPerId = 4;
// Ids that are looked up together: their hashes fit the first cache.
constexpr std::size_t kBlock = 256;

// How far an id is above the first one; past 2^63 for those below it.
std::uint64_t offset_of(std::int64_t id, std::int64_t first) {
  return static_cast<std::uint64_t>(id) - static_cast<std::uint64_t>(first);
}

void mark(std::vector<std::uint8_t>& marks, std::uint64_t place) {
  marks[place / 8] |= static_cast<std::uint8_t>(1U << place % 8);
}

}  // namespace

IdTable::IdTable(const std::int64_t* ids, std::size_t count)
    : seed_(random_seed()), rows_(hashes(ids, count)), ids_(count) {
  for (std::size_t at = 0; at < count; ++at) ids_[at] = ids[rows_.row(at)];
}

std::uint64_t IdTable::hash(std::int64_t id) const {
  return mixed(static_cast<std::uint64_t>(id) ^ seed_);
}

std::vector<std::uint64_t> IdTable::hashes(const std::int64_t* ids, std::size_t count) const {
  std::vector<std::uint64_t> each(count);
  for (std::size_t row = 0; row < count; ++row) each[row] = hash(ids[row]);
  return each;
}

// Step by step for all of them, so that nothing waits for memory that could have been asked for. Where
// the first row of an id is cleared all of them are: who gives an id of many rows again and again
// makes no work.
void IdTable::clear_some(const std::int64_t* gone, std::size_t count, std::uint8_t* bits) const {
  std::array<std::size_t, kBlock> buckets;
  std::array<std::int64_t, kBlock> ids;
  std::size_t left = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t key = hash(gone[i]);
    buckets[left] = rows_.bucket_of(key);
    ids[left] = gone[i];
    left += rows_.may_hold(key);
  }
  for (std::size_t i = 0; i < left; ++i) rows_.prefetch_bounds(buckets[i]);
  for (std::size_t i = 0; i < left; ++i) {
    __builtin_prefetch(ids_.data() + rows_.begin(buckets[i]));
    rows_.prefetch_row(rows_.begin(buckets[i]));
  }
  for (std::size_t i = 0; i < left; ++i) {
    for (std::uint32_t at = rows_.begin(buckets[i]); at < rows_.end(buckets[i]); ++at) {
      if (ids_[at] == ids[i] && !clear_bit(bits, rows_.row(at))) break;
    }
  }
}

bool IdTable::marking_pays(std::size_t count, std::uint64_t span) const {
  return span < kMarksPerId * count && rows() <= kRowsPerId * count;
}

// Bit i of the marks says whether first + i is gone.
void IdTable::clear_marked(std::int64_t first, const std::vector<std::uint8_t>& marks,
                           std::uint8_t* bits) const {
  const std::uint64_t end = 8 * marks.size();
  for (std::size_t at = 0; at < rows(); ++at) {
    const std::uint64_t place = offset_of(ids_[at], first);
    const unsigned gone = place < end ? marks[place / 8] >> place % 8 & 1U : 0;
    bits[rows_.row(at) / 8] &= static_cast<std::uint8_t>(~(gone << rows_.row(at) % 8));
  }
}

void IdTable::clear(const std::int64_t* gone, std::size_t count, std::uint8_t* bits) const {
  if (count == 0) return;
  const auto [low, high] = std::minmax_element(gone, gone + count);
  const std::uint64_t span = offset_of(*high, *low);
  if (marking_pays(count, span)) {
    std::vector<std::uint8_t> marks(span / 8 + 1);
    for (std::size_t i = 0; i < count; ++i) mark(marks, offset_of(gone[i], *low));
    return clear_marked(*low, marks, bits);
  }
  for (std::size_t at = 0; at < count; at += kBlock) {
    clear_some(gone + at, std::min(kBlock, count - at), bits);
  }
}

template <typename Step>
void IdTable::clear(const IdSteps<Step>& gone, std::uint8_t* bits) const {
  const std::uint64_t span =
      std::accumulate(gone.steps, gone.steps + gone.count, std::uint64_t{0});
  if (marking_pays(gone.count, span)) {
    std::vector<std::uint8_t> marks(span / 8 + 1);
    std::uint64_t place = 0;
    mark(marks, place);
    for (std::size_t i = 0; i < gone.count; ++i) mark(marks, place += gone.steps[i]);
    return clear_marked(gone.first, marks, bits);
  }
  auto id = static_cast<std::uint64_t>(gone.first);
  clear_some(&gone.first, 1, bits);
  std::array<std::int64_t, kBlock> ids;
  for (std::size_t at = 0; at < gone.count; at += kBlock) {
    const std::size_t count = std::min(kBlock, gone.count - at);
    for (std::size_t i = 0; i < count; ++i) {
      id += gone.steps[at + i];
      ids[i] = static_cast<std::int64_t>(id);
    }
    clear_some(ids.data(), count, bits);
  }
}

template void IdTable::clear(const IdSteps<std::uint8_t>&, std::uint8_t*) const;
template void IdTable::clear(const IdSteps<std::uint16_t>&, std::uint8_t*) const;

}  // namespace fanlight
