// The nearest rows that a walk of the builder has found, and which of them it has visited.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "build_space.h"

namespace fanlight {

// One array, nearest first. The neighbours of a visited row are taken in together: their places
// are searched independently of one another, and what is behind them moves once.
class Beam {
 public:
  // width: rows that are kept. burst: rows that are taken in at once, at most.
  Beam(std::size_t width, std::size_t burst)
      : width_(width), links_(width + burst), places_(burst) {}

  void start(const Link& first) {
    links_[0] = first;
    size_ = 1;
    next_ = 0;
  }

  // A row has to be nearer than this to be taken in.
  float floor() const {
    return size_ < width_ ? -std::numeric_limits<float>::infinity() : links_[size_ - 1].nearness;
  }

  // The nearest row that was not visited, which it is from now on; false when there is none.
  bool visit(std::uint32_t& row) {
    while (next_ < size_ && (links_[next_].row & kVisited)) ++next_;
    if (next_ == size_) return false;
    row = links_[next_].row;
    links_[next_++].row |= kVisited;
    return true;
  }

  // Take in rows that are nearer than `floor`; sorts them. Returns the best place that one of them
  // got, or the number of places when there is none.
  std::size_t merge(Link* found, std::size_t count) {
    sort_few(found, count);
    for (std::size_t i = 0; i < count; ++i) places_[i] = place_of(found[i].nearness);
    Link* const begin = links_.data();
    std::size_t end = size_;
    for (std::size_t i = count; i > 0; --i) {
      const std::size_t at = places_[i - 1];
      std::move_backward(begin + at, begin + end, begin + end + i);
      begin[at + i - 1] = found[i - 1];
      end = at;
    }
    if (count == 0) return width_;
    size_ = std::min(width_, size_ + count);
    next_ = std::min(next_, end);
    return end;
  }

  // What was found, nearest first; ends the walk.
  const std::vector<Link>& finish(std::vector<Link>& found) {
    found.assign(links_.begin(), links_.begin() + static_cast<std::ptrdiff_t>(size_));
    for (Link& link : found) link.row &= ~kVisited;
    return found;
  }

 private:
  // Row numbers stay below it, see kMaxRows in bind_arrays.h.
  static constexpr std::uint32_t kVisited = std::uint32_t{1} << 31;

  static void sort_few(Link* links, std::size_t count) {
    for (std::size_t i = 1; i < count; ++i) {
      const Link link = links[i];
      std::size_t at = i;
      for (; at > 0 && links[at - 1].nearness < link.nearness; --at) links[at] = links[at - 1];
      links[at] = link;
    }
  }

  // Behind all that are as near. Without branches, which could not be predicted.
  std::size_t place_of(float nearness) const {
    const Link* first = links_.data();
    for (std::size_t length = size_; length > 1;) {
      const std::size_t half = length / 2;
      first += static_cast<std::size_t>(first[half - 1].nearness >= nearness) * half;
      length -= half;
    }
    return static_cast<std::size_t>(first - links_.data()) + (first->nearness >= nearness);
  }

  std::size_t width_;
  std::size_t size_ = 0;
  std::size_t next_ = 0;  // no row before it waits to be visited
  std::vector<Link> links_;
  std::vector<std::size_t> places_;
};

}  // namespace fanlight
