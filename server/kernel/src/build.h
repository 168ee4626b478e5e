// Builds HNSW graphs (Malkov and Yashunin 2016) over codes.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "build_graph.h"
#include "graph.h"

namespace fanlight {

struct BuildOptions {
  std::size_t m;                // neighbours of a row on levels 1 and up; twice as many below
  std::size_t ef_construction;  // rows that are looked at to choose them from
  std::uint64_t seed;           // of the levels
};

// For one thread at a time; concurrent calls wait for each other.
class GraphBuilder {
 public:
  // space: all rows that will be in the graph, in memory that somebody else keeps.
  explicit GraphBuilder(const CodeSpace& space, const BuildOptions& options);

  // Extend a graph over the first `base_rows` rows, which was checked. It is copied.
  GraphBuilder(const CodeSpace& space, const BuildOptions& options, const GraphArrays& base,
               std::size_t base_rows);

  // Insert rows up to `stop`, exclusive, on up to `threads` threads; for patience see
  // run_on_new_threads. Returns the seconds of CPU that it took.
  double add(std::size_t stop, std::size_t threads, std::chrono::duration<double> patience);

  // Complete the graph; all rows must have been added. Adding is over after it.
  void finish();

  std::size_t added() const { return added_; }
  const Adjacency& adjacency() const { return graph_.adjacency; }
  Entry entry() const { return *graph_.entry.load(); }

 private:
  void hide_copies();
  void check_open() const;

  std::mutex calls_;
  std::vector<std::uint32_t> originals_;
  GrowingGraph graph_;
  std::atomic<std::size_t> added_{0};
  bool closed_ = false;  // finished, or left half way by an error
};

}  // namespace fanlight
