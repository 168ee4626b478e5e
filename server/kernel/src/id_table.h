// Rows by their ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "hashed_rows.h"

namespace fanlight {

// Ids in ascending order by the steps between them: `first`, and one more for each of `count` steps.
template <typename Step>
struct IdSteps {
  std::int64_t first;
  const Step* steps;
  std::size_t count;
};

// The rows of a column of ids, in any order and perhaps several times, ordered by hashes of the ids.
// Where many ids that lie close together are looked up they are marked instead, and the ids of all
// rows looked up among the marks. It takes 17 to 22 bytes a row.
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
  std::vector<std::uint64_t> hashes(const std::int64_t* ids, std::size_t count) const;
  bool marking_pays(std::size_t count, std::uint64_t span) const;
  void clear_marked(std::int64_t first, const std::vector<std::uint8_t>& marks, std::uint8_t* bits) const;
  void clear_some(const std::int64_t* gone, std::size_t count, std::uint8_t* bits) const;

  std::uint64_t seed_;
  HashedRows rows_;
  std::vector<std::int64_t> ids_;  // place by place
};

}  // namespace fanlight
