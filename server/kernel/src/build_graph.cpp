#include "build_graph.h"

#include <algorithm>

namespace fanlight {

Inserter::Inserter(GrowingGraph& graph)
    : graph_(graph),
      walk_(graph.space, graph.adjacency, graph.hidden, graph.ef),
      probe_(graph.space),
      choice_(graph.space, graph.adjacency.max_capacity()),
      nearness_(graph.adjacency.max_capacity() + 1) {}

void Inserter::insert(std::uint32_t row) {
  const std::uint32_t level = graph_.adjacency.level_of(row);
  std::unique_lock<std::mutex> raising(graph_.raising, std::defer_lock);
  std::optional<Entry> entry = graph_.entry.load();
  if (!entry || level > entry->level) {
    raising.lock();
    entry = graph_.entry.load();
  }
  if (entry) connect(row, std::min(level, entry->level), *entry);
  if (!entry || level > entry->level) graph_.entry.store({row, level});
}

// Others can meet the row as soon as a neighbour lists it, so its own lists come first, and of
// the neighbours those on the lowest level, from where every walk can go on.
void Inserter::connect(std::uint32_t row, std::uint32_t level, const Entry& entry) {
  find_neighbours(row, level, entry);
  for (std::uint32_t at = 0; at <= level; ++at) {
    const auto lock = graph_.adjacency.lock(row);
    graph_.adjacency.write(row, at, chosen_[at].data(), chosen_[at].size());
  }
  for (std::uint32_t at = 0; at <= level; ++at) {
    for (const std::uint32_t neighbour : chosen_[at]) link_back(neighbour, at, row);
  }
}

void Inserter::find_neighbours(std::uint32_t row, std::uint32_t level, const Entry& entry) {
  if (chosen_.size() <= level) chosen_.resize(level + 1);
  walk_.aim(row);
  Link start = walk_.descend(entry, level);
  for (std::uint32_t left = level + 1; left > 0; --left) {
    const std::vector<Link>& found = walk_.search(start, left - 1);
    start = found.front();
    chosen_[left - 1] = choice_.choose(found, graph_.m);
  }
}

void Inserter::link_back(std::uint32_t row, std::uint32_t level, std::uint32_t neighbour) {
  Adjacency& adjacency = graph_.adjacency;
  const std::size_t capacity = adjacency.capacity(level);
  const auto lock = adjacency.lock(row);
  rows_.resize(capacity);
  rows_.resize(adjacency.read(row, level, rows_.data()));
  // Two rows that are inserted at the same time may have chosen each other.
  if (std::find(rows_.begin(), rows_.end(), neighbour) != rows_.end()) return;
  if (rows_.size() < capacity) return adjacency.append(row, level, neighbour);
  rows_.push_back(neighbour);
  rewrite(row, level, rows_, capacity);
}

void Inserter::rewrite(std::uint32_t row, std::uint32_t level,
                       const std::vector<std::uint32_t>& rows, std::size_t limit) {
  probe_.aim(row);
  nearness_.resize(std::max(nearness_.size(), rows.size()));
  probe_.compare(rows.data(), rows.size(), nearness_.data());
  links_.clear();
  for (std::size_t i = 0; i < rows.size(); ++i) links_.push_back({rows[i], nearness_[i]});
  std::sort(links_.begin(), links_.end(), [](const Link& a, const Link& b) {
    return a.nearness > b.nearness || (a.nearness == b.nearness && a.row < b.row);
  });
  const std::vector<std::uint32_t>& kept = choice_.choose(links_, limit);
  graph_.adjacency.write(row, level, kept.data(), kept.size());
}

}  // namespace fanlight
