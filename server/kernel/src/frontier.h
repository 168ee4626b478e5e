// What a walk has found and has still to visit.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace fanlight {

struct Candidate {
  float key;
  std::uint32_t row;
};

// Objects, since heaps call a function for every comparison when they get a pointer to it (far searches
// of 100,000 x 128: 274 us instead of 238, medians of 3 runs in turns).
constexpr auto nearer = [](const Candidate& a, const Candidate& b) { return a.key > b.key; };
constexpr auto farther = [](const Candidate& a, const Candidate& b) { return a.key < b.key; };

// The ef best candidates in one sorted array: found ones and those to visit are the same, since
// a candidate that is pushed out could not have led the walk on. Faster than two heaps as long as
// the array is short, because it is searched and moved in the fastest cache.
class SortedFrontier {
 public:
  void start(std::size_t ef) {
    candidates_.resize(ef + 1);
    ef_ = ef;
    size_ = next_ = 0;
  }

  bool offer(std::uint32_t row, float key) {
    if (size_ == ef_) {
      if (!(key > candidates_[size_ - 1].key)) return false;
      --size_;
    }
    Candidate* const begin = candidates_.data();
    Candidate* const at = std::upper_bound(begin, begin + size_, Candidate{key, row}, nearer);
    std::move_backward(at, begin + size_, begin + size_ + 1);
    *at = {key, row};
    ++size_;
    const std::size_t place = static_cast<std::size_t>(at - begin);
    if (place > next_) return false;
    next_ = place;
    return true;
  }

  // Keep another number of candidates from now on.
  void limit(std::size_t ef) {
    candidates_.resize(std::max(candidates_.size(), ef + 1));
    ef_ = ef;
    size_ = std::min(size_, ef);
    next_ = std::min(next_, size_);
  }

  // Take the best candidate that was not visited; false when there is none.
  bool take(std::uint32_t& row) {
    while (next_ < size_ && (candidates_[next_].row & kVisited)) ++next_;
    if (next_ == size_) return false;
    row = candidates_[next_].row;
    candidates_[next_++].row |= kVisited;
    return true;
  }

  // The candidate that `take` would give now, if any; a guess for prefetching.
  bool peek(std::uint32_t& row) const {
    std::size_t at = next_;
    while (at < size_ && (candidates_[at].row & kVisited)) ++at;
    if (at < size_) row = candidates_[at].row;
    return at < size_;
  }

  // Whether it is full of candidates that are at least as near as this key.
  bool rules_out(float key) const { return size_ == ef_ && candidates_[size_ - 1].key >= key; }

  // Copy the best candidates, best first; ends the walk.
  void best(std::size_t count, std::vector<Candidate>& found) const {
    found.assign(candidates_.begin(), candidates_.begin() + std::min(count, size_));
    for (Candidate& candidate : found) candidate.row &= ~kVisited;
  }

 private:
  // Row numbers stay below it, see check_count in bind_arrays.h.
  static constexpr std::uint32_t kVisited = std::uint32_t{1} << 31;

  std::vector<Candidate> candidates_;
  std::size_t ef_ = 0;
  std::size_t size_ = 0;
  std::size_t next_ = 0;
};

// The same in two heaps, as in the paper: for many candidates.
class HeapFrontier {
 public:
  void start(std::size_t ef) {
    ef_ = ef;
    found_.clear();
    waiting_.clear();
  }

  bool offer(std::uint32_t row, float key) {
    if (found_.size() == ef_ && !(key > found_.front().key)) return false;
    waiting_.push_back({key, row});
    std::push_heap(waiting_.begin(), waiting_.end(), farther);
    found_.push_back({key, row});
    std::push_heap(found_.begin(), found_.end(), nearer);
    if (found_.size() > ef_) {
      std::pop_heap(found_.begin(), found_.end(), nearer);
      found_.pop_back();
    }
    return waiting_.front().row == row;
  }

  bool take(std::uint32_t& row) {
    if (waiting_.empty()) return false;
    const Candidate best = waiting_.front();
    if (found_.size() == ef_ && best.key < found_.front().key) return false;
    std::pop_heap(waiting_.begin(), waiting_.end(), farther);
    waiting_.pop_back();
    row = best.row;
    return true;
  }

  bool peek(std::uint32_t& row) const {
    if (!waiting_.empty()) row = waiting_.front().row;
    return !waiting_.empty();
  }

  void best(std::size_t count, std::vector<Candidate>& found) {
    std::sort_heap(found_.begin(), found_.end(), nearer);
    found.assign(found_.begin(), found_.begin() + std::min(count, found_.size()));
  }

 private:
  std::size_t ef_ = 0;
  std::vector<Candidate> found_;    // worst on top
  std::vector<Candidate> waiting_;  // best on top
};

}  // namespace fanlight
