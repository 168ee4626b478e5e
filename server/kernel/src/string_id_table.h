// Rows by their string ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "hashed_rows.h"

namespace fanlight {

// Strings one after the other: string i lies in `data` from offsets[i] to offsets[i + 1].
struct Strings {
  const std::uint64_t* offsets;
  const char* data;
  std::size_t count;

  std::string_view operator[](std::size_t i) const {
    return {data + offsets[i], static_cast<std::size_t>(offsets[i + 1] - offsets[i])};
  }
};

// The rows of a column of strings, which stays where it is, ordered by hashes: what IdTable is for
// integers. It takes 13 to 18 bytes a row. The seed is to be random.
class StringIdTable {
 public:
  StringIdTable(const Strings& ids, std::uint64_t seed);

  // Clear the bits of the rows whose ids are among those joined, where all are set.
  void clear(std::string_view joined, std::uint8_t* bits) const;

  std::size_t rows() const { return rows_.size(); }

 private:
  struct Sought;
  StringIdTable(const Strings& ids, std::uint64_t seed, const std::vector<std::uint64_t>& hashes);
  void clear_some(Sought* sought, std::size_t count, std::uint8_t* bits) const;
  void clear_one(const Sought& sought, std::uint8_t* bits) const;

  Strings ids_;
  std::uint64_t seed_;
  HashedRows rows_;
  std::vector<std::uint32_t> tags_;  // the lower halves of the hashes, place by place
};

}  // namespace fanlight
