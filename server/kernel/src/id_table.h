// Rows by their ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fanlight {

// Ids in ascending order by the steps between them: `first`, and one more for each of `count` steps.
template <typename Step>
struct IdSteps {
  std::int64_t first;
  const Step* steps;
  std::size_t count;
};

// The rows of a column of ids, in any order and perhaps several times, ordered by hashes of the ids.
// Most ids that are looked up are nobody's, which a bit for each hash tells without a branch (Bloom,
// "Space/time trade-offs in hash coding with allowable errors", 1970, with one hash). Where many ids
// that lie close together are looked up they are marked instead, and the ids of all rows looked up
// among the marks. It takes 15 to 20 bytes a row.
class IdTable {
 public:
  IdTable(const std::int64_t* ids, std::size_t count);

  // Clear the bits of the rows whose ids are among `gone`, in any order, where all are set: bit r % 8 of
  // byte r / 8 is that of row r.
  void clear(const std::int64_t* gone, std::size_t count, std::uint8_t* bits) const;

  // The same for ids by their steps, of uint8 or uint16, without a column of them. Sums wrap.
  template <typename Step>
  void clear(const IdSteps<Step>& gone, std::uint8_t* bits) const;

  std::size_t rows() const { return rows_.size(); }

 private:
  std::uint64_t hash(std::int64_t id) const;
  std::size_t bit_of(std::uint64_t hash) const { return hash >> (64 - filter_log_); }
  std::size_t bucket_of(std::uint64_t hash) const { return hash >> (64 - buckets_log_); }
  bool marking_pays(std::size_t count, std::uint64_t span) const;
  void clear_marked(std::int64_t first, const std::vector<std::uint8_t>& marks, std::uint8_t* bits) const;
  void fill(const std::int64_t* ids, const std::vector<std::uint64_t>& hashes);
  void clear_some(const std::int64_t* gone, std::size_t count, std::uint8_t* bits) const;

  std::uint64_t seed_;
  unsigned filter_log_;
  unsigned buckets_log_;
  std::vector<std::uint8_t> filter_;    // a bit for each hash that a row has
  std::vector<std::uint32_t> starts_;   // of the rows of each bucket, and the end
  std::vector<std::int64_t> ids_;       // bucket by bucket
  std::vector<std::uint32_t> rows_;     // of these ids
};

}  // namespace fanlight
