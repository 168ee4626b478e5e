#include "build_choice.h"

#include <algorithm>

namespace fanlight {
namespace {

// Candidates that are compared with a neighbour at a time: more use the processor better, but
// the last neighbour may be found early, and then the rest of a block was compared in vain.
constexpr std::size_t kBlock = 32;

}  // namespace

NeighbourChoice::NeighbourChoice(const CodeSpace& space, std::size_t limit)
    : probes_(limit, Probe(space)), rows_(kBlock), nearness_(kBlock) {
  taken_.reserve(limit);
  block_.reserve(kBlock);
}

const std::vector<std::uint32_t>& NeighbourChoice::choose(const std::vector<Link>& candidates,
                                                          std::size_t limit) {
  taken_.clear();
  auto next = candidates.begin();
  while (next != candidates.end() && taken_.size() < limit) {
    const auto end = next + std::min<std::ptrdiff_t>(kBlock, candidates.end() - next);
    block_.assign(next, end);
    next = end;
    for (std::size_t i = 0; i < taken_.size(); ++i) strike(probes_[i], 0);
    take_from_block(limit);
  }
  return taken_;
}

void NeighbourChoice::take_from_block(std::size_t limit) {
  for (std::size_t first = 0; first < block_.size() && taken_.size() < limit; ++first) {
    Probe& probe = probes_[taken_.size()];
    taken_.push_back(block_[first].row);
    probe.aim(block_[first].row);
    strike(probe, first + 1);
  }
}

// Strike out what is nearer to a neighbour than to the row itself.
void NeighbourChoice::strike(const Probe& taken, std::size_t first) {
  const std::size_t count = block_.size() - first;
  for (std::size_t i = 0; i < count; ++i) rows_[i] = block_[first + i].row;
  taken.compare(rows_.data(), count, nearness_.data());
  std::size_t kept = first;
  for (std::size_t i = 0; i < count; ++i) {
    const Link& link = block_[first + i];
    block_[kept] = link;
    kept += nearness_[i] <= link.nearness;
  }
  block_.resize(kept);
}

}  // namespace fanlight
