#include "hashed_rows.h"

#include <random>

namespace fanlight {
namespace {

// The smallest power of two from `least` on that is not below `count`.
unsigned log_of(std::size_t count, unsigned least) {
  while ((std::size_t{1} << least) < count) ++least;
  return least;
}

}  // namespace

std::uint64_t random_seed() {
  std::random_device device;
  return (std::uint64_t{device()} << 32) | device();
}

HashedRows::HashedRows(const std::vector<std::uint64_t>& hashes)
    : filter_log_(log_of(8 * hashes.size(), 3)),
      buckets_log_(log_of(hashes.size(), 1)),
      filter_((std::size_t{1} << filter_log_) / 8),
      starts_((std::size_t{1} << buckets_log_) + 1),
      rows_(hashes.size()) {
  for (const std::uint64_t hash : hashes) {
    const std::uint64_t bit = hash >> (64 - filter_log_);
    filter_[bit / 8] |= static_cast<std::uint8_t>(1U << bit % 8);
    ++starts_[bucket_of(hash) + 1];
  }
  for (std::size_t i = 1; i < starts_.size(); ++i) starts_[i] += starts_[i - 1];
  std::vector<std::uint32_t> next(starts_);
  for (std::size_t row = 0; row < hashes.size(); ++row) {
    rows_[next[bucket_of(hashes[row])]++] = static_cast<std::uint32_t>(row);
  }
}

}  // namespace fanlight
