// Rows by hashes of what they are looked up by.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fanlight {

// A number that nobody can know: hashes that begin with it meet by chance alone.
std::uint64_t random_seed();

// Clear the bit of a row, which is bit r % 8 of byte r / 8; tell whether it was set.
inline bool clear_bit(std::uint8_t* bits, std::uint32_t row) {
  const unsigned bit = 1U << row % 8;
  const bool was_set = (bits[row / 8] & bit) != 0;
  bits[row / 8] &= static_cast<std::uint8_t>(~bit);
  return was_set;
}

// Rows in the order of their hashes, in buckets of one row on the average. Most hashes that are looked
// up are nobody's, which a bit for each hash tells without a branch (Bloom, "Space/time trade-offs in
// hash coding with allowable errors", 1970, with one hash). It takes 9 to 14 bytes a row.
class HashedRows {
 public:
  // hashes[r] is that of row r.
  explicit HashedRows(const std::vector<std::uint64_t>& hashes);

  std::size_t size() const { return rows_.size(); }

  // 0: no row has this hash; 1: one may have.
  unsigned may_hold(std::uint64_t hash) const {
    const std::uint64_t bit = hash >> (64 - filter_log_);
    return filter_[bit / 8] >> bit % 8 & 1U;
  }

  std::size_t bucket_of(std::uint64_t hash) const { return hash >> (64 - buckets_log_); }
  std::uint32_t begin(std::size_t bucket) const { return starts_[bucket]; }
  std::uint32_t end(std::size_t bucket) const { return starts_[bucket + 1]; }
  std::uint32_t row(std::size_t place) const { return rows_[place]; }

  void prefetch_bounds(std::size_t bucket) const { __builtin_prefetch(&starts_[bucket]); }
  void prefetch_row(std::size_t place) const { __builtin_prefetch(rows_.data() + place); }

 private:
  unsigned filter_log_;
  unsigned buckets_log_;
  std::vector<std::uint8_t> filter_;   // a bit for each hash that a row has
  std::vector<std::uint32_t> starts_;  // of the places of each bucket, and the end
  std::vector<std::uint32_t> rows_;    // place by place
};

}  // namespace fanlight
