#include "build_walk.h"

namespace fanlight {

BuildWalk::BuildWalk(const CodeSpace& space, const Adjacency& adjacency, const RowSet& hidden,
                     std::size_t width)
    : space_(space),
      adjacency_(adjacency),
      hidden_(hidden),
      probe_(space),
      beam_(width, adjacency.max_capacity()),
      seen_(space.rows),
      rows_(adjacency.max_capacity()),
      nearness_(adjacency.max_capacity()),
      nearer_(adjacency.max_capacity()) {}

Link BuildWalk::descend(const Entry& entry, std::uint32_t level) {
  Link at{entry.row, 0};
  probe_.compare(&at.row, 1, &at.nearness);
  for (std::uint32_t now = entry.level; now > level; --now) {
    while (improve(at, now)) {
    }
  }
  return at;
}

bool BuildWalk::improve(Link& at, std::uint32_t level) {
  const std::size_t count = adjacency_.read(at.row, level, rows_.data());
  for (std::size_t i = 0; i < count; ++i) space_.prefetch_row(rows_[i]);
  probe_.compare(rows_.data(), count, nearness_.data());
  bool moved = false;
  for (std::size_t i = 0; i < count; ++i) {
    if (nearness_[i] <= at.nearness) continue;
    at = {rows_[i], nearness_[i]};
    moved = true;
  }
  return moved;
}

const std::vector<Link>& BuildWalk::search(const Link& start, std::uint32_t level) {
  seen_.copy(hidden_);
  seen_.add(start.row);
  beam_.start(start);
  for (std::uint32_t row; beam_.visit(row);) take_in(unseen_neighbours(row, level), level);
  return beam_.finish(found_);
}

// Leaves them at the beginning of rows_.
std::size_t BuildWalk::unseen_neighbours(std::uint32_t row, std::uint32_t level) {
  const std::size_t count = adjacency_.read(row, level, rows_.data());
  std::size_t unseen = 0;
  for (std::size_t i = 0; i < count; ++i) {
    rows_[unseen] = rows_[i];
    unseen += seen_.add(rows_[i]);
  }
  for (std::size_t i = 0; i < unseen; ++i) space_.prefetch_row(rows_[i]);
  return unseen;
}

void BuildWalk::take_in(std::size_t count, std::uint32_t level) {
  probe_.compare(rows_.data(), count, nearness_.data());
  const float floor = beam_.floor();
  std::size_t nearer = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (nearness_[i] <= floor) continue;
    nearer_[nearer++] = {rows_[i], nearness_[i]};
    // Many of them will be visited; their lists would not be in the cache.
    if (level == 0) adjacency_.prefetch_list(rows_[i]);
  }
  beam_.merge(nearer_.data(), nearer);
}

}  // namespace fanlight
