#include "build.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <stdexcept>

#include "build_duplicates.h"
#include "build_repair.h"
#include "build_threads.h"

namespace fanlight {
namespace {

// A uniform number in (0, 1] for each seed and row: splitmix64 (Steele, Lea and Flood 2014).
double uniform(std::uint64_t seed, std::uint64_t row) {
  std::uint64_t bits = (seed + 1) * 0xD1342543DE82EF95u + (row + 1) * 0x9E3779B97F4A7C15u;
  bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9u;
  bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBu;
  bits ^= bits >> 31;
  return static_cast<double>((bits >> 11) + 1) * 0x1p-53;
}

// Each level has an m-th of the rows of the one below. Depends on the seed and the row alone, so
// that it does not matter in how many steps a graph is built. At most 53 for m = 2.
std::uint8_t drawn_level(const BuildOptions& options, std::size_t row) {
  const double levels = -std::log(uniform(options.seed, row)) / std::log(options.m);
  return static_cast<std::uint8_t>(levels);
}

// Copies have no place on the upper levels, where there would be nothing else left.
std::vector<std::uint8_t> levels_of(const BuildOptions& options,
                                    const std::vector<std::uint32_t>& originals,
                                    const std::uint8_t* base, std::size_t base_rows) {
  std::vector<std::uint8_t> levels(originals.size(), 0);
  std::copy(base, base + base_rows, levels.begin());
  for (std::size_t row = base_rows; row < levels.size(); ++row) {
    if (originals[row] == row) levels[row] = drawn_level(options, row);
  }
  return levels;
}

}  // namespace

GraphBuilder::GraphBuilder(const CodeSpace& space, const BuildOptions& options)
    : GraphBuilder(space, options, GraphArrays(), 0) {}

GraphBuilder::GraphBuilder(const CodeSpace& space, const BuildOptions& options,
                           const GraphArrays& base, std::size_t base_rows)
    : originals_(originals_of(space)),
      graph_(space, options.m, std::max(options.ef_construction, options.m),
             levels_of(options, originals_, base.levels, base_rows)),
      added_(base_rows) {
  hide_copies();
  if (base_rows == 0) return;
  graph_.adjacency.load(base, base_rows);
  graph_.entry.store({base.entry_point, base.top_level});
}

void GraphBuilder::hide_copies() {
  for (std::uint32_t row = 0; row < originals_.size(); ++row) {
    if (originals_[row] != row) graph_.hidden.add(row);
  }
}

double GraphBuilder::add(std::size_t stop, std::size_t threads,
                         std::chrono::duration<double> patience) {
  const std::lock_guard<std::mutex> lock(calls_);
  check_open();
  const std::size_t first = added_;
  if (stop <= first) return 0;
  closed_ = true;
  std::atomic<std::size_t> next{first};
  const double seconds = run_on_new_threads(std::min(threads, stop - first), patience, [&] {
    Inserter inserter(graph_);
    for (;;) {
      const auto row = static_cast<std::uint32_t>(next.fetch_add(1, std::memory_order_relaxed));
      if (row >= stop) return;
      if (originals_[row] == row) inserter.insert(row);
    }
  });
  added_ = stop;
  closed_ = false;
  return seconds;
}

void GraphBuilder::finish() {
  const std::lock_guard<std::mutex> lock(calls_);
  check_open();
  if (added_ < graph_.space.rows) {
    throw std::logic_error("expected all " + std::to_string(graph_.space.rows) +
                           " rows to be added, got " + std::to_string(added_));
  }
  closed_ = true;
  hang_up_copies(graph_, originals_);
  make_reachable(graph_);
}

void GraphBuilder::check_open() const {
  if (closed_) throw std::logic_error("the builder is closed: it was finished, or a call failed");
}

}  // namespace fanlight
