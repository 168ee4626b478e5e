#include "build_repair.h"

#include <deque>
#include <numeric>
#include <vector>

namespace fanlight {
namespace {

constexpr std::uint32_t kNone = ~std::uint32_t{0};

// Near rows that are tried as the other end of a new link.
constexpr std::size_t kWidth = 64;

// For each row, the rows that list it.
class Incoming {
 public:
  explicit Incoming(const Adjacency& adjacency) : starts_(adjacency.rows() + 1, 0) {
    each_link(adjacency, [&](std::uint32_t, std::uint32_t to) { ++starts_[to + 1]; });
    std::partial_sum(starts_.begin(), starts_.end(), starts_.begin());
    from_.resize(starts_.back());
    std::vector<std::size_t> next(starts_.begin(), starts_.end() - 1);
    each_link(adjacency, [&](std::uint32_t from, std::uint32_t to) { from_[next[to]++] = from; });
  }

  template <typename Each>
  void for_each(std::uint32_t row, const Each& each) const {
    for (std::size_t i = starts_[row]; i < starts_[row + 1]; ++i) each(from_[i]);
  }

 private:
  template <typename Each>
  static void each_link(const Adjacency& adjacency, const Each& each) {
    for (std::uint32_t row = 0; row < adjacency.rows(); ++row) {
      adjacency.for_each(row, 0, [&](std::uint32_t neighbour) { each(row, neighbour); });
    }
  }

  std::vector<std::size_t> starts_;
  std::vector<std::uint32_t> from_;
};

// The rows that are reached from the entry form a tree, whose links stay.
class Repair {
 public:
  explicit Repair(GrowingGraph& graph)
      : graph_(graph),
        entry_{graph.entry.load()->row, 0},
        walk_(graph.space, graph.adjacency, graph.hidden, kWidth),
        probe_(graph.space),
        reached_from_(graph.space.rows, kNone),
        gave_way_(graph.space.rows),
        returns_(graph.space.rows) {}

  // Lead from the entry to every row.
  void reach_all() {
    spread(entry_.row, entry_.row);
    for (std::uint32_t row = 0; row < reached_from_.size(); ++row) {
      if (reached_from_[row] == kNone) spread(row, link_from_near(row));
    }
  }

  // Lead from every row to the entry. Rows are taken last reached first: what still leads
  // nowhere then has no row that depends on its links, since that one would have been linked.
  void return_all() {
    const Incoming incoming(graph_.adjacency);
    spread_back(incoming, entry_.row);
    for (auto row = reached_.rbegin(); row != reached_.rend(); ++row) {
      if (returns_.has(*row)) continue;
      link_to_near(*row);
      spread_back(incoming, *row);
    }
  }

 private:
  void spread(std::uint32_t row, std::uint32_t from) {
    std::vector<std::uint32_t> waiting;
    const auto reach = [&](std::uint32_t next, std::uint32_t from_row) {
      if (reached_from_[next] != kNone) return;
      reached_from_[next] = from_row;
      reached_.push_back(next);
      roomy_.push_back(next);
      waiting.push_back(next);
    };
    reach(row, from);
    while (!waiting.empty()) {
      const std::uint32_t at = waiting.back();
      waiting.pop_back();
      graph_.adjacency.for_each(at, 0, [&](std::uint32_t next) { reach(next, at); });
    }
  }

  void spread_back(const Incoming& incoming, std::uint32_t row) {
    returns_.add(row);
    std::vector<std::uint32_t> waiting{row};
    while (!waiting.empty()) {
      const std::uint32_t at = waiting.back();
      waiting.pop_back();
      incoming.for_each(at, [&](std::uint32_t before) {
        if (returns_.add(before)) waiting.push_back(before);
      });
    }
  }

  // Everything that a walk from the entry finds on the lowest level has been reached.
  const std::vector<Link>& near(std::uint32_t row) {
    walk_.aim(row);
    return walk_.search(walk_.descend(entry_, 0), 0);
  }

  // Returns the row that lists this one from now on.
  std::uint32_t link_from_near(std::uint32_t row) {
    const std::vector<Link>& found = near(row);
    for (const Link& link : found) {
      if (append(link.row, row)) return link.row;
    }
    for (const Link& link : found) {
      if (gave_way_.add(link.row) && replace(link.row, row)) return link.row;
    }
    return link_from_any(row);
  }

  // Rows with room take turns. Lists of n rows have room for 4n neighbours or more, of which less
  // than n are needed, so that the last loop ends; it is hardly ever begun.
  std::uint32_t link_from_any(std::uint32_t row) {
    while (!roomy_.empty()) {
      const std::uint32_t from = roomy_.front();
      roomy_.pop_front();
      if (!append(from, row)) continue;
      roomy_.push_back(from);
      return from;
    }
    std::uint32_t from = 0;
    while (reached_from_[from] == kNone || !replace(from, row)) ++from;
    return from;
  }

  void link_to_near(std::uint32_t row) {
    std::uint32_t to = entry_.row;
    for (const Link& link : near(row)) {
      if (!returns_.has(link.row)) continue;
      to = link.row;
      break;
    }
    if (!append(row, to)) replace(row, to);
  }

  bool append(std::uint32_t row, std::uint32_t neighbour) {
    read(row);
    if (list_.size() == graph_.adjacency.capacity(0)) return false;
    graph_.adjacency.append(row, 0, neighbour);
    return true;
  }

  // Let the farthest neighbour give way that is not reached from this row; false when all are.
  bool replace(std::uint32_t row, std::uint32_t neighbour) {
    read(row);
    std::vector<float> nearness(list_.size());
    probe_.aim(row);
    probe_.compare(list_.data(), list_.size(), nearness.data());
    std::size_t least = list_.size();
    for (std::size_t i = 0; i < list_.size(); ++i) {
      if (reached_from_[list_[i]] == row) continue;
      if (least == list_.size() || nearness[i] < nearness[least]) least = i;
    }
    if (least == list_.size()) return false;
    list_[least] = neighbour;
    graph_.adjacency.write(row, 0, list_.data(), list_.size());
    return true;
  }

  void read(std::uint32_t row) {
    list_.clear();
    graph_.adjacency.for_each(row, 0, [&](std::uint32_t next) { list_.push_back(next); });
  }

  GrowingGraph& graph_;
  const Entry entry_;  // on the lowest level
  BuildWalk walk_;
  Probe probe_;
  std::vector<std::uint32_t> reached_from_;  // for each row the one before it in the tree
  std::vector<std::uint32_t> reached_;       // in this order
  std::deque<std::uint32_t> roomy_;          // reached rows, but for some that have no room
  RowSet gave_way_;  // rows that had a neighbour replaced: one each, so that none loses much
  RowSet returns_;   // rows that lead to the entry
  std::vector<std::uint32_t> list_;
};

}  // namespace

void make_reachable(GrowingGraph& graph) {
  Repair repair(graph);
  repair.reach_all();
  repair.return_all();
}

}  // namespace fanlight
