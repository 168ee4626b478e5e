#include "build_walk.h"

#include <algorithm>

namespace fanlight {
namespace {

// A search ends when so many visits in a row have found nothing for the better half of the beam:
// neighbours are chosen from there. On real vectors it saves a third of the comparisons at
// ef_construction 200 and costs no more than 0.001 of recall (ADR 8); where it would cost more,
// with narrow beams, these minima see to it that hardly any search ends early.
constexpr std::size_t kBestPlaces = 64;
constexpr std::size_t kPatience = 40;

}  // namespace

BuildWalk::BuildWalk(const CodeSpace& space, const Adjacency& adjacency, const RowSet& hidden,
                     std::size_t width)
    : space_(space),
      adjacency_(adjacency),
      hidden_(hidden),
      best_places_(std::max(width / 2, kBestPlaces)),
      patience_(std::max(width / 4, kPatience)),
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
  prefetch_first(space_.table, rows_.data(), count);
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
  std::size_t idle = 0;
  for (std::uint32_t row; idle <= patience_ && beam_.visit(row);) {
    const std::size_t place = take_in(unseen_neighbours(row, level), level);
    idle = place < best_places_ ? 0 : idle + 1;
  }
  return beam_.finish(found_);
}

// Leaves them at the beginning of rows_.
std::size_t BuildWalk::unseen_neighbours(std::uint32_t row, std::uint32_t level) {
  std::size_t unseen = 0;
  adjacency_.for_each(row, level, [&](std::uint32_t neighbour) {
    rows_[unseen] = neighbour;
    unseen += seen_.add(neighbour);
  });
  prefetch_first(space_.table, rows_.data(), unseen);
  return unseen;
}

std::size_t BuildWalk::take_in(std::size_t count, std::uint32_t level) {
  probe_.compare(rows_.data(), count, nearness_.data());
  const float floor = beam_.floor();
  std::size_t nearer = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (nearness_[i] <= floor) continue;
    nearer_[nearer++] = {rows_[i], nearness_[i]};
    // Many of them will be visited; their lists would not be in the cache.
    if (level == 0) adjacency_.prefetch_list(rows_[i]);
  }
  return beam_.merge(nearer_.data(), nearer);
}

}  // namespace fanlight
