#include "build_duplicates.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace fanlight {
namespace {

constexpr std::uint32_t kEmpty = ~std::uint32_t{0};

// Multiply and rotate, 8 bytes at a time: equal bytes give equal numbers, that is all it is for.
std::uint64_t hash_of(const std::uint8_t* bytes, std::size_t size) {
  std::uint64_t hash = size;
  for (std::size_t at = 0; at < size; at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes + at, std::min<std::size_t>(8, size - at));
    hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 29;
  }
  return hash;
}

// Rows by their codes, as a table with open addressing that is never more than half full.
class RowTable {
 public:
  RowTable(const CodeSpace& space, std::size_t compared) : space_(space), compared_(compared) {
    std::size_t slots = 2;
    while (slots < 2 * space.rows) slots *= 2;
    slots_.assign(slots, kEmpty);
  }

  // The first row with equal codes, which is this one if there was none before.
  std::uint32_t first_equal(std::uint32_t row) {
    const std::uint8_t* record = space_.record(row);
    for (std::size_t slot = hash_of(record, compared_);; ++slot) {
      std::uint32_t& held = slots_[slot & (slots_.size() - 1)];
      if (held == kEmpty) held = row;
      if (held == row || std::memcmp(space_.record(held), record, compared_) == 0) return held;
    }
  }

 private:
  const CodeSpace& space_;
  std::size_t compared_;
  std::vector<std::uint32_t> slots_;
};

// An original and its copies form a tree: the copies of place 1, 2, ... hang under place
// (place - 1) / fan.
class CopyTree {
 public:
  CopyTree(GrowingGraph& graph, std::vector<std::uint32_t> members)
      : graph_(graph), members_(std::move(members)), fan_(std::max<std::size_t>(1, graph.m / 4)) {}

  void hang_up(Inserter& inserter) {
    keep_surroundings();
    make_room(inserter);
    for (std::size_t place = 1; place < members_.size(); ++place) write_copy(place);
  }

 private:
  std::vector<std::uint32_t> list_of(std::uint32_t row) const {
    std::vector<std::uint32_t> rows(graph_.adjacency.capacity(0));
    rows.resize(graph_.adjacency.read(row, 0, rows.data()));
    return rows;
  }

  bool is_member(std::uint32_t row) const {
    return std::binary_search(members_.begin(), members_.end(), row);
  }

  void add_children(std::size_t place, std::vector<std::uint32_t>& rows) const {
    const std::size_t first = place * fan_ + 1;
    for (std::size_t i = first; i < std::min(first + fan_, members_.size()); ++i) {
      rows.push_back(members_[i]);
    }
  }

  void keep_surroundings() {
    for (const std::uint32_t row : list_of(members_[0])) {
      if (!is_member(row)) around_.push_back(row);
    }
  }

  // In the list of the original, for its first copies.
  void make_room(Inserter& inserter) {
    std::vector<std::uint32_t> children;
    add_children(0, children);
    const std::size_t room = graph_.adjacency.capacity(0) - children.size();
    if (around_.size() > room) inserter.rewrite(members_[0], 0, around_, room);
    else graph_.adjacency.write(members_[0], 0, around_.data(), around_.size());
    for (const std::uint32_t child : children) graph_.adjacency.append(members_[0], 0, child);
  }

  // Up, down, and to the surroundings of one of the original's neighbours.
  void write_copy(std::size_t place) {
    std::vector<std::uint32_t> rows{members_[(place - 1) / fan_]};
    add_children(place, rows);
    if (!around_.empty()) {
      const std::uint32_t near = around_[(place - 1) % around_.size()];
      rows.push_back(near);
      for (const std::uint32_t row : list_of(near)) {
        if (!is_member(row)) rows.push_back(row);
      }
    }
    rows.resize(std::min(rows.size(), graph_.adjacency.capacity(0)));
    graph_.adjacency.write(members_[place], 0, rows.data(), rows.size());
  }

  GrowingGraph& graph_;
  std::vector<std::uint32_t> members_;  // ascending; the original is the first
  std::size_t fan_;
  std::vector<std::uint32_t> around_;  // neighbours of the original that are no copies
};

}  // namespace

std::vector<std::uint32_t> originals_of(const CodeSpace& space) {
  // The scale of a cosine is a matter of rounding; other records are compared whole.
  const std::size_t compared =
      space.metric == Metric::cosine ? space.table.dim : space.table.stride;
  RowTable table(space, compared);
  std::vector<std::uint32_t> originals(space.rows);
  for (std::size_t row = 0; row < space.rows; ++row) {
    originals[row] = table.first_equal(static_cast<std::uint32_t>(row));
  }
  return originals;
}

void hang_up_copies(GrowingGraph& graph, const std::vector<std::uint32_t>& originals) {
  std::map<std::uint32_t, std::vector<std::uint32_t>> groups;
  for (std::uint32_t row = 0; row < originals.size(); ++row) {
    if (originals[row] == row) continue;
    std::vector<std::uint32_t>& members = groups[originals[row]];
    if (members.empty()) members.push_back(originals[row]);
    members.push_back(row);
  }
  if (groups.empty()) return;
  Inserter inserter(graph);
  for (auto& group : groups) CopyTree(graph, std::move(group.second)).hang_up(inserter);
}

}  // namespace fanlight
