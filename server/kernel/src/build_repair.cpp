#include "build_repair.h"

#include <deque>
#include <vector>

namespace fanlight {
namespace {

constexpr std::uint32_t kNone = ~std::uint32_t{0};

// Candidates to link an unreached row from, nearest first.
constexpr std::size_t kWidth = 64;

class Repair {
 public:
  explicit Repair(GrowingGraph& graph)
      : graph_(graph),
        entry_{graph.entry.load()->row, 0},
        walk_(graph.space, graph.adjacency, graph.hidden, kWidth),
        probe_(graph.space),
        reached_from_(graph.space.rows, kNone),
        gave_way_(graph.space.rows) {}

  std::size_t run() {
    std::size_t linked = 0;
    spread(entry_.row, entry_.row);
    for (std::uint32_t row = 0; row < reached_from_.size(); ++row) {
      if (reached_from_[row] != kNone) continue;
      spread(row, link_from_near(row));
      ++linked;
    }
    return linked;
  }

 private:
  // Mark all rows that can be reached from this one, which was reached from another.
  void spread(std::uint32_t row, std::uint32_t from) {
    reached_from_[row] = from;
    waiting_.assign(1, row);
    while (!waiting_.empty()) {
      const std::uint32_t at = waiting_.back();
      waiting_.pop_back();
      roomy_.push_back(at);
      read(at);
      for (const std::uint32_t next : list_) {
        if (reached_from_[next] != kNone) continue;
        reached_from_[next] = at;
        waiting_.push_back(next);
      }
    }
  }

  // Returns the row that lists this one from now on. Everything that a walk from the entry finds
  // on the lowest level has been reached.
  std::uint32_t link_from_near(std::uint32_t row) {
    walk_.aim(row);
    const std::vector<Link>& found = walk_.search(walk_.descend(entry_, 0), 0);
    for (const Link& link : found) {
      if (append_to(link.row, row)) return link.row;
    }
    for (const Link& link : found) {
      if (gave_way_.add(link.row) && replace_in(link.row, row)) return link.row;
    }
    return link_from_any(row);
  }

  // Rows with room take turns. Lists of n rows have room for 4n neighbours or more, of which less
  // than n are needed, so that the last loop ends; it is hardly ever begun.
  std::uint32_t link_from_any(std::uint32_t row) {
    while (!roomy_.empty()) {
      const std::uint32_t from = roomy_.front();
      roomy_.pop_front();
      if (!append_to(from, row)) continue;
      roomy_.push_back(from);
      return from;
    }
    std::uint32_t from = 0;
    while (reached_from_[from] == kNone || !replace_in(from, row)) ++from;
    return from;
  }

  bool append_to(std::uint32_t from, std::uint32_t row) {
    read(from);
    if (list_.size() == graph_.adjacency.capacity(0)) return false;
    graph_.adjacency.append(from, 0, row);
    return true;
  }

  // Let the farthest neighbour give way that is not reached from here; false when all are.
  bool replace_in(std::uint32_t from, std::uint32_t row) {
    read(from);
    std::vector<float> nearness(list_.size());
    probe_.aim(from);
    probe_.compare(list_.data(), list_.size(), nearness.data());
    std::size_t least = list_.size();
    for (std::size_t i = 0; i < list_.size(); ++i) {
      if (reached_from_[list_[i]] == from) continue;
      if (least == list_.size() || nearness[i] < nearness[least]) least = i;
    }
    if (least == list_.size()) return false;
    list_[least] = row;
    graph_.adjacency.write(from, 0, list_.data(), list_.size());
    return true;
  }

  void read(std::uint32_t row) {
    list_.resize(graph_.adjacency.capacity(0));
    list_.resize(graph_.adjacency.read(row, 0, list_.data()));
  }

  GrowingGraph& graph_;
  const Entry entry_;  // on the lowest level
  BuildWalk walk_;
  Probe probe_;
  std::vector<std::uint32_t> reached_from_;  // for each row one that lists it
  RowSet gave_way_;  // rows that had a neighbour replaced: one each, so that none loses much
  std::deque<std::uint32_t> roomy_;  // reached rows, but for some that have no room
  std::vector<std::uint32_t> waiting_;
  std::vector<std::uint32_t> list_;
};

}  // namespace

std::size_t make_reachable(GrowingGraph& graph) { return Repair(graph).run(); }

}  // namespace fanlight
