// Walks over a graph under construction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "build_adjacency.h"
#include "build_beam.h"
#include "build_space.h"

namespace fanlight {

// A set of rows, one bit each: small enough to stay in the fastest caches, and to be cleared for
// every walk.
class RowSet {
 public:
  explicit RowSet(std::size_t rows) : words_((rows + 63) / 64, 0) {}

  bool has(std::uint32_t row) const { return (words_[row / 64] >> (row % 64)) & 1; }

  // True when the row was not there.
  bool add(std::uint32_t row) {
    std::uint64_t& word = words_[row / 64];
    const std::uint64_t bit = std::uint64_t{1} << (row % 64);
    const bool added = (word & bit) == 0;
    word |= bit;
    return added;
  }

  // Become a copy of a set of the same rows.
  void copy(const RowSet& other) { words_ = other.words_; }

 private:
  std::vector<std::uint64_t> words_;
};

// Where walks start: a row of the highest level, and that level.
struct Entry {
  std::uint32_t row;
  std::uint32_t level;
};

// Finds rows near to one row. For one thread; others may write to the adjacency meanwhile.
class BuildWalk {
 public:
  // hidden: rows that walks pass by. width: rows that `search` finds.
  BuildWalk(const CodeSpace& space, const Adjacency& adjacency, const RowSet& hidden,
            std::size_t width);

  // Search for rows near to this one from now on.
  void aim(std::uint32_t row) { probe_.aim(row); }

  // Go down from the entry, always to the nearest neighbour, and arrive on a level.
  Link descend(const Entry& entry, std::uint32_t level);

  // Find the nearest rows on a level, nearest first. Valid until the next search.
  const std::vector<Link>& search(const Link& start, std::uint32_t level);

 private:
  bool improve(Link& at, std::uint32_t level);
  std::size_t unseen_neighbours(std::uint32_t row, std::uint32_t level);
  std::size_t take_in(std::size_t count, std::uint32_t level);

  const CodeSpace space_;
  const Adjacency& adjacency_;
  const RowSet& hidden_;
  const std::size_t best_places_;
  const std::size_t patience_;
  Probe probe_;
  Beam beam_;
  RowSet seen_;
  std::vector<std::uint32_t> rows_;
  std::vector<float> nearness_;
  std::vector<Link> nearer_;
  std::vector<Link> found_;
};

}  // namespace fanlight
