// A graph under construction, and how rows get into it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "build_adjacency.h"
#include "build_choice.h"
#include "build_space.h"
#include "build_walk.h"

namespace fanlight {

// Where walks start, for many threads.
class SharedEntry {
 public:
  std::optional<Entry> load() const {
    const std::uint64_t packed = packed_.load(std::memory_order_acquire);
    if (packed == kNone) return std::nullopt;
    return Entry{static_cast<std::uint32_t>(packed), static_cast<std::uint32_t>(packed >> 32)};
  }

  void store(const Entry& entry) {
    packed_.store(std::uint64_t{entry.level} << 32 | entry.row, std::memory_order_release);
  }

 private:
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};

  std::atomic<std::uint64_t> packed_{kNone};
};

// What the threads of a build share.
struct GrowingGraph {
  GrowingGraph(const CodeSpace& space_, std::size_t m_, std::size_t ef_,
               std::vector<std::uint8_t> levels)
      : space(space_), m(m_), ef(ef_), adjacency(m_, std::move(levels)), hidden(space_.rows) {}

  const CodeSpace space;
  const std::size_t m;
  const std::size_t ef;
  Adjacency adjacency;
  RowSet hidden;  // rows that walks pass by; does not change while rows are inserted
  SharedEntry entry;
  std::mutex raising;  // held by whoever inserts a row above the highest level
};

// Inserts rows. For one thread; any number of inserters may work on one graph.
class Inserter {
 public:
  explicit Inserter(GrowingGraph& graph);

  // Insert a row that is not in the graph yet.
  void insert(std::uint32_t row);

  // Make the best of some rows the neighbours of a row, whose lock the caller holds.
  void rewrite(std::uint32_t row, std::uint32_t level, const std::vector<std::uint32_t>& rows,
               std::size_t limit);

 private:
  void connect(std::uint32_t row, std::uint32_t level, const Entry& entry);
  void find_neighbours(std::uint32_t row, std::uint32_t level, const Entry& entry);
  void link_back(std::uint32_t row, std::uint32_t level, std::uint32_t neighbour);

  GrowingGraph& graph_;
  BuildWalk walk_;
  Probe probe_;
  NeighbourChoice choice_;
  std::vector<std::vector<std::uint32_t>> chosen_;  // neighbours of the new row on each level
  std::vector<std::uint32_t> rows_;
  std::vector<float> nearness_;
  std::vector<Link> links_;
};

}  // namespace fanlight
